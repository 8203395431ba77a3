"""Files to be stored: written to a temporary file, checksummed and handed over to the store."""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np

from vsearch.errors import StoreError, VsearchError
from vsearch.storage.files.checksums import file_checksums
from vsearch.storage.files.entries import chunk_for
from vsearch.storage.stores.advice import ROOM, explain_system
from vsearch.storage.stores.base import check_path
from vsearch.storage.stores.scratch import hold, release, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from numpy.typing import NDArray

    from vsearch.storage.stores.base import Store

T = TypeVar("T")


class LocalFile:
    """A temporary file that becomes an object of the store or is removed.

    Parameters
    ----------
    store
    path
        Path in the store; must not have been used before.
    """

    def __init__(self, store: Store, path: str) -> None:
        import tempfile

        self._store = store
        self._path = check_path(path)
        folder = Path(store.scratch() or tempfile.gettempdir())
        self._name = temporary_name(folder)
        with self._clear():
            self._file = self._name.open("xb")
            self._lock = hold(self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._name.unlink(missing_ok=True)
        release(self._lock)

    def write(self, fill: Callable[[BinaryIO], T]) -> T:
        """Let ``fill`` write the file, once; return its result.

        Raises
        ------
        StoreError
            The write fails, for example because the disk is full.
        """
        with self._clear():
            filled = fill(self._file)
            self._file.close()
        return filled

    def sums(self) -> tuple[int, int, NDArray[np.uint32]]:
        """Length of the file, its CRC32C and the CRC32C of its chunks, of the size that `chunk_for` chooses."""
        with self._clear(), self._name.open("rb") as file:
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            return (len(data), *file_checksums(data, chunk_for(len(data))))

    def put(self) -> None:
        """Move the file into the store."""
        self._store.put_file(self._path, self._name)

    @contextmanager
    def _clear(self) -> Iterator[None]:
        try:
            yield
        except VsearchError:
            raise
        except OSError as error:
            folder = self._name.parent
            message = (
                explain_system(error)
                if error.errno not in ROOM
                else f"{error.strerror}; free some space, or raise the limit"
            )
            raise StoreError(f"{self._path}: {message} ({folder})") from error
