"""State that must not be reused in a forked process: locks of threads that do not exist there, and OpenMP's threads.

A fork copies memory and one thread. A lock that another thread held stays locked forever in the child, and waiting for threads
that were not copied never ends, either. Locks of ours are replaced in the child. Those of Python's imports cannot be, since a
module that was half imported stays so: a fork waits until other threads have ended their imports.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from functools import cached_property as cached_property  # noqa: PLC0414 (exported)
else:

    class cached_property:  # noqa: N801 (named like the one in functools)
        """`functools.cached_property` without its lock, which Python had until 3.12.

        That lock is one for all instances of a class; held by another thread at a fork, it would never be free in the child. Two
        threads may compute a value at once, and get the same one.
        """

        def __init__(self, compute: Callable[[Any], Any]) -> None:
            self._compute, self.__doc__ = compute, compute.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            return instance.__dict__.setdefault(self._name, self._compute(instance))


P = ParamSpec("P")
T = TypeVar("T")

IMPORT_SECONDS = 5.0
"""Maximum time that a fork waits for the imports of other threads."""

FORKED_WITHOUT_EXEC = 0x40
"""PF_FORKNOEXEC in the process flags of Linux, from /proc/self/stat."""


class Renewable(Protocol):
    """An object that holds locks or other state of threads."""

    def renew_after_fork(self) -> None:
        """Replace that state; called in the child, where no other thread runs."""


_renewable: WeakSet[Renewable] = WeakSet()


def renew_in_children(owner: Renewable) -> None:
    """Call ``renew_after_fork`` of an object in every process that is forked from this one."""
    _renewable.add(owner)


def is_forked() -> bool:
    """Whether this process was forked from another Python process without starting a new interpreter."""
    return os.getpid() != _imported_in or _was_forked()


def with_threads_of_its_own(work: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that uses OpenMP, so that it does not wait for threads that stayed in the parent.

    OpenMP keeps a team of threads for each calling thread. After a fork, the surviving thread still refers to a team that no
    longer exists, while a new thread is given a new team. In a process that was not forked nothing changes.
    """

    @wraps(work)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        if not is_forked():
            return work(*arguments, **options)
        import faiss

        threads = faiss.omp_get_max_threads()  # a setting per thread
        outcome: list[T] = []
        failure: list[BaseException] = []

        def single_threaded() -> None:
            faiss.omp_set_num_threads(threads)
            try:
                outcome.append(work(*arguments, **options))
            except BaseException as error:  # raised again below
                failure.append(error)

        thread = threading.Thread(target=single_threaded, name="vsearch-openmp", daemon=True)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    return run


@cache
def _was_forked() -> bool:
    """Whether the process was forked before this module was loaded; False if the system does not say."""
    if sys.platform != "linux":
        return False
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (importing pathlib takes milliseconds)
            fields = file.read().rpartition(")")[2].split()
        return bool(int(fields[6]) & FORKED_WITHOUT_EXEC)
    except (OSError, ValueError, IndexError):
        return False


def _renew() -> None:
    for owner in list(_renewable):
        owner.renew_after_fork()


def _await_imports() -> None:
    """Wait until no other thread imports anything: imports on first use would hang in the child."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", None)
    thread, end = threading.get_ident(), time.monotonic() + IMPORT_SECONDS
    while locks and time.monotonic() < end:
        owners = [getattr(reference(), "owner", None) for reference in list(locks.values())]
        if all(owner in (None, thread) for owner in owners):
            return
        time.sleep(0.001)


_imported_in = os.getpid()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_await_imports, after_in_child=_renew)
