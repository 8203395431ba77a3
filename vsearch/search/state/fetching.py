"""Fetch rows: reconstructed vectors, ids and attribute columns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.checks import check_columns, stored_names
from vsearch.errors import InputError
from vsearch.quantizers.rerank_codes import ResidualCodes, decode_residuals
from vsearch.search.state.expiry import living
from vsearch.search.state.field_types import arrow_of, as_type
from vsearch.search.state.given_ids import as_ids, show_id
from vsearch.search.state.id_lookup import find_ids
from vsearch.search.state.row_codes import rerank_codes, row_major_codes
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.files.columns import as_written, take
from vsearch.storage.snapshots.kinds import ATTRIBUTES, IDS

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.search.state.shard import Shard

FEW = 100  # up to this number of rows, Python lists are faster than arrays


def reconstruct(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return rotated vectors float32 (n, d) of rows, decoded from rerank codes or, without them, from the codes."""
    model = snapshot.model
    vectors = np.empty((len(rows), model.dimensions), np.float32)
    for shard, places, run_rows in snapshot.locate(rows):
        table, arrays = shard.table, shard.arrays
        partitions = np.searchsorted(table.row_starts + table.rows, run_rows, side="right").astype(np.int32)
        if model.rerank is not None:
            shard.ensure_rows(run_rows)
        else:
            shard.ensure(np.unique(partitions))
        centroids = model.centroids[shard.first_partition + partitions]
        if model.rerank is not None:
            codes = rerank_codes(model, shard)[run_rows]
            scales = (
                arrays.rerank_scales[run_rows].view(np.float16).astype(np.float32) * table.rerank_scales[partitions]
            )
            residuals = decode_residuals(ResidualCodes(codes, scales), model.rerank_weights, model.rerank)
        else:
            residuals = model.quantizer.decode(row_major_codes(shard, partitions, run_rows))
            if model.quantizer.scan == "cells":
                vectors[places] = residuals  # codes of whole vectors
                continue
            factors = arrays.factors[run_rows].view(np.float16).astype(np.float32) * table.factor_scales[partitions]
            residuals *= (factors * model.quantizer.calibration.scale[-1])[:, None]
        vectors[places] = centroids + residuals
    return vectors


def take_ids(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the ids of rows, in the same shape: int64, or object (str and None); -1 or None for row -1."""
    plain = snapshot.plain_ids()
    if plain is not None and rows.size <= FEW:
        listed = rows.ravel().tolist()
        if len(plain[1]) > 1:
            return np.array([_id_of(plain, place) for place in listed], np.int64).reshape(rows.shape)
        if -1 not in listed and plain[1]:
            return plain[1][0].take(rows).astype(np.int64, copy=False)
    elif plain is not None and len(plain[1]) == 1 and -1 not in rows:
        return plain[1][0].take(rows).astype(np.int64, copy=False)
    shape, rows = rows.shape, rows.reshape(-1)
    text = snapshot.manifest.id_type == "string"
    ids: NDArray[Any] = np.full(len(rows), None if text else -1, object if text else np.int64)
    for shard, places, run_rows in snapshot.locate(rows):
        file = shard.files[IDS]
        if text:
            ids[places] = take(file, ["id"], run_rows).column("id").to_numpy()
        else:
            file.ensure("id", run_rows, run_rows + 1)
            ids[places] = file.array("id")[run_rows]
    return ids.reshape(shape)


def take_found_ids(
    plain: tuple[list[int], list[NDArray[np.integer[Any]]]], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the ids of rows (1, k) of which none is -1, given `Snapshot.plain_ids`; fast for few rows, most of them in the first run."""
    firsts, runs = plain
    ids = runs[0].take(rows, mode="clip").astype(np.int64, copy=False)
    if len(runs) > 1:
        first, end = ids[0], firsts[1]
        for place, row in enumerate(rows[0].tolist()):
            if row >= end:
                first[place] = _id_of(plain, row)
    return ids


def take_id_array(snapshot: Snapshot, rows: NDArray[np.int64]) -> pa.Array:
    """Return the ids of rows, int64 (n,), as an Arrow array of int64 or string."""
    import pyarrow as pa

    if snapshot.manifest.id_type != "string":
        return pa.array(take_ids(snapshot, rows), pa.int64())
    pieces, places = [], []
    for shard, at, run_rows in snapshot.locate(rows):
        pieces += take(shard.files[IDS], ["id"], run_rows).column("id").cast(pa.string()).chunks
        places.append(at)
    if not pieces:
        return pa.array([], pa.string())
    position = np.empty(len(rows), np.int64)
    position[np.concatenate(places)] = np.arange(len(rows))
    return pa.concat_arrays(pieces).take(pa.array(position))


def _id_of(plain: tuple[list[int], list[NDArray[np.integer[Any]]]], row: int) -> int:
    """Return the id of a row; -1 for row -1."""
    if row < 0:
        return -1
    firsts, ids = plain
    run = bisect_right(firsts, row) - 1
    return ids[run].item(row - firsts[run])


def take_columns(snapshot: Snapshot, columns: Sequence[str], rows: NDArray[np.int64]) -> pa.Table:
    """Return exact attribute columns of rows, under the requested names; NULL for row -1."""
    import pyarrow as pa

    names = stored_names(columns, snapshot.schema.names)
    table = take_fields(snapshot, tuple(dict.fromkeys(names)), rows)
    written = {name: as_written(table.column(snapshot.find_entry(name).field_name)) for name in names}
    return pa.table([written[name] for name in names], list(columns))


def take_fields(snapshot: Snapshot, names: Sequence[str], rows: NDArray[np.int64]) -> pa.Table:
    """Return attributes of rows as stored, under their field names; NULL for row -1."""
    import pyarrow as pa

    fields = {snapshot.find_entry(name).field_name: arrow_of(snapshot.schema.find(name)) for name in names}
    pieces, places = [], []
    for shard, at, run_rows in snapshot.locate(rows):
        pieces.append(_take_from_run(shard, fields, run_rows))
        places.append(at)
    if not pieces:
        return pa.table({name: pa.nulls(len(rows), kind) for name, kind in fields.items()})
    table = pa.concat_tables(pieces)
    position = np.full(len(rows), -1, np.int64)
    position[np.concatenate(places)] = np.arange(table.num_rows)
    return table.take(pa.array(position, mask=position < 0))


def _take_from_run(shard: Shard, fields: Mapping[str, pa.DataType], inside: NDArray[np.int64]) -> pa.Table:
    """Return fields of rows of a run; NULL for fields that it does not have."""
    import pyarrow as pa

    file = shard.files.get(ATTRIBUTES)
    stored_fields = set() if file is None else {column.name for column in file.entry.columns}.intersection(fields)
    stored = take(file, sorted(stored_fields), inside) if file is not None and stored_fields else None
    columns = {}
    for name, kind in fields.items():
        if stored is None or name not in stored_fields:
            columns[name] = pa.nulls(len(inside), kind)
            continue
        columns[name] = as_type(stored.column(name), kind, shard.files[ATTRIBUTES].path)
    return pa.table(columns)


def rows_of_ids(snapshot: Snapshot, ids: Any, *, skip: bool) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return ids and the positions of their rows, in the order of the ids; those without a row are left out if `skip`.

    Raises
    ------
    InputError
        An id has the wrong type, or is not in the index.
    """
    requested = as_ids(ids, text=snapshot.manifest.id_type == "string", beyond=skip)
    rows = living(snapshot, find_ids(snapshot, requested))
    absent = rows < 0
    if not absent.any():
        return requested, rows
    if not skip:
        missing = ", ".join(show_id(requested[i]) for i in np.flatnonzero(absent)[:5])
        msg = f"no row has the id {missing}"
        raise InputError(msg)
    return requested[~absent], rows[~absent]


def get_rows(snapshot: Snapshot, ids: Any, columns: Sequence[str] | None, *, skip: bool = False) -> pa.Table:
    """Return rows by id with attribute columns, all by default; see `Index.get`.

    Parameters
    ----------
    skip : bool
        Whether to leave out ids that are not in the index.

    Raises
    ------
    InputError
        An id is not in the index, unless they are skipped, or has the wrong type, or a column is not an attribute.
    """
    import pyarrow as pa

    chosen = list(snapshot.schema.names if columns is None else columns)
    check_columns(chosen if columns is None else columns, snapshot.schema.names)
    text = snapshot.manifest.id_type == "string"
    requested, rows = rows_of_ids(snapshot, ids, skip=skip)
    table = pa.table({"id": pa.array(requested.tolist(), pa.string() if text else pa.int64())})
    if chosen:
        for name, column in zip(chosen, take_columns(snapshot, chosen, rows).columns, strict=True):
            table = table.append_column("attribute.id" if name == "id" else name, column)
    return table
