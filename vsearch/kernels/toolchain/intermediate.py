"""Numba compilation that stops at LLVM IR, for functions that are never called from Python.

Numba generates native code and a wrapper for Python objects even for functions that are only inlined into callers or
whose IR is for another processor, and it optimizes a function again in each of its callers. Here a function is compiled
to IR only; callers are linked with it and then optimized.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher


class _Library(JITCodeLibrary):
    """Compiled code as simplified but not optimized IR; it is optimized once, in the module that it is linked into."""

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager(  # noqa: SLF001  as Numba's own library does it
            loop_vectorize=False, slp_vectorize=False, opt=0, cost="cheap"
        )
        passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        self._ensure_finalized()
        return 0


class _Codegen(JITCPUCodegen):
    _library_class = _Library

    def set_env(self, _name: str, _environment: Any) -> None:
        """Do nothing: no code reads the environment."""


@cache
def _codegen() -> _Codegen:
    return _Codegen("vsearch.intermediate")


class _Compiler(Compiler):
    def __init__(self, typingctx: Any, targetctx: Any, _library: Any, *others: Any) -> None:
        super().__init__(typingctx, targetctx, _codegen().create_library("part"), *others)


class Part(CPUDispatcher):
    """A function whose IR is linked into kernels.

    Parameters
    ----------
    function : callable
    options : dict
        Numba's compilation options.
    decorate : callable
        A decorator that compiles the function as a separate kernel.
    """

    def __init__(self, function: Any, options: dict[str, Any], decorate: Callable[[Any], Any]) -> None:
        no_wrappers = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions={**options, **no_wrappers}, pipeline_class=_Compiler)
        self._decorate = decorate
        self._standalone: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Compile the function as a separate kernel and call it, for tests."""
        if self._standalone is None:
            self._standalone = self._decorate(self.py_func)
        return self._standalone(*arguments)
