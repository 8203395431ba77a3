"""Kernels compiled ahead of time for this processor: once for each version of their sources, and used by all tests.

A process that compiles the query kernels just in time takes a minute for it, and imports Numba. So tests use a library,
as an installed package does, and compile only the pieces that tests of kernels call. ``VSEARCH_JIT=1`` compiles all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: Kept between runs; `make clean` removes it.
FOLDER = Path(__file__).parents[1] / "build" / "test-kernels"


def library_of(target: str) -> Path:
    """The folder of a target's library and its index, compiled by the first process that asks.

    If the target is another one than this processor's, the objects it is linked from are there, too.
    """
    # they import NumPy, which reads its number of threads
    from vsearch.kernels.toolchain import ahead_of_time
    from vsearch.kernels.toolchain.library import functions_in, targets_here

    folder = FOLDER / target
    folder.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{target}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not functions_in(folder) or not (folder / f"{target}.so").exists():
            if target in targets_here()[:1]:
                ahead_of_time.build(folder, [target], lambda _: None)
            else:
                _build_in_one_part(folder, target)
    return folder


def _build_in_one_part(folder: Path, target: str) -> None:
    """Build a library, and keep its object; several parts would compile what they share, on cores that are in use."""
    from vsearch.kernels.toolchain import ahead_of_time

    def compile_and_keep(path: Path, *given: Any) -> None:
        compile_object(path, *given)
        shutil.copy(path, folder)

    compile_object, most = ahead_of_time.compile_object, ahead_of_time.MOST_PARTS
    ahead_of_time.compile_object, ahead_of_time.MOST_PARTS = compile_and_keep, 1
    try:
        ahead_of_time.build(folder, [target], lambda _: None)
    finally:
        ahead_of_time.compile_object, ahead_of_time.MOST_PARTS = compile_object, most


def library_here() -> Path | None:
    """The folder of the library of this processor; None if this machine cannot have one."""
    from vsearch.kernels.toolchain.library import targets_here

    if not targets_here() or find_spec("ziglang") is None:
        return None
    return library_of(targets_here()[0])


def use_library() -> None:
    """Let this process and those it starts use the library, unless the environment says how to compile."""
    if os.environ.get("VSEARCH_JIT") or os.environ.get("VSEARCH_DIALECT"):
        return
    folder = library_here()
    if folder is None:
        os.environ["VSEARCH_JIT"] = "1"
        return
    os.environ["VSEARCH_KERNELS"] = str(folder)
    os.environ["VSEARCH_JIT"] = "parts"
    import vsearch.kernels.toolchain.compiling  # noqa: F401  reads the variable

    del os.environ["VSEARCH_JIT"]  # the processes that tests start do not need Numba
