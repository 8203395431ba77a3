"""Fold deltas, merge tails and young runs, and rewrite runs with many removed rows, during searches and changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import numpy as np
from msgspec import UNSET

from vsearch.errors import ConflictError, StoreError
from vsearch.live.commits import Draft, commit_change
from vsearch.live.merging import Moved, join_removed, removed_elsewhere
from vsearch.live.plan import MOST_DELTAS, ShardPlan, plan_folds
from vsearch.live.shard_merging import Output, ShardOutput, is_idle, merge_shard, merged_bytes, plan_merges
from vsearch.live.splitting import SplitOutput, plan_split, write_split
from vsearch.live.time_limits import merging_seconds
from vsearch.search.state.deltas import Gone, Removed, take_ids, write_delta
from vsearch.search.state.runs import live_rows
from vsearch.storage.snapshots.manifest import manifest_files

if TYPE_CHECKING:
    from vsearch.live.time_limits import TimeLimit
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest
    from vsearch.storage.snapshots.manifest import SegmentEntry, ShardEntry

Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class OptimizeReport:
    """The result of an `optimize`.

    Attributes
    ----------
    snapshot : int
        The newest snapshot afterwards.
    folded : int
        Number of deltas that were combined.
    expired : int
        Number of expired rows that were removed.
    merged : int
        Number of shards whose runs were rewritten.
    split : int
        Number of partitions that were split because they had more than four times the mean number of rows.
    tuned : bool
        Whether the search settings were tuned.
    rows_written : int
    pruned : tuple of int
        Snapshots that were removed.
    bytes_freed : int
        Size of the files removed with them.
    postponed : tuple of str
        Steps that are due but do not fit in the time limit, and how to get them done.
    """

    snapshot: int
    folded: int = 0
    expired: int = 0
    merged: int = 0
    split: int = 0
    tuned: bool = False
    rows_written: int = 0
    pruned: tuple[int, ...] = ()
    bytes_freed: int = 0
    postponed: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return bool(self.folded or self.expired or self.merged or self.tuned or self.pruned)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


@dataclass(eq=False)
class Rewrite:
    """An operation that replaces segments of a snapshot; dropped if other commits removed those segments.

    Rows that other writers removed in the meantime are removed from the new segments too.
    """

    start: Snapshot
    shards: dict[int, ShardOutput] = field(default_factory=dict)
    split: SplitOutput | None = None
    folds: dict[range, Output] = field(default_factory=dict)
    clear: bool = False  # drop all deltas, since all of their rows are merged or removed
    kind: str = "optimize"
    dropped: bool = False

    @property
    def paths(self) -> list[str]:
        """Paths of the written files."""
        split = [] if self.split is None else [self.split.entry.path]
        return split + [output.entry.bundle.path for output in self._outputs()]

    def resolve(self, snapshot: Snapshot) -> Draft:
        manifest = snapshot.manifest
        live, before = manifest.live, self.start.manifest.live
        if self.dropped or not live or not before or not self._applies(manifest):
            self.dropped = True
            return Draft()
        known = {entry.bundle.path for entry in before.deltas}
        later = [
            delta.removed
            for entry, delta in zip(live.deltas, snapshot.deltas, strict=True)
            if entry.bundle.path not in known
        ]
        first = live.next_segment
        outputs = self._outputs()
        removed = _follow(outputs, first, later)

        def change(manifest: Manifest) -> Manifest:
            numbers = {id(output): first + place for place, output in enumerate(outputs)}
            return self._change(manifest, numbers)

        return Draft(None, removed, change=change, counted=False)

    def _applies(self, manifest: Manifest) -> bool:
        """Whether a snapshot still has all inputs of the new segments, and the affected shards have no other runs."""
        before = self.start.manifest.shards
        if any(_shard_paths(manifest.shards[number]) != _shard_paths(before[number]) for number in self.shards):
            return False
        if self.split is not None and not self.split.applies(manifest, self.start.manifest):
            return False
        return self._inputs() | self._removals() <= {entry.path for entry in manifest_files(manifest)}

    def _inputs(self) -> set[str]:
        manifest, inputs = self.start.manifest, set()
        for number in self.shards:
            inputs |= _shard_paths(manifest.shards[number])
        deltas = manifest.live.deltas if manifest.live else ()
        consumed = range(len(deltas)) if self.shards or self.clear else [place for fold in self.folds for place in fold]
        return inputs | {deltas[place].bundle.path for place in consumed}

    def _removals(self) -> set[str]:
        """Return the paths of deltas with removals; if one is missing, an older snapshot may have been restored."""
        before = self.start.manifest.live
        return {entry.bundle.path for entry in before.deltas if entry.removed} if before else set()

    def _outputs(self) -> list[Output]:
        runs = [output for shard in self.shards.values() for output in (shard.base, shard.young)]
        return [output for output in (*runs, *self.folds.values()) if output is not None]

    def _change(self, manifest: Manifest, numbers: dict[int, int]) -> Manifest:
        def numbered(output: Output) -> SegmentEntry:
            return msgspec.structs.replace(output.entry, number=numbers[id(output)])

        shards = list(manifest.shards)
        for number, output in self.shards.items():
            shard = shards[number]
            if output.base is not None:
                base = numbered(output.base)
                shard = msgspec.structs.replace(shard, rows=base.rows, files={}, columns={}, segment=UNSET, base=base)
            young = UNSET if output.young is None else numbered(output.young)
            shards[number] = msgspec.structs.replace(shard, young=young)
        live, before = manifest.live, self.start.manifest.live
        if not live or not before:
            raise ConflictError("the index has no changes to optimize")
        inputs = self._inputs()
        folded = {before.deltas[fold.start].bundle.path: numbered(output) for fold, output in self.folds.items()}
        deltas = [
            folded.get(entry.bundle.path, entry)
            for entry in live.deltas
            if entry.bundle.path not in inputs or entry.bundle.path in folded
        ]
        live = msgspec.structs.replace(live, deltas=tuple(deltas), next_segment=live.next_segment + len(numbers))
        manifest = msgspec.structs.replace(manifest, shards=tuple(shards), live=live)
        return manifest if self.split is None else self.split.change(manifest)


def _shard_paths(shard: ShardEntry) -> set[str]:
    """Return the files of a shard, even of a base that is kept, since its removals go into the young run."""
    return {run.bundle.path for run in shard.runs} | {entry.path for entry in shard.files.values()}


def _follow(outputs: Sequence[Output], first: int, later: Sequence[Removed]) -> Removed | None:
    """Map later removals to the new segments."""
    moved = []
    for part in later:
        for place, output in enumerate(outputs):
            new_rows, was_moved = output.moved.find(part.segments, part.rows)
            if was_moved.any():
                chosen = np.flatnonzero(was_moved)
                segments = np.full(len(chosen), first + place, np.uint32)
                moved.append(Removed(segments, new_rows[chosen], take_ids(part.ids, chosen)))
    return join_removed(moved)


def optimize(
    snapshot: Snapshot,
    *,
    force: bool = False,
    progress: Progress = silent,
    limit: TimeLimit | None = None,
) -> tuple[OptimizeReport, Snapshot]:
    """Fold or merge as due, in one commit; do nothing if nothing is due. A merge that does not fit in `limit` is not started.

    Parameters
    ----------
    force : bool
        Whether to merge everything that can be merged.
    """
    live = snapshot.manifest.live
    if not live:
        return OptimizeReport(snapshot.manifest.snapshot), snapshot
    plans = plan_in_time(snapshot, limit, force=force)
    due = any(plan.base or plan.young for plan in plans)
    if due or is_idle(snapshot):
        rewrite = Rewrite(snapshot, clear=True)
        snapshot, written = _commit(rewrite, lambda: _write_shards(rewrite, plans, progress), snapshot)
        return report_of(rewrite, plans, written, snapshot), snapshot
    return fold(snapshot, progress=progress)


def plan_in_time(snapshot: Snapshot, limit: TimeLimit | None, *, force: bool) -> list[ShardPlan]:
    """Plan the merges that are due and probably fit in a time limit; if those of all bases do not, those due by shares of shards."""
    plans = plan_merges(snapshot, force=force)
    if not fits(snapshot, plans, limit):
        fewer = plan_merges(snapshot, force=False, early=False)
        plans = fewer if fewer != plans and fits(snapshot, fewer, limit) else [ShardPlan()] * len(plans)
    return plans


def fits(snapshot: Snapshot, plans: Sequence[ShardPlan], limit: TimeLimit | None) -> bool:
    """Whether merges probably fit in a time limit, which otherwise lists them as postponed."""
    if limit is None or not any(plan.base or plan.young for plan in plans):
        return True
    size = merged_bytes(snapshot.manifest, plans)
    return limit.allows(f"the merge of {size / 1e6:,.1f} MB of runs", merging_seconds(snapshot.manifest, size))


def report_of(rewrite: Rewrite, plans: Sequence[ShardPlan], written: int, after: Snapshot) -> OptimizeReport:
    """Return the report of a merge of shards."""
    number = after.manifest.snapshot
    if rewrite.dropped:
        return OptimizeReport(number)
    merged = sum(plan.base or plan.young for plan in plans)
    split = 0 if rewrite.split is None else rewrite.split.split.count
    return OptimizeReport(number, merged=merged, split=split, rows_written=written)


def fold(
    snapshot: Snapshot, *, most: int = MOST_DELTAS, progress: Progress = silent
) -> tuple[OptimizeReport, Snapshot]:
    """Combine deltas so that at most `most` are left."""
    live = snapshot.manifest.live
    folds = plan_folds([entry.level for entry in live.deltas], most=most) if live else []
    if not folds:
        return OptimizeReport(snapshot.manifest.snapshot), snapshot
    rewrite = Rewrite(snapshot)
    snapshot, written = _commit(rewrite, lambda: _write_folds(rewrite, folds, progress), snapshot)
    folded = 0 if rewrite.dropped else sum(len(run) for run in folds)
    return OptimizeReport(snapshot.manifest.snapshot, folded, rows_written=written if folded else 0), snapshot


def _commit(rewrite: Rewrite, write: Callable[[], int], snapshot: Snapshot) -> tuple[Snapshot, int]:
    """Write, then commit; remove the files if it is certain that they were not committed."""
    try:
        written = write()
    except BaseException:
        _discard(rewrite)
        raise
    _, after = commit_change(snapshot, rewrite, paths=rewrite.paths, check=True)
    return after, written


def _discard(rewrite: Rewrite) -> None:
    with suppress(StoreError):
        rewrite.start.store.delete(rewrite.paths)


def _write_shards(rewrite: Rewrite, plans: Sequence[ShardPlan], progress: Progress) -> int:
    snapshot, name, written = rewrite.start, uuid4().hex, 0
    split = plan_split(snapshot, [number for number, plan in enumerate(plans) if plan.base])
    if split is not None:
        rewrite.split = write_split(snapshot.store, f"model/{name}-splits.arrow", split)
    for number, plan in enumerate(plans):
        progress("merge", number, len(plans))
        if not (plan.base or plan.young):
            continue
        path = f"segments/{name}-{number:05d}-run.arrow"
        output, rows = merge_shard(snapshot, plan, number, split, path)
        rewrite.shards[number] = ShardOutput.of(plan, output)
        written += rows
    progress("merge", len(plans), len(plans))
    return written


def _write_folds(rewrite: Rewrite, folds: Sequence[range], progress: Progress) -> int:
    snapshot, name, written = rewrite.start, uuid4().hex, 0
    live = snapshot.manifest.live
    entries = live.deltas if live else ()
    gone = Gone([delta.removed for delta in snapshot.deltas])
    for place, run in enumerate(folds):
        progress("fold", place, len(folds))
        deltas = [snapshot.deltas[at] for at in run]
        numbered = [replace(delta, number=entries[at].number) for delta, at in zip(deltas, run, strict=True)]
        rows, addresses = live_rows(numbered, gone)
        inputs = np.array([entries[at].number for at in run], np.uint32)
        kept = [removed_elsewhere(delta.removed, inputs) for delta in deltas]
        path = f"segments/{name}-{place:05d}-delta.arrow"
        level = 1 + max(entries[at].level for at in run)
        entry = write_delta(snapshot.store, path, snapshot.model, rows, join_removed(kept), level)
        rewrite.folds[run] = Output(entry, Moved.of(addresses))
        written += 0 if rows is None else len(rows)
    progress("fold", len(folds), len(folds))
    return written
