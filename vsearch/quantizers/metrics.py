"""The metrics, and the normalisation that cosine asks of vectors and queries."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "ip", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")


LARGEST_ELEMENT = 1e15  # of a vector: sums of its squares, and of many of them, fit float32
LARGEST_NORM = 1e18  # of a rotated query: of elements that are allowed, in 65,536 dimensions and less a mean, with room


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to norm 1; zero rows stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
