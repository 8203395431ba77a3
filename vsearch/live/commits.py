"""Commit changes; if another writer was first, apply the change again on top of its commit."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from vsearch.errors import (
    ConflictError,
    CorruptIndexError,
    InputError,
    SnapshotNotFoundError,
    StoreError,
    VsearchError,
)
from vsearch.legs.registry import legs_of
from vsearch.live.written import Written, check_store, discard
from vsearch.search.state.model_reading import training_of
from vsearch.search.state.snapshot import Snapshot, reopen_snapshot
from vsearch.storage import read_manifest
from vsearch.storage.snapshots.commits import newest_after
from vsearch.storage.snapshots.committing import PATIENCE, TakenBackError, commit_after, retry_waits
from vsearch.storage.snapshots.manifest import (
    OperationEntry,
    TokenEntry,
)
from vsearch.storage.snapshots.turns import Turn
from vsearch.storage.snapshots.upgrading import origin_of, upgraded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vsearch.search.state.deltas import Delta, Removed, Rows
    from vsearch.search.state.model import Model
    from vsearch.storage import Manifest

TOKENS = 256
"""Number of tokens that a manifest keeps."""

LONGEST_TOKEN = 200

UNCHECKED = 60.0
"""Seconds after which a commit checks that its files still exist, since a prune may have considered them abandoned."""

OF_TRAINING = frozenset({"tune", "retrain"})
"""Kinds of changes that are only valid for the model that they started with."""

COPYING = frozenset({"update", "add_column"})
"""Kinds of changes that copy the codes of rows, so search settings remain valid."""


@dataclass(frozen=True)
class Commit:
    """The result of a change.

    Attributes
    ----------
    snapshot : int
        The snapshot that contains the change; if nothing changed, the newest one.
    added, replaced, deleted : int
        Number of rows that were added, that replaced a row with the same id, and that were deleted.
    """

    snapshot: int
    added: int = 0
    replaced: int = 0
    deleted: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the fields as a dict."""
        return {"snapshot": self.snapshot, "added": self.added, "replaced": self.replaced, "deleted": self.deleted}


@dataclass(frozen=True, eq=False)
class Draft:
    """The changes that an operation makes to one snapshot.

    Attributes
    ----------
    rows : Rows or None
        New rows.
    removed : Removed or None
        Rows of the snapshot that are removed.
    added, replaced, deleted : int
    next_row : int or None
        The next automatic row number.
    change : callable, optional
        Further changes to the manifest.
    counted : bool
        Whether removals reduce the row count; False if they repeat removals that were counted before.
    plain : bool
        Whether the change does not require format 2, so that a built index keeps format 1.
    restored : int, optional
        The older snapshot that is restored.
    model : Model or None
        The model of the new rows, if it is not the snapshot's.
    """

    rows: Rows | None = None
    removed: Removed | None = None
    added: int = 0
    replaced: int = 0
    deleted: int = 0
    next_row: int | None = None
    change: Callable[[Manifest], Manifest] | None = None
    counted: bool = True
    plain: bool = False
    restored: int | UnsetType = UNSET
    model: Model | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing changes."""
        return (
            not (self.rows is not None and len(self.rows))
            and not (self.removed is not None and len(self.removed))
            and self.change is None
        )


class Override:
    """Base class of changes that apply even if the index was rebuilt in the meantime."""


class Operation(Protocol):
    """A requested change, resolved against each snapshot that it is tried on."""

    @property
    def kind(self) -> str:
        """Name of the operation in manifests."""

    def resolve(self, snapshot: Snapshot) -> Draft:
        """Return the changes to a snapshot; raises InputError if they are impossible there."""


def commit_change(
    snapshot: Snapshot,
    operation: Operation,
    *,
    token: str | None = None,
    if_snapshot: int | None = None,
    paths: Sequence[str] = (),
    check: bool = False,
) -> tuple[Commit, Snapshot]:
    """Commit an operation; if another writer was first, resolve it against that commit and retry, for a minute.

    The history is therefore serial, in the order of the commits.

    Parameters
    ----------
    snapshot : Snapshot
        The newest known snapshot; an older one costs one more request.
    token : str, optional
        Idempotency key of the change: if a commit with this token exists, it is returned.
    if_snapshot : int, optional
        Commit only if this is the newest snapshot.
    paths : sequence of str
        Files written for the operation; removed if it is certain that nothing was committed.
    check : bool
        Whether to check that all files exist, for work that takes longer than the grace period of a prune.

    Returns
    -------
    commit : Commit
    snapshot : Snapshot
        The snapshot that contains the change, open.

    Raises
    ------
    ConflictError
        The index was rebuilt or retrained in the meantime, `if_snapshot` is not the newest snapshot, or other writers were
        first for a whole minute.
    """
    check_call(token, if_snapshot)
    with Turn(snapshot.store) as turn:
        return _commit(snapshot, operation, turn, token, if_snapshot, paths, check=check)


def _commit(
    snapshot: Snapshot,
    operation: Operation,
    turn: Turn,
    token: str | None,
    if_snapshot: int | None,
    paths: Sequence[str],
    *,
    check: bool,
) -> tuple[Commit, Snapshot]:
    store, trained, origin = snapshot.store, training_of(snapshot.manifest), origin_of(snapshot.manifest)
    started = time.monotonic()
    written: Written | None = None
    for _ in retry_waits():
        manifest = snapshot.manifest
        stale = ""
        if origin_of(manifest) != origin and not isinstance(operation, Override):
            stale = "rebuilt"
        elif training_of(manifest) != trained and operation.kind in OF_TRAINING:
            stale = "retrained"
        if stale:
            discard(store, written, paths)
            raise ConflictError(
                f"{store.url}: the index was {stale} in the meantime (snapshot {manifest.snapshot}); open it again and retry"
            )
        known = known_change(manifest, token)
        if known is not None:
            discard(store, written, paths)
            return Commit(known.snapshot, known.added, known.replaced, known.deleted), snapshot
        if if_snapshot is not None and manifest.snapshot != if_snapshot:
            newest = newest_of(snapshot) if manifest.snapshot < if_snapshot else snapshot
            if newest is not snapshot:
                snapshot = newest
                continue
            discard(store, written, paths)
            raise ConflictError(
                f"{store.url}: the newest snapshot is {manifest.snapshot}, not {if_snapshot}; nothing was changed"
            )
        draft, problem = _resolved(operation, snapshot)
        if draft is None or draft.empty:
            newest = newest_of(snapshot)  # the outcome may be different there
            if newest is snapshot:
                discard(store, written, paths)
                if problem is not None:
                    raise problem
                return Commit(manifest.snapshot), snapshot
            snapshot = newest
            continue
        written = Written.of(store, draft.model or snapshot.model, draft.rows, draft.removed, written)
        check_store(store, written, paths)
        # From here on a manifest may refer to the written files even if an error is raised, so only a prune may remove them.
        after, committed, follower = None, written, next_manifest(snapshot, operation.kind, draft, written, token)
        try:
            late = time.monotonic() - started > UNCHECKED
            after = commit_after(store, manifest, follower, check=check or late, turn=turn.request)
        except TakenBackError:  # a prune may remove the written files, now or later, so write them again
            discard(store, written)
            written, check = None, check or bool(paths)
        if after is not None:
            commit = Commit(after.snapshot, draft.added, draft.replaced, draft.deleted)
            return commit, _opened(snapshot, after, committed.delta(snapshot, after))
        turn.wait()  # and look for the newest snapshot after the wait
        snapshot = newest_of(snapshot)
    discard(store, written, paths)
    raise ConflictError(
        f"{store.url}: other writers committed first for {PATIENCE:.0f} s; try again, or use fewer writers"
    )


def _resolved(operation: Operation, snapshot: Snapshot) -> tuple[Draft | None, VsearchError | None]:
    """Resolve an operation; return its draft, or the error, which may not occur on a newer snapshot."""
    try:
        draft = operation.resolve(snapshot)
        if draft.rows is not None and snapshot.manifest.legs:
            for leg in legs_of(snapshot.manifest):
                leg.check_rows(snapshot.manifest, draft.rows.attributes, len(draft.rows))
    except (InputError, SnapshotNotFoundError, CorruptIndexError) as error:
        return None, error
    return draft, None


def _opened(snapshot: Snapshot, manifest: Manifest, delta: Delta | None) -> Snapshot:
    """Open the snapshot that was committed, without reading its new delta again."""
    try:
        return reopen_snapshot(snapshot, manifest, delta)
    except (StoreError, SnapshotNotFoundError) as error:
        raise StoreError(
            f"{snapshot.store.url}: snapshot {manifest.snapshot} was committed, but could not be read ({error}); refresh the "
            "index, and do not repeat the change"
        ) from error


def newest_of(snapshot: Snapshot) -> Snapshot:
    """Return the newest snapshot, open: this one, after one listing, if there is no newer one.

    Raises
    ------
    StoreError
        The store cannot be read.
    CorruptIndexError
        A file is missing or damaged.
    """
    store = snapshot.store
    for wait in retry_waits():
        number = newest_after(store, snapshot.manifest.snapshot)
        if number is None:
            return snapshot
        try:
            return reopen_snapshot(snapshot, read_manifest(store, number))
        except (SnapshotNotFoundError, CorruptIndexError):
            if newest_after(store, number - 1) == number:
                raise
        time.sleep(wait)  # it was pruned or taken back during the read
    raise ConflictError(f"{store.url}: snapshots are pruned faster than they can be read; try again")


def known_change(manifest: Manifest, token: str | None) -> TokenEntry | None:
    """Return the committed change that has this token, if any."""
    if token is None or not manifest.live:
        return None
    return next((entry for entry in manifest.live.tokens if entry.token == token), None)


def next_manifest(snapshot: Snapshot, kind: str, draft: Draft, written: Written, token: str | None) -> Manifest:
    """Return the manifest with a change; until it is committed, it keeps the number of the snapshot."""
    manifest = snapshot.manifest if draft.plain else upgraded(snapshot.manifest)
    if draft.change is not None:
        manifest = draft.change(manifest)
    manifest = msgspec.structs.replace(manifest, writer=uuid4().hex, created=_now(snapshot.manifest))
    live = manifest.live
    if not live:
        return manifest
    deltas, segment = live.deltas, live.next_segment
    if written.entry is not None:
        deltas, segment = (*deltas, msgspec.structs.replace(written.entry, number=segment)), segment + 1
    removed = len(draft.removed) if draft.removed is not None and draft.counted else 0
    added = 0 if draft.rows is None else len(draft.rows)
    tokens = live.tokens
    if token is not None:
        entry = TokenEntry(token, manifest.snapshot + 1, draft.added, draft.replaced, draft.deleted)
        tokens = (*tokens, entry)[-TOKENS:]
    changed = draft.added + draft.deleted + (0 if kind in COPYING else draft.replaced)
    return msgspec.structs.replace(
        manifest,
        rows=manifest.rows + added - removed,
        live=msgspec.structs.replace(
            live,
            next_row=live.next_row if draft.next_row is None else draft.next_row,
            next_segment=segment,
            changed=live.changed + changed,
            deltas=deltas,
            tokens=tokens,
            operation=OperationEntry(
                kind, manifest.snapshot, draft.added, draft.replaced, draft.deleted, draft.restored
            ),
        ),
    )


def _now(before: Manifest) -> str:
    """Return the creation time of a snapshot: never before its predecessor's, even if this machine's clock is slow."""
    now = datetime.now(UTC)
    with suppress(ValueError, TypeError):  # the time may lack a zone or have another form
        now = max(now, datetime.fromisoformat(before.created))
    return now.isoformat(timespec="milliseconds")


def check_call(token: str | None, if_snapshot: int | None) -> None:
    """Check the arguments of a change.

    Raises
    ------
    InputError
        `token` or `if_snapshot` is invalid.
    """
    if token is not None and not (isinstance(token, str) and 0 < len(token) <= LONGEST_TOKEN):
        raise InputError(f"token must be a string of 1 to {LONGEST_TOKEN} characters, got {token!r:.100}")
    if if_snapshot is not None and (isinstance(if_snapshot, bool) or not isinstance(if_snapshot, int)):
        raise InputError(f"if_snapshot must be a snapshot number, got {if_snapshot!r:.100}")
