"""Append, upsert, update and delete, each resolved against the snapshot that it is tried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.python_values import python_array
from vsearch.errors import InputError
from vsearch.live.commits import Draft
from vsearch.live.inputs import NewRows, as_stored, cast_column, check_id_type, conform, fit_model
from vsearch.predicates.binding import bind
from vsearch.predicates.parsing import parse_selection
from vsearch.search.engine.rows import matching_rows
from vsearch.search.state import fetching, row_codes
from vsearch.search.state.deltas import Removed, Rows, take_ids
from vsearch.search.state.document_fetching import documents_at
from vsearch.search.state.expiry import expired_rows, living, present, ttl_field
from vsearch.search.state.fetching import take_fields
from vsearch.search.state.field_types import arrow_of
from vsearch.search.state.given_ids import as_ids, show_id
from vsearch.search.state.id_lookup import Found, find_addresses, find_ids
from vsearch.search.state.row_codes import RowCodes
from vsearch.search.state.shard import Addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

LISTED_IDS = 5
"""Maximum number of ids in an error message."""


class KnownIdsError(InputError):
    """Ids of new rows are in the index already.

    Attributes
    ----------
    positions : list of int
        Which of the new rows, as they were passed, ascending.
    """

    def __init__(self, message: str, positions: list[int]) -> None:
        super().__init__(message)
        self.positions = positions


@dataclass(frozen=True, eq=False)
class Append:
    """Add rows with new ids."""

    new: NewRows
    kind: str = "append"

    def resolve(self, snapshot: Snapshot) -> Draft:
        new, numbered = fit_model(self.new, snapshot.model), snapshot.manifest.id_type == "row"
        if not len(new):
            return Draft()
        if numbered and new.ids is not None:
            raise InputError("this index numbers its rows automatically: omit ids, or replace rows with upsert")
        if not numbered and new.ids is None:
            raise InputError("the rows of this index have ids: pass one id for each new row")
        next_row = next_number(snapshot)
        ids = next_row + new.order if numbered else check_id_type(new.ids, snapshot.manifest.id_type)
        removed = None
        if not numbered and beyond_all(snapshot, ids) is False:
            old, alive = look_up(snapshot, ids)
            duplicates = old.places[alive]
            if len(duplicates):
                raise KnownIdsError(
                    f"the index already has rows with these ids: {listed(ids, np.sort(duplicates))}; replace them with upsert",
                    np.sort(new.order[duplicates]).tolist(),
                )
            removed = removed_at(old.addresses, take_ids(ids, old.places))  # only expired rows
        rows = Rows(new.codes, ids, conform(new.attributes, snapshot), new.documents)
        following = next_row + len(new) if numbered else None
        return Draft(rows, removed, added=len(new), next_row=following, change=new.count_vectors)


@dataclass(frozen=True, eq=False)
class Upsert:
    """Add rows, and replace those with the same ids."""

    new: NewRows
    kind: str = "upsert"

    def resolve(self, snapshot: Snapshot) -> Draft:
        new = fit_model(self.new, snapshot.model)
        if not len(new):
            return Draft()
        if new.ids is None:
            raise InputError("upsert requires ids; add rows without ids with append")
        ids = check_id_type(new.ids, snapshot.manifest.id_type)
        if snapshot.manifest.id_type == "row" and not (ids.min() >= 0 and ids.max() < next_number(snapshot)):
            raise InputError(
                f"ids of this index, which numbers its rows, must be from 0 to {next_number(snapshot) - 1}, got "
                f"{ids.min() if ids.min() < 0 else ids.max()}; add rows with append"
            )
        old, alive = look_up(snapshot, ids)
        replaced = int(alive.sum())
        rows = Rows(new.codes, ids, conform(new.attributes, snapshot), new.documents)
        removed = removed_at(old.addresses, take_ids(ids, old.places))
        return Draft(rows, removed, added=len(new) - replaced, replaced=replaced, change=new.count_vectors)


@dataclass(frozen=True, eq=False)
class Delete:
    """Delete rows by id or predicate. Unknown ids are ignored."""

    ids: Any = None
    where: Where = None
    kind: str = "delete"

    def resolve(self, snapshot: Snapshot) -> Draft:
        if self.ids is None or self.where is not None:
            rows = select(snapshot, self.ids, self.where)
            return Draft(None, remove(snapshot, rows), deleted=len(rows))
        ids = storable(read_ids(snapshot, self.ids))
        positions, alive = look_up(snapshot, ids)
        addresses = Addresses(positions.addresses.segments[alive], positions.addresses.rows[alive])
        return Draft(None, removed_at(addresses, take_ids(ids, positions.places[alive])), deleted=len(addresses.rows))


@dataclass(frozen=True)
class Expire:
    """Remove expired rows."""

    kind: str = "expire"

    def resolve(self, snapshot: Snapshot) -> Draft:
        rows = expired_rows(snapshot)
        return Draft(None, remove(snapshot, rows), deleted=len(rows))


@dataclass(frozen=True, eq=False)
class Update:
    """Change attributes of rows; their codes are copied.

    Attributes
    ----------
    values : mapping
        New values by attribute: one for all rows, or with `ids` one per id.
    """

    values: Mapping[str, Any]
    ids: Any = None
    where: Where = None
    kind: str = "update"

    def resolve(self, snapshot: Snapshot) -> Draft:
        import pyarrow as pa

        if self.ids is None:
            rows, places = select(snapshot, None, self.where), None
        else:
            ids = distinct_ids(snapshot, self.ids)
            rows, places = find_living(snapshot, ids), np.arange(len(ids))
            if (rows < 0).any():
                raise InputError(f"no row has the id {listed(ids, rows < 0)}")
        columns = self._columns(snapshot, len(rows), places)
        if not len(rows):
            return Draft()
        codes, order = codes_of(snapshot, rows)
        rows = rows[order]
        table = take_fields(snapshot, snapshot.schema.names, rows)
        for field, column in columns.items():
            table = table.set_column(table.column_names.index(field), field, column.take(pa.array(order)))
        new = Rows(codes, stored_ids(snapshot, rows), table, documents_at(snapshot, rows))
        return Draft(new, remove(snapshot, rows), replaced=len(rows))

    def _columns(self, snapshot: Snapshot, count: int, places: NDArray[np.int64] | None) -> dict[str, Any]:
        """Return the new values of `count` rows, by field."""
        names, columns = snapshot.schema.names, {}
        for name, values in self.values.items():
            attribute = snapshot.schema.find(name)
            if attribute.name not in names:
                raise InputError(f"this index has no attribute {name!r}; it has {', '.join(names) or 'none'}")
            field = snapshot.find_entry(attribute.name).field_name
            columns[field] = self._column(values, name, arrow_of(attribute), count, places)
        return columns

    def _column(self, values: Any, name: str, kind: pa.DataType, count: int, order: NDArray[np.int64] | None) -> Any:
        import pyarrow as pa

        several = _is_sequence(values)
        nested = pa.types.is_list(kind)
        try:
            if isinstance(values, pa.Scalar):
                return cast_column(pa.repeat(values, 1), kind, name).take(pa.array(np.zeros(count, np.int64)))
            if several and order is not None and not (nested and not _is_lists(values)):
                column = _as_arrow(values, kind, name)
                if len(column) != len(order):
                    raise InputError(
                        f"{name!r} must be one value, or one for each of the {len(order)} ids, got {len(column)} values"
                    )
                return cast_column(column.take(pa.array(order)), kind, name)
            if several and not nested:
                raise InputError(f"{name!r} must be one value; to set a value per row, pass ids=")
            single = _as_arrow([_to_list(values) if several else values], kind, name)
            return cast_column(single, kind, name).take(pa.array(np.zeros(count, np.int64)))
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise InputError(f"the attribute {name!r} must be {kind}: {str(error).splitlines()[0]}") from None


def _as_arrow(values: Any, kind: pa.DataType, name: str) -> Any:
    """Return a sequence as an Arrow array; Arrow stays Arrow, since Python's times have no nanoseconds."""
    import pyarrow as pa

    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return as_stored(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values, name)
    listed = _to_list(values)
    try:
        return python_array(listed)
    except OverflowError:  # Arrow infers no uint64
        return pa.array(listed, kind)


def column_of(name: str, values: Any, *, per_row: bool) -> pa.Array:
    """Return values as an Arrow array: one per row, or a single one; raise InputError if they do not have one type."""
    import pyarrow as pa

    try:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if isinstance(values, pa.Array):
            array = values
        elif isinstance(values, pa.Scalar):
            array = pa.array([values.as_py()], values.type)
        else:
            listed = _to_list(values) if per_row or _is_sequence(values) else values
            array = python_array(listed if per_row else [listed])
    except (pa.ArrowException, TypeError, UnicodeError, OverflowError) as error:
        raise InputError(f"the values of {name!r} must have one type: {str(error).splitlines()[0]}") from None
    if not per_row and len(array) != 1:
        raise InputError(f"{name!r} must be one value; to set a value per row, pass ids=")
    return array


def _is_sequence(values: Any) -> bool:
    return isinstance(values, (list, tuple, np.ndarray)) or hasattr(values, "to_pylist") or hasattr(values, "to_list")


def _to_list(values: Any) -> Any:
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


def _is_lists(values: Any) -> bool:
    """Whether the values of a list attribute are one list per row, not a single list."""
    import pyarrow as pa

    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return pa.types.is_nested(values.type) or values.null_count == len(values)
    listed = _to_list(values)  # [] is the empty list, for all rows
    return bool(listed) and all(value is None or isinstance(value, (list, tuple, np.ndarray)) for value in listed)


def select(snapshot: Snapshot, ids: Any, where: Where) -> NDArray[np.int64]:
    """Return the positions of rows by id or predicate, ascending.

    Raises
    ------
    InputError
        Neither ids nor a predicate are passed, or both, or the predicate is empty.
    """
    if (ids is None) == (where is None):
        raise InputError(f"exactly one of ids and where is required, got {'neither' if ids is None else 'both'}")
    if ids is not None:
        rows = find_living(snapshot, read_ids(snapshot, ids))
        return np.unique(rows[rows >= 0])
    return matching_rows(present(snapshot), bind(parse_selection(where), snapshot.schema))


def look_up(snapshot: Snapshot, ids: Any) -> tuple[Found, NDArray[np.bool_]]:
    """Find the rows with ids; return their addresses and a mask of those that have not expired.

    The tail is assembled only if the index has a ttl attribute.
    """
    values = _searchable(ids)
    if ttl_field(snapshot.manifest) is None:
        addresses = find_addresses(snapshot, values)
        return addresses, np.ones(len(addresses), np.bool_)
    rows = find_ids(snapshot, values)
    places = np.unique(rows, return_index=True)[1]
    places = places[rows[places] >= 0]
    alive = living(present(snapshot), rows[places]) >= 0
    return Found(places, snapshot.addresses(rows[places])), alive


def find_living(snapshot: Snapshot, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows with ids, -1 for unknown ids and expired rows."""
    return living(present(snapshot), find_ids(snapshot, ids))


def read_ids(snapshot: Snapshot, ids: Any) -> NDArray[Any]:
    """Return the ids passed to a change, in their order."""
    return as_ids(ids, text=snapshot.manifest.id_type == "string")


def distinct_ids(snapshot: Snapshot, ids: Any) -> NDArray[Any]:
    """Return the ids passed to a change, in their order.

    Raises
    ------
    InputError
        An id occurs more than once.
    """
    passed = read_ids(snapshot, ids)
    values, counts = np.unique(passed, return_counts=True)
    if len(values) != len(passed):
        raise InputError(f"ids must be unique; {show_id(values[counts > 1][0])} occurs more than once")
    return passed


def codes_of(snapshot: Snapshot, rows: NDArray[np.int64]) -> tuple[RowCodes, NDArray[np.int64]]:
    """Return the codes of rows, sorted by partition, and the index in `rows` of each."""
    parts, places = [], []
    for shard, at, run_rows in snapshot.locate(rows):
        ends = shard.table.row_starts + shard.table.rows
        shard.ensure(np.unique(np.searchsorted(ends, run_rows, side="right")).astype(np.int32))
        parts.append(row_codes.read_row_codes(snapshot.model, shard, run_rows))
        places.append(at)
    codes, order = row_codes.concatenate(parts), np.concatenate(places)
    by_partition = np.lexsort((order, codes.partitions))
    return row_codes.take(codes, by_partition), order[by_partition]


def remove(snapshot: Snapshot, rows: NDArray[np.int64]) -> Removed | None:
    """Return the removals of rows; None for no rows."""
    return removed_at(snapshot.addresses(rows), stored_ids(snapshot, rows))


def removed_at(addresses: Addresses, ids: Any) -> Removed | None:
    """Return the removals of rows by address, with their ids; None for no rows."""
    if not len(addresses.rows):
        return None
    order = np.lexsort((addresses.rows, addresses.segments))
    return Removed(addresses.segments[order], addresses.rows[order], take_ids(ids, order))


def stored_ids(snapshot: Snapshot, rows: NDArray[np.int64]) -> Any:
    """Return the ids of rows: int64 (n,), or an Arrow array of strings."""
    return storable(fetching.take_ids(snapshot, rows))


def storable(ids: NDArray[Any]) -> Any:
    """Return ids in the form that deltas store: int64 (n,), or an Arrow array of strings."""
    if ids.dtype != object:
        return ids
    import pyarrow as pa

    return pa.array(ids.tolist(), pa.string())


def next_number(snapshot: Snapshot) -> int:
    """Return the id of the next row in an index that numbers its rows."""
    live = snapshot.manifest.live
    return live.next_row if live else snapshot.manifest.rows


def beyond_all(snapshot: Snapshot, ids: Any) -> bool:
    """Whether integer ids exceed all ids of the index according to its segments, so that none can exist."""
    live = snapshot.manifest.live
    if not isinstance(ids, np.ndarray) or not live:
        return False
    from vsearch.storage.snapshots.manifest import manifest_segments

    greatest = []
    for segment in manifest_segments(snapshot.manifest):
        if segment.rows and segment.ids is None:
            return False
        greatest += [] if segment.ids is None else [segment.ids[1]]
    if any(not shard.base and shard.rows for shard in snapshot.manifest.shards):
        return False
    return not greatest or int(ids.min()) > max(greatest)


def _searchable(ids: Any) -> NDArray[Any]:
    return ids if isinstance(ids, np.ndarray) else np.array(ids.to_pylist(), object)


def listed(ids: Any, chosen: NDArray[Any]) -> str:
    """Return the chosen ids for an error message, abbreviated."""
    values = _searchable(ids)[chosen]
    more = f" and {len(values) - LISTED_IDS} more" if len(values) > LISTED_IDS else ""
    return ", ".join(show_id(value) for value in values[:LISTED_IDS]) + more
