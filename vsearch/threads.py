"""The threads on which searches of many queries run: one pool per process, so that threads keep their workspaces."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from vsearch.cores import available_cores
from vsearch.forking import renew_in_children

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

S = TypeVar("S")
T = TypeVar("T")


class ThreadPool:
    """Threads for the cores that the calling thread leaves free, started when they are first needed."""

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
        """Return what `work` returns for each item, or raise the error of the first item that has one.

        The calling thread works as well, and threads of the pool join it: waking one costs as much as a few searches, so each is
        woken once, and none is waited for that has not begun when all items are taken. Work must not wait for a store, since
        searches of other indexes need the threads, nor for other work of the pool: a call of `map` within it runs on the
        thread of the caller.
        """
        cores = available_cores()
        helpers = min(len(items), cores) - 1
        if helpers < 1 or getattr(self._running, "work", False):
            return [work(item) for item in items]
        waiting = deque(range(len(items)))
        results: dict[int, T] = {}
        errors: dict[int, BaseException] = {}

        def run() -> None:
            self._running.work = True
            try:
                while not errors:
                    try:
                        place = waiting.popleft()
                    except IndexError:
                        return
                    try:
                        results[place] = work(items[place])
                    except BaseException as error:
                        errors[place] = error
            finally:
                self._running.work = False

        pool = self._of_size(cores - 1)
        joined = [pool.submit(run) for _ in range(helpers)]
        try:
            run()
        finally:
            waiting.clear()  # if it was interrupted
            for future in joined:
                if not future.cancel():
                    future.result()
        if errors:
            raise errors[min(errors)]
        return [results[place] for place in range(len(items))]

    def _of_size(self, size: int) -> ThreadPoolExecutor:
        """Return the pool; another one if the number of cores has changed."""
        with self._lock:
            if self._pool is None or self._size != size:
                from concurrent.futures import ThreadPoolExecutor  # imported late: a single query does not need it

                self._pool, self._size = ThreadPoolExecutor(size, thread_name_prefix="vsearch-search"), size
            return self._pool


threads = ThreadPool()
