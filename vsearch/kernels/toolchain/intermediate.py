"""Numba stopped at LLVM IR, where nobody runs what it compiles.

Numba makes native code of every function, and a wrapper that takes Python's objects, also of a function that is only merged
into its callers, or whose IR is for another processor; and it optimises a function again in each of its callers. Here a
function ends as IR, which its callers are linked with and optimised.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher


class _Library(JITCodeLibrary):
    """What was compiled, as IR that is tidy but not optimised: that is done once, in what it is linked with."""

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
        """There is no code that reads it."""


@cache
def _codegen() -> _Codegen:
    return _Codegen("vsearch.intermediate")


class _Compiler(Compiler):
    def __init__(self, typingctx: Any, targetctx: Any, _library: Any, *others: Any) -> None:
        super().__init__(typingctx, targetctx, _codegen().create_library("part"), *others)


class Part(CPUDispatcher):
    """A function of which kernels take the IR.

    Parameters
    ----------
    function : callable
    options : dict
        How Numba compiles it.
    alone : callable
        A decorator that makes a kernel of its own of it.
    """

    def __init__(self, function: Any, options: dict[str, Any], alone: Callable[[Any], Any]) -> None:
        bare = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions={**options, **bare}, pipeline_class=_Compiler)
        self._decorate = alone
        self._alone: Any = None

    def __call__(self, *given: Any) -> Any:
        """Compile it by itself and call it: only tests do."""
        if self._alone is None:
            self._alone = self._decorate(self.py_func)
        return self._alone(*given)
