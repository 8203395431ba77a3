"""Weigh the words of text queries, by the statistics of all live rows of a snapshot.

The weight of a term is ``column weight * idf * count in the query``, where ``idf = ln(1 + (N - n + 0.5) / (n + 0.5))``: N rows have
a text in the column, n of them the term. A prefix counts as one word that a row of mean length has once: n rows have any of its
terms. A phrase counts as a word whose idf is the sum over its terms, as in Lucene.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import InputError
from vsearch.text.matching import check_time, rows_with
from vsearch.text.opening import OpenColumn, fetch_lists, open_text
from vsearch.text.query import MOST_EXPANDED, Query, Searched, Term, parse
from vsearch.text.structured import TextQuery, parse_structured
from vsearch.text.weighted import WeightedQuery

if TYPE_CHECKING:
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot


def weigh_words(
    snapshot: Snapshot, queries: Sequence[TextQuery], stats: SearchStats, deadline: float | None = None
) -> Iterator[WeightedQuery]:
    """Parse queries one after the other, and weigh their words.

    Raises
    ------
    InputError
        The index has no text columns, or a query is invalid.
    SearchTimeoutError
        The search did not finish in time.
    """
    columns = open_text(snapshot)
    searched = [Searched(column.name, column.analyzer(), column.entry.phrases) for column in columns]
    for text in queries:
        started = time.perf_counter()
        if isinstance(text, str):
            query = parse(text, searched, snapshot.schema.names)
        else:
            query = parse_structured(text, searched)
        weighted = _weigh(snapshot, columns, query, deadline)
        stats.add("prepare", started)
        yield weighted


def _weigh(snapshot: Snapshot, columns: Sequence[OpenColumn], query: Query, deadline: float | None) -> WeightedQuery:
    weighted = WeightedQuery({}, {}, query.must, query.must_not, [column.length for column in columns])
    options = [option for group in (*query.must, *query.must_not) for option in group]
    needed = dict.fromkeys([*query.counts, *(term for option in options for term in option)])
    prefixes = [term for term in needed if term.prefix]
    if prefixes:
        _check_expanded(columns, prefixes)
    removed = [run.number for run in snapshot.shards if run.live is not None]
    if removed:
        fetch_lists(columns, query.counts, removed, uncounted=True)
    if prefixes:
        fetch_lists(columns, prefixes, range(len(snapshot.shards)))
    runs = snapshot.shards
    for term, repeated in query.counts.items():
        check_time(deadline)
        column = columns[term.column]
        if term.prefix:
            count = 0
            for run in runs:
                words = rows_with(columns, weighted, term, run, deadline)
                count += int(np.bitwise_count(words if run.live is None else words & run.live).sum())
            if count:
                weighted.prefixes[term] = repeated * column.weight_of(count) / (1 + column.entry.k1)
        elif term.phrase:
            weights = [column.weight(text, runs) for text in term.texts]
            if all(weights):
                weighted.phrases[term] = repeated * math.fsum(weights)
        elif weight := column.weight(term.text, runs):
            weighted.terms[term] = repeated * weight
    return weighted


def _check_expanded(columns: Sequence[OpenColumn], prefixes: Sequence[Term]) -> None:
    """Check that prefixes do not match too many terms."""
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
