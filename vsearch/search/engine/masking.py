"""Exact row masks of a shard: the rows that satisfy a predicate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.filters.bitmaps import count_ranges, list_rows
from vsearch.search.state.shard import Shard
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage.snapshots.kinds import ATTRIBUTES

if TYPE_CHECKING:
    from vsearch.predicates import Bound, RowMask


@dataclass(frozen=True, eq=False)
class ShardMask:
    """The rows of one shard that pass a predicate.

    Attributes
    ----------
    words : uint64 (ceil(rows / 64),)
        Bit i % 64 of word i // 64 is row i.
    matches, certain : int64 (partitions,)
        Number of rows of each partition that may pass, and that certainly pass, by their cells. Searches are planned
        with these counts, so that a planner need not read exact columns.
    rows : int
        Number of rows that pass.
    rechecked : int
        Number of rows that only the exact column could decide.
    open : uint64 (ceil(rows / 64),) or None
        These rows; None if there are none.
    """

    words: NDArray[np.uint64]
    matches: NDArray[np.int64]
    certain: NDArray[np.int64]
    rows: int
    rechecked: int
    open: NDArray[np.uint64] | None = None


def mask_shard_cells(snapshot: Snapshot, shard: Shard, bound: Bound) -> ShardMask:
    """Evaluate a bound predicate on a shard's cells only; `words` has the rows that certainly pass. O(rows)."""
    mask = _evaluate(snapshot, shard, bound)
    matches, certain = count_matches(shard, mask)
    return ShardMask(mask.yes, matches, certain, int(certain.sum()), 0, mask.maybe)


def mask_shard(snapshot: Snapshot, shard: Shard, bound: Bound) -> ShardMask:
    """Evaluate a bound predicate on a shard's cells, and recheck undecided rows on the exact columns. O(rows)."""
    from vsearch.predicates import recheck  # imported late: searches without a predicate do not need it

    mask = _evaluate(snapshot, shard, bound)
    matches, certain = count_matches(shard, mask)
    words, rechecked = mask.yes, 0
    if mask.maybe is not None:
        undecided = list_rows(mask.maybe, 0, shard.rows)
        rechecked = len(undecided)
        if rechecked:
            passes = recheck(mask, lambda name, rows: _read_keys(snapshot, shard, name, rows), undecided)
            passing = undecided[passes]
            words = words.copy()
            np.bitwise_or.at(words, passing >> 6, np.uint64(1) << (passing & 63).astype(np.uint64))
    rows = int(certain.sum()) + (int(np.count_nonzero(passes)) if rechecked else 0)
    return ShardMask(words, matches, certain, rows, rechecked, mask.maybe)


def _evaluate(snapshot: Snapshot, shard: Shard, bound: Bound) -> RowMask:
    """Evaluate a bound predicate on a run's attribute cells, without its removed rows."""
    from vsearch.predicates import columns_of, evaluate

    mask = evaluate(bound, {name: snapshot.column(shard, name) for name in columns_of(bound)}, shard.rows)
    live = shard.live
    if live is None:
        return mask
    return replace(mask, yes=mask.yes & live, maybe=None if mask.maybe is None else mask.maybe & live)


def mask_live(shard: Shard) -> ShardMask:
    """Return the mask of the rows of a run that are not removed."""
    from vsearch.predicates.evaluation import full_words

    words = full_words(shard.rows) if shard.live is None else shard.live
    starts, ends = shard.table.row_starts, shard.table.row_starts + shard.table.rows
    counts = shard.table.rows if shard.live is None else count_ranges(words, starts, ends)
    return ShardMask(words, counts, counts, shard.rows - len(shard.gone), 0)


def mask_rows(shard: Shard, mask: ShardMask) -> ShardMask:
    """Remove rows that were removed from a run since a mask was computed; the result is as if it were evaluated now."""
    if shard.live is None:
        return mask
    words = mask.words & shard.live
    starts, ends = shard.table.row_starts, shard.table.row_starts + shard.table.rows
    passing = count_ranges(words, starts, ends)
    if mask.open is None:
        return ShardMask(words, passing, passing, int(passing.sum()), mask.rechecked)
    undecided = mask.open & shard.live
    certain, matches = (count_ranges(bits, starts, ends) for bits in (words & ~undecided, words | undecided))
    return ShardMask(words, matches, certain, int(passing.sum()), mask.rechecked, undecided)


def count_matches(shard: Shard, mask: RowMask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the rows of each partition that may pass, and that certainly pass: two int64 (partitions,)."""
    starts, ends = shard.table.row_starts, shard.table.row_starts + shard.table.rows
    certain = count_ranges(mask.yes, starts, ends)
    return (certain if mask.maybe is None else certain + count_ranges(mask.maybe, starts, ends)), certain


def _read_keys(
    snapshot: Snapshot, shard: Shard, name: str, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read the keys of an exact numeric column at some rows directly from the Arrow buffers; also their validity."""
    from vsearch.predicates import keys_from_values

    file = shard.files[ATTRIBUTES]
    field = snapshot.find_entry(name).field_name
    values = f"{field}.values"
    file.ensure(values, rows, rows + 1)
    keys = keys_from_values(snapshot.schema.find(name).type, file.array(values)[rows])
    validity = f"{field}.validity"
    if validity not in file.arrays or file.arrays[validity].shape[0] == 0:
        return keys, np.ones(len(rows), np.bool_)
    file.ensure(validity, rows >> 3, (rows >> 3) + 1)
    bits = file.array(validity)[rows >> 3]
    return keys, ((bits >> (rows & 7).astype(np.uint8)) & 1).astype(np.bool_)
