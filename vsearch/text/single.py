"""Search for the words of one query without signs or filters, the most common kind, with little Python around the kernel.

The results are those of `vsearch.text.search.rank_words`.
"""

from __future__ import annotations

import math
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.text.api import rank_rows
from vsearch.kernels.text.fields import BLOCK, TOUCHED_WORDS, WINDOW, RankField
from vsearch.search.engine.stats import SearchStats
from vsearch.search.state.arguments import KernelArguments, address
from vsearch.search.state.fetching import take_found_ids, take_ids
from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.opening import MOST_KNOWN, OpenColumn, open_text
from vsearch.text.placing import norm_of
from vsearch.text.query import is_plain
from vsearch.text.weighted import RANGE

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot

LONGEST = 4096
"""Maximum number of characters of a query."""

MOST_LISTS = 64
"""Maximum number of terms of a query, over all columns."""

# read once, since looking up a member of an enumeration costs as much as the assignment
COLUMNS, ADDRESSES, LISTS, MASK, WORDS = map(
    int, (RankField.COLUMNS, RankField.ADDRESSES, RankField.LISTS, RankField.MASK, RankField.WORDS)
)
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
    """The text columns of a snapshot whose postings are in memory or in mapped files; `known` has their terms, for each column."""

    columns: tuple[OpenColumn, ...]
    runs: tuple[_Run, ...]
    norms: NDArray[np.float64]
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
    made = _OpenWords(columns, tuple(runs), np.array([norm_of(column, column.length) for column in columns]))
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
        self.k = 0
        self.opened: _OpenWords | None = None

    def begin(self, opened: _OpenWords, k: int) -> None:
        """Set the index and the number of hits, and empty the heap."""
        if opened is not self.opened:
            self.opened, self.values[COLUMNS] = opened, len(opened.columns)
            self._block.point(RankField.NORMS, opened.norms, np.float64)
        if k != self.k:
            self.k, self.values[RankField.K] = k, k
            self.scores, self.rows = np.empty((1, k), np.int64), np.empty((1, k), np.int64)
            self._block.point(RankField.HEAP_SCORES, self.scores, np.int64)
            self._block.point(RankField.HEAP_ROWS, self.rows, np.int64)
        self.values[SIZE] = self.values[SCORED] = self.values[SORTED] = 0

    def rank(self, run: _Run, rows: list[bytes], weights: list[float], *, last: bool) -> bool:
        """Push the best rows of a run, and put all in order after the last; return whether the postings are undamaged."""
        count, values = len(rows), self.values
        self.table_bytes[: 32 * count] = b"".join(rows)
        self.weight_bytes[: 8 * count] = struct.pack(f"{count}d", *weights)
        values[LISTS], values[STOP], values[BASE] = count, run.rows, run.first_row
        values[ADDRESSES], values[MASK], values[WORDS] = run.addresses_at, run.mask, run.words
        values[DAMAGED], values[SORTED] = 0, last
        rank_rows(self.address)
        return not values[DAMAGED]


_threads = threading.local()


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
    searched = []
    for at in range(len(opened.runs)):
        places = [place for place in order if lists[place][at] is not None]
        if places:
            searched.append((at, places))
    workspace: _Workspace | None = getattr(_threads, "workspace", None)
    if workspace is None:
        workspace = _threads.workspace = _Workspace()
    workspace.begin(opened, k)
    prepared = time.perf_counter()
    last = searched[-1][0]  # a term with a weight is in a run
    for at, places in searched:
        table: Any = [lists[place][at] for place in places]
        scaled = [weights[place] * scale for place in places]
        if not workspace.rank(opened.runs[at], table, scaled, last=at == last):
            raise opened.columns[0].runs[at].damaged()
    ranked = time.perf_counter()
    count, plain = workspace.values[SIZE], snapshot.plain_ids()
    if count == k and plain is not None and plain[1]:
        scores = np.empty((1, k), np.float32)
        np.true_divide(workspace.scores, scale, out=scores, casting="unsafe")
        ids: NDArray[Any] = take_found_ids(plain, workspace.rows)
    else:
        scores, best = np.full((1, k), np.nan, np.float32), np.full((1, k), -1, np.int64)
        scores[0, :count], best[0, :count] = workspace.scores[0, :count] / scale, workspace.rows[0, :count]
        ids = take_ids(snapshot, best)
    times = {
        "prepare": (prepared - begun) * 1e3,
        "mask": 0.0,
        "scan": (ranked - prepared) * 1e3,
        "merge": 0.0,
        "fetch": (time.perf_counter() - ranked) * 1e3,
    }
    scored = workspace.values[SCORED]
    return ids, scores, SearchStats(1, 0, 0, snapshot.live_count, 0, scored, milliseconds=times)
