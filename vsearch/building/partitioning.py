"""Partitions: centroids from a sample, every row to its nearest, oversize ones split, and partitions dealt to shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.forking import with_threads_of_its_own

LARGEST_OVER_MEAN = 4.0  # no partition holds more than so many times the mean
ROWS_PER_PARTITION = 64  # on average at least: below it, routing costs more than it saves
SAMPLE_PER_PARTITION = 48
LEAST_SAMPLE = 4096
SAMPLE_BYTES = 512 << 20
SHARD_ROWS = 1_000_000
ITERATIONS = 10

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Prepared vectors float32 (n, d) of some rows, ascending."""


def default_partitions(rows: int) -> int:
    """About 3 * sqrt(rows), but 64 rows each; one below 256 rows."""
    if rows < 4 * ROWS_PER_PARTITION:
        return 1
    return max(1, min(round(3 * rows**0.5), rows // ROWS_PER_PARTITION))


def default_shards(rows: int) -> int:
    """One per million rows: what one worker function holds in a gigabyte."""
    return max(1, -(-rows // SHARD_ROWS))


def check_counts(rows: int, partitions: int | None, shards: int | None) -> tuple[int, int]:
    """Partitions and shards to build, from what was asked for."""
    parts = default_partitions(rows) if partitions is None else partitions
    split = default_shards(rows) if shards is None else shards
    for name, value in (("partitions", parts), ("shards", split)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= rows:
            msg = f"{name}={value!r} is not usable: give a whole number from 1 to the number of rows ({rows})"
            raise InputError(msg)
    if partitions is None:
        parts = max(parts, split)
    elif split > parts:
        msg = f"shards={split} is more than partitions={parts}: a shard holds whole partitions"
        raise InputError(msg)
    return int(parts), int(split)


def sample_rows(
    rows: int, partitions: int, dimensions: int, rng: np.random.Generator, least: int = LEAST_SAMPLE
) -> NDArray[np.int64]:
    """Rows to train on, ascending: some per partition, at most 512 MB of vectors, at least `least` where there are."""
    wanted = max(least, SAMPLE_PER_PARTITION * partitions)
    wanted = min(rows, wanted, max(LEAST_SAMPLE, SAMPLE_BYTES // (4 * dimensions)))
    if wanted == rows:
        return np.arange(rows)
    return np.sort(rng.choice(rows, wanted, replace=False))


@with_threads_of_its_own
def train_centroids(sample: NDArray[np.float32], partitions: int, seed: int) -> NDArray[np.float32]:
    """Centroids float32 (partitions', d) by k-means (faiss); fewer where the sample has fewer distinct vectors."""
    if partitions == 1:
        return sample.mean(axis=0, dtype=np.float64).astype(np.float32)[None, :]
    import faiss

    kmeans = faiss.Kmeans(
        sample.shape[1],
        min(partitions, len(sample)),
        niter=ITERATIONS,
        seed=seed + 1,
        min_points_per_centroid=1,
        max_points_per_centroid=1 << 30,
    )
    kmeans.train(sample)
    return np.unique(np.asarray(kmeans.centroids, np.float32), axis=0)


@with_threads_of_its_own
def assign(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centroid of each vector: int32 (n,). O(n * partitions * d), as one matrix product."""
    if len(centroids) == 1:
        return np.zeros(len(vectors), np.int32)
    import faiss

    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(centroids)
    _, nearest = index.search(vectors, 1)
    return np.asarray(nearest[:, 0], np.int32)


@dataclass(frozen=True, eq=False)
class Partitioning:
    """Which partition each row belongs to.

    Attributes
    ----------
    centroids : float32 (partitions, d)
    members : int32 (rows,)
    """

    centroids: NDArray[np.float32]
    members: NDArray[np.int32]


def split_oversize(partitioning: Partitioning, take: Vectors, seed: int) -> Partitioning:
    """Split partitions until none holds over four times the mean, and drop empty ones.

    A partition is split by k-means on its rows; where that does not help (duplicates), its rows are dealt out in order
    to copies of its centroid.
    """
    centroids, members = partitioning.centroids, partitioning.members.copy()
    rows = len(members)
    while True:
        counts = np.bincount(members, minlength=len(centroids))
        limit = max(LARGEST_OVER_MEAN * rows / max(1, int(np.count_nonzero(counts))), 8.0)
        oversize = np.flatnonzero(counts > limit)
        if len(oversize) == 0:
            break
        for partition in oversize:
            inside = np.flatnonzero(members == partition)
            pieces = int(min(max(2, round(2 * len(inside) / limit)), 256))
            chosen, fresh = _split(inside, take, centroids[partition], pieces, seed)
            targets = np.concatenate([[partition], len(centroids) + np.arange(len(fresh) - 1)])
            members[inside] = targets[chosen].astype(np.int32)
            centroids = np.concatenate([centroids, fresh[1:]])
            centroids[partition] = fresh[0]
    used = np.flatnonzero(counts)
    renumber = np.zeros(len(centroids), np.int32)
    renumber[used] = np.arange(len(used), dtype=np.int32)
    return Partitioning(np.ascontiguousarray(centroids[used]), renumber[members])


def _split(
    inside: NDArray[np.int64], take: Vectors, centroid: NDArray[np.float32], pieces: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Piece of each row and the pieces' centroids; pieces of equal size where k-means cannot tell the rows apart."""
    step = max(1, len(inside) // (SAMPLE_PER_PARTITION * 8 * pieces))
    centroids = train_centroids(take(inside[::step]), pieces, seed)
    chosen = np.empty(len(inside), np.int64)
    for start in range(0, len(inside), 1 << 16):
        chosen[start : start + (1 << 16)] = assign(take(inside[start : start + (1 << 16)]), centroids)
    if np.bincount(chosen, minlength=len(centroids)).max() > 0.9 * len(inside):
        return np.arange(len(inside)) * pieces // len(inside), np.repeat(centroid[None, :], pieces, axis=0)
    return chosen, centroids


def deal_to_shards(centroids: NDArray[np.float32], counts: NDArray[np.int64], shards: int) -> list[NDArray[np.int64]]:
    """Partitions of each shard: near ones together, about equally many rows each.

    The partitions are halved again and again along the direction in which their centroids spread most.
    O(partitions * d * log(shards)).
    """
    if shards == 1:
        return [np.arange(len(centroids))]

    def halve(group: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
        if parts == 1:
            return [np.sort(group)]
        centred = centroids[group] - centroids[group].mean(axis=0)
        direction = centred[int(np.argmax(np.sum(centred**2, axis=1)))].astype(np.float64)
        for _ in range(8):  # power iteration towards the first principal direction
            direction = centred.T @ (centred @ direction)
            direction /= max(float(np.linalg.norm(direction)), 1e-30)
        ordered = group[np.argsort(centred @ direction, kind="stable")]
        left = parts // 2
        filled = np.cumsum(counts[ordered])
        cut = int(np.searchsorted(filled, filled[-1] * left / parts)) + 1
        cut = min(max(cut, left), len(ordered) - (parts - left))
        return halve(ordered[:cut], left) + halve(ordered[cut:], parts - left)

    return halve(np.arange(len(centroids)), shards)
