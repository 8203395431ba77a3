"""The delta of an uncommitted change: written once, and again only if a retry resolves to other rows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from vsearch.errors import StoreError
from vsearch.search.state import row_codes
from vsearch.search.state.deltas import Delta, Removed, Rows, no_ids, write_delta
from vsearch.storage.stores.probing import probe_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.search.state.model import Model
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest, Store
    from vsearch.storage.snapshots.manifest import SegmentEntry


@dataclass(frozen=True, eq=False)
class Written:
    """The rows that a change adds and removes, and the entry of its delta; None if it does neither."""

    rows: Rows | None
    removed: Removed | None
    entry: SegmentEntry | None

    @classmethod
    def of(
        cls, store: Store, model: Model, rows: Rows | None, removed: Removed | None, before: Written | None
    ) -> Written:
        """Write a delta, unless that of the previous attempt is the same."""
        if before is not None and _same_rows(before.rows, rows) and _equal_removed(before.removed, removed):
            return cls(rows, removed, before.entry)
        discard(store, before)
        if rows is None and removed is None:
            return cls(None, None, None)
        return cls(rows, removed, write_delta(store, f"segments/{uuid4().hex}-delta.arrow", model, rows, removed))

    def delta(self, before: Snapshot, after: Manifest) -> Delta | None:
        """Return the delta as readers of the commit see it; None if there is none, or its model differs."""
        rows, removed = self.rows, self.removed
        typed = rows or removed
        if typed is None or not after.live or after.model != before.manifest.model:
            return None
        if rows is None:
            rows = Rows(row_codes.no_rows(before.model), no_ids(typed.ids), None)
        if removed is None:
            removed = Removed(np.empty(0, np.uint32), np.empty(0, np.int64), no_ids(typed.ids))
        return Delta(after.live.deltas[-1].number, rows, removed)


def discard(store: Store, written: Written | None, paths: Sequence[str] = ()) -> None:
    """Remove the files of a change that no manifest refers to."""
    delta_paths = [] if written is None or written.entry is None else [written.entry.bundle.path]
    if delta_paths or paths:
        with suppress(StoreError):
            store.delete([*delta_paths, *paths])


def check_store(store: Store, written: Written, paths: Sequence[str] = ()) -> None:
    """Check, before the first commit of this process to a bucket, that it does not overwrite the commits of others.

    Raises
    ------
    StoreError
        It would; the files of the change are removed.
    """
    if written.entry is None:
        return
    try:
        probe_with(store, written.entry.bundle.path)
    except StoreError:
        discard(store, written, paths)
        raise


def _same_rows(one: Rows | None, other: Rows | None) -> bool:
    """Whether two sets of rows of one change are the same."""
    if one is None or other is None or one is other:
        return one is other
    if one.codes is not other.codes or (one.attributes is None) != (other.attributes is None):
        return False
    ids = (one.ids == other.ids).all() if isinstance(one.ids, np.ndarray) else one.ids.equals(other.ids)
    return bool(ids) and (one.attributes is None or bool(one.attributes.equals(other.attributes)))


def _equal_removed(one: Removed | None, other: Removed | None) -> bool:
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and bool((one.segments == other.segments).all() and (one.rows == other.rows).all())
