"""State that must not be reused in a forked process: locks of threads that do not exist there, and OpenMP's threads.

A fork copies memory and one thread. A lock that another thread held stays locked forever in the child, and waiting for threads
that were not copied never ends, either.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakSet

P = ParamSpec("P")
T = TypeVar("T")

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

        def alone() -> None:
            faiss.omp_set_num_threads(threads)
            try:
                outcome.append(work(*arguments, **options))
            except BaseException as error:  # raised again below
                failure.append(error)

        thread = threading.Thread(target=alone, name="vsearch-openmp", daemon=True)
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
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return bool(int(fields[6]) & FORKED_WITHOUT_EXEC)
    except (OSError, ValueError, IndexError):
        return False


def _renew() -> None:
    for owner in list(_renewable):
        owner.renew_after_fork()


_imported_in = os.getpid()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
