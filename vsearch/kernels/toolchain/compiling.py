"""Decorators for kernels, compiled just in time by Numba, or ahead of time into a library that does not need it.

A kernel only reads and writes the arrays that it is passed: it allocates nothing, so there is no reference counting
(``_nrt``), and division follows IEEE 754 instead of raising. So the same functions link without Numba's runtime.

If the package contains a library for this processor that was built from exactly these sources, the decorators return
its functions, and neither Numba nor LLVM is imported. Otherwise, or if ``VSEARCH_JIT=1`` is set, they compile.
``VSEARCH_JIT=parts`` uses the library and compiles only what it does not export, for tests that call parts of kernels.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from vsearch.errors import MissingDependencyError
from vsearch.kernels.toolchain.library import Library, find_library, why_compiled

Decorator = Callable[[Any], Any]

#: Whether only what the library does not export is compiled just in time.
COMPILES_PARTS = os.environ.get("VSEARCH_JIT") == "parts"
#: The library in use, None if kernels are compiled just in time.
LIBRARY: Library | None = None
if (COMPILES_PARTS or not os.environ.get("VSEARCH_JIT")) and not os.environ.get("VSEARCH_DIALECT"):
    LIBRARY = find_library()
#: Whether kernels are compiled to LLVM IR only, from which the ahead-of-time build makes libraries.
STOPS_AT_IR = os.environ.get("VSEARCH_JIT") == "ir"
if LIBRARY is None and find_spec("numba") is None:
    raise MissingDependencyError(
        f"kernels cannot run: {why_compiled()}, and numba, which would compile them, is not installed"
    )

_PLAIN = {"nogil": True, "error_model": "numpy", "_nrt": False}
_SUMMING = {"fastmath": {"reassoc", "contract", "nsz"}}


def _kernel(**options: Any) -> Decorator:
    """Return a decorator for functions that Python calls."""
    if STOPS_AT_IR:
        return _part(**options)

    def decorate(function: Any) -> Any:
        name = f"{function.__module__.removeprefix('vsearch.kernels.')}.{function.__name__}"
        if LIBRARY is not None and (name in LIBRARY or not COMPILES_PARTS):
            return LIBRARY.function(name)
        import numba

        from vsearch.kernels.toolchain.caching import make_cache

        njit: Any = numba.njit
        dispatcher = njit(**_PLAIN, **options)(function)
        dispatcher._cache = make_cache(function)  # noqa: SLF001  Numba has no public API to key its cache
        return dispatcher

    return decorate


def _part(**options: Any) -> Decorator:
    """Return a decorator for functions that only kernels call; a library contains them as part of their callers."""

    def decorate(function: Any) -> Any:
        if LIBRARY is not None and not COMPILES_PARTS:
            return function
        from vsearch.kernels.toolchain.intermediate import Part

        return Part(function, {**_PLAIN, **options}, _kernel(**options))

    return decorate


#: Decorator of a kernel that is called from Python.
kernel = _kernel()

#: As `kernel`, with float sums in any order.
summing = _kernel(**_SUMMING)

#: Decorator of a part of kernels.
part = _part()

#: As `part`, with float sums in any order.
summing_part = _part(**_SUMMING)

#: Decorator of a part that is always inlined: a call would push the seven fields of every array.
inlined = _part(forceinline=True)

#: As `inlined`, with float sums in any order.
inlined_summing = _part(forceinline=True, **_SUMMING)
