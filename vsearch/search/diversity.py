"""Choose results that are relevant and unlike each other.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing summaries", SIGIR 1998.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def choose_diverse(
    relevance: NDArray[np.float32], vectors: NDArray[np.float32], k: int, diversity: float, *, squared: bool
) -> NDArray[np.int64]:
    """Choose up to k of n candidates by maximal marginal relevance, one at a time. O(k n d).

    Each choice has the largest ``(1 - diversity) * relevance - diversity * similarity`` to the most similar row chosen so far.

    Parameters
    ----------
    relevance : float32 (n,)
        Similarity to the query, best first: an inner product, or a negated squared distance.
    vectors : float32 (n, d)
    diversity : float
        0 to 1.
    squared : bool
        Whether similarities are negated squared distances instead of inner products.

    Returns
    -------
    int64 (min(k, n),)
        Positions of the candidates, in the order of choice.
    """
    chosen: list[int] = []
    redundancy = np.full(len(relevance), -np.inf, np.float64)
    gains = (1 - diversity) * relevance.astype(np.float64)
    left = np.ones(len(relevance), np.bool_)
    for _ in range(min(k, len(relevance))):
        worth = gains if not chosen else gains - diversity * redundancy
        best = int(np.argmax(np.where(left, worth, -np.inf)))
        chosen.append(best)
        left[best] = False
        if squared:
            similarity = -np.square(vectors - vectors[best]).sum(axis=1, dtype=np.float64)
        else:
            similarity = (vectors @ vectors[best]).astype(np.float64)
        np.maximum(redundancy, similarity, out=redundancy)
    return np.array(chosen, np.int64)
