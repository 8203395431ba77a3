"""The threads on which searches of many queries run: one pool per process, so that threads keep their workspaces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from vsearch.cores import available_cores
from vsearch.forking import renew_in_children

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

S = TypeVar("S")
T = TypeVar("T")


class ThreadPool:
    """As many threads as the process has cores, started when they are first needed."""

    def __init__(self) -> None:
        self._running = threading.local()
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Forget the threads, which stayed in the parent, and the lock, which one of them may hold."""
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._lock = threading.Lock()

    def map(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """Return what `work` returns for each item, or raise its first error.

        Work must not wait for a store, since searches of other indexes need the threads, nor for other work of the pool: a
        call of `map` within it runs on the thread of the caller.
        """
        if len(items) < 2 or getattr(self._running, "work", False):
            return [work(item) for item in items]

        def run(item: S) -> T:
            self._running.work = True
            try:
                return work(item)
            finally:
                self._running.work = False

        return list(self._of_size(available_cores()).map(run, items))

    def _of_size(self, size: int) -> ThreadPoolExecutor:
        """Return the pool; another one if the number of cores has changed."""
        with self._lock:
            if self._pool is None or self._size != size:
                from concurrent.futures import ThreadPoolExecutor  # imported late: a single query does not need it

                self._pool, self._size = ThreadPoolExecutor(size, thread_name_prefix="vsearch-search"), size
            return self._pool


threads = ThreadPool()
