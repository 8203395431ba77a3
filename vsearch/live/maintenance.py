"""Maintenance: remove expired rows, fold and merge, tune, and prune, as needed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vsearch.checks import is_number
from vsearch.errors import ConflictError, CorruptIndexError, InputError, StoreError, VsearchError
from vsearch.live.commits import commit_change, newest_of
from vsearch.live.operations import Expire
from vsearch.live.optimizing import OptimizeReport, fold, optimize, silent
from vsearch.live.plan import MOST_DELTAS
from vsearch.live.retuning import retune as tune_again
from vsearch.live.time_limits import OutOfTimeError, TimeLimit, training_seconds, tuning_seconds
from vsearch.search.state.drift import needs_tuning
from vsearch.search.state.expiry import present
from vsearch.storage.files.naming import snapshot_number
from vsearch.storage.snapshots.pruning import OLDER_THAN, prune

if TYPE_CHECKING:
    from vsearch.live.optimizing import Progress
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Store

logger = logging.getLogger("vsearch")

Merge = Callable[..., tuple[OptimizeReport, "Snapshot"]]
Tune = Callable[["Snapshot"], "Snapshot"]

KEPT = 2
"""Number of snapshots that are kept regardless of their age."""


def check_options(budget: Any, retune: Any) -> None:
    """Refuse options that `maintain` does not take.

    Raises
    ------
    InputError
        An option is invalid.
    """
    if not (retune == "auto" or isinstance(retune, bool)):
        raise InputError(f"retune must be 'auto', True or False, got {retune!r:.100}")
    if budget is not None and not (is_number(budget) and budget >= 0):
        raise InputError(f"budget_seconds must be a number of at least 0, got {budget!r:.100}")


def maintain(
    snapshot: Snapshot,
    budget: float | None = None,
    *,
    retune: bool | str = "auto",
    force: bool = False,
    progress: Progress | None = None,
    merge: Merge = optimize,
    tune: Tune = tune_again,
) -> tuple[OptimizeReport, Snapshot]:
    """Run pending steps; see `vsearch.Index.optimize`.

    Within a budget, a step starts only if it is expected to fit in the remaining time, and is abandoned when it reports progress after that.

    Parameters
    ----------
    merge, tune : callable
        How to fold and merge, and how to find and commit settings.
    """
    limit, expired = TimeLimit.of(budget), 0
    report = limit.watch(progress or silent)

    def in_time() -> bool:
        return not limit.passed

    if in_time():
        snapshot = newest_of(
            snapshot
        )  # a commit by another writer may change the pending steps, or invalidate the work
    done = OptimizeReport(snapshot.manifest.snapshot)
    if in_time() and present(snapshot).expired:
        commit, snapshot = commit_change(snapshot, Expire())
        expired = commit.deleted
    if in_time():
        try:
            done, snapshot = merge(snapshot, force=force, progress=report, limit=limit)
        except OutOfTimeError:
            limit.abandoned("the merge")
    done = replace(done, expired=expired)
    trained = not (
        snapshot.manifest.live and snapshot.manifest.live.pending is not None
    )  # otherwise searches are exhaustive
    if (
        in_time()
        and trained
        and snapshot.manifest.rows
        and (retune is True or (retune == "auto" and needs_tuning(snapshot)))
        and limit.allows("tuning the settings", tuning_seconds(snapshot.manifest))
    ):
        (progress or silent)("tune", 0, 1)
        snapshot = tune(snapshot)
        done = replace(done, tuned=True)
        report("tune", 1, 1)
    if in_time() and snapshot.manifest.live:
        done = _prune(snapshot.store, done)
    return replace(done, snapshot=snapshot.manifest.snapshot, postponed=tuple(limit.postponed)), snapshot


def keep_up(snapshot: Snapshot, *, train: bool = True) -> Snapshot:
    """Run maintenance that a change may require: fold many deltas, or train an index that started empty.

    The change itself is already committed, so errors are logged, and the work is left to a later change or to `maintain`.
    """
    live = snapshot.manifest.live
    if live and len(live.deltas) > MOST_DELTAS:
        try:
            _, snapshot = fold(snapshot)
        except VsearchError as error:
            logger.warning("%s: folding deltas failed, optimize will retry it: %s", snapshot.store.url, error)
    return train_if_due(snapshot) if train else snapshot


def train_if_due(snapshot: Snapshot, *, keep_shards: bool = False, limit: TimeLimit | None = None) -> Snapshot:
    """Train an index that started empty, once it has enough rows. Until then, or if it fails, searches scan all rows.

    Parameters
    ----------
    limit : TimeLimit, optional
        Within which the training must end.
    keep_shards : bool
        Leave the index untrained if its number of shards would change, since functions would have to be deployed again.
    """
    live = snapshot.manifest.live
    if not live or live.pending is None:
        return snapshot
    from vsearch.live.beginning import due_options
    from vsearch.live.retraining import retrain

    options = due_options(snapshot)
    if options is None or (keep_shards and (options.shards or 1) != len(snapshot.manifest.shards)):
        return snapshot
    if limit is not None and not limit.allows("training", training_seconds(snapshot.manifest)):
        return snapshot
    try:
        _, snapshot = retrain(snapshot, options, progress=silent if limit is None else limit.watch(silent))
    except OutOfTimeError:
        if limit is not None:
            limit.abandoned("training")
    except (ConflictError, StoreError) as error:
        logger.warning("%s: training failed, a later append will retry it: %s", snapshot.store.url, error)
    return snapshot


def _prune(store: Store, done: OptimizeReport) -> OptimizeReport:
    """Remove old snapshots. Errors are logged, since the optimization is already committed."""
    try:
        if not _any_old(store):
            return done
        pruned = prune(store, KEPT, older_than=OLDER_THAN)
    except (ConflictError, CorruptIndexError, StoreError) as error:
        logger.warning("%s: old snapshots were not pruned: %s", store.url, error)
        return done
    return replace(done, pruned=pruned.snapshots, bytes_freed=pruned.bytes)


def _any_old(store: Store) -> bool:
    """Whether a snapshot seems old enough to prune, by one listing and the local clock."""
    times = [info.modified for info in store.list("manifest") if snapshot_number(info.path) is not None]
    return len(times) > KEPT and datetime.now(UTC) - sorted(times)[1] >= OLDER_THAN
