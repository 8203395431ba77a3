"""The bytes of one immutable file: fetched or mapped, and verified chunk by chunk at first touch."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.forking import renew_in_children
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.files.naming import check_not_pruned
from vsearch.storage.files.ranges import bridge, runs, split
from vsearch.storage.stores.waiting import time_left

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.storage.stores.base import Store

GAP = 4
"""Chunks between two wanted ones that are fetched along, for one request less."""

REQUEST = 8 << 20
"""Most bytes of one request; longer ranges travel as several side by side."""

ABSENT, CLAIMED, PRESENT = 0, 1, 2


@dataclass(slots=True)
class ReadCounts:
    """Bytes fetched (or, mapped, verified), and requests for them (mapped: 0)."""

    bytes: int = 0
    requests: int = 0


class FileBytes:
    """A file as one array of bytes, which several :class:`SegmentFile` may share.

    In a folder it is a memory map; elsewhere an anonymous map of the file's size that fills up with what is asked for.
    All methods may be called from many threads.

    Parameters
    ----------
    store
    path
    size
        Length of the file.
    snapshot
        The one that names the file, 0 where it is not committed.

    Attributes
    ----------
    chunk : int
        Bytes of a chunk.
    flags : bytearray (chunks,)
        `PRESENT` where a chunk is there and verified.
    pending : int
        Chunks that are not.
    unverified : int64 (chunks + 1,)
        How many chunks before each are not.
    """

    def __init__(self, store: Store, path: str, size: int, snapshot: int = 0) -> None:
        self.path = path
        self.size = size
        self._store = store
        self._snapshot = snapshot
        self._data: NDArray[np.uint8] | None = None
        self._mapped = False
        self._changed = Condition()
        self.cover(np.empty(0, np.uint32), size, 0)
        renew_in_children(self)

    def cover(self, checksums: NDArray[np.uint32], chunk: int, covered: int, *, verify: bool = True) -> None:
        """Say how the file is verified, before anything else is done with it.

        Parameters
        ----------
        checksums : uint32 (chunks,)
            CRC32C of every ``chunk`` bytes of the first ``covered``.
        chunk
        covered
        verify
            False for bytes that this process made itself.

        Raises
        ------
        CorruptIndexError
            There are not as many checksums as chunks.
        """
        count = -(-covered // chunk)
        if checksums.shape != (count,):
            raise CorruptIndexError(
                self.path, f"has {count} chunks but {len(checksums)} checksums; restore the manifest"
            )
        self.chunk = chunk
        self._covered = covered
        self._checksums = checksums
        self._verify = verify
        self.flags = bytearray(count)
        self._state = np.frombuffer(self.flags, np.uint8)
        self.pending = count
        self.unverified = np.arange(count + 1)

    def renew_after_fork(self) -> None:
        """Nobody holds the lock any more, and nobody fetches what was claimed."""
        self._changed = Condition()
        self._state[self._state == CLAIMED] = ABSENT

    @property
    def mapped(self) -> bool:
        """Whether the file is mapped from a folder, rather than fetched."""
        self.data()
        return self._mapped

    def data(self) -> NDArray[np.uint8]:
        """All bytes of the file; what was not ensured is not there yet."""
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
        if mapped is not None and len(mapped) != self.size:
            raise self._damaged(f"has {len(mapped)} bytes instead of {self.size}")
        return mapped

    def _reserve(self) -> NDArray[np.uint8]:
        # An anonymous map takes memory only for the pages that are written, and starts on a page.
        try:
            return np.frombuffer(mmap.mmap(-1, self.size), np.uint8)
        except (OSError, OverflowError, ValueError, MemoryError):
            raise self._damaged(f"its entry claims {self.size} bytes, more than this machine can hold") from None

    def fill(self, wanted: NDArray[np.bool_], counts: ReadCounts) -> None:
        """Make chunks present, and add to ``counts`` what that took.

        Each is claimed by one thread; the others wait for it, or take over if it fails.

        Raises
        ------
        CorruptIndexError
            The file is missing, too short, or its bytes are not those that were written.
        SnapshotNotFoundError
            It is missing because the snapshot was pruned.
        """
        data = self.data()
        while True:
            with self._changed:
                absent = self._state == ABSENT
                mine = wanted & absent
                if not mine.any():
                    if (self._state[wanted] == PRESENT).all():
                        return
                    self._changed.wait(time_left())
                    continue
                if not self._mapped:
                    mine = bridge(mine, absent, gap=GAP)
                self._state[mine] = CLAIMED
            try:
                self._load(data, mine, counts)
            except BaseException:
                self._settle(mine, ABSENT)
                raise
            self._settle(mine, PRESENT)

    def _settle(self, chunks: NDArray[np.bool_], state: int) -> None:
        with self._changed:
            self._state[chunks] = state
            unverified = self._state != PRESENT
            self.unverified = np.concatenate(([0], np.cumsum(unverified)))
            self.pending = int(self.unverified[-1])
            self._changed.notify_all()

    def _load(self, data: NDArray[np.uint8], chunks: NDArray[np.bool_], counts: ReadCounts) -> None:
        first, stop = runs(chunks)
        begin, end = first * self.chunk, np.minimum(stop * self.chunk, self._covered)
        requests = self._fetch(data, begin, end)
        for i in np.flatnonzero(chunks).tolist() if self._verify else ():
            at = i * self.chunk
            self._compare(data, at, min(at + self.chunk, self._covered), int(self._checksums[i]))
        self._count(counts, int((end - begin).sum()), requests)

    def read(self, start: int, stop: int, checksum: int | None, counts: ReadCounts) -> NDArray[np.uint8]:
        """A range that no chunk covers, held against its own checksum, unless that is None.

        Raises
        ------
        CorruptIndexError, SnapshotNotFoundError
            As :meth:`fill`.
        """
        data = self.data()
        requests = self._fetch(data, np.array([start], np.int64), np.array([stop], np.int64))
        if checksum is not None:
            self._compare(data, start, stop, checksum)
        self._count(counts, stop - start, requests)
        return data[start:stop]

    def _fetch(self, data: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64]) -> int:
        """Read ranges, unless the file is mapped; how many requests that took."""
        if self._mapped:
            return 0
        starts, stops = split(begin, end, limit=REQUEST)
        try:
            self._store.read_into(self.path, starts.tolist(), stops.tolist(), data)
        except FileNotFoundError:
            raise self._missing() from None
        except EOFError:
            raise self._damaged(f"is shorter than its {self.size} bytes") from None
        return len(starts)

    def _compare(self, data: NDArray[np.uint8], start: int, stop: int, checksum: int) -> None:
        if crc32c(data[start:stop]) != checksum:
            raise self._damaged(f"bytes {start}..{stop} are not those that were written")

    def _count(self, counts: ReadCounts, read: int, requests: int) -> None:
        with self._changed:
            counts.bytes += read
            counts.requests += requests

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
