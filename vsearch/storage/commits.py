"""Snapshots: committing one, reading one, listing them, pruning old ones, verifying what one names.

A commit is one manifest, put where none was. So there is nothing to lock and nothing to repair: either the new snapshot
is there whole, or readers never saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from vsearch.errors import (
    ConflictError,
    CorruptIndexError,
    FormatVersionError,
    IndexNotFoundError,
    InputError,
)
from vsearch.storage.checksums import chunk_checksums, crc32c
from vsearch.storage.entries import CHUNK
from vsearch.storage.files import SegmentFile
from vsearch.storage.manifest import (
    decode_manifest,
    encode_manifest,
    manifest_files,
    manifest_path,
    snapshot_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vsearch.storage.entries import FileEntry
    from vsearch.storage.manifest import Manifest, ShardEntry
    from vsearch.storage.stores import Store

GRACE = timedelta(days=1)
"""How long a file that no manifest names is taken for part of a commit under way."""

CHECKSUMS = "checksums"
"""The kind of file that holds the chunk checksums of all other files of its shard."""

_PIECE = 128 * CHUNK


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One committed state. ``error`` says why its manifest cannot be read; the rest is then None."""

    snapshot: int
    created: str | None = None
    rows: int | None = None
    bytes: int | None = None
    writer: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What a prune removed: snapshots, and the files that belonged to them or to nothing."""

    snapshots: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int
    kept: tuple[int, ...]
    young: int
    """Files that no manifest names but that are too young to be removed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One file that is not as it was written."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification read and found."""

    snapshot: int
    files: int
    bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is as it was written."""
        return not self.problems


def commit(store: Store, manifest: Manifest, *, base: int | None = None) -> Manifest:
    """Make a snapshot of files that are all written: put its manifest where none was.

    Parameters
    ----------
    store
    manifest
        ``writer`` must be unique to this commit; ``snapshot`` is replaced by the new number.
    base
        The snapshot that this one goes on from, 0 for a place without an index; refused if there is a newer one by now.
        None: the newest, whichever.

    Returns
    -------
    Manifest
        With the number it was committed under.

    Raises
    ------
    ConflictError
        Another writer was first. Nothing was changed.
    """
    latest = _latest(store) or 0
    if base is not None and latest != base:
        raise ConflictError(
            f"{store.url}: snapshot {latest} was committed since snapshot {base} was opened; open the index again and retry"
        )
    manifest = msgspec.structs.replace(manifest, snapshot=latest + 1)
    path = manifest_path(manifest.snapshot)
    data = encode_manifest(manifest)
    try:
        store.put(path, data, create=True)
    except ConflictError:
        # A put that was sent twice, because its first answer was lost, meets its own success.
        if bytes(store.get(path)) != data:
            raise ConflictError(
                f"{store.url}: another writer committed snapshot {manifest.snapshot} first; open the index again and retry"
            ) from None
    return manifest


def read_manifest(store: Store, snapshot: int | None = None) -> Manifest:
    """Read the manifest of a snapshot, or of the newest.

    Raises
    ------
    IndexNotFoundError
        There is no index, or no such snapshot.
    CorruptIndexError, FormatVersionError
    """
    number = _latest(store) if snapshot is None else snapshot
    if number is None:
        raise IndexNotFoundError(f"{store.url}: there is no index here; build one or correct the path")
    if not 0 <= number < 10**20:
        raise IndexNotFoundError(f"{store.url}: there is no snapshot {number}")
    path = manifest_path(number)
    try:
        data = bytes(store.get(path))
    except FileNotFoundError:
        there = ", ".join(map(str, snapshot_numbers(store))) or "none"
        raise IndexNotFoundError(f"{store.url}: there is no snapshot {number}; there are: {there}") from None
    return decode_manifest(path, data)


def snapshot_numbers(store: Store) -> list[int]:
    """Numbers of all snapshots, ascending. One listing, no manifest is read."""
    numbers = (snapshot_number(info.path) for info in store.list("manifest"))
    return sorted(number for number in numbers if number is not None)


def list_snapshots(store: Store) -> list[SnapshotInfo]:
    """All snapshots, oldest first; one whose manifest is damaged is listed with the reason.

    Raises
    ------
    IndexNotFoundError
        There is no index.
    """
    numbers = snapshot_numbers(store)
    if not numbers:
        raise IndexNotFoundError(f"{store.url}: there is no index here; build one or correct the path")
    return [_info(store, number) for number in numbers]


def _info(store: Store, number: int) -> SnapshotInfo:
    try:
        manifest = read_manifest(store, number)
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError) as error:
        return SnapshotInfo(number, error=str(error))
    size = sum({entry.path: entry.bytes for entry in manifest_files(manifest)}.values())
    return SnapshotInfo(number, manifest.created, manifest.rows, size, manifest.writer)


def _latest(store: Store) -> int | None:
    numbers = snapshot_numbers(store)
    return numbers[-1] if numbers else None


def prune(store: Store, keep: int = 2, *, grace: timedelta | float = GRACE, dry_run: bool = False) -> PruneReport:
    """Remove all but the newest snapshots, and the files that no kept one names.

    A file that no manifest names may belong to a commit under way; it is removed only when it is older than ``grace``.

    Parameters
    ----------
    store
    keep
        Snapshots to keep, at least 1.
    grace : timedelta or seconds
        0 only when nothing else writes.
    dry_run
        Report what would be removed, and remove nothing.

    Raises
    ------
    CorruptIndexError
        A snapshot that is to be kept cannot be read, so what it needs is not known. Nothing was removed.
    """
    if keep < 1:
        raise InputError(f"keep={keep}: at least one snapshot must be kept")
    margin = grace if isinstance(grace, timedelta) else timedelta(seconds=grace)
    # Files first, manifests after: whatever is committed in between names its files in time.
    files = [info for folder in ("model", "segments") for info in store.list(folder)]
    numbers = snapshot_numbers(store)
    if not numbers:
        raise IndexNotFoundError(f"{store.url}: there is no index here; nothing was removed")
    old, kept = numbers[:-keep], numbers[-keep:]
    needed = {e.path for number in kept for e in manifest_files(read_manifest(store, number))}
    retired = {path for number in old for path in _named(store, number)}
    horizon = datetime.now(UTC) - margin
    free = [info for info in files if info.path not in needed]
    gone = [info for info in free if info.path in retired or info.modified <= horizon or not margin]
    leftovers = [
        info
        for info in store.list("manifest")
        if snapshot_number(info.path) is None and (info.modified <= horizon or not margin)
    ]
    gone += leftovers
    if not dry_run:
        # Manifests first: a prune that stops half-way leaves orphans, never a snapshot without its files.
        store.delete([manifest_path(number) for number in old])
        store.delete([info.path for info in gone])
    return PruneReport(
        snapshots=tuple(old),
        files=tuple(info.path for info in gone),
        bytes=sum(info.bytes for info in gone),
        kept=tuple(kept),
        young=len(free) - (len(gone) - len(leftovers)),
    )


def _named(store: Store, number: int) -> set[str]:
    try:
        return {entry.path for entry in manifest_files(read_manifest(store, number))}
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError):
        return set()


def open_files(store: Store, shard: ShardEntry) -> dict[str, SegmentFile]:
    """The files of a shard by kind, each with its chunk checksums. Reads the file of the checksums, if there is one.

    Raises
    ------
    CorruptIndexError
        The checksums are damaged or do not fit the files.
    """
    kinds = sorted(kind for kind in shard.files if kind != CHECKSUMS)
    if CHECKSUMS not in shard.files:
        return {kind: SegmentFile(store, shard.files[kind]) for kind in kinds}
    holder = SegmentFile(store, shard.files[CHECKSUMS])
    holder.ensure_all()
    sums = holder.array("crc32c")
    counts = [-(-shard.files[kind].bytes // CHUNK) for kind in kinds]
    if sums.dtype != np.uint32 or sums.shape != (sum(counts),):
        raise CorruptIndexError(
            holder.path,
            f"holds {sums.dtype} {sums.shape} for files of {sum(counts)} chunks; build the index again",
        )
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    return {
        kind: SegmentFile(store, shard.files[kind], sums[end - count : end])
        for kind, count, end in zip(kinds, counts, ends, strict=True)
    }


def join_checksums(checksums: dict[str, NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Chunk checksums of the files of a shard, given by kind, in the order in which :func:`open_files` expects them."""
    parts = [checksums[kind] for kind in sorted(checksums)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint32)


def verify(
    store: Store,
    snapshot: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Read every file of a snapshot whole and hold it against its checksums.

    Parameters
    ----------
    store
    snapshot
        None: the newest.
    progress
        Called with (bytes read, bytes in all) as it goes on.

    Raises
    ------
    IndexNotFoundError, FormatVersionError
        A damaged manifest is no error but a problem in the report.
    """
    try:
        manifest = read_manifest(store, snapshot)
    except CorruptIndexError as error:
        number = snapshot if snapshot is not None else (_latest(store) or 0)
        problem = Problem(error.path, str(error).removeprefix(f"{error.path}: "))
        return VerifyReport(number, 1, 0, (problem,))
    entries = {entry.path: entry for entry in manifest_files(manifest)}
    total = sum(entry.bytes for entry in entries.values())
    done = 0
    problems: list[Problem] = []
    sums: dict[str, NDArray[np.uint32]] = {}
    for entry in entries.values():
        reason, sums[entry.path] = _check_file(store, entry, partial(_report, progress, done, total))
        done += entry.bytes
        if reason is not None:
            problems.append(Problem(entry.path, reason))
    bad = {problem.path for problem in problems}
    problems += [p for shard in manifest.shards for p in _check_sums(store, shard, sums, bad)]
    return VerifyReport(manifest.snapshot, len(entries), done, tuple(problems))


def _report(progress: Callable[[int, int], None] | None, before: int, total: int, read: int) -> None:
    if progress is not None:
        progress(before + read, total)


def _check_file(
    store: Store, entry: FileEntry, progress: Callable[[int], None]
) -> tuple[str | None, NDArray[np.uint32]]:
    """Why a file is not as it was written, or None, and the checksums of its chunks."""
    none = np.empty(0, np.uint32)
    try:
        size = store.head(entry.path).bytes
        if size != entry.bytes:
            return f"has {size} bytes instead of {entry.bytes}", none
        whole, parts = 0, []
        for start in range(0, size, _PIECE):
            stop = min(start + _PIECE, size)
            data = np.frombuffer(store.get(entry.path, start=start, stop=stop), np.uint8)
            if len(data) != stop - start:
                return f"has {start + len(data)} bytes instead of {size}", none
            whole = crc32c(data, whole)
            parts.append(chunk_checksums(data))
            progress(stop)
    except FileNotFoundError:
        return "is missing", none
    except EOFError:
        return f"has fewer than {entry.bytes} bytes", none
    if whole != entry.crc32c:
        return "its bytes are not those that were written (CRC32C differs)", none
    return None, np.concatenate(parts)


def _check_sums(store: Store, shard: ShardEntry, sums: dict[str, NDArray[np.uint32]], bad: set[str]) -> list[Problem]:
    """Whether the stored chunk checksums are those of the files, which ``verify`` just computed."""
    if CHECKSUMS not in shard.files or any(entry.path in bad for entry in shard.files.values()):
        return []
    path = shard.files[CHECKSUMS].path
    try:
        holder = SegmentFile(store, shard.files[CHECKSUMS])
        holder.ensure_all()
        stored = holder.array("crc32c")
    except CorruptIndexError as error:
        return [Problem(path, str(error).removeprefix(f"{path}: "))]
    own = {kind: sums[entry.path] for kind, entry in shard.files.items() if kind != CHECKSUMS}
    if not np.array_equal(stored, join_checksums(own)):
        return [Problem(path, "does not hold the checksums of the shard's files")]
    return []
