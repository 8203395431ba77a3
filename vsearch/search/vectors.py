"""Search an open snapshot: route, mask, scan, refine and rerank every shard, merge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.cores import available_cores
from vsearch.errors import SearchTimeoutError
from vsearch.kernels.query.fields import COUNTERS, REFINED, RERANKED, SCANNED, SEVERAL, VISITED
from vsearch.search.engine.exhaustive import search_exhaustively, worth_threads
from vsearch.search.engine.masks import IndexMask, live_mask
from vsearch.search.engine.merge import ShardHits, as_seen, drop_dissimilar
from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.engine.steps import begin_all, search_each_shard, search_fused, search_queries, stack_hits
from vsearch.search.pages import collect_page
from vsearch.search.state.model import Model
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.stores.retrying import carried
from vsearch.threads import threads

T = TypeVar("T")

LEAST_QUERIES, MOST_QUERIES = 16, 64  # that a thread searches at a time
TASKS = 32  # into which many queries are divided, so that threads finish together
THREADED_CELLS = 100_000  # rows from which threads pay off for cells: below, Python dominates, and threads only contend


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
    model, count = snapshot.model, len(queries)
    mask = live_mask(snapshot) if mask is None else mask
    wide = (
        count == 1 and request.exact and worth_threads(snapshot, snapshot.manifest.rows if mask is None else mask.rows)
    )
    if count == 1 and request.deadline is None and not prepared and snapshot.fused and not wide:
        return _search_one(snapshot, queries[0], request, mask, stats)
    hits = search_rows(snapshot, queries, request, mask, stats, prepared=prepared, wide=wide)
    return _answer(model, request, hits.scores, hits.rows, stats)


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
    """`search_vectors` for one query, with minimal overhead."""
    started = time.perf_counter()
    model, workspace = snapshot.model, snapshot.workspace()
    begin_all(snapshot, workspace, request, mask)
    all_read = snapshot.all_read
    fetched = 0 if all_read else snapshot.bytes_fetched()
    scores, rows = search_fused(snapshot, workspace, query, request)
    stats.bytes_fetched += 0 if all_read else snapshot.bytes_fetched() - fetched
    stats.add("scan", started)
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


def search_rows(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
    *,
    prepared: bool = False,
    wide: bool = False,
) -> ShardHits:
    """Search all shards together for m queries, see `search_vectors`; if `wide`, for a single query on all cores.

    Scores and rows are (m, k).
    """
    if wide:

        def search(batch: NDArray[np.float32]) -> ShardHits:
            return stack_hits([search_exhaustively(snapshot, batch[0], request, mask, prepared=prepared)], request.k)

    else:

        def search(batch: NDArray[np.float32]) -> ShardHits:
            return search_queries(snapshot, batch, request, mask, prepared=prepared)

    answers = _search_ranges(search, snapshot, queries, request, stats)
    counters = np.sum([np.zeros(COUNTERS, np.int64), *(hits.counters for hits in answers)], axis=0)
    _count(stats, snapshot.model, counters.tolist())
    if len(answers) == 1:
        return answers[0]
    nothing = stack_hits([], request.k)
    scores, rows = ([getattr(hits, name) for hits in [*answers, nothing]] for name in ("scores", "rows"))
    return ShardHits(np.concatenate(scores), np.concatenate(rows), counters)


def search_shards(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> list[list[ShardHits]]:
    """Find the best rows of every shard for each query; rows are numbered within the shard."""

    def search(batch: NDArray[np.float32]) -> list[list[ShardHits]]:
        return search_each_shard(snapshot, batch, request, mask, prepared=False)

    hits_of_queries = [hits for part in _search_ranges(search, snapshot, queries, request, stats) for hits in part]
    counters = [np.zeros(COUNTERS, np.int64), *(hits.counters for per_shard in hits_of_queries for hits in per_shard)]
    _count(stats, snapshot.model, np.sum(counters, axis=0).tolist())
    return hits_of_queries


def _search_ranges(
    search: Callable[[NDArray[np.float32]], T],
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    stats: SearchStats,
) -> list[T]:
    """Search for ranges of queries, on all cores if that is worth it, until the deadline; return what each returned."""
    model, count = snapshot.model, len(queries)
    stats.queries += count
    stats.partitions = snapshot.manifest.partitions
    stats.estimated = model.rerank is None
    ready = snapshot.ready  # whether everything is fetched
    fetched = 0 if ready else snapshot.bytes_fetched()

    def search_range(positions: range) -> list[T]:
        # the deadline is checked between calls, so with one every query gets a separate call
        batch = 1 if request.deadline is not None else len(positions)
        results: list[T] = []
        for start in range(positions.start, positions.stop, max(batch, 1)):
            if request.deadline is not None and time.monotonic() > request.deadline:
                msg = f"the search timed out at query {start} of {count}; use a longer timeout or a smaller nprobe"
                raise SearchTimeoutError(msg)
            results.append(search(queries[start : start + batch]))
        return results

    with stats.level("scan"):
        single_task = count <= 1 or (model.quantizer.scan == "cells" and snapshot.manifest.rows < THREADED_CELLS)
        step = max(count, 1) if single_task else _queries_per_task(count)
        ranges = [range(start, min(start + step, count)) for start in range(0, count, step)]
        parts = _in_threads(carried(search_range), ranges, ready=ready)
    if not ready:
        stats.bytes_fetched += snapshot.bytes_fetched() - fetched
    return [answer for part in parts for answer in part]


def _queries_per_task(count: int) -> int:
    """Return how many of some queries a thread searches at a time; independent of the number of cores."""
    several = -(-count // (TASKS * SEVERAL)) * SEVERAL  # those that are planned together
    return min(max(several, LEAST_QUERIES), MOST_QUERIES)


def _in_threads(search: Callable[[range], list[T]], ranges: list[range], *, ready: bool) -> list[list[T]]:
    """Search ranges of queries on all cores; in its own threads if it may wait for a store."""
    if ready or len(ranges) < 2:
        return threads.map(search, ranges)
    from concurrent.futures import ThreadPoolExecutor  # imported late: most searches do not need it

    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(search, ranges))


def _count(stats: SearchStats, model: Model, counters: Sequence[int]) -> None:
    """Add the counters of the kernels to the statistics."""
    scanned, refined, reranked = counters[SCANNED], counters[REFINED], counters[RERANKED]
    stats.partitions_visited += counters[VISITED]
    stats.rows_scanned += scanned
    stats.rows_refined += refined
    stats.rows_reranked += reranked
    scan_bytes, refine_bytes, rerank_bytes = model.row_bytes
    stats.bytes_read += scanned * scan_bytes + refined * refine_bytes + reranked * rerank_bytes
