"""A whole query on an open snapshot: route, mask, scan, refine and rerank every shard, merge."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import SearchTimeoutError
from vsearch.kernels.search import REFINED, RERANKED, SCANNED, VISITED
from vsearch.search.mask import ShardMask, mask_shard
from vsearch.search.merge import merge
from vsearch.search.model import Model, SearchSettings
from vsearch.search.route import plan_visits, route
from vsearch.search.run import ShardHits, build_tables, search_shard
from vsearch.search.snapshot import Snapshot
from vsearch.search.stats import SearchStats

if TYPE_CHECKING:
    from vsearch.predicates import Bound


@dataclass(frozen=True)
class SearchRequest:
    """What to search for besides the vectors.

    Attributes
    ----------
    k : int
    nprobe : int or None
        See `route.plan_visits`.
    exact : bool
    min_score : float or None
        Rows less similar are left out; under l2 the largest squared distance.
    deadline : float or None
        `time.monotonic` value after which the search gives up.
    settings : SearchSettings
    """

    k: int
    settings: SearchSettings
    nprobe: int | None = None
    exact: bool = False
    min_score: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """Best rows of m queries: scores float32 (m, k) as users see them, rows int64 (m, k); NaN and -1 where none."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    stats: SearchStats


def mask_all(snapshot: Snapshot, bound: Bound | None, stats: SearchStats) -> list[ShardMask] | None:
    """Masks of all shards, None without a predicate."""
    if bound is None:
        stats.rows_masked = snapshot.manifest.rows
        return None
    with stats.level("mask"):
        masks = [mask_shard(snapshot, shard, bound) for shard in snapshot.shards]
    stats.rows_masked = int(sum(mask.matches.sum() for mask in masks))
    stats.rows_rechecked = sum(mask.rechecked for mask in masks)
    stats.bytes_read += snapshot.manifest.rows
    return masks


def search_rotated(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    request: SearchRequest,
    masks: Sequence[ShardMask] | None,
    stats: SearchStats,
) -> Answer:
    """Search for prepared queries float32 (m, d); see `model.prepare_queries`."""
    model = snapshot.model
    many, k = len(queries), request.k
    stats.queries += many
    stats.partitions = snapshot.manifest.partitions
    stats.estimated = model.rerank is None
    with stats.level("route"):
        routes = route(model, queries, snapshot.radii, request.settings.reach)
    lowest = _lowest(model, request.min_score)

    edges = [shard.first_partition for shard in snapshot.shards] + [snapshot.manifest.partitions]
    eligible = snapshot.partition_rows if masks is None else np.concatenate([mask.matches for mask in masks])

    def one(position: int) -> list[ShardHits]:
        if request.deadline is not None and time.monotonic() > request.deadline:
            msg = f"the search ran into its timeout at query {position} of {many}; give it longer or a smaller nprobe"
            raise SearchTimeoutError(msg)
        tables = build_tables(model, queries[position], request.settings.margin)
        visits = plan_visits(
            routes.bases[position],
            routes.bounds[position],
            edges,
            k=k,
            nprobe=request.nprobe,
            rows=eligible,
            filtered=masks is not None,
            exact=request.exact,
        )
        return [
            search_shard(
                model,
                shard,
                tables,
                visits[number],
                k,
                mask=None if masks is None else masks[number].words,
                exact=request.exact,
                lowest=lowest,
            )
            for number, shard in enumerate(snapshot.shards)
        ]

    scores, rows = np.empty((many, k), np.float32), np.empty((many, k), np.int64)
    fetched = snapshot.bytes_fetched()
    with stats.level("scan"):
        if many == 1:
            found = [one(0)]
        else:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = list(pool.map(one, range(many)))
    stats.bytes_fetched += snapshot.bytes_fetched() - fetched
    with stats.level("merge"):
        for position, per_shard in enumerate(found):
            _count(stats, model, per_shard)
            if len(per_shard) == 1:
                scores[position], rows[position] = per_shard[0].scores, per_shard[0].rows
                continue
            shifted = [
                np.where(hits.rows >= 0, hits.rows + shard.first_row, -1)
                for hits, shard in zip(per_shard, snapshot.shards, strict=True)
            ]
            scores[position], rows[position] = merge([hits.scores for hits in per_shard], shifted, k)
    return Answer(np.maximum(-scores, 0) if model.metric == "l2" else scores, rows, stats)


def _lowest(model: Model, min_score: float | None) -> float:
    if min_score is None:
        return -np.inf
    return -min_score if model.metric == "l2" else min_score


def _count(stats: SearchStats, model: Model, per_shard: Sequence[ShardHits]) -> None:
    row_bytes = sum(model.quantizer.stage_bytes[:1]) + 2
    later_bytes = sum(model.quantizer.stage_bytes[1:])
    rerank_bytes = {None: 0, "int8": 1, "float16": 2, "float32": 4}[model.rerank] * model.dimensions + 2
    for hits in per_shard:
        counted = hits.counters
        stats.partitions_visited += int(counted[VISITED])
        stats.rows_scanned += int(counted[SCANNED])
        stats.rows_refined += int(counted[REFINED])
        stats.rows_reranked += int(counted[RERANKED])
        stats.bytes_read += int(
            counted[SCANNED] * row_bytes + counted[REFINED] * later_bytes + counted[RERANKED] * rerank_bytes
        )
