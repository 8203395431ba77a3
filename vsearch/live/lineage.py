"""How one snapshot of an index became another: the snapshots in between, as far as their manifests are kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from vsearch.errors import SnapshotNotFoundError
from vsearch.live.commits import origin_of, upgraded
from vsearch.search.state.model_reading import training_of

if TYPE_CHECKING:
    from vsearch.storage import Manifest
    from vsearch.storage.snapshots.manifest import SegmentEntry

MOVING = "optimize"
"""The kind of commits that write rows elsewhere and change none."""

ReadManifest = Callable[[int], "Manifest"]


def find_stretches(old: Manifest, new: Manifest, read: ReadManifest) -> list[tuple[Manifest, Manifest]]:
    """The way from one snapshot to another, as pairs of snapshots between which rows were added and removed, but none moved.

    Snapshots are a tree: each follows the one before, a restored one that which it brought back. The way leads up to what both
    go back to, and down from there. It is cut short where all segments of one are also in the other.

    Parameters
    ----------
    old, new : Manifest
    read : callable
        Reads the manifest of a snapshot.

    Raises
    ------
    SnapshotNotFoundError
        A snapshot on the way was pruned, or made of other files than the one before.
    """
    up, down = [old], [new]
    while not nests(up[-1], down[-1]):
        side = up if up[-1].snapshot > down[-1].snapshot else down
        before = _before(side[-1], read)
        if before is None:
            raise SnapshotNotFoundError(
                f"snapshot {side[-1].snapshot} cannot be compared with the one that it was made of"
            )
        side.append(before)
    way = [*up, *reversed(down)]
    stretches, first = [], way[0]
    for one, other in pairwise(way):
        if _moves(one, other):
            stretches.append((first, one))
            first = other
    return [(one, other) for one, other in [*stretches, (first, way[-1])] if one.snapshot != other.snapshot]


def oldest_known(new: Manifest, read: ReadManifest) -> int:
    """The oldest snapshot from which a way leads to this one."""
    before: Manifest | None = new
    while before is not None:
        new, before = before, _before(before, read)
    return new.snapshot


def nests(one: Manifest, other: Manifest) -> bool:
    """Whether two snapshots go back to one build and training, and one has all segments of the other."""
    if not _related(one, other) or _runs(one) != _runs(other):
        return False
    mine, theirs = set(deltas_of(one)), set(deltas_of(other))
    return mine <= theirs or theirs <= mine


def deltas_of(manifest: Manifest) -> dict[str, SegmentEntry]:
    """Deltas by path, oldest first."""
    return {entry.bundle.path: entry for entry in manifest.live.deltas} if manifest.live else {}


def run_numbers(manifest: Manifest) -> list[int]:
    """Numbers of the segments that are runs."""
    numbers = []
    for shard in upgraded(manifest).shards:
        numbers += [shard.segment] if shard.segment is not UNSET else []
        numbers += [run.number for run in shard.runs]
    return numbers


def _before(manifest: Manifest, read: ReadManifest) -> Manifest | None:
    """The snapshot that one was made of; None where it is not kept, or its rows cannot be compared with this one's."""
    number = _number_before(manifest)
    if number < 1:
        return None
    try:
        before = read(number)
    except SnapshotNotFoundError:
        return None
    return before if _related(before, manifest) else None


def _number_before(manifest: Manifest) -> int:
    operation = manifest.live.operation if manifest.live else None
    if operation is not None and operation.restored is not UNSET:
        return operation.restored
    return manifest.snapshot - 1


def _related(one: Manifest, other: Manifest) -> bool:
    return origin_of(one) == origin_of(other) and training_of(one) == training_of(other)


def _runs(manifest: Manifest) -> list[Any]:
    """What tells the runs of snapshots apart."""
    return [
        ({entry.path for entry in shard.files.values()}, [run.bundle.path for run in shard.runs])
        for shard in manifest.shards
    ]


def _moves(one: Manifest, other: Manifest) -> bool:
    """Whether one of two snapshots was made of the other by writing rows elsewhere."""
    before, after = sorted((one, other), key=lambda manifest: manifest.snapshot)
    operation = after.live.operation if after.live else None
    return operation is not None and operation.kind == MOVING and operation.base == before.snapshot
