"""Rank rows by the words of a text query, with BM25 as Lucene computes it.

The score of a row is the sum over columns and terms of::

    weight * idf * count / (count + k1 * (1 - b + b * length / mean length)),   idf = ln(1 + (N - n + 0.5) / (n + 0.5))

where N rows have a text in the column, n of them have the term, and this row has it `count` times. A prefix is scored like one word
that occurs once in a row of mean length, with n the number of rows with any of its terms. Statistics cover all live rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError, SearchTimeoutError
from vsearch.kernels.text.api import rank_rows
from vsearch.kernels.text.fields import BLOCK, WINDOW, SpanField
from vsearch.text.opening import OpenColumn, open_text
from vsearch.text.query import MOST_EXPANDED, Query, Term, parse

if TYPE_CHECKING:
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot

RANGE = 2.0**48
"""Sum of the weights of a query as integers: scores are exact to about 1e-12 of the largest, and sums fit in 64 bits."""

SPAN = 1 << 18
"""Number of rows between checks of the deadline."""

MARKED = 4096
"""Number of terms of a prefix between checks of the deadline."""


@dataclass(frozen=True, eq=False)
class WeightedQuery:
    """A query with its weights: the maximum score of each term, and the score of each prefix, both unscaled."""

    query: Query
    terms: dict[Term, float]
    prefixes: dict[Term, float]
    marked: dict[Term, list[NDArray[np.uint64]]]

    @property
    def scale(self) -> float:
        """Integers per unit of score: a power of two."""
        total = math.fsum([*self.terms.values(), *self.prefixes.values()])
        return 2.0 ** math.floor(math.log2(RANGE / total)) if total > 0 else 1.0


def search_words(
    snapshot: Snapshot,
    queries: Sequence[str],
    k: int,
    mask: IndexMask | None,
    stats: SearchStats,
    deadline: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the best rows for the words of each query.

    Parameters
    ----------
    mask : IndexMask or None
        Rows that may be returned; None for all live rows.

    Returns
    -------
    scores, rows : float32 (queries, k), int64 (queries, k)
        Best first, ties by row number; padded with NaN and -1.

    Raises
    ------
    InputError
        The index has no text columns, or a query is invalid.
    SearchTimeoutError
    """
    scores, rows = np.full((len(queries), k), np.nan, np.float32), np.full((len(queries), k), -1, np.int64)
    for place, weighted in enumerate(weigh_words(snapshot, queries, stats, deadline)):
        best_scores, best_rows = rank_words(snapshot, weighted, k, mask, stats, deadline)
        scores[place, : len(best_scores)], rows[place, : len(best_rows)] = best_scores, best_rows
    stats.queries = len(queries)
    return scores, rows


def weigh_words(
    snapshot: Snapshot, queries: Sequence[str], stats: SearchStats, deadline: float | None = None
) -> Iterator[WeightedQuery]:
    """Parse queries one by one and compute their weights. Raises the errors of `search_words`."""
    columns = open_text(snapshot)
    analyzers = [column.analyzer() for column in columns]
    for text in queries:
        begun = time.perf_counter()
        query = parse(text, [column.name for column in columns], analyzers, snapshot.schema.names)
        weighted = _weigh(snapshot, columns, query, deadline)
        stats.add("prepare", begun)
        yield weighted


def rank_words(
    snapshot: Snapshot,
    weighted: WeightedQuery,
    k: int,
    mask: IndexMask | None,
    stats: SearchStats,
    deadline: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the best rows for one query, like `search_words` but without padding."""
    columns, begun = open_text(snapshot), time.perf_counter()
    norms = np.array([_norms(column) for column in columns], np.float64)
    heap_scores, heap_rows = np.zeros(k, np.int64), np.full(k, -1, np.int64)
    span = np.zeros(len(SpanField), np.int64)
    scale = weighted.scale
    prefixes = list(weighted.prefixes)
    constants = np.array([max(1, int(weighted.prefixes[term] * scale)) for term in prefixes], np.int64)
    for place, run in enumerate(snapshot.shards):
        lists, weights = _lists(snapshot, columns, weighted, place)
        if not len(lists) and not prefixes:
            continue
        weights *= scale
        allowed = _allowed(snapshot, columns, weighted, place, mask, deadline)
        addresses = np.array([column.runs[place].address for column in columns], np.int64)
        bitmaps = np.zeros((len(prefixes), len(allowed)), np.uint64)
        for at, term in enumerate(prefixes):
            np.bitwise_and(weighted.marked[term][place], allowed, out=bitmaps[at])
        cursors = np.zeros((len(lists), 3), np.int64)
        cursors[:, 0], cursors[:, 1] = lists[:, 1], -1
        scratch = (
            np.zeros(len(lists), np.int64),
            np.empty((len(lists), BLOCK), np.int64),
            np.empty((len(lists), BLOCK), np.int64),
            np.zeros(WINDOW, np.int64),
        )
        for start in range(0, run.rows, SPAN):
            _check(deadline)
            span[: SpanField.SIZE] = start, min(start + SPAN, run.rows), run.first_row
            if not rank_rows(
                addresses,
                lists,
                weights,
                norms,
                bitmaps,
                constants,
                allowed,
                cursors,
                *scratch,
                heap_scores,
                heap_rows,
                span,
            ):
                raise columns[0].runs[place].damaged()
    size = int(span[SpanField.SIZE])
    stats.rows_scanned += int(span[SpanField.SCORED])
    heap_scores, heap_rows = heap_scores[:size], heap_rows[:size]
    order = np.lexsort((heap_rows, -heap_scores))
    stats.add("scan", begun)
    return (heap_scores[order] / scale).astype(np.float32), heap_rows[order]


def _norms(column: OpenColumn) -> tuple[float, float]:
    """Return the denominator of BM25 without the count: a constant, and a factor for the length of the row."""
    entry = column.entry
    return entry.k1 * (1 - entry.b), entry.k1 * entry.b / column.length


def _idf(column: OpenColumn, count: int) -> float:
    return math.log1p((column.texts - count + 0.5) / (count + 0.5))


def _weigh(snapshot: Snapshot, columns: Sequence[OpenColumn], query: Query, deadline: float | None) -> WeightedQuery:
    terms: dict[Term, float] = {}
    prefixes: dict[Term, float] = {}
    marked: dict[Term, list[NDArray[np.uint64]]] = {}
    options = [option for group in (*query.must, *query.must_not) for option in group]
    needed = dict.fromkeys([*query.counts, *(term for option in options for term in option)])
    expanded = {term: _expanded(columns[term.column], term) for term in needed if term.prefix}
    terms_of = {term: sum(map(len, numbers)) for term, numbers in expanded.items()}
    if sum(terms_of.values()) > MOST_EXPANDED:
        widest = max(terms_of, key=terms_of.__getitem__)
        raise InputError(
            f"the prefixes of a text query must match at most {MOST_EXPANDED:,} words of the index, but {widest.text!r:.100} alone "
            f"matches {terms_of[widest]:,}; use longer prefixes"
        )
    for term, numbers in expanded.items():
        marked[term] = [
            _mark(columns[term.column], of_run, place, run.rows, deadline)
            for place, (run, of_run) in enumerate(zip(snapshot.shards, numbers, strict=True))
        ]
    for term, repeated in query.counts.items():
        column = columns[term.column]
        if term.prefix:
            bits = zip(marked[term], snapshot.shards, strict=True)
            count = sum(_count(words if run.live is None else words & run.live) for words, run in bits)
        else:
            _check(deadline)
            count = column.place(term.text, snapshot.shards).count
        if not count:
            continue
        weight = repeated * column.entry.weight * _idf(column, count)
        if term.prefix:
            prefixes[term] = weight / (1 + column.entry.k1)
        else:
            terms[term] = weight
    return WeightedQuery(query, terms, prefixes, marked)


def _expanded(column: OpenColumn, term: Term) -> list[range]:
    """Return the numbers of the terms with a prefix, in each run."""
    spelled = term.text.encode("utf-8", "surrogatepass")  # lone surrogates, which no term has
    return [postings.beginning_with(spelled) for postings in column.runs]


def _mark(column: OpenColumn, numbers: range, place: int, rows: int, deadline: float | None) -> NDArray[np.uint64]:
    """Return the rows of a run with any of the terms, as a mask: uint64 (ceil(rows / 64),)."""
    words = np.zeros(-(-rows // 64), np.uint64)
    for first in range(0, len(numbers), MARKED):
        _check(deadline)
        column.runs[place].mark(numbers[first : first + MARKED], words)
    return words


def _count(words: NDArray[np.uint64]) -> int:
    return int(np.bitwise_count(words).sum())


def _allowed(
    snapshot: Snapshot,
    columns: Sequence[OpenColumn],
    weighted: WeightedQuery,
    place: int,
    mask: IndexMask | None,
    deadline: float | None,
) -> NDArray[np.uint64]:
    """Return the rows of a run that may be returned, as a mask."""
    run = snapshot.shards[place]
    if mask is not None:
        allowed = mask.shards[place].words
    elif run.live is not None:
        allowed = run.live
    else:
        allowed = np.full(-(-run.rows // 64), ~np.uint64(0))
        if run.rows % 64:
            allowed[-1] = (np.uint64(1) << np.uint64(run.rows % 64)) - np.uint64(1)

    def having(term: Term) -> NDArray[np.uint64]:
        known = weighted.marked.get(term)
        if known is not None:
            return known[place]
        number = columns[term.column].place(term.text, snapshot.shards).numbers[place]
        return _mark(
            columns[term.column], range(number, number + 1 if number >= 0 else number), place, run.rows, deadline
        )

    def meets(options: list[list[Term]]) -> NDArray[np.uint64]:
        any_of = np.zeros(len(allowed), np.uint64)
        for option in options:
            all_of = ~any_of | any_of
            for term in option:
                all_of &= having(term)
            any_of |= all_of
        return any_of

    conditions = [(options, True) for options in weighted.query.must]
    conditions += [(options, False) for options in weighted.query.must_not]
    for options, required in conditions:
        if not allowed.any():
            break
        allowed = allowed & (meets(options) if required else ~meets(options))
    return np.ascontiguousarray(allowed)


def _lists(
    snapshot: Snapshot, columns: Sequence[OpenColumn], weighted: WeightedQuery, place: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the postings lists of a run that a query scans, by descending weight, with their weights."""
    lists, weights = [], []
    for term, weight in sorted(weighted.terms.items(), key=lambda item: -item[1]):
        column = columns[term.column]
        number = column.place(term.text, snapshot.shards).numbers[place]
        if number >= 0:
            postings = column.runs[place]
            first, stop, count = postings.list(number)
            postings.ensure(first, stop)
            lists.append((term.column, first, stop, count))
            weights.append(weight)
    return np.array(lists, np.int64).reshape(-1, 4), np.array(weights, np.float64)


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise SearchTimeoutError("the search exceeded its timeout")
