"""Merge the runs and deltas of one shard into a new run, and plan which shards are due."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from vsearch.errors import MissingDependencyError
from vsearch.legs.registry import all_legs_of
from vsearch.live.copying import copies_of_rows
from vsearch.live.merging import Moved, gather, partitions_of, removed_of, runs_of
from vsearch.live.plan import NO_CHANGES, Changes, RunCounts, ShardPlan, plan_shards
from vsearch.search.state.runs import write_run
from vsearch.search.state.shard import Addresses

if TYPE_CHECKING:
    from vsearch.live.splitting import Split
    from vsearch.search.state.deltas import Rows
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest
    from vsearch.storage.snapshots.manifest import SegmentEntry

logger = logging.getLogger("vsearch")


@dataclass(frozen=True, eq=False)
class Output:
    """A segment that replaces others.

    Attributes
    ----------
    entry : SegmentEntry
        It gets its number when it is committed.
    moved : Moved
        Where its rows came from.
    """

    entry: SegmentEntry
    moved: Moved


@dataclass(frozen=True, eq=False)
class ShardOutput:
    """The new runs of a shard; None for a base that is kept, or for no young run."""

    base: Output | None
    young: Output | None

    @classmethod
    def of(cls, plan: ShardPlan, output: Output | None) -> ShardOutput:
        """Return the new runs of a shard that was merged as planned."""
        return cls(output, None) if plan.base else cls(None, output)


def plan_merges(snapshot: Snapshot, *, force: bool, early: bool = True) -> list[ShardPlan]:
    """Plan the merges of all shards of a snapshot; `early` merges into bases as soon as the changes pay for it."""
    runs, tail = runs_of(snapshot)
    shards = [partitions_of(snapshot.manifest, number) for number in range(len(runs))]
    tails = [0 if tail is None else _tail_rows(tail, where) for where in shards]
    counts = [_counts(snapshot, number, shard_runs) for number, shard_runs in enumerate(runs)]
    changes = _changes(snapshot, counts, sum(tails)) if early else NO_CHANGES
    return plan_shards(counts, tails, changes, force=force)


def _changes(snapshot: Snapshot, counts: Sequence[Sequence[RunCounts]], tail: int) -> Changes:
    """Count what changed since bases were last written. Rows that were removed before a fold are left out."""
    manifest = snapshot.manifest
    deltas = manifest.live.deltas if manifest.live else ()
    recent = [*deltas, *(shard.young for shard in manifest.shards if shard.young)]
    in_deltas = sum(delta.rows for delta in deltas)
    return Changes(
        added=sum(segment.rows for segment in recent),
        removed=in_deltas - tail + sum(run.removed for runs in counts for run in runs),
        rewritten=sum(segment.rows * segment.level for segment in recent),
    )


def merged_bytes(manifest: Manifest, plans: Sequence[ShardPlan]) -> int:
    """Return the size of the files of all runs and deltas that a merge reads."""
    live, size = manifest.live, 0
    for shard, plan in zip(manifest.shards, plans, strict=True):
        if plan.base:
            size += sum(entry.bytes for entry in shard.files.values()) + sum(run.bundle.bytes for run in shard.runs)
        elif plan.young and shard.young:
            size += shard.young.bundle.bytes
    return size + sum(entry.bundle.bytes for entry in live.deltas) if live else size


def _counts(snapshot: Snapshot, number: int, runs: Sequence[Shard]) -> list[RunCounts]:
    young = snapshot.manifest.shards[number].young
    merged = [0 if young is UNSET else young.removed, 0]  # the young run holds earlier removals from the base
    return [RunCounts(run.rows, len(run.gone), len(run.gone) - past) for run, past in zip(runs, merged, strict=False)]


def is_idle(snapshot: Snapshot) -> bool:
    """Whether there are deltas, but none has live rows or removals from runs."""
    runs, tail = runs_of(snapshot)
    waiting = [run.waiting for number, shard_runs in enumerate(runs) for run in _counts(snapshot, number, shard_runs)]
    return bool(snapshot.deltas) and tail is None and not any(waiting)


def _tail_rows(tail: Shard, where: range) -> int:
    return int(tail.table.rows[where.start : where.stop].sum())


def merge_shard(
    snapshot: Snapshot, plan: ShardPlan, number: int, split: Split | None, path: str
) -> tuple[Output | None, int]:
    """Write the new run of a shard, if it has rows or removals; return it, and the number of its rows."""
    runs, tail = runs_of(snapshot)
    manifest, tails = snapshot.manifest, [] if tail is None else [tail]
    partitions, shard_runs = partitions_of(manifest, number), runs[number]
    rows, positions = gather(snapshot, [*(shard_runs if plan.base else shard_runs[1:]), *tails], partitions)
    if split is not None:
        rows, positions = split.apply(rows, positions)
        partitions = split.partitions_of(partitions, number)
    base = shard_runs[0]
    removed = None if plan.base else removed_of(base, _segment(base), snapshot)
    if not (plan.base or len(rows) or removed is not None):
        return None, 0
    model = snapshot.model
    more = _leg_parts(manifest, rows) | copies_of_rows(snapshot, split, rows, partitions)
    unencoded = {name for leg in all_legs_of(manifest) for name in leg.unencoded(leg.entry(manifest))}
    encoded = [attribute for attribute in manifest.attributes if attribute.field_name not in unencoded]
    entry = write_run(snapshot.store, path, model, rows, partitions, encoded, 0, removed, more)
    if not plan.base:
        entry = msgspec.structs.replace(entry, level=1 + _level(snapshot, number))
    return Output(entry, Moved.of(snapshot.addresses(positions))), len(rows)


def _level(snapshot: Snapshot, number: int) -> int:
    """Return how often the rows of deltas and of a shard's young run were written again, at most."""
    manifest = snapshot.manifest
    young = manifest.shards[number].young
    deltas = manifest.live.deltas if manifest.live else ()
    return max((segment.level for segment in (*deltas, *([young] if young else ()))), default=0)


def _leg_parts(manifest: Manifest, rows: Rows) -> dict[str, Any]:
    """Return the parts of a run for legs, such as postings of text columns."""
    parts: dict[str, Any] = {}
    for leg in all_legs_of(manifest):
        try:
            parts |= leg.parts(leg.entry(manifest), rows.attributes, len(rows))
        except MissingDependencyError as error:  # as in functions; readers then make them from attributes
            logger.warning("the merged rows are stored without the data of the leg %r: %s", leg.name, error)
    return parts


def _segment(run: Shard) -> int:
    if isinstance(run.segment, Addresses):
        raise TypeError("a tail is not a segment")
    return run.segment
