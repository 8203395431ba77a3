"""Rank rows by vectors and words: the candidates of both searches are scored by both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import check_whole, is_number
from vsearch.errors import InputError
from vsearch.kernels.filters.bitmaps import count_ranges
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.stats import SearchStats
from vsearch.search.fusion import CONSTANT
from vsearch.search.vectors import search_vectors
from vsearch.text.search import rank_words, weigh_words

if TYPE_CHECKING:
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.snapshot import Snapshot

DEPTH = 100
"""Candidates of each part by default, if that is at least twice k."""

DEEPEST = 10_000

LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6

Scores = NDArray[np.float64]
Fusion = str | Callable[[Scores, Scores], Any]


@dataclass(frozen=True)
class FusionOptions:
    """How two rankings are fused.

    Attributes
    ----------
    fusion : {"rrf", "weighted"} or callable
    weights : tuple of float
        Weights of vectors and words.
    depth : int
        Number of candidates of each ranking.
    """

    fusion: Fusion
    weights: tuple[float, float]
    depth: int

    @classmethod
    def of(cls, fusion: Any, weights: Any, depth: Any, k: int) -> FusionOptions:
        """Check the arguments of a search for `k` hits.

        Raises
        ------
        InputError
        """
        if not callable(fusion) and not (isinstance(fusion, str) and fusion in {"rrf", "weighted"}):
            raise InputError(f"fusion must be 'rrf', 'weighted' or a function, got {fusion!r:.100}")
        if callable(fusion) and weights is not None:
            raise InputError(
                f"weights must be None if fusion is a function, which weighs scores itself, got {weights!r:.100}"
            )
        pair = (1.0, 1.0) if weights is None else weights
        if not (
            isinstance(pair, Sequence)
            and len(pair) == 2
            and all(is_number(weight) and 0 <= weight <= MOST_WEIGHT for weight in pair)
            and max(pair) >= LEAST_WEIGHT
        ):
            raise InputError(
                f"weights must be two numbers from 0 to {MOST_WEIGHT:g}, for vectors and words, one of them at least "
                f"{LEAST_WEIGHT:g}, got {pair!r:.100}"
            )
        if depth is None:
            depth = min(max(DEPTH, 2 * k), DEEPEST)
        check_whole("depth", depth, DEEPEST)
        if depth < k:
            raise InputError(f"depth must be at least offset + k, {k}, got {depth}")
        return cls(fusion, (float(pair[0]), float(pair[1])), int(depth))


@dataclass(frozen=True, eq=False)
class FusedRows:
    """The best rows of each query; all arrays have the shape (queries, k).

    Attributes
    ----------
    scores, rows : float32, int64
        Fused scores, best first; NaN and -1 after the last.
    vector_scores, text_scores : float32
        Scores as users see them; the text score is 0 for a row without any of the words.
    vector_ranks, text_ranks : int64
        Ranks among the candidates of both, from 1; 0 for none.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    vector_scores: NDArray[np.float32]
    vector_ranks: NDArray[np.int64]
    text_scores: NDArray[np.float32]
    text_ranks: NDArray[np.int64]


def search_both(
    snapshot: Snapshot,
    points: NDArray[np.float32],
    texts: Sequence[str],
    request: SearchRequest,
    options: FusionOptions,
    mask: IndexMask | None,
    stats: SearchStats,
) -> FusedRows:
    """Find the best rows by vectors and words.

    Parameters
    ----------
    points : float32 (queries, d)
        Validated queries.
    texts : sequence of str
        One text per query.
    request : SearchRequest
        Options of the vector search and k of the result; its `offset` is ignored.

    Raises
    ------
    InputError
        There are no text columns, a text is invalid, or the fusion function did not return a number per row.
    SearchTimeoutError
    """
    deep = msgspec.structs.replace(request, k=options.depth, offset=0, min_score=None)
    near = search_vectors(snapshot, points, deep, mask, stats)
    shape = len(texts), request.k
    # estimates of a search may differ from those of an exhaustive one
    again = snapshot.model.rerank is None or snapshot.model.quantizer.scan == "cells"
    fused = FusedRows(
        np.full(shape, np.nan, np.float32),
        np.full(shape, -1, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int64),
    )
    for query, words in enumerate(weigh_words(snapshot, texts, stats, request.deadline)):
        text_scores, worded = rank_words(snapshot, words, options.depth, mask, stats, request.deadline)
        rows = np.union1d(near.rows[query], worded)
        rows = rows[rows >= 0]
        if not len(rows):
            continue
        begun, apart = time.perf_counter(), SearchStats()
        by_vector, by_text = np.zeros(len(rows)), np.zeros(len(rows))
        _scatter(by_vector, rows, near.rows[query], near.scores[query])
        _scatter(by_text, rows, worded, text_scores)
        missing = rows if again else np.setdiff1d(rows, near.rows[query], assume_unique=True)
        if len(missing):
            exact = msgspec.structs.replace(deep, k=len(missing), exact=True, nprobe=None)
            scored = search_vectors(snapshot, points[query : query + 1], exact, mask_of_rows(snapshot, missing), apart)
            _scatter(by_vector, rows, scored.rows[0], scored.scores[0])
        missing = np.setdiff1d(rows, worded, assume_unique=True)
        if len(missing) and len(worded) == options.depth:  # otherwise no other row has any of the words
            only = mask_of_rows(snapshot, missing)
            text_scores, worded = rank_words(snapshot, words, len(missing), only, apart, request.deadline)
            _scatter(by_text, rows, worded, text_scores)
        similar = -by_vector if snapshot.model.metric == "l2" else by_vector
        ranks = _ranks(similar), np.where(by_text > 0, _ranks(by_text), 0)
        scores = _fuse(options, by_vector, similar, by_text, ranks, query)
        best = np.lexsort((rows, -scores))[: request.k]
        count = len(best)
        fused.scores[query, :count], fused.rows[query, :count] = scores[best], rows[best]
        fused.vector_scores[query, :count], fused.text_scores[query, :count] = by_vector[best], by_text[best]
        fused.vector_ranks[query, :count], fused.text_ranks[query, :count] = ranks[0][best], ranks[1][best]
        stats.add("merge", begun)
    return fused


def mask_of_rows(snapshot: Snapshot, rows: NDArray[np.int64]) -> IndexMask:
    """Return the mask of some rows of a snapshot, which are ascending."""
    masks = []
    for run in snapshot.shards:
        inside = rows[(rows >= run.first_row) & (rows < run.first_row + run.rows)] - run.first_row
        words = np.zeros(-(-run.rows // 64), np.uint64)
        np.bitwise_or.at(words, inside >> 6, np.uint64(1) << (inside & 63).astype(np.uint64))
        counts = count_ranges(words, run.table.row_starts, run.table.row_starts + run.table.rows)
        masks.append(ShardMask(words, counts, counts, len(inside), 0))
    return IndexMask.of(masks, snapshot)


def _scatter(values: Scores, rows: NDArray[np.int64], hits: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
    """Set the values of `rows`, ascending, to the scores of hits; -1 stands for no hit."""
    present = hits >= 0
    values[np.searchsorted(rows, hits[present])] = scores[present]


def _ranks(scores: Scores) -> NDArray[np.int64]:
    """Return the rank of each score, from 1; equal scores have equal ranks, so ranks do not depend on the order of rows."""
    return 1 + np.searchsorted(np.sort(-scores), -scores, side="left")


def _fuse(
    options: FusionOptions,
    by_vector: Scores,
    similar: Scores,
    by_text: Scores,
    ranks: tuple[NDArray[np.int64], NDArray[np.int64]],
    query: int,
) -> Scores:
    of_vectors, of_words = options.weights
    if options.fusion == "rrf":
        worded = np.where(ranks[1] > 0, 1 / (CONSTANT + ranks[1]), 0.0)
        return of_vectors / (CONSTANT + ranks[0]) + of_words * worded
    if options.fusion == "weighted":
        low, high = similar.min(), similar.max()
        near = (similar - low) / (high - low) if high > low else np.ones(len(similar))
        return of_vectors * near + of_words * by_text / max(by_text.max(), np.finfo(np.float64).tiny)
    assert callable(options.fusion)  # noqa: S101  checked
    returned = options.fusion(by_vector.copy(), by_text.copy())  # copies, since the function may change them
    try:
        fused = np.asarray(returned, np.float64)
    except (TypeError, ValueError):
        fused = np.empty(0)
    if fused.shape != by_vector.shape or not (np.abs(fused) <= np.finfo(np.float32).max).all():
        raise InputError(
            f"fusion must return {len(by_vector)} finite numbers for query {query}, in the range of float32, got {returned!r:.100}"
        )
    return fused
