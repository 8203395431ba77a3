"""Tasks of an append: encode the rows of a chunk as a delta, and compare their ids with those of the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.building.encoding import encode_rows
from vsearch.building.inputs.attributes import AttributeSource
from vsearch.building.inputs.elements import check_bounded
from vsearch.building.inputs.ids import IdSource
from vsearch.cluster.context import Context
from vsearch.cluster.data_files import DataFile
from vsearch.cluster.dividing_steps import write_keys
from vsearch.cluster.job import Checked, Encoded
from vsearch.cluster.source import ID, attribute_names
from vsearch.errors import InputError
from vsearch.live.inputs import BATCH_ROWS, check_id_type, conform
from vsearch.live.operations import beyond_all, listed, look_up
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import Rows, read_delta_ids, write_delta

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot


def encode_chunk(context: Context, number: int) -> None:
    """Encode the rows of a chunk, in the batches of an append in one process; tasks are numbered by round, then by chunk."""
    outputs, plan = context.outputs, context.plan
    turn, chunk = divmod(number, plan.chunks)
    base, snapshot = context.base(turn)
    start, stop = plan.chunk(chunk)
    parts, orders = [], []
    for first in range(start, stop, BATCH_ROWS):
        raw = context.rows.files.vectors(first, min(first + BATCH_ROWS, stop))
        check_bounded(raw, snapshot.model.metric, first)
        codes, order = encode_rows(snapshot.model, raw)
        parts.append(codes)
        orders.append(first - start + order)
    codes, order = row_codes.concatenate(parts), np.concatenate(orders)
    by_partition = np.argsort(codes.partitions, kind="stable")
    codes, order = row_codes.take(codes, by_partition), order[by_partition]
    table = context.rows.table(start, stop)
    ids: Any = base.first + start + order
    if plan.id is not None and table is not None:
        column = table.column(ID)
        values = column.to_numpy() if plan.id_kind == "int64" else table.select([ID])
        ids = IdSource("int64" if plan.id_kind == "int64" else "string", stop - start, values).take(order)
    attributes = None
    names = () if table is None else attribute_names(table)
    if names and table is not None:
        columns = AttributeSource(table.select(list(names)).rename_columns(list(names.values())), stop - start)
        attributes = conform(columns.take(order), snapshot)
    rows = Rows(codes, check_id_type(ids, snapshot.manifest.id_type), attributes)
    path = f"segments/{outputs.writer}-{number:06d}-delta.arrow"
    entry = write_delta(outputs.store, path, snapshot.model, rows, None)
    keys: DataFile | None = None
    edges: tuple[int, ...] = ()
    if table is not None and plan.id is not None:
        keys, edges = write_keys(context, outputs, "encode", number, context.rows.ids(start, stop))
    paths = [path, *([keys.entry.path] if keys else [])]
    outputs.finish("encode", number, Encoded(entry, keys, edges), paths)


def check_chunk(context: Context, number: int) -> None:
    """Refuse ids of a chunk that are in the index already.

    Raises
    ------
    InputError
        A row of the index has one of these ids.
    """
    outputs, plan = context.outputs, context.plan
    turn, chunk = divmod(number, plan.chunks)
    base, snapshot = context.base(turn)
    encoded = outputs.read(Encoded, "encode", base.encoded * plan.chunks + chunk)
    expired, _ = find_known(snapshot, encoded)
    outputs.finish("check", number, Checked(expired), ())


def find_known(snapshot: Snapshot, encoded: Encoded) -> tuple[int, Any]:
    """Find the rows of an index with the ids of a chunk; all of them must have expired.

    Returns
    -------
    count : int
    found : tuple or None
        Their addresses and ids; None if there are none.

    Raises
    ------
    InputError
        A row that has not expired has one of these ids.
    """
    manifest = snapshot.manifest
    ids, _ = read_delta_ids(snapshot.store, encoded.delta, manifest.id_type, manifest.snapshot)
    if not len(ids) or beyond_all(snapshot, ids):
        return 0, None
    old, alive = look_up(snapshot, ids)
    duplicates = old.places[alive]
    if len(duplicates):
        examples = listed(ids, np.sort(duplicates))
        raise InputError(f"the index already has rows with these ids: {examples}; replace them with upsert")
    return len(old.places), (old, ids)
