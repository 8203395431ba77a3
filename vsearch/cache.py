"""An LRU cache with a byte budget."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from vsearch.forking import renew_in_children

T = TypeVar("T")


@dataclass(frozen=True)
class CacheStats:
    """Current entries and bytes; hits, loads and evictions so far."""

    entries: int
    bytes: int
    hits: int
    loads: int
    evictions: int


class LRUCache:
    """A cache that evicts the least recently used values. Thread-safe; concurrent requests for a key load it once.

    Parameters
    ----------
    budget : int
        Bytes. A single value that is larger is still kept, alone.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.renew_after_fork()
        renew_in_children(self)
        self._bytes = self._hits = self._loads = self._evictions = 0

    def renew_after_fork(self) -> None:
        """Replace the locks, which threads of the parent may have held."""
        self._lock = threading.Lock()
        self._loading: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, load: Callable[[], T], size: Callable[[T], int]) -> T:
        """Return the value of a key, loading it if necessary. An exception from `load` is propagated, and nothing is cached.

        Parameters
        ----------
        size : callable
            Bytes that a loaded value takes.
        """
        cached = self._find(key)
        if cached is not None:
            return cached[0]
        with self._lock:
            key_lock = self._loading.setdefault(key, threading.Lock())
        with key_lock:
            cached = self._find(key)
            if cached is not None:
                return cached[0]
            try:
                value = load()
                self._keep(key, value, size(value))
            finally:
                with self._lock:
                    self._loading.pop(key, None)
        return value

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Drop the values for which `unwanted` returns true."""
        with self._lock:
            for key in [key for key, (value, _) in self._kept.items() if unwanted(value)]:
                _, size = self._kept.pop(key)
                self._bytes -= size

    def values(self, kind: type[T]) -> list[T]:
        """All cached values of a type."""
        with self._lock:
            return [value for value, _ in self._kept.values() if isinstance(value, kind)]

    def stats(self) -> CacheStats:
        """Current statistics."""
        with self._lock:
            return CacheStats(len(self._kept), self._bytes, self._hits, self._loads, self._evictions)

    def _find(self, key: Hashable) -> tuple[Any, int] | None:
        with self._lock:
            cached = self._kept.get(key)
            if cached is not None:
                self._kept.move_to_end(key)
                self._hits += 1
            return cached

    def _keep(self, key: Hashable, value: object, size: int) -> None:
        with self._lock:
            self._kept[key] = (value, size)
            self._bytes += size
            self._loads += 1
            while self._bytes > self._budget and len(self._kept) > 1:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed
                self._evictions += 1
