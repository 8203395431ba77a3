"""A store that counts requests and bytes read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import renew_in_children
from vsearch.storage.stores.base import forget_copies

if TYPE_CHECKING:
    import os

    from vsearch.storage.stores.base import ObjectInfo, Store


class MeteredStore:
    """A store that counts its requests and the bytes it reads.

    Parameters
    ----------
    store
    enclosing : MeteredStore, optional
        Another store to whose counts these are added instead.

    Attributes
    ----------
    requests, writes, bytes : int
        Totals so far; writes are the requests that list or write. Mapped files are not counted.
    """

    def __init__(self, store: Store, enclosing: MeteredStore | None = None) -> None:
        self._store = store
        self._enclosing = enclosing
        self.renew_after_fork()
        renew_in_children(self)
        self.requests = 0
        self.writes = 0
        self.bytes = 0

    def renew_after_fork(self) -> None:
        """Replace the lock by an unlocked one."""
        self._lock = Lock()

    @property
    def url(self) -> str:
        """The URL of the wrapped store."""
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

    def read_into(
        self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]
    ) -> tuple[int, int] | None:
        """See `Store.read_into`."""
        sent = self._store.read_into(path, starts, stops, out)
        self.count(*(sent or (len(starts), int(np.sum(stops) - np.sum(starts)))))
        return sent

    def forget(self, path: str, size: int) -> None:
        """See `forget_copies`."""
        forget_copies(self._store, path, size)

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

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """See `Store.list`."""
        infos = self._store.list(prefix, after=after)
        pages = 1 + len(infos) // 1000
        self.count(pages, 0, writes=pages)
        return infos

    def delete(self, paths: Iterable[str]) -> None:
        """See `Store.delete`."""
        self._store.delete(paths)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """See `Store.memory_map`."""
        return self._store.memory_map(path)

    def count(self, requests: int, read: int, *, writes: int = 0) -> None:
        """Add to the totals."""
        if self._enclosing is not None:
            self._enclosing.count(requests, read, writes=writes)
            return
        with self._lock:
            self.requests += requests
            self.writes += writes
            self.bytes += read
