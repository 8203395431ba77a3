"""The bytes of one immutable file: fetched or mapped, and verified chunk by chunk at first access."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.forking import renew_in_children
from vsearch.storage.files.checksums import chunk_checksums, crc32c, joined_checksums
from vsearch.storage.files.naming import MissingObjectError, check_not_pruned
from vsearch.storage.files.ranges import bridge, runs, split, widen
from vsearch.storage.stores.base import forget_copies
from vsearch.storage.stores.waiting import time_left

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.storage.stores.base import Store

GAP = 16 << 10
"""Up to this many bytes between two requested ranges are fetched as well, to save a request: it costs about as much."""

TOGETHER = 64 << 10
"""Bytes of neighboring chunks that are verified at once; in a mapped file, always all of them, since small chunks only spare transfers.
Files of no more bytes are read as a whole."""

JOINED = 32
"""Number of such groups from which joining the checksums of their chunks takes less time than comparing each chunk."""

REQUEST = 8 << 20
"""Maximum bytes per request; longer ranges are split into concurrent requests."""

ABSENT, CLAIMED, PRESENT = 0, 1, 2


@dataclass(slots=True)
class ReadCounts:
    """Bytes fetched (or, if mapped, verified) and the number of requests (0 if mapped)."""

    bytes: int = 0
    requests: int = 0


class FileBytes:
    """A file as one array of bytes, which several :class:`SegmentFile` may share.

    In a folder it is a memory map; elsewhere it is an anonymous map of the file's size, filled as ranges are requested.
    All methods are thread-safe.

    Parameters
    ----------
    store
    path
    size
        Length of the file.
    snapshot
        The snapshot that names the file; 0 if it is not committed.

    Attributes
    ----------
    chunk : int
        Chunk size in bytes.
    flags : bytearray (chunks,)
        `PRESENT` for chunks that are present and verified.
    pending : int
        Number of chunks that are not.
    unverified : int32 (chunks + 1,)
        For each chunk, how many before it are not.
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
        """Define how the file is verified; must be called before anything else.

        Parameters
        ----------
        checksums : uint32 (chunks,)
            CRC32C of every ``chunk`` bytes of the first ``covered`` bytes.
        chunk
        covered
        verify
            False for bytes that this process wrote itself.

        Raises
        ------
        CorruptIndexError
            The number of checksums differs from that of chunks.
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
        self.unverified = np.arange(count + 1, dtype=np.int32)

    def renew_after_fork(self) -> None:
        """Replace the lock, and give up the claims of threads that do not exist in the child."""
        self._changed = Condition()
        self._state[self._state == CLAIMED] = ABSENT

    @property
    def mapped(self) -> bool:
        """Whether the file is mapped from a folder, rather than fetched."""
        self.data()
        return self._mapped

    def data(self) -> NDArray[np.uint8]:
        """All bytes of the file; those that were not ensured are undefined."""
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
            raise self._damaged(f"has {len(mapped)} bytes, expected {self.size}")
        return mapped

    def _reserve(self) -> NDArray[np.uint8]:
        # An anonymous map takes memory only for pages that are written, and is page-aligned.
        try:
            return np.frombuffer(mmap.mmap(-1, self.size), np.uint8)
        except (OSError, OverflowError, ValueError, MemoryError):
            raise self._damaged(f"its entry declares {self.size} bytes, more than this machine can hold") from None

    def fill(self, requested: NDArray[np.bool_], counts: ReadCounts) -> None:
        """Make chunks present, and add the reads to ``counts``.

        Each chunk is claimed by one thread; others wait for it, or take over if it fails.

        Raises
        ------
        CorruptIndexError
            The file is missing or too short, or its bytes do not match their checksums.
        SnapshotNotFoundError
            The file is missing because the snapshot was pruned.
        """
        data = self.data()
        while True:
            with self._changed:
                absent = self._state == ABSENT
                claimed = requested & absent
                if not claimed.any():
                    if (self._state[requested] == PRESENT).all():
                        return
                    self._changed.wait(time_left())
                    continue
                if self._covered <= TOGETHER:
                    claimed = absent  # a small file takes one request, whatever is read of it
                elif self._mapped:
                    claimed = widen(claimed, absent, count=TOGETHER // self.chunk)
                else:
                    claimed = bridge(claimed, absent, gap=max(1, GAP // self.chunk))
                self._state[claimed] = CLAIMED
            try:
                self._load(data, claimed, counts)
            except BaseException:
                self._settle(claimed, ABSENT)
                raise
            self._settle(claimed, PRESENT)

    def _settle(self, chunks: NDArray[np.bool_], state: int) -> None:
        with self._changed:
            self._state[chunks] = state
            unverified = self._state != PRESENT
            before = np.zeros(len(unverified) + 1, np.int32)
            np.cumsum(unverified, dtype=np.int32, out=before[1:])
            self.unverified, self.pending = before, int(before[-1])
            self._changed.notify_all()

    def _load(self, data: NDArray[np.uint8], chunks: NDArray[np.bool_], counts: ReadCounts) -> None:
        first, stop = runs(chunks)
        begin, end = first * self.chunk, np.minimum(stop * self.chunk, self._covered)
        requests, fetched = self._fetch(data, begin, end)
        if self._verify:
            for low, high in zip(first.tolist(), stop.tolist(), strict=True):
                self._check(data, low, high)
        self._count(counts, fetched, requests)

    def _check(self, data: NDArray[np.uint8], first: int, stop: int) -> None:
        """Compare neighboring chunks with their checksums, many small ones at once."""
        chunk, checksums = self.chunk, self._checksums
        together = TOGETHER // chunk
        groups = min(stop, self._covered // chunk) - first  # without a shorter last chunk
        groups = groups // together if together > 1 else 0
        if groups >= JOINED:
            joined = joined_checksums(checksums[first : first + groups * together].reshape(groups, together), chunk)
            for low, checksum in zip(range(first * chunk, stop * chunk, TOGETHER), joined.tolist(), strict=False):
                self._compare(data, low, low + TOGETHER, checksum)
            first += groups * together
        wrong = chunk_checksums(data[first * chunk : min(stop * chunk, self._covered)], chunk) != checksums[first:stop]
        if wrong.any():
            low = (first + int(wrong.argmax())) * chunk
            raise self._mismatch(low, min(low + chunk, self._covered))

    def read(self, start: int, stop: int, checksum: int | None, counts: ReadCounts) -> NDArray[np.uint8]:
        """Read a range that no chunk covers, and verify it against its own checksum unless that is None.

        Raises
        ------
        CorruptIndexError, SnapshotNotFoundError
            As for :meth:`fill`.
        """
        data = self.data()
        requests, fetched = self._fetch(data, np.array([start], np.int64), np.array([stop], np.int64))
        if checksum is not None:
            self._compare(data, start, stop, checksum)
        self._count(counts, fetched, requests)
        return data[start:stop]

    def _fetch(self, data: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[int, int]:
        """Read ranges, unless the file is mapped; return the number of requests and of bytes, without those from a cache on disk."""
        total = int((end - begin).sum())
        if self._mapped:
            return 0, total
        starts, stops = split(begin, end, limit=REQUEST)
        try:
            sent = self._store.read_into(self.path, starts.tolist(), stops.tolist(), data)
        except FileNotFoundError:
            raise self._missing() from None
        except EOFError:
            raise self._damaged(f"is shorter than {self.size} bytes") from None
        return sent or (len(starts), total)

    def _compare(self, data: NDArray[np.uint8], start: int, stop: int, checksum: int) -> None:
        if crc32c(data[start:stop]) != checksum:
            raise self._mismatch(start, stop)

    def _mismatch(self, start: int, stop: int) -> CorruptIndexError:
        forget_copies(self._store, self.path, self.size)
        return self._damaged(f"bytes {start}..{stop} do not match their checksum")

    def _count(self, counts: ReadCounts, read: int, requests: int) -> None:
        with self._changed:
            counts.bytes += read
            counts.requests += requests

    def _damaged(self, reason: str) -> CorruptIndexError:
        return CorruptIndexError(
            self.path, f"{reason}; restore the file from a copy, open an older snapshot or rebuild the index"
        )

    def _missing(self) -> CorruptIndexError:
        """The error for a missing file; raises SnapshotNotFoundError itself if the snapshot was pruned."""
        check_not_pruned(self._store, self._snapshot, self.path)
        return MissingObjectError(
            self.path,
            f"is missing in {self._store.url}; restore the file from a copy, or open another snapshot",
        )
