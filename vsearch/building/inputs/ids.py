"""Vector ids: row numbers, int64 or strings; unique and never NULL.

UUIDs (objects, Arrow's type, 16 bytes) become their canonical strings; floats and decimals must be integral and become int64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vsearch.building.inputs.attribute_types import decoded
from vsearch.building.inputs.attributes import AttributeSource, take_rows
from vsearch.building.inputs.binary import bytes_of
from vsearch.building.inputs.files import first_line
from vsearch.building.inputs.pandas_frames import whole_strings
from vsearch.building.inputs.uuids import UUID_BYTES, is_uuid, uuid_strings
from vsearch.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

PASS_ROWS = 1 << 24
"""Ids compared at a time in the search for duplicates: 128 MB of keys."""

HASH_ROWS = 16_384
"""Strings hashed at a time."""

NAMED = 5
"""Maximum number of duplicates that an error message names."""

LARGEST_FLOAT = 2**53
"""Every integer up to this magnitude is exact in float64."""

_SUSPECTS = 1000
_WEIGHTS = 8192


@dataclass(frozen=True)
class IdSource:
    """Ids in row order.

    Attributes
    ----------
    kind : {"row", "int64", "string"}
        ``"row"`` if no ids were passed: the id of a vector is its row number.
    rows : int
        Number of ids.
    values : ndarray of int64 or pyarrow.Table or None
        The ids; strings are the single column ``id`` of a table.
    """

    kind: Literal["row", "int64", "string"]
    rows: int
    values: Any

    def take(self, rows: np.ndarray) -> np.ndarray | pa.Array:
        """Return the ids of the given rows: an int64 array, or a pyarrow string array."""
        import pyarrow as pa

        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < self.rows):
            msg = f"rows {rows.min()} to {rows.max()} are not all within 0:{self.rows}"
            raise IndexError(msg)
        if self.kind == "row":
            return rows.copy()
        if self.kind == "int64":
            return np.asarray(self.values[rows], dtype=np.int64)
        return take_rows(self.values, rows).column("id").cast(pa.string()).combine_chunks()


def open_ids(
    ids: object | None, rows: int, attributes: AttributeSource | None = None, kept: np.ndarray | None = None
) -> IdSource:
    """Open the ids of `rows` vectors.

    Parameters
    ----------
    ids : object or None
        None for row numbers; integers, integral floats, strings or UUIDs as an array, a sequence, a pyarrow array or a
        pandas or polars series; or the name of a column of `attributes`.
    rows : int
        Number of vectors.
    attributes : AttributeSource, optional
        Where a column named by `ids` is looked up; its rows are those of the vectors.
    kept : ndarray of int64 (rows,), optional
        Positions of the vectors' ids in `ids`, if rows were skipped.

    Raises
    ------
    InputError
        The number of ids differs from `rows`, or there are NULLs, duplicates (the first are named), integers beyond int64 or
        values of other types.
    """
    import pyarrow as pa

    if ids is None:
        return IdSource("row", rows, None)
    label = "ids"
    if isinstance(ids, str):
        label = f"ids (column {ids!r})"
        ids = _attribute_column(ids, attributes)
    elif kept is not None:
        ids = _take_ids(ids, kept, label)
    values = id_array(ids, label)
    if len(values) != rows:
        msg = f"{label}: {len(values)} ids for {rows} embeddings; pass one id for each vector, in the same order"
        raise InputError(msg)
    if isinstance(values, np.ndarray):
        require_distinct(repeated(values).tolist(), label)
        return IdSource("int64", rows, values)
    table = pa.table({"id": values})
    require_distinct(_repeated_strings(table), label)
    return IdSource("string", rows, table)


def some_ids(ids: object | None, attributes: AttributeSource | None, rows: np.ndarray) -> list[Any]:
    """Ids of a few rows for a message, as they were passed; row numbers if there are none."""
    if ids is None:
        return rows.tolist()
    if isinstance(ids, str):
        ids = _attribute_column(ids, attributes)
    selected = _take_ids(ids, rows, "ids")
    return selected.tolist() if isinstance(selected, np.ndarray) else selected.to_pylist()


def _take_ids(ids: Any, rows: np.ndarray, label: str) -> np.ndarray | pa.ChunkedArray:
    """Select ids by position, checking only that they exist."""
    import pyarrow as pa

    all_ids = ids if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.ndim == 1 else _arrow(ids, label)
    if len(rows) and len(all_ids) <= rows.max():
        msg = f"{label}: {len(all_ids)} ids for {int(rows.max()) + 1} or more embeddings; pass one id for each vector"
        raise InputError(msg)
    return all_ids[rows] if isinstance(all_ids, np.ndarray) else all_ids.take(pa.array(rows))


def repeated(keys: np.ndarray, pass_rows: int = PASS_ROWS) -> np.ndarray:
    """Return the values that occur more than once, sorting only about `pass_rows` keys at a time.

    Parameters
    ----------
    keys : ndarray of int64, shape (n,)
    pass_rows : int
        Each pass sorts the keys of one residue class, so that no sorted copy of all keys is ever made.
    """
    passes = -(-len(keys) // pass_rows)
    duplicates = [np.empty(0, np.int64)]
    for number in range(passes):
        blocks = (keys[low : low + pass_rows] for low in range(0, len(keys), pass_rows))
        selected = np.concatenate([block[_residue(block, passes) == number] for block in blocks])
        selected.sort()
        duplicates.append(np.unique(selected[1:][selected[1:] == selected[:-1]]))
    return np.sort(np.concatenate(duplicates))


def _residue(keys: np.ndarray, passes: int) -> np.ndarray:
    # hash first, by multiplication: otherwise ids in steps of `passes` would all fall into one pass
    mixed = (keys.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return np.asarray(mixed % np.uint64(passes))


def id_array(ids: Any, label: str) -> np.ndarray | pa.ChunkedArray:
    """Return ids as an int64 array or as a chunked array of strings.

    Raises
    ------
    InputError
        There are NULLs, integers beyond int64, or values of other types.
    """
    import pyarrow as pa

    if isinstance(ids, set | frozenset):
        msg = f"{label}: a set has no order, so its values cannot be matched to rows; pass a list or an array"
        raise InputError(msg)
    if isinstance(ids, range):
        return np.arange(ids.start, ids.stop, ids.step, dtype=np.int64)
    if isinstance(ids, np.ndarray) and ids.ndim != 1:
        msg = f"{label} has shape {ids.shape}, expected (rows,)"
        raise InputError(msg)
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and not isinstance(ids, np.ma.MaskedArray):
        return _int64(ids, label)
    array = _arrow(ids, label)
    if len(array) == 0:
        return np.empty(0, np.int64)
    if pa.types.is_dictionary(array.type):
        array = pa.chunked_array([decoded(chunk) for chunk in array.chunks])
    if array.null_count:
        row = int(np.argmax(array.is_null().to_numpy()))
        msg = f"{label}: row {row} is NULL ({array.null_count} in all); every vector needs an id"
        raise InputError(msg)
    if pa.types.is_integer(array.type):
        return _int64(array.to_numpy(), label)
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        return _joined(array, label)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if pa.types.is_binary_view(array.type):
        array = array.cast(pa.large_binary())
    if is_uuid(array.type) or _is_binary_uuid(array):
        return pa.chunked_array([uuid_strings(chunk) for chunk in array.chunks], pa.string())
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        binary = "binary" in str(array.type)
        hint = " (binary ids must be 16 bytes each and are read as UUIDs; pass others as text, such as value.hex())"
        msg = f"{label} are {array.type}; pass integers or strings{hint if binary else ''}"
        raise InputError(msg)
    return array


def _joined(array: pa.ChunkedArray, label: str) -> np.ndarray:
    """Convert integral numbers to int64: pandas turns integers with missing values into floats, and databases return decimals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_decimal(array.type):
        integral = np.asarray(pc.equal(pc.floor(array), array).to_numpy())
        largest = pc.max(pc.abs(array)).as_py() >= np.iinfo(np.int64).max
    else:
        values = array.to_numpy().astype(np.float64)
        integral = np.isfinite(values) & (np.floor(values) == values)
        largest = bool(np.abs(values).max(initial=0) > LARGEST_FLOAT)
    if not integral.all():
        row = int(np.argmin(integral))
        msg = f"{label} are {array.type}; pass integers or strings: row {row} is {array[row].as_py()}"
        raise InputError(msg)
    if largest:
        msg = f"{label} are {array.type}, and some exceed 2**53, where floats skip integers; pass integers or strings"
        raise InputError(msg)
    return np.asarray(array.cast(pa.int64()).to_numpy())


def _is_binary_uuid(array: pa.ChunkedArray) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        return False
    return bool(pc.all(pc.equal(pc.binary_length(array), UUID_BYTES)).as_py())


def _arrow(ids: Any, label: str) -> pa.ChunkedArray:
    import pyarrow as pa

    if isinstance(ids, (bytes, bytearray, Mapping)) or not hasattr(ids, "__iter__"):
        msg = f"{label} of type {type(ids).__name__} are not supported; pass integers or strings, one for each vector"
        raise InputError(msg)
    try:
        if not isinstance(ids, (pa.Array, pa.ChunkedArray)):
            if hasattr(ids, "__arrow_c_stream__"):
                ids = pa.chunked_array(ids)
            else:
                ids = whole_strings(ids)
                ids = pa.array(ids, from_pandas=type(ids).__module__.startswith("pandas"))
        ids.validate(full=True)
    except OverflowError as error:
        msg = f"{label}: an integer is beyond int64; use smaller ids or strings, such as ids.astype(str)"
        raise InputError(msg) from error
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"{label}: neither all integers nor all strings ({first_line(error)})"
        raise InputError(msg) from error
    return pa.chunked_array([ids]) if isinstance(ids, pa.Array) else ids


def _int64(array: np.ndarray, label: str) -> np.ndarray:
    top = np.iinfo(np.int64).max
    if array.dtype.kind == "u" and array.size and int(array.max()) > top:
        row = int(np.argmax(array > top))
        msg = f"{label}: row {row} is {int(array[row])}, beyond int64; use smaller ids or strings, such as ids.astype(str)"
        raise InputError(msg)
    return np.asarray(array.astype(np.int64, copy=False))


def _attribute_column(name: str, attributes: AttributeSource | None) -> pa.ChunkedArray:
    names = list(attributes.schema.names) if attributes is not None else []
    if attributes is None or name not in names:
        available = f"the columns are: {', '.join(names)}" if names else "there are no attributes"
        msg = f"ids: no attribute column {name!r} ({available}); pass the name of a column or the ids themselves"
        raise InputError(msg)
    column = attributes.column(name)
    return bytes_of(column) if name in attributes.base64 else column


def _repeated_strings(table: pa.Table) -> list[str]:
    """Return some of the strings that occur more than once: find equal hashes first, then compare the strings."""
    import pyarrow.compute as pc

    hashes = np.empty(table.num_rows, np.int64)
    first = 0
    for chunk in table.column("id").chunks:
        for low in range(0, len(chunk), HASH_ROWS):
            part = hashed_strings(chunk.slice(low, HASH_ROWS))
            hashes[first : first + len(part)] = part
            first += len(part)
    repeated_hashes = repeated(hashes)
    for low in range(0, len(repeated_hashes), _SUSPECTS):
        rows = np.flatnonzero(np.isin(hashes, repeated_hashes[low : low + _SUSPECTS]))
        counts = pc.value_counts(take_rows(table, rows).column("id"))
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
        if twice:
            return [str(value) for value in twice]
    return []


def hashed_strings(strings: Any) -> np.ndarray:
    """Return a 64-bit multilinear hash of every string of an array without NULLs."""
    import pyarrow as pa

    strings = strings.cast(pa.large_string())
    _, offsets_buffer, data_buffer = strings.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    low, high = int(offsets[0]), int(offsets[-1])
    if low == high:
        return np.zeros(len(strings), np.int64)
    data = np.frombuffer(data_buffer, np.uint8)[low:high]
    lengths = np.diff(offsets)
    position = np.arange(high - low) - np.repeat(offsets[:-1] - low, lengths)
    weights = np.random.default_rng(0).integers(0, 2**64, _WEIGHTS, np.uint64)
    sums = np.zeros(high - low + 1, np.uint64)
    np.cumsum((data + np.uint64(1)) * weights[position % _WEIGHTS], out=sums[1:])
    return (sums[offsets[1:] - low] - sums[offsets[:-1] - low]).view(np.int64)


def require_distinct(duplicates: list[Any], label: str) -> None:
    """Refuse ids that occur more than once.

    Raises
    ------
    InputError
        There are some.
    """
    if duplicates:
        named = ", ".join(repr(value) for value in duplicates[:NAMED])
        more = " and others" if len(duplicates) > NAMED else ""
        msg = f"{label}: {named}{more} occur more than once; ids must be unique"
        raise InputError(msg)
