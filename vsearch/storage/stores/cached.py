"""A store whose data files are kept in a folder of this machine as far as they were read."""

# ruff: noqa: PTH100

from __future__ import annotations

import logging
import os
import time
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.forking import renew_in_children
from vsearch.storage.stores.base import check_path
from vsearch.storage.stores.cache_folder import CacheFolder
from vsearch.storage.stores.packs import PackedObject

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Sequence

    from vsearch.storage.stores.base import ObjectInfo, Store

logger = logging.getLogger("vsearch")

DEFAULT_BYTES = 1 << 30
LEAST_BYTES = 1 << 20

IMMUTABLE = ("segments/", "model/")
"""Folders whose files are never overwritten: each name contains a UUID. Manifests are numbered, and a number may return."""

MOST_OBJECTS = 4096
"""Number of objects whose cached ranges are known in memory."""

PAUSE = 30.0
"""Seconds without writing to the folder after another process has held its lock for too long."""

Range = tuple[int, int]


class CachedStore:
    """A store that answers `read_into` from a folder where it can; everything else goes to the wrapped store.

    An object is identified by the URL of the store, its path and its length. An index that is built anew at a URL has new
    names. What is read from the folder is compared with checksums made when it was written; what differs, is missing or was
    evicted is fetched again. If the folder cannot be written to any more, this is logged once, and reads continue without it.

    Parameters
    ----------
    store : Store
    folder : str
        May be shared by any number of indexes, processes and `CachedStore` objects.
    budget : int
        Bytes that all of these may use on disk.

    Notes
    -----
    Let r be the number of cached ranges of an object. Its first read takes O(r), further ones O(log r) for each range, one read of a
    file for each range that was cached in one piece, and one checksum for each 32 KiB.
    """

    def __init__(self, store: Store, folder: str, budget: int = DEFAULT_BYTES) -> None:
        self._store, self._folder = store, CacheFolder(folder, budget)
        self._options = dict(getattr(store, "_options", {}))
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock and what threads of the parent may have been changing."""
        self._lock = Lock()
        self._objects: dict[bytes, PackedObject] = {}
        self._writable, self._writes_from = True, 0.0

    def __repr__(self) -> str:
        return f"CachedStore({self._store!r}, {self._folder.folder!r}, {self._folder.budget})"

    def __getstate__(self) -> tuple[Store, str, int]:
        return self._store, self._folder.folder, self._folder.budget

    def __setstate__(self, state: tuple[Store, str, int]) -> None:
        CachedStore.__init__(self, *state)

    def __copy__(self) -> CachedStore:
        return self  # state is shared

    def __deepcopy__(self, memo: dict[int, Any]) -> CachedStore:
        return self

    @property
    def url(self) -> str:
        """The URL of the wrapped store."""
        return self._store.url

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """See `Store.get`; never cached."""
        return self._store.get(path, start=start, stop=stop)

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """See `Store.get_ranges`; never cached, so that `vsearch.verify` sees what is stored."""
        return self._store.get_ranges(path, starts, stops)

    def read_into(
        self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]
    ) -> tuple[int, int] | None:
        """See `Store.read_into`; returns requests and bytes of the wrapped store."""
        ranges = [(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
        if not check_path(path).startswith(IMMUTABLE) or any(stop > len(out) for _, stop in ranges):
            return self._store.read_into(path, starts, stops, out)
        packed = self._packed(path, len(out))
        missing = self._read(packed, ranges, out)
        if not missing:
            return 0, 0
        sent = self._store.read_into(path, [start for start, _ in missing], [stop for _, stop in missing], out)
        self._keep(packed, missing, out)
        return sent or (len(missing), sum(stop - start for start, stop in missing))

    def forget(self, path: str, size: int) -> None:
        """Remove what is cached of an object of a size, since its bytes do not match the index's checksums.

        They arrived damaged, or were stored so: the next read asks the store again.
        """
        packed = self._packed(path, size)
        with self._lock:
            for pack in {piece[2].pack for piece in packed.find(0, size)}:
                packed.remove(pack)

    def head(self, path: str) -> ObjectInfo:
        """See `Store.head`."""
        return self._store.head(path)

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """See `Store.put`."""
        self._store.put(path, data, create=create)

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """See `Store.put_file`."""
        self._store.put_file(path, local_path)

    def scratch(self) -> str | None:
        """See `Store.scratch`."""
        return self._store.scratch()

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """See `Store.list`."""
        return self._store.list(prefix, after=after)

    def delete(self, paths: Iterable[str]) -> None:
        """See `Store.delete`; what is cached of the objects is evicted in its turn."""
        self._store.delete(paths)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """See `Store.memory_map`."""
        return self._store.memory_map(path)

    def _packed(self, path: str, size: int) -> PackedObject:
        from hashlib import blake2b

        key = blake2b(f"{self._store.url}\0{path}\0{size}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            packed = self._objects.get(key)
            if packed is None:
                if len(self._objects) >= MOST_OBJECTS:
                    self._objects.pop(next(iter(self._objects)))  # a changing index has ever new files
                packed = self._objects[key] = PackedObject(self._folder, key, size)
        return packed

    def _read(self, packed: PackedObject, ranges: Sequence[Range], out: NDArray[np.uint8]) -> builtins.list[Range]:
        """Read what is cached; return what is not, at most one range for each of `ranges`."""
        missing, plan = self._plan(packed, ranges)
        if missing:  # another process may have cached it
            missing, plan = self._plan(packed, ranges, refresh=True)
        failed = packed.read([piece for pieces in plan for piece in pieces], out)
        if failed:
            with self._lock:
                for pack in failed:
                    packed.remove(pack)
            return self._read(packed, ranges, out)  # ends: each time there are fewer packs
        return missing

    def _plan(
        self, packed: PackedObject, ranges: Sequence[Range], *, refresh: bool = False
    ) -> tuple[builtins.list[Range], builtins.list[builtins.list[Any]]]:
        with self._lock:
            if refresh:
                try:
                    packed.refresh()
                except OSError as error:
                    self._give_up(error)
            missing, plan = [], []
            for start, stop in ranges:
                pieces = packed.find(start, stop)
                gap = _gap(start, stop, pieces)
                if gap is not None:  # parts between two gaps are fetched with them, in one request
                    missing.append(gap)
                    pieces = [piece for piece in pieces if piece[1] <= gap[0] or piece[0] >= gap[1]]
                plan.append(pieces)
        return missing, plan

    def _keep(self, packed: PackedObject, ranges: Sequence[Range], out: NDArray[np.uint8]) -> None:
        if not self._writable or time.monotonic() < self._writes_from:
            return
        try:
            with self._lock, self._folder.writing() as is_held:
                if not is_held:
                    self._writes_from = time.monotonic() + PAUSE
                    return
                for start, stop in ranges:
                    if stop > start:
                        packed.append(start, stop, out)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._writable:
            self._writable = False
            logger.warning(
                "%s: reading on without keeping more in the cache, since it cannot be used: %s",
                self._folder.folder,
                error,
            )


def cached_store(store: Store, folder: str | os.PathLike[str], budget: int | None) -> CachedStore:
    """Wrap a store, after checking the folder and its budget.

    Raises
    ------
    InputError
        The folder cannot be written to, or the budget is not an integer of at least 1 MiB.
    """
    path: Any = os.fspath(folder) if isinstance(folder, os.PathLike) else folder
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InputError(f"cache must be the path of a folder, got {folder!r:.100}")
    size = DEFAULT_BYTES if budget is None else budget
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not LEAST_BYTES <= size < 1 << 62:
        raise InputError(
            f"cache_bytes must be a number of bytes as an integer, at least {LEAST_BYTES}, got {size!r:.100}"
        )
    cached = CachedStore(store, os.path.abspath(path), int(size))
    CacheFolder(os.path.abspath(path), int(size)).prepare()
    return cached


def _gap(start: int, stop: int, pieces: Sequence[Any]) -> Range | None:
    """The range from the first to the last byte that no piece covers."""
    first, last = start, stop
    for begin, end, _ in pieces:
        if begin > first:
            break
        first = end
    for begin, end, _ in reversed(pieces):
        if end < last:
            break
        last = begin
    return (first, last) if first < last else None
