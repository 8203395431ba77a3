"""Sample queries for tuning and measuring: rows of the index, points near them, and queries unrelated to them.

Rows of the index are the easiest queries: the index was trained on them, and settings fitted only to them stop too
early for other queries. So half of the queries of a mixture are moved a little away from their rows, and `draw_foreign`
draws the hard cases: random directions, filters that exclude all nearby rows, and filters that few rows pass.
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
"""How far queries are moved away from their rows, relative to the residuals of other rows.

Measured on 199,000 GloVe vectors and 200,000 synthetic ones at recalls of .90 to .99: the recall of unmoved rows is
.004 to .009 higher than that of held-out queries, the recall of moved rows .002 to .005 lower.
"""

EXCLUDED = (0.02, 0.05, 0.2, 0.5, 0.9)  # fractions of the rows, nearest to an anchor, that filters exclude
FOREIGN_QUERIES = 64  # per sample, approximately
AROUND = 32  # maximum number of queries from an anchor's partition
DRAWN = 1 << 16  # random numbers that are drawn at once
PASSING = (0.001, 0.02)  # fractions of random rows that filters pass


@dataclass(frozen=True)
class Sample:
    """Sample queries.

    Attributes
    ----------
    queries : float32 (m, d)
        Prepared (rotated).
    own_rows : int64 (m,) or None
        The row of the index that each query was drawn from, which does not count as a hit.
    mask : IndexMask or None
        The filter of the searches.
    """

    queries: NDArray[np.float32]
    own_rows: NDArray[np.int64] | None
    mask: IndexMask | None = None


def draw_rows(snapshot: Snapshot, count: int, seed: int) -> Sample:
    """Draw `count` rows of the index as queries; all rows if there are fewer."""
    live, rows = snapshot.live_rows(), snapshot.live_count
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(rows, min(count, rows), replace=False))
    if live is not None:
        drawn = live[drawn]
    return Sample(np.ascontiguousarray(reconstruct(snapshot, drawn)), drawn)


def draw_mixture(snapshot: Snapshot, count: int, seed: int) -> Sample:
    """Draw rows of the index as queries, and move every other one a little."""
    sample = draw_rows(snapshot, count, seed)
    rows = np.zeros(0, np.int64) if sample.own_rows is None else sample.own_rows
    residuals = sample.queries - snapshot.model.centroids[snapshot.partitions_of(rows)]
    others = residuals[np.random.default_rng(seed + 1).permutation(len(residuals))]
    queries = sample.queries.copy()
    queries[::2] += np.float32(MOVED) * others[::2]
    return Sample(_on_sphere(snapshot, queries), sample.own_rows)


def draw_foreign(snapshot: Snapshot, count: int, seed: int) -> list[Sample]:
    """Draw samples of the hard cases, about `count` queries each, fewer around anchors; none for a single partition.

    These are random directions and rows reflected through the mean; rows with filters that a few random rows pass; and
    rows around anchors with filters that exclude the nearest partitions.
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
        passing = _draw_share(rng, snapshot.rows, share)
        if passing.any():
            cases.append(Sample(rows.queries, rows.own_rows, mask_passing(snapshot, passing)))
    for share in EXCLUDED:
        anchor = np.array([rng.integers(snapshot.rows)])
        ((run, _, _),) = snapshot.locate(anchor)
        table, partition = run.table, int(snapshot.partitions_of(anchor)[0]) - run.first_partition
        first = run.first_row + int(table.row_starts[partition])
        near = first + np.arange(min(AROUND, int(table.rows[partition])))
        queries = np.ascontiguousarray(reconstruct(snapshot, near))
        kept = _far_partitions(snapshot, queries[int(anchor[0]) - first if anchor[0] in near else 0], share)
        if kept.any():
            passing = np.concatenate([np.repeat(kept[_partitions(run)], run.table.rows) for run in snapshot.shards])
            cases.append(Sample(queries, near, mask_passing(snapshot, passing)))
    return cases


def _draw_share(rng: np.random.Generator, rows: int, share: float) -> NDArray[np.bool_]:
    """Draw which rows pass a random filter, bool (rows,); 8 bytes per row would be much for an index of many shards."""
    passing = np.empty(rows, np.bool_)
    for first in range(0, rows, DRAWN):
        passing[first : first + DRAWN] = rng.random(min(DRAWN, rows - first)) < share
    return passing


def _partitions(run: Shard) -> slice:
    """Return the range of a run's partitions in the index."""
    return slice(run.first_partition, run.first_partition + run.partitions)


def _far_partitions(snapshot: Snapshot, query: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Return all partitions, bool (partitions,), but those nearest to a query (d,) that have a share of the rows."""
    model = snapshot.model
    scores = model.centroids @ query
    if model.metric == "l2":
        scores = 2 * scores - model.centroid_squares
    order = np.argsort(-scores, kind="stable")
    before = np.cumsum(snapshot.partition_rows[order])
    kept = np.zeros(len(order), np.bool_)
    kept[order[before > share * int(snapshot.partition_rows.sum())]] = True
    return kept


def mask_passing(snapshot: Snapshot, passing: NDArray[np.bool_]) -> IndexMask:
    """Return the mask of a filter that the given rows, bool (rows,), pass."""
    masks = []
    for shard in snapshot.shards:
        packed = np.packbits(passing[shard.first_row : shard.first_row + shard.rows], bitorder="little")
        words = np.zeros(-(-shard.rows // 64), np.uint64)
        words.view(np.uint8)[: len(packed)] = packed
        if shard.live is not None:
            words &= shard.live
        starts = shard.table.row_starts
        counts = count_ranges(words, starts, starts + shard.table.rows)
        masks.append(ShardMask(words, counts, counts, int(counts.sum()), 0))
    return IndexMask.of(masks, snapshot)


def _on_sphere(snapshot: Snapshot, queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalize queries, float32 (m, d), for cosine; return others unchanged."""
    if snapshot.model.metric == "cosine":
        norms = np.linalg.norm(queries, axis=1, keepdims=True)
        queries = (queries / np.where(norms > 0, norms, 1)).astype(np.float32)
    return np.ascontiguousarray(queries, np.float32)
