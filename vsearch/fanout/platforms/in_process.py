"""Run functions in this process, each with its own worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vsearch.fanout.calls.retries import Deadline
from vsearch.forking import renew_in_children

if TYPE_CHECKING:
    from vsearch.fanout.roles.worker import Worker


class LocalInvoker:
    """Runs every function in this process, each with its own warm worker.

    Parameters
    ----------
    make : callable
        Creates the worker of a function.
    """

    def __init__(self, make: Callable[[str], Worker]) -> None:
        self._make = make
        self._workers: dict[str, Worker] = {}
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent process may hold."""
        self._lock = threading.Lock()

    def worker(self, function: str) -> Worker:
        """Return the worker of a function, created on its first call."""
        with self._lock:
            worker = self._workers.get(function)
            if worker is None:
                worker = self._workers[function] = self._make(function)
            return worker

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """Call a function; see `Invoker.invoke`."""
        from vsearch.fanout.roles.worker import serve

        return serve(self.worker(function), payload, Deadline.after(timeout))

    def close(self) -> None:
        """Drop all workers."""
        with self._lock:
            self._workers.clear()
