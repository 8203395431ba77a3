"""Remove old snapshots and orphaned files."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from msgspec import UNSET

from vsearch.errors import (
    ConflictError,
    CorruptIndexError,
    FormatVersionError,
    IndexNotFoundError,
    InputError,
    StoreError,
)
from vsearch.storage.files.naming import manifest_path, snapshot_number
from vsearch.storage.snapshots.commits import read_manifest
from vsearch.storage.snapshots.condemned import (
    DATA_FOLDERS,
    JOBS,
    LIFETIME,
    condemned_paths,
    file_group,
    is_marker,
    put_marker,
)
from vsearch.storage.snapshots.manifest import manifest_files
from vsearch.storage.snapshots.turns import is_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import UnsetType

    from vsearch.storage.snapshots.manifest import LiveEntry
    from vsearch.storage.stores.base import ObjectInfo, Store

GRACE = timedelta(days=1)
"""Time for which a file without a manifest counts as part of a commit in progress."""


OLDER_THAN = timedelta(hours=1)
"""Time for which a snapshot of a changed index is kept after the next one, since readers may still use it."""

LONGEST = 300.0
"""Seconds after which a prune stops removing files, long before its marker expires."""

ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class PruneReport:
    """The snapshots that a prune removed, and their files and orphaned ones."""

    snapshots: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int
    kept: tuple[int, ...]
    young: int
    """Files without a manifest that are too recent to be removed."""


def prune(
    store: Store,
    keep: int = 2,
    *,
    grace: timedelta | float = GRACE,
    older_than: timedelta | float | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """Remove old snapshots, and the files that no kept snapshot refers to.

    A snapshot is kept if it is among the newest, has a tag, or was followed by another less than ``older_than`` ago. Snapshots
    with missing files do not count, so that a complete one is always kept.

    A file without a manifest may belong to a commit in progress. The files of a writer are as old as the newest of them, by the
    store's clock, and are removed only if they are older than ``grace``. A writer whose files are removed nevertheless notices
    this when it commits, and commits nothing: the marker of a prune that removed files younger than ten minutes stays until a
    later prune. Objects of an unfinished job (`vsearch.cluster`) are treated alike; they are
    removed even if there is no index yet.

    Parameters
    ----------
    store : Store
    keep : int
        Number of snapshots to keep, at least 1.
    grace : timedelta or seconds
        Use 0 only if there are no other writers.
    older_than : timedelta or seconds, optional
        By the store's clock. By default, an hour for a changed index, and 0 for one that was never changed.
    dry_run : bool
        Report what would be removed without removing anything.

    Raises
    ------
    InputError
        An option is invalid.
    CorruptIndexError
        A snapshot to keep cannot be read, so its files are unknown. Nothing was removed.
    ConflictError
        Other processes are building or pruning. Nothing was removed.
    """
    if isinstance(keep, bool) or not isinstance(keep, (int, np.integer)) or keep < 1:
        raise InputError(f"keep must be an integer of at least 1, got {keep!r}")
    margin = _margin(grace, "grace")
    min_age = None if older_than is None else _margin(older_than, "older_than")
    for _ in range(ATTEMPTS):
        plan = _plan(store, keep, margin, min_age, clock=not dry_run)
        if dry_run or _carry_out(store, plan):
            return plan.report()
    raise ConflictError(f"{store.url}: other processes are building or pruning; nothing was removed, try again")


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a prune."""

    numbers: tuple[int, ...]
    """All snapshots."""
    old: tuple[int, ...]
    sound: frozenset[int]
    """Snapshots to keep whose files all exist and are not condemned."""
    free: tuple[ObjectInfo, ...]
    """Files that no kept snapshot refers to."""
    removable: tuple[ObjectInfo, ...]
    """Files to remove."""
    recent: bool
    """Whether some of them may belong to a commit in progress, which does not list its files."""

    def report(self) -> PruneReport:
        left = {info.path for info in self.removable}
        return PruneReport(
            snapshots=self.old,
            files=tuple(info.path for info in self.removable),
            bytes=sum(info.bytes for info in self.removable),
            kept=tuple(number for number in self.numbers if number not in self.old),
            young=sum(info.path not in left for info in self.free),
        )


def _plan(store: Store, keep: int, margin: timedelta, min_age: timedelta | None, *, clock: bool) -> _Plan:
    now = _store_time(store) if clock else datetime.now(UTC)
    listed = store.list("manifest")
    numbers = sorted(number for info in listed if (number := snapshot_number(info.path)) is not None)
    files = [info for folder in (*DATA_FOLDERS, JOBS) for info in store.list(folder)]
    if not numbers and not any(info.path.startswith(f"{JOBS}/") for info in files):
        raise IndexNotFoundError(f"{store.url} contains no index; nothing was removed")
    condemned = condemned_paths(store, listed, now)
    sizes = {info.path: info.bytes for info in files if info.path not in condemned}
    named: dict[int, set[str]] = {}
    sound: set[int] = set()
    live: LiveEntry | UnsetType = UNSET
    for number in reversed(numbers):  # newest first, until enough of them are complete
        if len(sound) == keep:
            break
        try:
            manifest = read_manifest(store, number)
        except IndexNotFoundError:  # taken back by its writer, or pruned by another process
            continue
        live, entries = live if named else manifest.live, manifest_files(manifest)
        named[number] = {entry.path for entry in entries}
        if all(sizes.get(entry.path) == entry.bytes for entry in entries):
            sound.add(number)
    oldest = min(named, default=0)
    for number in _kept_snapshots(
        listed, now, (OLDER_THAN if live else timedelta(0)) if min_age is None else min_age, live
    ):
        if number < oldest:
            with suppress(IndexNotFoundError):
                named[number] = {entry.path for entry in manifest_files(read_manifest(store, number))}
    old = [number for number in numbers if number < oldest and number not in named]
    needed = {path for paths in named.values() for path in paths}
    retired = {path for number in old for path in _named_if_sound(store, number)}
    free = [info for info in files if info.path not in needed]
    others = [info for info in listed if snapshot_number(info.path) is None]
    ages = _group_ages(files, now)
    unreferenced = [
        info for info in free if info.path in retired or not margin or ages[file_group(info.path)] >= margin
    ]
    recent = any(info.path not in retired and now - info.modified < LIFETIME for info in unreferenced)
    unreferenced += [
        info
        for info in others
        if (not margin and not is_marker(info.path)) or now - info.modified >= _patience(info, margin)
    ]
    return _Plan(tuple(numbers), tuple(old), frozenset(sound), tuple(free), tuple(unreferenced), recent)


def _kept_snapshots(
    manifest_files: Sequence[ObjectInfo], now: datetime, older_than: timedelta, live: LiveEntry | UnsetType
) -> set[int]:
    """Return the snapshots that have tags, or that readers may still use because their successor is recent."""
    written_at = {
        number: info.modified for info in manifest_files if (number := snapshot_number(info.path)) is not None
    }
    numbers = sorted(written_at)
    lately = {snapshot for snapshot, after in pairwise(numbers) if now - written_at[after] < older_than}
    return lately | (set(live.tags.values()) & set(numbers) if live else set())


def _carry_out(store: Store, plan: _Plan) -> bool:
    """Condemn files, check the manifests again, and remove the files; False if others changed too much in the meantime."""
    if not plan.removable and not plan.old:
        return True
    end = time.monotonic() + LONGEST
    old = [manifest_path(number) for number in plan.old]
    marker, ended = put_marker(store, [*old, *(info.path for info in plan.removable)]), True
    try:
        infos = store.list("manifest")
        present = {number for info in infos if (number := snapshot_number(info.path)) is not None}
        late = present - set(plan.numbers)
        condemned = condemned_paths(store, [info for info in infos if info.path != marker], None)
        named, tagged = set(), set()
        for number in late | plan.sound:
            with suppress(IndexNotFoundError):  # taken back by its writer
                manifest = read_manifest(store, number)
                named |= {entry.path for entry in manifest_files(manifest)}
                tagged |= set(manifest.live.tags.values()) if manifest.live and number in late else set()
        if not plan.sound <= present or tagged & set(plan.old):
            return False
        if named & (condemned | {info.path for info in plan.removable}):
            return False
        ended = not plan.recent  # for its lifetime, the marker tells writers that their files are gone
        # Manifests first: an interrupted prune leaves orphans, never a snapshot without its files.
        store.delete(old)
        paths = [info.path for info in plan.removable]
        for start in range(0, len(paths), 1000):
            if time.monotonic() > end:
                raise StoreError(f"{store.url}: the prune took more than {LONGEST:.0f} s and stopped; run it again")
            store.delete(paths[start : start + 1000])
    finally:
        if ended:
            store.delete([marker])
    return True


def _margin(duration: timedelta | float, name: str) -> timedelta:
    try:
        margin = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number of seconds of at least 0, got {duration!r}") from None
    if margin < timedelta(0):
        raise InputError(f"{name} must be a number of seconds of at least 0, got {duration!r}")
    return margin


def _store_time(store: Store) -> datetime:
    """Return the time of the store's clock, since this machine's may be off by more than the grace period."""
    path = f"manifest/.vsearch-clock-{uuid4().hex}.tmp"
    store.put(path, b"")
    try:
        return store.head(path).modified
    finally:
        store.delete([path])


def _group_ages(files: Sequence[ObjectInfo], now: datetime) -> dict[str, timedelta]:
    """Return the age of the newest file of each writer."""
    ages: dict[str, timedelta] = {}
    for info in files:
        group, age = file_group(info.path), now - info.modified
        ages[group] = min(age, ages.get(group, age))
    return ages


def _patience(info: ObjectInfo, margin: timedelta) -> timedelta:
    """Return the age at which a file next to the manifests is orphaned; markers and requests have a lifetime."""
    return LIFETIME if is_marker(info.path) or is_request(info.path) else margin


def _named_if_sound(store: Store, number: int) -> set[str]:
    try:
        return {entry.path for entry in manifest_files(read_manifest(store, number))}
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError):
        return set()
