"""Pages: an order of the matching rows that does not depend on which part of it is asked for.

The approximate search for 20 need not begin with what the search for 10 found, so pages cut from searches of different depths
overlap and skip. For a page size k the list L is defined block by block instead: block 0 is the plain search for k; block b is
the search for 2^b k without the rows of the blocks before it, cut to as many as these hold together. A page is a slice of L, so
pages never share a row, and together they hold every one. The first costs nothing more; a page that begins at an offset costs
searches for k, 2k, 4k ... until one covers offset + k: about twice the last of them.

Where a search for more begins with what a search for less finds (it is exact), L is its order, and one search suffices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import LARGEST_K

COMPARED = 1 << 16  # pairs of rows that are compared one by one: sorting starts slowly
TOGETHER = 1 << 20  # rows that the searches of a page hold at once, all their queries together


class PageRows(msgspec.Struct, frozen=True, eq=False):
    """The part of a page that one search found: for each row its query, its place in the answer, its rank in the page.

    All int64 (n,), ordered by query, then rank.
    """

    queries: NDArray[np.int64]
    places: NDArray[np.int64]
    ranks: NDArray[np.int64]


NOTHING = PageRows(*np.empty((3, 0), np.int64))


class PageList:
    """The list L of some queries, as far as one page of it needs.

    Parameters
    ----------
    queries : int
    k, offset : int
        Size of the page, and rows before it.
    ordered : bool
        Whether a search for more begins with what a search for less finds.
    """

    def __init__(self, queries: int, k: int, offset: int, *, ordered: bool) -> None:
        self._k, self._offset = k, offset
        self._blocks = [(0, offset + k)] if ordered else list(pairwise(_edges(k, offset + k)))
        self._earlier = np.empty((queries, 0), np.int64)
        self._going = np.ones(queries, bool)

    def searches(self) -> Iterator[tuple[int, bool]]:
        """How deep to search, one after another, and whether the page takes rows of it; `add` each before the next."""
        for start, stop in self._blocks:
            if not self._going.any():
                return
            yield stop, stop > self._offset and start < self._offset + self._k

    def add(self, rows: NDArray[np.int64]) -> PageRows:
        """Take what the next search found, int64 (queries, its depth), -1 where nothing is left."""
        start, stop = next(block for block in self._blocks if block[1] == rows.shape[1])
        fresh = (rows >= 0) & self._going[:, None]
        if start:
            fresh &= ~_members(rows, self._earlier)
        positions = start + np.cumsum(fresh, axis=1) - 1
        fresh &= positions < stop
        self._going &= fresh.sum(axis=1) == stop - start  # a list that falls short has ended
        if stop < self._blocks[-1][1]:
            self._earlier = np.concatenate([self._earlier, np.where(fresh, rows, -1)], axis=1)
        if stop <= self._offset:
            return NOTHING
        queries, places = np.nonzero(fresh & (positions >= self._offset) & (positions < self._offset + self._k))
        return PageRows(queries, places, positions[queries, places] - self._offset)


def page_runs(queries: int, k: int, offset: int) -> list[slice]:
    """Runs of queries whose searches fit into memory together."""
    size = max(1, TOGETHER // (offset + k))
    return [slice(start, min(start + size, queries)) for start in range(0, queries, size)]


def collect_page(
    search: Callable[[slice, int], tuple[NDArray[np.float32], NDArray[np.int64]]],
    queries: int,
    k: int,
    offset: int,
    *,
    ordered: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A page of each query.

    Parameters
    ----------
    search : callable
        Given a run of the queries and a depth: their scores and rows, float32 and int64 (run, depth), -1 where there is none.

    Returns
    -------
    scores, rows : float32 (queries, k), int64 (queries, k)
        Padded with NaN and -1.
    """
    scores, rows = np.full((queries, k), np.nan, np.float32), np.full((queries, k), -1, np.int64)
    for run in page_runs(queries, k, offset):
        listed = PageList(run.stop - run.start, k, offset, ordered=ordered)
        for depth, _ in listed.searches():
            found_scores, found_rows = search(run, depth)
            part = listed.add(found_rows)
            if part is NOTHING:
                continue
            to = part.queries + run.start, part.ranks
            scores[to], rows[to] = found_scores[part.queries, part.places], found_rows[part.queries, part.places]
    return scores, rows


def _edges(k: int, last: int) -> list[int]:
    """Where blocks begin and end: 0, k, 2k, 4k ... until `last` is covered; the deepest search ends them."""
    edges = [0, k]
    while edges[-1] < last:
        edges.append(min(2 * edges[-1], LARGEST_K))
    return edges


def _members(rows: NDArray[np.int64], earlier: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows, (queries, n), are among the same query's earlier ones, (queries, m)."""
    if rows.size * earlier.shape[1] <= COMPARED:
        return (rows[:, :, None] == earlier[:, None, :]).any(axis=2)
    stride = max(int(rows.max(initial=-1)), int(earlier.max(initial=-1))) + 2
    own = np.arange(len(rows))[:, None] * stride
    members: NDArray[np.bool_] = np.isin(rows + own, earlier + own)
    return members
