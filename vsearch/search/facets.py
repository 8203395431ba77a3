"""Values of an attribute among the rows that pass a predicate: how often each occurs, the least and the greatest.

Cells and postings suffice if each represents one value; then the exact column is read for only one row per value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.predicates.columns import CellColumn, EncodedColumn, PostingColumn
from vsearch.search.listing import passing_rows
from vsearch.search.state.fetching import take_fields
from vsearch.storage.files.columns import as_written

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


def count_values(snapshot: Snapshot, name: str, where: Where, limit: int | None) -> pa.Table:
    """Count the values of an attribute; see `Index.facet`. O(rows).

    Raises
    ------
    InputError
        An argument is invalid.
    PredicateError
        `where` is not a valid predicate on the attributes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = passing_rows(snapshot, where)
    of_lists = snapshot.schema.find(name).type.startswith("list<")
    parts = []
    for run, _, run_rows in snapshot.locate(rows):
        column = None if of_lists else snapshot.column(run, name)
        known = None if column is None else _count_encoded(column, run_rows)
        if known is None:
            known = run_rows, np.ones(len(run_rows), np.int64)
        values = _values(snapshot, name, run.first_row + known[0])
        parts.append(_elements(values) if of_lists else (values, pa.array(known[1])))
    if not parts:
        values = _values(snapshot, name, rows)
        parts = [_elements(values) if of_lists else (values, pa.array(rows))]
    keys, restore = _groupable(pa.concat_arrays([values for values, _ in parts]))
    grouped = pa.table({"value": keys, "count": pa.concat_arrays([counts for _, counts in parts])}).group_by("value")
    table = grouped.aggregate([("count", "sum")])
    values, counts = restore(table.column("value").combine_chunks()), table.column("count_sum")
    order = pc.sort_indices(
        pa.table({"count": counts, **_sortable(values)}),
        sort_keys=[("count", "descending"), *((name, "ascending") for name in _sortable(values))],
    )[:limit]
    return pa.table({"value": as_written(values.take(order)), "count": counts.take(order)})


def extremes(snapshot: Snapshot, name: str, where: Where) -> tuple[Any, Any]:
    """Return the least and the greatest value of an attribute; see `Index.min_max`. O(rows).

    Raises
    ------
    InputError
        The attribute holds lists.
    PredicateError
        `where` is not a valid predicate on the attributes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = snapshot.schema.find(name).type
    if kind.startswith("list<"):
        raise InputError(f"lists have no order: {name!r} is {kind}")
    rows = passing_rows(snapshot, where)
    read = [np.empty(0, np.int64)]
    for run, _, run_rows in snapshot.locate(rows):
        column = snapshot.column(run, name)
        if isinstance(column, CellColumn):  # cells ascend: only rows of the outermost ones qualify
            cells = column.cells[run_rows]
            present = cells[cells > 0]
            if not len(present):
                continue
            run_rows = run_rows[(cells == present.min()) | (cells == present.max())]
        read.append(run.first_row + run_rows)
    values = _values(snapshot, name, np.concatenate(read))
    values = values.filter(values.is_valid())
    if not len(values):
        return None, None
    order = pc.sort_indices(pa.table(_sortable(values)), sort_keys=[(key, "ascending") for key in _sortable(values)])
    ends = values.take(pa.array([order[0].as_py(), order[len(order) - 1].as_py()]))
    if pa.types.is_timestamp(ends.type) and ends.type.unit == "ns":
        least, greatest = ends.to_numpy(zero_copy_only=False)  # datetime has no nanoseconds
        return least, greatest
    least, greatest = as_written(ends).to_pylist()
    return least, greatest


def _values(snapshot: Snapshot, name: str, rows: NDArray[np.int64]) -> pa.Array:
    import pyarrow as pa

    column = take_fields(snapshot, [name], rows).column(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _count_encoded(
    column: EncodedColumn, run_rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return a row for each value that rows of a run have, and how many rows have it; None if that needs the exact column."""
    if isinstance(column, CellColumn):
        cells = column.cells[run_rows]
        counts = np.bincount(cells, minlength=len(column.low) + 1)
        present = np.flatnonzero(counts)
        if (column.low < column.high)[present[present > 0] - 1].any():
            return None
        representatives = np.empty(len(counts), np.int64)
        representatives[cells] = run_rows
        return representatives[present], counts[present]
    if not isinstance(column, PostingColumn):
        return None
    if column.ensure is not None and len(column.rows):
        column.ensure("rows", np.zeros(1, np.int64), np.full(1, len(column.rows), np.int64))
    passes = np.zeros(column.rows_total, np.bool_)
    passes[run_rows] = True
    places = np.flatnonzero(passes[column.rows])
    owners = np.searchsorted(column.offsets, places, side="right") - 1
    _, first, counts = np.unique(owners, return_index=True, return_counts=True)
    representatives = column.rows[places[first]].astype(np.int64)
    passes[column.rows] = False
    null = np.flatnonzero(passes)
    return np.append(representatives, null[:1]), np.append(counts, np.full(len(null[:1]), len(null)))


def _elements(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the distinct elements of each list that are not NULL, and as many ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parents, elements = pc.list_parent_indices(lists), pc.list_flatten(lists)
    valid = elements.is_valid()
    keys, restore = _groupable(elements.filter(valid))
    distinct = pa.table({"list": parents.filter(valid), "value": keys}).group_by(["list", "value"]).aggregate([])
    values = distinct.column("value").combine_chunks()
    values = restore(pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values)
    return values, pa.array(np.ones(len(values), np.int64))


def _groupable(values: pa.Array) -> tuple[pa.Array, Any]:
    """Return keys that are equal if values are, and a function from keys to values: floats as bits, with one NaN and one 0."""
    import pyarrow as pa

    if not pa.types.is_floating(values.type):
        return values, lambda keys: keys
    kind = values.type
    dtype = np.dtype(kind.to_pandas_dtype())
    bits = np.dtype(f"i{dtype.itemsize}")
    numbers = np.zeros(len(values), dtype)
    if len(values):
        stored = np.frombuffer(values.buffers()[1], dtype, len(values), values.offset * dtype.itemsize)
        numbers = stored + dtype.type(0)  # -0.0 becomes 0.0
        numbers[np.isnan(numbers)] = np.nan
    valid = values.is_valid().to_numpy(zero_copy_only=False)

    def restore(keys: pa.Array) -> pa.Array:
        present = keys.is_valid().to_numpy(zero_copy_only=False)
        back = keys.fill_null(0).to_numpy(zero_copy_only=False).astype(bits).view(dtype)
        return pa.array(back, kind, mask=~present, from_pandas=False)

    return pa.array(numbers.view(bits), mask=~valid), restore


def _sortable(values: pa.Array) -> dict[str, pa.Array]:
    """Return columns that sort like the values: NaN is above all numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(values.type):
        return {"value": values}
    wide = values.cast(pa.float64())
    return {"nan": pc.is_nan(wide), "value": wide}
