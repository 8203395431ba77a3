"""Weigh the words of text queries, by the statistics of all live rows of a snapshot.

The weight of a term is ``column weight * idf * count in the query``, where ``idf = ln(1 + (N - n + 0.5) / (n + 0.5))``: N rows have
a text in the column, n of them the term. A prefix counts as one word that a row of mean length has once: n rows have any of its
terms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError, SearchTimeoutError
from vsearch.forking import cached_property
from vsearch.text.opening import OpenColumn, fetch_lists, open_text
from vsearch.text.query import MOST_EXPANDED, Query, Term, parse

if TYPE_CHECKING:
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot

RANGE = 2.0**48
"""Sum of the weights of a query as integers: scores are exact to about 1e-12 of the largest, and sums fit in 64 bits."""

MARKED = 4096
"""Number of terms of a prefix between checks of the deadline."""

Conditions = list[list[list[Term]]]


@dataclass(frozen=True, eq=False)
class WeightedQuery:
    """A query with its weights.

    Attributes
    ----------
    terms, prefixes : dict of Term to float
        What a term gains at most, and what a row of a prefix gains, both unscaled.
    must, must_not : list of lists of lists of Term
        See `Query`.
    lengths : sequence of float
        Mean length of the rows with a text, for each text column.
    marked : dict
        Rows of terms as masks, by term and number of the run; filled as they are needed.
    placed : dict
        The lists of terms in a run and their scaled weights, by number of the run; likewise.
    """

    terms: dict[Term, float]
    prefixes: dict[Term, float]
    must: Conditions
    must_not: Conditions
    lengths: Sequence[float]
    marked: dict[tuple[Term, int], NDArray[np.uint64]] = field(default_factory=dict)
    placed: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=dict)

    @cached_property
    def scale(self) -> float:
        """Integers per unit of score: a power of two."""
        total = math.fsum([*self.terms.values(), *self.prefixes.values()])
        return 2.0 ** math.floor(math.log2(RANGE / total)) if total > 0 else 1.0


def weigh_words(
    snapshot: Snapshot, queries: Sequence[str], stats: SearchStats, deadline: float | None = None
) -> Iterator[WeightedQuery]:
    """Parse queries one after the other, and weigh their words.

    Raises
    ------
    InputError
        The index has no text columns, or a query is invalid.
    SearchTimeoutError
    """
    columns = open_text(snapshot)
    analyzers = [column.analyzer() for column in columns]
    names = [column.name for column in columns]
    for text in queries:
        begun = time.perf_counter()
        weighted = _weigh(snapshot, columns, parse(text, names, analyzers, snapshot.schema.names), deadline)
        stats.add("prepare", begun)
        yield weighted


def check_time(deadline: float | None) -> None:
    """Raise SearchTimeoutError after a deadline."""
    if deadline is not None and time.monotonic() > deadline:
        raise SearchTimeoutError("the search exceeded its timeout")


def rows_with(
    columns: Sequence[OpenColumn],
    weighted: WeightedQuery,
    term: Term,
    place: int,
    rows: int,
    deadline: float | None,
) -> NDArray[np.uint64]:
    """Return the rows of a run that have a term or any term of a prefix, as a mask: uint64 (ceil(rows / 64),)."""
    words = weighted.marked.get((term, place))
    if words is None:
        column = columns[term.column]
        if term.prefix:
            numbers = column.runs[place].beginning_with(term.text.encode("utf-8", "surrogatepass"))
        else:
            number = column.numbers(term.text)[place]
            numbers = range(number, number + 1 if number >= 0 else number)
        words = weighted.marked[term, place] = _mark(column, numbers, place, rows, deadline)
    return words


def _weigh(snapshot: Snapshot, columns: Sequence[OpenColumn], query: Query, deadline: float | None) -> WeightedQuery:
    weighted = WeightedQuery({}, {}, query.must, query.must_not, [column.length for column in columns])
    options = [option for group in (*query.must, *query.must_not) for option in group]
    needed = dict.fromkeys([*query.counts, *(term for option in options for term in option)])
    prefixes = [term for term in needed if term.prefix]
    if prefixes:
        _check_expanded(columns, prefixes)
    removed = [run.number for run in snapshot.shards if run.live is not None]
    fetch_lists(columns, query.counts, removed, uncounted=True)
    if prefixes:
        fetch_lists(columns, prefixes, range(len(snapshot.shards)))
    for term, repeated in query.counts.items():
        check_time(deadline)
        column = columns[term.column]
        if term.prefix:
            count = 0
            for place, run in enumerate(snapshot.shards):
                words = rows_with(columns, weighted, term, place, run.rows, deadline)
                count += int(np.bitwise_count(words if run.live is None else words & run.live).sum())
        else:
            count = column.count(term.text, snapshot.shards)
        if not count:
            continue
        weight = repeated * column.entry.weight * math.log1p((column.texts - count + 0.5) / (count + 0.5))
        if term.prefix:
            weighted.prefixes[term] = weight / (1 + column.entry.k1)
        else:
            weighted.terms[term] = weight
    return weighted


def _check_expanded(columns: Sequence[OpenColumn], prefixes: Sequence[Term]) -> None:
    """Check that prefixes do not stand for too many terms."""
    terms_of = {}
    for term in prefixes:
        spelled = term.text.encode("utf-8", "surrogatepass")  # lone surrogates, which no term has
        terms_of[term] = sum(len(postings.beginning_with(spelled)) for postings in columns[term.column].runs)
    if sum(terms_of.values()) > MOST_EXPANDED:
        widest = max(terms_of, key=terms_of.__getitem__)
        raise InputError(
            f"the prefixes of a text query must match at most {MOST_EXPANDED:,} words of the index, but {widest.text!r:.100} alone "
            f"matches {terms_of[widest]:,}; use longer prefixes"
        )


def _mark(column: OpenColumn, numbers: range, place: int, rows: int, deadline: float | None) -> NDArray[np.uint64]:
    words = np.zeros(-(-rows // 64), np.uint64)
    for first in range(0, len(numbers), MARKED):
        check_time(deadline)
        column.runs[place].mark(numbers[first : first + MARKED], words)
    return words
