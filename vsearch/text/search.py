"""Rank rows by the words of a text query, with BM25 as Lucene computes it.

The score of a row is the sum over columns and terms of::

    weight * idf * count / (count + k1 * (1 - b + b * length / mean length)),   idf = ln(1 + (N - n + 0.5) / (n + 0.5))

where N rows have a text in the column, n of them the term, count times in this row. A prefix counts as one word that a row of
mean length has once: n rows have any of its terms. Statistics are those of all live rows of the snapshot.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import SearchTimeoutError
from vsearch.kernels.text.api import rank_rows
from vsearch.kernels.text.fields import BLOCK, WINDOW, SpanField
from vsearch.text.columns import analyzer_of
from vsearch.text.opening import OpenColumn, open_text
from vsearch.text.query import Query, Term, parse

if TYPE_CHECKING:
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot

RANGE = 2.0**48
"""Sum of all weights of a query as integers: gains are exact to a millionth of a millionth, and sums fit 64 bits."""

SPAN = 1 << 18
"""Rows after which the deadline is checked."""


@dataclass(frozen=True, eq=False)
class WeightedQuery:
    """A query with its weights: what a term gains at most, and what a row of a prefix gains, both unscaled."""

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
        The rows that may be returned; all live rows by default.

    Returns
    -------
    scores, rows : float32 (queries, k), int64 (queries, k)
        Best first, of equal scores the lower row; NaN and -1 after the last.

    Raises
    ------
    InputError
        The index has no text columns, or a query is invalid.
    SearchTimeoutError
    """
    scores, rows = np.full((len(queries), k), np.nan, np.float32), np.full((len(queries), k), -1, np.int64)
    for place, weighted in enumerate(weigh_words(snapshot, queries, stats, deadline)):
        found = rank_words(snapshot, weighted, k, mask, stats, deadline)
        scores[place, : len(found[0])], rows[place, : len(found[1])] = found
    stats.queries = len(queries)
    return scores, rows


def weigh_words(
    snapshot: Snapshot, queries: Sequence[str], stats: SearchStats, deadline: float | None = None
) -> Iterator[WeightedQuery]:
    """Parse queries one after the other, and weigh their words. Raises like `search_words`."""
    columns = open_text(snapshot)
    analyzers = [analyzer_of(column.entry) for column in columns]
    for text in queries:
        begun = time.perf_counter()
        weighted = _weigh(snapshot, columns, parse(text, [column.name for column in columns], analyzers), deadline)
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
    """Find the best rows for a query: `search_words` for one, without padding."""
    columns, begun = open_text(snapshot), time.perf_counter()
    norms = np.array([_norms(column) for column in columns], np.float64)
    heap_scores, heap_rows = np.zeros(k, np.int64), np.full(k, -1, np.int64)
    span = np.zeros(len(SpanField), np.int64)
    scale = weighted.scale
    for place, run in enumerate(snapshot.shards):
        allowed = _allowed(snapshot, columns, weighted, place, mask)
        addresses = np.array([column.runs[place].address for column in columns], np.int64)
        lists, weights = _lists(columns, weighted, place, scale)
        prefixes = list(weighted.prefixes)
        words = max(1, -(-run.rows // 64))
        bitmaps = np.zeros((len(prefixes), words), np.uint64)
        for at, term in enumerate(prefixes):
            bitmaps[at, : len(allowed)] = weighted.marked[term][place] & allowed
        if not len(lists) and not bitmaps.any():
            continue
        constants = np.array([max(1, int(weighted.prefixes[term] * scale)) for term in prefixes], np.int64)
        cursors = np.zeros((len(lists), 3), np.int64)
        cursors[:, 0], cursors[:, 1] = lists[:, 1], -1
        scratch = (
            np.zeros(len(lists), np.int64),
            np.empty((len(lists), BLOCK), np.int64),
            np.empty((len(lists), BLOCK), np.int64),
            np.zeros(WINDOW, np.int64),
        )
        span[SpanField.BASE] = run.first_row
        for start in range(0, run.rows, SPAN):
            _check(deadline)
            span[SpanField.FIRST], span[SpanField.STOP] = start, min(start + SPAN, run.rows)
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
    order = np.lexsort((heap_rows[:size], -heap_scores[:size]))
    stats.add("scan", begun)
    return (heap_scores[order] / scale).astype(np.float32), heap_rows[order]


def _norms(column: OpenColumn) -> tuple[float, float]:
    """What the denominator of a gain has besides the count: a fixed part, and one per term of the row."""
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
    for term in needed:
        if term.prefix:
            _check(deadline)
            marked[term] = [
                _mark(columns[term.column], term, place, run.rows) for place, run in enumerate(snapshot.shards)
            ]
    for term, repeated in query.counts.items():
        column = columns[term.column]
        if term.prefix:
            bits = zip(marked[term], snapshot.shards, strict=True)
            count = sum(_count(words if run.live is None else words & run.live) for words, run in bits)
        else:
            _check(deadline)
            count = column.count(term.text, snapshot.shards)
        if not count:
            continue
        weight = repeated * column.entry.weight * _idf(column, count)
        if term.prefix:
            prefixes[term] = weight / (1 + column.entry.k1)
        else:
            terms[term] = weight
    return WeightedQuery(query, terms, prefixes, marked)


def _mark(column: OpenColumn, term: Term, place: int, rows: int) -> NDArray[np.uint64]:
    """Return the rows of a run that have a term, as a mask: uint64 (ceil(rows / 64),)."""
    words = np.zeros(-(-rows // 64), np.uint64)
    postings, spelled = column.runs[place], term.text.encode()
    numbers = postings.beginning_with(spelled) if term.prefix else [postings.find(spelled)]
    postings.mark([number for number in numbers if number >= 0], words)
    return words


def _count(words: NDArray[np.uint64]) -> int:
    return int(np.bitwise_count(words).sum())


def _allowed(
    snapshot: Snapshot, columns: Sequence[OpenColumn], weighted: WeightedQuery, place: int, mask: IndexMask | None
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

    def meets(options: list[list[Term]]) -> NDArray[np.uint64]:
        any_of = np.zeros(len(allowed), np.uint64)
        for option in options:
            all_of = ~any_of | any_of
            for term in option:
                known = weighted.marked.get(term)
                all_of &= known[place] if known is not None else _mark(columns[term.column], term, place, run.rows)
            any_of |= all_of
        return any_of

    for options in weighted.query.must:
        allowed = allowed & meets(options)
    for options in weighted.query.must_not:
        allowed = allowed & ~meets(options)
    return np.ascontiguousarray(allowed)


def _lists(
    columns: Sequence[OpenColumn], weighted: WeightedQuery, place: int, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the lists of a run that a query scans, best first, with their scaled weights."""
    lists, weights = [], []
    for term, weight in weighted.terms.items():
        postings = columns[term.column].runs[place]
        number = postings.find(term.text.encode())
        if number >= 0:
            first, stop, count = postings.list(number)
            postings.ensure(first, stop)
            lists.append((term.column, first, stop, count))
            weights.append(weight * scale)
    order = np.argsort(-np.array(weights, np.float64), kind="stable")
    table = np.array(lists, np.int64).reshape(-1, 4)
    return np.ascontiguousarray(table[order]), np.array(weights, np.float64)[order]


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise SearchTimeoutError("the search exceeded its timeout")
