"""Commits of changes: try, and where another writer was first, go on from what it committed."""

from __future__ import annotations

import random
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
from vsearch.live.written import Written, discard
from vsearch.search.state.model_reading import training_of
from vsearch.search.state.snapshot import Snapshot, reopen_snapshot
from vsearch.storage import read_manifest
from vsearch.storage.snapshots.commits import newest_after
from vsearch.storage.snapshots.committing import PATIENCE, TakenBackError, commit_after, retry_waits
from vsearch.storage.snapshots.manifest import (
    OperationEntry,
    TokenEntry,
)
from vsearch.storage.snapshots.upgrading import origin_of, upgraded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vsearch.search.state.deltas import Delta, Removed, Rows
    from vsearch.search.state.model import Model
    from vsearch.storage import Manifest

TOKENS = 256
"""How many tokens a manifest remembers."""

LONGEST_TOKEN = 200

UNCHECKED = 60.0
"""Seconds after which a change sees whether its files are there still: a prune may have taken them for abandoned."""

OF_TRAINING = frozenset({"tune", "retrain"})
"""Changes that are of the model that they were begun with."""

YIELD = 0.2
"""Seconds within which a change waits that another writer was before; divided by how often that happened."""

COPYING = frozenset({"update", "add_column"})
"""Changes that copy the codes of rows: nothing that settings depend on."""


@dataclass(frozen=True)
class Commit:
    """What a change came to.

    Attributes
    ----------
    snapshot : int
        The snapshot that holds it; where nothing was to be changed, the one that was looked at.
    added, replaced, deleted : int
        Rows that are new, that took the place of a row with their id, and that are gone.
    """

    snapshot: int
    added: int = 0
    replaced: int = 0
    deleted: int = 0

    def to_dict(self) -> dict[str, int]:
        """The same as a dict."""
        return {"snapshot": self.snapshot, "added": self.added, "replaced": self.replaced, "deleted": self.deleted}


@dataclass(frozen=True, eq=False)
class Draft:
    """What an operation changes of one snapshot.

    Attributes
    ----------
    rows : Rows or None
        New ones.
    removed : Removed or None
        Rows of that snapshot that go.
    added, replaced, deleted : int
    next_row : int
        The number of the next row that is given none.
    change : callable, optional
        What else becomes of the manifest.
    counted : bool
        Whether the rows that go are counted yet: not so where a segment repeats what others removed.
    plain : bool
        Whether the change needs nothing of the newest format: an index that was only built keeps its own.
    restored : int, optional
        The older snapshot whose rows come back.
    model : Model or None
        What the new rows are encoded with, where that is not the model of that snapshot.
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
        """Whether it changes nothing."""
        return (
            not (self.rows is not None and len(self.rows))
            and not (self.removed is not None and len(self.removed))
            and self.change is None
        )


class Override:
    """A change that holds whatever index it meets."""


class Operation(Protocol):
    """A change as it was asked for: it is resolved anew on every snapshot that it meets."""

    @property
    def kind(self) -> str:
        """What it is called in manifests."""

    def resolve(self, snapshot: Snapshot) -> Draft:
        """What it changes of a snapshot; raises InputError where it cannot be done there."""


def commit_change(
    snapshot: Snapshot,
    operation: Operation,
    *,
    token: str | None = None,
    if_snapshot: int | None = None,
    paths: Sequence[str] = (),
    check: bool = False,
) -> tuple[Commit, Snapshot]:
    """Commit an operation; where another writer was first, resolve it on what that committed and try again, for a minute.

    So histories are serial, in the order of the commits.

    Parameters
    ----------
    snapshot : Snapshot
        The newest that is known; an older one costs a request more.
    token : str, optional
        A name for this change: if a commit with it is there already, that one is the answer.
    if_snapshot : int, optional
        Change this snapshot only.
    paths : sequence of str
        Files that were written for it: removed where it is certain that nothing is committed.
    check : bool
        See that all files are there: for work that takes longer than a prune may wait.

    Returns
    -------
    commit : Commit
    snapshot : Snapshot
        The one that holds it, open.

    Raises
    ------
    ConflictError
        The index was replaced or trained anew meanwhile, or `if_snapshot` is not the newest, or others committed first for a
        whole minute.
    """
    check_call(token, if_snapshot)
    store, trained, origin = snapshot.store, training_of(snapshot.manifest), origin_of(snapshot.manifest)
    begun = time.monotonic()
    written: Written | None = None
    lost = 0
    for _ in retry_waits():
        manifest = snapshot.manifest
        stale = ""
        if origin_of(manifest) != origin and not isinstance(operation, Override):
            stale = "built"
        elif training_of(manifest) != trained and operation.kind in OF_TRAINING:
            stale = "trained"
        if stale:
            discard(store, written, paths)
            raise ConflictError(
                f"{store.url}: snapshot {manifest.snapshot} was {stale} anew meanwhile; open the index again and retry"
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
                f"{store.url}: snapshot {manifest.snapshot} is the newest, not {if_snapshot}; nothing was changed"
            )
        draft, problem = _resolved(operation, snapshot)
        if draft is None or draft.empty:
            newest = newest_of(snapshot)  # what cannot or need not be done here may be otherwise there
            if newest is snapshot:
                discard(store, written, paths)
                if problem is not None:
                    raise problem
                return Commit(manifest.snapshot), snapshot
            snapshot = newest
            continue
        # Until here no manifest named what was written. From here on one may, whatever is raised: a prune will tell.
        written = Written.of(store, draft.model or snapshot.model, draft.rows, draft.removed, written)
        after, own, follower = None, written, next_manifest(snapshot, operation.kind, draft, written, token)
        try:
            after = commit_after(store, manifest, follower, check=check or time.monotonic() - begun > UNCHECKED)
        except TakenBackError:  # a prune may take what was written, now or later: it is written anew
            discard(store, written)
            written, check = None, check or bool(paths)
        if after is not None:
            commit = Commit(after.snapshot, draft.added, draft.replaced, draft.deleted)
            return commit, _opened(snapshot, after, own.delta(snapshot, after))
        # Who lost more often waits less, and looks for the newest snapshot after the wait: so that nobody loses for ever.
        lost += 1
        time.sleep(random.random() * YIELD / lost)  # noqa: S311 (no secret)
        snapshot = newest_of(snapshot)
    discard(store, written, paths)
    raise ConflictError(
        f"{store.url}: other writers were first for {PATIENCE:.0f} s; try again, or write from fewer places"
    )


def _resolved(operation: Operation, snapshot: Snapshot) -> tuple[Draft | None, VsearchError | None]:
    """What an operation changes of a snapshot; or why it cannot be done there, which a newer snapshot may disprove."""
    try:
        return operation.resolve(snapshot), None
    except (InputError, SnapshotNotFoundError, CorruptIndexError) as error:
        return None, error


def _opened(snapshot: Snapshot, manifest: Manifest, own: Delta | None) -> Snapshot:
    """The snapshot that was committed, open; its own delta is not read again."""
    try:
        return reopen_snapshot(snapshot, manifest, own)
    except (StoreError, SnapshotNotFoundError) as error:
        raise StoreError(
            f"{snapshot.store.url}: snapshot {manifest.snapshot} is committed, but could not be read ({error}); refresh, "
            "and do not repeat the change"
        ) from error


def newest_of(snapshot: Snapshot) -> Snapshot:
    """The newest snapshot: this one, or a newer one, opened. One listing where there is none.

    Raises
    ------
    StoreError, CorruptIndexError
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
        time.sleep(wait)  # it was pruned, or taken back, while it was read
    raise ConflictError(f"{store.url}: snapshots come and go faster than they can be read; try again")


def known_change(manifest: Manifest, token: str | None) -> TokenEntry | None:
    """The change that has this token."""
    if token is None or not manifest.live:
        return None
    return next((entry for entry in manifest.live.tokens if entry.token == token), None)


def next_manifest(snapshot: Snapshot, kind: str, draft: Draft, written: Written, token: str | None) -> Manifest:
    """The manifest with a change; its number is that of the snapshot until it is committed."""
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
    gone = len(draft.removed) if draft.removed is not None and draft.counted else 0
    added = 0 if draft.rows is None else len(draft.rows)
    tokens = live.tokens
    if token is not None:
        mine = TokenEntry(token, manifest.snapshot + 1, draft.added, draft.replaced, draft.deleted)
        tokens = (*tokens, mine)[-TOKENS:]
    changed = draft.added + draft.deleted + (0 if kind in COPYING else draft.replaced)
    return msgspec.structs.replace(
        manifest,
        rows=manifest.rows + added - gone,
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
    """When a snapshot is made: never earlier than the one that it follows, whatever this machine's clock says."""
    now = datetime.now(UTC)
    with suppress(ValueError, TypeError):  # written elsewhere, without a zone or in another form
        now = max(now, datetime.fromisoformat(before.created))
    return now.isoformat(timespec="milliseconds")


def check_call(token: str | None, if_snapshot: int | None) -> None:
    """Refuse what is no token, or no number of a snapshot."""
    if token is not None and not (isinstance(token, str) and 0 < len(token) <= LONGEST_TOKEN):
        raise InputError(f"token must be a text of 1 to {LONGEST_TOKEN} characters, got {token!r:.100}")
    if if_snapshot is not None and (isinstance(if_snapshot, bool) or not isinstance(if_snapshot, int)):
        raise InputError(f"if_snapshot must be the number of a snapshot, got {if_snapshot!r:.100}")
