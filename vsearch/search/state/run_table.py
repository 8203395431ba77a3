"""The runs that a search scans together, in the order and with the addresses that kernels take."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.shard import Shard, ensure_runs


class RunTable(msgspec.Struct, frozen=True, eq=False):
    """Runs of one or more shards, ordered by partitions: those of one shard, which share its partitions, are neighbors.

    Attributes
    ----------
    runs : tuple of Shard
    first_rows : tuple of int
        What the rows of each are numbered from in results.
    ends : tuple of int
        For each, the position after the last run of the same shard.
    owners : int32 (partitions,)
        Position of the first run that has a partition, counted from `first_partition`.
    first_partition : int
    """

    runs: tuple[Shard, ...]
    first_rows: tuple[int, ...]
    ends: tuple[int, ...]
    owners: NDArray[np.int32]
    first_partition: int

    def ensure(self, partitions: NDArray[np.int32]) -> None:
        """Read and verify what a scan of partitions, numbered as in the index, needs of every run, in one round."""
        wanted = []
        for run in self.runs:
            if not run.ready:
                local = partitions - run.first_partition
                wanted.append((run, run.missing(local[(local >= 0) & (local < run.partitions)])))
        if wanted:
            ensure_runs(wanted)
