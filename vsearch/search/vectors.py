"""Search an open snapshot: route, mask, scan, refine and rerank every shard, merge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.cores import available_cores
from vsearch.errors import SearchTimeoutError
from vsearch.kernels.query.fields import COUNTERS, REFINED, RERANKED, SCANNED, VISITED
from vsearch.search.engine.exhaustive import search_exhaustively, worth_threads
from vsearch.search.engine.masks import IndexMask, live_mask
from vsearch.search.engine.merge import ShardHits, as_seen, drop_dissimilar
from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.engine.steps import begin, merge_hits, search_fused, search_queries
from vsearch.search.pages import collect_page
from vsearch.search.state.model import Model
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.stores.retrying import carried

RERANK_BYTES = {None: 0, "int8": 1, "float16": 2, "float32": 4}  # per dimension
QUERIES_PER_TASK = 16  # queries that a thread searches at a time
THREADED_CELLS = (
    100_000  # rows from which threads pay for cells: below, Python is most of the work, and threads only contend
)


def count_mask(mask: IndexMask, stats: SearchStats) -> None:
    """Record the rows that pass a mask."""
    stats.rows_masked = mask.rows
    stats.rows_rechecked = mask.rechecked


def search_vectors(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
    *,
    prepared: bool = False,
) -> Answer:
    """Search for checked queries, float32 (m, d); `prepared` ones are already normalized, centered and rotated."""
    model, count, k = snapshot.model, len(queries), request.k
    mask = live_mask(snapshot) if mask is None else mask
    wide = (
        count == 1 and request.exact and worth_threads(snapshot, snapshot.manifest.rows if mask is None else mask.rows)
    )
    if count == 1 and request.deadline is None and not prepared and snapshot.fused and not wide:
        return _search_one(snapshot, queries[0], request, mask, stats)
    results = search_shards(snapshot, queries, request, mask, stats, prepared=prepared, wide=wide)
    with stats.level("merge"):
        if len(snapshot.groups) == 1 and count:
            scores = np.stack([hits.scores for (hits,) in results]) if count != 1 else results[0][0].scores[None, :]
            rows = np.stack([hits.rows for (hits,) in results]) if count != 1 else results[0][0].rows[None, :]
            return _answer(model, request, scores, rows, stats)
        scores, rows = np.empty((count, k), np.float32), np.empty((count, k), np.int64)
        for position, hits in enumerate(results):
            scores[position], rows[position] = merge_hits(snapshot, hits, k)
        return _answer(model, request, scores, rows, stats)


def search_page(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> Answer:
    """`search_vectors` for the k rows after the first `request.offset`; see `pages`."""

    def search(run: slice, depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        answer = search_vectors(snapshot, queries[run], msgspec.structs.replace(request, k=depth), mask, stats)
        return answer.scores, answer.rows

    scores, rows = collect_page(search, len(queries), request.k, request.offset, ordered=request.exact)
    stats.queries = len(queries)
    return Answer(scores, rows, stats)


def _search_one(
    snapshot: Snapshot,
    query: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> Answer:
    """`search_vectors` for one query by a single native call, with minimal overhead."""
    begun = time.perf_counter()
    model, workspace = snapshot.model, snapshot.workspace()
    begin(workspace, request, mask)
    scores, rows = search_fused(snapshot, workspace, query, mask)
    stats.add("scan", begun)
    stats.queries += 1
    stats.partitions = snapshot.manifest.partitions
    stats.estimated = model.rerank is None
    _count(stats, model, workspace.counters.tolist())
    return _answer(model, request, scores, rows, stats)


def _answer(
    model: Model, request: SearchRequest, scores: NDArray[np.float32], rows: NDArray[np.int64], stats: SearchStats
) -> Answer:
    if request.min_score is not None:
        scores, rows = drop_dissimilar(scores, rows, model, request.min_score)
    return Answer(as_seen(scores, model), rows, stats)


def search_shards(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
    *,
    prepared: bool = False,
    wide: bool = False,
) -> list[list[ShardHits]]:
    """Search every shard for each query, see `search_vectors`; if `wide`, for a single query on all cores."""
    model, count = snapshot.model, len(queries)
    stats.queries += count
    stats.partitions = snapshot.manifest.partitions
    stats.estimated = model.rerank is None
    ready = snapshot.ready  # whether everything is fetched
    fetched = 0 if ready else snapshot.bytes_fetched()

    def check_time(position: int) -> None:
        if request.deadline is not None and time.monotonic() > request.deadline:
            msg = f"the search timed out at query {position} of {count}; use a longer timeout or a smaller nprobe"
            raise SearchTimeoutError(msg)

    def search_range(positions: range) -> list[list[ShardHits]]:
        if wide:
            check_time(0)
            return [search_exhaustively(snapshot, queries[0], request, mask, prepared=prepared)]
        # the deadline is checked between calls, so with one every query gets a separate call
        batch = 1 if request.deadline is not None else len(positions)
        batch_results: list[list[ShardHits]] = []
        for start in range(positions.start, positions.stop, batch):
            check_time(start)
            batch_results += search_queries(snapshot, queries[start : start + batch], request, mask, prepared=prepared)
        return batch_results

    with stats.level("scan"):
        alone = count == 1 or (model.quantizer.scan == "cells" and snapshot.manifest.rows < THREADED_CELLS)
        results = search_range(range(count)) if alone else _in_threads(search_range, count)
    if not ready:
        stats.bytes_fetched += snapshot.bytes_fetched() - fetched
    counters = [np.zeros(COUNTERS, np.int64), *(hits.counters for per_shard in results for hits in per_shard)]
    _count(stats, model, np.sum(counters, axis=0).tolist())
    return results


def _in_threads(search: Callable[[range], list[list[ShardHits]]], count: int) -> list[list[ShardHits]]:
    """Search on all cores, in ranges of queries that do not depend on the number of cores."""
    ranges = [range(start, min(start + QUERIES_PER_TASK, count)) for start in range(0, count, QUERIES_PER_TASK)]
    if len(ranges) == 1:
        return search(ranges[0])
    from concurrent.futures import ThreadPoolExecutor  # imported late: a single query does not need it

    with ThreadPoolExecutor(available_cores()) as pool:
        return [hits for part in pool.map(carried(search), ranges) for hits in part]


def _count(stats: SearchStats, model: Model, counters: Sequence[int]) -> None:
    """Add the counters of the kernels to the statistics."""
    stages = model.quantizer.stage_bytes
    scanned, refined, reranked = counters[SCANNED], counters[REFINED], counters[RERANKED]
    stats.partitions_visited += counters[VISITED]
    stats.rows_scanned += scanned
    stats.rows_refined += refined
    stats.rows_reranked += reranked
    later = sum(stages) - stages[0]
    rerank_bytes = RERANK_BYTES[model.rerank] * model.dimensions + 2
    stats.bytes_read += scanned * (stages[0] + 2) + refined * later + reranked * rerank_bytes
