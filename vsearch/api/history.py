"""Snapshots of an open index: tags on them, and going back to one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vsearch.api.opened import OpenedIndex
from vsearch.errors import InputError
from vsearch.storage import SnapshotInfo, list_snapshots, read_manifest
from vsearch.storage.snapshots.finding import check_tag, find_snapshot, stored_tags

if TYPE_CHECKING:
    from vsearch.live.commits import Commit
    from vsearch.live.feed import Changes
    from vsearch.search.state.snapshot import Snapshot


class TravellingIndex(OpenedIndex):
    """What can be done with the snapshots of an index."""

    def snapshots(self) -> list[SnapshotInfo]:
        """All snapshots that can be opened, oldest first."""
        return list_snapshots(self._snapshot.store)

    def tag(self, name: str, snapshot: int | None = None) -> Commit:
        """Give a snapshot a name, so that it stays when others are pruned. A name that another one has moves here.

        Parameters
        ----------
        name : str
            Up to 200 characters; `vsearch.open` takes it as ``tag=``.
        snapshot : int, optional
            The one that this index reads by default.

        Returns
        -------
        Commit
            Tags are part of the index: this is the snapshot that has the tag, not the one that is tagged.

        Raises
        ------
        InputError
        SnapshotNotFoundError
            There is no such snapshot, or a prune removed it meanwhile.
        """
        from vsearch.live.history import add_tag

        with self._lock:
            commit, after = add_tag(self._snapshot, name, snapshot)
            self._follow(after)
        return commit

    def untag(self, name: str) -> Commit:
        """Take a tag away. Nothing happens where there is none.

        Raises
        ------
        InputError, ConflictError
        """
        from vsearch.live.commits import commit_change, newest_of
        from vsearch.live.history import Tag

        check_tag(name)
        with self._lock:
            commit, after = commit_change(newest_of(self._snapshot), Tag(name, None))
            self._follow(after)
        return commit

    def _follow(self, after: Snapshot) -> None:
        """Go on to a snapshot with other tags, unless that would bring other rows."""
        if after.manifest.snapshot == self._snapshot.manifest.snapshot + 1:
            self._snapshot = replace(after, moment=self._snapshot.moment)

    def tags(self) -> dict[str, int]:
        """The snapshots that have tags, by name, as the newest snapshot has them."""
        return stored_tags(read_manifest(self._snapshot.store))

    def changes(self, since: int) -> Changes:
        """Which rows changed from an older snapshot to the one that this index reads, from deltas alone.

        Caches and other systems follow an index so: `refresh`, ask for the changes since the snapshot they know, remember
        `Changes.to_snapshot`. Columns that are added without values, renamed or dropped change no row.

        Parameters
        ----------
        since : int
            The number of that snapshot. How far back one can ask depends on what was pruned.

        Raises
        ------
        InputError
            `since` is not the number of a snapshot up to the one that this index reads.
        ChangesNotFoundError
            It, or a snapshot in between that is needed, was pruned; or the index was built, trained or retrained in between.
            Read all of the index then.
        """
        from vsearch.live.feed import changes_since

        return changes_since(self._current(), since)

    def restore(self, *, snapshot: int | None = None, tag: str | None = None) -> Commit:
        """Make the index what it was: a new snapshot with the rows, attributes, settings and model of an older one.

        What was committed since stays in the snapshots in between, so that this can be undone. Tags stay, and ids of an index
        that numbers its rows are not given out again.

        Parameters
        ----------
        snapshot, tag
            Which one; exactly one of the two.

        Raises
        ------
        InputError
        SnapshotNotFoundError
            There is no such snapshot, or no longer.
        """
        from vsearch.live.commits import newest_of
        from vsearch.live.history import restore

        if (snapshot is None) == (tag is None):
            raise InputError("say what to restore: give either snapshot or tag")
        with self._lock:
            old = find_snapshot(self._snapshot.store, snapshot, tag)
            commit, self._snapshot = restore(newest_of(self._snapshot), old)
        return commit
