"""Rows by id: as positions of a snapshot, or as addresses, for which no tail is needed."""

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


@dataclass(frozen=True, eq=False)
class Found:
    """Ids that are there.

    Attributes
    ----------
    places : int64 (m,)
        Which of the ids that were asked for.
    addresses : Addresses
        Where each is.
    """

    places: NDArray[np.int64]
    addresses: Addresses

    def __len__(self) -> int:
        return len(self.places)


def find_ids(snapshot: Snapshot, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of ids, -1 for an id that is not there. O(rows * log ids).

    Parameters
    ----------
    ids : (n,) int64, or object (str)
        As `as_ids` gives them; some may be the same.
    """
    wanted, which = _distinct(ids)
    rows = np.full(len(wanted), -1, np.int64)
    for run in snapshot.shards if len(wanted) else ():
        places, inside = _in_run(run, wanted)
        rows[places] = run.first_row + inside
    return rows[which]


def find_addresses(snapshot: Snapshot, ids: NDArray[Any]) -> Found:
    """Where the rows of ids are. The tail is not stitched for it. O(rows * log ids).

    Parameters
    ----------
    ids : (n,) int64, or object (str)
        As `as_ids` gives them; of some that are the same, one is found.
    """
    wanted, which = _distinct(ids)
    places, segments, rows = [np.empty(0, np.int64)], [np.empty(0, np.uint32)], [np.empty(0, np.int64)]

    def add(segment: int, found: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
        places.append(found[0])
        segments.append(np.full(len(found[0]), segment, np.uint32))
        rows.append(found[1])

    if len(wanted):
        for run in snapshot.runs:
            add(cast("int", run.segment), _in_run(run, wanted))
        for delta in snapshot.deltas:
            add(delta.number, _in_delta(delta, wanted, snapshot.gone))
    given = np.empty(len(wanted), np.int64)
    given[which] = np.arange(len(which))
    return Found(given[np.concatenate(places)], Addresses(np.concatenate(segments), np.concatenate(rows)))


def _distinct(ids: NDArray[Any]) -> tuple[Any, NDArray[np.int64]]:
    """Each id once, int64 ascending or a list of str, and which of these each given one is."""
    if ids.dtype != object:
        return np.unique(ids, return_inverse=True)
    numbers: dict[str, int] = {}
    which = [numbers.setdefault(one, len(numbers)) for one in ids.tolist()]
    return list(numbers), np.array(which, np.int64)


def _in_run(run: Shard, wanted: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the ids a run has, and its rows of them that are not removed."""
    places, inside = _matches(_run_ids(run, text=isinstance(wanted, list)), wanted)
    living = _living(inside, run.gone)
    return places[living], inside[living]


def _in_delta(delta: Delta, wanted: Any, gone: Gone | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same of a delta."""
    places, inside = _matches(delta.rows.ids, wanted)
    living = _living(inside, None if gone is None else gone.of(delta.number))
    return places[living], inside[living]


def _run_ids(run: Shard, *, text: bool) -> Ids:
    file = run.files[IDS]
    if text:
        return take(file, ["id"], np.arange(run.rows)).column("id").combine_chunks()
    file.ensure("id")
    return file.array("id")


def _matches(stored: Ids, wanted: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the wanted ids each stored one is, where it is one of them; and its place among the stored ones."""
    if isinstance(stored, np.ndarray):
        near = np.minimum(np.searchsorted(wanted, stored), len(wanted) - 1)
        inside = np.flatnonzero(wanted[near] == stored)
        return near[inside], inside
    # By Arrow: NumPy takes strings that end in NUL characters for shorter ones.
    import pyarrow as pa
    import pyarrow.compute as pc

    storable = [place for place, one in enumerate(wanted) if is_unicode(one)]  # no other is stored
    at = pc.index_in(stored, value_set=pa.array([wanted[place] for place in storable], stored.type))
    inside = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
    return np.array(storable, np.int64)[at.take(pa.array(inside)).to_numpy(zero_copy_only=False)], inside


def _living(inside: NDArray[np.int64], gone: NDArray[np.int64] | None) -> slice | NDArray[np.bool_]:
    """Which of some rows are not removed."""
    return slice(None) if gone is None or not len(gone) or not len(inside) else ~np.isin(inside, gone)
