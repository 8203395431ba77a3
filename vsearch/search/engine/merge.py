"""Merge the best rows of each shard into the best rows of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.model import Model

SHORT = 512
"""Number of hits up to which sorting all is faster than partitioning first."""


class ShardHits(msgspec.Struct, frozen=True, eq=False):
    """The best rows of one shard for one query, best first; rows are numbered within the shard.

    The same for all shards together, with rows numbered across the snapshot, and for m queries, with a first axis m.

    Attributes
    ----------
    scores : float32 (k,)
        NaN after the last hit. Negated squared distances for l2.
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

    Applies to the final scores as users see them: scans do not use the threshold, since they would drop rows by their
    estimates.

    Parameters
    ----------
    scores, rows : float32 (..., k), int64 (..., k)
        Best first; negated squared distances for l2.
    min_score : float or None
        As passed by users: the smallest similarity, or for l2 the largest squared distance. None drops nothing.
    """
    if min_score is None:
        return scores, rows
    with np.errstate(over="ignore"):  # beyond the largest float32 it becomes infinite
        threshold = np.float32(min_score)
    user_scores = as_seen(scores, model)
    similar = user_scores <= threshold if model.metric == "l2" else user_scores >= threshold
    return np.where(similar, scores, np.float32(np.nan)), np.where(similar, rows, -1)


def as_seen(scores: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """Convert scores to those that users see: squared distances for l2, whole ones of bits; cosines are clipped to [-1, 1].

    A trained adapter changes the lengths of queries, so scores with an adapter are not cosines and not clipped.
    """
    if model.metric == "l2":
        return np.rint(np.maximum(-scores, 0)) if model.bitwise else np.maximum(-scores, 0)
    if model.metric != "cosine" or model.adapter is not None:
        return scores
    if len(scores) == 1 and scores.item(0) <= 1 and scores.item(-1) >= -1:
        return scores  # scores of one query descend, so all are in range
    return np.minimum(np.maximum(scores, -1), 1)


def top(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the positions of the k best hits: higher scores first, ties by lower row."""
    if len(scores) > max(k, SHORT):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= least)
        return places[np.lexsort((rows[places], -scores[places]))][:k]
    return np.lexsort((rows, -scores))[:k]


def top_of_each(
    queries: NDArray[np.integer[Any]], scores: NDArray[np.floating[Any]], rows: NDArray[np.int64], count: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`top` for many queries at once.

    Parameters
    ----------
    queries : (n,)
        The query, 0 to count - 1, of each hit, in any order.

    Returns
    -------
    places : int64 (hits,)
        Positions of the best hits, query by query.
    hits : int64 (count,)
        Number of hits of each query.
    """
    order = np.lexsort((rows, -scores, queries))
    ordered = queries[order]
    starts = np.searchsorted(ordered, np.arange(count))
    places = order[np.arange(len(order)) - starts[ordered] < k]
    return places, np.bincount(queries[places], minlength=count)


def merge(
    scores: Sequence[NDArray[np.float32]], rows: Sequence[NDArray[np.int64]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Merge ranked lists of one query: higher scores first, ties by lower row.

    Parameters
    ----------
    scores, rows : sequences of float32 (n,), int64 (n,)
        One per shard, with rows numbered across all shards; padded with NaN and -1.

    Returns
    -------
    scores, rows : float32 (k,), int64 (k,)
        Padded with NaN and -1. Independent of the order of the lists.
    """
    all_scores, all_rows = np.concatenate(scores), np.concatenate(rows)
    valid = all_rows >= 0
    all_scores, all_rows = all_scores[valid], all_rows[valid]
    best = top(all_scores, all_rows, k)
    merged_scores, merged_rows = np.full(k, np.nan, np.float32), np.full(k, -1, np.int64)
    merged_scores[: len(best)], merged_rows[: len(best)] = all_scores[best], all_rows[best]
    return merged_scores, merged_rows
