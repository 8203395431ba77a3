"""Search for the terms of one query in all runs, with little Python around the kernels: its lists, and a workspace per thread."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.text.api import rank_runs, score_runs
from vsearch.kernels.text.fields import BLOCK, TOUCHED_WORDS, WINDOW, RankField, RunColumn, TermColumn, TermsField
from vsearch.legs.protocol import LegRows
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.arguments import KernelArguments, address
from vsearch.search.state.fetching import take_ids
from vsearch.search.where import mask_of
from vsearch.storage.snapshots.kinds import IDS
from vsearch.text.placing import norm_of

if TYPE_CHECKING:
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.text.opening import OpenColumn

MOST_LISTS = 128
"""Maximum number of terms of a query, over all columns."""

MOST_KNOWN_BYTES = 1 << 23
"""Maximum bytes of the lists of terms that are cached for a snapshot."""

# read once, since looking up a member of an enumeration costs as much as the assignment
TERMS, ORDERED, DAMAGED = int(TermsField.TERMS), int(TermsField.ORDERED), int(TermsField.DAMAGED)
LISTED, LISTED_ROWS = int(TermsField.LISTED), int(TermsField.LISTED_ROWS)
ID_COUNT, BEST_IDS = int(TermsField.ID_COUNT), int(TermsField.IDS)
SIZE, SCORED = int(RankField.SIZE), int(RankField.SCORED)

ABSENT = 0, 0, 0

ID_TYPES = (np.dtype(np.uint32), np.dtype(np.int64))
_weight = struct.Struct("d")


def with_weight(row: bytes, weight: float) -> bytes:
    """Return a row of the kernel's table with another weight."""
    return _weight.pack(weight) + row[_weight.size :]


def weight_of(row: bytes) -> float:
    """Return the weight of a row of the kernel's table."""
    weight: float = _weight.unpack_from(row)[0]
    return weight


class OpenTerms:
    """The columns of a snapshot whose postings are in memory or in mapped files.

    Attributes
    ----------
    columns : tuple of OpenColumn
    largest : float
        Sum of the weights of a query as integers.
    unit : float
        Factor of the weights that a query states.
    has_ids : bool
        Whether kernels return ids.
    known : dict
        Terms of parts of queries, as rows of the kernel's table; see `keep`.
    """

    def __init__(self, snapshot: Snapshot, columns: tuple[OpenColumn, ...], largest: float, unit: float) -> None:
        self.columns, self.largest, self.unit = columns, largest, unit
        self.runs, self.known = len(snapshot.shards), dict[Any, tuple[bytes, ...]]()
        self.most_known = max(MOST_KNOWN_BYTES // (8 * self.width), 256)
        self.norms = np.array([norm_of(column, column.length) for column in columns])
        self.table = np.zeros((self.runs, len(RunColumn)), np.int64)
        self._kept: list[NDArray[Any]] = []
        for run, row in zip(snapshot.shards, self.table, strict=True):
            addresses = np.array([column.runs[run.number].address for column in columns], np.int64)
            self._kept.append(addresses)
            row[: RunColumn.MASK] = run.rows, run.first_row, address(addresses)
            if run.live is not None:
                self._kept.append(run.live)
                row[RunColumn.MASK] = address(run.live)
        self.has_ids = self._add_ids(snapshot)

    def _add_ids(self, snapshot: Snapshot) -> bool:
        """Add the ids of all runs to the table, and return whether they are integers in memory or in mapped files."""
        if snapshot.plain_ids() is None:
            return False
        for run, row in zip(snapshot.shards, self.table, strict=True):
            if run.rows:
                ids = run.files[IDS].array("id")
                if ids.dtype not in ID_TYPES or not ids.flags.c_contiguous:
                    return False
                self._kept.append(ids)
                row[RunColumn.IDS :] = address(ids), ids.itemsize
        return True

    @classmethod
    def of(
        cls, snapshot: Snapshot, columns: tuple[OpenColumn, ...], largest: float, unit: float = 1.0
    ) -> OpenTerms | None:
        """Open columns; None if some of their postings may have to be read first."""
        files = [postings.file for column in columns for postings in column.runs]
        if not all(file is None or file.mapped or file.complete for file in files):
            return None
        return cls(snapshot, columns, largest, unit)

    @property
    def width(self) -> int:
        """Numbers of a term in the kernel's table."""
        return len(TermColumn) + 3 * self.runs

    def row(self, number: int, term: str, weight: float) -> bytes:
        """Return the lists of a term of a column as a row of the kernel's table."""
        column = self.columns[number]
        places = column.lists(term)
        for postings, place in zip(column.runs, places, strict=True):
            if place is not None:
                postings.ensure(place[0], place[1])  # once is enough: the files are mapped or in memory
        numbers = (part for place in places for part in place or ABSENT)
        return struct.pack(f"d{self.width - 1}q", weight, number, *numbers)

    def keep(self, key: Any, rows: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Cache the rows of a part of queries, and return them."""
        if len(self.known) >= self.most_known:
            self.known.clear()
        self.known[key] = rows
        return rows


def opened_terms(snapshot: Snapshot, key: str, make: Callable[[], OpenTerms | None]) -> OpenTerms | None:
    """Return the columns of a snapshot that are kept under a key, or make them."""
    opened: OpenTerms | None = snapshot.derived.get(key)
    if opened is None:
        opened = make()
        if opened is not None:
            opened = snapshot.derived.setdefault(key, opened)
    return opened


class _Workspace:
    """The argument blocks and the arrays of one thread."""

    def __init__(self) -> None:
        rank, block = KernelArguments(len(RankField)), KernelArguments(len(TermsField))
        self._rank, self._block, self.address = rank, block, block.address
        self.values, self.heap = block.values.data, rank.values.data
        rank.point(RankField.TABLE, np.zeros((MOST_LISTS, 4), np.int64), np.int64)
        rank.point(RankField.WEIGHTS, np.zeros(MOST_LISTS), np.float64)
        rank.point(RankField.CURSORS, np.empty((MOST_LISTS, 3), np.int64), np.int64)
        rank.point(RankField.BOUNDS, np.empty(MOST_LISTS, np.int64), np.int64)
        rank.point(RankField.OVERLAPS, np.empty(MOST_LISTS, np.int64), np.int64)
        rank.point(RankField.BLOCK_ROWS, np.empty((MOST_LISTS, BLOCK), np.int64), np.int64)
        rank.point(RankField.BLOCK_GAINS, np.empty((MOST_LISTS, BLOCK), np.int64), np.int64)
        rank.point(RankField.SUMS, np.zeros(WINDOW, np.int64), np.int64)
        rank.point(RankField.TOUCHED, np.zeros(TOUCHED_WORDS, np.uint64), np.uint64)
        rank.point(RankField.CANDIDATES, np.empty(WINDOW + 1, np.int64), np.int64)
        rank.point(RankField.BLOCK_LENGTHS, np.empty(BLOCK, np.int64), np.int64)
        block.values[TermsField.RANK] = rank.address
        block.point(TermsField.ORDER, np.empty(MOST_LISTS, np.int64), np.int64)
        self._largest = np.zeros(1)
        block.point(TermsField.LARGEST, self._largest, np.float64)
        block.point(TermsField.SCALES, np.zeros(1), np.float64)
        self.k = self.runs = 0
        self.scores = np.empty(0, np.float32)
        self.opened: OpenTerms | None = None
        self.words: Sequence[NDArray[np.uint64]] | None = None
        self.terms = b""

    def begin(self, opened: OpenTerms, terms: bytes, count: int) -> None:
        """Set the terms of a query."""
        if opened is not self.opened:
            self._open(opened)
        self.terms = terms
        self.table[: len(terms)] = terms
        self.values[TERMS] = count

    def _open(self, opened: OpenTerms) -> None:
        block, rank = self._block, self._rank
        if opened.runs != self.runs:
            self.runs = block.values[TermsField.RUNS] = opened.runs
            block.values[TermsField.WIDTH] = opened.width
            table = np.zeros((MOST_LISTS, opened.width), np.int64)
            self.table = table.data.cast("B")
            block.point(TermsField.TABLE, table, np.int64)
            block.point(TermsField.WEIGHTS, table.view(np.float64), np.float64)
        self._largest[0] = opened.largest
        rank.values[RankField.COLUMNS] = len(opened.columns)
        rank.point(RankField.NORMS, opened.norms, np.float64)
        block.point(TermsField.RUN_TABLE, opened.table, np.int64)
        self.opened = opened

    def resize(self, k: int) -> None:
        """Make room for k rows."""
        self.k = self._rank.values[RankField.K] = k
        self.rows, self.best_scores = np.empty((1, k), np.int64), np.empty((1, k), np.float32)
        self.ids = np.empty((1, k), np.int64)
        self._rank.point(RankField.HEAP_SCORES, np.empty(k, np.int64), np.int64)
        self._rank.point(RankField.HEAP_ROWS, self.rows, np.int64)
        self._rank.point(RankField.BEST_SCORES, self.best_scores, np.float32)
        self.values[ID_COUNT], self.ids_at = k, address(self.ids)

    def allow(self, words: Sequence[NDArray[np.uint64]] | None) -> None:
        """Set the rows of each run that may be returned; None for all live rows."""
        addresses = np.array([] if words is None else [address(of_run) for of_run in words], np.int64)
        self._block.point(TermsField.MASKS, addresses, np.int64)
        self.words = words

    def score(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of rows, ascending; valid until the next call."""
        count, values = len(rows), self.values
        if count > len(self.scores):
            self.scores = np.empty(2 * count, np.float32)
            self._block.point(TermsField.SCORES, self.scores, np.float32)
            self._block.point(TermsField.SUMS, np.empty(2 * count, np.int64), np.int64)
        values[LISTED], values[LISTED_ROWS] = count, address(rows)
        score_runs(self.address)
        return self.scores[:count]


_threads = threading.local()


def _workspace() -> _Workspace:
    """Return the workspace of the calling thread."""
    workspace: _Workspace | None = getattr(_threads, "workspace", None)
    if workspace is None:
        workspace = _threads.workspace = _Workspace()
    return workspace


class SingleTerms:
    """The terms of one query with their lists; see `vsearch.legs.protocol.SingleQuery`.

    Parameters
    ----------
    opened : OpenTerms
    rows : sequence of bytes
        1 to `MOST_LISTS` distinct terms as rows of the kernel's table; weights are positive.
    """

    __slots__ = ("count", "opened", "terms")

    def __init__(self, opened: OpenTerms, rows: Sequence[bytes]) -> None:
        self.opened, self.terms, self.count = opened, b"".join(rows), len(rows)

    def scan(self, k: int, words: Sequence[NDArray[np.uint64]] | None, *, ordered: bool) -> _Workspace:
        """Find the k best rows; they are in the returned workspace."""
        workspace = _workspace()
        workspace.begin(self.opened, self.terms, self.count)
        if k != workspace.k:
            workspace.resize(k)
        if words is not workspace.words:
            workspace.allow(words)
        values = workspace.values
        values[ORDERED], values[BEST_IDS] = ordered, workspace.ids_at if ordered and self.opened.has_ids else 0
        rank_runs(workspace.address)
        if values[DAMAGED]:
            raise self.opened.columns[0].runs[values[DAMAGED] - 1].damaged()
        return workspace

    def rank(self, k: int, words: Sequence[NDArray[np.uint64]] | None) -> LegRows:
        """Return the k best rows."""
        workspace = self.scan(k, words, ordered=False)
        size = workspace.heap[SIZE]
        return LegRows(workspace.rows[0, :size], workspace.best_scores[0, :size], workspace.heap[SCORED])

    def score(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the scores of some rows, ascending; 0 for rows without any of the terms."""
        workspace = _workspace()
        if workspace.terms is not self.terms or workspace.opened is not self.opened:
            workspace.begin(self.opened, self.terms, self.count)
        return workspace.score(rows)


def search_terms(
    snapshot: Snapshot, terms: SingleTerms, k: int, where: Where, begun: float
) -> tuple[NDArray[Any], NDArray[np.float32], SearchStats]:
    """Search for the terms of one query; return ids (1, k), scores (1, k) and statistics.

    Parameters
    ----------
    where
        A predicate in any form, or None.
    begun : float
        `time.perf_counter` at the start of the call, for the statistics.

    Raises
    ------
    PredicateError
        The predicate is invalid.
    """
    prepared, words = time.perf_counter(), None
    if where is None:
        stats = SearchStats(1, 0, 0, snapshot.live_count)
    else:
        stats = SearchStats(1)
        mask = mask_of(snapshot, where, stats)
        words = None if mask is None else mask.words
    masked = time.perf_counter()
    workspace = terms.scan(k, words, ordered=True)
    ranked = time.perf_counter()
    ids: NDArray[Any] = workspace.ids.copy() if terms.opened.has_ids else take_ids(snapshot, workspace.rows)
    scores, times = workspace.best_scores.copy(), stats.milliseconds
    stats.rows_scanned = workspace.heap[SCORED]
    times["prepare"], times["mask"] = (prepared - begun) * 1e3, (masked - prepared) * 1e3
    times["scan"], times["fetch"] = (ranked - masked) * 1e3, (time.perf_counter() - ranked) * 1e3
    return ids, scores, stats
