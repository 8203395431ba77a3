"""Centroids in 7 bits, in the layout of the routing kernel; see `vsearch.kernels.query.centroids`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import TOGETHER

LEVELS = 127
ROUNDING = 1.2  # in steps: three standard deviations of the rounding errors of centroid and query together
ENERGY = (
    0.95  # fraction of the centroids' energy in the leading dimensions that are kept; the rest hardly changes the order
)


@dataclass(frozen=True, eq=False)
class CoarseCentroids:
    """Codes of p centroids, which are about ``low + step * code``.

    Attributes
    ----------
    groups : uint8 (ceil(p / 64), 64 * D)
        Codes from 0 to 127: four dimensions of each of 64 centroids, then the next four; D is `dimensions`.
    steps, lows : float32 (p,)
    rounding_bounds : float32 (p,)
        Rounding error of an inner product with a query of norm 1, which is hardly ever exceeded.
    dimensions : int
        D: number of leading dimensions that are encoded, padded to a multiple of 4.
    """

    groups: NDArray[np.uint8]
    steps: NDArray[np.float32]
    lows: NDArray[np.float32]
    rounding_bounds: NDArray[np.float32]
    dimensions: int


def encode_centroids(centroids: NDArray[np.float32], dimensions: int | None = None) -> CoarseCentroids:
    """Encode rotated centroids float32 (p, d), each on its own grid, with as many dimensions as needed if None."""
    padded = coarse_dimensions(centroids) if dimensions is None else dimensions
    kept = centroids[:, :padded]
    count, d = kept.shape
    lows = kept.min(axis=1)
    steps = (kept.max(axis=1) - lows) / np.float32(LEVELS)
    inverse = np.divide(np.float32(1), steps, out=np.zeros_like(steps), where=steps > np.finfo(np.float32).tiny)
    codes = np.zeros((-(-count // TOGETHER) * TOGETHER, padded), np.uint8)
    codes[:count, :d] = np.minimum(np.rint((kept - lows[:, None]) * inverse[:, None]), LEVELS)
    groups = codes.reshape(-1, TOGETHER, padded // 4, 4).transpose(0, 2, 1, 3)
    rounding_bounds = (ROUNDING * steps).astype(np.float32)
    return CoarseCentroids(
        np.ascontiguousarray(groups).reshape(-1, TOGETHER * padded), steps, lows, rounding_bounds, padded
    )


def coarse_dimensions(centroids: NDArray[np.float32]) -> int:
    """Number of leading dimensions that are encoded, padded to a multiple of 4."""
    needed = max(_leading(centroids), _leading(centroids - centroids.mean(axis=0)))
    return min(-(-needed // 16) * 16, -(-centroids.shape[1] // 4) * 4)


def _leading(vectors: NDArray[np.float32]) -> int:
    """Return the number of leading dimensions that contain the fraction `ENERGY` of the squares."""
    squares = np.einsum("ij,ij->j", vectors, vectors, dtype=np.float64).cumsum()
    return int(np.searchsorted(squares, ENERGY * squares[-1])) + 1
