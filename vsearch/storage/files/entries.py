"""Manifest entries of files: size, checksum and position of each array.

Entries of a hostile or damaged manifest may be wrong, so none is used before :func:`check_entry` has validated it against the
file's length.
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
"""Largest size of a chunk, the bytes that are checksummed, fetched and verified together; that of files whose entries state none."""

SMALLEST_CHUNK = 1024
"""Smallest size of a chunk in bytes."""

MOST_CHUNKS = 65536
"""Number of chunks above which a file has larger ones, up to `CHUNK`: all checksums are read when an index is opened."""

ALIGNMENT = 64
"""Every buffer starts at a multiple of this many bytes."""

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
"""Element types of arrays; little-endian in the file."""

LARGEST = 2**62
"""Upper limit of all counts, offsets and lengths."""

CHECKED = 1 << 14
"""Number of validated entries to cache: snapshots of an index share most of their entries."""

Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Checksum = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class ArrayEntry(msgspec.Struct, frozen=True):
    """One array: ``bytes`` bytes at ``offset``, row-major, little-endian."""

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
    """One immutable Arrow file. ``columns`` is empty unless the file was written from a table; ``chunk`` is unset if chunks have `CHUNK` bytes."""

    path: Text
    bytes: Count
    crc32c: Checksum
    rows: Count
    arrays: tuple[ArrayEntry, ...]
    columns: tuple[ColumnEntry, ...] = ()
    chunk: Annotated[int, msgspec.Meta(ge=SMALLEST_CHUNK, le=CHUNK)] | msgspec.UnsetType = msgspec.UNSET

    @property
    def chunk_bytes(self) -> int:
        """Number of bytes that are checksummed together."""
        return CHUNK if self.chunk is msgspec.UNSET else self.chunk

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.bytes // self.chunk_bytes)


def chunk_for(size: int) -> int:
    """Return the size of the chunks of a file of ``size`` bytes: small, so that reading a range reads little else."""
    chunk = SMALLEST_CHUNK
    while chunk < CHUNK and chunk * MOST_CHUNKS < size:
        chunk *= 2
    return chunk


def check_entry(entry: FileEntry) -> None:
    """Validate every offset, shape, type and length of ``entry`` against the length of the file.

    Raises
    ------
    CorruptIndexError
        The entry is invalid; the error names the file and the reason.
    """
    if entry.arrays:
        _check(entry)
    else:
        _check.__wrapped__(entry)  # a bundle, of which each commit has another one


@lru_cache(maxsize=CHECKED)
def _check(entry: FileEntry) -> None:
    problem = path_problem(entry.path) or file_problem(entry)
    if problem is not None:
        raise CorruptIndexError(entry.path, f"its entry in the manifest is invalid: {problem}; restore the manifest")


def file_problem(entry: FileEntry, *, mixed: bool = False) -> str | None:
    """Return why ``entry`` is inconsistent, or None. With ``mixed``, its arrays may differ in length."""
    if not entry.path.endswith(".arrow"):
        return "the path of a data file must end in .arrow"
    if not 0 < entry.bytes <= LARGEST:
        return f"{entry.bytes} bytes is not a valid file length"
    chunk = entry.chunk_bytes
    if not SMALLEST_CHUNK <= chunk <= CHUNK or chunk & (chunk - 1):
        return f"chunks of {chunk} bytes are not a power of two from {SMALLEST_CHUNK} to {CHUNK}"
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
        return f"dtype must be one of {', '.join(DTYPES)}, got {array.dtype!r}"
    if not 1 <= len(array.shape) <= 3 or not all(0 <= n <= LARGEST for n in array.shape):
        return f"shape {array.shape} does not have one to three valid dimensions"
    if array.row_bytes == 0:
        return f"shape {array.shape} has empty rows"
    if rows is not None and array.shape[0] != rows:
        return f"shape {array.shape} does not match the file's {rows} rows"
    if array.offset < 0 or array.offset % ALIGNMENT:
        return f"offset {array.offset} is not a multiple of {ALIGNMENT}"
    if array.offset + array.bytes > size:
        return f"bytes {array.offset}..{array.offset + array.bytes} exceed the file's {size}"
    return None
