"""Optimizations in many tasks: each task merges one shard, then one commit replaces the segments of all shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.cluster.context import Place, open_context
from vsearch.cluster.job import Based, Job, Merged, Tuned
from vsearch.cluster.merge_steps import FORCE, output_of, plans_of, split_of
from vsearch.cluster.outputs import Outputs
from vsearch.cluster.running import Engine, Progress, run_stage
from vsearch.errors import ConflictError, CorruptIndexError
from vsearch.live.commits import commit_change, newest_of
from vsearch.live.merging import Moved
from vsearch.live.optimizing import OptimizeReport, Rewrite, fits, fold, report_of
from vsearch.live.retuning import commit_settings
from vsearch.live.shard_merging import ShardOutput, is_idle, plan_merges
from vsearch.search.state.model import SearchSettings
from vsearch.storage.snapshots.manifest import encode_manifest

if TYPE_CHECKING:
    from vsearch.live.time_limits import TimeLimit
    from vsearch.search.state.snapshot import Snapshot

ATTEMPTS = 3
"""Number of times that a job is begun again because other writers replaced the segments that it merged."""

NOTHING = Moved(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))


def optimize_by_job(
    snapshot: Snapshot,
    job: Job,
    engine: Engine,
    *,
    storage: Mapping[str, Any],
    progress: Progress,
    limit: TimeLimit | None = None,
) -> tuple[OptimizeReport, Snapshot]:
    """Run the merges that are due in many tasks, or resume them, and commit; deltas are folded in this process.

    A merge that one process is not expected to finish within `limit` is not started.

    Raises
    ------
    ConflictError
        The index was rebuilt or retrained, or other writers replaced the segments each time.
    """
    for _ in range(ATTEMPTS):
        snapshot = newest_of(snapshot)
        outputs = Outputs(snapshot.store, job.id)
        resumed = outputs.has("base")
        if not resumed and not _is_due(snapshot, limit, force=FORCE in job.subject):
            outputs.clear()
            return fold(snapshot, progress=progress)
        try:
            done, snapshot = _merge(snapshot, job, outputs, engine, storage, progress)
        except (FileNotFoundError, CorruptIndexError):
            if not _removed(outputs, snapshot):
                raise
            done = None  # another run of the job finished first and removed its objects, or a prune did
        outputs.clear()
        if done is not None:
            return done, snapshot
    raise ConflictError(f"{snapshot.store.url}: other writers merged the same segments each time; optimize again later")


def tune_by_job(snapshot: Snapshot, job: Job, engine: Engine, *, storage: Mapping[str, Any]) -> Snapshot:
    """Find the settings of a snapshot in a task, and commit them."""
    outputs = Outputs(snapshot.store, job.id)
    attempt = outputs.begin(job)
    place = Place(snapshot.store.url, dict(storage), {}, job.id, attempt.generation)
    try:
        manifest = snapshot.manifest
        outputs.finish("base", 1, Based(manifest.snapshot, encode_manifest(manifest)), ())
        run_stage(outputs, engine, place, "settings", range(1), lambda *_: None)
        settings = SearchSettings.from_entry(outputs.read(Tuned, "settings").settings)
    finally:
        outputs.clear()
    return commit_settings(snapshot, settings)


def _is_due(snapshot: Snapshot, limit: TimeLimit | None, *, force: bool) -> bool:
    if not snapshot.manifest.live:
        return False
    plans = plan_merges(snapshot, force=force)
    if any(plan.base or plan.young for plan in plans):
        return fits(snapshot, plans, limit)
    return is_idle(snapshot)


def _merge(
    snapshot: Snapshot, job: Job, outputs: Outputs, engine: Engine, storage: Mapping[str, Any], progress: Progress
) -> tuple[OptimizeReport | None, Snapshot]:
    """Run the tasks and commit; None if other writers replaced the segments meanwhile."""
    attempt = outputs.begin(job)
    place = Place(snapshot.store.url, dict(storage), {}, job.id, attempt.generation)
    if not outputs.has("base"):
        manifest = snapshot.manifest
        outputs.finish("base", 0, Based(manifest.snapshot, encode_manifest(manifest)), ())
    context = open_context(place)
    plans, start = plans_of(context), context.base(0)[1]
    shards = [number for number, plan in enumerate(plans) if plan.base or plan.young]
    run_stage(outputs, engine, place, "pieces", range(1), progress)
    run_stage(outputs, engine, place, "merge", shards, progress)
    merged_shards = {number: outputs.read(Merged, "merge", number) for number in shards}
    rewrite = Rewrite(start, clear=True, split=split_of(outputs, start))
    for number, merged in merged_shards.items():
        rewrite.shards[number] = ShardOutput.of(plans[number], output_of(outputs, merged, NOTHING))
    _, after = commit_change(snapshot, rewrite, check=True)
    if rewrite.dropped:
        return None, after
    return report_of(rewrite, plans, sum(merged.rows for merged in merged_shards.values()), after), after


def _removed(outputs: Outputs, snapshot: Snapshot) -> bool:
    """Whether objects of the job, or files that it reads, were removed."""
    return not outputs.has("base") or newest_of(snapshot).manifest.snapshot != snapshot.manifest.snapshot
