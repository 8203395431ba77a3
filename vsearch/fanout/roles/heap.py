"""Give memory that a function has freed back to the system.

A function of a changing index replaces its open snapshot with every commit. Freed blocks lie between live ones, in a heap for
each of many threads, so without this the process grows for hours although it holds no more than at the start.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h

LARGE = 128 << 10
"""Bytes from which an allocation has separate pages, which are returned when it is freed. This is the initial value in glibc, which
raises it up to 32 MB as larger ones are freed; set explicitly, it stays."""


@cache
def _libc() -> Any:
    """Return the C library if it has the functions of glibc, otherwise None."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.mallopt.argtypes, libc.mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
        libc.malloc_trim.argtypes, libc.malloc_trim.restype = (ctypes.c_size_t,), ctypes.c_int
    except (OSError, AttributeError):  # another C library, as on Alpine Linux
        return None
    return libc


def use_one_heap() -> bool:
    """Let all threads allocate from one heap, and large arrays from separate pages; returns whether it took effect.

    It applies to the whole process, so only processes of functions and servers call it.
    """
    libc = _libc()
    if libc is None:
        return False
    options = ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE))
    return {libc.mallopt(option, value) for option, value in options} == {1}


def release_freed() -> bool:
    """Return the free pages of the heap to the system; returns whether there were any. Takes about a millisecond."""
    libc = _libc()
    return libc is not None and bool(libc.malloc_trim(0))
