"""Tag snapshots, and restore older ones."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from vsearch.errors import CorruptIndexError, SnapshotNotFoundError
from vsearch.live.commits import Draft, Override, commit_change, newest_of
from vsearch.storage import read_manifest
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.commits import snapshot_numbers
from vsearch.storage.snapshots.committing import retry_waits
from vsearch.storage.snapshots.condemned import condemned_paths
from vsearch.storage.snapshots.finding import check_tag
from vsearch.storage.snapshots.upgrading import greatest_numbers, origin_of, upgraded

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest, Store


@dataclass(frozen=True)
class Tag:
    """Assign a tag to a snapshot; with None, remove the tag."""

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
    """Restore the contents of an older snapshot. Tags are kept, and numbers assigned since then are not reused.

    Attributes
    ----------
    old : Manifest
    latest : Manifest
        The newest one of the same build, which has the highest assigned numbers.
    """

    old: Manifest
    latest: Manifest
    kind: str = "restore"

    def resolve(self, snapshot: Snapshot) -> Draft:
        del snapshot  # commits made in the meantime are undone too, since the history is serial
        return Draft(change=self._change, restored=self.old.snapshot)

    def _change(self, manifest: Manifest) -> Manifest:
        old, now, latest = upgraded(self.old), manifest.live, upgraded(self.latest).live
        if not old.live or not now or not latest:
            return manifest
        numbers = msgspec.structs.asdict(greatest_numbers([old.live, now, latest, now.replaced]))
        live = msgspec.structs.replace(old.live, **numbers, replaced=UNSET, tags=now.tags, tokens=now.tokens)
        return msgspec.structs.replace(old, snapshot=manifest.snapshot, live=live)


def add_tag(snapshot: Snapshot, name: str, number: int | None) -> tuple[Commit, Snapshot]:
    """Tag a snapshot; by default, the open one.

    Raises
    ------
    InputError
        `name` is not a valid tag.
    SnapshotNotFoundError
        The snapshot does not exist, or was pruned in the meantime; it is not tagged.
    """
    check_tag(name)
    number = snapshot.manifest.snapshot if number is None else number
    tagged = read_manifest(snapshot.store, number).snapshot
    commit, after = commit_change(newest_of(snapshot), Tag(name, tagged))
    if not _is_kept(snapshot.store, tagged):
        commit_change(after, Tag(name, None))
        raise SnapshotNotFoundError(f"{snapshot.store.url}: snapshot {tagged} was pruned before it was tagged")
    return commit, after


def _is_kept(store: Store, number: int) -> bool:
    """Whether a snapshot that was just tagged exists, and no prune that missed the tag is about to remove it."""
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
    """Commit the contents of an older snapshot as a new one.

    Raises
    ------
    ConflictError
        A prune is removing its files.
    """
    return commit_change(snapshot, Restore(old, _latest_like(snapshot, old)), check=True)


def _latest_like(snapshot: Snapshot, old: Manifest) -> Manifest:
    """Return the newest manifest of the same build as an older one; other builds may have replaced it since."""
    if origin_of(snapshot.manifest) == origin_of(old):
        return snapshot.manifest
    for number in reversed(snapshot_numbers(snapshot.store)):
        if number > old.snapshot:
            with suppress(SnapshotNotFoundError, CorruptIndexError):
                manifest = read_manifest(snapshot.store, number)
                if origin_of(manifest) == origin_of(old):
                    return manifest
    return old
