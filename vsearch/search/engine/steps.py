"""The steps of a search: mask, plan, scan, merge.

`search_queries` takes them one after the other, in one process. Behind functions they are cut in two: who plans calls `mask_cells` and
`plan_query`, who holds a shard masks it exactly (`masking.mask_shard`) and calls `scan_shard`, and both paths rank what shards
found by `merge`. Planning and scanning work on one query at a time, so that an answer does not depend on which queries travel
together. A query on one shard that is all there is planned and scanned by a single native call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import finish, search_batch, search_runs, search_shard
from vsearch.kernels.query.api import plan_query as plan_natively
from vsearch.kernels.query.fields import COUNTERS, CallField, RunField
from vsearch.search.engine.cells import build_cell_tables, plan_cells, search_cells
from vsearch.search.engine.masking import mask_shard, mask_shard_cells
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.merge import ShardHits, merge
from vsearch.search.engine.routing import ProbePlan
from vsearch.search.engine.scanning import copy_hits, scan_in_waves, take_query
from vsearch.search.engine.score_floor import prune_visits
from vsearch.search.state.arguments import address
from vsearch.search.state.model import prepare_queries

if TYPE_CHECKING:
    from vsearch.predicates import Bound
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.search.state.workspace import Workspace


# -- mask


def evaluate_mask(snapshot: Snapshot, bound: Bound) -> IndexMask:
    """The rows of all shards that satisfy a predicate, exactly."""
    masks = [mask_shard(snapshot, shard, bound) for shard in snapshot.shards]
    return IndexMask.of(masks, snapshot)


def mask_cells(snapshot: Snapshot, bound: Bound) -> IndexMask:
    """What cells alone say about the rows of all shards: enough to plan with; which of the open ones pass is left open."""
    masks = [mask_shard_cells(snapshot, shard, bound) for shard in snapshot.shards]
    return IndexMask.of(masks, snapshot)


# -- plan


def begin(workspace: Workspace, request: SearchRequest, mask: IndexMask | None) -> None:
    """Tell a workspace what is asked for; near free where it was asked for that before."""
    workspace.begin(
        k=request.k,
        nprobe=request.nprobe,
        exact=request.exact,
        settings=request.settings,
        eligible=None if mask is None else mask.matches,
        spreads=None if mask is None else mask.spreads,
    )


def plan_query(
    snapshot: Snapshot, query: NDArray[np.float32], request: SearchRequest, mask: IndexMask | None
) -> tuple[NDArray[np.float32], list[ProbePlan]]:
    """Rotate a query and choose the partitions that it visits in every shard.

    Parameters
    ----------
    query : float32 (d,)
        As the user gave it.
    mask : IndexMask or None
        How many rows of each partition a predicate may let pass; None without a predicate.

    Returns
    -------
    query : float32 (d,)
        Prepared.
    visits : list of ProbePlan
        One for each shard, empty where nothing is to be visited.
    """
    if snapshot.model.quantizer.scan == "cells":
        prepared = prepare_queries(snapshot.model, query[None, :])[0]
        return prepared, plan_cells(snapshot, prepared, request, mask)
    workspace = snapshot.workspace()
    begin(workspace, request, mask)
    _plan(snapshot, workspace, query, mask, prepared=False)
    many, forced = int(workspace.values[CallField.VISITS]), int(workspace.values[CallField.FORCED])
    order = workspace.order[:many]
    bases, bounds = workspace.bases[order], workspace.bounds[order]
    visits = []
    for shard in snapshot.shards:
        own = np.flatnonzero((order >= shard.first_partition) & (order < shard.first_partition + shard.partitions))
        first = int(np.searchsorted(own, forced))
        visits.append(ProbePlan(order[own] - np.int32(shard.first_partition), bases[own], bounds[own], first))
    return workspace.rotated.copy(), visits


def _plan(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None, *, prepared: bool
) -> None:
    """Leave a query's visits, of all shards, in its workspace."""
    take_query(snapshot, workspace, query, prepared=prepared)
    plan_natively(snapshot.native.address, workspace.fields.address)
    prune_visits(snapshot, workspace, mask)


# -- scan


def scan_shard(
    snapshot: Snapshot,
    shard: Shard,
    query: NDArray[np.float32],
    visits: ProbePlan,
    request: SearchRequest,
    words: NDArray[np.uint64] | None,
) -> ShardHits:
    """Search the planned partitions of a shard for a prepared query; see `plan_query`.

    Parameters
    ----------
    request : SearchRequest
        Its `k` may be another than the plan's. What chooses partitions counts no more.
    words : uint64 (words,) or None
        Rows of the shard that pass.
    """
    if snapshot.model.quantizer.scan == "cells":
        tables = build_cell_tables(snapshot.model, query)
        return search_cells(snapshot.model, shard, tables, visits, request.k, mask=words, exact=request.exact)
    workspace = snapshot.workspace()
    begin(workspace, request, None)
    take_query(snapshot, workspace, query, prepared=True)
    plan_natively(snapshot.native.address, workspace.fields.address)  # for the tables: the visits are replaced
    order = visits.order + np.int32(shard.first_partition)
    workspace.order[: len(order)] = order
    workspace.bases[order], workspace.bounds[order] = visits.bases, visits.bounds
    workspace.values[CallField.VISITS], workspace.values[CallField.FORCED] = len(order), visits.minimum
    return _scan(snapshot, shard, workspace, words)


def _scan(snapshot: Snapshot, shard: Shard, workspace: Workspace, words: NDArray[np.uint64] | None) -> ShardHits:
    """Scan a shard's part of the visits that are planned in a workspace."""
    workspace.empty()
    workspace.use_mask(words)
    scan_in_waves(snapshot, shard, workspace)
    finish(workspace.fields.address)
    return copy_hits(workspace)


# -- plan and scan, in one process


def search_queries(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> list[list[ShardHits]]:
    """What each query finds in every shard, on the calling thread. Queries share one pass over the codes where they can.

    Parameters
    ----------
    queries : float32 (m, d)
    prepared : bool
        Whether the queries are normalised, centred and rotated already.
    """
    if snapshot.model.quantizer.scan == "cells":
        return [_search_cells(snapshot, query, request, mask, prepared=prepared) for query in queries]
    workspaces, shards = snapshot.workspaces(len(queries)), snapshot.shards
    for workspace in workspaces:
        begin(workspace, request, mask)
    if snapshot.shares_partitions and snapshot.ready:
        pairs = zip(workspaces, queries, strict=True)
        return [_search_runs(snapshot, workspace, query, mask, prepared=prepared) for workspace, query in pairs]
    if len(queries) == 1 or len(shards) > 1 or not shards[0].ready:
        pairs = zip(workspaces, queries, strict=True)
        return [_search_shards(snapshot, workspace, query, mask, prepared=prepared) for workspace, query in pairs]
    words = _words(mask, 0)
    for workspace, query in zip(workspaces, queries, strict=True):
        take_query(snapshot, workspace, query, prepared=prepared)
        workspace.use_mask(words)
    calls = np.array([workspace.fields.address for workspace in workspaces], np.int64)
    search_batch(snapshot.native.address, shards[0].native.address, address(calls), len(calls))
    return [[copy_hits(workspace)] for workspace in workspaces]


def _search_runs(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None, *, prepared: bool
) -> list[ShardHits]:
    """Search all runs of a changed index that is all there, in one native call; hits are of the first run, rows of all."""
    take_query(snapshot, workspace, query, prepared=prepared)
    _call_runs(snapshot, workspace, mask)
    nothing = ShardHits(np.empty(0, np.float32), np.empty(0, np.int64), np.zeros(COUNTERS, np.int64))
    return [copy_hits(workspace), *[nothing] * (len(snapshot.shards) - 1)]


def _call_runs(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    runs = np.zeros((len(snapshot.shards), len(RunField)), np.int64)
    for number, shard in enumerate(snapshot.shards):
        words = _words(mask, number) if mask is not None else None
        runs[number, RunField.SHARD], runs[number, RunField.FIRST_ROW] = shard.native.address, shard.first_row
        if words is not None:
            runs[number, RunField.MASK], runs[number, RunField.MASK_WORDS] = address(words), len(words)
    search_runs(snapshot.native.address, address(runs), len(runs), workspace.fields.address)


def search_fused(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and rows (1, k) of a query as given, on a snapshot that is `fused`, in a workspace that has begun."""
    workspace.use_query(query, prepared=False)
    if len(snapshot.shards) == 1:
        _search_ready(snapshot, workspace, mask)
    else:
        _call_runs(snapshot, workspace, mask)
    return workspace.scores[None].copy(), workspace.rows[None].copy()


def _search_shards(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None, *, prepared: bool
) -> list[ShardHits]:
    shards = snapshot.shards
    if len(shards) == 1 and shards[0].ready:
        take_query(snapshot, workspace, query, prepared=prepared)
        _search_ready(snapshot, workspace, mask)
        return [copy_hits(workspace)]
    _plan(snapshot, workspace, query, mask, prepared=prepared)
    return [_scan(snapshot, shard, workspace, _words(mask, number)) for number, shard in enumerate(shards)]


def _search_ready(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    workspace.use_mask(None if mask is None else mask.shards[0].words)
    search_shard(snapshot.native.address, snapshot.shards[0].native.address, workspace.fields.address)


def _search_cells(
    snapshot: Snapshot, query: NDArray[np.float32], request: SearchRequest, mask: IndexMask | None, *, prepared: bool
) -> list[ShardHits]:
    model = snapshot.model
    if not prepared:
        query = prepare_queries(model, query[None, :])[0]
    visits, tables = plan_cells(snapshot, query, request, mask), build_cell_tables(model, query)
    return [
        search_cells(model, shard, tables, visits[number], request.k, mask=_words(mask, number), exact=request.exact)
        for number, shard in enumerate(snapshot.shards)
    ]


def _words(mask: IndexMask | None, shard: int) -> NDArray[np.uint64] | None:
    return None if mask is None else mask.shards[shard].words


# -- merge


def merge_hits(snapshot: Snapshot, hits: list[ShardHits], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best rows of a query, numbered through all shards, out of what it found in each: see `merge.merge`."""
    rows = [
        np.where(found.rows >= 0, found.rows + shard.first_row, -1)
        for found, shard in zip(hits, snapshot.shards, strict=True)
    ]
    return merge([found.scores for found in hits], rows, k)
