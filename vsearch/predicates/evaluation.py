"""Evaluate bound predicates on encoded columns to row masks, and recheck the rows that remain undecided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from vsearch.errors import CorruptIndexError
from vsearch.kernels.filters.bitmaps import count_ranges, mark_rows, pack_cells
from vsearch.predicates.bound import (
    AllOf,
    AnyOf,
    Bound,
    EmptyList,
    Everything,
    KeyRange,
    Membership,
    NullTest,
    StringRange,
)
from vsearch.predicates.columns import (
    CellColumn,
    EncodedColumn,
    PostingColumn,
    SortedColumn,
    frozen,
    word_count,
)
from vsearch.predicates.dictionary import runs
from vsearch.predicates.tables import cell_table, is_exact

Words = npt.NDArray[np.uint64]
ReadKeys = Callable[[str, npt.NDArray[np.int64]], tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]


@dataclass(frozen=True)
class RowMask:
    """Bit masks of the rows that match a predicate and of those that may match.

    Attributes
    ----------
    rows : int
        Number of rows of the segment.
    yes : uint64 (ceil(rows / 64),)
        Bit ``i % 64`` of word ``i // 64``: row i matches. Read-only; bits beyond the last row are 0.
    maybe : uint64 (ceil(rows / 64),) or None
        Rows that only `recheck` can decide, disjoint from ``yes``; None if there are none.
    open_parts : object
        The undecided parts of the predicate, for `recheck`.
    """

    rows: int
    yes: Words
    maybe: Words | None
    open_parts: Any = None

    def count(self) -> tuple[int, int]:
        """Return the number of rows that match, and of further rows that may match."""
        return count_bits(self.yes), 0 if self.maybe is None else count_bits(self.maybe)


@dataclass(frozen=True)
class _Answer:
    """Two masks, ``yes`` a subset of ``possible``, or the same array if exact; ``parts`` are the undecided parts."""

    yes: Words
    possible: Words
    parts: Any = None


@dataclass(frozen=True)
class _OpenLeaf:
    """A range that covers some cells only in part."""

    leaf: KeyRange
    yes: Words
    possible: Words


@dataclass(frozen=True)
class _OpenJoin:
    """Terms under AND (``every``) or OR, with the exact terms already combined into one mask."""

    every: bool
    exact: Words | None
    parts: tuple[Any, ...]


def evaluate(bound: Bound, columns: Mapping[str, EncodedColumn], rows: int) -> RowMask:
    """Evaluate a predicate on all rows of a segment.

    Parameters
    ----------
    bound : Bound
        The result of `bind`.
    columns : mapping of str to CellColumn or PostingColumn
        At least those that `columns_of` returns.
    rows : int
        Number of rows of the segment.

    Raises
    ------
    CorruptIndexError
        A column has a different number of rows, or lists rows that do not exist.
    """
    answer = _evaluate(bound, columns, rows)
    yes = frozen(answer.yes)
    if answer.parts is None:
        return RowMask(rows, yes, None)
    maybe = answer.possible & ~answer.yes
    return RowMask(rows, yes, frozen(maybe), answer.parts) if maybe.any() else RowMask(rows, yes, None)


def recheck(mask: RowMask, read_keys: ReadKeys, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Decide individual rows of a mask exactly.

    Parameters
    ----------
    mask : RowMask
        The result of `evaluate`.
    read_keys : callable
        ``read_keys(column, rows)`` -> keys int64 and validity bool of these rows, from the exact column: see
        `vsearch.predicates.keys.keys_from_values`. Called only for rows on which the result depends.
    rows : int64 (n,)
        Any rows of the segment; only those in ``mask.maybe`` need a recheck.

    Returns
    -------
    bool (n,)
        Whether each row matches.
    """
    rows = np.asarray(rows, np.int64)
    if mask.open_parts is None:
        return _bits(mask.yes, rows)
    return _decide(mask.open_parts, read_keys, rows)


def count_bits(words: Words) -> int:
    """Return the number of set bits of a mask."""
    ends = np.array([0, len(words) * 64], np.int64)
    return int(count_ranges(frozen(words), frozen(ends[:1]), frozen(ends[1:]))[0])


def full_words(rows: int) -> Words:
    """Return a mask with the bits of all rows set."""
    words = np.full(word_count(rows), ~np.uint64(0), np.uint64)
    if rows & 63:
        words[-1] = (1 << (rows & 63)) - 1
    return words


def _evaluate(bound: Bound, columns: Mapping[str, EncodedColumn], rows: int) -> _Answer:
    if isinstance(bound, Everything):
        words = full_words(rows) if bound.value else np.zeros(word_count(rows), np.uint64)
        return _Answer(words, words)
    if isinstance(bound, AllOf | AnyOf):
        return _join([_evaluate(term, columns, rows) for term in bound.terms], isinstance(bound, AllOf))
    column = columns[bound.column]
    if (len(column.cells) if isinstance(column, CellColumn) else column.rows_total) != rows:
        raise CorruptIndexError(f"attribute {column.name}", f"it does not have the {rows} rows of its shard")
    if isinstance(column, CellColumn):
        return _from_cells(bound, column)
    words = _from_sorted(bound, column) if isinstance(column, SortedColumn) else _from_postings(bound, column)
    return _Answer(words, words)


def _join(answers: list[_Answer], every: bool) -> _Answer:
    """Combine answers by AND or OR, in place: the arrays belong to this evaluation."""
    combine: Any = np.bitwise_and if every else np.bitwise_or
    exact = [answer.yes for answer in answers if answer.parts is None]
    unclear = [answer for answer in answers if answer.parts is not None]
    joined = reduce(lambda left, right: combine(left, right, out=left), exact) if exact else None
    if not unclear and joined is not None:
        return _Answer(joined, joined)
    first = [] if joined is None else [joined]
    yes = reduce(combine, [*first, *(answer.yes for answer in unclear)])
    possible = reduce(combine, [*first, *(answer.possible for answer in unclear)])
    return _Answer(yes, possible, _OpenJoin(every, joined, tuple(answer.parts for answer in unclear)))


def _from_cells(leaf: Any, column: CellColumn) -> _Answer:
    table = cell_table(leaf, column)
    yes = np.empty(word_count(len(column.cells)), np.uint64)
    possible = np.empty_like(yes)
    lanes = (table >> 1).astype(np.uint64) << np.uint64(32) | (table & 1)
    pack_cells(column.cells, frozen(lanes), yes, possible)
    if is_exact(table):
        return _Answer(yes, yes)
    return _Answer(yes, possible, _OpenLeaf(leaf, yes, possible))


def _from_sorted(leaf: Any, column: SortedColumn) -> Words:
    if isinstance(leaf, NullTest):
        return np.zeros(word_count(len(column.rows)), np.uint64) if leaf.null else full_words(len(column.rows))
    words = np.zeros(word_count(len(column.rows)), np.uint64)
    starts = np.searchsorted(column.keys, leaf.lows)
    stops = np.searchsorted(column.keys, leaf.highs, side="right")
    filled = starts < stops
    mark_rows(words, column.rows, len(column.rows), frozen(starts[filled]), frozen(stops[filled]))
    return words


def _from_postings(leaf: Any, column: PostingColumn) -> Words:
    if isinstance(leaf, NullTest):
        return full_words(column.rows_total) & ~column.valid if leaf.null else column.valid.copy()
    if isinstance(leaf, Membership):
        words = _from_lists(leaf, column)
        return full_words(column.rows_total) & ~words if leaf.flipped else words
    if isinstance(leaf, EmptyList):
        listed: Words = _mark(column, np.zeros(1, np.int64), np.array([len(column.dictionary)], np.int64))
        _mark_into(
            listed, column, "null_elements", np.zeros(1, np.int64), np.array([len(column.null_elements)], np.int64)
        )
        empty: Words = column.valid & ~listed
        return empty if leaf.empty else listed
    if isinstance(leaf, StringRange):
        starts, stops = column.dictionary.selected(leaf.intervals, leaf.fold)
    else:
        starts, stops = runs(column.dictionary.like(leaf.tokens, leaf.fold) == leaf.matching)
    selected = column.offsets[stops] - column.offsets[starts]
    if 2 * int(selected.sum()) <= len(column.rows):
        return _mark(column, starts, stops)
    # The complement is cheaper to mark, and exact because a row has only one string.
    ends = np.array([0, len(column.dictionary)], np.int64)
    rest_starts, rest_stops = np.append(ends[:1], stops), np.append(starts, ends[1:])
    filled = rest_starts < rest_stops
    return column.valid & ~_mark(column, rest_starts[filled], rest_stops[filled])


def _from_lists(leaf: Membership, column: PostingColumn) -> Words:
    positions = column.dictionary.find(leaf.values)
    if leaf.mode == "all":
        words = column.valid.copy()
        for position in np.unique(positions):
            present = positions[positions == position][:1]
            words &= _mark(column, present[present >= 0], present[present >= 0] + 1)
    else:
        present = np.unique(positions[positions >= 0])
        words = _mark(column, present, present + 1)
    if leaf.matching:
        return words
    if leaf.mode != "element":
        return column.valid & ~words
    if leaf.null_value:
        words = _mark(column, np.zeros(1, np.int64), np.array([len(column.dictionary)], np.int64))
    _mark_into(words, column, "null_elements", np.zeros(1, np.int64), np.array([len(column.null_elements)], np.int64))
    return full_words(column.rows_total) & ~words


def _mark(column: PostingColumn, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Words:
    """Return a mask of the rows of the strings at positions [starts[i], stops[i])."""
    words = np.zeros(word_count(column.rows_total), np.uint64)
    _mark_into(words, column, "rows", column.offsets[starts], column.offsets[stops])
    return words


def _mark_into(
    words: Words, column: PostingColumn, name: str, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]
) -> None:
    if column.ensure is not None:
        column.ensure(name, starts, stops)
    listed = column.rows if name == "rows" else column.null_elements
    if not mark_rows(words, listed, column.rows_total, frozen(starts), frozen(stops)):
        raise CorruptIndexError(
            f"attribute {column.name}", f"its postings list rows beyond the {column.rows_total} of the segment"
        )


def _decide(part: Any, read_keys: ReadKeys, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    if isinstance(part, _OpenLeaf):
        matches = _bits(part.yes, rows)
        unclear = _bits(part.possible, rows) & ~matches
        if unclear.any():
            keys, valid = read_keys(part.leaf.column, rows[unclear])
            matches[unclear] = valid & part.leaf.matches(keys)
        return matches
    matches = np.full(len(rows), part.every) if part.exact is None else _bits(part.exact, rows)
    for inner in part.parts:
        undecided = np.flatnonzero(matches == part.every)
        matches[undecided] = _decide(inner, read_keys, rows[undecided])
    return matches


def _bits(words: Words, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return (words[rows >> 6] >> (rows & 63).astype(np.uint64) & np.uint64(1)).astype(np.bool_)
