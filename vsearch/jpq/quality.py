"""Ranking quality per query: reciprocal rank, discounted cumulative gain and recall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Quality:
    """Measures per query, float64 (m,) each: reciprocal rank@10, nDCG@10 and recall@100."""

    mrr: NDArray[np.float64]
    ndcg: NDArray[np.float64]
    recall: NDArray[np.float64]

    def means(self) -> dict[str, float]:
        return {
            "mrr@10": float(self.mrr.mean()),
            "ndcg@10": float(self.ndcg.mean()),
            "recall@100": float(self.recall.mean()),
        }


def measure(results: NDArray[np.int64], relevant: NDArray[np.int64]) -> Quality:
    """Measure rankings.

    Parameters
    ----------
    results : int64 (m, k)
        Rows, best first, padded with -1.
    relevant : int64 (m, p)
        Relevant rows, padded with -2; see `Pairs.padded`.
    """
    hit = (results[:, :, None] == relevant[:, None, :]).any(axis=2)
    counts = np.maximum((relevant >= 0).sum(axis=1), 1)
    top = hit[:, :10]
    first = np.where(top.any(axis=1), 1.0 / (1 + top.argmax(axis=1)), 0.0)
    discount = 1.0 / np.log2(np.arange(2, 12))
    ideal = np.cumsum(discount)[np.minimum(counts, 10) - 1]
    gain = (top * discount[: top.shape[1]]).sum(axis=1) / ideal
    return Quality(first, gain, hit[:, :100].sum(axis=1) / counts)
