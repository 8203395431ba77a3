"""Queries to tune and to measure with: rows of the index, points near them, and queries that have nothing to do with them.

Rows that look for themselves are the easiest queries there are: they took part in the training, and settings that were
fitted to them alone stop too early for others. So half of a mixture is moved a little away from its rows, and `draw_foreign`
makes the hard cases: directions of no row, filters that exclude all that is near, filters that few rows pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.filters.bitmaps import count_ranges
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.masks import IndexMask
from vsearch.search.state.fetching import reconstruct
from vsearch.search.state.shard import Shard
from vsearch.search.state.snapshot import Snapshot

MOVED = 0.3
"""How far queries are moved away from their rows, in distances of other rows to their partitions' centroids.

Measured on 199,000 GloVe vectors and 200,000 synthetic ones at recalls of .90 to .99: rows as they are find .004 to .009 more
than held-out queries, rows moved so far find .002 to .005 less.
"""

EXCLUDED = (0.02, 0.05, 0.2, 0.5, 0.9)  # of the rows, the nearest to an anchor, which a filter leaves out
FOREIGN_QUERIES = 64  # of most samples
AROUND = 32  # queries of an anchor's partition at most
PASSING = (0.001, 0.02)  # of the rows, at random


@dataclass(frozen=True)
class Sample:
    """Queries to measure with.

    Attributes
    ----------
    queries : float32 (m, d)
        Prepared (rotated).
    own_rows : int64 (m,) or None
        The row that each query is, where rows of the index were drawn: it does not count as a hit.
    mask : IndexMask or None
        The filter that they are asked with.
    """

    queries: NDArray[np.float32]
    own_rows: NDArray[np.int64] | None
    mask: IndexMask | None = None


def draw_rows(snapshot: Snapshot, count: int, seed: int) -> Sample:
    """Rows of the index as queries; all of them where there are not more."""
    live, rows = snapshot.live_rows(), snapshot.live_count
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(rows, min(count, rows), replace=False))
    if live is not None:
        drawn = live[drawn]
    return Sample(np.ascontiguousarray(reconstruct(snapshot, drawn)), drawn)


def draw_mixture(snapshot: Snapshot, count: int, seed: int) -> Sample:
    """Rows of the index as queries, every other one moved a little."""
    sample = draw_rows(snapshot, count, seed)
    own = np.zeros(0, np.int64) if sample.own_rows is None else sample.own_rows
    residuals = sample.queries - snapshot.model.centroids[snapshot.partitions_of(own)]
    others = residuals[np.random.default_rng(seed + 1).permutation(len(residuals))]
    queries = sample.queries.copy()
    queries[::2] += np.float32(MOVED) * others[::2]
    return Sample(_on_sphere(snapshot, queries), sample.own_rows)


def draw_foreign(snapshot: Snapshot, count: int, seed: int) -> list[Sample]:
    """Samples of the hard cases, about `count` queries each but for those around an anchor; none for a single partition.

    These are directions of no row and rows mirrored at the mean; rows under filters that a few rows pass at random; and,
    around anchors, rows under filters that exclude the nearest partitions.
    """
    if snapshot.manifest.partitions == 1:
        return []
    rng = np.random.default_rng(seed)
    rows = draw_rows(snapshot, count, seed + 2)
    mean = rows.queries.mean(axis=0)
    deviation = np.float32(rows.queries.std(axis=0).mean())
    half = max(1, len(rows.queries) // 2)
    directions = mean + deviation * rng.standard_normal((half, len(mean)), dtype=np.float32)
    mirrored = 2 * mean - rows.queries[half:]
    cases = [Sample(_on_sphere(snapshot, np.concatenate([directions, mirrored])), None)]
    for share in PASSING:
        passing = rng.random(snapshot.rows) < share
        if passing.any():
            cases.append(Sample(rows.queries, rows.own_rows, _mask_rows(snapshot, passing)))
    for share in EXCLUDED:
        anchor = np.array([rng.integers(snapshot.rows)])
        ((run, _, _),) = snapshot.locate(anchor)
        table, partition = run.table, int(snapshot.partitions_of(anchor)[0]) - run.first_partition
        first = run.first_row + int(table.row_starts[partition])
        near = first + np.arange(min(AROUND, int(table.rows[partition])))
        queries = np.ascontiguousarray(reconstruct(snapshot, near))
        kept = _far_partitions(snapshot, queries[int(anchor[0]) - first if anchor[0] in near else 0], share)
        if kept.any():
            passing = np.concatenate([np.repeat(kept[_own(run)], run.table.rows) for run in snapshot.shards])
            cases.append(Sample(queries, near, _mask_rows(snapshot, passing)))
    return cases


def _own(run: Shard) -> slice:
    """The partitions of a run among those of the index."""
    return slice(run.first_partition, run.first_partition + run.partitions)


def _far_partitions(snapshot: Snapshot, query: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """All partitions but the nearest to a prepared query (d,), which hold a share of the rows."""
    model = snapshot.model
    scores = model.centroids @ query
    if model.metric == "l2":
        scores = 2 * scores - model.centroid_squares
    order = np.argsort(-scores, kind="stable")
    before = np.cumsum(snapshot.partition_rows[order])
    kept = np.zeros(len(order), np.bool_)
    kept[order[before > share * int(snapshot.partition_rows.sum())]] = True
    return kept


def _mask_rows(snapshot: Snapshot, passing: NDArray[np.bool_]) -> IndexMask:
    """The mask of a filter that lets some rows pass, bool (rows,)."""
    masks = []
    for shard in snapshot.shards:
        own = passing[shard.first_row : shard.first_row + shard.rows]
        packed = np.packbits(own, bitorder="little")
        words = np.zeros(-(-shard.rows // 64), np.uint64)
        words.view(np.uint8)[: len(packed)] = packed
        if shard.live is not None:
            words &= shard.live
        starts = shard.table.row_starts
        counts = count_ranges(words, starts, starts + shard.table.rows)
        masks.append(ShardMask(words, counts, counts, int(counts.sum()), 0))
    return IndexMask.of(masks, snapshot)


def _on_sphere(snapshot: Snapshot, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Queries float32 (m, d) as the metric prepares them."""
    if snapshot.model.metric == "cosine":
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        queries = (queries / np.where(norms > 0, norms, 1)).astype(np.float32)
    return np.ascontiguousarray(queries, np.float32)
