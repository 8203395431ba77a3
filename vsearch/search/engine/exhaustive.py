"""Exhaustive search for a single query on all cores, with runs of partitions as tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.cores import available_cores
from vsearch.kernels.query.api import finish, plan_query, scan_rest
from vsearch.kernels.query.fields import COUNTERS, CallField
from vsearch.search.engine.merge import ShardHits, merge
from vsearch.search.engine.scanning import copy_hits, take_query
from vsearch.search.engine.steps import begin, join_runs

if TYPE_CHECKING:
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot

RUNS = 32  # number of tasks, of about equally many rows
WORTH = 1 << 27  # elements of vectors: some ten milliseconds on one core, far more than the overhead of threads


def worth_threads(snapshot: Snapshot, rows: int) -> bool:
    """Return whether scoring this many rows is worth several threads."""
    tables = snapshot.model.quantizer.scan != "cells"
    return tables and rows * snapshot.model.dimensions >= WORTH and available_cores() > 1


def search_exhaustively(
    snapshot: Snapshot,
    query: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> list[ShardHits]:
    """Score every row that passes the mask, with a task per run of partitions; return the hits of every shard.

    A row's score does not depend on other rows, so results do not depend on the number of threads.

    Parameters
    ----------
    query : float32 (d,)
    prepared : bool
        See `steps.search_queries`.
    """
    from concurrent.futures import ThreadPoolExecutor

    match_counts = snapshot.partition_rows if mask is None else mask.matches
    run_rows = max(1, -(-int(match_counts.sum()) // RUNS))
    tasks = []
    for run in (run for shard in snapshot.groups for run in shard.runs):
        low = run.first_partition
        partitions = low + np.flatnonzero(match_counts[low : low + run.partitions]).astype(np.int32)
        run.ensure_own(partitions)
        parts = np.cumsum(match_counts[partitions]) // run_rows
        tasks += [(run, part) for part in np.split(partitions, np.flatnonzero(np.diff(parts)) + 1) if len(part)]

    def plan() -> None:
        """Plan the query, once per thread."""
        workspace = snapshot.workspace()
        begin(workspace, request, mask)
        take_query(snapshot, workspace, query, prepared=prepared)
        plan_query(snapshot.native.address, workspace.fields.address)

    def score(task: tuple[Shard, NDArray[np.int32]]) -> ShardHits:
        run, part = task
        workspace = snapshot.workspace()
        call = workspace.fields.address
        workspace.empty()
        workspace.use_mask(None if mask is None else mask.shards[run.number].words)
        workspace.upper_bounds[part] = np.inf
        workspace.rest[: len(part)] = part
        workspace.values[CallField.REST_COUNT] = len(part)
        scan_rest(snapshot.native.address, run.native.address, call)
        finish(call)
        return copy_hits(workspace)

    with ThreadPoolExecutor(available_cores(), initializer=plan) as pool:
        results = list(pool.map(score, tasks))
    empty = ShardHits(np.empty(0, np.float32), np.empty(0, np.int64), np.zeros(COUNTERS, np.int64))

    def best_of(run: Shard) -> ShardHits:
        parts = [empty, *(hits for (task, _), hits in zip(tasks, results, strict=True) if task is run)]
        scores, rows = merge([hits.scores for hits in parts], [hits.rows for hits in parts], request.k)
        return ShardHits(scores, rows, np.sum([hits.counters for hits in parts], axis=0))

    return [join_runs(shard, [best_of(run) for run in shard.runs], request.k) for shard in snapshot.groups]
