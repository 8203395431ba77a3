"""Plan which deltas to fold and which shards to merge; pure functions of row counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FANOUT = 16
"""Number of deltas of one level that are folded into one of the next."""

MOST_DELTAS = 64
"""Maximum number of deltas that an append leaves."""

TAIL_ROWS = 20_000
"""A tail is merged if it exceeds both this number of rows ..."""

TAIL_SHARE = 0.05
"""... and this fraction of all rows."""

YOUNG_SHARE = 0.25
"""Fraction of a base's rows at which the young run and the tail are merged into the base."""

REMOVED_SHARE = 0.2
"""Fraction of removed rows at which a run is rewritten."""

REWRITES = 10
"""Times that rows may be written again per row added or removed, on average, so that bases are rewritten before these shares are reached."""


@dataclass(frozen=True)
class RunCounts:
    """Number of rows of a run, of those that are removed, and of those that deltas remove (`waiting`)."""

    rows: int
    removed: int
    waiting: int = 0


@dataclass(frozen=True)
class ShardPlan:
    """The merge of a shard: of its tail and young run (`young`), of these and its base (`base`), or none."""

    young: bool = False
    base: bool = False


@dataclass(frozen=True)
class Changes:
    """The changes since bases were last written.

    Attributes
    ----------
    added, removed : int
        Number of rows.
    rewritten : int
        Number of rows that folds and merges wrote for them, or more: a row that was written twice counts twice.
    """

    added: int = 0
    removed: int = 0
    rewritten: int = 0


NO_CHANGES = Changes()


def plan_shards(
    shards: Sequence[Sequence[RunCounts]], tails: Sequence[int], changes: Changes = NO_CHANGES, *, force: bool = False
) -> list[ShardPlan]:
    """Plan the merges of all shards.

    Runs are merged into bases as soon as the changes pay for it: then all rows are written at most `REWRITES` times per added or removed
    row. If `optimize` runs often, it merges after every tenth row or so that changes; if it runs after many changes, always. Changes that
    do not pay for all bases are merged by their share of each shard.

    Parameters
    ----------
    shards : sequence of sequence of RunCounts
        The base of each shard and, if it has one, its young run.
    tails : sequence of int
        Number of rows of each shard in the tail.
    changes : Changes
        In all shards; by default only the shares count.
    force : bool
        Whether to merge everything that can be merged.

    Returns
    -------
    list of ShardPlan
        If one shard merges its rows in deltas, all shards do, so that no deltas remain.
    """
    if force or _pays(shards, tails, changes):
        return [ShardPlan(base=_is_changed(runs, tail)) for runs, tail in zip(shards, tails, strict=True)]
    total = sum(run.rows for runs in shards for run in runs)
    plans = [_plan_shard(runs) for runs in shards]
    if sum(tails) > max(TAIL_ROWS, TAIL_SHARE * total) or any(plan.base for plan in plans):
        return [
            plan if plan.base else _plan_due(runs, tail) for plan, runs, tail in zip(plans, shards, tails, strict=True)
        ]
    return plans


def _plan_due(runs: Sequence[RunCounts], tail: int) -> ShardPlan:
    """Plan the merge of a shard if all deltas are merged."""
    if _heavy(runs, tail):  # merge into the base at once, without writing a young run first
        return ShardPlan(base=True)
    return ShardPlan(young=bool(tail or any(run.waiting for run in runs)))


def _heavy(runs: Sequence[RunCounts], tail: int) -> bool:
    """Whether the young run and the tail are large compared to the base."""
    recent = tail + sum(run.rows for run in runs[1:])
    return recent >= YOUNG_SHARE * max(runs[0].rows, 1) and recent > 0


def _plan_shard(runs: Sequence[RunCounts]) -> ShardPlan:
    """Plan the merge of a shard without its tail."""
    holes = any(run.removed >= REMOVED_SHARE * run.rows and run.removed > 0 for run in runs)
    return ShardPlan(base=holes or _heavy(runs, 0))


def _is_changed(runs: Sequence[RunCounts], tail: int) -> bool:
    """Whether a shard has rows outside its base, or removed rows."""
    return bool(tail or runs[0].removed or any(run.rows for run in runs[1:]))


def _pays(shards: Sequence[Sequence[RunCounts]], tails: Sequence[int], changes: Changes) -> bool:
    """Whether rows would be written at most `REWRITES` times per change if all changes were merged into bases."""
    written = changes.rewritten
    for runs, tail in zip(shards, tails, strict=True):
        if _is_changed(runs, tail):
            written += tail + sum(run.rows - run.removed for run in runs)
    changed = max(changes.added, changes.removed)  # an upsert does both, but needs one row written
    return changed > 0 and written <= REWRITES * changed


def plan_folds(levels: Sequence[int], *, most: int = MOST_DELTAS) -> list[range]:
    """Plan which adjacent deltas to fold into one.

    Parameters
    ----------
    levels : sequence of int
        How often each delta was folded, oldest first.
    most : int
        Maximum number of deltas that may remain.

    Returns
    -------
    list of range
        Disjoint ranges of positions in `levels`, of `FANOUT` deltas of one level each, or one range of all deltas.
    """
    folds: list[range] = []
    start = 0
    for stop in range(1, len(levels) + 1):
        if stop == len(levels) or levels[stop] != levels[start]:
            folds += [range(first, first + FANOUT) for first in range(start, stop - FANOUT + 1, FANOUT)]
            start = stop
    left = len(levels) - sum(len(fold) - 1 for fold in folds)
    return folds if left <= most else [range(len(levels))]
