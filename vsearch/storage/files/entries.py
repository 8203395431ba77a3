"""What a manifest says of a file: its size, its checksum and where each array lies.

An entry is a claim that a hostile or damaged manifest may get wrong, so nothing uses one before :func:`check_entry`
has held it against the file's own length.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Annotated

import msgspec
import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.storage.stores.base import path_problem

CHUNK = 65536
"""Bytes that are checksummed, fetched and verified together."""

ALIGNMENT = 64
"""Every buffer starts at a multiple of this many bytes."""

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
"""The element types an array may have; little-endian in the file."""

LARGEST = 2**62
"""No count, offset or length of an index is larger."""

CHECKED = 1 << 14
"""Entries that are remembered as checked: snapshots of an index have most of theirs in common."""

Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Checksum = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class ArrayEntry(msgspec.Struct, frozen=True):
    """One array: ``bytes`` bytes from ``offset`` on, row-major, little-endian."""

    name: Text
    dtype: str
    shape: Annotated[tuple[Count, ...], msgspec.Meta(min_length=1, max_length=3)]
    offset: Count

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (one element of the first axis)."""
        return np.dtype(self.dtype).itemsize * prod(self.shape[1:])

    @property
    def bytes(self) -> int:
        """Bytes of the whole array."""
        return self.row_bytes * self.shape[0]


class ColumnEntry(msgspec.Struct, frozen=True):
    """One exact column of a table file; its buffers are the arrays ``<name>.<part>``."""

    name: Text
    type: str
    nulls: Count


class FileEntry(msgspec.Struct, frozen=True):
    """One immutable Arrow file. ``columns`` is empty unless the file was written from a table."""

    path: Text
    bytes: Count
    crc32c: Checksum
    rows: Count
    arrays: tuple[ArrayEntry, ...]
    columns: tuple[ColumnEntry, ...] = ()


@lru_cache(maxsize=CHECKED)
def check_entry(entry: FileEntry) -> None:
    """Hold every offset, shape, type and length of ``entry`` against the file's length.

    Raises
    ------
    CorruptIndexError
        Names the file and what does not fit.
    """
    problem = path_problem(entry.path) or file_problem(entry)
    if problem is not None:
        raise CorruptIndexError(entry.path, f"its entry in the manifest is not valid: {problem}; restore the manifest")


def file_problem(entry: FileEntry, *, mixed: bool = False) -> str | None:
    """Why ``entry`` does not fit itself, or None. With ``mixed`` its arrays may be of any lengths."""
    if not entry.path.endswith(".arrow"):
        return "a data file ends in .arrow"
    if not 0 < entry.bytes <= LARGEST:
        return f"{entry.bytes} bytes is no length of a file"
    if len({a.name for a in entry.arrays}) != len(entry.arrays):
        return "two arrays have the same name"
    if len({c.name for c in entry.columns}) != len(entry.columns):
        return "two columns have the same name"
    for column in entry.columns:
        if not 0 <= column.nulls <= entry.rows:
            return f"column {column.name!r} has {column.nulls} nulls in {entry.rows} rows"
    rows = None if mixed or entry.columns else entry.rows
    for array in entry.arrays:
        problem = _array_problem(array, entry.bytes, rows)
        if problem is not None:
            return f"array {array.name!r}: {problem}"
    return None


def _array_problem(array: ArrayEntry, size: int, rows: int | None) -> str | None:
    if array.dtype not in DTYPES:
        return f"dtype {array.dtype!r} is none of {', '.join(DTYPES)}"
    if not 1 <= len(array.shape) <= 3 or not all(0 <= n <= LARGEST for n in array.shape):
        return f"shape {array.shape} is not of one to three axes"
    if array.row_bytes == 0:
        return f"shape {array.shape} has rows of no bytes"
    if rows is not None and array.shape[0] != rows:
        return f"shape {array.shape} does not have the file's {rows} rows"
    if array.offset < 0 or array.offset % ALIGNMENT:
        return f"offset {array.offset} is no multiple of {ALIGNMENT}"
    if array.offset + array.bytes > size:
        return f"bytes {array.offset}..{array.offset + array.bytes} lie beyond the file's {size}"
    return None
