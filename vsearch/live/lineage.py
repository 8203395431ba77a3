"""Find the snapshots that lead from one snapshot of an index to another, as far as their manifests are kept."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from vsearch.errors import SnapshotNotFoundError
from vsearch.search.state.model_reading import training_of
from vsearch.storage.snapshots.upgrading import origin_of, upgraded

if TYPE_CHECKING:
    from vsearch.storage import Manifest
    from vsearch.storage.snapshots.manifest import SegmentEntry

MOVING = "optimize"
"""The kind of commits that move rows to other segments without changing any."""

MOST_READ = 4096
"""Maximum number of manifests that are read to find a path, one request each."""

ReadManifest = Callable[[int], "Manifest"]


def find_stretches(old: Manifest, new: Manifest, read: ReadManifest) -> list[tuple[Manifest, Manifest]]:
    """Split the path from one snapshot to another into stretches in which rows are added and removed, but none is moved.

    Snapshots form a tree: the parent of a snapshot is the one before it or, after a restore, the one that was restored. The path
    leads up to the closest common ancestor and down from there. It ends early where one snapshot has all segments of the other.
    One manifest is read per snapshot on the path; those at the ends of stretches are kept in memory.

    Parameters
    ----------
    old, new : Manifest
    read : callable
        Reads the manifest of a snapshot.

    Returns
    -------
    list of (Manifest, Manifest)
        First and last snapshot of each stretch.

    Raises
    ------
    SnapshotNotFoundError
        A snapshot on the path was pruned, or the index was rebuilt or retrained there, or the path has over 4096 snapshots.
    """
    up, down, count = [old], [new], 0
    while not nests(up[-1], down[-1]):
        side = up if up[-1].snapshot > down[-1].snapshot else down
        before = _before(side[-1], read) if count < MOST_READ else None
        if before is None:
            raise SnapshotNotFoundError(f"the parent of snapshot {side[-1].snapshot} cannot be compared with it")
        count += 1
        if len(side) > 1 and not _moves(side[-2], side[-1]) and not _moves(side[-1], before):
            side.pop()  # within a stretch
        side.append(before)
    path = [*up, *reversed(down)]
    stretches, first = [], path[0]
    for older, newer in pairwise(path):
        if _moves(older, newer):
            stretches.append((first, older))
            first = newer
    return [(older, newer) for older, newer in [*stretches, (first, path[-1])] if older.snapshot != newer.snapshot]


def oldest_known(new: Manifest, read: ReadManifest) -> int:
    """Return the number of the oldest snapshot from which a path leads to this one, as `find_stretches` finds it."""
    for _ in range(MOST_READ):
        before = _before(new, read)
        if before is None:
            break
        new = before
    return new.snapshot


def nests(one: Manifest, other: Manifest) -> bool:
    """Whether two snapshots share build and training, and one has all segments of the other."""
    if not _related(one, other) or _runs(one) != _runs(other):
        return False
    paths, other_paths = set(deltas_of(one)), set(deltas_of(other))
    return paths <= other_paths or other_paths <= paths


def deltas_of(manifest: Manifest) -> dict[str, SegmentEntry]:
    """Return the deltas of a snapshot by path, oldest first."""
    return {entry.bundle.path: entry for entry in manifest.live.deltas} if manifest.live else {}


def run_numbers(manifest: Manifest) -> list[int]:
    """Return the segment numbers of all runs."""
    numbers = []
    for shard in upgraded(manifest).shards:
        numbers += [shard.segment] if shard.segment is not UNSET else []
        numbers += [run.number for run in shard.runs]
    return numbers


def _before(manifest: Manifest, read: ReadManifest) -> Manifest | None:
    """Return the parent of a snapshot; None if it was pruned, or belongs to another build or training."""
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
    """Return the identity of the runs of a snapshot."""
    return [
        ({entry.path for entry in shard.files.values()}, [run.bundle.path for run in shard.runs])
        for shard in manifest.shards
    ]


def _moves(one: Manifest, other: Manifest) -> bool:
    """Whether the later of two snapshots only moved rows of the earlier one."""
    before, after = sorted((one, other), key=lambda manifest: manifest.snapshot)
    operation = after.live.operation if after.live else None
    return operation is not None and operation.kind == MOVING and operation.base == before.snapshot
