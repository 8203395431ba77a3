"""The runs that a search scans together, in the order and with the addresses that kernels take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.shard import Shard, ensure_runs
from vsearch.storage import ensure_together
from vsearch.storage.snapshots.kinds import IDS

if TYPE_CHECKING:
    from vsearch.search.state.shard import Copies, Part

ID = "id"
"""The array with integer ids."""


class RunTable(msgspec.Struct, frozen=True, eq=False):
    """Runs of one or more shards, ordered by partitions: those of one shard, which share its partitions, are neighbors.

    Attributes
    ----------
    runs : tuple of Shard
    first_rows : tuple of int
        Number of the first row of each in results.
    ends : tuple of int
        For each, the position after the last run of the same shard. Kernels take copies as runs, after the run that they belong to,
        so these are positions among both.
    owners : int32 (partitions,)
        Position, among both, of the first run that has a partition, counted from `first_partition`.
    first_partition : int
    reaches : tuple of (float32 (partitions,) or None)
        For each, how far its rows of its partitions reach, relative to those of all runs of its shard; None for the first of a shard.
    """

    runs: tuple[Shard, ...]
    first_rows: tuple[int, ...]
    ends: tuple[int, ...]
    owners: NDArray[np.int32]
    first_partition: int
    reaches: tuple[NDArray[np.float32] | None, ...]

    def ensure(self, partitions: NDArray[np.int32]) -> None:
        """Read and verify the data of every run for a scan of partitions, numbered as in the index, in one round.

        With copies, there are two more rounds.
        """
        missing, copied = [], []
        for run, local in self._local(partitions):
            if run.ready:
                continue
            missing.append((run, run.missing(local)))
            if run.copies is not None:
                copied.append((run, run.copies, local))
        if missing:
            ensure_runs(missing)
            ensure_copied(copied)

    def read(
        self, partitions: NDArray[np.int32], unread_rows: Mapping[int, NDArray[np.int64]], rows: NDArray[np.int64]
    ) -> None:
        """Read and verify, in one round, what a search of runs that are not completely read lists: see `vsearch.kernels.query.unread`.

        Parameters
        ----------
        partitions : int32 (n,)
            Partitions to scan, numbered as in the index.
        unread_rows : mapping of int to int64 (n,)
            Rows to rerank, numbered within their run, by the position of the run.
        rows : int64 (n,)
            Rows whose ids will probably be needed, numbered as in results.
        """
        parts: list[Part] = []
        scanned, copied, complete = [], [], []
        for run, local in self._local(partitions):
            missing, by_row = run.missing(local, scanned=True), run.reads_by_row
            scanned.append((run, missing, by_row))
            parts += run.parts(missing, scanned=by_row)
            if run.copies is not None:
                missing = run.copies.missing(local)
                copied.append((run, run.copies, missing))
                parts += run.copies.parts(missing)
        for position, run_rows in unread_rows.items():
            run = self.runs[position]
            more, missing = run.row_parts(run_rows)
            complete.append((run, missing))
            parts += more
        parts += self._ids(rows)
        ensure_together(parts)
        for run, missing, by_row in scanned:
            run.read.note(missing, scanned=by_row)
        for run, missing in complete:
            run.read.note(missing)
        for run, copies, missing in copied:
            copies.check(missing, run)
            copies.read.note(missing, scanned=True)

    def _local(self, partitions: NDArray[np.int32]) -> list[tuple[Shard, NDArray[np.int32]]]:
        """Return each run with its partitions among the requested, numbered within the run."""
        return [
            (run, local[(local >= 0) & (local < run.partitions)])
            for run, local in ((run, partitions - run.first_partition) for run in self.runs)
        ]

    def _ids(self, rows: NDArray[np.int64]) -> list[Part]:
        """Return the ids to read for rows of runs that are read by row, if ids are integers."""
        parts: list[Part] = []
        for run, first_row in zip(self.runs, self.first_rows, strict=True):
            local = rows[(rows >= first_row) & (rows < first_row + run.rows)] - first_row
            if run.read.by_row and len(local) and ID in run.files[IDS].arrays:
                local = np.sort(local)
                parts.append((run.files[IDS], ID, local, local + 1))
        return parts

    @property
    def rows(self) -> int:
        """Number of the row after the last one of any run that has copies; 0 without copies."""
        runs = zip(self.runs, self.first_rows, strict=True)
        if all(run.copies is None for run in self.runs):
            return 0
        return max(first + run.rows for run, first in runs)


def ensure_copied(partitions: Sequence[tuple[Shard, Copies, NDArray[np.int32]]]) -> None:
    """Read and verify copies in partitions, numbered within their run, and then the rows they belong to: two rounds of requests.

    A scan of copies reads the rerank codes of their rows.
    """
    missing = [(run, copies, copies.missing(local)) for run, copies, local in partitions]
    ensure_together([part for _, copies, read in missing for part in copies.parts(read)])
    for run, copies, read in missing:
        copies.check(read, run)
        copies.read.note(read, scanned=True)
    alone = [(run, copies, np.flatnonzero(copies.read.unread(local))) for run, copies, local in partitions]
    ensure_runs([(run, run.missing(copies.owners(of_copies, run))) for run, copies, of_copies in alone])
    for _, copies, of_copies in alone:
        copies.read.note(of_copies)
