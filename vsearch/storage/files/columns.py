"""Exact columns of a table file: types, buffers, and reading by row.

A column of ``n`` rows is stored as in Arrow: a validity bitmap if it has nulls, then values; bool as bits; decimals as pairs
of int64; strings as offsets and data; lists as offsets and the buffers of the items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import CorruptIndexError, InputError
from vsearch.storage.files.arrow import Node
from vsearch.storage.files.column_layout import check_layout, damaged
from vsearch.storage.files.column_types import ColumnType, column_type, shortest, type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.storage.files.entries import ColumnEntry
    from vsearch.storage.files.segment_file import SegmentFile

_LARGEST_SMALL = 2**31 - 1


def storable(name: str, column: pa.ChunkedArray) -> pa.DataType:
    """The type in which a column is stored: its own, except that views become plain and 2 GB of text needs large offsets.

    Raises
    ------
    InputError
        The type of the column cannot be stored; the error names the column.
    """
    import pyarrow as pa

    arrow = column.type
    large = column.nbytes > _LARGEST_SMALL
    if pa.types.is_string_view(arrow) or (large and pa.types.is_string(arrow)):
        return pa.large_string()
    if large and pa.types.is_list(arrow):
        inner = arrow.value_type
        arrow = pa.large_list(pa.large_string() if pa.types.is_string(inner) else inner)
    try:
        type_of(arrow)
    except InputError as error:
        raise InputError(f"column {name!r}: {error}") from None
    return arrow


def column_buffers(
    column: pa.ChunkedArray, arrow: pa.DataType
) -> tuple[list[Node], list[tuple[str, NDArray[np.generic] | None]]]:
    """Nodes and named buffers of a column cast to ``arrow``, depth first, starting at offset 0 and without excess length."""
    import pyarrow as pa

    if not column.type.equals(arrow):
        column = column.cast(arrow)
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], arrow)
    batch = pa.RecordBatch.from_arrays([array], names=["column"])
    # Serialization rebases a sliced array: offsets start at 0, bitmaps at bit 0.
    rebased = pa.ipc.read_record_batch(batch.serialize(), batch.schema).column(0)
    nodes, named = _parts(rebased, type_of(arrow), "")
    return nodes, named


def _parts(
    array: Any, kind: ColumnType, prefix: str
) -> tuple[list[Node], list[tuple[str, NDArray[np.generic] | None]]]:
    rows = len(array)
    buffers = array.buffers()
    nodes = [Node(rows, array.null_count)]
    validity = _slice(buffers[0], "|u1", -(-rows // 8)) if array.null_count else None
    named: list[tuple[str, NDArray[np.generic] | None]] = [(f"{prefix}validity", validity)]
    dtype = np.dtype(kind.dtype).newbyteorder("<")
    if kind.layout == "fixed":
        return nodes, [*named, (f"{prefix}values", _slice(buffers[1], dtype, kind.form.numbers * rows))]
    if kind.layout == "bits":
        return nodes, [*named, (f"{prefix}values", _slice(buffers[1], "|u1", -(-rows // 8)))]
    offsets = _slice(buffers[1], dtype, rows + 1 if rows else 0)
    named.append((f"{prefix}offsets", offsets))
    if kind.item is None:
        return nodes, [*named, (f"{prefix}data", _slice(buffers[2], "|u1", int(offsets[-1]) if rows else 0))]
    more, inner = _parts(array.values, kind.item, "item_")
    return nodes + more, named + inner


def _slice(buffer: Any, dtype: Any, count: int) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype, count) if count else np.empty(0, dtype)


def as_written(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Prepare a column for its reader: float16 and float32 become float64, as the shortest decimals that identify them.

    That way 0.1 is returned as 0.1, and rounding to the column's own type restores the stored value bit by bit.
    """
    import pyarrow as pa

    large = pa.types.is_large_list(column.type)
    if (large or pa.types.is_list(column.type)) and pa.types.is_floating(column.type.value_type):
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_float64(array.type.value_type):
            return column
        kind = pa.LargeListArray if large else pa.ListArray
        return kind.from_arrays(array.offsets, as_written(array.values), mask=array.is_null())
    if pa.types.is_float32(column.type):
        return column.cast(pa.string()).cast(pa.float64())
    if pa.types.is_float16(column.type):
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        halves = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float16)
        return pa.array(shortest(halves), pa.float64(), mask=~valid, from_pandas=False)
    return column


def take(file: SegmentFile, columns: Sequence[str], rows: NDArray[np.int64]) -> pa.Table:
    """Read exact columns by row, in the order of ``rows``, which may repeat. Reads only the bytes that these rows need.

    Parameters
    ----------
    file : SegmentFile
    columns : sequence of str
    rows : int64 (n,)

    Returns
    -------
    pyarrow.Table
        ``n`` rows.

    Raises
    ------
    InputError
        There is no such column or row.
    CorruptIndexError
        The file is damaged.
    """
    import pyarrow as pa

    rows = np.ascontiguousarray(rows, np.int64)
    if rows.ndim != 1 or (len(rows) and not 0 <= rows.min() <= rows.max() < file.entry.rows):
        raise InputError(f"{file.path}: rows to take must be in 0..{file.entry.rows - 1}")
    readers = [_Reader(file, _column(file, name)) for name in columns]
    if len(rows):
        # Two or three rounds for any number of columns: bitmaps, values and offsets; then the ranges that the offsets refer to.
        file.ensure_arrays([part for reader in readers for part in reader.first(rows)])
        file.ensure_arrays([part for reader in readers for part in reader.second(rows)])
        file.ensure_arrays([part for reader in readers for part in reader.third()])
    arrays = [reader.array(rows) for reader in readers]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _column(file: SegmentFile, name: str) -> ColumnEntry:
    for column in file.entry.columns:
        if column.name == name:
            return column
    known = ", ".join(column.name for column in file.entry.columns) or "none"
    raise InputError(f"{file.path}: there is no column {name!r}; the columns are: {known}")


Parts = list[tuple[str, "NDArray[np.int64]", "NDArray[np.int64]"]]


class _Reader:
    """Plans the byte ranges of one column that some rows need, round by round, and extracts the rows."""

    def __init__(self, file: SegmentFile, column: ColumnEntry) -> None:
        self._file = file
        self._column = column
        kind = column_type(column.type)
        arrow = None if kind is None else kind.arrow()
        if kind is None or arrow is None:
            raise self._damaged(f"type {column.type!r} is unknown")
        self._type, self._arrow_type = kind, arrow
        self._rows = file.entry.rows
        self._items = check_layout(file, column, kind)

    def first(self, rows: NDArray[np.int64]) -> Parts:
        """Ranges of bitmaps, and of values or offsets."""
        parts = self._bits("validity", rows) if self._column.nulls else []
        if self._type.layout == "bits":
            return [*parts, *self._bits("values", rows)]
        if self._type.layout == "fixed":
            numbers = self._type.form.numbers
            return [*parts, (self._name("values"), numbers * rows, numbers * (rows + 1))]
        return [*parts, (self._name("offsets"), rows, rows + 2)]

    def second(self, rows: NDArray[np.int64]) -> Parts:
        """Ranges that the offsets point to: text, or the items of lists."""
        if self._type.layout in ("fixed", "bits"):
            return []
        item = self._type.item
        starts, stops = self._pointed("offsets", rows, self._length("data") if item is None else self._items)
        self._inner = np.empty(0, np.int64), np.empty(0, np.int64)
        if item is None:
            return [(self._name("data"), starts, stops)]
        full = stops > starts
        starts, stops = starts[full], stops[full]
        self._inner = starts, stops
        parts: Parts = []
        if self._has("item_validity"):
            parts.append((self._name("item_validity"), starts // 8, (stops + 7) // 8))
        if item.layout == "text":
            return [*parts, (self._name("item_offsets"), starts, stops + 1)]
        if item.layout == "bits":
            return [*parts, (self._name("item_values"), starts // 8, (stops + 7) // 8)]
        numbers = item.form.numbers
        return [*parts, (self._name("item_values"), numbers * starts, numbers * stops)]

    def third(self) -> Parts:
        """Ranges of the text of list items."""
        if self._type.item is None or self._type.item.layout != "text":
            return []
        starts, stops = self._inner
        lengths = stops - starts
        items = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return [(self._name("item_data"), *self._pointed("item_offsets", items, self._length("item_data")))]

    def array(self, rows: NDArray[np.int64]) -> pa.Array:
        """Extract the rows, by pyarrow on the file's own bytes."""
        import pyarrow as pa

        if len(rows) == 0:
            return pa.array([], self._arrow_type)
        try:
            selected = self._arrow().take(pa.array(rows))
            selected.validate(full=True)  # strings are UTF-8, decimals fit the precision of their type
        except pa.ArrowInvalid as error:
            raise self._damaged(str(error)) from None
        return selected

    def _arrow(self) -> pa.Array:
        import pyarrow as pa

        children, kind = [], self._arrow_type
        if self._type.item is not None:
            nulls, buffers = 1 if self._has("item_validity") else 0, self._buffers(self._type.item, "item_")
            item: Any = self._type.item.arrow()
            children = [pa.Array.from_buffers(item, self._items, buffers, null_count=nulls)]
            buffers = [self._buffer("validity"), self._buffer("offsets")]
        else:
            buffers = self._buffers(self._type, "")
        return pa.Array.from_buffers(kind, self._rows, buffers, null_count=self._column.nulls, children=children)

    def _buffers(self, kind: ColumnType, prefix: str) -> list[Any]:
        parts = ("offsets", "data") if kind.layout == "text" else ("values",)
        return [self._buffer(f"{prefix}validity"), *(self._buffer(prefix + part) for part in parts)]

    def _buffer(self, part: str) -> Any:
        import pyarrow as pa

        return pa.py_buffer(self._file.array(self._name(part))) if self._has(part) else None

    def _bits(self, part: str, rows: NDArray[np.int64]) -> Parts:
        return [(self._name(part), rows // 8, rows // 8 + 1)]

    def _pointed(self, part: str, rows: NDArray[np.int64], limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        offsets = self._file.array(self._name(part))
        starts, stops = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
        if len(rows) and not (starts.min() >= 0 and (stops >= starts).all() and stops.max() <= limit):
            raise self._damaged(f"{part} point outside their {limit} elements")
        return starts, stops

    def _name(self, part: str) -> str:
        return f"{self._column.name}.{part}"

    def _has(self, part: str) -> bool:
        return self._name(part) in self._file.arrays

    def _length(self, part: str) -> int:
        return self._file.arrays[self._name(part)].shape[0]

    def _damaged(self, reason: str) -> CorruptIndexError:
        return damaged(self._file, self._column, reason)
