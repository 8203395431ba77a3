"""The keeper: the function that maintains the index, on a schedule."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from vsearch.errors import InputError
from vsearch.fanout.calls.bill import architecture
from vsearch.fanout.wire.change_messages import KeepRequest, Kept
from vsearch.live.maintenance import maintain, train_if_due
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import read_manifest

if TYPE_CHECKING:
    from vsearch.fanout.calls.retries import Deadline
    from vsearch.fanout.roles.worker import Worker
    from vsearch.fanout.wire.replies import Reply

STARTING = 0.5
"""Share of the time that is left within which steps are started: each is one commit, and one that is cut short is lost."""


def keep(worker: Worker, message: Any, deadline: Deadline) -> Reply:
    """Do the maintenance that is due; see `vsearch.Index.optimize`. The index is opened again for each call.

    Raises
    ------
    InputError, ConflictError, StoreError, CorruptIndexError
    """
    if not isinstance(message, KeepRequest):
        raise InputError(f"a keeper does not take {type(message).__name__}")
    begun = time.monotonic()
    snapshot = open_snapshot(worker.meter, read_manifest(worker.meter, None))
    snapshot = train_if_due(snapshot, keep_shards=True)
    left = deadline.remaining()  # training took some of it
    budgets = [] if left is None else [STARTING * max(left, 0.0)]
    if message.budget is not None:
        budgets.append(max(0.0, message.budget - (time.monotonic() - begun)))
    report, _ = maintain(snapshot, min(budgets, default=None), retune=message.retune, force=message.force)
    return Kept(report=msgspec.json.encode(report.to_dict()), arch=architecture())
