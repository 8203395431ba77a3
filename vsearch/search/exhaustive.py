"""One query that scores every row: runs of partitions are tasks for all cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.cores import available_cores
from vsearch.kernels.entry import finish, plan_query, scan_rest
from vsearch.kernels.fields import CallField, ModelField
from vsearch.search.merge import ShardHits, merge
from vsearch.search.native import Workspace
from vsearch.search.run import copy_hits, fill_tables

if TYPE_CHECKING:
    from vsearch.search.masks import IndexMask
    from vsearch.search.snapshot import Snapshot

RUNS = 16  # of each shard: tasks whose number of rows differs little, on more cores than most machines have
WORTH = 1 << 23  # elements of vectors: some milliseconds on one core, far more than threads cost


def worth_threads(snapshot: Snapshot, rows: int) -> bool:
    """Whether scoring so many rows is work for several cores."""
    tables = snapshot.model.quantizer.scan != "cells"
    return tables and rows * snapshot.model.dimensions >= WORTH and available_cores() > 1


def search_exhaustively(
    snapshot: Snapshot,
    begin: Callable[[Workspace], None],
    query: NDArray[np.float32],
    k: int,
    mask: IndexMask | None,
    *,
    prepared: bool,
) -> list[ShardHits]:
    """Score every row that the mask lets pass, with a task for each run of partitions; the hits of every shard.

    A row's score does not depend on the others, so neither do the answers on how many threads there are.

    Parameters
    ----------
    begin : callable
        Tells a workspace what is asked for.
    query : float32 (d,)
        See `run.run_query`.
    """
    from concurrent.futures import ThreadPoolExecutor

    tasks = []
    for number, shard in enumerate(snapshot.shards):
        partitions = np.arange(shard.first_partition, shard.first_partition + shard.partitions, dtype=np.int32)
        shard.ensure_own(partitions)
        ends = np.searchsorted(np.cumsum(shard.table.rows), np.linspace(0, shard.rows, RUNS + 1)[1:-1])
        tasks += [(number, run) for run in np.split(partitions, ends) if len(run)]

    def score(task: tuple[int, NDArray[np.int32]]) -> ShardHits:
        number, run = task
        workspace = snapshot.workspace()
        begin(workspace)
        call = workspace.fields.address
        workspace.use_query(query, prepared=prepared)
        if snapshot.native.values[ModelField.TABLES_GIVEN]:
            fill_tables(snapshot, workspace, query, prepared=prepared)
        plan_query(snapshot.native.address, call)
        workspace.empty()
        workspace.use_mask(None if mask is None else mask.shards[number].words)
        workspace.bounds[run] = np.inf
        workspace.rest[: len(run)] = run
        workspace.values[CallField.REST_COUNT] = len(run)
        scan_rest(snapshot.native.address, snapshot.shards[number].native.address, call)
        finish(call)
        return copy_hits(workspace)

    with ThreadPoolExecutor(available_cores()) as pool:
        found = list(pool.map(score, tasks))
    hits = []
    for number in range(len(snapshot.shards)):
        own = [each for (shard_number, _), each in zip(tasks, found, strict=True) if shard_number == number]
        scores, rows = merge([each.scores for each in own], [each.rows for each in own], k)
        hits.append(ShardHits(scores, rows, np.sum([each.counters for each in own], axis=0)))
    return hits
