"""Stores for workers: one that counts what is read, and one that serves whole files out of memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import renew_in_children
from vsearch.storage import check_entry
from vsearch.storage.retrying import carried

if TYPE_CHECKING:
    import os

    from vsearch.storage import FileEntry, ObjectInfo, Store

PART = 8 << 20
"""Most bytes of one request: larger files travel as several, side by side."""

PARALLEL = 64


class MeteredStore:
    """A store that counts the requests it makes and the bytes it reads.

    Parameters
    ----------
    store
    within : MeteredStore, optional
        Counts instead, besides what it counts of its own.

    Attributes
    ----------
    requests, writes, bytes : int
        So far; writes are those among the requests that list or write. Mapped files count nothing.
    """

    def __init__(self, store: Store, within: MeteredStore | None = None) -> None:
        self._store = store
        self._within = within
        self.renew_after_fork()
        renew_in_children(self)
        self.requests = 0
        self.writes = 0
        self.bytes = 0

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._lock = Lock()

    @property
    def url(self) -> str:
        """Where the store is."""
        return self._store.url

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """See `Store.get`."""
        data = self._store.get(path, start=start, stop=stop)
        self.count(1, len(data))
        return data

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """See `Store.get_ranges`."""
        parts = self._store.get_ranges(path, starts, stops)
        self.count(len(parts), sum(map(len, parts)))
        return parts

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """See `Store.read_into`."""
        self._store.read_into(path, starts, stops, out)
        self.count(len(starts), int(np.sum(stops) - np.sum(starts)))

    def head(self, path: str) -> ObjectInfo:
        """See `Store.head`."""
        self.count(1, 0)
        return self._store.head(path)

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """See `Store.put`."""
        self.count(1, 0, writes=1)
        self._store.put(path, data, create=create)

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """See `Store.put_file`."""
        self.count(1, 0, writes=1)
        self._store.put_file(path, local_path)

    def scratch(self) -> str | None:
        """See `Store.scratch`."""
        return self._store.scratch()

    def list(self, prefix: str) -> list[ObjectInfo]:
        """See `Store.list`."""
        found = self._store.list(prefix)
        pages = 1 + len(found) // 1000
        self.count(pages, 0, writes=pages)
        return found

    def delete(self, paths: Iterable[str]) -> None:
        """See `Store.delete`."""
        self._store.delete(paths)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """See `Store.memory_map`."""
        return self._store.memory_map(path)

    def count(self, requests: int, read: int, *, writes: int = 0) -> None:
        """Add to what was counted."""
        if self._within is not None:
            self._within.count(requests, read, writes=writes)
            return
        with self._lock:
            self.requests += requests
            self.writes += writes
            self.bytes += read


class HeldStore(MeteredStore):
    """A store some of whose files are in memory as a whole; they are served as if mapped, so nothing is copied.

    Parameters
    ----------
    store
    files : mapping of str to uint8 (bytes,)
        By path. Unverified: whoever reads them checks their checksums, as for any file.
    parts : sequence of (path, first byte, uint8 (bytes,))
        Parts of other files that were read ahead.
    """

    def __init__(
        self,
        store: Store,
        files: Mapping[str, NDArray[np.uint8]],
        parts: Sequence[tuple[str, int, NDArray[np.uint8]]] = (),
    ) -> None:
        super().__init__(store)
        self.files = files
        self.parts = parts

    def holds(self, path: str) -> bool:
        """Whether a file, or a part of it, is in memory."""
        return path in self.files or any(held == path for held, _, _ in self.parts)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(map(len, self.files.values())) + sum(len(data) for _, _, data in self.parts)

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """See `Store.read_into`; ranges that were read ahead cost no request."""
        left = []
        for start, stop in zip(starts, stops, strict=True):
            for held, first, data in self.parts:
                if held == path and first <= start and stop <= first + len(data):
                    out[start:stop] = data[start - first : stop - first]
                    break
            else:
                left.append((start, stop))
        if left:
            self._store.read_into(path, [start for start, _ in left], [stop for _, stop in left], out)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The file in memory, if it is held."""
        held = self.files.get(path)
        return self._store.memory_map(path) if held is None else held

    def count(self, requests: int, read: int, *, writes: int = 0) -> None:
        """The store below counts."""


def fetch_files(
    store: Store,
    entries: Iterable[FileEntry],
    held: Mapping[str, NDArray[np.uint8]],
    parts: Sequence[tuple[FileEntry, int, int]] = (),
) -> HeldStore:
    """Read whole files, and `parts` of others from byte to byte, in one round of requests, all side by side.

    Files that the store maps are left out, those in `held` are taken from there.

    Raises
    ------
    CorruptIndexError
        A file is missing or too short.
    """
    files: dict[str, NDArray[np.uint8]] = {}
    wanted = list({entry.path: entry for entry in entries}.values())
    if wanted and _maps(store, wanted[0]):
        return HeldStore(store, {})
    reads: list[tuple[FileEntry, int, int, NDArray[np.uint8]]] = []
    ahead: list[tuple[str, int, NDArray[np.uint8]]] = []
    for entry, first, last in parts:
        check_entry(entry)
        sparse = np.frombuffer(mmap.mmap(-1, entry.bytes), np.uint8)  # takes memory only where it is written
        ahead.append((entry.path, first, sparse[first:last]))
        reads += [(entry, start, min(start + PART, last), sparse) for start in range(first, last, PART)]
    for entry in wanted:
        check_entry(entry)
        if entry.path in held and len(held[entry.path]) == entry.bytes:
            files[entry.path] = held[entry.path]
        else:
            files[entry.path] = np.empty(entry.bytes, np.uint8)
            reads += [
                (entry, start, min(start + PART, entry.bytes), files[entry.path])
                for start in range(0, entry.bytes, PART)
            ]

    def read(part: tuple[FileEntry, int, int, NDArray[np.uint8]]) -> None:
        entry, start, stop, data = part
        try:
            store.read_into(entry.path, [start], [stop], data)
        except FileNotFoundError:
            raise MissingObjectError(
                entry.path, f"is missing in {store.url}; if it was pruned, open the index again"
            ) from None
        except EOFError:
            raise CorruptIndexError(entry.path, f"is shorter than its {entry.bytes} bytes; restore it") from None

    if len(reads) == 1:
        read(reads[0])
    elif reads:
        with ThreadPoolExecutor(min(PARALLEL, len(reads))) as pool:
            list(pool.map(carried(read), reads))
    for array in files.values():
        array.flags.writeable = False
    return HeldStore(store, files, ahead)


def _maps(store: Store, entry: FileEntry) -> bool:
    try:
        return store.memory_map(entry.path) is not None
    except FileNotFoundError:
        raise MissingObjectError(
            entry.path, f"is missing in {store.url}; restore it or open another snapshot"
        ) from None


class MissingObjectError(CorruptIndexError):
    """An object that the snapshot names is not there."""
