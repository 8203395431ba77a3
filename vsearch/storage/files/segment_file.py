"""Reading immutable files: arrays as views, with their bytes fetched and verified at first access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.entries import check_entry
from vsearch.storage.files.file_bytes import PRESENT, FileBytes, ReadCounts
from vsearch.storage.files.ranges import covering_chunks, mark
from vsearch.storage.stores.retrying import carried

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from vsearch.storage.files.entries import ArrayEntry, FileEntry
    from vsearch.storage.stores.base import Store

    Part = tuple[str, ArrayLike | None, ArrayLike | None]


FILES_AT_ONCE = 32  # each of which may have several requests at once


class SegmentFile:
    """One immutable file of a snapshot, opened at first use.

    In a folder it is a memory map; elsewhere it is an anonymous map of the file's size, filled as ranges are requested.
    Either way, a chunk is used only after its CRC32C was verified. All methods are thread-safe.

    Parameters
    ----------
    store
    entry
        From the manifest or a message; validated here.
    checksums : uint32 (chunks,) or None
        CRC32C of every ``entry.chunk_bytes`` bytes. If None, the whole file is read and checked at first use.
    snapshot
        The snapshot that names the file; 0 if it is not committed.

    Attributes
    ----------
    shared : FileBytes
        The bytes of the file, shared by the parts of a bundle.

    Raises
    ------
    CorruptIndexError
        The entry is inconsistent, or the number of checksums differs from that of chunks.
    """

    def __init__(
        self, store: Store, entry: FileEntry, checksums: NDArray[np.uint32] | None = None, snapshot: int = 0
    ) -> None:
        check_entry(entry)
        shared = FileBytes(store, entry.path, entry.bytes, snapshot)
        if checksums is None:
            shared.cover(np.array([entry.crc32c], np.uint32), entry.bytes, entry.bytes)
        else:
            shared.cover(checksums, entry.chunk_bytes, entry.bytes)
        self._set(shared, entry, 0, entry.bytes)

    @classmethod
    def part(cls, shared: FileBytes, entry: FileEntry) -> SegmentFile:
        """Open a part of a file: the arrays of ``entry``, which the caller has checked to lie in the chunks of ``shared``."""
        file = cls.__new__(cls)
        full = [array for array in entry.arrays if array.bytes]
        start = min((array.offset for array in full), default=0)
        cls._set(file, shared, entry, start, max((array.offset + array.bytes for array in full), default=start))
        return file

    def _set(self, shared: FileBytes, entry: FileEntry, start: int, stop: int) -> None:
        self.shared = shared
        self.entry = entry
        self.path = entry.path
        self.arrays: Mapping[str, ArrayEntry] = {array.name: array for array in entry.arrays}
        self._first, self._stop = start // shared.chunk, -(-stop // shared.chunk)
        self._layout = {array.name: (array.offset, array.row_bytes) for array in entry.arrays}
        self._complete: set[str] = set()
        self._views: dict[str, NDArray[Any]] = {}
        self._counts = ReadCounts()

    def __repr__(self) -> str:
        return f"SegmentFile({self.path!r}, {self.entry.bytes} bytes)"

    @property
    def complete(self) -> bool:
        """Whether every byte is present and verified."""
        unverified = self.shared.unverified
        return not self.shared.pending or bool(unverified[self._stop] == unverified[self._first])

    @property
    def share_read(self) -> float:
        """Share of its chunks that are present and verified."""
        unverified = self.shared.unverified
        return 1.0 - int(unverified[self._stop] - unverified[self._first]) / max(self._stop - self._first, 1)

    @property
    def bytes_read(self) -> int:
        """Bytes fetched by this object so far (or, if mapped, verified)."""
        return self._counts.bytes

    @property
    def requests(self) -> int:
        """Number of requests for these bytes (0 if mapped)."""
        return self._counts.requests

    @property
    def mapped(self) -> bool:
        """Whether the file is mapped from a folder, rather than fetched."""
        return self.shared.mapped

    def array(self, name: str) -> NDArray[Any]:
        """Read-only view of an array, with its declared type and shape; its bytes are valid only after :meth:`ensure`.

        Raises
        ------
        CorruptIndexError
            There is no such array, or the file is missing or has another length.
        """
        view = self._views.get(name)
        if view is None:
            entry = self._array(name)
            dtype = np.dtype(entry.dtype).newbyteorder("<")
            flat = self.shared.data()[entry.offset : entry.offset + entry.bytes].view(dtype)
            view = flat.reshape(entry.shape)
            view.flags.writeable = False
            self._views[name] = view
        return view

    def ensure(self, name: str, starts: ArrayLike | None = None, stops: ArrayLike | None = None) -> None:
        """Make rows ``[starts[i], stops[i])`` of an array present and verified; the whole array without ranges.

        Nearly free if they already are. Does not check the ranges, which must lie inside the array.

        Raises
        ------
        CorruptIndexError
            The file is missing or too short, or its bytes do not match their checksums.
        SnapshotNotFoundError
            The file is missing because the snapshot was pruned.
        """
        if not self.has(name, starts, stops):
            self.ensure_arrays([(name, starts, stops)])

    def has(self, name: str, starts: ArrayLike | None = None, stops: ArrayLike | None = None) -> bool:
        """Whether a cheap check finds rows of an array present and verified; False if that takes a full check."""
        return not self.shared.pending or name in self._complete or self._has(name, starts, stops)

    def ensure_arrays(self, parts: Sequence[Part]) -> None:
        """Like :meth:`ensure`, for several arrays of this file in one round of requests.

        Parameters
        ----------
        parts
            Tuples ``(name, starts, stops)``.
        """
        ensure_parts([(self, parts)])

    def ensure_all(self) -> None:
        """Make the whole file, or the whole part, present and verified."""
        if not self.complete:
            chunks = np.zeros(len(self.shared.flags), np.bool_)
            chunks[self._first : self._stop] = True
            self.shared.fill(chunks, self._counts)

    def absent(self, parts: Sequence[Part]) -> NDArray[np.bool_] | None:
        """The chunks that must be made present for some parts; None if all are."""
        ranges = [self._bytes_of(*part) for part in parts if part[0] not in self._complete]
        if not ranges:
            return None
        shared = self.shared
        first, stop = covering_chunks(
            np.concatenate([begin for begin, _ in ranges]),
            np.concatenate([end for _, end in ranges]),
            chunk=shared.chunk,
        )
        unverified = shared.unverified
        if (unverified[stop] == unverified[first]).all():
            return None
        return mark(first, stop, count=len(shared.flags))

    def note(self, parts: Sequence[Part]) -> None:
        """Remember which arrays are completely present."""
        self._complete.update(name for name, starts, _ in parts if starts is None)

    def _has(self, name: str, starts: ArrayLike | None, stops: ArrayLike | None) -> bool:
        """Whether a cheap check finds the ranges present; False if that takes a full check."""
        if name not in self._layout:
            return False
        offset, row_bytes = self._layout[name]
        chunk = self.shared.chunk
        if isinstance(starts, int | np.integer) and isinstance(stops, int | np.integer):
            first, stop = (offset + int(starts) * row_bytes) // chunk, -(-(offset + int(stops) * row_bytes) // chunk)
            return self.shared.flags.count(PRESENT, first, stop) == stop - first
        if (
            not (isinstance(starts, np.ndarray) and isinstance(stops, np.ndarray))
            or starts.itemsize + stops.itemsize < 16
        ):
            return False
        unverified = self.shared.unverified
        try:
            before = unverified[(starts * row_bytes + offset) // chunk]
            after = unverified[(stops * row_bytes + (offset + chunk - 1)) // chunk]
        except IndexError:
            return False
        return bool(before.tobytes() == after.tobytes())

    def _array(self, name: str) -> ArrayEntry:
        try:
            return self.arrays[name]
        except KeyError:
            raise CorruptIndexError(
                self.path, f"has no array {name!r}, only {', '.join(self.arrays)}; restore the manifest"
            ) from None

    def _bytes_of(
        self, name: str, starts: ArrayLike | None, stops: ArrayLike | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        entry = self._array(name)
        rows = entry.shape[0]
        if starts is None or stops is None:
            begin, end = np.array([0], np.int64), np.array([rows], np.int64)
        else:
            begin = np.atleast_1d(np.asarray(starts, np.int64))
            end = np.atleast_1d(np.asarray(stops, np.int64))
            if len(begin) and not (begin.min() >= 0 and end.max() <= rows and (begin <= end).all()):
                raise CorruptIndexError(
                    self.path,
                    f"rows {begin.min()}..{end.max()} of {name!r} were requested, which has {rows}; rebuild the index",
                )
        return entry.offset + begin * entry.row_bytes, entry.offset + end * entry.row_bytes


def ensure_together(
    parts: Sequence[tuple[SegmentFile, str, ArrayLike | None, ArrayLike | None]],
) -> None:
    """Like :meth:`SegmentFile.ensure`, for arrays of several files in one round of requests.

    Parameters
    ----------
    parts
        Tuples ``(file, name, starts, stops)``.

    Raises
    ------
    CorruptIndexError
        For the first file that is damaged.
    """
    by_bytes: dict[FileBytes, dict[SegmentFile, list[Part]]] = {}
    for file, name, starts, stops in parts:
        if not file.complete:
            by_bytes.setdefault(file.shared, {}).setdefault(file, []).append((name, starts, stops))
    groups = [list(files.items()) for files in by_bytes.values()]
    if len(groups) < 2 or all(shared.mapped for shared in by_bytes):
        for group in groups:
            ensure_parts(group)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(groups), FILES_AT_ONCE)) as pool:
        for done in [pool.submit(carried(ensure_parts), group) for group in groups]:
            done.result()


def ensure_parts(group: Sequence[tuple[SegmentFile, Sequence[Part]]]) -> None:
    """Like :meth:`SegmentFile.ensure_arrays`, for parts of one file in one round of requests, counted by the first."""
    first, _ = group[0]
    if not first.shared.pending:
        return
    absent = [chunks for file, parts in group if (chunks := file.absent(parts)) is not None]
    if absent:
        first.shared.fill(np.logical_or.reduce(absent), first._counts)  # noqa: SLF001 (of the same module)
    for file, parts in group:
        file.note(parts)
