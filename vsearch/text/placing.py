"""Look up a weighted query in a run: its lists, the rows of its prefixes and phrases, and those that meet its conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.predicates.evaluation import full_words
from vsearch.text.matching import phrase_rows, rows_with
from vsearch.text.opening import OpenColumn, fetch_lists
from vsearch.text.scanning import NO_LISTS, PlacedQuery
from vsearch.text.weighted import WeightedQuery

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.text.query import Term

NO_BITMAPS, NO_CONSTANTS = np.empty((0, 0), np.uint64), np.empty(0, np.int64)


def place_query(
    columns: Sequence[OpenColumn], weighted: WeightedQuery, runs: Sequence[Shard], deadline: float | None
) -> None:
    """Look up a query in those runs where it was not looked up yet."""
    new = [run for run in runs if run.number not in weighted.placed]
    if not new:
        return
    fetch_lists(columns, _needed(weighted), [run.number for run in new])
    for run in new:
        weighted.placed[run.number] = _place(columns, weighted, run, deadline)


def _needed(weighted: WeightedQuery) -> Iterable[Term]:
    """Return all terms of a query."""
    if not (weighted.prefixes or weighted.phrases or weighted.must or weighted.must_not):
        return weighted.terms
    conditions = (term for group in (*weighted.must, *weighted.must_not) for option in group for term in option)
    return dict.fromkeys([*weighted.terms, *weighted.prefixes, *weighted.phrases, *conditions])


def _place(columns: Sequence[OpenColumn], weighted: WeightedQuery, run: Shard, deadline: float | None) -> PlacedQuery:
    lists, weights = _lists(columns, weighted, run.number)
    bitmaps, constants = NO_BITMAPS, NO_CONSTANTS
    if weighted.prefixes:
        bitmaps = np.array([rows_with(columns, weighted, term, run, deadline) for term in weighted.prefixes])
        scaled = [max(1, int(weight * weighted.scale)) for weight in weighted.prefixes.values()]
        constants = np.array(scaled, np.int64)
    met = None
    if weighted.must or weighted.must_not:
        met = _meeting(columns, weighted, run, deadline)
    extras = [_gains(columns, weighted, term, run) for term in weighted.phrases]
    return PlacedQuery(lists, weights, bitmaps, constants, [extra for extra in extras if len(extra[0])], met)


def _gains(
    columns: Sequence[OpenColumn], weighted: WeightedQuery, term: Term, run: Shard
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a run that have a phrase, and the score that it adds to each, as for the postings of a term."""
    column = columns[term.column]
    rows, repeated = phrase_rows(column, weighted, term, run)
    fixed, slope = norm_of(column, weighted.lengths[term.column])
    counts, lengths = repeated.astype(np.float64), column.runs[run.number].lengths[rows].astype(np.float64)
    weight = weighted.phrases[term] * weighted.scale
    return rows, (weight * (counts / (counts + (fixed + slope * lengths)))).astype(np.int64) + 1


def norm_of(column: OpenColumn, length: float) -> tuple[float, float]:
    """Return the denominator of BM25 without the count: a constant, and a factor for the length of the row."""
    entry = column.entry
    return entry.k1 * (1 - entry.b), entry.k1 * entry.b / length


def _lists(
    columns: Sequence[OpenColumn], weighted: WeightedQuery, place: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the lists of a run that a query scans, best first, with their scaled weights."""
    lists, weights, scale = [], [], weighted.scale
    terms = weighted.terms
    for term in sorted(terms, key=terms.__getitem__, reverse=True):
        postings = columns[term.column].lists(term.text)[place]
        if postings is not None:
            lists.append((term.column, *postings))
            weights.append(terms[term] * scale)
    return (np.array(lists, np.int64) if lists else NO_LISTS), np.array(weights, np.float64)


def _meeting(
    columns: Sequence[OpenColumn], weighted: WeightedQuery, run: Shard, deadline: float | None
) -> NDArray[np.uint64]:
    """Return the rows of a run that meet the conditions of a query, as a mask."""

    def meets(options: list[list[Term]]) -> NDArray[np.uint64]:
        any_of = np.zeros(-(-run.rows // 64), np.uint64)
        for option in options:
            all_of = full_words(run.rows)
            for term in option:
                all_of &= rows_with(columns, weighted, term, run, deadline)
            any_of |= all_of
        return any_of

    met = full_words(run.rows)
    conditions = [(options, True) for options in weighted.must]
    conditions += [(options, False) for options in weighted.must_not]
    for options, required in conditions:
        if not met.any():
            break
        met &= meets(options) if required else ~meets(options)
    return met
