"""Checks of HTTP requests by the servers of this package: loopback host names, and bodies with an unambiguous length.

If a body is read with a different length than its sender meant, leftover bytes are taken for the next request, or the reader
waits for bytes that never come.
"""

from __future__ import annotations

import re
from email.message import Message
from io import BufferedIOBase

_LENGTH = re.compile(r"[0-9]{1,18}")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")


class BodyError(Exception):
    """A body that cannot be read; `status` is the HTTP status. The connection cannot be used any further."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def own_names(port: int) -> list[str]:
    """Host names under which a loopback server may be addressed."""
    return [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]


def has_body(headers: Message) -> bool:
    """Whether a body follows, according to the headers."""
    return headers.get("transfer-encoding") is not None or headers.get("content-length", "0") != "0"


def read_body(stream: BufferedIOBase, headers: Message, largest: int, *, chunks: bool = False) -> bytes:
    """Read the body of a POST request.

    Parameters
    ----------
    largest : int
        Maximum size in bytes; longer bodies are not read.
    chunks : bool
        Whether chunked encoding is allowed.

    Raises
    ------
    BodyError
        The length is missing, ambiguous or not a number, or the body is too long or ends early.
    """
    # `get_all` makes objects that are no strings of values with surrogates
    lengths, encodings = (
        [value for key, value in headers.raw_items() if key.lower() == name]
        for name in ("content-length", "transfer-encoding")
    )
    if chunks and not lengths and [encoding.strip().lower() for encoding in encodings] == ["chunked"]:
        return _read_chunks(stream, largest)
    if encodings or not lengths:
        raise BodyError(411, "send the body with a Content-Length")
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0].strip()):
        raise BodyError(400, f"Content-Length must be a single non-negative integer, got {', '.join(lengths)[:100]!r}")
    length = int(lengths[0])
    if length > largest:
        raise BodyError(413, f"the body must be at most {largest} bytes, got {length}")
    return _read(stream, length)


def _read(stream: BufferedIOBase, length: int) -> bytes:
    body = stream.read(length)
    if len(body) < length:
        raise BodyError(400, f"the body ends after {len(body)} of {length} bytes")
    return body


def _read_chunks(stream: BufferedIOBase, largest: int) -> bytes:
    parts, left = [], largest
    while True:
        line = stream.readline(1024).split(b";")[0].strip()
        if not _SIZE.fullmatch(line):
            raise BodyError(400, "a chunk must begin with its length")
        size = int(line, 16)
        left -= size
        if left < 0:
            raise BodyError(413, f"the body must be at most {largest} bytes")
        parts.append(_read(stream, size))
        if stream.readline(8).strip():
            raise BodyError(400, "a chunk is longer than its length")
        if size == 0:
            return b"".join(parts)
