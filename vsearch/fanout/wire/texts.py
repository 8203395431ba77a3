"""Texts in messages: UTF-8 that may have lone surrogates, and limits on its size."""

from __future__ import annotations

LARGEST_TEXT = 4 << 20
LARGEST_TEXTS = 32 << 20
MOST_TEXTS = 1000
"""Maximum number of texts per message, since each takes a coordinator milliseconds; larger batches are split."""


def text_bytes(text: str) -> bytes:
    """Encode a text for a message."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """Decode a text in a message.

    Raises
    ------
    UnicodeDecodeError
        The bytes are invalid, which `vsearch.fanout.wire.codec.decode` checks.
    """
    return data.decode("utf-8", "surrogatepass")
