"""The runs of a shard, which a search scans together, with one heap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.run_state import RunState
from vsearch.search.state.run_table import RunTable
from vsearch.search.state.shard import Shard
from vsearch.search.state.spread import spread
from vsearch.search.state.workspace import pack_shard

if TYPE_CHECKING:
    from vsearch.storage import Manifest


@dataclass(frozen=True, eq=False)
class ShardRuns:
    """The runs of a shard: its base, its young run, and the part of the tail in its partitions.

    Attributes
    ----------
    number : int
        Shard number.
    first_partition, partitions : int
    runs : tuple of Shard
        One or more runs, numbered as in the snapshot, so that masks can be indexed by their numbers.
    """

    number: int
    first_partition: int
    partitions: int
    runs: tuple[Shard, ...]

    @property
    def first_row(self) -> int:
        """First row number of its hits."""
        return self.runs[0].first_row

    @cached_property
    def table(self) -> RunTable:
        """Its runs as kernels take them, with rows numbered from its first one."""
        return list_runs([self])

    def holds(self, rows: NDArray[np.int64]) -> bool:
        """Whether all rows, numbered as in the snapshot, belong to the shard."""
        inside = np.zeros(len(rows), np.bool_)
        for run in self.runs:
            table = run.table
            if len(table.rows):
                low = run.first_row + int(table.row_starts[0])
                high = run.first_row + int(table.row_starts[-1] + table.rows[-1])
                inside |= (rows >= low) & (rows < high)
        return bool(inside.all())


def list_runs(shards: Sequence[ShardRuns]) -> RunTable:
    """Return the runs of adjacent shards, whose rows are numbered from the first one of the first shard.

    Raises
    ------
    CorruptIndexError
        The partitions of a run are not those of its shard, or those of the shards do not follow each other.
    """
    runs = tuple(run for shard in shards for run in shard.runs)
    counts = [sum(1 + (run.copies is not None) for run in shard.runs) for shard in shards]
    starts = np.cumsum(counts) - counts
    first_row, low = shards[0].first_row, shards[0].first_partition
    for before, shard in zip((None, *shards), shards, strict=False):
        first_and_count = shard.first_partition, shard.partitions
        if any((run.first_partition, run.partitions) != first_and_count for run in shard.runs):
            reason = f"the runs of shard {shard.number} must have its {first_and_count[1]} partitions from {first_and_count[0]} on"
            raise CorruptIndexError("manifest", reason)
        if before is not None and before.first_partition + before.partitions != first_and_count[0]:
            reason = f"the partitions of shard {shard.number} must follow those of the shard before, not begin at {first_and_count[0]}"
            raise CorruptIndexError("manifest", reason)
    return RunTable(
        runs=runs,
        first_rows=tuple(run.first_row - first_row for run in runs),
        ends=tuple(int(start + n) for start, n, shard in zip(starts, counts, shards, strict=True) for _ in shard.runs),
        owners=np.repeat(starts, [shard.partitions for shard in shards]).astype(np.int32),
        first_partition=low,
        reaches=tuple(reach for shard in shards for reach in _reaches(shard.runs)),
    )


def _reaches(runs: Sequence[Shard]) -> list[NDArray[np.float32] | None]:
    """Return how far the rows of each run of a shard reach; see `RunTable.reaches`. O(partitions) for each run."""
    if len(runs) == 1:
        return [None]
    rows = np.sum([run.table.rows for run in runs], axis=0)
    squares = np.sum([run.table.rows * np.square(run.table.radii, dtype=np.float64) for run in runs], axis=0)
    radii = np.sqrt(squares / np.maximum(rows, 1))
    reaches: list[NDArray[np.float32] | None] = [None]
    for run in runs[1:]:
        wider = np.divide(run.table.radii, radii, out=np.ones(len(radii)), where=radii > 0)
        # The root: with the whole factor, searches take as long, but miss twice as many rows of later runs as of bases.
        reaches.append(np.minimum(wider * np.sqrt(spread(run.table.rows, rows)), 1.0).astype(np.float32))
    return reaches


def group_runs(manifest: Manifest, runs: Sequence[Shard]) -> tuple[ShardRuns, ...]:
    """Group the runs of a snapshot, bases and young runs by shard and then the tail, by shard."""
    left = iter(runs)
    by_shard = [[next(left) for _ in range(1 + bool(entry.young))] for entry in manifest.shards]
    tail, groups = next(left, None), []
    for entry, shard_runs in zip(manifest.shards, by_shard, strict=True):
        first, count = shard_runs[0].first_partition, entry.partitions
        part = None if tail is None else part_of(tail, range(first, first + count))
        groups.append(ShardRuns(entry.number, first, count, (*shard_runs, *([] if part is None else [part]))))
    return tuple(groups)


def part_of(run: Shard, partitions: range) -> Shard | None:
    """Return the part of a run in memory in a range of partitions, with unchanged row numbers; None if it is empty."""
    low, high = partitions.start - run.first_partition, partitions.stop - run.first_partition
    if not run.table.rows[low:high].any():
        return None
    if (low, high) == (0, run.partitions):
        return run
    table = PartitionTable(*(getattr(run.table, field.name)[low:high] for field in fields(PartitionTable)))
    state = RunState(table.rows)
    state.note(np.arange(len(table.rows)))
    return Shard(
        run.number,
        partitions.start,
        run.first_row,
        run.rows,
        table,
        run.files,
        run.arrays,
        pack_shard(partitions.start, run.rows, table, run.arrays),
        run.encodings,
        run.segment,
        run.gone,
        state,
    )
