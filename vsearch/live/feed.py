"""The change feed: ids of rows that were added, replaced and deleted between two snapshots, computed from deltas alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import ChangesNotFoundError, InputError, SnapshotNotFoundError
from vsearch.live.lineage import MOST_READ, deltas_of, find_stretches, oldest_known, run_numbers
from vsearch.search.state.deltas import Gone, Removed, concatenate_ids, read_delta_ids, take_ids
from vsearch.storage import read_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vsearch.search.state.deltas import Ids
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest
    from vsearch.storage.snapshots.manifest import SegmentEntry


KEPT = 64
"""Number of manifests that are kept in memory."""


@dataclass(frozen=True, eq=False)
class Changes:
    """The rows that differ between two snapshots.

    This is the net difference: an id that was added and deleted in between does not appear, and one that was deleted and added
    again is in `replaced`.

    Attributes
    ----------
    from_snapshot, to_snapshot : int
    added, replaced, deleted : int64 (n,), or object (str)
        Ids, ascending (strings by their UTF-8 bytes). `replaced` holds rows whose vector or attributes were written again, even
        if with the same values.
    """

    from_snapshot: int
    to_snapshot: int
    added: NDArray[Any]
    replaced: NDArray[Any]
    deleted: NDArray[Any]

    def __len__(self) -> int:
        return len(self.added) + len(self.replaced) + len(self.deleted)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(getattr(self, name))} {name}" for name in ("added", "replaced", "deleted"))
        return f"<vsearch.Changes snapshot {self.from_snapshot} to {self.to_snapshot}: {counts}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return dict(vars(self))


ReadIds = Callable[["SegmentEntry", int], tuple["Ids", Removed]]
"""Reads the ids of the rows of a delta, and its removals; takes the entry and the number of a snapshot that names it."""


@dataclass(frozen=True, eq=False)
class Step:
    """Ids of rows that disappeared and of rows that appeared; a replaced row is in both."""

    removed: Sequence[Ids]
    added: Sequence[Ids]


@dataclass(frozen=True, eq=False)
class Side:
    """The deltas that only one of two snapshots has.

    Attributes
    ----------
    live : sequence of ids
        Ids of their live rows, per delta.
    removed : sequence of Removed
        Their removals from segments that both snapshots have, per delta.
    """

    live: Sequence[Ids]
    removed: Sequence[Removed]

    def removes(self, other: Side) -> list[Ids]:
        """Return ids of rows of common segments that this side removes and the other does not."""
        gone = Gone(other.removed)
        return [take_ids(part.ids, np.flatnonzero(~gone.holds(part))) for part in self.removed]


def changes_since(snapshot: Snapshot, since: Any) -> Changes:
    """Compute what changed from an older snapshot to an open one.

    Raises
    ------
    InputError
        `since` is not the number of an older snapshot.
    ChangesNotFoundError
        A required snapshot was pruned, the index was rebuilt or retrained in between, or there are too many
        changes.
    """
    manifest, store = snapshot.manifest, snapshot.store
    if isinstance(since, bool) or not isinstance(since, (int, np.integer)) or not 1 <= since <= manifest.snapshot:
        raise InputError(
            f"since must be a snapshot number from 1 to {manifest.snapshot}, the open snapshot, got {since!r:.100}"
        )

    @lru_cache(KEPT)
    def read(number: int) -> Manifest:
        return manifest if number == manifest.snapshot else read_manifest(store, number)

    opened = zip(deltas_of(manifest), snapshot.deltas, strict=True)
    known = {path: (delta.rows.ids, delta.removed) for path, delta in opened}

    def read_ids(entry: SegmentEntry, number: int) -> tuple[Ids, Removed]:
        delta = known.get(entry.bundle.path)
        return read_delta_ids(store, entry, manifest.id_type, number) if delta is None else delta

    try:
        old = read(int(since))
        steps = [compare(older, newer, read_ids) for older, newer in find_stretches(old, manifest, read)]
    except SnapshotNotFoundError:
        oldest = oldest_known(manifest, read)
        raise ChangesNotFoundError(
            f"{store.url}: the changes from snapshot {since} to {manifest.snapshot} are not available: a required snapshot was "
            f"pruned, the index was rebuilt or retrained in between, or they are over {MOST_READ:,} commits apart; read the whole "
            f"index instead. Changes are available since snapshot {oldest}",
            oldest=oldest,
        ) from None
    return Changes(old.snapshot, manifest.snapshot, *net(steps, text=manifest.id_type == "string"))


def compare(older: Manifest, newer: Manifest, read_ids: ReadIds) -> Step:
    """Compare two snapshots between which no row moved: a row that both have has the same address in both."""
    older_deltas, newer_deltas = deltas_of(older), deltas_of(newer)
    common = [*run_numbers(older), *(entry.number for path, entry in older_deltas.items() if path in newer_deltas)]
    left = _side(older, [entry for path, entry in older_deltas.items() if path not in newer_deltas], common, read_ids)
    right = _side(newer, [entry for path, entry in newer_deltas.items() if path not in older_deltas], common, read_ids)
    return Step([*left.live, *right.removes(left)], [*right.live, *left.removes(right)])


def _side(
    manifest: Manifest,
    entries: Sequence[SegmentEntry],
    common: Sequence[int],
    read_ids: ReadIds,
) -> Side:
    read = [read_ids(entry, manifest.snapshot) for entry in entries]
    gone = Gone([removed for _, removed in read])
    live = [
        take_ids(ids, np.setdiff1d(np.arange(entry.rows), gone.of(entry.number), assume_unique=True))
        for entry, (ids, _) in zip(entries, read, strict=True)
    ]
    shared = np.array(common, np.uint32)
    return Side(live, [removed.take(np.flatnonzero(np.isin(removed.segments, shared))) for _, removed in read])


def net(steps: Sequence[Step], *, text: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Combine consecutive steps into ids added, replaced and deleted, each ascending."""
    parts = [
        (ids, number, added)
        for number, step in enumerate(steps)
        for added, of_step in ((False, step.removed), (True, step.added))
        for ids in of_step
        if len(ids)
    ]
    if not parts:
        nothing = np.empty(0, object if text else np.int64)
        return nothing, nothing, nothing
    counts = [len(ids) for ids, _, _ in parts]
    keys, values = _ranked(concatenate_ids([ids for ids, _, _ in parts]))
    step = np.repeat([number for _, number, _ in parts], counts)
    added = np.repeat([added for _, _, added in parts], counts)
    order = np.lexsort((added, step, keys))  # within a step, removed rows precede added ones
    keys, added = keys[order], added[order]
    first = np.append(True, keys[1:] != keys[:-1])
    last = np.append(first[1:], True)
    before, after, ids = ~added[first], added[last], values(keys[first])
    return ids[~before & after], ids[before & after], ids[before & ~after]


def _ranked(ids: Ids) -> tuple[NDArray[np.int64], Callable[[NDArray[np.int64]], NDArray[Any]]]:
    """Map ids to integers in the same order; return these and the inverse function."""
    if isinstance(ids, np.ndarray):
        return ids, lambda keys: keys
    import pyarrow.compute as pc

    encoded = ids.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    ordered = encoded.dictionary.take(order)
    return ranks[encoded.indices.to_numpy()], lambda keys: ordered.take(keys).to_numpy(zero_copy_only=False)
