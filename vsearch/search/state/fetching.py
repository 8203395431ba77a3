"""Rows as they are stored: reconstructed vectors, ids and attribute columns."""

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
from vsearch.search.state.given_ids import as_ids, shown
from vsearch.search.state.id_lookup import find_ids
from vsearch.search.state.row_codes import rerank_codes, row_major_codes
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.files.columns import as_written, take
from vsearch.storage.snapshots.kinds import ATTRIBUTES, IDS

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.search.state.shard import Shard

FEW = 100  # rows that are sooner looked at as a list


def reconstruct(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rotated vectors float32 (n, d) of some rows, from rerank codes or, where there are none, from the codes."""
    model = snapshot.model
    vectors = np.empty((len(rows), model.dimensions), np.float32)
    for shard, places, inside in snapshot.locate(rows):
        table, arrays = shard.table, shard.arrays
        partitions = np.searchsorted(table.row_starts + table.rows, inside, side="right").astype(np.int32)
        shard.ensure(np.unique(partitions))
        centroids = model.centroids[shard.first_partition + partitions]
        if model.rerank is not None:
            codes = rerank_codes(model, shard)[inside]
            scales = arrays.rerank_scales[inside].view(np.float16).astype(np.float32) * table.rerank_scales[partitions]
            residuals = decode_residuals(ResidualCodes(codes, scales), model.rerank_weights, model.rerank)
        else:
            residuals = model.quantizer.decode(row_major_codes(shard, partitions, inside))
            if model.quantizer.scan == "cells":
                vectors[places] = residuals  # codes of whole vectors
                continue
            factors = arrays.factors[inside].view(np.float16).astype(np.float32) * table.factor_scales[partitions]
            residuals *= (factors * model.quantizer.calibration.scale[-1])[:, None]
        vectors[places] = centroids + residuals
    return vectors


def take_ids(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Ids of an array of rows, in its shape: int64, or object (str and None); -1 or None where a row is -1."""
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
    for shard, places, inside in snapshot.locate(rows):
        file = shard.files[IDS]
        if text:
            ids[places] = take(file, ["id"], inside).column("id").to_numpy()
        else:
            file.ensure("id", inside, inside + 1)
            ids[places] = file.array("id")[inside]
    return ids.reshape(shape)


def _id_of(plain: tuple[list[int], list[NDArray[np.integer[Any]]]], row: int) -> int:
    """The id of one row; -1 where the row is -1."""
    if row < 0:
        return -1
    firsts, ids = plain
    run = bisect_right(firsts, row) - 1
    return ids[run].item(row - firsts[run])


def take_columns(snapshot: Snapshot, columns: Sequence[str], rows: NDArray[np.int64]) -> pa.Table:
    """Exact attribute columns of rows, in their order, called as they were asked for; NULL where a row is -1."""
    import pyarrow as pa

    names = stored_names(columns, snapshot.schema.names)
    table = take_fields(snapshot, tuple(dict.fromkeys(names)), rows)
    written = {name: as_written(table.column(snapshot.find_entry(name).field_name)) for name in names}
    return pa.table([written[name] for name in names], list(columns))


def take_fields(snapshot: Snapshot, names: Sequence[str], rows: NDArray[np.int64]) -> pa.Table:
    """Attributes of rows just as they are stored, under the names of their fields; NULL where a row is -1."""
    import pyarrow as pa

    fields = {snapshot.find_entry(name).field_name: arrow_of(snapshot.schema.find(name)) for name in names}
    pieces, places = [], []
    for shard, at, inside in snapshot.locate(rows):
        pieces.append(_take_own(shard, fields, inside))
        places.append(at)
    if not pieces:
        return pa.table({name: pa.nulls(len(rows), kind) for name, kind in fields.items()})
    whole = pa.concat_tables(pieces)
    position = np.full(len(rows), -1, np.int64)
    position[np.concatenate(places)] = np.arange(whole.num_rows)
    return whole.take(pa.array(position, mask=position < 0))


def _take_own(shard: Shard, fields: Mapping[str, pa.DataType], inside: NDArray[np.int64]) -> pa.Table:
    """Fields of rows of a run; NULL where it has none of the name."""
    import pyarrow as pa

    file = shard.files.get(ATTRIBUTES)
    own = [] if file is None else [name for name in fields if name in {column.name for column in file.entry.columns}]
    stored = take(file, own, inside) if file is not None and own else None
    columns = {}
    for name, kind in fields.items():
        if stored is None or name not in own:
            columns[name] = pa.nulls(len(inside), kind)
            continue
        columns[name] = as_type(stored.column(name), kind, shard.files[ATTRIBUTES].path)
    return pa.table(columns)


def get_rows(snapshot: Snapshot, ids: Any, columns: Sequence[str] | None) -> pa.Table:
    """Rows by id, with attribute columns, all by default: what `Index.get` returns.

    Raises
    ------
    InputError
        An id is not in the index, or has the wrong type; or a column is none of its attributes.
    """
    import pyarrow as pa

    chosen = list(snapshot.schema.names if columns is None else columns)
    check_columns(chosen if columns is None else columns, snapshot.schema.names)
    text = snapshot.manifest.id_type == "string"
    wanted = as_ids(ids, text=text)
    rows = living(snapshot, find_ids(snapshot, wanted))
    if (rows < 0).any():
        missing = ", ".join(shown(wanted[i]) for i in np.flatnonzero(rows < 0)[:5])
        msg = f"no row has the id {missing}"
        raise InputError(msg)
    table = pa.table({"id": pa.array(wanted.tolist(), pa.string() if text else pa.int64())})
    if chosen:
        for name, column in zip(chosen, take_columns(snapshot, chosen, rows).columns, strict=True):
            table = table.append_column("attribute.id" if name == "id" else name, column)
    return table
