"""Number centroids so that near centroids have numbers with many equal bits.

K-means numbers its centroids arbitrarily, so the Hamming distance of these numbers, which HPC-ColPali's binary mode
compares, is meaningless. Here numbers are assigned as in "Polysemous codes" (Douze et al., 2016): by simulated
annealing over swaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEARNESS = 0.5  # weights of pairs: exp(-NEARNESS * deviations from the mean distance)
TEMPERATURE = 30.0
LARGEST_WORK = 4e8  # maximum number of compared pairs
SWAPS_PER_CENTROID = 1500


def number_centroids(centroids: NDArray[np.float32], bits: int, seed: int = 0) -> NDArray[np.uint16]:
    """Assign distinct numbers below ``2**bits`` to centroids (K, d), K <= 2**bits <= 65,536: uint16 (K,).

    Deterministic. O(K * swaps), swaps proportional to K up to a limit.
    """
    from vsearch.kernels.multivector.numbering import swap_numbers

    count, numbers = len(centroids), np.arange(1 << bits, dtype=np.int64)
    if count < 3:
        return numbers[:count].astype(np.uint16)
    distances = pairwise_distances(centroids)
    off_diagonal = distances[np.triu_indices(count, 1)]
    deviation = max(float(off_diagonal.std()), 1e-12)
    standard = (distances - off_diagonal.mean()) / deviation
    targets = (bits / 2 + standard * np.sqrt(bits) / 2).astype(np.float32)
    weights = np.exp(-NEARNESS * np.clip(standard, -8, 8)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    ones = np.array([int(n).bit_count() for n in numbers], np.uint8)
    iterations = int(min(SWAPS_PER_CENTROID * count, LARGEST_WORK / count))
    swap_numbers(targets, weights, ones, numbers, np.array([seed + 1], np.int64), iterations, np.float32(TEMPERATURE))
    return numbers[:count].astype(np.uint16)


def pairwise_distances(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the Euclidean distances between all vectors (n, d): float64 (n, n)."""
    centered = np.asarray(vectors, np.float64) - vectors.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", centered, centered)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * (centered @ centered.T), 0))
