"""The steps of a search: mask, plan, scan, merge.

`search_queries` runs them all in one process. Behind functions they are distributed: the planner calls `mask_cells` and
`plan_query`; the owner of a shard masks its runs exactly (`masking.mask_shard`) and calls `scan_shard`; both paths combine
the hits of shards by `merge`. A shard of a changed index has several runs, which share one heap. Planning and scanning handle
one query at a time, so results do not depend on which queries are sent together. A query on a single, completely fetched
shard is planned and scanned by a single native call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import finish, search_batch, search_runs, search_shard
from vsearch.kernels.query.api import plan_query as plan_natively
from vsearch.kernels.query.fields import CallField, RunField
from vsearch.search.engine.cells import CellTables, build_cell_tables, plan_cells, search_cells
from vsearch.search.engine.masking import mask_shard, mask_shard_cells
from vsearch.search.engine.masks import IndexMask, live_mask
from vsearch.search.engine.merge import ShardHits, merge
from vsearch.search.engine.routing import ProbePlan
from vsearch.search.engine.scanning import Words, copy_hits, scan_in_waves, scan_runs_in_waves, take_query
from vsearch.search.engine.score_floor import prune_visits
from vsearch.search.state.arguments import address
from vsearch.search.state.model import prepare_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.predicates import Bound
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.shard_runs import ShardRuns
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.search.state.workspace import Workspace


# -- mask


def evaluate_mask(snapshot: Snapshot, bound: Bound) -> IndexMask:
    """Evaluate a predicate exactly on the rows of all runs."""
    masks = [mask_shard(snapshot, shard, bound) for shard in snapshot.shards]
    return IndexMask.of(masks, snapshot)


def mask_cells(snapshot: Snapshot, bound: Bound | None) -> IndexMask | None:
    """Evaluate a predicate on the cells of all runs only, which suffices for planning.

    Without a predicate all rows pass that are not removed; None if no row is removed.
    """
    if bound is None:
        return live_mask(snapshot)
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
        match_counts=None if mask is None else mask.matches,
        effective_radii=None if mask is None else mask.effective_radii,
        filtered=mask is not None and mask.filters(request.nprobe),
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
        One per shard, for all its runs; empty if there is nothing to visit.
    """
    if snapshot.model.quantizer.scan == "cells":
        prepared = prepare_queries(snapshot.model, query[None, :])[0]
        return prepared, plan_cells(snapshot, prepared, request, mask)
    workspace = snapshot.workspace()
    begin(workspace, request, mask)
    _plan(snapshot, workspace, query, mask, prepared=False)
    count, min_probes = int(workspace.values[CallField.VISITS]), int(workspace.values[CallField.MIN_PROBES])
    order = workspace.order[:count]
    centroid_scores, upper_bounds = workspace.centroid_scores[order], workspace.upper_bounds[order]
    visits = []
    for shard in snapshot.groups:
        places = np.flatnonzero((order >= shard.first_partition) & (order < shard.first_partition + shard.partitions))
        minimum = int(np.searchsorted(places, min_probes))
        partitions = order[places] - np.int32(shard.first_partition)
        visits.append(ProbePlan(partitions, centroid_scores[places], upper_bounds[places], minimum))
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
    shard: ShardRuns,
    query: NDArray[np.float32],
    visits: ProbePlan,
    request: SearchRequest,
    words: Sequence[Words],
) -> ShardHits:
    """Search the planned partitions of a shard for a prepared query; see `plan_query`.

    Parameters
    ----------
    request : SearchRequest
        Its `k` may differ from the plan's. Parameters that choose partitions are ignored.
    words : sequence of uint64 (words,) or None
        Masks of the rows of each run of the shard that pass.

    Returns
    -------
    ShardHits
        Rows are numbered from the shard's first one.
    """
    if snapshot.model.quantizer.scan == "cells":
        return _scan_cells(snapshot, shard, build_cell_tables(snapshot.model, query), visits, request, words)
    workspace = snapshot.workspace()
    begin(workspace, request, None)
    take_query(snapshot, workspace, query, prepared=True)
    plan_natively(snapshot.native.address, workspace.fields.address)  # for the tables; the visits are replaced below
    order = visits.order + np.int32(shard.first_partition)
    workspace.order[: len(order)] = order
    workspace.centroid_scores[order], workspace.upper_bounds[order] = visits.centroid_scores, visits.upper_bounds
    workspace.values[CallField.VISITS], workspace.values[CallField.MIN_PROBES] = len(order), visits.minimum
    return _scan(snapshot, shard, workspace, words)


def _scan(snapshot: Snapshot, shard: ShardRuns, workspace: Workspace, words: Sequence[Words]) -> ShardHits:
    """Scan a shard's part of the visits planned in a workspace."""
    workspace.empty()
    if len(shard.runs) == 1:
        workspace.use_mask(words[0])
        scan_in_waves(snapshot, shard.runs[0], workspace)
    else:
        scan_runs_in_waves(snapshot, shard, workspace, words)
    finish(workspace.fields.address)
    return copy_hits(workspace)


def _scan_cells(
    snapshot: Snapshot,
    shard: ShardRuns,
    tables: CellTables,
    visits: ProbePlan,
    request: SearchRequest,
    words: Sequence[Words],
) -> ShardHits:
    """The same for cells, whose cuts apply to one run at a time."""
    found = [
        search_cells(snapshot.model, run, tables, visits, request.k, mask=mask, exact=request.exact)
        for run, mask in zip(shard.runs, words, strict=True)
    ]
    return found[0] if len(found) == 1 else join_runs(shard, found, request.k)


def join_runs(shard: ShardRuns, found: Sequence[ShardHits], k: int) -> ShardHits:
    """Merge the hits of each run of a shard into the hits of the shard."""
    firsts = [run.first_row - shard.first_row for run in shard.runs]
    rows = [np.where(hits.rows >= 0, hits.rows + first, -1) for hits, first in zip(found, firsts, strict=True)]
    scores, best = merge([hits.scores for hits in found], rows, k)
    return ShardHits(scores, best, np.sum([hits.counters for hits in found], axis=0))


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
    workspaces, shards = snapshot.workspaces(len(queries)), snapshot.groups
    for workspace in workspaces:
        begin(workspace, request, mask)
    if len(queries) == 1 or len(shards) > 1 or len(shards[0].runs) > 1 or not snapshot.ready:
        pairs = zip(workspaces, queries, strict=True)
        return [_search_shards(snapshot, workspace, query, mask, prepared=prepared) for workspace, query in pairs]
    run = shards[0].runs[0]
    words = _words(mask, run.number)
    for workspace, query in zip(workspaces, queries, strict=True):
        take_query(snapshot, workspace, query, prepared=prepared)
        workspace.use_mask(words)
    calls = np.array([workspace.fields.address for workspace in workspaces], np.int64)
    search_batch(snapshot.native.address, run.native.address, address(calls), len(calls))
    return [[copy_hits(workspace)] for workspace in workspaces]


def _search_only(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    """Search the only shard, which is completely fetched, in one native call."""
    runs = snapshot.groups[0].runs
    if len(runs) == 1:
        workspace.use_mask(_words(mask, runs[0].number))
        search_shard(snapshot.native.address, runs[0].native.address, workspace.fields.address)
        return
    blocks = np.zeros((len(runs), len(RunField)), np.int64)
    for place, run in enumerate(runs):
        words = _words(mask, run.number)
        first = run.first_row - snapshot.groups[0].first_row
        blocks[place, RunField.SHARD], blocks[place, RunField.FIRST_ROW] = run.native.address, first
        if words is not None:
            blocks[place, RunField.MASK], blocks[place, RunField.MASK_WORDS] = address(words), len(words)
    search_runs(snapshot.native.address, address(blocks), len(blocks), workspace.fields.address)


def search_fused(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search a `fused` snapshot for an unprepared query in a begun workspace; return scores and rows (1, k)."""
    workspace.use_query(query, prepared=False)
    _search_only(snapshot, workspace, mask)
    return workspace.scores[None].copy(), workspace.rows[None].copy()


def _search_shards(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None, *, prepared: bool
) -> list[ShardHits]:
    if len(snapshot.groups) == 1 and snapshot.ready:
        take_query(snapshot, workspace, query, prepared=prepared)
        _search_only(snapshot, workspace, mask)
        return [copy_hits(workspace)]
    _plan(snapshot, workspace, query, mask, prepared=prepared)
    return [_scan(snapshot, shard, workspace, _words_of(mask, shard)) for shard in snapshot.groups]


def _search_cells(
    snapshot: Snapshot, query: NDArray[np.float32], request: SearchRequest, mask: IndexMask | None, *, prepared: bool
) -> list[ShardHits]:
    if not prepared:
        query = prepare_queries(snapshot.model, query[None, :])[0]
    plans, tables = plan_cells(snapshot, query, request, mask), build_cell_tables(snapshot.model, query)
    return [
        _scan_cells(snapshot, shard, tables, visits, request, _words_of(mask, shard))
        for shard, visits in zip(snapshot.groups, plans, strict=True)
    ]


def _words(mask: IndexMask | None, run: int) -> Words:
    return None if mask is None else mask.shards[run].words


def _words_of(mask: IndexMask | None, shard: ShardRuns) -> list[Words]:
    return [_words(mask, run.number) for run in shard.runs]


# -- merge


def merge_hits(snapshot: Snapshot, hits: list[ShardHits], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Merge a query's hits of each shard into the k best rows, numbered across the snapshot: see `merge.merge`."""
    rows = [
        np.where(shard_hits.rows >= 0, shard_hits.rows + shard.first_row, -1)
        for shard_hits, shard in zip(hits, snapshot.groups, strict=True)
    ]
    return merge([shard_hits.scores for shard_hits in hits], rows, k)
