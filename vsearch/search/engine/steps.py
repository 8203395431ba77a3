"""The steps of a search: mask, plan, scan, merge.

`search_queries` runs them all in one process. Behind functions they are distributed: the planner calls `mask_cells` and
`plan_query`; the owner of a shard masks it exactly (`masking.mask_shard`) and calls `scan_shard`; both paths combine
the hits of shards by `merge`. Planning and scanning handle one query at a time, so results do not depend on which
queries are sent together. A query on a single, completely fetched shard is planned and scanned by a single native call.
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
    """Evaluate a predicate exactly on the rows of all shards."""
    masks = [mask_shard(snapshot, shard, bound) for shard in snapshot.shards]
    return IndexMask.of(masks, snapshot)


def mask_cells(snapshot: Snapshot, bound: Bound) -> IndexMask:
    """Evaluate a predicate on the cells of all shards only, which suffices for planning."""
    masks = [mask_shard_cells(snapshot, shard, bound) for shard in snapshot.shards]
    return IndexMask.of(masks, snapshot)


# -- plan


def begin(workspace: Workspace, request: SearchRequest, mask: IndexMask | None) -> None:
    """Set the request and mask of a workspace; almost free if they are unchanged."""
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
        As passed by the user.
    mask : IndexMask or None
        With the number of rows of each partition that may pass; None without a predicate.

    Returns
    -------
    query : float32 (d,)
        Prepared.
    visits : list of ProbePlan
        One per shard, empty if there is nothing to visit.
    """
    if snapshot.model.quantizer.scan == "cells":
        prepared = prepare_queries(snapshot.model, query[None, :])[0]
        return prepared, plan_cells(snapshot, prepared, request, mask)
    workspace = snapshot.workspace()
    begin(workspace, request, mask)
    _plan(snapshot, workspace, query, mask, prepared=False)
    count, forced = int(workspace.values[CallField.VISITS]), int(workspace.values[CallField.FORCED])
    order = workspace.order[:count]
    bases, bounds = workspace.bases[order], workspace.bounds[order]
    visits = []
    for shard in snapshot.shards:
        places = np.flatnonzero((order >= shard.first_partition) & (order < shard.first_partition + shard.partitions))
        minimum = int(np.searchsorted(places, forced))
        partitions = order[places] - np.int32(shard.first_partition)
        visits.append(ProbePlan(partitions, bases[places], bounds[places], minimum))
    return workspace.rotated.copy(), visits


def _plan(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None, *, prepared: bool
) -> None:
    """Plan a query's visits to all shards in its workspace."""
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
        Its `k` may differ from the plan's. Parameters that choose partitions are ignored.
    words : uint64 (words,) or None
        Mask of the rows of the shard that pass.
    """
    if snapshot.model.quantizer.scan == "cells":
        tables = build_cell_tables(snapshot.model, query)
        return search_cells(snapshot.model, shard, tables, visits, request.k, mask=words, exact=request.exact)
    workspace = snapshot.workspace()
    begin(workspace, request, None)
    take_query(snapshot, workspace, query, prepared=True)
    plan_natively(snapshot.native.address, workspace.fields.address)  # for the tables; the visits are replaced below
    order = visits.order + np.int32(shard.first_partition)
    workspace.order[: len(order)] = order
    workspace.bases[order], workspace.bounds[order] = visits.bases, visits.bounds
    workspace.values[CallField.VISITS], workspace.values[CallField.FORCED] = len(order), visits.minimum
    return _scan(snapshot, shard, workspace, words)


def _scan(snapshot: Snapshot, shard: Shard, workspace: Workspace, words: NDArray[np.uint64] | None) -> ShardHits:
    """Scan a shard's part of the visits planned in a workspace."""
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
    """Search every shard for each query, on the calling thread. Queries share one pass over the codes if possible.

    Parameters
    ----------
    queries : float32 (m, d)
    prepared : bool
        Whether the queries are already normalized, centered and rotated.
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
    """Search all runs of a changed index that is completely fetched, in one native call.

    All hits are returned as those of the first run, with rows numbered across all runs.
    """
    take_query(snapshot, workspace, query, prepared=prepared)
    _call_runs(snapshot, workspace, mask)
    empty = ShardHits(np.empty(0, np.float32), np.empty(0, np.int64), np.zeros(COUNTERS, np.int64))
    return [copy_hits(workspace), *[empty] * (len(snapshot.shards) - 1)]


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
    """Search a `fused` snapshot for an unprepared query in a begun workspace; return scores and rows (1, k)."""
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
    """Merge a query's hits of each shard into the k best rows, numbered across all shards: see `merge.merge`."""
    rows = [
        np.where(shard_hits.rows >= 0, shard_hits.rows + shard.first_row, -1)
        for shard_hits, shard in zip(hits, snapshot.shards, strict=True)
    ]
    return merge([shard_hits.scores for shard_hits in hits], rows, k)
