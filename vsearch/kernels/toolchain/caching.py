"""The cache of kernels compiled just in time, and the messages about compilation.

Numba caches compiled code in ``NUMBA_CACHE_DIR`` if it is set, else next to the sources, or in the user's cache folder
if the sources are not writable. If none of these is usable, or the cache is lost, kernels are compiled again, which
takes time but is not an error.
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

#: Messages already issued in this process.
_issued: set[str] = set()
_lock = threading.Lock()


def make_cache(function: Any) -> Any:
    """Return Numba's file cache, keyed by all kernel sources: Numba would not notice changes in inlined parts."""
    from numba.core.caching import FunctionCache, NullCache

    digest = sources_digest() + os.environ.get("VSEARCH_DIALECT", "")

    class KernelCache(FunctionCache):
        def _index_key(self, sig: Any, codegen: Any) -> Any:
            return (*super()._index_key(sig, codegen), digest)

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                overload = super().load_overload(sig, target_context)
            except Exception:  # a truncated file can raise anything
                overload = None
                with contextlib.suppress(OSError):  # saving will report the error
                    self.flush()
            if overload is None:
                announce(self.cache_path)
            return overload

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
    except (RuntimeError, OSError):  # raised by Numba if neither folder is writable
        warn_uncached("neither the package's folder nor the user's cache folder is writable")
        return NoCache()


def announce(folder: str | None) -> None:
    """Log, once per process, that kernels are being compiled, why, and where they are cached."""
    if _first("compiling"):
        cached = f"and caches them in {folder}" if folder else "for this process only"
        logger.warning(
            "vsearch compiles its kernels now, %s; the first build and search take up to a minute longer (%s)",
            cached,
            why_compiled(),
        )


def warn_uncached(reason: str) -> None:
    """Warn, once per process, that compiled kernels are lost when it ends."""
    if _first("uncached"):
        warnings.warn(
            f"compiled kernels are not cached: {reason}; every process compiles them, which takes up to a minute; "
            "set NUMBA_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=2,
        )


def _first(message: str) -> bool:
    with _lock:
        new = message not in _issued
        _issued.add(message)
        return new
