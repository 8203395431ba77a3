"""Merge: the best rows of all shards from the best of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.model import Model

SHORT = 512
"""Hits that are sorted sooner than their best are picked out."""


class ShardHits(msgspec.Struct, frozen=True, eq=False):
    """The best rows of one shard for one query, best first; rows are numbered inside the shard.

    Attributes
    ----------
    scores : float32 (k,)
        NaN after the last hit. Negated squared distances under l2.
    rows : int64 (k,)
        -1 after the last hit.
    counters : int64 (COUNTERS,)
        Partitions visited, rows scanned, refined, reranked.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    counters: NDArray[np.int64]


def drop_dissimilar(
    scores: NDArray[np.float32], rows: NDArray[np.int64], model: Model, min_score: float | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Replace hits that are less similar than `min_score` by NaN and -1.

    Only what a search has found is compared, as users see it: a threshold that scans knew of would leave rows out by their
    estimates.

    Parameters
    ----------
    scores, rows : float32 (..., k), int64 (..., k)
        Best first; under l2 negated squared distances.
    min_score : float or None
        As users give it: the least similarity, under l2 the largest squared distance. None leaves nothing out.
    """
    if min_score is None:
        return scores, rows
    with np.errstate(over="ignore"):  # beyond the largest float32 it is infinite
        bar = np.float32(min_score)
    seen = as_seen(scores, model)
    similar = seen <= bar if model.metric == "l2" else seen >= bar
    return np.where(similar, scores, np.float32(np.nan)), np.where(similar, rows, -1)


def as_seen(scores: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """Scores as users see them: squared distances under l2; cosines that rounding put outside [-1, 1] at its edge.

    A learnt adapter changes the lengths of queries, so with one scores are no cosines and stay as they are.
    """
    if model.metric == "l2":
        return np.maximum(-scores, 0)
    if model.metric != "cosine" or model.adapter is not None:
        return scores
    if len(scores) == 1 and scores.item(0) <= 1 and scores.item(-1) >= -1:
        return scores  # those of one query descend
    return np.minimum(np.maximum(scores, -1), 1)


def top(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Places of the k best, best first: higher score first, ties to the lower row."""
    if len(scores) > max(k, SHORT):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= least)
        return places[np.lexsort((rows[places], -scores[places]))][:k]
    return np.lexsort((rows, -scores))[:k]


def top_of_each(
    queries: NDArray[np.integer[Any]], scores: NDArray[np.float32], rows: NDArray[np.int64], count: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`top` for many queries at once.

    Parameters
    ----------
    queries : (n,)
        Which of the `count` queries each row was found for, in any order.

    Returns
    -------
    places : int64 (found,)
        Query by query.
    found : int64 (count,)
        How many of them each query has.
    """
    order = np.lexsort((rows, -scores, queries))
    ordered = queries[order]
    starts = np.searchsorted(ordered, np.arange(count))
    places = order[np.arange(len(order)) - starts[ordered] < k]
    return places, np.bincount(queries[places], minlength=count)


def merge(
    scores: Sequence[NDArray[np.float32]], rows: Sequence[NDArray[np.int64]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Merge ranked lists of one query: higher score first, ties to the lower row.

    Parameters
    ----------
    scores, rows : sequences of float32 (n,), int64 (n,)
        Per shard, rows numbered through all shards; row -1 (score NaN) where a list has ended.

    Returns
    -------
    scores, rows : float32 (k,), int64 (k,)
        Padded with NaN and -1. The same for any order of the lists.
    """
    all_scores, all_rows = np.concatenate(scores), np.concatenate(rows)
    found = all_rows >= 0
    all_scores, all_rows = all_scores[found], all_rows[found]
    best = top(all_scores, all_rows, k)
    merged_scores, merged_rows = np.full(k, np.nan, np.float32), np.full(k, -1, np.int64)
    merged_scores[: len(best)], merged_rows[: len(best)] = all_scores[best], all_rows[best]
    return merged_scores, merged_rows
