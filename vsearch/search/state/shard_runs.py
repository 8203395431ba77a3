"""The runs of a shard: what a search scans together, with one heap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.shard import PartitionTable, RunState, Shard
from vsearch.search.state.workspace import pack_shard

if TYPE_CHECKING:
    from vsearch.storage import Manifest


@dataclass(frozen=True, eq=False)
class ShardRuns:
    """A shard as it is searched: its base, its young run, and what the tail holds of its partitions.

    Attributes
    ----------
    number : int
        Of the shard.
    first_partition, partitions : int
    runs : tuple of Shard
        One or more; their numbers are those of the snapshot's runs, so the mask of each is found by it.
    """

    number: int
    first_partition: int
    partitions: int
    runs: tuple[Shard, ...]

    @property
    def first_row(self) -> int:
        """What the rows of its hits are numbered from."""
        return self.runs[0].first_row

    def holds(self, rows: NDArray[np.int64]) -> bool:
        """Whether all of some rows, numbered through the snapshot, are its own."""
        inside = np.zeros(len(rows), np.bool_)
        for run in self.runs:
            table = run.table
            if len(table.rows):
                low = run.first_row + int(table.row_starts[0])
                high = run.first_row + int(table.row_starts[-1] + table.rows[-1])
                inside |= (rows >= low) & (rows < high)
        return bool(inside.all())


def group_runs(manifest: Manifest, runs: Sequence[Shard]) -> tuple[ShardRuns, ...]:
    """The runs of every shard, out of those of a snapshot: bases and young ones by shard, then the tail."""
    left = iter(runs)
    of_shards = [[next(left) for _ in range(1 + bool(entry.young))] for entry in manifest.shards]
    tail, groups = next(left, None), []
    for entry, own in zip(manifest.shards, of_shards, strict=True):
        first, many = own[0].first_partition, entry.partitions
        part = None if tail is None else part_of(tail, range(first, first + many))
        groups.append(ShardRuns(entry.number, first, many, (*own, *([] if part is None else [part]))))
    return tuple(groups)


def part_of(run: Shard, where: range) -> Shard | None:
    """What a run that is all there holds of some of its partitions, with its numbers of rows; None where that is nothing."""
    low, high = where.start - run.first_partition, where.stop - run.first_partition
    if not run.table.rows[low:high].any():
        return None
    if (low, high) == (0, run.partitions):
        return run
    table = PartitionTable(*(getattr(run.table, field.name)[low:high] for field in fields(PartitionTable)))
    state = RunState(len(where))
    state.ready[:] = state.all_ready = True
    return Shard(
        run.number,
        where.start,
        run.first_row,
        run.rows,
        table,
        run.files,
        run.arrays,
        pack_shard(where.start, run.rows, table, run.arrays),
        run.encodings,
        run.segment,
        run.gone,
        state,
    )
