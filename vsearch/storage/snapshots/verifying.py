"""Verify the checksums of all files of a snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.bundle import bundle_file, check_bundle_entry, decode_header
from vsearch.storage.files.checksums import chunk_checksums, crc32c
from vsearch.storage.files.entries import CHUNK
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.snapshots.commits import read_manifest, snapshot_numbers
from vsearch.storage.snapshots.kinds import CHECKSUMS
from vsearch.storage.snapshots.manifest import manifest_files
from vsearch.storage.snapshots.shards import join_checksums

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vsearch.storage.files.bundle import BundleEntry
    from vsearch.storage.files.entries import FileEntry
    from vsearch.storage.snapshots.manifest import ShardEntry
    from vsearch.storage.stores.base import Store

_PIECE = 128 * CHUNK
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """A damaged or missing file."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of a verification."""

    snapshot: int
    files: int
    bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether all files are intact."""
        return not self.problems


def verify(
    store: Store,
    snapshot: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Read all files of a snapshot, and verify their checksums.

    Parameters
    ----------
    store : Store
    snapshot : int, optional
        By default, the newest.
    progress : callable, optional
        Called with ``(bytes read, total bytes)``.

    Raises
    ------
    IndexNotFoundError, FormatVersionError
        A damaged manifest is not an error, but a problem in the report.
    """
    try:
        manifest = read_manifest(store, snapshot)
    except CorruptIndexError as error:
        number = snapshot if snapshot is not None else snapshot_numbers(store)[-1]
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
    """Return the damage of a file, or None, and the checksums of its chunks."""
    none = np.empty(0, np.uint32)
    try:
        size = store.head(entry.path).bytes
        if size != entry.bytes:
            return f"has {size} bytes instead of {entry.bytes}", none
        checksum, parts = 0, []
        for first in range(0, size, _AT_ONCE * _PIECE):
            starts = list(range(first, min(first + _AT_ONCE * _PIECE, size), _PIECE))
            stops = [min(start + _PIECE, size) for start in starts]
            for stop, piece in zip(stops, store.get_ranges(entry.path, starts, stops), strict=True):
                data = np.frombuffer(piece, np.uint8)
                checksum = crc32c(data, checksum)
                parts.append(chunk_checksums(data, entry.chunk_bytes))
                progress(stop)
    except FileNotFoundError:
        return "is missing", none
    except EOFError:
        return f"has fewer than {entry.bytes} bytes", none
    if checksum != entry.crc32c:
        return "its CRC32C differs from that of the written bytes", none
    return None, np.concatenate(parts)


def check_bundle(store: Store, entry: BundleEntry, progress: Callable[[int], None]) -> str | None:
    """Read a bundle, and verify its checksums and its header.

    Parameters
    ----------
    store : Store
    entry : BundleEntry
    progress : callable
        Called with the bytes read so far.

    Returns
    -------
    str or None
        The damage, if any.
    """
    header = entry.header
    try:
        check_bundle_entry(entry)
        reason, sums = _check_file(store, bundle_file(entry), progress)
        if reason is not None:
            return reason
        first = header.offset // CHUNK * CHUNK  # the last chunk of data ends at the header
        data, raw = (
            np.frombuffer(piece, np.uint8)
            for piece in store.get_ranges(
                entry.path, [first, header.offset], [header.offset, header.offset + header.bytes]
            )
        )
        if crc32c(raw) != header.crc32c:
            return "its header does not match its entry (CRC32C differs)"
        _, stored = decode_header(entry, raw)
    except CorruptIndexError as error:
        return str(error).removeprefix(f"{entry.path}: ")
    if not np.array_equal(stored, np.concatenate([sums[: first // CHUNK], chunk_checksums(data)])):
        return "the checksums in its header do not match its data"
    return None


def _check_sums(store: Store, shard: ShardEntry, sums: dict[str, NDArray[np.uint32]], bad: set[str]) -> list[Problem]:
    """Compare the stored chunk checksums with those that ``verify`` computed."""
    if CHECKSUMS not in shard.files or any(entry.path in bad for entry in shard.files.values()):
        return []
    path = shard.files[CHECKSUMS].path
    try:
        holder = SegmentFile(store, shard.files[CHECKSUMS])
        holder.ensure_all()
        stored = holder.array("crc32c")
    except CorruptIndexError as error:
        return [Problem(path, str(error).removeprefix(f"{path}: "))]
    shard_sums = {kind: sums[entry.path] for kind, entry in shard.files.items() if kind != CHECKSUMS}
    if not np.array_equal(stored, join_checksums(shard_sums)):
        return [Problem(path, "does not match the checksums of the shard's files")]
    return []
