"""Rows that live until a time: a snapshot without those whose time has come.

An index may name one attribute that says until when each row lives (`LiveEntry.ttl`). A row whose time has come counts as removed
from then on, whichever snapshot is read; a row that has none, NULL, stays. `present` gives a snapshot as it is now: what searches,
counts or looks up rows in that needs to know nothing of times. It is made anew only when another row's time has come, of the one
before, without a look at rows that stay.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, InputError
from vsearch.predicates.schema import AttributeType
from vsearch.storage.snapshots.kinds import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vsearch.predicates.schema import Attribute
    from vsearch.search.state.shard import RunState, Shard
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest

UNITS: dict[str, int] = {
    AttributeType.TIMESTAMP: 1000,
    AttributeType.TIMESTAMP_NS: 1,
    AttributeType.DATE: 86_400_000_000_000,
    AttributeType.INT64: 1_000_000_000,
}
"""Types that can say until when a row lives, and the nanoseconds of their keys: an integer counts seconds since 1970, a date
means the midnight, UTC, with which it begins."""

FOREVER = 1 << 80
"""Later than any time."""


def now() -> int:
    """The time by which rows expire, in nanoseconds since 1970-01-01 UTC."""
    return time.time_ns()


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Rows of a run that do not live forever.

    Attributes
    ----------
    ends : int64 (n,)
        Keys of their times, ascending.
    rows : uint32 (n,)
        The row that each is of.
    """

    ends: NDArray[np.int64]
    rows: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Moment:
    """What is alive of a snapshot from one time on, and until before another, in nanoseconds.

    Attributes
    ----------
    expired : tuple of int
        By run, how many of its rows' times have come, removed ones included.
    """

    start: int
    end: int
    expired: tuple[int, ...]
    snapshot: Snapshot


_LIFETIMES: WeakKeyDictionary[RunState, dict[str, Lifetimes]] = WeakKeyDictionary()


def present(snapshot: Snapshot) -> Snapshot:
    """A snapshot without the rows that have expired by now."""
    return snapshot if ttl_field(snapshot.manifest) is None else at(snapshot, now())


def seen(snapshot: Snapshot) -> Snapshot:
    """A snapshot as readers see it: without the rows that have expired by now or, where it was opened for a time, by then."""
    if snapshot.moment is None:
        return present(snapshot)
    return snapshot if ttl_field(snapshot.manifest) is None else at(snapshot, snapshot.moment)


def at(snapshot: Snapshot, when: int) -> Snapshot:
    """A snapshot without the rows that have expired by a time, in nanoseconds since 1970 UTC."""
    whole = snapshot if snapshot.whole is None else snapshot.whole
    kept: Moment | None = whole.derived.get(__name__)
    if kept is None or not kept.start <= when < kept.end:
        whole.derived[__name__] = kept = _moment(whole, when, kept)
    return kept.snapshot


def living(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows, none of them removed otherwise, with -1 for those that have expired of a snapshot as `present` or `seen` gives it."""
    found = rows.copy()
    if snapshot.whole is not None:
        for run, places, inside in snapshot.locate(rows):
            found[places[np.isin(inside, run.gone)]] = -1
    return found


def expired_rows(snapshot: Snapshot) -> NDArray[np.int64]:
    """Positions of the rows that have expired by now and are not removed yet, int64 (n,) ascending."""
    alive, found = present(snapshot), [np.empty(0, np.int64)]
    for run, left in zip(snapshot.shards, alive.shards, strict=True):
        if left is not run:
            found.append(run.first_row + np.setdiff1d(left.gone, run.gone, assume_unique=True))
    return np.concatenate(found)


def ttl_field(manifest: Manifest) -> str | None:
    """The field of the attribute that says until when rows live; None where they live forever."""
    return manifest.live.ttl if manifest.live else None


def ttl_name(manifest: Manifest) -> str | None:
    """The name of that attribute."""
    field = ttl_field(manifest)
    return next((entry.name for entry in manifest.attributes if entry.field_name == field), None)


def check_ttl(ttl: object, attributes: Iterable[Attribute]) -> None:
    """Refuse what is not the name of an attribute that can say until when a row lives.

    Raises
    ------
    InputError
    """
    found = {attribute.name: attribute for attribute in attributes}
    if ttl not in found:
        raise InputError(
            f"ttl must be the name of an attribute ({', '.join(found) or 'there is none'}), got {ttl!r:.100}"
        )
    kind = found[str(ttl)].type
    if kind not in UNITS:
        raise InputError(
            f"ttl must be an attribute of timestamps, dates or whole seconds since 1970 (int64); {ttl!r} is {kind}"
        )


def _moment(whole: Snapshot, when: int, before: Moment | None) -> Moment:
    attribute = whole.schema.find(ttl_name(whole.manifest) or "")
    unit = UNITS.get(attribute.type)
    if unit is None:
        raise CorruptIndexError("manifest", f"rows cannot expire by {attribute.name!r}, which is {attribute.type}")
    lifetimes = [_lifetimes(run, whole.find_entry(attribute.name).field_name, attribute) for run in whole.shards]
    key = min(when // unit, np.iinfo(np.int64).max)
    expired = tuple(int(np.searchsorted(each.ends, key, side="right")) for each in lifetimes)
    if before is not None and any(now < then for now, then in zip(expired, before.expired, strict=True)):
        before = None  # the clock was set back
    start = max(
        (int(each.ends[n - 1]) * unit for each, n in zip(lifetimes, expired, strict=True) if n), default=-FOREVER
    )
    end = min(
        (int(each.ends[n]) * unit for each, n in zip(lifetimes, expired, strict=True) if n < len(each.ends)),
        default=FOREVER,
    )
    runs = whole.shards if before is None else before.snapshot.shards
    done = (0,) * len(runs) if before is None else before.expired
    left = tuple(
        _without(run, each.rows[first:last])
        for run, each, first, last in zip(runs, lifetimes, done, expired, strict=True)
    )
    removed = sum(len(run.gone) for run in left) - sum(len(run.gone) for run in whole.shards)
    if not removed:
        return Moment(start, end, expired, whole)
    return Moment(start, end, expired, replace(whole, shards=left, derived={}, expired=removed, whole=whole))


def _without(run: Shard, rows: NDArray[np.uint32]) -> Shard:
    """A run with more rows removed, of which some may be removed already."""
    if not len(rows):
        return run
    fresh = np.sort(rows).astype(np.int64)
    fresh = fresh[~np.isin(fresh, run.gone)]
    return run.without(fresh) if len(fresh) else run


def _lifetimes(run: Shard, field: str, attribute: Attribute) -> Lifetimes:
    """Read and sort the times of a run, once: O(rows log rows), and 12 bytes a row to keep."""
    known = _LIFETIMES.setdefault(run.read, {})
    found = known.get(field)
    if found is None:
        found = known[field] = _read_lifetimes(run, field, attribute)
    return found


def _read_lifetimes(run: Shard, field: str, attribute: Attribute) -> Lifetimes:
    from vsearch.predicates.keys import keys_from_arrow
    from vsearch.storage.files.columns import take

    file = run.files.get(ATTRIBUTES)
    if file is None or field not in {column.name for column in file.entry.columns}:
        return Lifetimes(np.empty(0, np.int64), np.empty(0, np.uint32))
    keys, valid = keys_from_arrow(attribute.type, take(file, [field], np.arange(run.rows)).column(field))
    rows = np.flatnonzero(valid).astype(np.uint32)
    order = np.argsort(keys[rows], kind="stable")
    return Lifetimes(keys[rows][order], rows[order])
