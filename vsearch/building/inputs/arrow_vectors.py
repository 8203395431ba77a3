"""Vectors in Arrow columns: Parquet files, Arrow IPC files and tables in memory.

A vector column holds fixed-size or variable-size lists of floats, int8 or uint8; a column that the caller names may hold any
integers. All lists must have the same length and contain no NULL, unless the caller collects unusable rows instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.building.inputs.files import first_line, reading
from vsearch.building.inputs.unusable import Unusable
from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_ROWS = 4096
"""Rows decoded from Parquet at a time: 6 MB at 384 dimensions of float32."""

_NAMED = 12


def parquet_batches(path: Path, column: str | None, unusable: Unusable | None = None) -> Iterator[np.ndarray]:
    """Decode the vector column of a Parquet file batch by batch, each of shape (n, d)."""
    import pyarrow.parquet as pq

    # buffer_size without pre_buffer: row groups are streamed rather than loaded at once
    with reading(path, "Parquet"), pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        name = vector_column(file.schema_arrow, column, str(path))
        first = 0
        for batch in file.iter_batches(PARQUET_ROWS, columns=[name]):
            yield matrix(batch.column(name), f"{path}: column {name!r}", first, unusable)
            first += batch.num_rows


def arrow_chunks(path: Path, column: str | None, unusable: Unusable | None = None) -> tuple[Iterator[np.ndarray], bool]:
    """Open the vector column of an Arrow IPC file (or stream) through a memory map.

    Returns
    -------
    chunks : iterator of ndarray, shape (n, d)
        One for each record batch.
    mapped : bool
        True if the chunks are views of the file and may all be held at once; False if the file is compressed, so that
        every chunk takes memory.
    """
    import pyarrow as pa

    with reading(path, "Arrow IPC"):
        buffer = pa.memory_map(str(path)).read_buffer()
        schema, batches = open_ipc(buffer)
        name = vector_column(schema, column, str(path))
        label = f"{path}: column {name!r}"
        mapped = all(_is_mapped(batch.column(name), buffer) for batch in batches)
        batches = open_ipc(buffer)[1]
    return _matrices(batches, name, label, path, unusable), mapped


def table_chunks(table: Any, column: str | None, label: str, unusable: Unusable | None = None) -> Iterator[np.ndarray]:
    """Yield the vector column of a table (or record batch reader) as arrays of shape (n, d)."""
    name = vector_column(table.schema, column, label)
    first = 0
    for batch in table.to_batches() if hasattr(table, "to_batches") else table:
        yield matrix(batch.column(name), f"{label}: column {name!r}", first, unusable)
        first += batch.num_rows


def vector_column(schema: pa.Schema, column: str | None, label: str) -> str:
    """Return the name of the vector column: `column`, or the only column of lists of floats, int8 or uint8.

    Raises
    ------
    InputError
        There is no candidate or more than one, or `column` does not exist or does not hold lists of numbers.
    """
    names = list(schema.names)
    if column is not None:
        if names.count(column) != 1:
            state = "several columns are named" if column in names else "no column"
            msg = f"{label}: {state} {column!r}; the columns are: {', '.join(names)}"
            raise InputError(msg)
        kind = schema.field(column).type
        if element_type(kind, named=True) is None:
            msg = f"{label}: column {column!r} is {kind}, not a list of float32, float16, uint8 or other numbers"
            raise InputError(msg)
        return column
    candidates = [field.name for field in schema if element_type(field.type) is not None]
    if len(candidates) == 1:
        return str(candidates[0])
    if candidates:
        msg = f"{label}: several vector columns ({', '.join(candidates)}); name one as path::column, or with vectors="
        raise InputError(msg)
    columns = ", ".join(f"{field.name} {field.type}" for field in list(schema)[:_NAMED]) or "none"
    more = " and others; one number per column is not a vector column: pass an array" if len(names) > _NAMED else ""
    integers = [field.name for field in schema if element_type(field.type, named=True) is not None]
    hint = f"; {', '.join(integers)} can be used if named with vectors=" if integers else ""
    msg = f"{label}: no column is a list of float32, float16 or uint8{hint}; the columns are: {columns}{more}"
    raise InputError(msg)


def matrix(array: Any, label: str, first: int, unusable: Unusable | None = None) -> np.ndarray:
    """Return a list array as a view of shape (n, d), after validating it.

    Parameters
    ----------
    array : pyarrow.Array
        Fixed-size, large or plain list, or an extension type (tensor) stored as one.
    label : str
        Names the column in messages.
    first : int
        Row number of the first list, for messages.
    unusable : Unusable, optional
        Collects lists that are NULL, contain a NULL or have another length, which are then dropped; without it they are errors.
    """
    import pyarrow as pa

    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    array.validate()
    if unusable is not None:
        array = _usable(array, first, unusable)
    rows = len(array)
    if array.null_count:
        row = first + int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        msg = f"{label}: row {row} is NULL; remove that row or give it a vector"
        raise InputError(msg)
    if pa.types.is_fixed_size_list(array.type):
        width = array.type.list_size
        values = array.values.slice(array.offset * width, rows * width)
    elif rows == 0:
        return np.empty((0, 1), np.float32)
    else:
        offsets = array.offsets.to_numpy()
        lengths = np.diff(offsets)
        width = int(lengths[0])
        if (lengths != width).any():
            row = int(np.argmax(lengths != width))
            msg = f"{label}: row {first + row} has {lengths[row]} dimensions, the rows before it have {width}"
            raise InputError(msg)
        values = array.values.slice(int(offsets[0]), rows * width)
    if values.null_count:
        position = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        msg = f"{label}: row {first + position // width} has a NULL in dimension {position % width}; repair that row"
        raise InputError(msg)
    if width == 0:
        msg = f"{label}: row {first} has no dimensions; give vectors of at least one"
        raise InputError(msg)
    return np.asarray(values.to_numpy(zero_copy_only=True).reshape(rows, width))


def _usable(array: Any, first: int, unusable: Unusable) -> Any:
    """Return the lists that are vectors of the common width; the others are added to `unusable`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(array.type):
        unusable.add(first + np.arange(len(array)), "NULL")
        return pa.array([], pa.list_(pa.float32()))
    lengths = np.asarray(pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False), np.int64)
    if not unusable.width and (lengths > 0).any():
        unusable.width = int(np.bincount(lengths[lengths > 0]).argmax())
    null, other = lengths < 0, (lengths >= 0) & (lengths != unusable.width)
    holes = np.zeros(len(array), np.bool_)
    if pc.list_flatten(array).null_count:
        parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        holes[parents[pc.list_flatten(array).is_null().to_numpy(zero_copy_only=False)]] = True
        holes &= ~other
    for reason, fault in (("NULL", null), (f"not of {unusable.width} dimensions", other), ("with NULL or NaN", holes)):
        unusable.add(first + np.flatnonzero(fault), reason)
    good = ~(null | other | holes)
    return array if good.all() else array.filter(pa.array(good))


def element_type(kind: Any, *, named: bool = False) -> Any:
    """The element type of a vector column, or None if it is not one; integers other than int8 and uint8 count only if `named`."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    types = pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return None
    element = kind.value_type
    plain = types.is_floating(element) or types.is_uint8(element) or types.is_int8(element)
    return element if plain or (named and types.is_integer(element)) else None


def open_ipc(buffer: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema and the record batches of an IPC file or stream held in one Arrow buffer."""
    import pyarrow as pa

    if buffer.size >= 8 and buffer[:6].to_pybytes() == b"ARROW1":
        file = pa.ipc.open_file(pa.BufferReader(buffer))
        return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
    stream = pa.ipc.open_stream(pa.BufferReader(buffer))
    return stream.schema, iter(stream)


def open_stream(stream: object, label: str) -> Any:
    """Open anything with an Arrow stream (such as a polars or pandas frame or a DuckDB relation) as record batches."""
    import pyarrow as pa

    try:
        return pa.RecordBatchReader.from_stream(stream)
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"{label} of type {type(stream).__name__} cannot be read as a table ({first_line(error)})"
        raise InputError(msg) from error


def _matrices(
    batches: Iterator[Any], name: str, label: str, path: Path, unusable: Unusable | None
) -> Iterator[np.ndarray]:
    first = 0
    with reading(path, "Arrow IPC"):
        for batch in batches:
            yield matrix(batch.column(name), label, first, unusable)
            first += batch.num_rows


def _is_mapped(array: Any, mapping: Any) -> bool:
    buffers = [buffer for buffer in array.buffers() if buffer is not None and buffer.size]
    return all(mapping.address <= b.address and b.address + b.size <= mapping.address + mapping.size for b in buffers)
