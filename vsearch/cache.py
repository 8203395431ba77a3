"""An LRU cache with a budget of bytes and entries; parts that several values share are counted once."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
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
    entries : int, optional
        Largest number of values, since the recorded sizes of small values leave out most of their memory.
    """

    def __init__(self, budget: int, entries: int | None = None) -> None:
        self._budget, self._entries = budget, entries
        self._kept: OrderedDict[Hashable, tuple[Any, Mapping[str, int]]] = OrderedDict()
        self._holders: Counter[tuple[str, int]] = Counter()
        self.renew_after_fork()
        renew_in_children(self)
        self._bytes = self._hits = self._loads = self._evictions = 0

    def renew_after_fork(self) -> None:
        """Replace the locks, which threads of the parent may have held."""
        self._lock = threading.Lock()
        self._loading: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, load: Callable[[], T], sizes: Callable[[T], Mapping[str, int]]) -> T:
        """Return the value of a key, loading it if necessary. An exception from `load` is propagated, and nothing is cached.

        Parameters
        ----------
        sizes : callable
            Bytes of the pieces of a loaded value, by name. Pieces of one name and size are the same wherever they are.
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
                self._keep(key, value, sizes(value))
            finally:
                with self._lock:
                    self._loading.pop(key, None)
        return value

    def __contains__(self, key: Hashable) -> bool:
        """Whether the value of a key is cached."""
        with self._lock:
            return key in self._kept

    def drop(self, unwanted: Callable[[Any], bool]) -> None:
        """Drop the values for which `unwanted` returns true."""
        with self._lock:
            for key in [key for key, (value, _) in self._kept.items() if unwanted(value)]:
                self._release(self._kept.pop(key)[1])

    def values(self, kind: type[T]) -> list[T]:
        """All cached values of a type."""
        with self._lock:
            return [value for value, _ in self._kept.values() if isinstance(value, kind)]

    def stats(self) -> CacheStats:
        """Current statistics."""
        with self._lock:
            return CacheStats(len(self._kept), self._bytes, self._hits, self._loads, self._evictions)

    def _find(self, key: Hashable) -> tuple[Any, Mapping[str, int]] | None:
        with self._lock:
            cached = self._kept.get(key)
            if cached is not None:
                self._kept.move_to_end(key)
                self._hits += 1
            return cached

    def _keep(self, key: Hashable, value: object, sizes: Mapping[str, int]) -> None:
        with self._lock:
            self._kept[key] = (value, sizes)
            for piece in sizes.items():
                self._bytes += 0 if self._holders[piece] else piece[1]
                self._holders[piece] += 1
            self._loads += 1
            while self._is_over() and len(self._kept) > 1:
                self._release(self._kept.popitem(last=False)[1][1])
                self._evictions += 1

    def _is_over(self) -> bool:
        return self._bytes > self._budget or (self._entries is not None and len(self._kept) > self._entries)

    def _release(self, sizes: Mapping[str, int]) -> None:
        for piece in sizes.items():
            self._holders[piece] -= 1
            if not self._holders[piece]:
                del self._holders[piece]
                self._bytes -= piece[1]
