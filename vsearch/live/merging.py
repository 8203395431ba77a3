"""Collect the rows of runs and deltas for merged runs, shard by shard, and track where they move. Codes are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.live.operations import codes_of, stored_ids
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import Removed, Rows, concatenate_ids, no_ids, take_ids
from vsearch.search.state.document_fetching import documents_at
from vsearch.search.state.fetching import take_fields
from vsearch.search.state.shard import Addresses

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


@dataclass(frozen=True, eq=False)
class Moved:
    """The new positions of rows that moved to one segment.

    Attributes
    ----------
    segments, rows : uint32 (n,), int64 (n,)
        Old addresses, ascending.
    new_rows : int64 (n,)
        The row of each in the new segment.
    """

    segments: NDArray[np.uint32]
    rows: NDArray[np.int64]
    new_rows: NDArray[np.int64]

    @classmethod
    def of(cls, addresses: Addresses) -> Moved:
        """Return the moves of rows to a new segment, given their old addresses in the order of the new rows."""
        order = np.lexsort((addresses.rows, addresses.segments))
        return cls(addresses.segments[order], addresses.rows[order], order)

    def find(
        self, segments: NDArray[np.uint32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the new rows of old addresses, int64 (m,), and a mask of those that moved."""
        moved = (self.segments.astype(np.uint64) << np.uint64(32)) | self.rows.astype(np.uint64)
        keys = (segments.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)
        if not len(moved):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(moved, keys), len(moved) - 1)
        return self.new_rows[at], moved[at] == keys


def runs_of(snapshot: Snapshot) -> tuple[list[list[Shard]], Shard | None]:
    """Return the runs of each shard, its base first, and the tail."""
    shards = iter(snapshot.shards)
    runs = [[next(shards) for _ in range(1 + bool(entry.young))] for entry in snapshot.manifest.shards]
    return runs, next(shards, None)


def partitions_of(manifest: Manifest, number: int) -> range:
    """Return the partitions of a shard."""
    first = sum(shard.partitions for shard in manifest.shards[:number])
    return range(first, first + manifest.shards[number].partitions)


def live_counts(snapshot: Snapshot) -> NDArray[np.int64]:
    """Return the number of live rows of each partition, int64 (partitions,)."""
    counts = np.zeros(snapshot.manifest.partitions, np.int64)
    for run in snapshot.shards:
        gone = np.searchsorted(run.table.row_starts + run.table.rows, run.gone, side="right")
        partitions = slice(run.first_partition, run.first_partition + run.partitions)
        counts[partitions] += run.table.rows - np.bincount(gone, minlength=run.partitions)
    return counts


def gather(snapshot: Snapshot, runs: Sequence[Shard], partitions: range) -> tuple[Rows, NDArray[np.int64]]:
    """Return the live rows of runs in a range of partitions, and their positions; both sorted by partition."""
    positions = live_positions(runs, partitions)
    if not len(positions):
        none, ids = documents_at(snapshot, positions), no_ids(stored_ids(snapshot, positions))
        empty = Rows(row_codes.no_rows(snapshot.model), ids, None, none)
        return empty, positions
    codes, order = codes_of(snapshot, positions)
    positions = positions[order]
    names = snapshot.schema.names
    table = take_fields(snapshot, names, positions) if names else None
    rows = Rows(codes, stored_ids(snapshot, positions), table, documents_at(snapshot, positions))
    return rows, positions


def live_positions(runs: Sequence[Shard], partitions: range) -> NDArray[np.int64]:
    """Return the positions of the live rows of runs in a range of partitions, run by run."""
    return np.concatenate([np.empty(0, np.int64), *(_live_in_run(run, partitions) for run in runs)])


def _live_in_run(run: Shard, partitions: range) -> NDArray[np.int64]:
    low = max(partitions.start - run.first_partition, 0)
    high = min(partitions.stop - run.first_partition, run.partitions)
    if low >= high:
        return np.empty(0, np.int64)
    table = run.table
    run_rows = np.arange(int(table.row_starts[low]), int(table.row_starts[high - 1] + table.rows[high - 1]))
    return run.first_row + (run_rows if not len(run.gone) else np.setdiff1d(run_rows, run.gone, assume_unique=True))


def removed_of(run: Shard, segment: int, snapshot: Snapshot) -> Removed | None:
    """Return the removals of a run that is kept, under its segment number; None if there are none."""
    if not len(run.gone):
        return None
    ids = stored_ids(snapshot, run.first_row + run.gone)
    return Removed(np.full(len(run.gone), segment, np.uint32), run.gone, ids)


def join_removed(parts: Sequence[Removed | None]) -> Removed | None:
    """Return the union of removals; None if it is empty."""
    nonempty = [part for part in parts if part is not None and len(part)]
    if not nonempty:
        return None
    segments = np.concatenate([part.segments for part in nonempty])
    rows = np.concatenate([part.rows for part in nonempty])
    ids = concatenate_ids([part.ids for part in nonempty])
    order = np.lexsort((rows, segments))
    segments, rows = segments[order], rows[order]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (segments[1:] != segments[:-1]) | (rows[1:] != rows[:-1])
    return Removed(segments[first], rows[first], take_ids(ids, order[first]))


def removed_elsewhere(removed: Removed, segments: NDArray[np.uint32]) -> Removed:
    """Return the removals from segments other than these."""
    chosen = np.flatnonzero(~np.isin(removed.segments, segments))
    if not len(chosen):
        return Removed(removed.segments[:0], removed.rows[:0], no_ids(removed.ids))
    return Removed(removed.segments[chosen], removed.rows[chosen], take_ids(removed.ids, chosen))
