"""Run one query on the shards of a snapshot through the fused kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import finish, list_rest, plan_query, scan_nearest, scan_rest, search_batch, search_shard
from vsearch.kernels.query.fields import CallField, ModelField
from vsearch.search.engine.merge import ShardHits
from vsearch.search.engine.score_floor import prune_visits
from vsearch.search.state.arguments import address
from vsearch.search.state.model import prepare_queries
from vsearch.search.state.workspace import Workspace

if TYPE_CHECKING:
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot

FIRST_WAVE = 64  # visits whose partitions are made ready together at first; doubles from wave to wave


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
    call = workspace.fields.address
    if model.values[ModelField.TABLES_GIVEN]:
        fill_tables(snapshot, workspace, query, prepared=prepared)
    if len(shards) == 1 and shards[0].ready:
        _search_shard(snapshot, workspace, mask)
        return [copy_hits(workspace)]
    plan_query(model.address, call)
    prune_visits(snapshot, workspace, mask)
    hits = []
    for number, shard in enumerate(shards):
        workspace.empty()
        workspace.use_mask(None if mask is None else mask.shards[number].words)
        scan_in_waves(snapshot, shard, workspace)
        finish(call)
        hits.append(copy_hits(workspace))
    return hits


def run_one(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`run_query` for a query as given on a snapshot that is `fused`: scores and rows (1, k)."""
    workspace.use_query(query, prepared=False)
    _search_shard(snapshot, workspace, mask)
    return workspace.scores[None].copy(), workspace.rows[None].copy()


def _search_shard(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    workspace.use_mask(None if mask is None else mask.shards[0].words)
    search_shard(snapshot.native.address, snapshot.shards[0].native.address, workspace.fields.address)


def scan_in_waves(snapshot: Snapshot, shard: Shard, workspace: Workspace) -> None:
    """Scan a shard's part of the planned visits, making partitions ready before they are scanned.

    The nearest come first, `FIRST_WAVE` visits at a time, mostly once; then, at once, all that are left. So a shard that was
    never touched needs two rounds of requests.
    """
    values, order = workspace.values, workspace.order
    addresses = (snapshot.native.address, shard.native.address, workspace.fields.address)
    visits = int(values[CallField.VISITS])
    values[CallField.FIRST_VISIT] = values[CallField.SETTLED] = values[CallField.NEAR] = 0
    wave = visits if shard.ready else FIRST_WAVE
    while values[CallField.FIRST_VISIT] < visits and not values[CallField.SETTLED]:
        start = int(values[CallField.FIRST_VISIT])
        values[CallField.LAST_VISIT] = stop = min(start + wave, visits)
        shard.ensure_own(order[start:stop])
        scan_nearest(*addresses)
        wave *= 2
    list_rest(*addresses)
    shard.ensure_own(workspace.rest[: values[CallField.REST_COUNT]])
    scan_rest(*addresses)


def fill_tables(snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], *, prepared: bool) -> None:
    """Tables of a quantizer that the kernels do not make by themselves."""
    rotated = query if prepared else prepare_queries(snapshot.model, query[None, :])[0]
    workspace.use_query(rotated, prepared=True)
    workspace.tables[:] = snapshot.model.quantizer.tables(rotated)


def run_batch(
    snapshot: Snapshot,
    workspaces: list[Workspace],
    queries: NDArray[np.float32],
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> list[list[ShardHits]]:
    """`run_query` for as many queries as there are workspaces, which share one pass over the codes where they can."""
    shards = snapshot.shards
    if len(queries) == 1 or len(shards) > 1 or not shards[0].ready:
        pairs = zip(workspaces, queries, strict=True)
        return [run_query(snapshot, workspace, query, mask, prepared=prepared) for workspace, query in pairs]
    model = snapshot.native
    for workspace, query in zip(workspaces, queries, strict=True):
        workspace.use_query(query, prepared=prepared)
        workspace.use_mask(None if mask is None else mask.shards[0].words)
        if model.values[ModelField.TABLES_GIVEN]:
            fill_tables(snapshot, workspace, query, prepared=prepared)
    calls = np.array([workspace.fields.address for workspace in workspaces], np.int64)
    search_batch(model.address, shards[0].native.address, address(calls), len(calls))
    return [[copy_hits(workspace)] for workspace in workspaces]


def copy_hits(workspace: Workspace) -> ShardHits:
    """What a workspace holds after a search of one shard."""
    return ShardHits(workspace.scores.copy(), workspace.rows.copy(), workspace.counters.copy())
