"""Calling functions: one small protocol, whatever the platform. This module holds the two that need none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vsearch.fanout.outcomes import CallError, Deadline, Kind
from vsearch.forking import renew_in_children

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from vsearch.fanout.worker import Worker


LIVE = "live"
"""Alias by which deployed functions are called: it names the version that answers."""


class Invoker(Protocol):
    """Calls a function by name and waits for its reply."""

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """Send a message and return the reply's.

        Parameters
        ----------
        timeout : float or None
            Seconds that the caller waits.

        Raises
        ------
        CallError
            There is no reply; its kind says why.
        """


@dataclass(frozen=True)
class Names:
    """What the functions of a stack are called. Each shard has a function of its own, so that a warm one holds it."""

    stack: str

    @property
    def coordinator(self) -> str:
        """The coordinator's function."""
        return f"{self.stack}-coordinator"

    @property
    def allocator(self) -> str:
        """The allocators' function."""
        return f"{self.stack}-allocator"

    def processor(self, shard: int) -> str:
        """The function of a shard."""
        return f"{self.stack}-processor-{shard}"

    def role(self, function: str) -> str:
        """Which role a function plays.

        Raises
        ------
        CallError
            It is not one of this stack.
        """
        rest = function.removeprefix(f"{self.stack}-")
        if rest in ("coordinator", "allocator"):
            return rest
        if rest.startswith("processor-") and rest != function:
            return "processor"
        raise CallError(Kind.ABSENT, f"there is no function {function!r}")


class LocalInvoker:
    """Runs every function in this process, each with a worker of its own that stays warm.

    Parameters
    ----------
    make : callable
        Makes the worker of a function.
    """

    def __init__(self, make: Callable[[str], Worker]) -> None:
        self._make = make
        self._workers: dict[str, Worker] = {}
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._lock = threading.Lock()

    def worker(self, function: str) -> Worker:
        """The worker of a function, made at its first call."""
        with self._lock:
            found = self._workers.get(function)
            if found is None:
                found = self._workers[function] = self._make(function)
            return found

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """See `Invoker.invoke`."""
        from vsearch.fanout.worker import serve

        return serve(self.worker(function), payload, Deadline.after(timeout))

    def close(self) -> None:
        """Forget all workers."""
        with self._lock:
            self._workers.clear()


class PoolInvoker:
    """Runs processors in processes of this machine, one for each shard, and the other roles in this process.

    Parameters
    ----------
    url : str
        Of the index, as workers open it.
    options : dict
        Of its store.
    local : Invoker
        For coordinator and allocators.
    names : Names
    """

    def __init__(self, url: str, options: dict[str, str], local: Invoker, names: Names) -> None:
        self._url, self._options = url, options
        self._local, self._names = local, names
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds, and processes of its own when they are needed."""
        self._pools: dict[str, ProcessPoolExecutor] = {}
        self._lock = threading.Lock()

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """See `Invoker.invoke`."""
        if self._names.role(function) != "processor":
            return self._local.invoke(function, payload, timeout)
        from concurrent.futures import BrokenExecutor
        from concurrent.futures import TimeoutError as PoolTimeoutError

        try:
            return self._pool(function).submit(_run, self._url, self._options, function, payload).result(timeout)
        except PoolTimeoutError:
            raise CallError(Kind.TIMEOUT, f"{function} did not answer within {timeout:.3f} s") from None
        except BrokenExecutor:
            with self._lock:
                self._pools.pop(function, None)
            raise CallError(Kind.CRASH, f"the process of {function} ended") from None

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.shutdown(cancel_futures=True)

    def _pool(self, function: str) -> ProcessPoolExecutor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        with self._lock:
            found = self._pools.get(function)
            if found is None:
                found = self._pools[function] = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            return found


_worker: Worker | None = None  # of this process, which serves one shard


def _run(url: str, options: dict[str, str], function: str, payload: bytes) -> bytes:
    from vsearch.fanout.worker import Worker, serve
    from vsearch.storage import open_store

    global _worker  # noqa: PLW0603 (what a warm process keeps)
    if _worker is None:
        _worker = Worker.open("processor", open_store(url, **options), function)
    return serve(_worker, payload, Deadline())
