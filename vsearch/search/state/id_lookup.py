"""Look up rows by id: as positions in a snapshot, or as addresses, which need no tail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.given_ids import is_unicode
from vsearch.search.state.shard import Addresses
from vsearch.storage.files.columns import take
from vsearch.storage.snapshots.kinds import IDS

if TYPE_CHECKING:
    from vsearch.search.state.deltas import Delta, Gone, Ids
    from vsearch.search.state.shard import Shard
    from vsearch.search.state.snapshot import Snapshot

SPARSE = 6
"""A hash table of ids has 2^6 slots per id, ..."""

LEAST_BITS, MOST_BITS = 12, 22
"""... within limits, so that it fits into the processor's caches."""

FEW = 3
"""Number of ids up to which stored ids are compared with each of them."""

Bounds = tuple[int, int]
"""The least and the greatest of a set of integer ids."""


@dataclass(frozen=True, eq=False)
class Found:
    """The addresses of the ids that exist.

    Attributes
    ----------
    places : int64 (m,)
        Positions among the requested ids.
    addresses : Addresses
    """

    places: NDArray[np.int64]
    addresses: Addresses

    def __len__(self) -> int:
        return len(self.places)


def find_ids(snapshot: Snapshot, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows with ids, -1 for unknown ids. O(rows * log ids).

    Parameters
    ----------
    ids : (n,) int64, or object (str)
        From `as_ids`; duplicates are allowed.
    """
    distinct, inverse = _distinct(ids)
    rows, bounds = np.full(len(distinct), -1, np.int64), _bounds(distinct)
    for run in snapshot.shards if len(distinct) else ():
        if _meet(bounds, _run_bounds(run, bounds)):
            places, inside = _in_run(run, distinct)
            rows[places] = run.first_row + inside
    return rows[inverse]


def find_addresses(snapshot: Snapshot, ids: NDArray[Any]) -> Found:
    """Return the addresses of the rows with ids, without assembling the tail. O(rows * log ids), or less.

    Segments whose ids are all less or all greater than the requested ones are skipped.

    Parameters
    ----------
    ids : (n,) int64, or object (str)
        From `as_ids`; of duplicates, one is returned.
    """
    distinct, inverse = _distinct(ids)
    places, segments, rows = [np.empty(0, np.int64)], [np.empty(0, np.uint32)], [np.empty(0, np.int64)]

    def add(segment: int, matches: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
        places.append(matches[0])
        segments.append(np.full(len(matches[0]), segment, np.uint32))
        rows.append(matches[1])

    if len(distinct):
        bounds = _bounds(distinct)
        for run in snapshot.runs:
            if _meet(bounds, _run_bounds(run, bounds)):
                add(cast("int", run.segment), _in_run(run, distinct))
        for delta in snapshot.deltas:
            if len(delta.rows) and _meet(bounds, delta.rows.id_bounds):
                add(delta.number, _in_delta(delta, distinct, snapshot.gone))
    positions = np.empty(len(distinct), np.int64)
    positions[inverse] = np.arange(len(inverse))
    return Found(positions[np.concatenate(places)], Addresses(np.concatenate(segments), np.concatenate(rows)))


def _distinct(ids: NDArray[Any]) -> tuple[Any, NDArray[np.int64]]:
    """Return the distinct ids, int64 ascending or a list of str, and the index of each id among them."""
    if ids.dtype != object:
        return np.unique(ids, return_inverse=True)
    numbers: dict[str, int] = {}
    inverse = [numbers.setdefault(id_, len(numbers)) for id_ in ids.tolist()]
    return list(numbers), np.array(inverse, np.int64)


def _bounds(ids: Any) -> Bounds | None:
    """Return the bounds of distinct ids in ascending order; None for strings and for no ids."""
    return (int(ids[0]), int(ids[-1])) if isinstance(ids, np.ndarray) and len(ids) else None


def _run_bounds(run: Shard, searched: Bounds | None) -> Bounds | None:
    """Return the bounds of the ids of a run, which are computed once; None if they are not needed."""
    if searched is None or not run.rows:
        return None
    bounds: Bounds | None = run.read.derived.get(__name__)
    if bounds is None:
        ids = _run_ids(run, text=False)
        bounds = run.read.derived.setdefault(__name__, (int(ids.min()), int(ids.max())))
    return bounds


def _meet(first: Bounds | None, second: Bounds | None) -> bool:
    """Whether ids within two bounds may be the same; unknown bounds may be any."""
    return first is None or second is None or (first[0] <= second[1] and second[0] <= first[1])


def _in_run(run: Shard, ids: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the ids that live rows of a run have, and these rows."""
    places, inside = _matches(_run_ids(run, text=isinstance(ids, list)), ids)
    living = _living(inside, run.gone)
    return places[living], inside[living]


def _in_delta(delta: Delta, ids: Any, gone: Gone | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Do the same for a delta."""
    places, inside = _matches(delta.rows.ids, ids)
    living = _living(inside, None if gone is None else gone.of(delta.number))
    return places[living], inside[living]


def _run_ids(run: Shard, *, text: bool) -> Ids:
    file = run.files[IDS]
    if text:
        return take(file, ["id"], np.arange(run.rows)).column("id").combine_chunks()
    file.ensure("id")
    return file.array("id")


def _matches(stored: Ids, ids: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of equal ids: positions in `ids` and in `stored`."""
    if isinstance(stored, np.ndarray):
        maybe = _candidates(stored.astype(np.int64, copy=False), ids)
        near = np.minimum(np.searchsorted(ids, stored[maybe]), len(ids) - 1)
        hit = ids[near] == stored[maybe]
        return near[hit], maybe[hit]
    # With Arrow, because NumPy drops trailing NUL characters of strings.
    import pyarrow as pa
    import pyarrow.compute as pc

    storable = [place for place, id_ in enumerate(ids) if is_unicode(id_)]  # other strings cannot be stored
    at = pc.index_in(stored, value_set=pa.array([ids[place] for place in storable], stored.type))
    inside = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
    return np.array(storable, np.int64)[at.take(pa.array(inside)).to_numpy(zero_copy_only=False)], inside


def _candidates(stored: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows that may have the ids: all that do, and few others; a hash table is faster than a binary search."""
    if len(ids) <= FEW:
        equal = stored == ids[0]
        for id_ in ids[1:]:
            equal |= stored == id_
        return np.flatnonzero(equal)
    bits = min(max(len(ids).bit_length() + SPARSE, LEAST_BITS), MOST_BITS)
    table, last = np.zeros(1 << bits, np.bool_), np.int64((1 << bits) - 1)
    table[(ids ^ (ids >> bits)) & last] = True
    return np.flatnonzero(table[(stored ^ (stored >> bits)) & last])


def _living(inside: NDArray[np.int64], gone: NDArray[np.int64] | None) -> slice | NDArray[np.bool_]:
    """Select the rows that are not removed."""
    return slice(None) if gone is None or not len(gone) or not len(inside) else ~np.isin(inside, gone)
