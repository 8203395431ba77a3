"""Snapshots of an open index: listing, tagging and restoring them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.api.opened import OpenedIndex
from vsearch.errors import InputError
from vsearch.storage import SnapshotInfo, list_snapshots, read_manifest
from vsearch.storage.snapshots.finding import check_tag, find_snapshot, stored_tags

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.live.feed import Changes
    from vsearch.search.state.snapshot import Snapshot


class VersionedIndex(OpenedIndex):
    """Operations on the snapshots of an index."""

    def snapshots(self) -> list[SnapshotInfo]:
        """Return all snapshots that can be opened, oldest first."""
        return list_snapshots(self._snapshot.store)

    def tag(self, name: str, snapshot: int | None = None) -> Commit:
        """Tag a snapshot, which protects it from pruning. If another snapshot has the tag, the tag moves.

        Parameters
        ----------
        name : str
            Up to 200 characters; `vsearch.open` accepts it as ``tag=``.
        snapshot : int, optional
            By default the one that this index reads.

        Returns
        -------
        Commit
            Tags are part of the index: this is the new snapshot that contains the tag, not the one that is tagged.

        Raises
        ------
        InputError
            `name` is not a valid tag.
        SnapshotNotFoundError
            The snapshot does not exist, or was pruned in the meantime.
        """
        from vsearch.live.history import add_tag

        with self._lock:
            commit, after = add_tag(self._snapshot, name, snapshot)
            self._follow(after)
        return commit

    def untag(self, name: str) -> Commit:
        """Remove a tag; does nothing if it does not exist.

        Raises
        ------
        InputError
            `name` is not a valid tag.
        ConflictError
            The index was rebuilt or retrained in the meantime.
        """
        from vsearch.live.commits import commit_change, newest_of
        from vsearch.live.history import Tag

        check_tag(name)
        with self._lock:
            commit, after = commit_change(newest_of(self._snapshot), Tag(name, None))
            self._follow(after)
        return commit

    def _follow(self, after: Snapshot) -> None:
        """Move to a snapshot that differs in tags only; stay if rows may have changed."""
        if after.manifest.snapshot == self._snapshot.manifest.snapshot + 1:
            self._snapshot = after.like(moment=self._snapshot.moment)

    def tags(self) -> dict[str, int]:
        """Return snapshot numbers by tag, from the newest snapshot."""
        return stored_tags(read_manifest(self._snapshot.store))

    def changes(self, since: int) -> Changes:
        """Return the rows that changed between an older snapshot and the one that this index reads, from deltas alone.

        To follow an index, a cache or another system calls `refresh`, then `changes` with the last snapshot it knows, and stores
        `Changes.to_snapshot`. Adding a column without values, renaming a column and dropping a column change no row.

        One manifest is read if no rows were moved in between, by a fold, a merge or a split, and the ids of the new deltas;
        otherwise the manifests of all snapshots in between, at most 4096, and the ids of their deltas.

        Parameters
        ----------
        since : int
            Number of the older snapshot. Pruning, and the number of snapshots since then, limit how far back it may be.

        Raises
        ------
        InputError
            `since` is not a snapshot number up to that of this index.
        ChangesNotFoundError
            That snapshot or a required one in between was pruned, the index was rebuilt or retrained in between, or too many
            snapshots are. Read the whole index in that case.
        """
        from vsearch.live.feed import changes_since

        return changes_since(self._current(), since)

    def restore(self, *, snapshot: int | None = None, tag: str | None = None) -> Commit:
        """Restore an older state: commit a new snapshot with the rows, attributes, settings and model of an older one.

        The snapshots in between are kept, so that this can be undone. Tags are kept, and an index that numbers its rows never
        reuses ids.

        Parameters
        ----------
        snapshot, tag
            The snapshot to restore; exactly one is required.

        Raises
        ------
        InputError
            Neither or both of `snapshot` and `tag` are passed.
        SnapshotNotFoundError
            The snapshot or the tag does not exist, or the snapshot was pruned.
        """
        from vsearch.live.commits import newest_of
        from vsearch.live.history import restore

        if (snapshot is None) == (tag is None):
            raise InputError(f"exactly one of snapshot and tag is required, got {'neither' if tag is None else 'both'}")
        with self._lock:
            old = find_snapshot(self._snapshot.store, snapshot, tag)
            commit, self._snapshot = restore(newest_of(self._snapshot), old)
        return commit
