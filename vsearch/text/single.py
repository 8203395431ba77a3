"""Search for the words of one query without signs or filters, the most common kind, with little Python around the kernel.

The results are those of `vsearch.text.search.rank_words`.
"""

from __future__ import annotations

import math
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.text.api import rank_rows, score_rows
from vsearch.kernels.text.fields import BLOCK, TOUCHED_WORDS, WINDOW, RankField
from vsearch.legs.protocol import LegRows
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.arguments import KernelArguments, address
from vsearch.search.state.fetching import take_found_ids, take_ids
from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.opening import MOST_KNOWN, OpenColumn, open_text
from vsearch.text.placing import norm_of
from vsearch.text.query import is_plain
from vsearch.text.weighted import RANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.search.state.snapshot import Snapshot

LONGEST = 4096
"""Maximum number of characters of a query."""

MOST_LISTS = 64
"""Maximum number of terms of a query, over all columns."""

# read once, since looking up a member of an enumeration costs as much as the assignment
COLUMNS, ADDRESSES, LISTS, MASK, WORDS = map(
    int, (RankField.COLUMNS, RankField.ADDRESSES, RankField.LISTS, RankField.MASK, RankField.WORDS)
)
LISTED, LISTED_ROWS, LISTED_SCORES = map(int, (RankField.LISTED, RankField.LISTED_ROWS, RankField.LISTED_SCORES))
STOP, BASE, SIZE, SCORED, DAMAGED, SORTED = map(
    int, (RankField.STOP, RankField.BASE, RankField.SIZE, RankField.SCORED, RankField.DAMAGED, RankField.SORTED)
)

Known = tuple[float, tuple[bytes | None, ...]]
"""The maximum score of a term, and its list in each run as a row of the kernel's table; None in runs without it."""

_table_row = struct.Struct("4q")


@dataclass(frozen=True, eq=False)
class _Run:
    """A run as the kernel needs it: addresses of its postings, one for each column, and of the mask of its live rows, or 0 for all.

    The snapshot keeps the arrays alive.
    """

    rows: int
    first_row: int
    addresses: NDArray[np.int64]
    addresses_at: int
    mask: int
    words: int


@dataclass(frozen=True, eq=False)
class _OpenWords:
    """The text columns of a snapshot whose postings are in memory or in mapped files.

    Attributes
    ----------
    edges : int64 (2 * runs,)
        First row of each run, and the row after its last.
    known : tuple of dicts
        Terms of each column.
    """

    columns: tuple[OpenColumn, ...]
    runs: tuple[_Run, ...]
    norms: NDArray[np.float64]
    edges: NDArray[np.int64]
    known: tuple[dict[str, Known], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", tuple({} for _ in self.columns))

    def look_up(self, number: int, term: str, snapshot: Snapshot) -> Known:
        """Return what is known of a term that was not searched yet."""
        column, known = self.columns[number], self.known[number]
        for postings, place in zip(column.runs, column.lists(term), strict=True):
            if place is not None:
                postings.ensure(place[0], place[1])  # once is enough: the files are mapped or in memory
        rows = tuple(None if place is None else _table_row.pack(number, *place) for place in column.lists(term))
        if len(known) >= MOST_KNOWN:
            known.clear()
        entry = known[term] = column.weight(term, snapshot.shards), rows
        return entry


def _open(snapshot: Snapshot) -> _OpenWords | None:
    if not text_columns(snapshot.manifest.text):
        return None
    columns = open_text(snapshot)
    files = [postings.file for column in columns for postings in column.runs]
    if not all(file is None or file.mapped or file.complete for file in files):
        return None
    runs = []
    for run in snapshot.shards:
        addresses = np.array([column.runs[run.number].address for column in columns], np.int64)
        mask, words = (0, 0) if run.live is None else (address(run.live), len(run.live))
        runs.append(_Run(run.rows, run.first_row, addresses, address(addresses), mask, words))
    norms = np.array([norm_of(column, column.length) for column in columns])
    edges = [edge for run in runs for edge in (run.first_row, run.first_row + run.rows)]
    made = _OpenWords(columns, tuple(runs), norms, np.array(edges, np.int64))
    opened: _OpenWords = snapshot.derived.setdefault(__name__, made)
    return opened


class _Workspace:
    """The argument block and the arrays of one thread."""

    def __init__(self) -> None:
        block = self._block = KernelArguments(len(RankField))
        self.address, self.values = block.address, block.values.data
        self.table, self.weights = np.zeros((MOST_LISTS, 4), np.int64), np.zeros(MOST_LISTS)
        self.table_bytes, self.weight_bytes = self.table.data.cast("B"), self.weights.data.cast("B")
        block.point(RankField.TABLE, self.table, np.int64)
        block.point(RankField.WEIGHTS, self.weights, np.float64)
        block.point(RankField.CURSORS, np.empty((MOST_LISTS, 3), np.int64), np.int64)
        block.point(RankField.BOUNDS, np.empty(MOST_LISTS, np.int64), np.int64)
        block.point(RankField.OVERLAPS, np.empty(MOST_LISTS, np.int64), np.int64)
        block.point(RankField.BLOCK_ROWS, np.empty((MOST_LISTS, BLOCK), np.int64), np.int64)
        block.point(RankField.BLOCK_GAINS, np.empty((MOST_LISTS, BLOCK), np.int64), np.int64)
        block.point(RankField.SUMS, np.zeros(WINDOW, np.int64), np.int64)
        block.point(RankField.TOUCHED, np.zeros(TOUCHED_WORDS, np.uint64), np.uint64)
        block.point(RankField.CANDIDATES, np.empty(WINDOW, np.int64), np.int64)
        self.scale = np.ones(1)
        block.point(RankField.SCALE, self.scale, np.float64)
        self.k = 0
        self.keys, self.keys_at = np.empty(0, np.int64), 0
        self.opened: _OpenWords | None = None
        self.placed: _Placed | None = None

    def begin(self, opened: _OpenWords, k: int) -> None:
        """Set the index and the number of hits, and empty the heap."""
        if opened is not self.opened:
            self.opened, self.values[COLUMNS] = opened, len(opened.columns)
            self._block.point(RankField.NORMS, opened.norms, np.float64)
        if k != self.k:
            self.k, self.values[RankField.K] = k, k
            self.scores, self.rows = np.empty((1, k), np.int64), np.empty((1, k), np.int64)
            self.best_scores = np.empty((1, k), np.float32)
            self._block.point(RankField.BEST_SCORES, self.best_scores, np.float32)
            self._block.point(RankField.HEAP_SCORES, self.scores, np.int64)
            self._block.point(RankField.HEAP_ROWS, self.rows, np.int64)
        self.values[SIZE] = self.values[SCORED] = self.values[SORTED] = 0

    def zeros(self, count: int) -> NDArray[np.int64]:
        """Return zeros, int64 (count,), at `keys_at`; valid until the next call."""
        if count > len(self.keys):
            self.keys = np.empty(2 * count, np.int64)
            self.keys_at = address(self.keys)
        keys = self.keys[:count]
        keys.fill(0)
        return keys

    def place(self, run: _Run, placed: _Placed) -> None:
        """Set the run, and the lists of a query in it."""
        count, values = len(placed.rows), self.values
        self.placed = placed
        self.table_bytes[: 32 * count] = b"".join(placed.rows)
        self.weight_bytes[: 8 * count] = struct.pack(f"{count}d", *placed.weights)
        values[LISTS], values[ADDRESSES] = count, run.addresses_at

    def rank(self, run: _Run, mask: int, words: int, *, last: bool) -> bool:
        """Push the best rows of the run, and put all in order after the last; return whether the postings are undamaged."""
        values = self.values
        values[STOP], values[BASE], values[MASK], values[WORDS] = run.rows, run.first_row, mask, words
        values[DAMAGED], values[SORTED] = 0, last
        rank_rows(self.address)
        return not values[DAMAGED]


_threads = threading.local()


def _workspace() -> _Workspace:
    """Return the workspace of the calling thread."""
    workspace: _Workspace | None = getattr(_threads, "workspace", None)
    if workspace is None:
        workspace = _threads.workspace = _Workspace()
    return workspace


class _Placed(NamedTuple):
    """The lists of a query in a run, by its number: rows of the kernel's table, and scaled weights."""

    run: int
    rows: list[bytes]
    weights: list[float]


class SingleWords:
    """The words of a query, and their lists in the runs; see `vsearch.legs.protocol.SingleQuery`."""

    __slots__ = ("opened", "placed", "scale")

    def __init__(self, opened: _OpenWords, placed: list[_Placed], scale: float) -> None:
        self.opened, self.placed, self.scale = opened, placed, scale

    def scan(self, k: int, words: Sequence[NDArray[np.uint64]] | None = None, *, ordered: bool = True) -> _Workspace:
        """Find the k best rows; they are in the returned workspace. Its `scores` are not divided by `scale`; `ordered` ones are."""
        workspace, runs = _workspace(), self.opened.runs
        workspace.begin(self.opened, k)
        workspace.scale[0] = self.scale
        last = self.placed[-1] if ordered else None
        for placed in self.placed:
            run = runs[placed.run]
            mask, count = run.mask, run.words
            if words is not None:
                mask, count = address(words[placed.run]), len(words[placed.run])
            workspace.place(run, placed)
            if not workspace.rank(run, mask, count, last=placed is last):
                raise self.opened.columns[0].runs[placed.run].damaged()
        return workspace

    def rank(self, k: int, words: Sequence[NDArray[np.uint64]] | None) -> LegRows:
        """Return the k best rows."""
        workspace = self.scan(k, words, ordered=False)
        size = workspace.values[SIZE]
        return LegRows(workspace.rows[0, :size], workspace.scores[0, :size] / self.scale, workspace.values[SCORED])

    def score(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of some rows, ascending; 0 for rows without any of the words."""
        workspace, runs = _workspace(), self.opened.runs
        values, edges = workspace.values, rows.searchsorted(self.opened.edges).tolist()
        keys, keys_at, rows_at = workspace.zeros(len(rows)), workspace.keys_at, address(rows)
        for placed in self.placed:
            run = runs[placed.run]
            first, stop = edges[2 * placed.run : 2 * placed.run + 2]
            if first == stop:
                continue
            if placed is not workspace.placed:
                workspace.place(run, placed)
            values[LISTED], values[BASE] = stop - first, run.first_row
            values[LISTED_ROWS], values[LISTED_SCORES] = rows_at + 8 * first, keys_at + 8 * first
            score_rows(workspace.address)
        scores: NDArray[np.float64] = keys / self.scale
        return scores


def place_words(snapshot: Snapshot, text: str) -> SingleWords | None:
    """Look up the words of a query; None for anything unusual, see `search_words`."""
    if len(text) > LONGEST or not is_plain(text):
        return None
    opened: _OpenWords | None = snapshot.derived.get(__name__) or _open(snapshot)
    if opened is None:
        return None
    weights: list[float] = []
    lists: list[tuple[bytes | None, ...]] = []
    for number, column in enumerate(opened.columns):
        counts: dict[str, int] = {}
        for term in column.analyzer().terms(text):
            counts[term] = counts.get(term, 0) + 1
        known = opened.known[number]
        for term, repeated in counts.items():
            weight, rows = known.get(term) or opened.look_up(number, term, snapshot)
            if weight:
                weights.append(repeated * weight)
                lists.append(rows)
    if not 0 < len(weights) <= MOST_LISTS:
        return None
    scale = 2.0 ** math.floor(math.log2(RANGE / math.fsum(weights)))
    order = sorted(range(len(weights)), key=weights.__getitem__, reverse=True)
    placed = []
    for at in range(len(opened.runs)):
        places = [place for place in order if lists[place][at] is not None]
        if places:
            table: Any = [lists[place][at] for place in places]
            placed.append(_Placed(at, table, [weights[place] * scale for place in places]))
    return SingleWords(opened, placed, scale)  # a term with a weight is in a run


def search_words(
    snapshot: Snapshot, text: str, k: int, begun: float
) -> tuple[NDArray[Any], NDArray[np.float32], SearchStats] | None:
    """Search for the words of one query; return ids (1, k), scores (1, k) and statistics.

    Returns None for anything unusual, such as signs, many words, and postings that are not in memory. The caller then uses
    `vsearch.legs.hybrid.search_leg`, which accepts it or says what is wrong.

    Parameters
    ----------
    k : int
        Already checked.
    begun : float
        `time.perf_counter` at the start of the call, for the statistics.
    """
    words = place_words(snapshot, text)
    if words is None:
        return None
    prepared = time.perf_counter()
    workspace = words.scan(k)
    ranked = time.perf_counter()
    count, plain = workspace.values[SIZE], snapshot.plain_ids()
    if count == k and plain is not None and plain[1]:
        ids: NDArray[Any] = take_found_ids(plain, workspace.rows)
    else:
        ids = take_ids(snapshot, workspace.rows)
    scores = workspace.best_scores.copy()
    times = {
        "prepare": (prepared - begun) * 1e3,
        "mask": 0.0,
        "scan": (ranked - prepared) * 1e3,
        "merge": 0.0,
        "fetch": (time.perf_counter() - ranked) * 1e3,
    }
    scored = workspace.values[SCORED]
    return ids, scores, SearchStats(1, 0, 0, snapshot.live_count, 0, scored, milliseconds=times)
