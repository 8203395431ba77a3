"""Partitioning: train centroids on a sample, assign rows to the nearest, split oversize partitions, and deal them to shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.building.levels import Train, train_in_levels
from vsearch.building.members import count_rows, rows_of
from vsearch.errors import InputError
from vsearch.quantizers.kmeans import train_kmeans

LARGEST_OVER_MEAN = 4.0  # largest size of a partition, relative to the mean
LEAST_LARGEST = 8.0  # rows that any partition may hold, however small the mean
ROWS_PER_PARTITION = 64  # least mean size: with smaller partitions, routing costs more than it saves
SAMPLE_PER_PARTITION = 48
LEAST_SAMPLE = 4096
SAMPLE_BYTES = 512 << 20
SHARD_ROWS = 1_000_000
SPREAD_BYTES = 8 << 20  # of centroids, as float64, from which the direction of their spread is computed
ITERATIONS = 10
FLAT = (
    1 << 16
)  # number of centroids from which k-means has two levels: with fewer, other steps take most of the time of a build
SOME = 256  # rows and centroids that are checked to choose between float32 and float64
LOST_IN_FLOAT32 = 1e-5  # squared distance relative to the vector's square, below which few digits of float32 are left
LOST_IN_FLOAT64 = 1e-14
FIRST_ROWS = 8192
WIDE_ELEMENTS = 1 << 22
FEW_ROWS = 4  # rows up to which products are computed without BLAS
WIDE_COLUMNS = 64
LOOSE = 1e2  # times the square of a short residual: rows of such a partition are not neighbors, and int8 cannot resolve them
SHORT = 0.25  # quantile of the residuals that counts as short
MOST_SPLIT = 4  # largest number of centroids after splitting, relative to the number before
LOOSE_ROWS = 2048  # rows that are checked first for loose partitions
LOOSE_PIECES = 8
SOME_MORE = (
    1.5  # number of centroids after splitting, relative to the number before, up to which splits are always kept
)
LEAST_CLUSTER = 4  # sampled rows of a cluster
TIGHTER = 4.0  # least ratio of squared distances before and after splitting, of the median row of loose partitions, to keep more

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns prepared vectors float32 (n, d) of ascending rows."""


def default_partitions(rows: int) -> int:
    """About 3 * sqrt(rows), but at least 64 rows per partition; one partition below 256 rows."""
    if rows < 4 * ROWS_PER_PARTITION:
        return 1
    return max(1, min(round(3 * rows**0.5), rows // ROWS_PER_PARTITION))


def default_shards(rows: int) -> int:
    """One per million rows, which is what one worker function holds in a gigabyte."""
    return max(1, -(-rows // SHARD_ROWS))


def check_counts(rows: int, partitions: int | None, shards: int | None) -> tuple[int, int]:
    """Validate the requested numbers of partitions and shards, filling in defaults."""
    parts = default_partitions(rows) if partitions is None else partitions
    split = default_shards(rows) if shards is None else shards
    for name, value in (("partitions", parts), ("shards", split)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= rows:
            msg = f"{name} must be an integer from 1 to the number of rows ({rows}), got {value!r}"
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
    """Draw rows to train on, ascending: 48 per partition, at least `least` if there are that many, at most 512 MB of vectors."""
    count = max(least, SAMPLE_PER_PARTITION * partitions)
    count = min(rows, count, max(LEAST_SAMPLE, SAMPLE_BYTES // (4 * dimensions)))
    if count == rows:
        return np.arange(rows)
    return np.sort(rng.choice(rows, count, replace=False))


def train_centroids(sample: NDArray[np.float32], partitions: int, seed: int) -> NDArray[np.float32]:
    """Train centroids float32 (partitions', d) by k-means (faiss); fewer if the sample has fewer distinct vectors.

    From `FLAT` on in two levels.
    """
    if partitions == 1:
        return sample.mean(axis=0, dtype=np.float64).astype(np.float32)[None, :]
    if lost_in_float32(sample, sample[:: max(1, len(sample) // min(partitions, SOME))]):
        return _train_in_float64(sample, min(partitions, len(sample)), seed)
    if FLAT <= partitions <= len(sample):
        return train_in_levels(sample, partitions, _train_flat, assign, seed)
    return _train_flat(sample, partitions, seed)


def _train_flat(sample: NDArray[np.float32], partitions: int, seed: int) -> NDArray[np.float32]:
    return train_kmeans(sample, partitions, ITERATIONS, seed)


def assign(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centroid of each vector, the first among ties: int32 (n,). O(n * partitions * d), as matrix products."""
    if len(centroids) == 1 or len(vectors) == 0:
        return np.zeros(len(vectors), np.int32)
    if lost_in_float32(vectors, centroids):
        return _assign_in_float64(vectors, centroids)
    halves = np.einsum("ij,ij->i", centroids, centroids) / np.float32(2)
    nearest = np.empty(len(vectors), np.int32)
    step = max(1, WIDE_ELEMENTS // len(centroids))
    for start in range(0, len(vectors), step):
        batch = vectors[start : start + step]
        # BLAS wakes its threads for any matrix, which costs more than products with a few vectors
        products = np.einsum("ij,kj->ik", batch, centroids) if len(batch) <= FEW_ROWS else batch @ centroids.T
        products -= halves
        nearest[start : start + step] = products.argmax(axis=1)
    return nearest


def lost_in_float32(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> bool:
    """Whether float32 is too coarse to tell which centroid is nearest.

    Distances are computed as differences of squares, whose rounding errors exceed small distances far from the origin.
    """
    sampled_rows = vectors[:: max(1, len(vectors) // SOME)].astype(np.float64)
    sampled_centroids = centroids[:: max(1, len(centroids) // SOME)].astype(np.float64)
    squares = np.einsum("ij,ij->i", sampled_rows, sampled_rows)
    distances = (
        _distances(sampled_rows, sampled_centroids, np.einsum("ij,ij->i", sampled_centroids, sampled_centroids))
        + squares[:, None]
    )
    distances[distances <= LOST_IN_FLOAT64 * squares.max()] = np.inf  # the row is the centroid itself
    nearest = distances.min(axis=1)
    return bool(np.mean(nearest < LOST_IN_FLOAT32 * squares) > 0.05)


def _distances(
    vectors: NDArray[np.float64], centroids: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distances (n, p) of vectors (n, d) to centroids (p, d), minus the squares of the vectors."""
    distances: NDArray[np.float64] = vectors @ (-2 * centroids.T)
    distances += squares
    return distances


def _assign_in_float64(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """`assign` in float64."""
    wide = centroids.astype(np.float64)
    squares = np.einsum("ij,ij->i", wide, wide)
    nearest = np.empty(len(vectors), np.int32)
    step = max(1, WIDE_ELEMENTS // len(centroids))
    for start in range(0, len(vectors), step):
        batch = vectors[start : start + step].astype(np.float64)
        nearest[start : start + step] = _distances(batch, wide, squares).argmin(axis=1)
    return nearest


def _far_rows(sample: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw initial rows with probability proportional to the squared distance to those drawn before (k-means++)."""
    candidates = sample[rng.choice(len(sample), min(len(sample), max(FIRST_ROWS, 2 * count)), replace=False)]
    chosen, nearest = [0], np.full(len(candidates), np.inf)
    while len(chosen) < count:
        differences = candidates - candidates[chosen[-1]]
        nearest = np.minimum(nearest, np.einsum("ij,ij->i", differences, differences))
        if not nearest.any():
            break
        summed = np.cumsum(nearest)
        drawn = int(np.searchsorted(summed, rng.random() * summed[-1], side="right"))
        chosen.append(min(drawn, len(candidates) - 1))
    return candidates[chosen]


def _train_in_float64(sample: NDArray[np.float32], partitions: int, seed: int) -> NDArray[np.float32]:
    """`train_centroids` in float64; a centroid that loses all its rows restarts at a random row."""
    rng = np.random.default_rng(seed + 1)
    centroids = _far_rows(sample, partitions, rng)
    partitions = len(centroids)
    for _ in range(ITERATIONS):
        members = _assign_in_float64(sample, centroids)
        order = np.argsort(members, kind="stable")
        counts = np.bincount(members, minlength=partitions)
        used = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[used]
        centroids = sample[rng.choice(len(sample), partitions)]
        for first in range(0, sample.shape[1], WIDE_COLUMNS):
            columns = slice(first, first + WIDE_COLUMNS)
            sums = np.add.reduceat(sample[order, columns].astype(np.float64), starts, axis=0)
            centroids[used, columns] = sums / counts[used, None]
    return np.unique(centroids, axis=0)


def split_loose(sample: NDArray[np.float32], centroids: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Split centroids (p, d) of partitions that hold several clusters, far apart compared with the rows of other partitions; at most fourfold.

    With fewer partitions than clusters, some partitions hold several clusters. One byte per dimension then has to span the
    distance between these, and does not resolve distances within one. If splitting hardly brings rows nearer to their
    centroids (many rows are almost duplicates and the others are not in clusters), the centroids are returned unchanged.
    """
    before, most = centroids, MOST_SPLIT * len(centroids)
    rows = sample[:: max(1, len(sample) // LOOSE_ROWS)]
    while len(centroids) < most:
        members = assign(rows, centroids)
        squares = np.square(rows - centroids[members]).sum(axis=1)
        typical = LOOSE * float(np.quantile(squares, SHORT))
        if typical == 0 or squares.max() <= typical:
            break
        if len(rows) < len(sample):
            rows = sample
            continue
        counts = np.bincount(members, minlength=len(centroids))
        sums = np.bincount(members, squares, len(centroids))
        loose = np.flatnonzero((sums > typical * counts) & (counts > 1))
        room = max(1, (most - len(centroids)) // (LOOSE_PIECES - 1))
        loose = loose[np.argsort(-sums[loose], kind="stable")][:room]
        pieces = [train_centroids(rows[members == p], min(LOOSE_PIECES, int(counts[p])), seed) for p in loose]
        fresh = np.unique(np.concatenate([np.delete(centroids, loose, axis=0), *pieces]), axis=0)
        if len(fresh) <= len(centroids):  # only duplicates are left, whose centroids may be the same
            break
        centroids = fresh
    if len(centroids) <= SOME_MORE * len(before):
        return centroids
    return centroids if _are_clusters(rows, before, centroids) else before


def _are_clusters(rows: NDArray[np.float32], centroids: NDArray[np.float32], split: NDArray[np.float32]) -> bool:
    """Whether splitting brought the rows of loose partitions much nearer to their centroids, and several to each."""
    members, pieces = assign(rows, centroids), assign(rows, split)
    before, after = np.square(rows - centroids[members]).sum(axis=1), np.square(rows - split[pieces]).sum(axis=1)
    counts = np.bincount(members, minlength=len(centroids))
    loose = np.bincount(members, before, len(centroids)) > LOOSE * float(np.quantile(after, SHORT)) * counts
    moved = loose[members]
    together = moved & (np.bincount(pieces)[pieces] >= LEAST_CLUSTER)
    if 2 * np.count_nonzero(together) <= np.count_nonzero(moved):
        return False
    return bool(np.median(before[together]) > TIGHTER * np.median(after[together]))


@dataclass(frozen=True, eq=False)
class Partitioning:
    """The partition of each row.

    Attributes
    ----------
    centroids : float32 (partitions, d)
    members : int32 (rows,)
    """

    centroids: NDArray[np.float32]
    members: NDArray[np.int32]


def split_oversize(partitioning: Partitioning, take: Vectors, seed: int) -> Partitioning:
    """Split partitions until none holds more than four times the mean, and drop empty ones.

    A partition is split by k-means on its rows. Where that does not help (duplicates), the rows are divided in order among
    copies of its centroid.
    """
    current = Partitioning(partitioning.centroids, partitioning.members.copy())
    while len(oversize := oversize_partitions(current)):
        current = split_once(current, oversize, take, seed)
    return without_empty(current)


def oversize_partitions(partitioning: Partitioning) -> NDArray[np.int64]:
    """Partitions that hold more than four times the mean, ascending."""
    counts = count_rows(partitioning.members, len(partitioning.centroids))
    return np.flatnonzero(counts > largest_partition(counts))


def split_once(partitioning: Partitioning, oversize: NDArray[np.int64], take: Vectors, seed: int) -> Partitioning:
    """Split each oversize partition once, in place of its members; `take` is called for rows of these partitions only."""
    centroids, members = partitioning.centroids, partitioning.members
    limit = largest_partition(count_rows(members, len(centroids)))
    for partition, partition_rows in zip(oversize, rows_of(members, oversize), strict=True):
        pieces = pieces_of(len(partition_rows), limit)
        pieces_of_rows, new_centroids = split_rows(
            partition_rows, take, centroids[partition], pieces, train_centroids, seed
        )
        targets = np.concatenate([[partition], len(centroids) + np.arange(len(new_centroids) - 1)])
        members[partition_rows] = targets[pieces_of_rows].astype(np.int32)
        centroids = np.concatenate([centroids, new_centroids[1:]])
        centroids[partition] = new_centroids[0]
    return Partitioning(centroids, members)


def without_empty(partitioning: Partitioning) -> Partitioning:
    """Drop partitions without rows, and renumber the others."""
    centroids = partitioning.centroids
    used = np.flatnonzero(np.bincount(partitioning.members, minlength=len(centroids)))
    renumber = np.zeros(len(centroids), np.int32)
    renumber[used] = np.arange(len(used), dtype=np.int32)
    return Partitioning(np.ascontiguousarray(centroids[used]), renumber[partitioning.members])


def largest_partition(counts: NDArray[np.int64]) -> float:
    """Maximum number of rows in a partition, given the current sizes: four times the mean of those that are not empty."""
    return max(LARGEST_OVER_MEAN * float(counts.sum()) / max(1, int(np.count_nonzero(counts))), LEAST_LARGEST)


def pieces_of(rows: int, limit: float) -> int:
    """Number of pieces into which to split a partition with more rows than `limit`."""
    return int(min(max(2, round(2 * rows / limit)), 256))


def split_rows(
    partition_rows: NDArray[np.int64],
    take: Vectors,
    centroid: NDArray[np.float32],
    pieces: int,
    train: Train,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The piece of each row and the centroids of the pieces; pieces of equal size if k-means cannot separate the rows.

    Parameters
    ----------
    partition_rows : ndarray of int64 (n,)
        Rows of one partition.
    take : callable
        Returns their vectors.
    centroid : ndarray of float32 (d,)
        The present centroid of the partition.
    train : callable
        Trains centroids; same signature as `train_centroids`.
    """
    step = max(1, len(partition_rows) // (SAMPLE_PER_PARTITION * 8 * pieces))
    centroids = train(take(partition_rows[::step]), pieces, seed)
    pieces_of_rows = np.empty(len(partition_rows), np.int64)
    for start in range(0, len(partition_rows), 1 << 16):
        pieces_of_rows[start : start + (1 << 16)] = assign(take(partition_rows[start : start + (1 << 16)]), centroids)
    if np.bincount(pieces_of_rows, minlength=len(centroids)).max() > 0.9 * len(partition_rows):
        return np.arange(len(partition_rows)) * pieces // len(partition_rows), np.repeat(
            centroid[None, :], pieces, axis=0
        )
    return pieces_of_rows, centroids


def deal_to_shards(centroids: NDArray[np.float32], counts: NDArray[np.int64], shards: int) -> list[NDArray[np.int64]]:
    """Deal partitions to shards: nearby ones together, with about the same number of rows in each shard.

    The partitions are halved recursively along the direction of largest spread of their centroids, which is found from at most
    `SPREAD_BYTES` of them, evenly spaced. O(partitions * d * log(shards)) time: 13 processor seconds for 10^6 partitions of 96
    dimensions and 1,000 shards. Besides the result it needs 32 bytes a partition and five times `SPREAD_BYTES`, and no copy of
    the centroids.
    """
    if shards == 1:
        return [np.arange(len(centroids))]

    def halve(group: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
        if parts == 1:
            return [np.sort(group)]
        ordered = group[np.argsort(_along_spread(centroids, group), kind="stable")]
        left = parts // 2
        filled = np.cumsum(counts[ordered])
        cut = int(np.searchsorted(filled, filled[-1] * left / parts)) + 1
        cut = min(max(cut, left), len(ordered) - (parts - left))
        return halve(ordered[:cut], left) + halve(ordered[cut:], parts - left)

    return halve(np.arange(len(centroids)), shards)


def _along_spread(centroids: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Positions of some centroids along the direction of their largest spread, float64 (n,)."""
    rows = max(1024, SPREAD_BYTES // (centroids.shape[1] * 8))
    drawn = group[:: -(-len(group) // rows)]
    mean = centroids[drawn].mean(axis=0)
    sample = centroids[drawn] - mean
    direction = sample[int(np.argmax(np.sum(sample**2, axis=1)))].astype(np.float64)
    sample = sample.astype(np.float64)  # once: a product of both types would convert it each time
    for _ in range(8):  # power iteration towards the first principal direction
        direction = sample.T @ (sample @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-30)
    if len(drawn) == len(group):
        return np.asarray(sample @ direction)
    places = np.empty(len(group), np.float64)
    for start in range(0, len(group), rows):
        members = group[start : start + rows]
        places[start : start + rows] = (centroids[members] - mean) @ direction
    return places
