"""Group commit: concurrent changes by threads that share an open index go into one delta and one commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import numpy as np

from vsearch.errors import ConflictError, CorruptIndexError, InputError, SnapshotNotFoundError, StoreError
from vsearch.live.commits import Commit, Draft, commit_change, known_change, next_manifest
from vsearch.live.merging import join_removed, removed_elsewhere
from vsearch.live.written import Written
from vsearch.search.state.deltas import Rows, delta_entry
from vsearch.search.state.runs import live_rows
from vsearch.search.state.snapshot import reopen_snapshot
from vsearch.storage.files.bundle import BundleEntry, HeaderEntry

if TYPE_CHECKING:
    from vsearch.live.commits import Operation
    from vsearch.search.state.deltas import Delta, Gone
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

GROUPED = frozenset({"append", "upsert", "delete"})
"""Kinds of changes that may share a commit."""

MOST_CHANGES = 256
"""Maximum number of changes in a commit; a manifest keeps as many tokens."""

REFUSALS = (InputError, SnapshotNotFoundError, CorruptIndexError, ConflictError)
"""Errors that fail one change of a group, but not the others."""


@dataclass(eq=False)
class Waiting:
    """A change requested by a thread, and its outcome: a commit or an error."""

    operation: Operation
    token: str | None = None
    outcome: Commit | Exception | None = None

    def result(self) -> Commit:
        """Return the commit, or raise the error."""
        if isinstance(self.outcome, Commit):
            return self.outcome
        raise self.outcome or StoreError("the change was not committed")


def commit_waiting(queue: deque[Waiting], snapshot: Snapshot) -> Snapshot:
    """Commit the waiting changes in order, and set the outcome of each. Must be called by one thread at a time.

    Parameters
    ----------
    queue : deque of Waiting
        Changes that other threads add in the meantime are left for the next call.
    snapshot : Snapshot

    Returns
    -------
    Snapshot
        The snapshot with the changes; the same if nothing changed.
    """
    changes: list[Waiting] = []
    while queue and len(changes) < MOST_CHANGES:
        changes.append(queue.popleft())
    try:
        return _commit(snapshot, changes)
    except Exception as error:  # raised again in each of the threads
        for waiting in changes:
            waiting.outcome = error
        return snapshot
    except BaseException:
        for waiting in changes:
            waiting.outcome = StoreError(
                f"{snapshot.store.url}: it is unknown whether the change was committed, because the thread that committed it was "
                "interrupted; check the snapshots before you retry"
            )
        raise


def _commit(snapshot: Snapshot, changes: Sequence[Waiting]) -> Snapshot:
    if len(changes) == 1:
        changes[0].outcome, after = commit_change(snapshot, changes[0].operation, token=changes[0].token)
        return after
    group = Group(changes)
    commit, after = commit_change(snapshot, group)
    for waiting, outcome in zip(changes, group.outcomes, strict=True):
        waiting.outcome = (
            Commit(commit.snapshot, outcome.added, outcome.replaced, outcome.deleted)
            if isinstance(outcome, Draft)
            else outcome
        )
    return after


@dataclass(eq=False)
class Group:
    """Several changes as one: each is resolved against the snapshot as changed by those before it.

    Attributes
    ----------
    changes : sequence of Waiting
    outcomes : list
        For each change, on the latest snapshot: its draft, the existing commit with its token, or its error.
    """

    changes: Sequence[Waiting]
    outcomes: list[Draft | Commit | Exception] = field(default_factory=list)
    _joined: _Joined | None = None

    @property
    def kind(self) -> str:
        """The common kind of all changes, or "changes"."""
        kinds = {waiting.operation.kind for waiting in self.changes}
        return kinds.pop() if len(kinds) == 1 else "changes"

    def resolve(self, snapshot: Snapshot) -> Draft:
        self.outcomes, after = [], snapshot
        for waiting in self.changes:
            outcome = _resolved(waiting, after)
            self.outcomes.append(outcome)
            if isinstance(outcome, Draft) and not outcome.empty:
                after = _applied(after, waiting, outcome)
        drafts = [outcome for outcome in self.outcomes if isinstance(outcome, Draft) and not outcome.empty]
        live = after.manifest.live
        if not drafts or not live or after.gone is None:
            return Draft()
        new_deltas = after.deltas[len(snapshot.deltas) :]
        numbers = np.array([delta.number for delta in new_deltas], np.uint32)
        self._joined = _Joined.of(new_deltas, after.gone, self._joined)

        def change(manifest: Manifest) -> Manifest:
            if not manifest.live:
                return manifest
            changed = msgspec.structs.replace(manifest.live, next_row=live.next_row, tokens=live.tokens)
            return msgspec.structs.replace(manifest, live=changed)

        return Draft(
            self._joined.rows,
            join_removed([removed_elsewhere(delta.removed, numbers) for delta in new_deltas]),
            added=sum(draft.added for draft in drafts),
            replaced=sum(draft.replaced for draft in drafts),
            deleted=sum(draft.deleted for draft in drafts),
            change=change,
        )


def _resolved(waiting: Waiting, snapshot: Snapshot) -> Draft | Commit | Exception:
    known = known_change(snapshot.manifest, waiting.token)
    if known is not None:
        return Commit(known.snapshot, known.added, known.replaced, known.deleted)
    try:
        return waiting.operation.resolve(snapshot)
    except REFUSALS as error:
        return error


def _applied(snapshot: Snapshot, waiting: Waiting, draft: Draft) -> Snapshot:
    """Return the snapshot as it would be with a change, without writing anything."""
    placeholder = BundleEntry(f"segments/{uuid4().hex}.arrow", 0, 0, HeaderEntry(0, 0, 0))
    written = Written(draft.rows, draft.removed, delta_entry(placeholder, draft.rows, draft.removed))
    manifest = next_manifest(snapshot, waiting.operation.kind, draft, written, waiting.token)
    return reopen_snapshot(snapshot, manifest, written.delta(snapshot, manifest))


@dataclass(frozen=True, eq=False)
class _Joined:
    """The rows of several changes that none of them removes; joined again only if they differ from the last time."""

    codes: tuple[Any, ...]
    kept: tuple[Any, Any]
    rows: Rows | None

    @classmethod
    def of(cls, deltas: Sequence[Delta], gone: Gone, before: _Joined | None) -> _Joined:
        """Join the rows of at least one delta; reuse the previous result if its rows are the same."""
        rows, addresses = live_rows(deltas, gone)
        codes = tuple(delta.rows.codes for delta in deltas)
        kept = addresses.segments - np.uint32(deltas[0].number), addresses.rows
        if rows is not None and before is not None and before.rows is not None:
            same = len(codes) == len(before.codes) and all(a is b for a, b in zip(codes, before.codes, strict=True))
            if same and all(np.array_equal(a, b) for a, b in zip(kept, before.kept, strict=True)):
                rows = Rows(before.rows.codes, rows.ids, rows.attributes)
        return cls(codes, kept, rows)
