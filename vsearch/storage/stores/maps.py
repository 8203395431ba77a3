"""Map files as read-only memory without keeping a descriptor: processes may be limited to 1,024, and indexes have many files.

If a mapped file is truncated, the next access to the missing part kills the process (SIGBUS), which cannot be prevented.
Files of an index are never overwritten or truncated: each has a unique name, and files are only ever removed as a whole.
"""

from __future__ import annotations

import mmap
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def map_file(descriptor: int) -> NDArray[np.uint8]:
    """Map a non-empty file; the descriptor may be closed afterwards.

    Parameters
    ----------
    descriptor
        Of a file open for reading.

    Raises
    ------
    OSError
        The file cannot be mapped.
    """
    untracked: Any = {"trackfd": False}
    if sys.version_info >= (3, 13):
        return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ, **untracked), np.uint8)
    return _map_by_libc(descriptor)


def _map_by_libc(descriptor: int) -> NDArray[np.uint8]:
    """Like `mmap.mmap`, without the copy of the descriptor that it keeps before Python 3.13."""
    import ctypes
    import os
    import weakref

    libc = _libc()
    length = os.fstat(descriptor).st_size
    address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    owner = (ctypes.c_uint8 * length).from_address(address)
    weakref.finalize(
        owner, libc.munmap, address, length
    ).atexit = False  # other threads may read until the process exits
    return np.frombuffer(memoryview(owner).toreadonly(), np.uint8)


@cache
def _libc() -> Any:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    size, number, pointer = ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p
    libc.mmap.argtypes, libc.mmap.restype = (pointer, size, number, number, number, ctypes.c_int64), pointer
    libc.munmap.argtypes, libc.munmap.restype = (pointer, size), number
    return libc
