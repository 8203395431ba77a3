"""List the rows that pass a predicate, in an order that does not depend on their storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.checks import check_columns
from vsearch.errors import InputError
from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.predicates.schema import ROW_ID, Schema
from vsearch.search.engine.rows import matching_rows
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.expiry import living
from vsearch.search.state.fetching import take_columns, take_fields, take_id_array, take_ids
from vsearch.search.state.given_ids import as_ids, is_unicode, show_id
from vsearch.search.state.id_lookup import find_ids
from vsearch.search.where import mask_of

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

DIRECTIONS = {"asc": False, "desc": True}


@dataclass(frozen=True)
class SortColumn:
    """A column to sort by: an attribute, or `ROW_ID`."""

    name: str
    descending: bool


def parse_order(order: str | Sequence[str] | None, schema: Schema) -> tuple[SortColumn, ...]:
    """Resolve an order such as ``"price"`` or ``["price DESC", "name"]``.

    Raises
    ------
    InputError
        A column does not exist, occurs twice, or holds lists.
    """
    if order is None:
        return ()
    names = [order] if isinstance(order, str) else order
    if not isinstance(names, (list, tuple)) or not all(isinstance(text, str) for text in names):
        raise InputError(f"order must be column names, such as 'price' or ['price DESC', 'name'], got {order!r:.100}")
    columns: list[SortColumn] = []
    for text in names:
        name, descending = text.strip(), False
        words = name.rsplit(maxsplit=1)
        if name not in schema.names and len(words) == 2 and words[1].lower() in DIRECTIONS:
            name, descending = words[0], DIRECTIONS[words[1].lower()]
        if name.startswith("-") and name not in schema.names and name[1:] in schema.names:
            raise InputError(f"for a descending order use '{name[1:]} DESC', got {name!r}")
        attribute = schema.find(name)
        if attribute.type.startswith("list<"):
            raise InputError(f"lists have no order: {name!r} is {attribute.type}")
        if attribute.name in {column.name for column in columns}:
            raise InputError(f"order names {name!r} twice")
        columns.append(SortColumn(attribute.name, descending))
    return tuple(columns)


def passing_rows(snapshot: Snapshot, where: Where) -> NDArray[np.int64]:
    """Return the positions of the live rows that pass, int64 (n,), ascending. O(rows).

    Raises
    ------
    PredicateError
        `where` is not a valid predicate on the attributes.
    """
    mask = mask_of(snapshot, where, SearchStats())
    if mask is None:
        return matching_rows(snapshot, None)
    parts = [
        run.first_row + list_rows(part.words, 0, run.rows)
        for run, part in zip(snapshot.shards, mask.shards, strict=True)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def count_rows(snapshot: Snapshot, where: Where) -> int:
    """Return the number of live rows that pass."""
    mask = mask_of(snapshot, where, SearchStats())
    return snapshot.live_count if mask is None else mask.rows


def list_page(
    snapshot: Snapshot, where: Where, order: tuple[SortColumn, ...], limit: int | None, after: Any
) -> NDArray[np.int64]:
    """Return the positions of the rows of a page, in order.

    Parameters
    ----------
    order : tuple of SortColumn
        Ties, or all rows if it is empty, are in ascending order of the ids.
    limit : int or None
        Maximum number of rows.
    after : int, str, UUID or None
        The id of the row that the page follows.

    Raises
    ------
    PredicateError
        `where` is not a valid predicate on the attributes.
    InputError
        `after` is not an id, or, with an order, not the id of a row that passes.
    """
    rows = passing_rows(snapshot, where)
    if not order or order[0].name == ROW_ID:
        return _by_id(snapshot, rows, limit, after, descending=bool(order) and order[0].descending)
    ordered = sort_rows(snapshot, rows, order)
    if after is not None:
        place = np.flatnonzero(ordered == _row_of(snapshot, after))
        if not len(place):
            raise InputError(
                f"no row that passes has the id {show_id(after)}, which the page follows: with an order, the last row of a page "
                "must still be there for the next one; open the index at a snapshot, or start again"
            )
        ordered = ordered[place[0] + 1 :]
    return ordered[:limit]


def sort_rows(snapshot: Snapshot, rows: NDArray[np.int64], order: tuple[SortColumn, ...]) -> NDArray[np.int64]:
    """Sort rows: NULL last, NaN above all numbers, ties by ascending id. O(rows log rows)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [column.name for column in order if column.name != ROW_ID]
    fields = take_fields(snapshot, names, rows)
    keys: dict[str, Any] = {}
    sort_keys = []
    for place, column in enumerate(order):
        direction = "descending" if column.descending else "ascending"
        if column.name == ROW_ID:
            keys[f"{place}"] = take_id_array(snapshot, rows)
        else:
            values = fields.column(snapshot.find_entry(column.name).field_name)
            if pa.types.is_floating(values.type):
                values = values.cast(pa.float64())
                keys[f"{place} is NaN"] = pc.is_nan(values)
                sort_keys.append((f"{place} is NaN", direction))
            keys[f"{place}"] = values
        sort_keys.append((f"{place}", direction))
    if all(column.name != ROW_ID for column in order):
        keys["id"] = take_id_array(snapshot, rows)
        sort_keys.append(("id", "ascending"))
    sorted_places = pc.sort_indices(pa.table(keys), sort_keys=sort_keys)
    return rows[sorted_places.to_numpy().astype(np.int64)]


def _by_id(
    snapshot: Snapshot, rows: NDArray[np.int64], limit: int | None, after: Any, *, descending: bool
) -> NDArray[np.int64]:
    if snapshot.manifest.id_type == "string":
        return _by_text_id(snapshot, rows, limit, after, descending=descending)
    ids = take_ids(snapshot, rows)
    if after is not None:
        (last,) = _one_id(after, text=False)
        kept = ids < last if descending else ids > last
        rows, ids = rows[kept], ids[kept]
    if descending:
        ids = ~ids  # reverses the order without overflow
    if limit is not None and limit < len(ids):
        least = np.argpartition(ids, limit)[:limit]
        rows, ids = rows[least], ids[least]
    return rows[np.argsort(ids)]


def _by_text_id(
    snapshot: Snapshot, rows: NDArray[np.int64], limit: int | None, after: Any, *, descending: bool
) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = take_id_array(snapshot, rows)
    if after is not None:
        (last,) = _one_id(after, text=True)
        if not is_unicode(last):
            raise InputError(f"{show_id(last)} cannot be the id of a row")
        compare = pc.less if descending else pc.greater
        kept = compare(ids, pa.scalar(last, ids.type)).to_numpy(zero_copy_only=False)
        rows, ids = rows[kept], ids.filter(pa.array(kept))
    order = pc.sort_indices(ids, sort_keys=[("", "descending" if descending else "ascending")])
    return rows[order.to_numpy().astype(np.int64)][:limit]


def _one_id(id_: Any, *, text: bool) -> NDArray[Any]:
    ids = as_ids(id_, text=text)
    if len(ids) != 1:
        raise InputError(f"after must be one id, got {len(ids)}")
    return ids


def _row_of(snapshot: Snapshot, id_: Any) -> int:
    ids = _one_id(id_, text=snapshot.manifest.id_type == "string")
    row = int(living(snapshot, find_ids(snapshot, ids))[0])
    return row if row >= 0 else -2


def make_table(snapshot: Snapshot, rows: NDArray[np.int64], columns: Sequence[str] | None) -> pa.Table:
    """Return rows as a table of ``id`` and attribute columns, all by default; an attribute ``id`` becomes ``attribute.id``."""
    import pyarrow as pa

    chosen = list(snapshot.schema.names if columns is None else columns)
    check_columns(chosen if columns is None else columns, snapshot.schema.names)
    table = pa.table({"id": take_id_array(snapshot, rows)})
    if chosen:
        for name, column in zip(chosen, take_columns(snapshot, chosen, rows).columns, strict=True):
            table = table.append_column("attribute.id" if name == "id" else name, column)
    return table


def make_batches(
    snapshot: Snapshot, rows: NDArray[np.int64], columns: Sequence[str] | None, batch_rows: int
) -> pa.RecordBatchReader:
    """Return rows as a stream of record batches, each read when it is requested."""
    import pyarrow as pa

    schema = make_table(snapshot, rows[:0], columns).schema

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), batch_rows):
            table = make_table(snapshot, rows[start : start + batch_rows], columns)
            yield from table.cast(schema).combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(schema, batches())
