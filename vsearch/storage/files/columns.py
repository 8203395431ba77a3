"""Exact columns of a table file: their types, their buffers, and reading some of their rows.

A column of ``n`` rows is stored as Arrow stores it: a validity bitmap where it has nulls, then values; bool as bits;
decimals as pairs of int64; strings as offsets and data; lists as offsets and the items' own buffers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import CorruptIndexError, InputError
from vsearch.storage.files.arrow import Node
from vsearch.storage.files.entries import DTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.storage.files.entries import ColumnEntry
    from vsearch.storage.files.segment_file import SegmentFile

_FIXED = DTYPES
_TEXT = {"string": "int32", "large_string": "int64"}
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=([A-Za-z0-9_+:/-]{1,64}))?\]")
_DECIMAL = re.compile(r"decimal128\(([0-9]{1,2}), (-?[0-9]{1,3})\)", re.ASCII)
_LIST = re.compile(r"(large_list|list)<(.+)>")
_LARGEST_SMALL = 2**31 - 1


def type_name(arrow: pa.DataType) -> str:
    """The name under which an Arrow type is kept in a manifest.

    Raises
    ------
    InputError
        The type cannot be stored.
    """
    import pyarrow as pa

    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        inner = type_name(arrow.value_type)
        if not _LIST.fullmatch(inner):
            return f"{'large_list' if pa.types.is_large_list(arrow) else 'list'}<{inner}>"
    elif pa.types.is_timestamp(arrow):
        name = f"timestamp[{arrow.unit}, tz={arrow.tz}]" if arrow.tz else f"timestamp[{arrow.unit}]"
        if _TIMESTAMP.fullmatch(name):
            return name
    elif pa.types.is_decimal128(arrow):
        return f"decimal128({arrow.precision}, {arrow.scale})"
    else:
        for name in (*_FIXED, "bool", "date32", *_TEXT):
            if arrow.equals(_plain(name)):
                return name
    raise InputError(f"{arrow} columns cannot be stored; cast them to a number, string, date or list")


def _plain(name: str) -> pa.DataType:
    import pyarrow as pa

    aliases = {"bool": pa.bool_, "date32": pa.date32, "string": pa.string, "large_string": pa.large_string}
    return aliases[name]() if name in aliases else getattr(pa, name)()


def arrow_type(name: str) -> pa.DataType | None:
    """The Arrow type of a name from a manifest; None for a name that is none."""
    import pyarrow as pa

    if name in _FIXED or name in ("bool", "date32", *_TEXT):
        return _plain(name)
    timestamp = _TIMESTAMP.fullmatch(name)
    if timestamp:
        return pa.timestamp(*timestamp.groups())
    decimal = _DECIMAL.fullmatch(name)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2])) if 1 <= int(decimal[1]) <= 38 else None
    of_list = _LIST.fullmatch(name)
    if of_list and not _LIST.fullmatch(of_list[2]):
        inner = arrow_type(of_list[2])
        if inner is not None:
            return pa.large_list(inner) if of_list[1] == "large_list" else pa.list_(inner)
    return None


def storable(name: str, column: pa.ChunkedArray) -> pa.DataType:
    """The type in which a column is stored: its own, but views become plain and 2 GB of text needs large offsets.

    Raises
    ------
    InputError
        Names the column whose type cannot be stored.
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
        type_name(arrow)
    except InputError as error:
        raise InputError(f"column {name!r}: {error}") from None
    return arrow


def column_buffers(
    column: pa.ChunkedArray, arrow: pa.DataType
) -> tuple[list[Node], list[tuple[str, NDArray[np.generic] | None]]]:
    """Nodes and named buffers of a column cast to ``arrow``, depth first, from offset 0 and exactly as long as needed."""
    import pyarrow as pa

    if not column.type.equals(arrow):
        column = column.cast(arrow)
    whole = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], arrow)
    batch = pa.RecordBatch.from_arrays([whole], names=["column"])
    # Serialising is what rebases a sliced array: offsets from 0, bitmaps from bit 0.
    array = pa.ipc.read_record_batch(batch.serialize(), batch.schema).column(0)
    nodes, named = _parts(array, "")
    return nodes, named


def _parts(array: Any, prefix: str) -> tuple[list[Node], list[tuple[str, NDArray[np.generic] | None]]]:
    import pyarrow as pa

    rows = len(array)
    buffers = array.buffers()
    nodes = [Node(rows, array.null_count)]
    validity = _slice(buffers[0], "|u1", -(-rows // 8)) if array.null_count else None
    named: list[tuple[str, NDArray[np.generic] | None]] = [(f"{prefix}validity", validity)]
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        wide = "<i8" if pa.types.is_large_list(array.type) else "<i4"
        named.append((f"{prefix}offsets", _slice(buffers[1], wide, rows + 1 if rows else 0)))
        more, inner = _parts(array.values, "item_")
        return nodes + more, named + inner
    text = _TEXT.get(str(array.type))
    if text is not None:
        offsets = _slice(buffers[1], np.dtype(text), rows + 1 if rows else 0)
        data = _slice(buffers[2], "|u1", int(offsets[-1]) if rows else 0)
        return nodes, [*named, (f"{prefix}offsets", offsets), (f"{prefix}data", data)]
    if pa.types.is_boolean(array.type):
        return nodes, [*named, (f"{prefix}values", _slice(buffers[1], "|u1", -(-rows // 8)))]
    if pa.types.is_decimal128(array.type):
        return nodes, [*named, (f"{prefix}values", _slice(buffers[1], "<i8", 2 * rows))]
    dtype = np.dtype(f"<i{array.type.bit_width // 8}")
    if type_name(array.type) in _FIXED:
        dtype = np.dtype(type_name(array.type)).newbyteorder("<")
    return nodes, [*named, (f"{prefix}values", _slice(buffers[1], dtype, rows))]


def _slice(buffer: Any, dtype: Any, count: int) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype, count) if count else np.empty(0, dtype)


def as_written(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """A column for its reader: float16 and float32 as float64, each the shortest decimal that names the stored value.

    So 0.1 comes back as 0.1; rounding to the column's own type gives what is stored, bit by bit.
    """
    import pyarrow as pa

    large = pa.types.is_large_list(column.type)
    if (large or pa.types.is_list(column.type)) and pa.types.is_floating(column.type.value_type):
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if pa.types.is_float64(whole.type.value_type):
            return column
        kind = pa.LargeListArray if large else pa.ListArray
        return kind.from_arrays(whole.offsets, as_written(whole.values), mask=whole.is_null())
    if pa.types.is_float32(column.type):
        return column.cast(pa.string()).cast(pa.float64())
    if pa.types.is_float16(column.type):
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        halves = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float16)
        return pa.array(shortest(halves), pa.float64(), mask=~valid, from_pandas=False)
    return column


def shortest(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The shortest decimals that name the values of a float array."""
    return values.astype("U32").astype(np.float64)


def take(file: SegmentFile, columns: Sequence[str], rows: NDArray[np.int64]) -> pa.Table:
    """Exact columns by row, in the order of ``rows``, which may repeat. Reads only what these rows need.

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
        raise InputError(f"{file.path}: rows to take must lie in 0..{file.entry.rows - 1}")
    readers = [_Reader(file, _column(file, name)) for name in columns]
    if len(rows):
        # Two or three rounds whatever the number of columns: bitmaps, values and offsets; then what offsets point to.
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
    raise InputError(f"{file.path}: there is no column {name!r}; there are: {known}")


Parts = list[tuple[str, "NDArray[np.int64]", "NDArray[np.int64]"]]


class _Reader:
    """Which bytes of one column some rows need, round by round, and the rows out of them."""

    def __init__(self, file: SegmentFile, column: ColumnEntry) -> None:
        import pyarrow as pa

        self._file = file
        self._column = column
        found = arrow_type(column.type)
        if found is None:
            raise self._damaged(f"type {column.type!r} is not known")
        self._type: Any = found
        self._nested = pa.types.is_list(found) or pa.types.is_large_list(found)
        self._rows = file.entry.rows
        self._items = 0
        self._check_layout()

    def first(self, rows: NDArray[np.int64]) -> Parts:
        """Bitmaps and values or offsets."""
        parts = self._bits("validity", rows) if self._column.nulls else []
        if self._nested or self._is_text(self._type):
            return [*parts, (self._name("offsets"), rows, rows + 2)]
        if self._type.bit_width == 1:
            return [*parts, *self._bits("values", rows)]
        if self._type.bit_width == 128:
            return [*parts, (self._name("values"), 2 * rows, 2 * rows + 2)]
        return [*parts, (self._name("values"), rows, rows + 1)]

    def second(self, rows: NDArray[np.int64]) -> Parts:
        """What the offsets point to: text, or the items of lists."""
        if not (self._nested or self._is_text(self._type)):
            return []
        starts, stops = self._pointed("offsets", rows, self._items if self._nested else self._length("data"))
        self._inner = np.empty(0, np.int64), np.empty(0, np.int64)
        if not self._nested:
            return [(self._name("data"), starts, stops)]
        item = self._type.value_type
        full = stops > starts
        starts, stops = starts[full], stops[full]
        self._inner = starts, stops
        bits = [("item_validity", True)] if self._has("item_validity") else []
        parts: Parts = []
        for name, _ in bits:
            parts.append((self._name(name), starts // 8, (stops + 7) // 8))
        if self._is_text(item):
            return [*parts, (self._name("item_offsets"), starts, stops + 1)]
        if item.bit_width == 1:
            return [*parts, (self._name("item_values"), starts // 8, (stops + 7) // 8)]
        return [*parts, (self._name("item_values"), starts, stops)]

    def third(self) -> Parts:
        """The text of the items of lists."""
        if not (self._nested and self._is_text(self._type.value_type)):
            return []
        starts, stops = self._inner
        lengths = stops - starts
        items = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return [(self._name("item_data"), *self._pointed("item_offsets", items, self._length("item_data")))]

    def array(self, rows: NDArray[np.int64]) -> pa.Array:
        """The rows themselves, by pyarrow over the file's own bytes."""
        import pyarrow as pa

        if len(rows) == 0:
            return pa.array([], self._type)
        whole = self._arrow()
        return whole.take(pa.array(rows))

    def _arrow(self) -> pa.Array:
        import pyarrow as pa

        children = []
        if self._nested:
            item = self._type.value_type
            has_nulls = self._has("item_validity")
            children = [
                pa.Array.from_buffers(item, self._items, self._buffers(item, "item_"), null_count=1 if has_nulls else 0)
            ]
            buffers = [self._buffer("validity"), self._buffer("offsets")]
        else:
            buffers = self._buffers(self._type, "")
        return pa.Array.from_buffers(self._type, self._rows, buffers, null_count=self._column.nulls, children=children)

    def _buffers(self, arrow: Any, prefix: str) -> list[Any]:
        parts = ("offsets", "data") if self._is_text(arrow) else ("values",)
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

    def _check_layout(self) -> None:
        """Every buffer there, of the right element type and long enough for the rows."""
        if self._column.nulls:
            self._expect("validity", "uint8", -(-self._rows // 8))
        if self._nested:
            wide = str(self._type).startswith("large")
            self._expect("offsets", "int64" if wide else "int32", self._rows + 1 if self._rows else 0)
            item = self._type.value_type
            self._items = self._item_count(item)
            if self._has("item_validity"):
                self._expect("item_validity", "uint8", -(-self._items // 8))
            self._expect_values(item, "item_", self._items)
        else:
            self._expect_values(self._type, "", self._rows)

    def _item_count(self, item: Any) -> int:
        part = "item_offsets" if self._is_text(item) else "item_values"
        if not self._has(part):
            raise self._damaged(f"its buffer {part} is missing")
        count = self._length(part)
        if self._is_text(item):
            return max(count - 1, 0)
        return 8 * count if item.bit_width == 1 else count

    def _expect_values(self, arrow: Any, prefix: str, rows: int) -> None:
        text = _TEXT.get(str(arrow))
        if text is not None:
            self._expect(f"{prefix}offsets", text, rows + 1 if rows else 0)
            self._expect(f"{prefix}data", "uint8", 0)
        elif arrow.bit_width == 1:
            self._expect(f"{prefix}values", "uint8", -(-rows // 8))
        elif arrow.bit_width == 128:
            self._expect(f"{prefix}values", "int64", 2 * rows)
        else:
            name = type_name(arrow)
            dtype = name if name in _FIXED else f"int{arrow.bit_width}"
            self._expect(f"{prefix}values", dtype, rows)

    def _expect(self, part: str, dtype: str, least: int) -> None:
        if not self._has(part):
            raise self._damaged(f"its buffer {part} is missing")
        entry = self._file.arrays[self._name(part)]
        if entry.dtype != dtype or len(entry.shape) != 1 or entry.shape[0] < least:
            raise self._damaged(f"its buffer {part} is {entry.dtype} {entry.shape}, not {dtype} of {least}")

    def _is_text(self, arrow: Any) -> bool:
        return str(arrow) in _TEXT

    def _name(self, part: str) -> str:
        return f"{self._column.name}.{part}"

    def _has(self, part: str) -> bool:
        return self._name(part) in self._file.arrays

    def _length(self, part: str) -> int:
        return self._file.arrays[self._name(part)].shape[0]

    def _damaged(self, reason: str) -> CorruptIndexError:
        return CorruptIndexError(
            self._file.path, f"column {self._column.name!r}: {reason}; restore the file or build the index again"
        )
