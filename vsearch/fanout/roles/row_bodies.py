"""Rows, ids and values of a change as the writer receives them: JSON or Arrow IPC, checked row by row.

JSON rows are ``{"rows": [{"id": 7, "vector": [0.1, ...], "columns": {"price": 9.5}}, ...]}``; times and decimals are strings,
as in answers. An Arrow table has the columns ``vector`` and, unless the index numbers its rows, ``id``; all others are
attributes. An attribute named ``id`` or ``vector`` is the column ``attribute.id`` or ``attribute.vector``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.bits import BYTE, as_bits
from vsearch.building.inputs.attribute_types import kept_type
from vsearch.errors import InputError
from vsearch.fanout.roles.arrow_bodies import read_arrow
from vsearch.fanout.roles.row_columns import convert_values, fit_column
from vsearch.fanout.wire.change_messages import LONGEST_FAULT, MOST_FAULTS, attribute_of_column
from vsearch.search.state.field_types import arrow_of

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.fanout.wire.change_messages import Form
    from vsearch.predicates.schema import Schema
    from vsearch.search.state.snapshot import Snapshot

ID, VECTOR = "id", "vector"

LARGEST_NUMBER = 1e15
"""Largest number of a vector under l2 and ip: sums of squares must fit float32."""


class BadRowsError(InputError):
    """Some rows of a request are invalid.

    Attributes
    ----------
    faults : dict of int to str
        Error messages by position in the request, ascending.
    """

    def __init__(self, faults: dict[int, str]) -> None:
        self.faults = dict(sorted(faults.items()))
        position, fault = next(iter(self.faults.items()))
        super().__init__(f"{len(faults)} rows are invalid; the first is row {position}: {fault}")


@dataclass(frozen=True, eq=False)
class ReceivedRows:
    """Rows of a request.

    Attributes
    ----------
    vectors : float32 (n, dimensions)
    ids : pyarrow.Array or None
    attributes : pyarrow.Table or None
    """

    vectors: NDArray[np.float32]
    ids: pa.Array | None
    attributes: pa.Table | None


@dataclass
class _Faults:
    """Error messages of rows; for each row, the first."""

    rows: dict[int, str] = field(default_factory=dict)

    def add(self, positions: Any, message: str) -> None:
        for position in positions:
            self.rows.setdefault(int(position), message)

    def merge(self, faults: dict[int, str]) -> None:
        for position, message in faults.items():
            self.rows.setdefault(position, message)

    def check(self) -> None:
        if self.rows:
            raise BadRowsError(self.rows)


class _JsonRow(msgspec.Struct, forbid_unknown_fields=True):
    vector: list[float]
    id: int | str | None = None
    columns: dict[str, Any] = {}


class _JsonRows(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[_JsonRow]


class _RawRows(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[msgspec.Raw]


class _JsonChange(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[int | str] | None = None
    values: dict[str, Any] = {}


def read_rows_body(snapshot: Snapshot, form: Form, body: bytes) -> ReceivedRows:
    """Read the rows of an append or upsert.

    Raises
    ------
    BadRowsError
        Some rows are invalid: a vector of another length, a missing or repeated id, a value that does not fit its attribute.
    InputError
        The body is invalid as a whole.
    """
    faults = _Faults()
    if form == "json":
        rows = _decode_rows(body)
        ids = _json_ids([row.id for row in rows], snapshot.manifest.id_type, faults)
        attributes = _json_attributes(snapshot.schema, [row.columns for row in rows], faults)
        vectors = _json_vectors([row.vector for row in rows], snapshot, faults)
    else:
        table = read_arrow(body)
        if VECTOR not in table.column_names:
            raise InputError(f"the table must have a column {VECTOR!r}, got {', '.join(table.column_names) or 'none'}")
        ids = _arrow_ids(table, snapshot.manifest.id_type, faults)
        attributes = _arrow_attributes(snapshot.schema, table, faults)
        vectors = _arrow_vectors(table.column(VECTOR).combine_chunks(), snapshot, faults)
    if ids is not None:
        _check_ids(ids, faults)
    faults.check()
    if not len(vectors):
        raise InputError("the body has no rows")
    return ReceivedRows(vectors, ids, attributes)


def read_change_body(snapshot: Snapshot, form: Form, body: bytes) -> tuple[Any, dict[str, Any]]:
    """Read the ids and the new values of an update, or the ids of a deletion.

    Returns
    -------
    ids : pyarrow.Array, list or None
        None where the request selects rows by a predicate.
    values : dict
        By attribute, one value, or with ids an array with one value per id.

    Raises
    ------
    BadRowsError, InputError
        As for `read_rows_body`.
    """
    faults, values = _Faults(), {}
    if form == "arrow":
        table = read_arrow(body)
        ids = table.column(ID).combine_chunks() if ID in table.column_names else None
        columns = _arrow_attributes(snapshot.schema, table, faults)
        if ids is None and table.num_rows != 1:
            raise InputError(f"without a column {ID!r} the table must have one row, got {table.num_rows}")
        for name in columns.column_names if columns is not None else ():
            values[name] = columns.column(name) if ids is not None else columns.column(name)[0]
    else:
        try:
            change = msgspec.json.decode(body or b"{}", type=_JsonChange)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f'the body must be {{"ids": [...], "values": {{...}}}}: {str(error)[:300]}') from None
        ids = change.ids
        for name, value in change.values.items():
            attribute = _name_of(snapshot.schema, name)
            if attribute in values:
                raise InputError(f"the attribute {attribute!r} appears under two names; pass it once")
            listed = [value] if ids is None else value
            if ids is not None and (not isinstance(value, list) or len(value) != len(ids)):
                raise InputError(f"values of {name!r} must be a list with one value for each of the {len(ids)} ids")
            column, wrong = convert_values(listed, arrow_of(snapshot.schema.find(attribute)))
            faults.merge({position: f"{name}: {fault}" for position, fault in wrong.items()})
            values[attribute] = None if column is None else column if ids is not None else column[0]
    faults.check()
    return ids, values


def _decode_rows(body: bytes) -> list[_JsonRow]:
    try:
        return msgspec.json.decode(body, type=_JsonRows).rows
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)[:300]
    try:
        raw_rows = msgspec.json.decode(body, type=_RawRows).rows
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InputError(f'the body must be {{"rows": [{{"vector": [...]}}, ...]}}: {reason}') from None
    faults = {}
    for position, raw in enumerate(raw_rows):
        try:
            msgspec.json.decode(raw, type=_JsonRow)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            faults[position] = str(error)[:300]
    raise BadRowsError(faults) if faults else InputError(f"the body is not valid JSON: {reason}")


def _json_vectors(vectors: list[list[float]], snapshot: Snapshot, faults: _Faults) -> NDArray[np.float32]:
    lengths = np.fromiter(map(len, vectors), np.int64, len(vectors))
    dimensions = _numbers_per_vector(snapshot, lengths)
    complete = _check_lengths(lengths, dimensions, faults)
    numbers = np.array([vectors[position] for position in complete], np.float64)
    return _check_numbers(numbers.reshape(len(complete), dimensions), complete, snapshot, faults)


def _arrow_vectors(column: Any, snapshot: Snapshot, faults: _Faults) -> NDArray[np.float32]:
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    listed = types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type)
    if not listed or not (types.is_floating(column.type.value_type) or types.is_integer(column.type.value_type)):
        raise InputError(f"the column {VECTOR!r} must hold lists of numbers, got {column.type}")
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    dimensions = _numbers_per_vector(snapshot, lengths)
    complete = _check_lengths(lengths, dimensions, faults)
    if len(complete) < len(column):
        column = column.take(pa.array(complete))
    numbers = column.flatten().to_numpy(zero_copy_only=False)  # NULLs become NaN
    return _check_numbers(numbers.reshape(len(complete), dimensions), complete, snapshot, faults)


def _numbers_per_vector(snapshot: Snapshot, lengths: NDArray[np.int64]) -> int:
    """Return how many numbers each vector must have: those of an index of bits may all be packed to bytes."""
    dimensions = snapshot.manifest.dimensions
    packed = snapshot.model.bitwise and (lengths[lengths >= 0] * BYTE == dimensions).all()
    return dimensions // BYTE if packed and dimensions % BYTE == 0 else dimensions


def _check_lengths(lengths: NDArray[np.int64], dimensions: int, faults: _Faults) -> NDArray[np.int64]:
    """Positions of the vectors with the right length; the length of a missing vector is -1."""
    faults.add(np.flatnonzero(lengths < 0), "has no vector")
    for position in np.flatnonzero((lengths >= 0) & (lengths != dimensions)):
        faults.add(
            [position], f"the vector must have the index's {dimensions} dimensions, got {int(lengths[position])}"
        )
    return np.flatnonzero(lengths == dimensions)


def _check_numbers(
    vectors: NDArray[Any], positions: NDArray[np.int64], snapshot: Snapshot, faults: _Faults
) -> NDArray[np.float32]:
    """The vectors at some positions as float32."""
    metric = snapshot.model.metric
    with np.errstate(over="ignore", invalid="ignore"):
        stored = vectors.astype(np.float32)
    wrong = ~np.isfinite(stored).all(axis=1)
    faults.add(positions[wrong], "the vector holds NaN, infinity or a number beyond float32")
    if metric != "cosine":
        large = (np.abs(stored) > LARGEST_NUMBER).any(axis=1)
        faults.add(positions[large], f"the vector holds a number beyond {LARGEST_NUMBER:g}, too large for {metric}")
    if snapshot.model.bitwise and not faults.rows:
        return as_bits(stored, snapshot.manifest.dimensions, "rows")
    return stored


def _json_ids(ids: list[int | str | None], id_type: str, faults: _Faults) -> Any:
    import pyarrow as pa

    if all(id_ is None for id_ in ids):
        return None
    kind: Any = pa.string() if id_type == "string" else pa.int64()
    column, wrong = convert_values(ids, kind)
    faults.merge({position: f"id: {fault}" for position, fault in wrong.items()})
    if 0 < len(wrong) < MOST_FAULTS:  # check the others, too
        column, _ = convert_values([None if place in wrong else id_ for place, id_ in enumerate(ids)], kind)
    return column


def _arrow_ids(table: Any, id_type: str, faults: _Faults) -> Any:
    """The ids of a table, integers or strings as the index has them; None if it has none."""
    import pyarrow as pa

    column = table.column(ID) if ID in table.column_names else None
    if column is None or (pa.types.is_null(column.type) and len(column)):
        return None
    stored = kept_type(column.type)
    is_text = stored is not None and pa.types.is_string(stored)
    if stored is None or not (is_text or pa.types.is_integer(stored)):
        raise InputError(f"ids must be integers or strings, got {column.type}"[:LONGEST_FAULT])
    if is_text != (id_type == "string"):
        expected = "strings" if id_type == "string" else "integers"
        raise InputError(f"ids of this index must be {expected}, got {column.type}"[:LONGEST_FAULT])
    ids, wrong = fit_column(column, pa.string() if is_text else pa.int64(), ID)
    faults.merge({position: f"id: {fault}" for position, fault in wrong.items()})
    return ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids


def _check_ids(ids: Any, faults: _Faults) -> None:
    """Refuse rows without an id, and rows with the id of an earlier row."""
    import pyarrow.compute as pc

    faults.add(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False)), "has no id, and other rows have one")
    codes = pc.fill_null(ids.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    earlier = first[inverse]
    for position in np.flatnonzero((earlier != np.arange(len(codes))) & (codes >= 0)):
        faults.add([position], f"has the same id as row {int(earlier[position])}")


def _json_attributes(schema: Schema, rows: list[dict[str, Any]], faults: _Faults) -> Any:
    import pyarrow as pa

    known = {name: _matching(schema, name) for name in dict.fromkeys(name for row in rows for name in row)}
    unknown = {name for name, attribute in known.items() if attribute is None}
    if unknown:
        listed = ", ".join(schema.names) or "none"
        for position, row in enumerate(rows):
            for name in unknown.intersection(row):
                faults.add([position], f"the index has no attribute {name!r:.100}; it has {listed}")
    columns: dict[str, Any] = {}
    for name, attribute in known.items():
        if attribute is None:
            continue
        column, wrong = convert_values([row.get(name) for row in rows], arrow_of(schema.find(attribute)))
        faults.merge({position: f"{name}: {fault}" for position, fault in wrong.items()})
        if attribute in columns:
            raise InputError(f"the attribute {attribute!r} appears under two names; pass it once")
        columns[attribute] = column
    return pa.table(columns) if columns and all(column is not None for column in columns.values()) else None


def _arrow_attributes(schema: Schema, table: Any, faults: _Faults) -> Any:
    import pyarrow as pa

    columns = {}
    for name in table.column_names:
        if name in (ID, VECTOR):
            continue
        attribute = _name_of(schema, attribute_of_column(name))
        if attribute in columns:
            raise InputError(f"the attribute {attribute!r} appears twice in the table; pass it once")
        column, wrong = fit_column(table.column(name), arrow_of(schema.find(attribute)), name)
        faults.merge({position: f"{name}: {fault}" for position, fault in wrong.items()})
        columns[attribute] = column
    return pa.table(columns) if columns and all(column is not None for column in columns.values()) else None


def _matching(schema: Schema, name: str) -> str | None:
    """The attribute of a name; letter case matters only if two names differ in nothing else."""
    alike = [name] if name in schema.names else [known for known in schema.names if known.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def _name_of(schema: Schema, name: str) -> str:
    attribute = _matching(schema, name)
    if attribute is None:
        raise InputError(f"the index has no attribute {name!r:.100}; it has {', '.join(schema.names) or 'none'}")
    return attribute
