"""Rows of deltas and of the tail without pyarrow, for functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.column_types import ColumnType, column_type
from vsearch.storage.files.entries import ALIGNMENT, ArrayEntry, ColumnEntry, FileEntry
from vsearch.storage.files.file_bytes import FileBytes, ReadCounts
from vsearch.storage.files.plain_columns import Column, concatenate, gather, null_column, read_column, wide_name
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.stores.held import HeldBytes

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class PlainTable:
    """Columns of equal length, by name."""

    rows: int
    columns: Mapping[str, Column]

    def take(self, order: NDArray[np.int64]) -> PlainTable:
        """Return selected rows, in the given order."""
        return PlainTable(len(order), {name: gather(column, order) for name, column in self.columns.items()})


def read_table(file: SegmentFile, rows: NDArray[np.int64]) -> PlainTable:
    """Read rows of all columns of a part of a bundle."""
    return PlainTable(len(rows), {entry.name: read_column(file, entry.name, rows) for entry in file.entry.columns})


def stack_tables(path: str, tables: Sequence[PlainTable | None], counts: Sequence[int]) -> PlainTable | None:
    """Concatenate tables; missing columns are NULL.

    Raises
    ------
    CorruptIndexError
        A column has several types.
    """
    types = {name: column.type for table in tables if table is not None for name, column in table.columns.items()}
    if not types:
        return None
    stacked = {}
    for name, kind in types.items():
        parts = [
            null_column(kind, count) if table is None or name not in table.columns else table.columns[name]
            for table, count in zip(tables, counts, strict=True)
        ]
        try:
            stacked[name] = concatenate(parts)
        except ValueError as error:
            raise CorruptIndexError(path, f"the column {name!r}: {error}") from None
    return PlainTable(sum(counts), stacked)


def table_arrays(table: PlainTable) -> tuple[Arrays, tuple[ColumnEntry, ...]]:
    """Return the buffers of a table as stored in files, by name, and the entries of its columns."""
    arrays: Arrays = {}
    entries = []
    for name, column in table.columns.items():
        kind = column_type(column.type)
        if kind is None:
            raise ValueError(f"unknown column type {column.type!r}")
        arrays |= _buffers(f"{name}.", column, kind)
        nulls = 0 if column.valid is None else column.valid.count(0)
        entries.append(ColumnEntry(name, wide_name(column.type), nulls))
    return arrays, tuple(entries)


def _buffers(prefix: str, column: Column, kind: ColumnType) -> Arrays:
    arrays: Arrays = {}
    if column.valid is not None:
        arrays[f"{prefix}validity"] = np.packbits(np.frombuffer(column.valid, np.uint8), bitorder="little")
    if kind.layout == "bits":
        arrays[f"{prefix}values"] = np.packbits(np.frombuffer(column.values, np.uint8), bitorder="little")
    elif kind.layout == "fixed":
        arrays[f"{prefix}values"] = np.frombuffer(column.values, kind.dtype)
    else:
        arrays[f"{prefix}offsets"] = np.frombuffer(column.offsets or bytes(8), np.int64)
        if kind.item is None or column.items is None:
            arrays[f"{prefix}data"] = np.frombuffer(column.values, np.uint8)
        else:
            arrays |= _buffers(f"{prefix}item_", column.items, kind.item)
    return arrays


def hold_parts(path: str, parts: Mapping[str, Arrays | PlainTable], rows: int) -> dict[str, SegmentFile]:
    """Return in-memory files with the arrays or tables of `rows` rows, by name."""
    entries, at = {}, 0
    pieces: list[tuple[int, NDArray[Any]]] = []
    for name, part in parts.items():
        arrays, columns = table_arrays(part) if isinstance(part, PlainTable) else (part, ())
        placed = []
        for array_name, array in arrays.items():
            placed.append(ArrayEntry(array_name, array.dtype.name, array.shape, at))
            pieces.append((at, array))
            at += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        entries[name] = tuple(placed), columns
    size = max(at, ALIGNMENT)
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    data = buffer[(-buffer.ctypes.data) % ALIGNMENT :][:size]
    for start, array in pieces:
        data[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    store = HeldBytes()
    store.hold(path, data)
    shared = FileBytes(store, path, size)
    shared.cover(np.zeros(1, np.uint32), size, size, verify=False)
    shared.fill(np.ones(1, np.bool_), ReadCounts())
    return {
        name: SegmentFile.part(shared, FileEntry(path, size, 0, rows, placed, columns))
        for name, (placed, columns) in entries.items()
    }
