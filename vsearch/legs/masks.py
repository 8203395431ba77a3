"""Which rows of a snapshot a leg may return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.filters.bitmaps import count_ranges
from vsearch.search.engine.masking import ShardMask
from vsearch.search.engine.masks import IndexMask

if TYPE_CHECKING:
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot

Allowed = Mapping[int, NDArray[np.uint64] | None]
"""Masks of the rows that may be returned, by the numbers of runs; None for all rows. Other runs are not searched."""


def allowed_rows(snapshot: Snapshot, mask: IndexMask | None) -> dict[int, NDArray[np.uint64] | None]:
    """Return the rows of a mask, or all live rows."""
    if mask is None:
        return {run.number: run.live for run in snapshot.shards}
    return {run.number: of_run.words for run, of_run in zip(snapshot.shards, mask.shards, strict=True)}


def mask_of_rows(snapshot: Snapshot, rows: NDArray[np.int64]) -> IndexMask:
    """Return the mask of some rows of a snapshot, ascending, for an exhaustive search: it only counts partitions."""
    masks, radii = [], snapshot.radii
    matches = np.zeros(len(radii), np.int64)
    for run in snapshot.shards:
        words = words_of_rows(run, rows)
        counts = count_ranges(words, run.table.row_starts, run.table.row_starts + run.table.rows)
        matches[run.first_partition : run.first_partition + run.partitions] += counts
        masks.append(ShardMask(words, counts, counts, int(counts.sum()), 0))
    return IndexMask(tuple(masks), matches, radii, matches, radii, len(rows), 0, correlated=False)


def words_of_rows(run: Shard, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the bits of those rows of a snapshot, ascending, that are in a run."""
    first, stop = np.searchsorted(rows, (run.first_row, run.first_row + run.rows))
    return mark_rows(rows[first:stop] - run.first_row, run.rows)


def mark_rows(rows: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """Return the bits of some of `count` rows, ascending."""
    words, at = np.zeros(-(-count // 64), np.uint64), rows >> 6
    starts = np.flatnonzero(first_of_equal(at))
    if len(starts):
        bits = np.uint64(1) << (rows & 63).astype(np.uint64)
        words[at[starts]] = np.bitwise_or.reduceat(bits, starts)
    return words


def first_of_equal(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of some sorted values are the first of their kind."""
    first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first
