"""The writer: the function that commits changes. It keeps the index open between calls, and follows other writers' commits."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from vsearch.errors import ConflictError, InputError
from vsearch.fanout.calls.bill import architecture
from vsearch.fanout.roles.row_bodies import BadRowsError, ReceivedRows, read_change_body, read_rows_body
from vsearch.fanout.wire.change_messages import MOST_FAULTS, BadRows, Committed, RowFault, WriteRequest, abbreviated
from vsearch.fanout.wire.messages import Warmed, WarmRequest
from vsearch.forking import renew_in_children
from vsearch.live.commits import Commit, commit_change, known_change, newest_of
from vsearch.live.maintenance import keep_up
from vsearch.live.operations import Append, Delete, KnownIdsError, Update, Upsert
from vsearch.search.state.model_reading import training_of
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import read_manifest
from vsearch.storage.snapshots.upgrading import origin_of

if TYPE_CHECKING:
    from vsearch.fanout.calls.retries import Deadline
    from vsearch.fanout.roles.worker import Worker
    from vsearch.fanout.wire.replies import Reply
    from vsearch.live.commits import Operation
    from vsearch.live.inputs import NewRows
    from vsearch.predicates.expressions import Expression
    from vsearch.search.state.snapshot import Snapshot

FOLDING = 15.0
"""Seconds that must be left to fold deltas after a change; otherwise a later change or the keeper does it."""


@dataclass(eq=False)
class Writer:
    """State that a writer keeps between calls.

    Attributes
    ----------
    snapshot : Snapshot or None
        The newest that it knows; None before the first call.
    """

    snapshot: Snapshot | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread may have held at the fork."""
        self.lock = threading.Lock()

    def answer(self, worker: Worker, message: Any, deadline: Deadline) -> Reply:
        """Answer a message.

        Raises
        ------
        InputError, ConflictError, StoreError, CorruptIndexError
            Nothing was changed, unless the message of a `StoreError` says that this is unknown.
        """
        with self.lock:  # platforms other than AWS may call concurrently
            if self.snapshot is None:
                self.snapshot = open_snapshot(worker.meter, read_manifest(worker.meter, None))
            if isinstance(message, WarmRequest):
                self.snapshot = newest_of(self.snapshot)
                return Warmed(snapshot=self.snapshot.manifest.snapshot, bytes=0)
            if not isinstance(message, WriteRequest):
                raise InputError(f"a writer does not accept {type(message).__name__}")
            try:
                return self._write(self.snapshot, message, deadline)
            except BadRowsError as error:
                return _bad_rows(error.faults)
            except KnownIdsError as error:
                return _bad_rows(dict.fromkeys(error.positions, "the index has a row with this id already"))

    def _write(self, snapshot: Snapshot, request: WriteRequest, deadline: Deadline) -> Committed:
        """Make a change; retry it if it was refused on a snapshot that is no longer the newest.

        The caller does not know which snapshot is open here, so the answer must not depend on it: others may have added a
        column, or rebuilt the index.
        """
        try:
            return self._change(snapshot, request, deadline)
        except (InputError, ConflictError) as error:
            newest = newest_of(snapshot)
            if newest is snapshot or (isinstance(error, ConflictError) and not _is_rebuilt(snapshot, newest)):
                raise
            self.snapshot = newest
        return self._change(newest, request, deadline)

    def _change(self, snapshot: Snapshot, request: WriteRequest, deadline: Deadline) -> Committed:
        if snapshot.manifest.documents is not None:
            raise InputError(
                "functions do not search changed indexes of multi-vector documents: change it with vsearch.open"
            )
        if request.dry_run:
            self.snapshot = newest_of(snapshot)
            matching = _operation(self.snapshot, request).resolve(self.snapshot).deleted
            return Committed(snapshot=self.snapshot.manifest.snapshot, deleted=matching, arch=architecture())
        known = known_change(snapshot.manifest, request.token)
        if known is not None:  # regardless of the current state of the index
            return _committed(Commit(known.snapshot, known.added, known.replaced, known.deleted))
        operation = _operation(snapshot, request)
        commit, self.snapshot = commit_change(snapshot, operation, token=request.token, if_snapshot=request.if_snapshot)
        left = deadline.remaining()
        if left is None or left > FOLDING:
            self.snapshot = keep_up(self.snapshot, train=False)
        return _committed(commit)


def _committed(commit: Commit) -> Committed:
    return Committed(
        snapshot=commit.snapshot,
        added=commit.added,
        replaced=commit.replaced,
        deleted=commit.deleted,
        arch=architecture(),
    )


def _bad_rows(faults: dict[int, str]) -> BadRows:
    named = islice(faults.items(), MOST_FAULTS)
    rows = tuple(RowFault(position, abbreviated(text)) for position, text in named)
    return BadRows(count=len(faults), faults=rows, arch=architecture())


def _is_rebuilt(before: Snapshot, after: Snapshot) -> bool:
    """Whether the index was rebuilt or retrained between two snapshots."""
    return origin_of(before.manifest) != origin_of(after.manifest) or training_of(before.manifest) != training_of(
        after.manifest
    )


def _operation(snapshot: Snapshot, request: WriteRequest) -> Operation:
    """Return the requested change.

    Raises
    ------
    InputError
        The arguments do not fit the kind of change.
    """
    if request.dry_run and request.operation != "delete":
        raise InputError(f"dry_run is only allowed for deletions, got {request.operation}")
    if request.operation in ("append", "upsert"):
        if request.where is not None:
            raise InputError(f"where is only allowed for update and delete, got {request.operation}")
        rows = _encoded(snapshot, read_rows_body(snapshot, request.form, request.body))
        return Append(rows) if request.operation == "append" else Upsert(rows)
    where = _decoded(request.where)
    ids, values = read_change_body(snapshot, request.form, request.body) if request.body else (None, {})
    if ids is not None and where is not None:
        raise InputError("exactly one of ids and where is required, got both")
    if request.operation == "update":
        if not values:
            raise InputError("an update needs a value for at least one attribute")
        return Update(values, ids, where)
    if values:
        raise InputError("a deletion must have ids or where, and no values")
    return Delete(ids, where)


def _encoded(snapshot: Snapshot, rows: ReceivedRows) -> NewRows:
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.live.inputs import read_rows

    return read_rows(snapshot, rows.vectors, InputArguments(rows.attributes, rows.ids))


def _decoded(where: bytes | None) -> Expression | None:
    if where is None:
        return None
    from vsearch.predicates.checking import decode

    return decode(where)
