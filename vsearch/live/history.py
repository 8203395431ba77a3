"""Tags on snapshots, and what an index was like before: by number, by tag, or at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vsearch.errors import CorruptIndexError, SnapshotNotFoundError
from vsearch.live.commits import Draft, Override, commit_change, newest_of
from vsearch.storage import read_manifest
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.commits import snapshot_numbers
from vsearch.storage.snapshots.committing import retry_waits
from vsearch.storage.snapshots.condemned import condemned_paths
from vsearch.storage.snapshots.finding import check_tag
from vsearch.storage.snapshots.upgrading import origin_of, upgraded

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest, Store


@dataclass(frozen=True)
class Tag:
    """Give a snapshot a name; None takes the name away."""

    name: str
    number: int | None
    kind: str = "tag"

    def resolve(self, snapshot: Snapshot) -> Draft:
        live = snapshot.manifest.live
        if self.number == (live.tags.get(self.name) if live else None):
            return Draft()
        return Draft(change=self._change)

    def _change(self, manifest: Manifest) -> Manifest:
        live = manifest.live
        if not live:
            return manifest
        tags = {name: number for name, number in live.tags.items() if name != self.name}
        tags |= {} if self.number is None else {self.name: self.number}
        return msgspec.structs.replace(manifest, live=msgspec.structs.replace(live, tags=tags))


@dataclass(frozen=True)
class Restore(Override):
    """Make an index what it was in an older snapshot. Numbers that were given out since are not given out again; tags stay."""

    old: Manifest
    latest: Manifest  # of those that go back to the same build: it says which numbers were given out
    kind: str = "restore"

    def resolve(self, snapshot: Snapshot) -> Draft:
        del snapshot  # whatever others committed meanwhile is undone, too: the history is serial
        return Draft(change=self._change, restored=self.old.snapshot)

    def _change(self, manifest: Manifest) -> Manifest:
        old, now, latest = upgraded(self.old), manifest.live, upgraded(self.latest).live
        if not old.live or not now or not latest:
            return manifest
        counts = {
            name: max(getattr(live, name) for live in (old.live, now, latest))
            for name in ("next_row", "next_segment", "next_field", "next_partition")
        }
        live = msgspec.structs.replace(old.live, **counts, tags=now.tags, tokens=now.tokens)
        return msgspec.structs.replace(old, snapshot=manifest.snapshot, live=live)


def add_tag(snapshot: Snapshot, name: str, number: int | None) -> tuple[Commit, Snapshot]:
    """Tag a snapshot, that which is given by default.

    Raises
    ------
    InputError
        `name` is no name.
    SnapshotNotFoundError
        There is no such snapshot, or a prune removed it meanwhile. It has no tag then.
    """
    check_tag(name)
    number = snapshot.manifest.snapshot if number is None else number
    before = read_manifest(snapshot.store, number).snapshot
    commit, after = commit_change(newest_of(snapshot), Tag(name, before))
    if not _stays(snapshot.store, before):
        commit_change(after, Tag(name, None))
        raise SnapshotNotFoundError(f"{snapshot.store.url}: snapshot {before} was pruned before it was tagged")
    return commit, after


def _stays(store: Store, number: int) -> bool:
    """Whether a snapshot that was just tagged is there and no prune that did not see the tag is about to remove it."""
    path = manifest_path(number)
    for wait in retry_waits():
        infos = store.list("manifest")
        if not any(info.path == path for info in infos):
            return False
        if path not in condemned_paths(store, infos, max(info.modified for info in infos)):
            return True
        time.sleep(wait)
    return False


def restore(snapshot: Snapshot, old: Manifest) -> tuple[Commit, Snapshot]:
    """Commit anew what an older snapshot was.

    Raises
    ------
    ConflictError
        A prune removes its files.
    """
    return commit_change(snapshot, Restore(old, _latest_like(snapshot, old)), check=True)


def _latest_like(snapshot: Snapshot, old: Manifest) -> Manifest:
    """The newest manifest that goes back to the same build as an older one: other builds may have replaced it since."""
    if origin_of(snapshot.manifest) == origin_of(old):
        return snapshot.manifest
    for number in reversed(snapshot_numbers(snapshot.store)):
        if number > old.snapshot:
            with suppress(SnapshotNotFoundError, CorruptIndexError):
                manifest = read_manifest(snapshot.store, number)
                if origin_of(manifest) == origin_of(old):
                    return manifest
    return old
