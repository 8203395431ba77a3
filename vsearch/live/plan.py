"""What is due: which deltas to fold, which shards to merge. Pure: numbers in, a plan out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FANOUT = 16
"""Deltas of one level that become one of the next."""

MOST_DELTAS = 64
"""Deltas that an append leaves at most."""

TAIL_ROWS = 20_000
"""Rows that a tail may have whatever the size of the index ..."""

TAIL_SHARE = 0.05
"""... and of all rows."""

YOUNG_SHARE = 0.25
"""Of a base's rows, from which a young run, with the tail that is to join it, is merged into it."""

REMOVED_SHARE = 0.2
"""Of a run's rows, from which it is written again without those that are removed."""


@dataclass(frozen=True)
class RunCounts:
    """Rows of a run, how many of them are removed, and how many of these are removed by deltas."""

    rows: int
    removed: int
    waiting: int = 0


@dataclass(frozen=True)
class ShardPlan:
    """What becomes of a shard: its tail and its young run are made one (`young`), or these and its base (`base`), or nothing."""

    young: bool = False
    base: bool = False


def plan_shards(shards: Sequence[Sequence[RunCounts]], tails: Sequence[int], *, force: bool = False) -> list[ShardPlan]:
    """What is due of every shard.

    Parameters
    ----------
    shards
        Of each its base and, where there is one, its young run.
    tails
        Rows of each in the tail.
    force
        Merge all that can be merged.

    Returns
    -------
    list of ShardPlan
        Where one takes what deltas have of it, all do: afterwards there are no deltas.
    """
    total = sum(run.rows for runs in shards for run in runs)
    plans = [_plan_shard(runs, tail, force=force) for runs, tail in zip(shards, tails, strict=True)]
    if sum(tails) > max(TAIL_ROWS, TAIL_SHARE * total) or any(plan.base for plan in plans):
        return [
            plan if plan.base else _plan_due(runs, tail) for plan, runs, tail in zip(plans, shards, tails, strict=True)
        ]
    return plans


def _plan_due(runs: Sequence[RunCounts], tail: int) -> ShardPlan:
    """What is due of a shard where deltas are to go."""
    if _heavy(runs, tail):  # at once, rather than by way of a young run
        return ShardPlan(base=True)
    return ShardPlan(young=bool(tail or any(run.waiting for run in runs)))


def _heavy(runs: Sequence[RunCounts], tail: int) -> bool:
    """Whether there is much beside a base."""
    beside = tail + sum(run.rows for run in runs[1:])
    return beside >= YOUNG_SHARE * max(runs[0].rows, 1) and beside > 0


def _plan_shard(runs: Sequence[RunCounts], tail: int, *, force: bool) -> ShardPlan:
    base, young = runs[0], sum(run.rows for run in runs[1:])
    if force and (young or tail or base.removed):
        return ShardPlan(base=True)
    holes = any(run.removed >= REMOVED_SHARE * run.rows and run.removed > 0 for run in runs)
    return ShardPlan(base=holes or _heavy(runs, 0))


def plan_folds(levels: Sequence[int], *, most: int = MOST_DELTAS) -> list[range]:
    """Which neighbouring deltas to fold into one.

    Parameters
    ----------
    levels
        How often each was folded, oldest first.
    most
        Deltas that are to be left at most.

    Returns
    -------
    list of range
        Of places in `levels`, apart from each other; from `FANOUT` deltas of one level on.
    """
    folds: list[range] = []
    start = 0
    for stop in range(1, len(levels) + 1):
        if stop == len(levels) or levels[stop] != levels[start]:
            folds += [range(first, first + FANOUT) for first in range(start, stop - FANOUT + 1, FANOUT)]
            start = stop
    left = len(levels) - sum(len(fold) - 1 for fold in folds)
    return folds if left <= most else [range(len(levels))]
