"""Rank rows by vectors and words together: the candidates of both, each with the scores of both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.filters.bitmaps import count_ranges
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.stats import SearchStats
from vsearch.search.vectors import search_vectors
from vsearch.text.fusing import Candidates, FusionOptions, Scores, fuse
from vsearch.text.search import allowed_rows, rank_words
from vsearch.text.weighing import WeightedQuery, weigh_words

if TYPE_CHECKING:
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best rows of one part, int64 (n,), and their scores as users see them, float32 (n,); best first."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FusedRows:
    """The best rows of each query; all arrays have the shape (queries, k).

    Attributes
    ----------
    scores, rows : float32, int64
        Fused scores, best first; NaN and -1 after the last.
    vector_scores, text_scores : float32
        As users see them; 0 for a row without any of the words.
    vector_ranks, text_ranks : int64
        From 1 on, among the candidates of both parts; 0 for none.
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
        Checked queries.
    texts : sequence of str
        One for each.
    request : SearchRequest
        Of the result; its `offset` is not used.

    Raises
    ------
    InputError
        There are no text columns, a text is invalid, or a function did not return a number per row.
    SearchTimeoutError
    """
    deep = msgspec.structs.replace(request, k=options.depth, offset=0, min_score=None)
    near = search_vectors(snapshot, points, deep, mask, stats)
    shape, squared = (len(texts), request.k), snapshot.model.metric == "l2"
    allowed = allowed_rows(snapshot, mask)
    found = FusedRows(
        np.full(shape, np.nan, np.float32),
        np.full(shape, -1, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int64),
    )
    for query, words in enumerate(weigh_words(snapshot, texts, stats, request.deadline)):
        worded = rank_words(snapshot, words, options.depth, allowed, stats, request.deadline)
        begun = time.perf_counter()
        count = int(np.count_nonzero(near.rows[query] >= 0))
        nearest = Ranking(near.rows[query, :count], near.scores[query, :count])
        point = points[query : query + 1]
        both = score_both(snapshot, point, words, nearest, Ranking(worded.rows, worded.scores), deep)
        if not len(both.rows):
            continue
        fused = fuse(both, options, request.k, query, squared=squared)
        best, count = fused.best, len(fused.best)
        found.scores[query, :count], found.rows[query, :count] = fused.scores, both.rows[best]
        found.vector_scores[query, :count], found.text_scores[query, :count] = both.by_vector[best], both.by_text[best]
        found.vector_ranks[query, :count], found.text_ranks[query, :count] = fused.vector_ranks, fused.text_ranks
        stats.add("merge", begun)
    return found


def score_both(
    snapshot: Snapshot,
    point: NDArray[np.float32],
    words: WeightedQuery,
    nearest: Ranking,
    worded: Ranking,
    request: SearchRequest,
    *,
    prepared: bool = False,
) -> Candidates:
    """Return the rows of two rankings, both scored by both parts: a row that one of them found gets the score of the other.

    Parameters
    ----------
    point : float32 (1, d)
    request : SearchRequest
        Of both rankings, which have up to `k` rows.
    prepared : bool
        Whether the query is already normalized, centered and rotated.
    """
    rows = np.sort(np.concatenate((nearest.rows, worded.rows)))
    rows = rows[_first(rows)]
    by_vector, by_text = np.zeros(len(rows)), np.zeros(len(rows))
    if not len(rows):
        return Candidates(rows, by_vector, by_text)
    far, wordless = np.ones((2, len(rows)), np.bool_)
    far[_scatter(by_vector, rows, nearest)] = False
    wordless[_scatter(by_text, rows, worded)] = False
    # estimates of a search may differ from those of an exhaustive one
    again = snapshot.model.rerank is None or snapshot.model.quantizer.scan == "cells"
    missing = rows if again else rows[far]
    apart = SearchStats()
    if len(missing):
        exact = msgspec.structs.replace(request, k=len(missing), exact=True, nprobe=None)
        only = mask_of_rows(snapshot, missing)
        found = search_vectors(snapshot, point, exact, only, apart, prepared=prepared)
        present = found.rows[0] >= 0
        # the rows of a single shard are numbered within it
        first = snapshot.groups[0].first_row if len(snapshot.groups) == 1 else 0
        _scatter(by_vector, rows, Ranking(found.rows[0][present] + first, found.scores[0][present]))
    missing = rows[wordless]
    if len(missing) and len(worded.rows) == request.k:  # otherwise no other row has any of the words
        allowed = {run.number: words_of_rows(run, missing) for run in snapshot.shards}
        scored = rank_words(snapshot, words, len(missing), allowed, apart, request.deadline)
        _scatter(by_text, rows, Ranking(scored.rows, scored.scores))
    return Candidates(rows, by_vector, by_text)


def mask_of_rows(snapshot: Snapshot, rows: NDArray[np.int64]) -> IndexMask:
    """Return the mask of some rows of a snapshot, ascending, for an exhaustive search: it only counts partitions."""
    masks, radii = [], snapshot.radii
    matches = np.zeros(len(radii), np.int64)
    for run in snapshot.shards:
        words = words_of_rows(run, rows)
        counts = count_ranges(words, run.table.row_starts, run.table.row_starts + run.table.rows)
        matches[run.first_partition : run.first_partition + run.partitions] += counts
        masks.append(ShardMask(words, counts, counts, int(counts.sum()), 0))
    return IndexMask(tuple(masks), matches, radii, matches, radii, len(rows), 0, correlated=False)


def words_of_rows(run: Shard, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the bits of those rows of a snapshot, ascending, that are in a run."""
    first, stop = np.searchsorted(rows, (run.first_row, run.first_row + run.rows))
    inside = rows[first:stop] - run.first_row
    words, at = np.zeros(-(-run.rows // 64), np.uint64), inside >> 6
    starts = np.flatnonzero(_first(at))
    if len(starts):
        bits = np.uint64(1) << (inside & 63).astype(np.uint64)
        words[at[starts]] = np.bitwise_or.reduceat(bits, starts)
    return words


def _first(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some sorted values are the first of their kind."""
    first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def _scatter(values: Scores, rows: NDArray[np.int64], found: Ranking) -> NDArray[np.int64]:
    """Set the values of those rows, ascending, that were found; return their positions."""
    places = np.searchsorted(rows, found.rows)
    values[places] = found.scores
    return places
