"""Reading immutable files: arrays as views, their bytes fetched and verified at first touch."""

from __future__ import annotations

import mmap
from threading import Condition
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.forking import renew_in_children
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.files.entries import CHUNK, check_entry
from vsearch.storage.files.naming import check_not_pruned
from vsearch.storage.files.ranges import bridge, covering_chunks, mark, runs, split
from vsearch.storage.stores.retrying import carried
from vsearch.storage.stores.waiting import time_left

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from vsearch.storage.files.entries import ArrayEntry, FileEntry
    from vsearch.storage.stores.base import Store

    Part = tuple[str, ArrayLike | None, ArrayLike | None]

GAP = 4
"""Chunks between two wanted ones that are fetched along, for one request less."""

REQUEST = 8 << 20
"""Most bytes of one request; longer ranges travel as several side by side."""

_ABSENT, _CLAIMED, _PRESENT = 0, 1, 2


class SegmentFile:
    """One immutable file of a snapshot, opened at first use.

    In a folder it is a memory map; elsewhere an anonymous map of the file's size that fills up with what is asked for.
    Either way a chunk is used only after its CRC32C was found right. All methods may be called from many threads.

    Parameters
    ----------
    store
    entry
        From the manifest or a message; validated here.
    checksums : uint32 (chunks,) or None
        CRC32C of every ``CHUNK`` bytes. With None the file is read and checked whole at first use.
    snapshot
        The one that names the file, 0 where it is not committed.

    Attributes
    ----------
    bytes_read, requests : int
        Bytes fetched (or, mapped, verified) so far, and requests for them (mapped: 0).

    Raises
    ------
    CorruptIndexError
        The entry does not fit itself, or there are not as many checksums as chunks.
    """

    def __init__(
        self, store: Store, entry: FileEntry, checksums: NDArray[np.uint32] | None = None, snapshot: int = 0
    ) -> None:
        check_entry(entry)
        self._snapshot = snapshot
        self.entry = entry
        self.path = entry.path
        self.arrays: Mapping[str, ArrayEntry] = {array.name: array for array in entry.arrays}
        self.bytes_read = 0
        self.requests = 0
        self._store = store
        if checksums is None:
            self._chunk = entry.bytes
            self._checksums = np.array([entry.crc32c], np.uint32)
        else:
            self._chunk = CHUNK
            self._checksums = checksums
        count = -(-entry.bytes // self._chunk)
        if self._checksums.shape != (count,):
            raise CorruptIndexError(
                entry.path, f"has {count} chunks but {len(self._checksums)} checksums; restore the manifest"
            )
        self._layout = {array.name: (array.offset, array.row_bytes) for array in entry.arrays}
        self._flags = bytearray(count)
        self._state = np.frombuffer(self._flags, np.uint8)
        self._pending = count
        self._unverified = np.arange(count + 1)
        self._complete: set[str] = set()
        self._changed = Condition()
        self._data: NDArray[np.uint8] | None = None
        self._mapped = False
        self._views: dict[str, NDArray[Any]] = {}
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Nobody holds the lock any more, and nobody fetches what was claimed."""
        self._changed = Condition()
        self._state[self._state == _CLAIMED] = _ABSENT

    def __repr__(self) -> str:
        return f"SegmentFile({self.path!r}, {self.entry.bytes} bytes)"

    @property
    def whole(self) -> bool:
        """Whether every byte is present and verified."""
        return not self._pending

    @property
    def mapped(self) -> bool:
        """Whether the file is mapped from a folder, rather than fetched."""
        self._open()
        return self._mapped

    def array(self, name: str) -> NDArray[Any]:
        """Read-only view of an array, with its declared type and shape. Its bytes count only after :meth:`ensure`.

        Raises
        ------
        CorruptIndexError
            There is no such array, or the file is missing or of another length.
        """
        view = self._views.get(name)
        if view is None:
            entry = self._array(name)
            dtype = np.dtype(entry.dtype).newbyteorder("<")
            flat = self._open()[entry.offset : entry.offset + entry.bytes].view(dtype)
            view = flat.reshape(entry.shape)
            view.flags.writeable = False
            self._views[name] = view
        return view

    def ensure(self, name: str, starts: ArrayLike | None = None, stops: ArrayLike | None = None) -> None:
        """Make rows ``[starts[i], stops[i])`` of an array present and verified; all of it without ranges.

        Costs next to nothing where they already are. Is no check of the ranges: these must lie inside the array.

        Raises
        ------
        CorruptIndexError
            The file is missing, too short, or its bytes are not those that were written.
        SnapshotNotFoundError
            It is missing because the snapshot was pruned.
        """
        if self._pending and name not in self._complete and not self._has(name, starts, stops):
            self.ensure_arrays([(name, starts, stops)])

    def ensure_arrays(self, parts: Sequence[Part]) -> None:
        """:meth:`ensure` for several arrays of this file in one round of requests.

        Parameters
        ----------
        parts
            ``(name, starts, stops)`` each.
        """
        if not self._pending:
            return
        ranges = [self._bytes_of(*part) for part in parts if part[0] not in self._complete]
        if not ranges:
            return
        first, stop = covering_chunks(
            np.concatenate([begin for begin, _ in ranges]),
            np.concatenate([end for _, end in ranges]),
            chunk=self._chunk,
        )
        unverified = self._unverified
        if (unverified[stop] != unverified[first]).any():
            self._fill(mark(first, stop, count=len(self._state)))
        self._complete.update(name for name, starts, _ in parts if starts is None)

    def ensure_all(self) -> None:
        """Make the whole file present and verified."""
        if self._pending:
            self._fill(np.ones(len(self._state), np.bool_))

    def _has(self, name: str, starts: ArrayLike | None, stops: ArrayLike | None) -> bool:
        """Whether the ranges are quickly seen to be present; False where it takes a closer look."""
        if name not in self._layout:
            return False
        offset, row_bytes = self._layout[name]
        chunk = self._chunk
        if isinstance(starts, int | np.integer) and isinstance(stops, int | np.integer):
            first, stop = (offset + int(starts) * row_bytes) // chunk, -(-(offset + int(stops) * row_bytes) // chunk)
            return self._flags.count(_PRESENT, first, stop) == stop - first
        if (
            not (isinstance(starts, np.ndarray) and isinstance(stops, np.ndarray))
            or starts.itemsize + stops.itemsize < 16
        ):
            return False
        unverified = self._unverified
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
                    f"rows {begin.min()}..{end.max()} of {name!r} were asked for, which has {rows}; "
                    "build the index again",
                )
        return entry.offset + begin * entry.row_bytes, entry.offset + end * entry.row_bytes

    def _open(self) -> NDArray[np.uint8]:
        with self._changed:
            if self._data is None:
                mapped = self._map()
                self._mapped = mapped is not None
                self._data = self._reserve() if mapped is None else mapped
            return self._data

    def _map(self) -> NDArray[np.uint8] | None:
        try:
            mapped = self._store.memory_map(self.path)
        except FileNotFoundError:
            raise self._missing() from None
        if mapped is not None and len(mapped) != self.entry.bytes:
            raise self._damaged(f"has {len(mapped)} bytes instead of {self.entry.bytes}")
        return mapped

    def _reserve(self) -> NDArray[np.uint8]:
        # An anonymous map takes memory only for the pages that are written, and starts on a page.
        try:
            return np.frombuffer(mmap.mmap(-1, self.entry.bytes), np.uint8)
        except (OSError, OverflowError, ValueError, MemoryError):
            raise self._damaged(f"its entry claims {self.entry.bytes} bytes, more than this machine can hold") from None

    def _fill(self, wanted: NDArray[np.bool_]) -> None:
        """Make chunks present. Each is claimed by one thread; the others wait for it, or take over if it fails."""
        data = self._open()
        while True:
            with self._changed:
                absent = self._state == _ABSENT
                mine = wanted & absent
                if not mine.any():
                    if (self._state[wanted] == _PRESENT).all():
                        return
                    self._changed.wait(time_left())
                    continue
                if not self._mapped:
                    mine = bridge(mine, absent, gap=GAP)
                self._state[mine] = _CLAIMED
            try:
                self._load(data, mine)
            except BaseException:
                self._settle(mine, _ABSENT)
                raise
            self._settle(mine, _PRESENT)

    def _settle(self, chunks: NDArray[np.bool_], state: int) -> None:
        with self._changed:
            self._state[chunks] = state
            unverified = self._state != _PRESENT
            self._unverified = np.concatenate(([0], np.cumsum(unverified)))
            self._pending = int(self._unverified[-1])
            self._changed.notify_all()

    def _load(self, data: NDArray[np.uint8], chunks: NDArray[np.bool_]) -> None:
        first, stop = runs(chunks)
        begin, end = first * self._chunk, np.minimum(stop * self._chunk, self.entry.bytes)
        requests = 0
        if not self._mapped:
            starts, stops = split(begin, end, limit=REQUEST)
            requests = len(starts)
            try:
                self._store.read_into(self.path, starts.tolist(), stops.tolist(), data)
            except FileNotFoundError:
                raise self._missing() from None
            except EOFError:
                raise self._damaged(f"is shorter than its {self.entry.bytes} bytes") from None
        for i in np.flatnonzero(chunks).tolist():
            at = i * self._chunk
            if crc32c(data[at : at + self._chunk]) != self._checksums[i]:
                last = min(at + self._chunk, self.entry.bytes)
                raise self._damaged(f"bytes {at}..{last} are not those that were written")
        with self._changed:
            self.bytes_read += int((end - begin).sum())
            self.requests += requests

    def _damaged(self, reason: str) -> CorruptIndexError:
        return CorruptIndexError(
            self.path, f"{reason}; restore the file from a copy, open an older snapshot or build the index again"
        )

    def _missing(self) -> CorruptIndexError:
        """What to raise of a file that is not there; raises SnapshotNotFoundError itself where that was pruned."""
        check_not_pruned(self._store, self._snapshot, self.path)
        return CorruptIndexError(
            self.path,
            f"is missing in {self._store.url}; restore the file from a copy, or open another snapshot",
        )


def ensure_together(
    parts: Sequence[tuple[SegmentFile, str, ArrayLike | None, ArrayLike | None]],
) -> None:
    """:meth:`SegmentFile.ensure` for arrays of several files in one round of requests.

    Parameters
    ----------
    parts
        ``(file, name, starts, stops)`` each.

    Raises
    ------
    CorruptIndexError
        Of the first file found damaged.
    """
    by_file: dict[SegmentFile, list[Part]] = {}
    for file, name, starts, stops in parts:
        if not file.whole:
            by_file.setdefault(file, []).append((name, starts, stops))
    if len(by_file) < 2 or all(file.mapped for file in by_file):
        for file, of_file in by_file.items():
            file.ensure_arrays(of_file)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(by_file)) as pool:
        for done in [pool.submit(carried(file.ensure_arrays), of_file) for file, of_file in by_file.items()]:
            done.result()
