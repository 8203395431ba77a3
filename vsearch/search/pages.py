"""Pagination: an order of the matching rows that does not depend on the requested part.

An approximate search for 20 rows need not start with the results of the search for 10, so pages cut from searches of
different depths would overlap and have gaps. Instead, for a page size k, a list L is defined block by block: block 0 is
the plain search for k; block b is the search for 2^b k without the rows of the preceding blocks, cut to as many rows as
these have together. Pages are slices of L, so they never share a row and together have all rows. The first page has no
extra cost; a page at an offset costs searches for k, 2k, 4k ... until one covers offset + k, about twice the last of
them.

If deeper searches start with the results of shallower ones (exact search), L is their order, and one search suffices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import LARGEST_DEPTH

COMPARED = 1 << 16  # up to this many pairs of rows, comparing each is faster than sorting
TOGETHER = 1 << 20  # rows that the searches of a page hold in memory at once, over all queries


class PageRows(msgspec.Struct, frozen=True, eq=False):
    """The part of a page that one search contributes: each row's query, position in the results and rank in the page.

    All int64 (n,), ordered by query, then rank.
    """

    queries: NDArray[np.int64]
    places: NDArray[np.int64]
    ranks: NDArray[np.int64]


NOTHING = PageRows(*np.empty((3, 0), np.int64))


class PageList:
    """The list L of some queries, as far as needed for one page or several in a row.

    Parameters
    ----------
    queries : int
        Number of queries.
    k, offset : int
        Size of a page, and number of rows before the first.
    ordered : bool
        Whether deeper searches start with the results of shallower ones.
    end : int, optional
        Number of rows of the list up to the end of the last page; by default, that of one page.
    """

    def __init__(self, queries: int, k: int, offset: int, *, ordered: bool, end: int | None = None) -> None:
        self._offset, self._end = offset, offset + k if end is None else end
        self._blocks = [(0, self._end)] if ordered else list(pairwise(_edges(k, self._end)))
        self._earlier = np.empty((queries, 0), np.int64)
        self._going = np.ones(queries, bool)

    def searches(self) -> Iterator[tuple[int, bool]]:
        """Yield the depth of each search, and whether it has rows of the page; `add` its results before the next."""
        for start, stop in self._blocks:
            if not self._going.any():
                return
            yield stop, stop > self._offset and start < self._end

    def add(self, rows: NDArray[np.int64]) -> PageRows:
        """Add the results of the next search, int64 (queries, depth), padded with -1; return its rows of the page."""
        start, stop = next(block for block in self._blocks if block[1] == rows.shape[1])
        new = (rows >= 0) & self._going[:, None]
        if start:
            new &= ~_members(rows, self._earlier)
        positions = start + np.cumsum(new, axis=1) - 1
        new &= positions < stop
        self._going &= new.sum(axis=1) == stop - start  # a list that falls short has ended
        if stop < self._blocks[-1][1]:
            self._earlier = np.concatenate([self._earlier, np.where(new, rows, -1)], axis=1)
        if stop <= self._offset:
            return NOTHING
        queries, places = np.nonzero(new & (positions >= self._offset) & (positions < self._end))
        return PageRows(queries, places, positions[queries, places] - self._offset)


Search = Callable[[slice, int], tuple[NDArray[np.float32], NDArray[np.int64]]]


def page_runs(queries: int, k: int, offset: int) -> list[slice]:
    """Split queries into runs whose searches fit into memory together."""
    size = max(1, TOGETHER // (offset + k))
    return [slice(start, min(start + size, queries)) for start in range(0, queries, size)]


def collect_page(
    search: Search,
    queries: int,
    k: int,
    offset: int,
    *,
    ordered: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search a page for each query.

    Parameters
    ----------
    search : callable
        ``search(run, depth)`` -> scores and rows of a run of the queries, float32 and int64 (run, depth), padded with
        NaN and -1.

    Returns
    -------
    scores, rows : float32 (queries, k), int64 (queries, k)
        Padded with NaN and -1.
    """
    scores, rows = np.full((queries, k), np.nan, np.float32), np.full((queries, k), -1, np.int64)
    for run in page_runs(queries, k, offset):
        page_list = PageList(run.stop - run.start, k, offset, ordered=ordered)
        for depth, _ in page_list.searches():
            deep_scores, deep_rows = search(run, depth)
            part = page_list.add(deep_rows)
            if part is NOTHING:
                continue
            to = part.queries + run.start, part.ranks
            scores[to], rows[to] = deep_scores[part.queries, part.places], deep_rows[part.queries, part.places]
    return scores, rows


def iterate_pages(
    search: Search, queries: int, k: int, end: int, *, ordered: bool
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Search the pages of k rows up to row `end` of the list one after another; the same as `collect_page` for each of them.

    All pages together cost about twice the search for `end` rows, since the rows found so far are kept: 8 bytes each.
    If these are too many, each page is searched by itself.

    Yields
    ------
    scores, rows : float32 (queries, k), int64 (queries, k)
        Padded with NaN and -1. The last page has fewer places if k is no divisor of `end`; pages without rows are left out.
    """
    if queries > 1 and queries * end > TOGETHER:
        for offset in range(0, end, k):
            scores, rows = collect_page(search, queries, k, offset, ordered=ordered)
            if not (rows >= 0).any():
                return
            yield scores[:, : end - offset], rows[:, : end - offset]
        return
    listed, start = PageList(queries, k, 0, ordered=ordered, end=end), 0
    for depth, _ in listed.searches():
        deep_scores, deep_rows = search(slice(0, queries), depth)
        part = listed.add(deep_rows)
        width = min(depth, end) - start
        scores, rows = np.full((queries, width), np.nan, np.float32), np.full((queries, width), -1, np.int64)
        to = part.queries, part.ranks - start
        scores[to], rows[to] = deep_scores[part.queries, part.places], deep_rows[part.queries, part.places]
        for first in range(0, width, k):
            page = rows[:, first : first + k]
            if not (page >= 0).any():
                return
            yield scores[:, first : first + k], page
        start = depth


def _edges(k: int, last: int) -> list[int]:
    """Return the boundaries of blocks: 0, k, 2k, 4k ... until `last` is covered, at most the largest depth."""
    edges = [0, k]
    while edges[-1] < last:
        edges.append(min(2 * edges[-1], LARGEST_DEPTH))
    return edges


def _members(rows: NDArray[np.int64], earlier: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows, (queries, n), are among the same query's earlier rows, (queries, m)."""
    if rows.size * earlier.shape[1] <= COMPARED:
        return (rows[:, :, None] == earlier[:, None, :]).any(axis=2)
    stride = max(int(rows.max(initial=-1)), int(earlier.max(initial=-1))) + 2
    shift = np.arange(len(rows))[:, None] * stride  # makes rows of different queries distinct
    members: NDArray[np.bool_] = np.isin(rows + shift, earlier + shift)
    return members
