"""K-means in two levels, for numbers of centroids at which every round of plain k-means compares too much.

A sample is divided by a coarse k-means, and each part gets its own centroids, in proportion to its rows, like a vocabulary tree
(Nister and Stewenius, Scalable Recognition with a Vocabulary Tree, 2006) of two levels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Train = Callable[[NDArray[np.float32], int, int], NDArray[np.float32]]
"""Trains centroids, given a sample, the number of centroids and a seed."""

Assign = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.int32]]
"""Finds the nearest centroid of each row, given rows and centroids."""

PER_COARSE = 64
"""Rows for each coarse centroid that the coarse level is trained on."""


def train_in_levels(
    sample: NDArray[np.float32], centroids: int, train: Train, assign: Assign, seed: int
) -> NDArray[np.float32]:
    """Train centroids float32 (at most `centroids`, d) on a sample (n, d), n >= centroids >= 4.

    O(n * sqrt(centroids) * d) for each round, instead of O(n * centroids * d).
    """
    coarse_count = max(2, round(centroids**0.5))
    step = max(1, len(sample) // (PER_COARSE * coarse_count))
    coarse = train(sample[::step], coarse_count, seed)
    members = assign(sample, coarse)
    counts = np.bincount(members, minlength=len(coarse))
    shares = divide(counts, centroids)
    order = np.argsort(members, kind="stable")
    ends = np.cumsum(counts)
    pieces = []
    for part in np.flatnonzero(shares):
        rows = sample[order[ends[part] - counts[part] : ends[part]]]
        pieces.append(train(rows, int(shares[part]), seed))
    return np.unique(np.concatenate(pieces), axis=0)


def divide(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Divide `total` centroids among parts in proportion to their rows, `counts`; return int64 (parts,).

    A part with rows gets at least one centroid, and at most one per row. `total` is at least the number of parts with rows and at most the number of rows.
    """
    exact = counts * (total / counts.sum())
    shares = np.minimum(np.maximum(np.floor(exact).astype(np.int64), counts > 0), counts)
    while (missing := total - int(shares.sum())) != 0:
        open_parts = np.flatnonzero(shares < counts if missing > 0 else shares > 1)
        gaps = (exact - shares)[open_parts]
        chosen = open_parts[np.argsort(-gaps if missing > 0 else gaps, kind="stable")][: abs(missing)]
        shares[chosen] += 1 if missing > 0 else -1
    return shares
