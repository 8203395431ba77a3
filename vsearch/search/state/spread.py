"""How far few rows of a partition spread, compared to all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TAIL = 2.5
"""-ln of the probability that a row exceeds the bound; measured: filtered recall stays above the unfiltered."""


def spread(few: NDArray[np.integer[Any]], rows: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Return how far `few` of the rows of partitions reach from their centroids, relative to all of these rows.

    The largest of m Gaussian values is about sqrt(2 ln m) deviations out, so m of n rows reach only sqrt((ln m + TAIL) / (ln n + TAIL))
    times as far.
    """
    share: NDArray[np.float64] = np.sqrt(
        (np.log(np.maximum(few, 1)) + TAIL) / (np.log(np.maximum(rows, 1)) + TAIL), dtype=np.float64
    )
    return share
