"""Kernels compiled ahead of time for this processor: once for each version of their sources, and used by all tests.

A process that compiles the query kernels just in time takes a minute for it, and imports Numba. So tests use a library,
as an installed package does, and compile only the pieces that tests of kernels call. ``VSEARCH_JIT=1`` compiles all.
"""

from __future__ import annotations

import fcntl
import os
from importlib.util import find_spec
from pathlib import Path

#: Kept between runs; `make clean` removes it.
FOLDER = Path(__file__).parents[1] / "build" / "test-kernels"


def library_folder() -> Path | None:
    """The folder of the library, compiled by the first process that asks; None if this machine cannot have one."""
    # they import NumPy, which reads its number of threads
    from vsearch.kernels.toolchain.ahead_of_time import build
    from vsearch.kernels.toolchain.library import functions_in, targets_here

    if not targets_here() or find_spec("ziglang") is None:
        return None
    target = targets_here()[0]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not functions_in(FOLDER) or not (FOLDER / f"{target}.so").exists():
            build(FOLDER, [target], lambda _: None)
    return FOLDER


def use_library() -> None:
    """Let this process and those it starts use the library, unless the environment says how to compile."""
    if os.environ.get("VSEARCH_JIT") or os.environ.get("VSEARCH_DIALECT"):
        return
    folder = library_folder()
    if folder is None:
        os.environ["VSEARCH_JIT"] = "1"
        return
    os.environ["VSEARCH_KERNELS"] = str(folder)
    os.environ["VSEARCH_JIT"] = "parts"
    import vsearch.kernels.toolchain.compiling  # noqa: F401  reads the variable

    del os.environ["VSEARCH_JIT"]  # the processes that tests start do not need Numba
