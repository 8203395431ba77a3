"""References to the data that tasks write."""

from __future__ import annotations

import msgspec

from vsearch.storage import FileEntry


class DataFile(msgspec.Struct, frozen=True):
    """A file written by a task, with the CRC32C of each of its chunks."""

    entry: FileEntry
    sums: tuple[int, ...]


class Piece(msgspec.Struct, frozen=True):
    """Bytes ``start:stop`` of a file, with their CRC32C."""

    start: int
    stop: int
    crc32c: int
