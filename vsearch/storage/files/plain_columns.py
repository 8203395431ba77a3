"""Columns as plain buffers, for messages and for functions: no Arrow library is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.column_layout import check_layout, damaged
from vsearch.storage.files.column_types import ColumnType, arrow_type, column_type

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.storage.files.segment_file import SegmentFile

LARGEST_ROWS = 1 << 31

Rows = NDArray[np.int64]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values of one column, or the items of its lists.

    Attributes
    ----------
    type : str
        Name of the Arrow type, as in the manifest.
    rows : int
    valid : bytes or None
        One byte per row, 1 if it is not NULL; None if no row is NULL.
    values : bytes
        Fixed-width values, little-endian; bools as one byte; the text of strings. Empty for lists.
    offsets : bytes or None
        int64 (rows + 1,): start and end of each string or list.
    items : Column or None
        The items of lists.
    """

    type: Annotated[str, msgspec.Meta(max_length=200)]
    rows: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_ROWS)]
    valid: bytes | None
    values: bytes
    offsets: bytes | None = None
    items: Column | None = None


def check_column(column: Column, rows: int) -> None:
    """Check that all lengths and offsets of a column from a message are consistent.

    Raises
    ------
    ValueError
        They are not.
    """
    if column.rows != rows:
        raise ValueError(f"a column must have {rows} rows, got {column.rows}")
    if column.valid is not None and len(column.valid) != rows:
        raise ValueError("a column's validity is not one byte per row")
    kind = _type(column.type)
    if kind.layout in ("fixed", "bits"):
        if column.offsets is not None or column.items is not None or len(column.values) != rows * kind.width:
            raise ValueError(f"a column of type {column.type!r} has values of another length")
        return
    if column.offsets is None or len(column.offsets) != 8 * (rows + 1):
        raise ValueError("a column's offsets are not one more than its rows")
    offsets = np.frombuffer(column.offsets, np.int64)
    total = len(column.values) if kind.item is None else (0 if column.items is None else column.items.rows)
    if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        raise ValueError("a column's offsets do not ascend to the end of its values")
    if kind.item is not None:
        if column.items is None or column.values or column.items.type != kind.item.name:
            raise ValueError("a list column has no items of its type")
        check_column(column.items, total)
    elif column.items is not None:
        raise ValueError("a text column has items")


def read_column(file: SegmentFile, name: str, rows: Rows) -> Column:
    """Read a column of a segment file at some rows, in their order; reads only what these rows need.

    Parameters
    ----------
    file : SegmentFile
        Of attributes or ids.
    rows : int64 (n,)
        Must be valid rows of the file; not checked here.

    Raises
    ------
    CorruptIndexError
        The column is damaged, or its type is unknown.
    """
    column = next((column for column in file.entry.columns if column.name == name), None)
    if column is None:  # an array of integers, not a column of a table
        file.ensure(name, rows, rows + 1)
        return Column("int64", len(rows), None, file.array(name)[rows].astype(np.int64).tobytes())
    stored, kind = column_type(column.type), column_type(_small(column.type))
    if stored is None or kind is None:
        raise damaged(file, column, f"type {column.type!r} is unknown")
    check_layout(file, column, stored)
    return _read(file, f"{name}.", kind, rows, nulls=column.nulls > 0)


def empty_column(kind: str) -> Column:
    """A column without rows, of a type given by its name in manifests."""
    return _empty(_type(_small(kind)))


def _empty(kind: ColumnType) -> Column:
    if kind.layout in ("fixed", "bits"):
        return Column(kind.name, 0, None, b"")
    items = None if kind.item is None else _empty(kind.item)
    return Column(kind.name, 0, None, b"", _offsets(np.empty(0, np.int64)), items)


def null_column(kind: str, rows: int) -> Column:
    """A column of NULLs, of a type given by its name in manifests."""
    return _null(_type(_small(kind)), rows)


def _null(kind: ColumnType, rows: int) -> Column:
    if kind.layout in ("fixed", "bits"):
        return Column(kind.name, rows, bytes(rows), bytes(rows * kind.width))
    items = None if kind.item is None else _empty(kind.item)
    return Column(kind.name, rows, bytes(rows), b"", bytes(8 * (rows + 1)), items)


def gather(column: Column, at: Rows) -> Column:
    """Rows of a column by position."""
    valid = None if column.valid is None else np.frombuffer(column.valid, np.uint8)[at].tobytes()
    if column.offsets is None:
        width = _type(column.type).width
        values = np.frombuffer(column.values, f"V{width}")[at].tobytes()
        return Column(column.type, len(at), valid, values)
    offsets = np.frombuffer(column.offsets, np.int64)
    starts, lengths = offsets[at], offsets[at + 1] - offsets[at]
    inner = _spread(starts, lengths)
    moved = _offsets(lengths)
    if column.items is None:
        return Column(column.type, len(at), valid, np.frombuffer(column.values, np.uint8)[inner].tobytes(), moved)
    return Column(column.type, len(at), valid, b"", moved, gather(column.items, inner))


def concatenate(columns: Sequence[Column]) -> Column:
    """Columns of one type, one after another.

    Raises
    ------
    ValueError
        Their types differ.
    """
    first = columns[0]
    if any(column.type != first.type for column in columns):
        raise ValueError(f"columns of types {sorted({column.type for column in columns})} cannot be joined")
    rows = sum(column.rows for column in columns)
    valid = None
    if any(column.valid is not None for column in columns):
        valid = b"".join(b"\1" * column.rows if column.valid is None else column.valid for column in columns)
    values = b"".join(column.values for column in columns)
    if first.offsets is None:
        return Column(first.type, rows, valid, values)
    lengths = np.concatenate([np.diff(np.frombuffer(column.offsets or bytes(8), np.int64)) for column in columns])
    items = None
    if first.items is not None:
        items = concatenate([column.items for column in columns if column.items is not None])
    return Column(first.type, rows, valid, values, _offsets(lengths), items)


def to_arrow(column: Column) -> pa.Array:
    """Convert to an Arrow array of the type that the index stores."""
    import pyarrow as pa

    kind: Any = arrow_type(column.type)
    if kind is None:
        raise ValueError(f"no Arrow type is named {column.type!r}")
    valid = None if column.valid is None else np.frombuffer(column.valid, np.uint8)
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    nulls = 0 if valid is None else int(np.count_nonzero(valid == 0))
    if column.offsets is None:
        values = column.values
        if _type(column.type).layout == "bits":
            values = np.packbits(np.frombuffer(values, np.uint8), bitorder="little").tobytes()
        return pa.Array.from_buffers(kind, column.rows, [bits, pa.py_buffer(values)], null_count=nulls)
    offsets = pa.py_buffer(np.frombuffer(column.offsets, np.int64).astype(np.int32).tobytes())
    if column.items is None:
        buffers = [bits, offsets, pa.py_buffer(column.values)]
        return pa.Array.from_buffers(kind, column.rows, buffers, null_count=nulls)
    children = [to_arrow(column.items)]
    return pa.Array.from_buffers(kind, column.rows, [bits, offsets], null_count=nulls, children=children)


def _read(file: SegmentFile, prefix: str, kind: ColumnType, rows: Rows, *, nulls: bool) -> Column:
    valid = _read_bits(file, f"{prefix}validity", rows) if nulls else None
    present = None if valid is None else valid.tobytes()
    if kind.layout in ("fixed", "bits"):
        values, numbers = f"{prefix}values", kind.form.numbers
        if kind.layout == "bits":
            return Column(kind.name, len(rows), present, _read_bits(file, values, rows).tobytes())
        file.ensure(values, numbers * rows, numbers * (rows + 1))
        array = file.array(values)
        selected = array[rows] if numbers == 1 else array[: len(array) // numbers * numbers].reshape(-1, numbers)[rows]
        return Column(kind.name, len(rows), present, selected.tobytes())
    name, limit = f"{prefix}offsets", _inner_rows(file, prefix, kind)
    file.ensure(name, rows, rows + 2)
    offsets = file.array(name)
    starts, stops = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
    if len(rows) and not (starts.min() >= 0 and (stops >= starts).all() and stops.max() <= limit):
        raise CorruptIndexError(file.path, f"{name} point outside their {limit} elements; restore the file")
    if valid is not None:  # values of NULL rows are never read
        stops = np.where(valid == 0, starts, stops)
    lengths = stops - starts
    inner = _spread(starts, lengths)
    if kind.item is None:
        file.ensure(f"{prefix}data", starts, stops)
        text = file.array(f"{prefix}data")[inner]
        if not _are_texts(text, np.cumsum(lengths) - lengths):
            raise CorruptIndexError(file.path, f"{prefix}data is not UTF-8; restore the file")
        return Column(kind.name, len(rows), present, text.tobytes(), _offsets(lengths))
    stored = file.arrays.get(f"{prefix}item_validity")
    present_items = stored is not None and stored.shape[0] > 0
    items = _read(file, f"{prefix}item_", kind.item, inner, nulls=present_items)
    return Column(kind.name, len(rows), present, b"", _offsets(lengths), items)


def _are_texts(data: NDArray[np.uint8], starts: Rows) -> bool:
    """Whether consecutive strings that start at these offsets are each valid UTF-8."""
    try:
        str(data.data, "utf-8")
    except UnicodeDecodeError:
        return False
    first = data[starts[starts < len(data)]]
    return not bool(((first & 0xC0) == 0x80).any())  # no string starts inside a character


def _inner_rows(file: SegmentFile, prefix: str, kind: ColumnType) -> int:
    """Number of elements that the offsets of a column refer to."""
    if kind.item is None:
        return file.arrays[f"{prefix}data"].shape[0]
    if kind.item.layout == "text":
        return max(0, file.arrays[f"{prefix}item_offsets"].shape[0] - 1)
    count = file.arrays[f"{prefix}item_values"].shape[0]
    return 8 * count if kind.item.layout == "bits" else count // kind.item.form.numbers


def _read_bits(file: SegmentFile, name: str, rows: Rows) -> NDArray[np.uint8]:
    file.ensure(name, rows >> 3, (rows >> 3) + 1)
    bits: NDArray[np.uint8] = (file.array(name)[rows >> 3] >> (rows & 7).astype(np.uint8)) & np.uint8(1)
    return bits


def _spread(starts: Rows, lengths: Rows) -> Rows:
    """Positions start, start + 1, ... of every run, one run after another."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(int(ends[-1]) if len(ends) else 0)


def _offsets(lengths: Rows) -> bytes:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64).tobytes()


def _small(kind: str) -> str:
    """The name of a type in a message, where offsets are always int64."""
    return kind.replace("large_", "")


def wide_name(kind: str) -> str:
    """The name of a message's type in a file with int64 offsets."""
    return kind.replace("string", "large_string").replace("list<", "large_list<")


def _type(kind: str) -> ColumnType:
    """The type of a column in a message.

    Raises
    ------
    ValueError
        There is no type with this name.
    """
    form = column_type(kind) if kind == _small(kind) else None
    if form is None:
        raise ValueError(f"no column has the type {kind!r}")
    return form
