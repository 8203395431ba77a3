"""Fusion of ranked lists by reciprocal ranks.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONSTANT = 60.0
"""The constant of the paper: the larger it is, the less the first ranks count above the following ones."""


def fuse_ranks(
    lists: Sequence[NDArray[Any]], weights: Sequence[float], constant: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rank ids by the sum of ``weight / (constant + rank)`` over the lists that contain them.

    Parameters
    ----------
    lists : sequence of (n,) arrays of ids, best first
        An id occurs at most once in a list.

    Returns
    -------
    places, scores : int64 (ids,), float64 (ids,)
        Best first; ties in the order of appearance. Places are positions in the concatenated lists, of the first occurrence.
    """
    every = np.concatenate(lists)
    gains = [weight / (constant + np.arange(1, len(ids) + 1)) for ids, weight in zip(lists, weights, strict=True)]
    _, first, inverse = np.unique(every, return_index=True, return_inverse=True)
    scores: NDArray[np.float64] = np.bincount(inverse.reshape(-1), np.concatenate(gains), minlength=len(first)).astype(
        np.float64
    )
    order = np.lexsort((first, -scores))
    return first[order].astype(np.int64), scores[order]
