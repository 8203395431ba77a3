"""Ranking losses over lists of candidates, with their gradients with respect to the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Loss = Literal["lambda", "pairwise", "softmax"]


@dataclass(frozen=True, eq=False)
class Lists:
    """Candidates of m queries, w per query.

    Attributes
    ----------
    rows : int64 (m, w)
        Rows of the index; -1 for padding.
    relevant : bool (m, w)
        Whether a candidate is relevant.
    positions : int64 (m, w)
        Position in the ranking that returned the candidate, from 1.
    """

    rows: NDArray[np.int64]
    relevant: NDArray[np.bool_]
    positions: NDArray[np.int64]

    @property
    def valid(self) -> NDArray[np.bool_]:
        return self.rows >= 0


def gains(positions: NDArray[np.int64], cut: int) -> NDArray[np.float32]:
    """Return what a relevant row at each position adds to the reciprocal rank: 1 / position, 0 beyond `cut`."""
    return np.where(positions <= cut, 1.0 / np.maximum(positions, 1), 0.0).astype(np.float32)


def lambda_loss(scores: NDArray[np.float32], lists: Lists, cut: int = 200) -> tuple[float, NDArray[np.float32]]:
    """Logistic loss of each pair of a relevant and an irrelevant candidate, weighted by the change of MRR if they swap.

    Parameters
    ----------
    scores : float32 (m, w)
    lists : Lists
    cut : int
        Positions beyond it are ignored.

    Returns
    -------
    loss : float
        Sum over the pairs, mean over the queries.
    gradient : float32 (m, w)
    """
    return _pairs(scores, lists, gains(lists.positions, cut))


def pairwise_loss(scores: NDArray[np.float32], lists: Lists) -> tuple[float, NDArray[np.float32]]:
    """As `lambda_loss` with equal weights: mean over the pairs of a list and over the queries."""
    return _pairs(scores, lists, None)


def softmax_loss(scores: NDArray[np.float32], lists: Lists) -> tuple[float, NDArray[np.float32]]:
    """Cross-entropy of each relevant candidate against all irrelevant ones: mean over the former and the queries."""
    queries, _ = scores.shape
    gradient = np.zeros_like(scores)
    others = np.where(lists.valid & ~lists.relevant, scores, -np.inf)
    counts = np.maximum(lists.relevant.sum(axis=1), 1).astype(np.float32)
    loss = 0.0
    for at, present in _relevant_columns(lists.relevant):
        positive = scores[np.arange(queries), at]
        peak = np.maximum(positive, others.max(axis=1, initial=-np.inf))
        exp_others = np.exp(others - peak[:, None])
        exp_positive = np.exp(positive - peak)
        total = exp_others.sum(axis=1) + exp_positive
        share = present / (counts * queries)
        loss += float(np.sum((np.log(total) + peak - positive) * share, dtype=np.float64))
        gradient += exp_others / total[:, None] * share[:, None]
        gradient[np.arange(queries), at] += (exp_positive / total - 1) * share
    return loss, gradient


def _pairs(
    scores: NDArray[np.float32], lists: Lists, weights: NDArray[np.float32] | None
) -> tuple[float, NDArray[np.float32]]:
    queries, _ = scores.shape
    every_query = np.arange(queries)
    gradient = np.zeros_like(scores)
    other = lists.valid & ~lists.relevant
    pairs = np.maximum(lists.relevant.sum(axis=1) * other.sum(axis=1), 1).astype(np.float32)
    loss = 0.0
    for at, present in _relevant_columns(lists.relevant):
        gap = scores - scores[every_query, at][:, None]
        swap = 1 / pairs[:, None] if weights is None else np.abs(weights - weights[every_query, at][:, None])
        weight = other * swap * (present[:, None] / np.float32(queries))
        softplus = np.maximum(gap, 0) + np.log1p(np.exp(-np.abs(gap)))
        loss += float(np.sum(softplus * weight, dtype=np.float64))
        slope = weight / (1 + np.exp(-np.clip(gap, -60, 60)))
        gradient += slope
        gradient[every_query, at] -= slope.sum(axis=1)
    return loss, gradient


def _relevant_columns(relevant: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return the i-th relevant column of each list, for every i, with 1 if the list has that many, else 0."""
    order = np.argsort(~relevant, axis=1, kind="stable")
    counts = relevant.sum(axis=1)
    most = int(counts.max(initial=0))
    return [(order[:, i], (counts > i).astype(np.float32)) for i in range(most)]


LOSSES: dict[str, Callable[[NDArray[np.float32], Lists], tuple[float, NDArray[np.float32]]]] = {
    "lambda": lambda_loss,
    "pairwise": pairwise_loss,
    "softmax": softmax_loss,
}
