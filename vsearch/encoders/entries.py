"""The names of the files of a compressed encoder, and the contents of the smaller one."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vsearch.storage.files.bundle import BundleEntry

FORMAT, MIXED_FORMAT, PLAIN_FORMAT = 3, 2, 1
"""The format of ModernBERT and byte-level BPE, that of other encoders, and that of those with WordPiece whose linear layers have the
same 8, 4, 3 or 2 bits."""

ENTRY, DATA = "encoder.json", "encoder.arrow"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of ``encoder.json``."""

    format: int
    data: BundleEntry


def is_compressed(names: Iterable[str]) -> bool:
    """Whether an encoder with files of these names is compressed."""
    return ENTRY in names
