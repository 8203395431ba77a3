"""Rank rows by the words of a text query, with BM25 as Lucene computes it.

The score of a row is the sum over columns and terms of::

    weight * idf * count / (count + k1 * (1 - b + b * length / mean length))

where the row has the term `count` times; see `vsearch.text.weighing` for weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.text.api import rank_rows
from vsearch.kernels.text.fields import BLOCK, WINDOW, SpanField
from vsearch.legs.protocol import LegRanking
from vsearch.predicates.evaluation import full_words
from vsearch.text.opening import OpenColumn, fetch_lists, open_text
from vsearch.text.weighing import WeightedQuery, check_time, rows_with

if TYPE_CHECKING:
    from vsearch.legs.masks import Allowed
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.text.query import Term

SPAN = 1 << 18
"""Number of rows between checks of the deadline."""


def rank_words(
    snapshot: Snapshot,
    weighted: WeightedQuery,
    k: int,
    allowed: Allowed,
    stats: SearchStats,
    deadline: float | None = None,
) -> LegRanking:
    """Find the best rows for a query."""
    columns, begun = open_text(snapshot), time.perf_counter()
    norms = np.array([_norms(*pair) for pair in zip(columns, weighted.lengths, strict=True)], np.float64)
    heap_scores, heap_rows = np.zeros(k, np.int64), np.full(k, -1, np.int64)
    span = np.zeros(len(SpanField), np.int64)
    scale = weighted.scale
    prefixes = list(weighted.prefixes)
    constants = np.array([max(1, int(weighted.prefixes[term] * scale)) for term in prefixes], np.int64)
    new = [place for place in allowed if place not in weighted.placed]
    if new:
        conditions = (term for group in (*weighted.must, *weighted.must_not) for option in group for term in option)
        fetch_lists(columns, dict.fromkeys([*weighted.terms, *prefixes, *conditions]), new)
        weighted.placed.update((place, _lists(columns, weighted, place)) for place in new)
    for place, of_run in sorted(allowed.items()):
        run = snapshot.shards[place]
        lists, weights = weighted.placed[place]
        if not len(lists) and not prefixes:
            continue
        mask = _meeting(columns, weighted, run, full_words(run.rows) if of_run is None else of_run, deadline)
        addresses = np.array([column.runs[place].address for column in columns], np.int64)
        bitmaps = np.zeros((len(prefixes), len(mask)), np.uint64)
        for at, term in enumerate(prefixes):
            np.bitwise_and(rows_with(columns, weighted, term, place, run.rows, deadline), mask, out=bitmaps[at])
        cursors = np.zeros((len(lists), 3), np.int64)
        cursors[:, 0], cursors[:, 1] = lists[:, 1], -1
        scratch = (
            np.zeros(len(lists), np.int64),
            np.empty((len(lists), BLOCK), np.int64),
            np.empty((len(lists), BLOCK), np.int64),
            np.zeros(WINDOW, np.int64),
        )
        for start in range(0, run.rows, SPAN):
            check_time(deadline)
            span[: SpanField.SIZE] = start, min(start + SPAN, run.rows), run.first_row
            if not rank_rows(
                addresses,
                lists,
                weights,
                norms,
                bitmaps,
                constants,
                mask,
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
    keys = heap_scores[order].astype(np.float64)
    stats.add("scan", begun)
    return LegRanking(heap_rows[order], (keys / scale).astype(np.float32), keys)


def _norms(column: OpenColumn, length: float) -> tuple[float, float]:
    """Return the denominator of BM25 without the count: a constant, and a factor for the length of the row."""
    entry = column.entry
    return entry.k1 * (1 - entry.b), entry.k1 * entry.b / length


def _meeting(
    columns: Sequence[OpenColumn],
    weighted: WeightedQuery,
    run: Shard,
    allowed: NDArray[np.uint64],
    deadline: float | None,
) -> NDArray[np.uint64]:
    """Return the allowed rows of a run that meet the conditions of a query, as a mask."""

    def having(term: Term) -> NDArray[np.uint64]:
        return rows_with(columns, weighted, term, run.number, run.rows, deadline)

    def meets(options: list[list[Term]]) -> NDArray[np.uint64]:
        any_of = np.zeros(len(allowed), np.uint64)
        for option in options:
            all_of = ~any_of | any_of
            for term in option:
                all_of &= having(term)
            any_of |= all_of
        return any_of

    conditions = [(options, True) for options in weighted.must]
    conditions += [(options, False) for options in weighted.must_not]
    for options, required in conditions:
        if not allowed.any():
            break
        allowed = allowed & (meets(options) if required else ~meets(options))
    return np.ascontiguousarray(allowed)


def _lists(
    columns: Sequence[OpenColumn], weighted: WeightedQuery, place: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the lists of a run that a query scans, best first, with their scaled weights."""
    lists, weights = [], []
    for term, weight in sorted(weighted.terms.items(), key=lambda item: -item[1]):
        column = columns[term.column]
        number = column.numbers(term.text)[place]
        if number >= 0:
            lists.append((term.column, *column.runs[place].list(number)))
            weights.append(weight)
    return np.array(lists, np.int64).reshape(-1, 4), np.array(weights, np.float64) * weighted.scale
