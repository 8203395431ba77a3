"""The files of a compressed encoder: what they are called, and what the smaller one holds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vsearch.storage.files.bundle import BundleEntry

FORMAT = 1
ENTRY, DATA = "encoder.json", "encoder.arrow"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``encoder.json`` holds."""

    format: int
    data: BundleEntry


def is_compressed(names: Iterable[str]) -> bool:
    """Whether the encoder with files of these names is a compressed one."""
    return ENTRY in names
