"""Expensive fixtures are created once for all processes of a run: the first process creates them, the others wait."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compiled import library_folder
from vsearch.kernels.toolchain.ahead_of_time import TARGETS, build, compile_object
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
def compiled(once) -> Callable[[str], Path]:
    """A function that gives the folder of a target's kernels: the library and its index.

    If the target is another one than this processor's, the objects it is linked from are there, too.
    """

    def make(folder: Path, target: str) -> None:
        def compile_and_keep(path: Path, *given) -> None:
            compile_object(path, *given)
            shutil.copy(path, folder)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vsearch.kernels.toolchain.ahead_of_time.compile_object", compile_and_keep)
            # one process for each target: several would compile the shared pieces several times, on cores that are in use
            patch.setattr("vsearch.kernels.toolchain.ahead_of_time.MOST_PARTS", 1)
            build(folder, [target], lambda _: None)

    def get(target: str) -> Path:
        here = library_folder() if target in targets_here()[:1] else None
        return here or once(f"kernels-{target}", lambda folder: make(folder, target))

    return get


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
