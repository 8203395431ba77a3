"""Numbers for centroids, such that near centroids have numbers with many bits in common.

K-means gives its centroids arbitrary numbers, whose Hamming distance says nothing; HPC-ColPali's binary mode compares just
these. Here they are assigned as in "Polysemous codes" (Douze et al., 2016): simulated annealing over swaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEARNESS = 0.5  # how much more near pairs count: exp(-NEARNESS * deviations from the mean distance)
TEMPERATURE = 30.0
LARGEST_WORK = 4e8  # compared pairs
SWAPS_PER_CENTROID = 1500


def number_centroids(centroids: NDArray[np.float32], bits: int, seed: int = 0) -> NDArray[np.uint16]:
    """Assign numbers below ``2**bits`` to centroids (K, d), K <= 2**bits <= 65,536: uint16 (K,), all different.

    Deterministic. O(K * swaps), swaps proportional to K up to a limit.
    """
    from vsearch.kernels.multivector.numbering import swap_numbers

    many, numbers = len(centroids), np.arange(1 << bits, dtype=np.int64)
    if many < 3:
        return numbers[:many].astype(np.uint16)
    distances = pairwise_distances(centroids)
    off_diagonal = distances[np.triu_indices(many, 1)]
    deviation = max(float(off_diagonal.std()), 1e-12)
    standard = (distances - off_diagonal.mean()) / deviation
    targets = (bits / 2 + standard * np.sqrt(bits) / 2).astype(np.float32)
    weights = np.exp(-NEARNESS * np.clip(standard, -8, 8)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    ones = np.array([int(n).bit_count() for n in numbers], np.uint8)
    iterations = int(min(SWAPS_PER_CENTROID * many, LARGEST_WORK / many))
    swap_numbers(targets, weights, ones, numbers, np.array([seed + 1], np.int64), iterations, np.float32(TEMPERATURE))
    return numbers[:many].astype(np.uint16)


def pairwise_distances(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distances between all vectors (n, d): float64 (n, n)."""
    centred = np.asarray(vectors, np.float64) - vectors.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", centred, centred)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * (centred @ centred.T), 0))
