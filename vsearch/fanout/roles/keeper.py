"""The keeper: the function that maintains the index, on a schedule."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.errors import InputError
from vsearch.fanout.calls.bill import architecture
from vsearch.fanout.wire.change_messages import KeepRequest, Kept
from vsearch.live.maintenance import maintain, train_if_due
from vsearch.live.time_limits import TimeLimit
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import read_manifest

if TYPE_CHECKING:
    from vsearch.fanout.calls.retries import Deadline
    from vsearch.fanout.roles.worker import Worker
    from vsearch.fanout.wire.replies import Reply

STARTING = 0.5
"""Share of the remaining time within which steps must end; the rest is for the part of a step that is still running."""


def keep(worker: Worker, message: Any, deadline: Deadline) -> Reply:
    """Run pending maintenance; see `vsearch.Index.optimize`. The index is opened again for each call.

    Raises
    ------
    InputError
        The message is of another type, or an option is invalid.
    ConflictError
        The index was rebuilt or retrained in the meantime.
    StoreError
        The store cannot be read or written.
    CorruptIndexError
        A file is missing or damaged.
    """
    if not isinstance(message, KeepRequest):
        raise InputError(f"a keeper does not accept {type(message).__name__}")
    started = time.monotonic()
    snapshot = open_snapshot(worker.meter, read_manifest(worker.meter, None))
    limit = TimeLimit.of(_time_left(deadline.remaining(), message.budget))
    snapshot = train_if_due(snapshot, keep_shards=True, limit=limit)
    left = deadline.remaining()  # training took some of it
    budget = None if message.budget is None else message.budget - (time.monotonic() - started)
    report, _ = maintain(snapshot, _time_left(left, budget), retune=message.retune, force=message.force)
    report = replace(report, postponed=(*limit.postponed, *report.postponed))
    return Kept(report=msgspec.json.encode(report.to_dict()), arch=architecture())


def _time_left(left: float | None, budget: float | None) -> float | None:
    """Return the time for steps, given the time to the deadline and the requested time."""
    limits = [] if left is None else [STARTING * left]
    limits += [] if budget is None else [budget]
    return max(0.0, min(limits)) if limits else None
