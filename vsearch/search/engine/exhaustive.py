"""Exhaustive search for a single query on all cores, with ranges of partitions as tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.cores import available_cores
from vsearch.kernels.query.api import finish, plan_query, scan_rest
from vsearch.kernels.query.fields import COUNTERS, CallField
from vsearch.search.engine.merge import ShardHits, merge
from vsearch.search.engine.scanning import copy_hits, take_query
from vsearch.search.engine.steps import begin_all

if TYPE_CHECKING:
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.snapshot import Snapshot

TASKS = 32  # number of tasks, of about equally many rows
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
) -> ShardHits:
    """Score every row that passes the mask, with a task per range of partitions.

    A row's score does not depend on other rows, so results do not depend on the number of threads.

    Parameters
    ----------
    query : float32 (d,)
    prepared : bool
        See `steps.search_queries`.
    """
    from concurrent.futures import ThreadPoolExecutor

    match_counts = snapshot.partition_rows if mask is None else mask.matches
    task_rows = max(1, -(-int(match_counts.sum()) // TASKS))
    partitions = np.flatnonzero(match_counts).astype(np.int32)
    snapshot.table.ensure(partitions)
    parts = np.cumsum(match_counts[partitions]) // task_rows
    tasks = [part for part in np.split(partitions, np.flatnonzero(np.diff(parts)) + 1) if len(part)]

    def plan() -> None:
        """Plan the query, once per thread."""
        workspace = snapshot.workspace()
        begin_all(snapshot, workspace, request, mask)
        take_query(snapshot, workspace, query, prepared=prepared)
        plan_query(snapshot.native.address, workspace.fields.address)

    def score(part: NDArray[np.int32]) -> ShardHits:
        workspace = snapshot.workspace()
        workspace.empty()
        workspace.upper_bounds[part] = np.inf
        workspace.rest[: len(part)] = part
        workspace.values[CallField.REST_COUNT] = len(part)
        scan_rest(snapshot.native.address, workspace.runs.address, workspace.fields.address)
        finish(workspace.fields.address)
        return copy_hits(workspace)

    with ThreadPoolExecutor(available_cores(), initializer=plan) as pool:
        results = list(pool.map(score, tasks))
    nothing = ShardHits(np.empty(0, np.float32), np.empty(0, np.int64), np.zeros(COUNTERS, np.int64))
    results.append(nothing)
    scores, rows = merge([hits.scores for hits in results], [hits.rows for hits in results], request.k)
    return ShardHits(scores, rows, np.sum([hits.counters for hits in results], axis=0))
