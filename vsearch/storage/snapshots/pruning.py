"""Removing old snapshots, and files that belong to nothing."""

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
    LIFETIME,
    condemned_paths,
    file_group,
    is_marker,
    put_marker,
)
from vsearch.storage.snapshots.manifest import manifest_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgspec import UnsetType

    from vsearch.storage.snapshots.manifest import LiveEntry
    from vsearch.storage.stores.base import ObjectInfo, Store

GRACE = timedelta(days=1)
"""How long a file that no manifest names is taken for part of a commit under way."""


OLDER_THAN = timedelta(hours=1)
"""How long a snapshot of an index that changes stays after the next one came: readers may still be at it."""

LONGEST = 300.0
"""Seconds after which a prune stops removing, long before its marker ends."""

ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune removed: snapshots, and the files that belonged to them or to nothing."""

    snapshots: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int
    kept: tuple[int, ...]
    young: int
    """Files that no manifest names but that are too young to be removed."""


def prune(
    store: Store,
    keep: int = 2,
    *,
    grace: timedelta | float = GRACE,
    older_than: timedelta | float | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """Remove old snapshots, and the files that no kept one names.

    A snapshot is kept if it is among the newest, has a tag, or was followed by another less than ``older_than`` ago. A snapshot that lacks files does not count as kept, so that one that is whole always stays.

    A file that no manifest names may belong to a commit under way. What one writer wrote is as old as its youngest file, by
    the store's own clock, and is removed only when it is older than ``grace``. A writer whose files are removed all the
    same finds that out when it commits, and commits nothing.

    Parameters
    ----------
    store
    keep
        Snapshots to keep, at least 1.
    grace : timedelta or seconds
        0 only when nothing else writes.
    older_than : timedelta or seconds, optional
        By the store's clock. By default an hour for an index that changes, 0 for one that was only built.
    dry_run
        Report what would be removed, and remove nothing.

    Raises
    ------
    InputError
    CorruptIndexError
        A snapshot that is to be kept cannot be read, so what it needs is not known. Nothing was removed.
    ConflictError
        Others build and prune there at this moment. Nothing was removed.
    """
    if isinstance(keep, bool) or not isinstance(keep, (int, np.integer)) or keep < 1:
        raise InputError(f"keep must be a number of snapshots of at least 1, got {keep!r}")
    margin = _margin(grace, "grace")
    held = None if older_than is None else _margin(older_than, "older_than")
    for _ in range(ATTEMPTS):
        plan = _plan(store, keep, margin, held, clock=not dry_run)
        if dry_run or _carry_out(store, plan):
            return plan.report()
    raise ConflictError(f"{store.url}: builds or prunes go on there at this moment; nothing was removed: try again")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a prune is to do."""

    numbers: tuple[int, ...]
    """All snapshots that were there."""
    old: tuple[int, ...]
    sound: frozenset[int]
    """Those to keep whose files are all there, and condemned by nobody."""
    free: tuple[ObjectInfo, ...]
    """Files that none of those to keep names."""
    gone: tuple[ObjectInfo, ...]
    """Files to remove."""

    def report(self) -> PruneReport:
        left = {info.path for info in self.gone}
        return PruneReport(
            snapshots=self.old,
            files=tuple(info.path for info in self.gone),
            bytes=sum(info.bytes for info in self.gone),
            kept=tuple(number for number in self.numbers if number not in self.old),
            young=sum(info.path not in left for info in self.free),
        )


def _plan(store: Store, keep: int, margin: timedelta, held: timedelta | None, *, clock: bool) -> _Plan:
    now = _store_time(store) if clock and (margin or held) else datetime.now(UTC)
    beside = store.list("manifest")
    numbers = sorted(number for info in beside if (number := snapshot_number(info.path)) is not None)
    if not numbers:
        raise IndexNotFoundError(f"{store.url}: there is no index here; nothing was removed")
    condemned = condemned_paths(store, beside, now)
    files = [info for folder in DATA_FOLDERS for info in store.list(folder)]
    whole = {info.path: info.bytes for info in files if info.path not in condemned}
    named: dict[int, set[str]] = {}
    sound: set[int] = set()
    live: LiveEntry | UnsetType = UNSET
    for number in reversed(numbers):  # the newest, until enough of them are whole
        if len(sound) == keep:
            break
        try:
            manifest = read_manifest(store, number)
        except IndexNotFoundError:  # its writer took it back, or another prune was here
            continue
        live, entries = live if named else manifest.live, manifest_files(manifest)
        named[number] = {entry.path for entry in entries}
        if all(whole.get(entry.path) == entry.bytes for entry in entries):
            sound.add(number)
    oldest = min(named, default=0)
    for number in _held(beside, now, (OLDER_THAN if live else timedelta(0)) if held is None else held, live):
        if number < oldest:
            with suppress(IndexNotFoundError):
                named[number] = {entry.path for entry in manifest_files(read_manifest(store, number))}
    old = [number for number in numbers if number < oldest and number not in named]
    needed = {path for paths in named.values() for path in paths}
    retired = {path for number in old for path in _named_if_sound(store, number)}
    free = [info for info in files if info.path not in needed]
    others = [info for info in beside if snapshot_number(info.path) is None]
    ages = _group_ages(files, now)
    gone = [info for info in free if info.path in retired or not margin or ages[file_group(info.path)] >= margin]
    gone += [info for info in others if not margin or now - info.modified >= _patience(info, margin)]
    return _Plan(tuple(numbers), tuple(old), frozenset(sound), tuple(free), tuple(gone))


def _held(beside: Sequence[ObjectInfo], now: datetime, older_than: timedelta, live: LiveEntry | UnsetType) -> set[int]:
    """Snapshots that a tag or a reader may need: those that were followed by another only lately."""
    came = {number: info.modified for info in beside if (number := snapshot_number(info.path)) is not None}
    numbers = sorted(came)
    lately = {one for one, after in pairwise(numbers) if now - came[after] < older_than}
    return lately | (set(live.tags.values()) & set(numbers) if live else set())


def _carry_out(store: Store, plan: _Plan) -> bool:
    """Condemn files, look again who names them, and remove them; False where others changed too much meanwhile."""
    if not plan.gone and not plan.old:
        return True
    end = time.monotonic() + LONGEST
    old = [manifest_path(number) for number in plan.old]
    marker = put_marker(store, [*old, *(info.path for info in plan.gone)])
    try:
        infos = store.list("manifest")
        there = {number for info in infos if (number := snapshot_number(info.path)) is not None}
        late = there - set(plan.numbers)
        condemned = condemned_paths(store, [info for info in infos if info.path != marker], None)
        named, tagged = set(), set()
        for number in late | plan.sound:
            with suppress(IndexNotFoundError):  # its writer took it back
                manifest = read_manifest(store, number)
                named |= {entry.path for entry in manifest_files(manifest)}
                tagged |= set(manifest.live.tags.values()) if manifest.live and number in late else set()
        if not plan.sound <= there or tagged & set(plan.old):
            return False
        if named & (condemned | {info.path for info in plan.gone}):
            return False
        # Manifests first: a prune that stops half-way leaves orphans, never a snapshot without its files.
        store.delete(old)
        paths = [info.path for info in plan.gone]
        for start in range(0, len(paths), 1000):
            if time.monotonic() > end:
                raise StoreError(f"{store.url}: the prune took more than {LONGEST:.0f} s and stopped; run it again")
            store.delete(paths[start : start + 1000])
    finally:
        store.delete([marker])
    return True


def _margin(asked: timedelta | float, name: str) -> timedelta:
    try:
        margin = asked if isinstance(asked, timedelta) else timedelta(seconds=asked)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number of seconds of at least 0, got {asked!r}") from None
    if margin < timedelta(0):
        raise InputError(f"{name} must be a number of seconds of at least 0, got {asked!r}")
    return margin


def _store_time(store: Store) -> datetime:
    """What the store's clock says; this machine's may be off by more than the grace."""
    path = f"manifest/.vsearch-clock-{uuid4().hex}.tmp"
    store.put(path, b"")
    try:
        return store.head(path).modified
    finally:
        store.delete([path])


def _group_ages(files: Sequence[ObjectInfo], now: datetime) -> dict[str, timedelta]:
    """How old what each writer wrote is: as old as its youngest file."""
    ages: dict[str, timedelta] = {}
    for info in files:
        group, age = file_group(info.path), now - info.modified
        ages[group] = min(age, ages.get(group, age))
    return ages


def _patience(info: ObjectInfo, margin: timedelta) -> timedelta:
    """How old a file beside the manifests must be to be left over; the marker of another prune holds for a while."""
    return LIFETIME if is_marker(info.path) else margin


def _named_if_sound(store: Store, number: int) -> set[str]:
    try:
        return {entry.path for entry in manifest_files(read_manifest(store, number))}
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError):
        return set()
