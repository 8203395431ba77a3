"""Writing arrays and tables as Arrow files: streamed to a local file, checksummed, handed to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import UNSET

from vsearch.errors import InputError
from vsearch.storage.files.arrow import Node, Placed, write_batch
from vsearch.storage.files.column_types import type_of
from vsearch.storage.files.columns import column_buffers, storable
from vsearch.storage.files.entries import CHUNK, DTYPES, ArrayEntry, ColumnEntry, FileEntry, check_entry, chunk_for
from vsearch.storage.files.local_file import LocalFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.storage.files.arrow import Buffer
    from vsearch.storage.stores.base import Store

    Columns = Iterator[tuple[list[Node], list[Buffer]]]


def write_arrays(
    store: Store, path: str, arrays: Mapping[str, NDArray[np.generic]]
) -> tuple[FileEntry, NDArray[np.uint32]]:
    """Write arrays of equal length as the columns of an Arrow file.

    Memory beyond the arrays stays at a few megabytes for any size: arrays may be memory maps and need not be contiguous.

    Parameters
    ----------
    store
    path
        Path in the store; must not have been used before.
    arrays
        By name: 1 to 3 dimensions, all with the same first one, of an integer or floating type. Arrays with more than one
        dimension become ``fixed_size_list`` columns.

    Returns
    -------
    entry : FileEntry
    checksums : uint32 (chunks,)
        CRC32C of every ``entry.chunk_bytes`` bytes of the file.

    Raises
    ------
    InputError
        An array has an unsupported type or shape.
    """
    import pyarrow as pa

    lengths = {array.shape[0] if array.ndim else -1 for array in arrays.values()}
    if len(lengths) != 1:
        raise InputError(f"{path}: arrays of one file must have the same length, got {sorted(lengths)}")
    check_arrays(path, arrays)
    rows = lengths.pop()
    fields = [pa.field(name, row_type(array.dtype, array.shape), nullable=False) for name, array in arrays.items()]

    def columns() -> Columns:
        for array in arrays.values():
            if array.ndim == 1:
                yield [Node(rows, 0)], [None, array]
            else:
                width = int(np.prod(array.shape[1:]))
                yield [Node(rows, 0), Node(rows * width, 0)], [None, None, array]

    def entries(placed: Placed) -> Iterator[ArrayEntry]:
        at = -1
        for name, array in arrays.items():
            at += 2 if array.ndim == 1 else 3
            yield ArrayEntry(name, array.dtype.name, tuple(map(int, array.shape)), placed.offsets[at])

    with LocalFile(store, path) as local:
        placed = local.write(lambda file: write_batch(file, pa.schema(fields), rows, columns()))
        return _finish(local, path, rows, tuple(entries(placed)), ())


def check_arrays(path: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Refuse arrays of types and shapes that cannot be stored.

    Raises
    ------
    InputError
        The type or shape of an array is not supported.
    """
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES or not 1 <= array.ndim <= 3 or 0 in array.shape[1:]:
            raise InputError(f"{path}: {name!r} is {array.dtype} {array.shape}, which cannot be stored")


def row_type(dtype: np.dtype[Any], shape: tuple[int, ...]) -> pa.DataType:
    """The Arrow type of one row of an array."""
    import pyarrow as pa

    element = pa.from_numpy_dtype(dtype.newbyteorder("="))
    if len(shape) == 1:
        return element
    width = int(np.prod(shape[1:]))
    return pa.list_(pa.field("item", element, nullable=False), width)


def write_table(store: Store, path: str, table: pa.Table) -> tuple[FileEntry, NDArray[np.uint32]]:
    """Write a table as an Arrow file whose columns :meth:`SegmentFile.take` reads by row.

    Columns are copied one at a time while they are written.

    Parameters
    ----------
    store
    path
        Path in the store; must not have been used before.
    table
        Columns of numbers, bool, string, date, timestamp or lists of these, with or without nulls.

    Returns
    -------
    entry : FileEntry
        With an array for every buffer: ``<column>.validity``, ``.values`` or ``.offsets`` and ``.data``, and for lists
        ``.offsets`` and ``.item_validity``, ``.item_values`` or ``.item_offsets`` and ``.item_data``.
    checksums : uint32 (chunks,)

    Raises
    ------
    InputError
        A column has a type that cannot be stored, or names are duplicated.
    """
    import pyarrow as pa

    fields = table_fields(path, table)
    types = [type_of(field.type).name for field in fields]
    parts: list[tuple[str, NDArray[np.generic] | None]] = []
    columns: list[ColumnEntry] = []

    def convert_columns() -> Columns:
        for field, name_of_type in zip(fields, types, strict=True):
            nodes, buffers = column_buffers(table.column(field.name), field.type)
            columns.append(ColumnEntry(field.name, name_of_type, nodes[0].nulls))
            parts.extend((f"{field.name}.{part}", _empty_like(buffer)) for part, buffer in buffers)
            yield nodes, [buffer for _, buffer in buffers]

    with LocalFile(store, path) as local:
        placed = local.write(lambda file: write_batch(file, pa.schema(fields), table.num_rows, convert_columns()))
        entries = tuple(
            ArrayEntry(name, like.dtype.name, (length // like.itemsize,), offset)
            for (name, like), offset, length in zip(parts, placed.offsets, placed.lengths, strict=True)
            if like is not None
        )
        return _finish(local, path, table.num_rows, entries, tuple(columns))


def _finish(
    local: LocalFile, path: str, rows: int, arrays: tuple[ArrayEntry, ...], columns: tuple[ColumnEntry, ...]
) -> tuple[FileEntry, NDArray[np.uint32]]:
    size, checksum, chunks = local.sums()
    chunk = chunk_for(size)
    entry = FileEntry(path, size, checksum, rows, arrays, columns, UNSET if chunk == CHUNK else chunk)
    check_entry(entry)
    local.put()
    return entry, chunks


def table_fields(path: str, table: pa.Table) -> list[pa.Field]:
    """The columns of a table with the types in which they are stored.

    Raises
    ------
    InputError
        A column has a type that cannot be stored, or names are missing or duplicated.
    """
    import pyarrow as pa

    names = list(table.column_names)
    if not names or len(set(names)) != len(names) or "" in names:
        raise InputError(f"{path}: column names must be distinct and not empty, got {names}")
    return [pa.field(name, storable(name, table.column(name))) for name in names]


def _empty_like(buffer: Buffer) -> NDArray[np.generic] | None:
    return None if buffer is None else np.empty(0, buffer.dtype)
