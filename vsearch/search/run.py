"""Run one query on the shards of a snapshot through the fused kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.entry import finish, plan_query, scan_shard, search_shard
from vsearch.kernels.fields import CallField, ModelField
from vsearch.search.merge import ShardHits
from vsearch.search.model import prepare_queries
from vsearch.search.native import Workspace

if TYPE_CHECKING:
    from vsearch.search.masks import IndexMask
    from vsearch.search.shard import Shard
    from vsearch.search.snapshot import Snapshot

FIRST_WAVE = 64  # visits whose partitions are made ready before the first kernel call; doubles from wave to wave


def run_query(
    snapshot: Snapshot,
    workspace: Workspace,
    query: NDArray[np.float32],
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> list[ShardHits]:
    """Search all shards for one query; what `Workspace.begin` was given says how.

    Parameters
    ----------
    query : float32 (d,)
    mask : IndexMask or None
    prepared : bool
        Whether the query is normalised, centred and rotated already.
    """
    model, shards = snapshot.native, snapshot.shards
    workspace.use_query(query, prepared=prepared)
    workspace.counters[:] = 0
    call = workspace.fields.address
    if model.values[ModelField.TABLES_GIVEN]:
        fill_tables(snapshot, workspace, query, prepared=prepared)
    if len(shards) == 1 and shards[0].ready:
        workspace.use_mask(None if mask is None else mask.shards[0].words)
        search_shard(model.address, shards[0].native.address, call)
        return [_copy(workspace)]
    plan_query(model.address, call)
    hits = []
    for number, shard in enumerate(shards):
        workspace.counters[:] = 0
        workspace.use_mask(None if mask is None else mask.shards[number].words)
        scan_in_waves(snapshot, shard, workspace)
        finish(call)
        hits.append(_copy(workspace))
    return hits


def scan_in_waves(snapshot: Snapshot, shard: Shard, workspace: Workspace) -> None:
    """Scan a shard's part of the planned visits, making partitions ready some at a time."""
    values, order = workspace.values, workspace.order
    visits, forced = int(values[CallField.VISITS]), int(values[CallField.FORCED])
    start, wave = 0, visits if shard.ready else FIRST_WAVE
    while start < visits:
        full = values[CallField.SIZE] == values[CallField.K]
        if full and start >= forced and workspace.bounds[order[start]] < workspace.scores[0]:
            break
        stop = min(start + wave, visits)
        own = order[start:stop] - shard.first_partition
        shard.ensure(own[(own >= 0) & (own < shard.partitions)])
        values[CallField.FIRST_VISIT], values[CallField.LAST_VISIT] = start, stop
        scan_shard(snapshot.native.address, shard.native.address, workspace.fields.address)
        start, wave = stop, 2 * wave


def fill_tables(snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], *, prepared: bool) -> None:
    """Tables of a quantizer that the kernels do not make by themselves."""
    rotated = query if prepared else prepare_queries(snapshot.model, query[None, :])[0]
    workspace.use_query(rotated, prepared=True)
    workspace.tables[:] = snapshot.model.quantizer.tables(rotated)


def _copy(workspace: Workspace) -> ShardHits:
    return ShardHits(workspace.scores.copy(), workspace.rows.copy(), workspace.counters.copy())
