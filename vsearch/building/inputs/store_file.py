"""Objects of a store as files that pyarrow reads by range."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsearch.storage.stores.base import Store


class StoreFile(io.RawIOBase):
    """An object of a store as a file of bytes; every read is one request for a range.

    Parameters
    ----------
    store : Store
    path : str
    size : int
        Length of the object in bytes.
    """

    def __init__(self, store: Store, path: str, size: int) -> None:
        super().__init__()
        self._store = store
        self._path = path
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Length of the object in bytes."""
        return self._size

    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        data = bytes(self._store.get(self._path, start=self._at, stop=stop))
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


def open_file(store: Store, path: str, size: int) -> Any:
    """Open an object for pyarrow: a memory map in a folder, otherwise a file whose ranges are requested."""
    import pyarrow as pa

    mapped = store.memory_map(path)
    if mapped is not None:
        return pa.BufferReader(pa.py_buffer(mapped))
    return pa.PythonFile(StoreFile(store, path, size), mode="r")
