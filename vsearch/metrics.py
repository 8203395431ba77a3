"""The metrics, and the normalization of vectors and queries under cosine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metric = Literal["cosine", "ip", "l2"]
MetricName = Literal["cosine", "ip", "l2", "hamming"]
"""The metrics as users name them."""

METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")
HAMMING = "hamming"
"""The metric of vectors of bits: computed as l2 of zeros and ones, and rounded to whole numbers."""


LARGEST_ELEMENT = 1e15  # of vectors under l2 and ip: sums of squares, even over many vectors, fit float32
LEAST_NORM = 1e-15  # below it, squares in float32 lose significant digits
LARGEST_NORM = 1e18  # of a rotated query: allowed elements in 65,536 dimensions, minus a mean, with room to spare


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows of finite numbers of any magnitude to norm 1; zero rows stay zero."""
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    odd = np.flatnonzero((norms < LEAST_NORM) | (norms > LARGEST_NORM))
    if len(odd):  # their squares overflow or underflow float32
        wide = vectors[odd].astype(np.float64)
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        scaled[odd] = np.divide(wide, norms, out=np.zeros_like(wide), where=norms > 0)
    return scaled


def unbounded(vectors: NDArray[np.generic], metric: str) -> tuple[int, int] | None:
    """Row and dimension of the first number too large for the metric, or None. Cosine allows any finite number."""
    if metric == "cosine" or vectors.dtype.kind != "f" or vectors.size == 0:
        return None
    least, largest = float(vectors.min()), float(vectors.max())  # as floats, since float16 cannot represent the limit
    if least >= -LARGEST_ELEMENT and largest <= LARGEST_ELEMENT:
        return None
    row, column = np.argwhere(~(np.abs(vectors.astype(np.float32)) <= LARGEST_ELEMENT))[0]
    return int(row), int(column)


def smaller_is_better(metric: str) -> bool:
    """Whether scores, as users see them, are distances."""
    return metric in ("l2", HAMMING)


def gain_of(metric: str) -> float:
    """The factor of ``<query, residual>`` in a score: l2 scores are negated squared distances."""
    return 2.0 if metric == "l2" else 1.0
