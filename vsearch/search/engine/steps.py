"""The steps of a search: mask, plan, scan, merge.

`search_queries` runs them all in one process. Behind functions they are distributed: the planner calls `mask_cells` and
`plan_query`; the owner of a shard masks its runs exactly (`masking.mask_shard`) and calls `scan_shard`; both paths combine
the hits of shards by `merge`. In one process all shards share one heap, and so do the runs that a shard of a changed index has.
Planning and scanning handle one query at a time, so results do not depend on which queries are sent together. A query on runs that
are completely fetched is planned and scanned by a single native call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import (
    finish,
    plan_nearest,
    plan_rest,
    prepare_scan,
    search_batch,
    search_runs,
    search_together,
)
from vsearch.kernels.query.api import plan_query as plan_natively
from vsearch.kernels.query.fields import COUNTERS, CallField
from vsearch.search.engine.cells import CellTables, build_cell_tables, plan_cells, search_cells
from vsearch.search.engine.masking import mask_shard, mask_shard_cells
from vsearch.search.engine.masks import IndexMask, live_mask
from vsearch.search.engine.merge import ShardHits, merge
from vsearch.search.engine.rounds import completes, search_all_unread, search_unread
from vsearch.search.engine.routing import NO_VISITS, ProbePlan
from vsearch.search.engine.scanning import copy_hits, scan_in_waves, take_query
from vsearch.search.engine.score_floor import lowest_worth, prune_visits
from vsearch.search.state.arguments import address
from vsearch.search.state.model import prepare_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.predicates import Bound
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.shard_runs import ShardRuns
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.search.state.workspace import Words, Workspace


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


def begin(workspace: Workspace, request: SearchRequest, mask: IndexMask | None, *, masked: bool = False) -> None:
    """Set the request of a workspace, and the counts of a mask; almost free if they are unchanged.

    `masked` means that rows have masks, though `mask` is not known: planning is done already.
    """
    workspace.begin(
        k=request.k,
        nprobe=request.nprobe,
        exact=request.exact,
        settings=request.settings,
        match_counts=None if mask is None else mask.matches,
        effective_radii=None if mask is None else mask.effective_radii,
        filtered=masked if mask is None else mask.filters(request.nprobe),
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
    firsts = np.array([shard.first_partition for shard in snapshot.groups])
    shards = np.searchsorted(firsts, order, side="right") - 1
    by_shard = np.argsort(shards, kind="stable")  # within a shard in the order of the visits
    visits = [NO_VISITS] * len(firsts)
    for places in np.split(by_shard, np.flatnonzero(np.diff(shards[by_shard])) + 1) if count else ():
        number = int(shards[places[0]])
        minimum = int(np.searchsorted(places, min_probes))
        partitions = order[places] - np.int32(firsts[number])
        visits[number] = ProbePlan(partitions, centroid_scores[places], upper_bounds[places], minimum)
    return workspace.rotated.copy(), visits


def _plan(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None, *, prepared: bool
) -> None:
    """Plan a query's visits to all shards in its workspace."""
    take_query(snapshot, workspace, query, prepared=prepared)
    addresses = (snapshot.native.address, workspace.fields.address)
    plan_nearest(*addresses)
    plan_rest(*addresses, lowest_worth(snapshot, workspace, mask))
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
    begin(workspace, request, None, masked=any(mask is not None for mask in words))
    take_query(snapshot, workspace, query, prepared=True)
    order = visits.order + np.int32(shard.first_partition)
    workspace.order[: len(order)] = order
    workspace.centroid_scores[order], workspace.upper_bounds[order] = visits.centroid_scores, visits.upper_bounds
    prepare_scan(snapshot.native.address, workspace.fields.address, len(order))
    workspace.values[CallField.MIN_PROBES] = visits.minimum
    return _scan(snapshot, shard, workspace, words)


def _scan(snapshot: Snapshot, shard: ShardRuns, workspace: Workspace, words: Sequence[Words]) -> ShardHits:
    """Scan a shard's part of the visits planned in a workspace."""
    workspace.empty()
    workspace.use_runs(shard.table, {run.number: mask for run, mask in zip(shard.runs, words, strict=True)})
    scan_in_waves(snapshot, shard.table, workspace)
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
    run_hits = [
        search_cells(snapshot.model, run, tables, visits, request.k, mask=mask, exact=request.exact)
        for run, mask in zip(shard.runs, words, strict=True)
    ]
    return run_hits[0] if len(run_hits) == 1 else join_runs(shard, run_hits, request.k)


def join_runs(shard: ShardRuns, run_hits: Sequence[ShardHits], k: int) -> ShardHits:
    """Merge the hits of each run of a shard into the hits of the shard."""
    firsts = [run.first_row - shard.first_row for run in shard.runs]
    rows = [np.where(hits.rows >= 0, hits.rows + first, -1) for hits, first in zip(run_hits, firsts, strict=True)]
    scores, best = merge([hits.scores for hits in run_hits], rows, k)
    return ShardHits(scores, best, np.sum([hits.counters for hits in run_hits], axis=0))


# -- plan and scan, in one process


def begin_all(snapshot: Snapshot, workspace: Workspace, request: SearchRequest, mask: IndexMask | None) -> None:
    """Set the request and mask of a workspace, and let it search all runs; almost free if they are unchanged."""
    begin(workspace, request, mask)
    workspace.use_runs(snapshot.table, None if mask is None else mask.words)


def search_queries(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> ShardHits:
    """Search all shards for m queries, on the calling thread.

    Parameters
    ----------
    queries : float32 (m, d)
    prepared : bool
        Whether the queries are already normalized, centered and rotated.

    Returns
    -------
    ShardHits
        Scores and rows (m, k); rows are numbered across the snapshot, from its first one. The counters are summed over the queries.
    """
    if snapshot.model.quantizer.scan == "cells":
        answers = [_search_cells(snapshot, query, request, mask, prepared=prepared) for query in queries]
        return stack_hits([merge_hits(snapshot, hits, request.k) for hits in answers], request.k)
    if request.exact and len(queries) > 1 and snapshot.ready:
        return _search_together(snapshot, queries, request, mask, prepared=prepared)
    workspace = snapshot.workspace()
    begin_all(snapshot, workspace, request, mask)
    if len(queries) > 1 and snapshot.fused and (snapshot.all_read or not request.exact):
        together = _search_batch(snapshot, workspace, queries, prepared=prepared)
        if together is not None:
            return together
    if not snapshot.all_read and not request.exact:
        return stack_hits(search_all_unread(snapshot, workspace, queries, prepared=prepared), request.k)
    hits = []
    for query in queries:
        take_query(snapshot, workspace, query, prepared=prepared)
        search_query(snapshot, workspace, exact=request.exact)
        hits.append(copy_hits(workspace))
    return stack_hits(hits, request.k)


def _search_batch(
    snapshot: Snapshot, workspace: Workspace, queries: NDArray[np.float32], *, prepared: bool
) -> ShardHits | None:
    """Search for m queries in one native call; return None if they need something that is not read."""
    batch, k = snapshot.batch(), int(workspace.values[CallField.K])
    scores, rows, counters = batch.pack(queries, k, prepared=prepared)
    workspace.await_query(prepared=prepared)
    addresses = (snapshot.native.address, workspace.runs.address, workspace.fields.address, batch.fields.address)
    is_complete = True
    if snapshot.all_read:
        search_batch(*addresses)
    else:
        is_complete = completes(workspace, lambda: search_batch(*addresses))
    batch.release()
    return ShardHits(scores, rows, counters.sum(axis=0)) if is_complete else None


def _search_together(
    snapshot: Snapshot, queries: NDArray[np.float32], request: SearchRequest, mask: IndexMask | None, *, prepared: bool
) -> ShardHits:
    """Search for m queries that visit all partitions, in one pass over them."""
    workspaces = snapshot.workspaces(len(queries))
    for workspace, query in zip(workspaces, queries, strict=True):
        begin_all(snapshot, workspace, request, mask)
        take_query(snapshot, workspace, query, prepared=prepared)
    calls = np.array([workspace.fields.address for workspace in workspaces], np.int64)
    search_together(snapshot.native.address, workspaces[0].runs.address, address(calls), len(calls))
    return stack_hits([copy_hits(workspace) for workspace in workspaces], request.k)


def search_each_shard(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> list[list[ShardHits]]:
    """Find the best rows of every shard for each query, as functions do, each with its own heap."""
    if snapshot.model.quantizer.scan == "cells":
        return [_search_cells(snapshot, query, request, mask, prepared=prepared) for query in queries]
    workspace, hits_of_queries = snapshot.workspace(), []
    for query in queries:
        begin(workspace, request, mask)
        _plan(snapshot, workspace, query, mask, prepared=prepared)
        hits_of_queries.append([_scan(snapshot, shard, workspace, _words_of(mask, shard)) for shard in snapshot.groups])
    return hits_of_queries


def search_query(snapshot: Snapshot, workspace: Workspace, *, exact: bool) -> None:
    """Search for the query of a begun workspace, in one native call if all that it needs is read."""
    addresses = (snapshot.native.address, workspace.runs.address, workspace.fields.address)
    if snapshot.all_read:
        search_runs(*addresses)
        return
    if not exact:  # an exact search needs all partitions
        search_unread(snapshot, workspace)
        return
    plan_natively(snapshot.native.address, workspace.fields.address)
    workspace.empty()
    scan_in_waves(snapshot, snapshot.table, workspace)
    finish(workspace.fields.address)


def search_fused(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], request: SearchRequest
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search a `fused` snapshot for an unprepared query in a begun workspace; return scores and rows (1, k)."""
    workspace.use_query(query, prepared=False)
    search_query(snapshot, workspace, exact=request.exact)
    return workspace.scores[None].copy(), workspace.rows[None].copy()


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


def _words_of(mask: IndexMask | None, shard: ShardRuns) -> list[Words]:
    return [None if mask is None else mask.shards[run.number].words for run in shard.runs]


# -- merge


def stack_hits(hits: Sequence[ShardHits], k: int) -> ShardHits:
    """Put the hits of m queries together: scores and rows (m, k), and the sums of their counters."""
    scores, rows = np.empty((len(hits), k), np.float32), np.empty((len(hits), k), np.int64)
    counters = np.zeros(COUNTERS, np.int64)
    for place, ranking in enumerate(hits):
        scores[place], rows[place] = ranking.scores, ranking.rows
        counters += ranking.counters
    return ShardHits(scores, rows, counters)


def merge_hits(snapshot: Snapshot, hits: list[ShardHits], k: int) -> ShardHits:
    """Merge a query's hits of each shard into the k best, numbered across the snapshot: see `merge.merge`."""
    if len(hits) == 1:
        return hits[0]
    rows = [
        np.where(shard_hits.rows >= 0, shard_hits.rows + shard.first_row, -1)
        for shard_hits, shard in zip(hits, snapshot.groups, strict=True)
    ]
    scores, best = merge([shard_hits.scores for shard_hits in hits], rows, k)
    return ShardHits(scores, best, np.sum([shard_hits.counters for shard_hits in hits], axis=0))
