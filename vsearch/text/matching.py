"""The rows of a run that have a term, any term of a prefix, or a phrase."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import SearchTimeoutError
from vsearch.kernels.text.api import match_phrase
from vsearch.kernels.text.fields import BLOCK
from vsearch.legs.masks import mark_rows
from vsearch.predicates.evaluation import full_words
from vsearch.text.opening import OpenColumn, fetch_lists

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.text.query import Term
    from vsearch.text.weighted import WeightedQuery

MARKED = 4096
"""Number of terms of a prefix between checks of the deadline."""

NO_ROWS = np.empty(0, np.int64)


def check_time(deadline: float | None) -> None:
    """Raise SearchTimeoutError after a deadline."""
    if deadline is not None and time.monotonic() > deadline:
        raise SearchTimeoutError("the search exceeded its timeout")


def rows_with(
    columns: Sequence[OpenColumn],
    weighted: WeightedQuery,
    term: Term,
    run: Shard,
    deadline: float | None,
) -> NDArray[np.uint64]:
    """Return the rows of a run that have a term, any term of a prefix, or a phrase, as a mask: uint64 (ceil(rows / 64),)."""
    place = run.number
    words = weighted.marked.get((term, place))
    if words is None:
        column = columns[term.column]
        if term.phrase:
            rows, _ = phrase_rows(column, weighted, term, run)
            words = mark_rows(rows, run.rows)
        else:
            words = _mark(column, column.ranges(term, place), place, run.rows, deadline)
        weighted.marked[term, place] = words
    return words


def phrase_rows(
    column: OpenColumn, weighted: WeightedQuery, term: Term, run: Shard
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a run that have a phrase, int64 (n,) ascending, and how often each has it."""
    matched = weighted.matched.get((term, run.number))
    if matched is None:
        matched = weighted.matched[term, run.number] = _match(column, term, run)
    return matched


def _match(column: OpenColumn, term: Term, run: Shard) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    postings = column.runs[run.number]
    lists = []
    for text, position in term.phrase:
        number = column.numbers(text)[run.number]
        if number < 0:
            return NO_ROWS, NO_ROWS
        lists.append((*postings.list(number), position))
    table = np.array(sorted(lists, key=lambda entry: entry[2]), np.int64)  # the shortest list first
    fetch_lists({term.column: column}, [term], [run.number])
    cursors = np.zeros((len(table), 4), np.int64)
    cursors[:, 0], cursors[:, 1] = table[:, 0], -1
    block_rows, block_counts = np.empty((2, len(table), BLOCK), np.int64)
    rows, counts = np.empty((2, int(table[0, 2])), np.int64)
    states = np.empty((len(table), 3), np.int64)
    count = match_phrase(
        postings.address, table, full_words(run.rows), cursors, block_rows, block_counts, states, rows, counts
    )
    if count < 0:
        raise postings.damaged()
    return rows[:count].copy(), counts[:count].copy()


def _mark(
    column: OpenColumn, ranges: Sequence[range], place: int, rows: int, deadline: float | None
) -> NDArray[np.uint64]:
    words = np.zeros(-(-rows // 64), np.uint64)
    for numbers in ranges:
        for first in range(0, len(numbers), MARKED):
            check_time(deadline)
            column.runs[place].mark(numbers[first : first + MARKED], words)
    return words
