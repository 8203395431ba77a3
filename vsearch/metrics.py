"""The metrics, and the normalisation that cosine asks of vectors and queries."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "ip", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")


LARGEST_ELEMENT = 1e15  # of a vector under l2 and ip: sums of its squares, and of many of them, fit float32
LEAST_NORM = 1e-15  # of a vector whose squares float32 holds to all digits that matter
LARGEST_NORM = 1e18  # of a rotated query: of elements that are allowed, in 65,536 dimensions and less a mean, with room


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of finite numbers of any size scaled to norm 1; zero rows stay zero."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    odd = np.flatnonzero((norms < LEAST_NORM) | (norms > LARGEST_NORM))
    if len(odd):  # their squares leave float32
        wide = vectors[odd].astype(np.float64)
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        scaled[odd] = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    return scaled


def unbounded(vectors: NDArray[np.generic], metric: Metric) -> tuple[int, int] | None:
    """Row and dimension of the first number that is too large for a metric, None without one. Cosine takes any that is finite."""
    if metric == "cosine" or vectors.dtype.kind != "f" or vectors.size == 0:
        return None
    least, largest = float(vectors.min()), float(vectors.max())  # float16 has no such limit to compare with
    if least >= -LARGEST_ELEMENT and largest <= LARGEST_ELEMENT:
        return None
    row, column = np.argwhere(~(np.abs(vectors.astype(np.float32)) <= LARGEST_ELEMENT))[0]
    return int(row), int(column)


def gain_of(metric: str) -> float:
    """How much of ``<query, residual>`` goes into the score: scores of l2 are negated squared distances."""
    return 2.0 if metric == "l2" else 1.0
