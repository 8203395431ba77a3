"""Merging runs and deltas into new runs, shard by shard: which rows there are, and what becomes of them. Codes are copied."""

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
    """Where rows went: old segments and rows, by these two, and the new rows of one segment that each became.

    Attributes
    ----------
    segments, rows : uint32 (n,), int64 (n,)
    became : int64 (n,)
    """

    segments: NDArray[np.uint32]
    rows: NDArray[np.int64]
    became: NDArray[np.int64]

    @classmethod
    def of(cls, addresses: Addresses) -> Moved:
        """Of rows that are now in the order of these addresses."""
        order = np.lexsort((addresses.rows, addresses.segments))
        return cls(addresses.segments[order], addresses.rows[order], order)

    def find(
        self, segments: NDArray[np.uint32], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The new rows of some old ones, int64 (m,), and which of these are among those that moved."""
        own = (self.segments.astype(np.uint64) << np.uint64(32)) | self.rows.astype(np.uint64)
        asked = (segments.astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)
        if not len(own):
            return np.zeros(len(asked), np.int64), np.zeros(len(asked), np.bool_)
        at = np.minimum(np.searchsorted(own, asked), len(own) - 1)
        return self.became[at], own[at] == asked


def runs_of(snapshot: Snapshot) -> tuple[list[list[Shard]], Shard | None]:
    """The runs of every shard, its base first, and the tail."""
    shards = iter(snapshot.shards)
    runs = [[next(shards) for _ in range(1 + bool(entry.young))] for entry in snapshot.manifest.shards]
    return runs, next(shards, None)


def partitions_of(manifest: Manifest, number: int) -> range:
    """Partitions of a shard."""
    first = sum(shard.partitions for shard in manifest.shards[:number])
    return range(first, first + manifest.shards[number].partitions)


def live_counts(snapshot: Snapshot) -> NDArray[np.int64]:
    """Rows of every partition that are not removed, int64 (partitions,)."""
    counts = np.zeros(snapshot.manifest.partitions, np.int64)
    for run in snapshot.shards:
        gone = np.searchsorted(run.table.row_starts + run.table.rows, run.gone, side="right")
        own = slice(run.first_partition, run.first_partition + run.partitions)
        counts[own] += run.table.rows - np.bincount(gone, minlength=run.partitions)
    return counts


def gather(snapshot: Snapshot, runs: Sequence[Shard], where: range) -> tuple[Rows, NDArray[np.int64]]:
    """The rows of some runs that lie in some partitions and are not removed, and their positions; both by partition."""
    positions = live_positions(runs, where)
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


def live_positions(runs: Sequence[Shard], where: range) -> NDArray[np.int64]:
    """Positions of the rows of some runs that lie in some partitions and are not removed, run by run."""
    return np.concatenate([np.empty(0, np.int64), *(_own(run, where) for run in runs)])


def _own(run: Shard, where: range) -> NDArray[np.int64]:
    """Positions of a run's rows in some partitions that are not removed."""
    low, high = max(where.start - run.first_partition, 0), min(where.stop - run.first_partition, run.partitions)
    if low >= high:
        return np.empty(0, np.int64)
    table = run.table
    inside = np.arange(int(table.row_starts[low]), int(table.row_starts[high - 1] + table.rows[high - 1]))
    return run.first_row + (inside if not len(run.gone) else np.setdiff1d(inside, run.gone, assume_unique=True))


def removed_of(run: Shard, segment: int, snapshot: Snapshot) -> Removed | None:
    """What is removed of a run that stays."""
    if not len(run.gone):
        return None
    ids = stored_ids(snapshot, run.first_row + run.gone)
    return Removed(np.full(len(run.gone), segment, np.uint32), run.gone, ids)


def join_removed(parts: Sequence[Removed | None]) -> Removed | None:
    """Rows that several parts say are removed, each once."""
    some = [part for part in parts if part is not None and len(part)]
    if not some:
        return None
    segments = np.concatenate([part.segments for part in some])
    rows = np.concatenate([part.rows for part in some])
    ids = concatenate_ids([part.ids for part in some])
    order = np.lexsort((rows, segments))
    segments, rows = segments[order], rows[order]
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = (segments[1:] != segments[:-1]) | (rows[1:] != rows[:-1])
    order = order[fresh]
    taken = ids[order] if isinstance(ids, np.ndarray) else ids.take(order)
    return Removed(segments[fresh], rows[fresh], taken)


def removed_elsewhere(removed: Removed, segments: NDArray[np.uint32]) -> Removed:
    """What is removed of other segments than these."""
    chosen = np.flatnonzero(~np.isin(removed.segments, segments))
    if not len(chosen):
        return Removed(removed.segments[:0], removed.rows[:0], no_ids(removed.ids))
    return Removed(removed.segments[chosen], removed.rows[chosen], take_ids(removed.ids, chosen))
