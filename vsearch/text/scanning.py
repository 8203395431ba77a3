"""The arguments of the kernels that score the rows of a run: a query with its lists, and a workspace per thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.text.api import rank_rows, score_rows
from vsearch.kernels.text.fields import BLOCK, TOUCHED_WORDS, WINDOW, RankField
from vsearch.search.state.arguments import KernelArguments

NO_LISTS = np.empty((0, 4), np.int64)


@dataclass(frozen=True, eq=False)
class PlacedQuery:
    """A weighted query in a run, as scored by kernels.

    Attributes
    ----------
    lists, weights : int64 (n, 4), float64 (n,)
        See `ListField`; by descending weight. Weights are scaled to whole numbers.
    bitmaps, constants : uint64 (m, words), int64 (m,)
        Rows of each prefix as a bitmap, and the score that it adds.
    extras : sequence of (int64 (n,), int64 (n,))
        Rows of phrases, ascending, and their scores.
    met : uint64 (words,) or None
        The rows that meet the conditions of the query; None if there are none.
    """

    lists: NDArray[np.int64]
    weights: NDArray[np.float64]
    bitmaps: NDArray[np.uint64]
    constants: NDArray[np.int64]
    extras: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
    met: NDArray[np.uint64] | None

    @property
    def empty(self) -> bool:
        """Whether no row can have a score."""
        return not (len(self.lists) or len(self.constants) or self.extras)


class ScoringWorkspace:
    """The argument block and the scratch arrays of one thread."""

    def __init__(self) -> None:
        self._block = KernelArguments(len(RankField))
        self._values = self._block.values.data  # faster than the array for single numbers
        self._block.point(RankField.SUMS, np.zeros(WINDOW, np.int64), np.int64)
        self._block.point(RankField.TOUCHED, np.zeros(TOUCHED_WORDS, np.uint64), np.uint64)
        self._block.point(RankField.CANDIDATES, np.empty(WINDOW + 1, np.int64), np.int64)
        self._block.point(RankField.BLOCK_LENGTHS, np.empty(BLOCK, np.int64), np.int64)
        self._room = self._columns = self._heap = 0
        self._placed: tuple[object, ...] = ()
        self._query: PlacedQuery | None = None

    def begin(self, addresses: Sequence[int], norms: Sequence[tuple[float, float]], query: PlacedQuery) -> None:
        """Set the query and the run, whose postings have these addresses; almost free if they are unchanged."""
        placed = (*addresses, *norms)
        if query is self._query and placed == self._placed:
            return
        self._query = query
        block, values = self._block, self._values
        columns, lists = len(addresses), len(query.lists)
        if placed != self._placed:
            if columns != self._columns:
                self._columns = values[RankField.COLUMNS] = columns
                self._addresses, self._norms = np.zeros(columns, np.int64), np.zeros((columns, 2))
                block.point(RankField.ADDRESSES, self._addresses, np.int64)
                block.point(RankField.NORMS, self._norms, np.float64)
            self._addresses[:], self._norms[:], self._placed = addresses, norms, placed
        if lists > self._room:
            self._room = 2 * lists
            block.point(RankField.CURSORS, np.empty((self._room, 3), np.int64), np.int64)
            block.point(RankField.BOUNDS, np.empty(self._room, np.int64), np.int64)
            block.point(RankField.OVERLAPS, np.empty(self._room, np.int64), np.int64)
            block.point(RankField.BLOCK_ROWS, np.empty((self._room, BLOCK), np.int64), np.int64)
            block.point(RankField.BLOCK_GAINS, np.empty((self._room, BLOCK), np.int64), np.int64)
        block.point(RankField.TABLE, query.lists, np.int64)
        block.point(RankField.WEIGHTS, query.weights, np.float64)
        values[RankField.LISTS] = lists
        values[RankField.BITMAPS], values[RankField.EXTRAS] = len(query.constants), len(query.extras)
        if len(query.constants):
            values[RankField.WORDS] = query.bitmaps.shape[1]
            block.point(RankField.BITS, query.bitmaps, np.uint64)
            block.point(RankField.CONSTANTS, query.constants, np.int64)
        if query.extras:
            sizes = [len(rows) for rows, _ in query.extras]
            values[RankField.EXTRA_POSTINGS] = sum(sizes)
            block.point(RankField.EXTRA_EDGES, np.cumsum([0, *sizes[:-1]]), np.int64)
            block.point(RankField.EXTRA_ROWS, np.concatenate([rows for rows, _ in query.extras]), np.int64)
            block.point(RankField.EXTRA_GAINS, np.concatenate([gains for _, gains in query.extras]), np.int64)
            block.point(RankField.EXTRA_PLACES, np.empty(len(sizes), np.int64), np.int64)

    def begin_heap(self, k: int) -> None:
        """Empty the heap, and make room for k rows."""
        if k != self._heap:
            self._heap = k
            self._scores, self._rows = np.empty(k, np.int64), np.empty(k, np.int64)
            self._block.point(RankField.HEAP_SCORES, self._scores, np.int64)
            self._block.point(RankField.HEAP_ROWS, self._rows, np.int64)
            self._values[RankField.K] = k
        self._values[RankField.SIZE] = self._values[RankField.SCORED] = 0

    def rank(self, first: int, stop: int, base: int, mask: NDArray[np.uint64] | None) -> bool:
        """Push the best rows of a span; return whether the postings are undamaged. See `ranking.rank_rows`."""
        values = self._values
        values[RankField.FIRST], values[RankField.STOP], values[RankField.BASE] = first, stop, base
        values[RankField.DAMAGED] = 0
        if mask is None:
            values[RankField.MASK] = 0
        else:
            values[RankField.WORDS] = len(mask)
            self._block.point(RankField.MASK, mask, np.uint64)
        rank_rows(self._block.address)
        return not values[RankField.DAMAGED]

    def hits(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Return the scores and rows of the heap, best first, and the number of postings scored since it was emptied."""
        size = self._values[RankField.SIZE]
        scores, rows = self._scores[:size], self._rows[:size]
        order = np.lexsort((rows, -scores))
        return scores[order], rows[order], self._values[RankField.SCORED]

    def score(self, rows: NDArray[np.int64], base: int) -> NDArray[np.int64]:
        """Return the scores of rows, int64 (n,) ascending, whether they meet the conditions or not; the run has them from `base` on."""
        self._values[RankField.BASE] = base
        scores = np.empty(len(rows), np.int64)
        self._block.point(RankField.LISTED_ROWS, rows, np.int64)
        self._block.point(RankField.LISTED_SCORES, scores, np.int64)
        self._values[RankField.LISTED] = len(rows)
        score_rows(self._block.address)
        return scores


_threads = threading.local()


def scoring_workspace() -> ScoringWorkspace:
    """Return the workspace of the calling thread."""
    workspace: ScoringWorkspace | None = getattr(_threads, "workspace", None)
    if workspace is None:
        workspace = _threads.workspace = ScoringWorkspace()
    return workspace


def bits_of(words: NDArray[np.uint64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are in a mask."""
    return (words[rows >> 6] >> (rows & 63).astype(np.uint64) & np.uint64(1)).astype(np.bool_)
