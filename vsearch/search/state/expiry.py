"""Rows that expire: views of a snapshot without the rows whose time to live has ended.

An index may name one attribute that holds the expiry time of each row (`LiveEntry.ttl`); NULL means never. `present` returns a view
of a snapshot in which expired rows count as removed, so code that searches, counts or looks up rows does not handle time. The view
is cached, and derived incrementally from the last one when further rows have expired.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, InputError
from vsearch.predicates.schema import AttributeType
from vsearch.search.state.column_reading import read_exact
from vsearch.storage.snapshots.kinds import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vsearch.predicates.schema import Attribute
    from vsearch.search.state.run_state import RunState
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

UNITS: dict[str, int] = {
    AttributeType.TIMESTAMP: 1000,
    AttributeType.TIMESTAMP_NS: 1,
    AttributeType.DATE: 86_400_000_000_000,
    AttributeType.INT64: 1_000_000_000,
}
"""Attribute types that can hold expiry times, and the nanoseconds per unit of their keys. Integers are seconds since 1970; a date
is its first instant in UTC."""

FOREVER = 1 << 80
"""An upper bound of all times."""


def now() -> int:
    """Return the current time in nanoseconds since 1970-01-01 UTC. Tests replace this function."""
    return time.time_ns()


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Expiry times of the rows of a run that have one.

    Attributes
    ----------
    ends : int64 (n,)
        Keys of the times, ascending.
    rows : uint32 (n,)
        The rows in the same order.
    """

    ends: NDArray[np.int64]
    rows: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Moment:
    """A view of a snapshot and the interval in which it is valid.

    Attributes
    ----------
    start, end : int
        First nanosecond, and first one after the interval.
    expired : tuple of int
        Number of expired rows per run, rows that are removed anyway included.
    view : Snapshot or None
        None if nothing has expired. It must not refer to the snapshot that keeps it, which would never be freed otherwise.
    """

    start: int
    end: int
    expired: tuple[int, ...]
    view: Snapshot | None


_LIFETIMES: WeakKeyDictionary[RunState, dict[str, Lifetimes]] = WeakKeyDictionary()


def present(snapshot: Snapshot) -> Snapshot:
    """Return a view of a snapshot without the rows that have expired by now."""
    return snapshot if ttl_field(snapshot.manifest) is None else at(snapshot, now())


def expiry_view(snapshot: Snapshot) -> Snapshot:
    """Return the view that readers get: as of now, or as of the time that the snapshot was opened for."""
    live = snapshot.manifest.live
    if not live or live.ttl is None:
        return snapshot
    return at(snapshot, now() if snapshot.moment is None else snapshot.moment)


def at(snapshot: Snapshot, when: int) -> Snapshot:
    """Return a view of a snapshot without the rows that have expired by a time, in nanoseconds since 1970 UTC."""
    if snapshot.unexpired is not None:
        return snapshot
    kept: Moment | None = snapshot.derived.get(__name__)
    if kept is None or not kept.start <= when < kept.end:
        snapshot.derived[__name__] = kept = _moment(snapshot, when, kept)
    return snapshot if kept.view is None else kept.view


def living(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Replace positions of rows that have expired in a view (of `present` or `expiry_view`) by -1."""
    alive = rows.copy()
    if snapshot.unexpired is not None:
        for run, places, run_rows in snapshot.locate(rows):
            if run.live is not None:
                bits = run.live[run_rows >> 6] >> (run_rows & 63).astype(np.uint64)
                alive[places[(bits & np.uint64(1)) == 0]] = -1
    return alive


def expired_rows(snapshot: Snapshot) -> NDArray[np.int64]:
    """Return positions of rows that have expired by now but are not removed yet, int64 (n,) ascending."""
    view, expired = present(snapshot), [np.empty(0, np.int64)]
    for run, left in zip(snapshot.shards, view.shards, strict=True):
        if left is not run:
            expired.append(run.first_row + np.setdiff1d(left.gone, run.gone, assume_unique=True))
    return np.concatenate(expired)


def ttl_field(manifest: Manifest) -> str | None:
    """Return the field of the attribute that holds expiry times; None if rows do not expire."""
    return manifest.live.ttl if manifest.live else None


def ttl_name(manifest: Manifest) -> str | None:
    """Return the name of the attribute that holds expiry times; None if rows do not expire."""
    field = ttl_field(manifest)
    return next((entry.name for entry in manifest.attributes if entry.field_name == field), None)


def check_ttl(ttl: object, attributes: Iterable[Attribute]) -> None:
    """Check that an attribute exists and has a type that can hold expiry times.

    Raises
    ------
    InputError
        There is no such attribute, or its type cannot hold expiry times.
    """
    types = {attribute.name: attribute.type for attribute in attributes}
    if ttl not in types:
        raise InputError(
            f"ttl must be the name of an attribute ({', '.join(types) or 'there is none'}), got {ttl!r:.100}"
        )
    kind = types[str(ttl)]
    if kind not in UNITS:
        raise InputError(
            f"ttl must be an attribute of timestamps, dates, or seconds since 1970 as int64; {ttl!r} is {kind}"
        )


def _moment(snapshot: Snapshot, when: int, before: Moment | None) -> Moment:
    unit, lifetimes = _read_all(snapshot)
    key = min(when // unit, np.iinfo(np.int64).max)
    expired = tuple(int(np.searchsorted(times.ends, key, side="right")) for times in lifetimes)
    counted = list(zip(lifetimes, expired, strict=True))
    start = max((int(times.ends[n - 1]) * unit for times, n in counted if n), default=-FOREVER)
    end = min((int(times.ends[n]) * unit for times, n in counted if n < len(times.ends)), default=FOREVER)
    last = None if before is None else before.view
    if before is None or last is None or any(n < past for n, past in zip(expired, before.expired, strict=True)):
        runs, done = snapshot.shards, (0,) * len(expired)  # no earlier view, or the clock was set back
    else:
        runs, done = last.shards, before.expired
    left = tuple(
        run if n == past else run.without(np.sort(times.rows[past:n]).astype(np.int64))
        for run, past, (times, n) in zip(runs, done, counted, strict=True)
    )
    removed = sum(len(run.gone) for run in left) - sum(len(run.gone) for run in snapshot.shards)
    if not removed:
        return Moment(start, end, expired, None)
    if last is None:
        derived = {name: value for name, value in snapshot.derived.items() if name != __name__}
        unexpired: Snapshot | None = snapshot.like(derived=derived)
    else:
        unexpired = last.unexpired
    return Moment(start, end, expired, snapshot.like(shards=left, derived={}, expired=removed, unexpired=unexpired))


def _read_all(snapshot: Snapshot) -> tuple[int, list[Lifetimes]]:
    """Return the nanoseconds per unit of expiry times, and these times by run."""
    attribute = snapshot.schema.find(ttl_name(snapshot.manifest) or "")
    unit = UNITS.get(attribute.type)
    if unit is None:
        raise CorruptIndexError("manifest", f"rows cannot expire by {attribute.name!r}, which is {attribute.type}")
    field = snapshot.find_entry(attribute.name).field_name
    return unit, [_lifetimes(run, field, attribute, plain=snapshot.plain) for run in snapshot.shards]


def _lifetimes(run: Shard, field: str, attribute: Attribute, *, plain: bool) -> Lifetimes:
    """Return the expiry times of a run, read and sorted at the first call. O(rows log rows); keeps 12 bytes per row."""
    known = _LIFETIMES.setdefault(run.read, {})
    lifetimes = known.get(field)
    if lifetimes is None:
        lifetimes = known[field] = _read_lifetimes(run, field, attribute, plain=plain)
    return lifetimes


def _read_lifetimes(run: Shard, field: str, attribute: Attribute, *, plain: bool) -> Lifetimes:
    file = run.files.get(ATTRIBUTES)
    if file is None or field not in {column.name for column in file.entry.columns}:
        return Lifetimes(np.empty(0, np.int64), np.empty(0, np.uint32))
    if plain:
        from vsearch.predicates.plain_encoding import plain_keys

        keys, valid = plain_keys(attribute.type, read_exact(run, field, attribute, np.arange(run.rows)))
    else:
        from vsearch.predicates.keys import keys_from_arrow
        from vsearch.storage.files.columns import take

        keys, valid = keys_from_arrow(attribute.type, take(file, [field], np.arange(run.rows)).column(field))
    rows = np.flatnonzero(valid).astype(np.uint32)
    order = np.argsort(keys[rows], kind="stable")
    return Lifetimes(keys[rows][order], rows[order])
