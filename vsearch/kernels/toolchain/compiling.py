"""How kernels are compiled: just in time by Numba, or long before, into a library that needs no Numba.

A kernel only reads and writes the arrays it is given: nothing is allocated, so no reference is counted (``_nrt``), and
division follows IEEE instead of raising. That lets the same function be linked without Numba's runtime.

Where the package carries a library for this processor that was built from these very sources, the decorators return
its functions and neither Numba nor LLVM is imported. Otherwise they compile. ``VSEARCH_JIT=1`` asks for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from vsearch.errors import MissingDependencyError
from vsearch.kernels.toolchain.library import Library, find_library, why_compiled

Decorator = Callable[[Any], Any]

#: The library in use, None where kernels are compiled just in time.
LIBRARY: Library | None = None
if not os.environ.get("VSEARCH_JIT") and not os.environ.get("VSEARCH_DIALECT"):
    LIBRARY = find_library()
#: Whether kernels end as LLVM IR, of which the ahead-of-time build makes libraries.
STOPS_AT_IR = os.environ.get("VSEARCH_JIT") == "ir"
if LIBRARY is None and find_spec("numba") is None:
    raise MissingDependencyError(
        f"no kernels can run here: {why_compiled()}, and numba, which would compile them, is not installed"
    )

_PLAIN = {"nogil": True, "error_model": "numpy", "_nrt": False}
_SUMMING = {"fastmath": {"reassoc", "contract", "nsz"}}


def _kernel(**options: Any) -> Decorator:
    """A decorator for what Python calls."""
    if STOPS_AT_IR:
        return _part(**options)

    def decorate(function: Any) -> Any:
        if LIBRARY is not None:
            return LIBRARY.function(f"{function.__module__.removeprefix('vsearch.kernels.')}.{function.__name__}")
        import numba

        from vsearch.kernels.toolchain.caching import make_cache

        njit: Any = numba.njit
        dispatcher = njit(**_PLAIN, **options)(function)
        dispatcher._cache = make_cache(function)  # noqa: SLF001  Numba has no public way to key its cache
        return dispatcher

    return decorate


def _part(**options: Any) -> Decorator:
    """A decorator for what only kernels call; in a library it is in its callers already."""

    def decorate(function: Any) -> Any:
        if LIBRARY is not None:
            return function
        from vsearch.kernels.toolchain.intermediate import Part

        return Part(function, {**_PLAIN, **options}, _kernel(**options))

    return decorate


#: A kernel that is called from Python.
kernel = _kernel()

#: A kernel whose float sums may be taken in any order.
summing = _kernel(**_SUMMING)

#: A part of kernels.
part = _part()

#: The same, where float sums may be taken in any order.
summing_part = _part(**_SUMMING)

#: A part that is always merged into its caller: a call would push every array's seven fields.
inlined = _part(forceinline=True)

#: The same, where float sums may be taken in any order.
inlined_summing = _part(forceinline=True, **_SUMMING)
