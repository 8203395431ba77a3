"""What a forked process may not go on with: locks of threads that it lacks, and OpenMP's threads.

A fork copies memory and one thread. A lock that another thread held stays locked for ever in the child, and whoever waits for
work of threads that were not copied waits for ever, too.
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
"""PF_FORKNOEXEC among the flags of a process, as Linux tells them in /proc/self/stat."""


class Renewable(Protocol):
    """Holds locks, or what belongs to threads."""

    def renew_after_fork(self) -> None:
        """Make them anew: called in the child, where no other thread runs."""


_renewable: WeakSet[Renewable] = WeakSet()


def renew_in_children(owner: Renewable) -> None:
    """Let an object renew its locks in every process that is forked from this one."""
    _renewable.add(owner)


def is_forked() -> bool:
    """Whether this process was forked from another Python process, and not started anew."""
    return os.getpid() != _imported_in or _was_forked()


def with_threads_of_its_own(work: Callable[P, T]) -> Callable[P, T]:
    """Decorate work for OpenMP, so that it does not wait for threads that stayed in the parent.

    OpenMP keeps a team of threads for each thread that asks for one. The thread that survives a fork believes that it
    still has its team; a new thread has none, and is given one. In a process that was not forked nothing is different.
    """

    @wraps(work)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        if not is_forked():
            return work(*arguments, **options)
        import faiss

        threads = faiss.omp_get_max_threads()  # a setting of the calling thread
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
    """Whether it was forked before this module was loaded; False where the system does not tell."""
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
