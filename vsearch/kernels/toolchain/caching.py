"""Kernels that are compiled just in time: where they are kept, and what is said when one is compiled.

Numba keeps what it compiled beside the sources, or in the user's cache folder where those cannot be written, or where
``NUMBA_CACHE_DIR`` says. A machine may allow none of them, or lose what was kept: kernels are compiled again then, which
takes time but is no error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import warnings
from typing import Any

from vsearch.kernels.toolchain.library import sources_digest, why_compiled

logger = logging.getLogger("vsearch")

#: What was said, so that nothing is said twice.
_said: set[str] = set()
_lock = threading.Lock()


def make_cache(function: Any) -> Any:
    """Numba's file cache, keyed by the sources of all kernels: by itself it would miss a change in what is merged in."""
    from numba.core.caching import FunctionCache, NullCache

    digest = sources_digest() + os.environ.get("VSEARCH_DIALECT", "")

    class KernelCache(FunctionCache):
        def _index_key(self, sig: Any, codegen: Any) -> Any:
            return (*super()._index_key(sig, codegen), digest)

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                found = super().load_overload(sig, target_context)
            except Exception:  # whatever half a file makes of the library that reads it
                found = None
                with contextlib.suppress(OSError):  # saving says what the matter is
                    self.flush()
            if found is None:
                announce(self.cache_path)
            return found

        def save_overload(self, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)
            except Exception as error:
                warn_uncached(f"{self.cache_path} cannot be used ({error})")

    class NoCache(NullCache):
        def load_overload(self, _sig: Any, _target_context: Any) -> Any:
            announce(None)

    try:
        return KernelCache(function)
    except (RuntimeError, OSError):  # Numba's word for: neither place can be written
        warn_uncached("neither the package's folder nor the user's cache folder can be written")
        return NoCache()


def announce(folder: str | None) -> None:
    """Say, once in a process, that kernels are being compiled, why, and where they are kept."""
    if _first("compiling"):
        kept = f"and keeps them in {folder}" if folder else "and keeps them for this process only"
        logger.warning(
            "vsearch compiles its kernels now, %s; the first build and search take up to a minute longer (%s)",
            kept,
            why_compiled(),
        )


def warn_uncached(reason: str) -> None:
    """Warn, once in a process, that what is compiled is lost when it ends."""
    if _first("uncached"):
        warnings.warn(
            f"compiled kernels are not kept: {reason}; every process compiles its own, which takes up to a minute; "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )


def _first(what: str) -> bool:
    with _lock:
        new = what not in _said
        _said.add(what)
        return new
