"""The steps of a search: mask, plan, scan, merge.

`search_queries` takes them one after the other, in one process. Behind functions they are cut in two: who plans calls `mask_cells` and
`plan_query`, who holds a shard masks its runs exactly (`masking.mask_shard`) and calls `scan_shard`, and both paths rank what
shards found by `merge`. A shard has several runs where the index was changed, and one heap for all of them. Planning and scanning
work on one query at a time, so that an answer does not depend on which queries travel together. A query on one shard that is all
there is planned and scanned by a single native call.
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
    """The rows of all runs that satisfy a predicate, exactly."""
    masks = [mask_shard(snapshot, shard, bound) for shard in snapshot.shards]
    return IndexMask.of(masks, snapshot)


def mask_cells(snapshot: Snapshot, bound: Bound | None) -> IndexMask | None:
    """What cells alone say about the rows of all runs: enough to plan with; which of the open ones pass is left open.

    Without a predicate all rows pass that are not removed: None where none is.
    """
    if bound is None:
        return live_mask(snapshot)
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
        One for each shard, empty where nothing is to be visited; the same for all its runs.
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
    for shard in snapshot.groups:
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
        Its `k` may be another than the plan's. What chooses partitions counts no more.
    words : sequence of uint64 (words,) or None
        Rows of each run of the shard that pass.

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
    plan_natively(snapshot.native.address, workspace.fields.address)  # for the tables: the visits are replaced
    order = visits.order + np.int32(shard.first_partition)
    workspace.order[: len(order)] = order
    workspace.bases[order], workspace.bounds[order] = visits.bases, visits.bounds
    workspace.values[CallField.VISITS], workspace.values[CallField.FORCED] = len(order), visits.minimum
    return _scan(snapshot, shard, workspace, words)


def _scan(snapshot: Snapshot, shard: ShardRuns, workspace: Workspace, words: Sequence[Words]) -> ShardHits:
    """Scan a shard's part of the visits that are planned in a workspace."""
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
    """The same for cells, whose cuts are of one run."""
    found = [
        search_cells(snapshot.model, run, tables, visits, request.k, mask=mask, exact=request.exact)
        for run, mask in zip(shard.runs, words, strict=True)
    ]
    return found[0] if len(found) == 1 else join_runs(shard, found, request.k)


def join_runs(shard: ShardRuns, found: Sequence[ShardHits], k: int) -> ShardHits:
    """The best of what was found in each run of a shard, as hits of the shard."""
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
    """What each query finds in every shard, on the calling thread. Queries share one pass over the codes where they can.

    Parameters
    ----------
    queries : float32 (m, d)
    prepared : bool
        Whether the queries are normalised, centred and rotated already.
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
    """Search the only shard, which is all there, in one native call."""
    runs = snapshot.groups[0].runs
    if len(runs) == 1:
        workspace.use_mask(_words(mask, runs[0].number))
        search_shard(snapshot.native.address, runs[0].native.address, workspace.fields.address)
        return
    blocks = np.zeros((len(runs), len(RunField)), np.int64)
    for place, run in enumerate(runs):
        words = _words(mask, run.number)
        blocks[place, RunField.SHARD], blocks[place, RunField.FIRST_ROW] = run.native.address, run.first_row
        if words is not None:
            blocks[place, RunField.MASK], blocks[place, RunField.MASK_WORDS] = address(words), len(words)
    search_runs(snapshot.native.address, address(blocks), len(blocks), workspace.fields.address)


def search_fused(
    snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], mask: IndexMask | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and rows (1, k) of a query as given, on a snapshot that is `fused`, in a workspace that has begun."""
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
    """The k best rows of a query, numbered through the snapshot, out of what it found in each shard: see `merge.merge`."""
    rows = [
        np.where(found.rows >= 0, found.rows + shard.first_row, -1)
        for found, shard in zip(hits, snapshot.groups, strict=True)
    ]
    return merge([found.scores for found in hits], rows, k)
