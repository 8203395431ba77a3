"""Append, upsert, update and delete: what each changes of a snapshot, found anew on every snapshot that it meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.live.commits import Draft
from vsearch.live.inputs import NewRows, cast_column, check_id_type, conform, fit_model
from vsearch.search.engine.rows import matching_rows
from vsearch.search.state import fetching, row_codes
from vsearch.search.state.deltas import Removed, Rows, take_ids
from vsearch.search.state.document_fetching import documents_at
from vsearch.search.state.expiry import expired_rows, living, present, ttl_field
from vsearch.search.state.fetching import take_fields
from vsearch.search.state.field_types import arrow_of
from vsearch.search.state.given_ids import as_ids, shown
from vsearch.search.state.id_lookup import Found, find_addresses, find_ids
from vsearch.search.state.row_codes import RowCodes
from vsearch.search.state.shard import Addresses
from vsearch.search.where import bound_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

NAMED = 5
"""How many ids a message names."""


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
    """Add rows whose ids are new."""

    new: NewRows
    kind: str = "append"

    def resolve(self, snapshot: Snapshot) -> Draft:
        new, numbered = fit_model(self.new, snapshot.model), snapshot.manifest.id_type == "row"
        if not len(new):
            return Draft()
        if numbered and new.ids is not None:
            raise InputError("this index numbers its rows itself: leave out ids, or replace rows with upsert")
        if not numbered and new.ids is None:
            raise InputError("the rows of this index have ids; give one for each new row")
        next_row = next_number(snapshot)
        ids = next_row + new.order if numbered else check_id_type(new.ids, snapshot.manifest.id_type)
        removed = None
        if not numbered and beyond_all(snapshot, ids) is False:
            old, alive = look_up(snapshot, ids)
            known = old.places[alive]
            if len(known):
                raise KnownIdsError(
                    f"the index has rows with these ids already: {listed(ids, np.sort(known))}; upsert replaces them",
                    np.sort(new.order[known]).tolist(),
                )
            removed = removed_at(old.addresses, take_ids(ids, old.places))  # only rows that have expired
        rows = Rows(new.codes, ids, conform(new.attributes, snapshot), new.documents)
        following = next_row + len(new) if numbered else None
        return Draft(rows, removed, added=len(new), next_row=following, change=new.count_vectors)


@dataclass(frozen=True, eq=False)
class Upsert:
    """Add rows; those whose ids are there take their places."""

    new: NewRows
    kind: str = "upsert"

    def resolve(self, snapshot: Snapshot) -> Draft:
        new = fit_model(self.new, snapshot.model)
        if not len(new):
            return Draft()
        if new.ids is None:
            raise InputError("upsert needs the id of each row; append adds rows that have none")
        ids = check_id_type(new.ids, snapshot.manifest.id_type)
        if snapshot.manifest.id_type == "row" and not (ids.min() >= 0 and ids.max() < next_number(snapshot)):
            raise InputError(
                f"this index numbers its rows itself, so far from 0 to {next_number(snapshot) - 1}: append adds rows, got the id "
                f"{ids.min() if ids.min() < 0 else ids.max()}"
            )
        old, alive = look_up(snapshot, ids)
        replaced = int(alive.sum())
        rows = Rows(new.codes, ids, conform(new.attributes, snapshot), new.documents)
        removed = removed_at(old.addresses, take_ids(ids, old.places))
        return Draft(rows, removed, added=len(new) - replaced, replaced=replaced, change=new.count_vectors)


@dataclass(frozen=True, eq=False)
class Delete:
    """Remove rows, by id or by predicate. An id that is not there is passed over."""

    ids: Any = None
    where: Where = None
    kind: str = "delete"

    def resolve(self, snapshot: Snapshot) -> Draft:
        if self.ids is None or self.where is not None:
            rows = select(snapshot, self.ids, self.where)
            return Draft(None, remove(snapshot, rows), deleted=len(rows))
        asked = storable(asked_ids(snapshot, self.ids))
        found, alive = look_up(snapshot, asked)
        where = Addresses(found.addresses.segments[alive], found.addresses.rows[alive])
        return Draft(None, removed_at(where, take_ids(asked, found.places[alive])), deleted=len(where.rows))


@dataclass(frozen=True)
class Expire:
    """Remove the rows that have expired."""

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
        By attribute a value for all rows, or with `ids` a value for each.
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
            wanted = distinct_ids(snapshot, self.ids)
            found = find_living(snapshot, wanted)
            if (found < 0).any():
                raise InputError(f"no row has the id {listed(wanted, found < 0)}")
            rows, places = found, np.arange(len(found))
        columns = self._columns(snapshot, len(rows), places)
        if not len(rows):
            return Draft()
        codes, order = codes_of(snapshot, rows)
        rows = rows[order]
        table = take_fields(snapshot, snapshot.schema.names, rows)
        for field, column in columns.items():
            table = table.set_column(table.column_names.index(field), field, column.take(pa.array(order)))
        ids = stored_ids(snapshot, rows)
        new = Rows(codes, ids, table, documents_at(snapshot, rows))
        return Draft(new, remove(snapshot, rows), replaced=len(rows))

    def _columns(self, snapshot: Snapshot, count: int, places: NDArray[np.int64] | None) -> dict[str, Any]:
        """The new values of so many rows, by field."""
        names, columns = snapshot.schema.names, {}
        for name, values in self.values.items():
            attribute = snapshot.schema.find(name)
            if attribute.name not in names:
                raise InputError(f"no attribute of this index is called {name!r}; it has {', '.join(names) or 'none'}")
            field = snapshot.find_entry(attribute.name).field_name
            columns[field] = self._column(values, name, arrow_of(attribute), count, places)
        return columns

    def _column(self, values: Any, name: str, kind: pa.DataType, count: int, order: NDArray[np.int64] | None) -> Any:
        import pyarrow as pa

        whole = _whole(values)
        nested = pa.types.is_list(kind)
        try:
            if whole and order is not None and not (nested and not _lists(values)):
                column = pa.array(_plain(values))
                if len(column) != len(order):
                    raise InputError(
                        f"{name!r} must be one value, or one for each of the {len(order)} ids, got {len(column)}"
                    )
                return cast_column(column.take(pa.array(order)), kind, name)
            if whole and not nested:
                raise InputError(f"{name!r} must be one value; values row by row need ids=")
            one = pa.array([_plain(values) if whole else values])
            return cast_column(one, kind, name).take(pa.array(np.zeros(count, np.int64)))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise InputError(f"the attribute {name!r} must be {kind}: {str(error).splitlines()[0]}") from None


def column_of(name: str, values: Any, *, each: bool) -> pa.Array:
    """Values as an Arrow array: with `each` one for each row, else of one row.

    Raises
    ------
    InputError
    """
    import pyarrow as pa

    try:
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if isinstance(values, pa.Array):
            array = values
        elif isinstance(values, pa.Scalar):
            array = pa.array([values.as_py()], values.type)
        else:
            array = pa.array(_plain(values) if each else [_plain(values) if _whole(values) else values])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
        raise InputError(f"the values of {name!r} must be of one type: {str(error).splitlines()[0]}") from None
    if not each and len(array) != 1:
        raise InputError(f"{name!r} must be one value; values row by row need ids=")
    return array


def _whole(values: Any) -> bool:
    """Whether a value is several."""
    return isinstance(values, (list, tuple, np.ndarray)) or hasattr(values, "to_pylist") or hasattr(values, "to_list")


def _plain(values: Any) -> Any:
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


def _lists(values: Any) -> bool:
    """Whether values of a list attribute are one list for each row, rather than one list."""
    return all(value is None or isinstance(value, (list, tuple, np.ndarray)) for value in _plain(values))


def select(snapshot: Snapshot, ids: Any, where: Where) -> NDArray[np.int64]:
    """Positions of the rows that a change is about, ascending.

    Raises
    ------
    InputError
        Neither ids nor a predicate, or both.
    """
    if (ids is None) == (where is None):
        raise InputError("say which rows: give either ids or where")
    if ids is not None:
        found = find_living(snapshot, asked_ids(snapshot, ids))
        return np.unique(found[found >= 0])
    return matching_rows(present(snapshot), bound_of(snapshot, where))


def look_up(snapshot: Snapshot, ids: Any) -> tuple[Found, NDArray[np.bool_]]:
    """Where the rows of ids are, and which of these have not expired. The tail is stitched only where rows may expire."""
    wanted = _searchable(ids)
    if ttl_field(snapshot.manifest) is None:
        found = find_addresses(snapshot, wanted)
        return found, np.ones(len(found), np.bool_)
    rows = find_ids(snapshot, wanted)
    places = np.unique(rows, return_index=True)[1]
    places = places[rows[places] >= 0]
    alive = living(present(snapshot), rows[places]) >= 0
    return Found(places, snapshot.addresses(rows[places])), alive


def find_living(snapshot: Snapshot, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of ids, -1 for an id that is not there or whose row has expired."""
    return living(present(snapshot), find_ids(snapshot, ids))


def asked_ids(snapshot: Snapshot, ids: Any) -> NDArray[Any]:
    """Ids that a change names, in the order in which they come."""
    return as_ids(ids, text=snapshot.manifest.id_type == "string")


def distinct_ids(snapshot: Snapshot, ids: Any) -> NDArray[Any]:
    """Ids that values are given for, in the order in which they come.

    Raises
    ------
    InputError
        One comes more than once.
    """
    asked = asked_ids(snapshot, ids)
    values, counts = np.unique(asked, return_counts=True)
    if len(values) != len(asked):
        raise InputError(f"ids must differ; {shown(values[counts > 1][0])} comes more than once")
    return asked


def codes_of(snapshot: Snapshot, rows: NDArray[np.int64]) -> tuple[RowCodes, NDArray[np.int64]]:
    """Codes of rows, sorted by partition, and which of the rows each is of."""
    parts, places = [], []
    for shard, at, inside in snapshot.locate(rows):
        shard.ensure(
            np.unique(np.searchsorted(shard.table.row_starts + shard.table.rows, inside, side="right")).astype(np.int32)
        )
        parts.append(row_codes.read_row_codes(snapshot.model, shard, inside))
        places.append(at)
    codes, order = row_codes.concatenate(parts), np.concatenate(places)
    by_partition = np.lexsort((order, codes.partitions))
    return row_codes.take(codes, by_partition), order[by_partition]


def remove(snapshot: Snapshot, rows: NDArray[np.int64]) -> Removed | None:
    """Where rows are, to be removed there; None for no rows."""
    return removed_at(snapshot.addresses(rows), stored_ids(snapshot, rows))


def removed_at(where: Addresses, ids: Any) -> Removed | None:
    """Rows at some addresses, with these ids, to be removed; None for no rows."""
    if not len(where.rows):
        return None
    order = np.lexsort((where.rows, where.segments))
    return Removed(where.segments[order], where.rows[order], take_ids(ids, order))


def stored_ids(snapshot: Snapshot, rows: NDArray[np.int64]) -> Any:
    """Ids of rows: int64 (n,), or an Arrow array of strings."""
    return storable(fetching.take_ids(snapshot, rows))


def storable(ids: NDArray[Any]) -> Any:
    """Ids as deltas hold them: int64 (n,), or an Arrow array of strings."""
    if ids.dtype != object:
        return ids
    import pyarrow as pa

    return pa.array(ids.tolist(), pa.string())


def next_number(snapshot: Snapshot) -> int:
    """The id of the next row of an index that numbers its rows."""
    live = snapshot.manifest.live
    return live.next_row if live else snapshot.manifest.rows


def beyond_all(snapshot: Snapshot, ids: Any) -> bool:
    """Whether integer ids are all greater than those of the index, as far as its segments say: then none can be there."""
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
    """Some of the chosen ids, for a message."""
    values = ids if isinstance(ids, np.ndarray) else np.array(ids.to_pylist(), object)
    some = values[chosen]
    more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
    return ", ".join(shown(one) for one in some[:NAMED]) + more
