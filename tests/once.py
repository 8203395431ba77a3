"""Expensive fixtures are created once for all processes of a run: the first process creates them, the others wait."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compiled import library_of
from vsearch.kernels.toolchain.ahead_of_time import TARGETS
from vsearch.kernels.toolchain.library import INDEX, targets_here

OBJECTS = "*.o"


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A function that gives the folder of a name, filled by the first process of this run that asks for it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def get(name: str, make: Callable[[Path], None]) -> Path:
        folder = shared / f"once-{name}"
        with (shared / f"once-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = shared / f"unfinished-{name}"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return get


@pytest.fixture(scope="session")
def compiled() -> Callable[[str], Path]:
    """A function that gives the folder of a target's kernels: the library and its index, and objects of other processors."""
    return library_of


@pytest.fixture(scope="session")
def kernels(compiled) -> Path:
    """Kernels compiled ahead of time for this processor."""
    fitting = targets_here()
    if not fitting:
        pytest.skip("no compiled kernels for this processor")
    return compiled(fitting[0])


@pytest.fixture(scope="session")
def libraries(compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels compiled ahead of time, in one folder: for this processor and for another architecture.

    VSEARCH_TEST_TARGETS=all adds those of every other kind of processor, which take minutes.
    """
    folder = tmp_path_factory.mktemp("libraries")
    every = os.environ.get("VSEARCH_TEST_TARGETS") == "all"
    for target in sorted(TARGETS) if every else dict.fromkeys(["aarch64-dotprod", *targets_here()[:1]]):
        for name in (f"{target}.so", INDEX):
            shutil.copy(compiled(target) / name, folder)
    return folder
