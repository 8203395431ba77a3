"""What was read of a run so far."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import renew_in_children

if TYPE_CHECKING:
    from vsearch.predicates import EncodedColumn
    from vsearch.search.state.partition_table import PartitionTable
    from vsearch.storage.files.segment_file import SegmentFile

REMAINDER = 1 / 32
"""Share of the rows of a run in a folder below which the remaining rows are read at once."""


class RunState:
    """The data of a run, or of its copies, that were read so far, shared by all snapshots that have the run.

    Partitions without rows, by their numbers in `rows`, need no reads.

    Attributes
    ----------
    by_row : bool
        Whether a search reads only those rerank codes that it needs, row by row.
    scannable : bool (partitions,)
        Whether all that a scan needs is read; the same array as `ready`, unless rows are read by row.
    ready : bool (partitions,)
        Whether the rerank codes are read, too; for copies, those of the rows that they are copies of.
    all_scannable, all_ready : bool
    """

    def __init__(self, rows: NDArray[np.int64], *, by_row: bool = False) -> None:
        self.by_row = by_row
        self.ready = rows == 0
        self.scannable = self.ready.copy() if by_row else self.ready
        self.all_ready = self.all_scannable = bool(self.ready.all())
        self.columns: dict[str, EncodedColumn] = {}
        self.derived: dict[str, Any] = {}  # caches of other modules, by module name
        self.lock = threading.Lock()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent process may hold."""
        self.lock = threading.Lock()

    def note(self, read: NDArray[np.int64], *, scanned: bool = False) -> None:
        """Remember that partitions are read and verified; if `scanned`, only what a scan of them needs."""
        with self.lock:
            self.scannable[read] = True
            self.all_scannable = bool(self.scannable.all())
            if not scanned:
                self.ready[read] = True
            self.all_ready = bool(self.ready.all())

    def unread(self, partitions: NDArray[np.int32], *, scanned: bool = False) -> NDArray[np.bool_]:
        """Return which of all partitions, bool, are among `partitions` and not read; if `scanned`, for a scan."""
        needed = np.zeros(len(self.ready), np.bool_)
        needed[partitions] = True
        return needed & ~(self.scannable if scanned else self.ready)


def with_remainder(
    state: RunState, missing: NDArray[np.bool_], table: PartitionTable, codes: SegmentFile
) -> NDArray[np.int64]:
    """Return missing partitions, and in a folder all that are not read if the others have few rows."""
    if missing.any() and codes.mapped:
        unread = ~state.scannable
        if table.rows[unread & ~missing].sum() <= REMAINDER * table.rows.sum():
            missing = missing | unread  # what is scannable may still miss rerank codes
    return np.flatnonzero(missing)
