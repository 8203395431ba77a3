"""The runs that a search scans together, in the order and with the addresses that kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.shard import RunState, Shard, ensure_runs
from vsearch.storage import ensure_together


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
        for run in self.runs:
            if not run.ready:
                local = partitions - run.first_partition
                local = local[(local >= 0) & (local < run.partitions)]
                missing.append((run, run.missing(local)))
                if run.copies is not None:
                    copied.append((run, run.copies.missing(local)))
        if missing:
            ensure_runs(missing)
            ensure_copied(copied)

    @property
    def rows(self) -> int:
        """Number of the row after the last one of any run that has copies; 0 without copies."""
        runs = zip(self.runs, self.first_rows, strict=True)
        if all(run.copies is None for run in self.runs):
            return 0
        return max(first + run.rows for run, first in runs)


def ensure_copied(missing_partitions: Sequence[tuple[Shard, NDArray[np.int64]]]) -> None:
    """Read and verify missing copies in partitions of runs, and then the rows they belong to: two rounds of requests.

    Only then are they noted as read, since a scan of copies reads the rerank codes of their rows.
    """
    copied = [
        (run, run.copies, missing) for run, missing in missing_partitions if len(missing) and run.copies is not None
    ]
    if not copied:
        return
    ensure_together([part for _, copies, missing in copied for part in copies.parts(missing)])
    rows = [(run, run.missing(copies.owners(missing, run))) for run, copies, missing in copied]
    ensure_together([part for run, missing in rows for part in run.parts(missing)])
    for run, missing in rows:
        run.note(missing)
    for run, copies, missing in copied:
        note(copies.read, missing, run)


def note(state: RunState, read: NDArray[np.int64], run: Shard) -> None:
    """Remember that copies in partitions of a run are read and verified."""
    with run.read.lock:
        state.ready[read] = True
        state.all_ready = bool(state.ready.all())
