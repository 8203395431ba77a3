"""Objects kept in the memory of this process: a store whose files are never copied, not even when they are opened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import ConflictError
from vsearch.storage.stores.base import ObjectInfo, check_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


class HeldBytes:
    """A store in the memory of this process that keeps arrays and returns them as if they were mapped files.

    Parameters
    ----------
    url : str
        Name for error messages.
    """

    def __init__(self, url: str = "held://") -> None:
        self._url = url
        self._objects: dict[str, tuple[NDArray[np.uint8], datetime]] = {}

    def __repr__(self) -> str:
        return f"HeldBytes({self._url!r})"

    @property
    def url(self) -> str:
        """Name for error messages; it cannot be opened."""
        return self._url

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """A view of bytes ``[start, stop)`` of an object."""
        return self._bytes(path)[start or 0 : stop].data

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Views of several ranges of one object."""
        return [self.get(path, start=start, stop=stop) for start, stop in zip(starts, stops, strict=True)]

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Copy ranges of one object, each to the same position in ``out``."""
        data = self._bytes(path)
        for start, stop in zip(starts, stops, strict=True):
            if stop > len(data):
                raise EOFError(path)
            out[start:stop] = data[start:stop]

    def head(self, path: str) -> ObjectInfo:
        """Length and time of an object."""
        return ObjectInfo(path, len(self._bytes(path)), self._objects[path][1])

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Keep bytes without copying them."""
        self.hold(path, np.frombuffer(data, np.uint8), create=create)

    def hold(self, path: str, data: NDArray[np.uint8], *, create: bool = True) -> None:
        """Keep an array without copying it; it must not be modified afterwards.

        Raises
        ------
        ConflictError
            ``create`` is true and the object already exists.
        """
        view = data.view()
        view.flags.writeable = False
        entry = (view, datetime.now(UTC))
        if not create:
            self._objects[check_path(path)] = entry
        elif self._objects.setdefault(check_path(path), entry) is not entry:
            raise ConflictError(f"{path}: already exists; another writer was first")

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Read a local file, then remove it."""
        from pathlib import Path  # imported late: it takes milliseconds, and few processes put files

        local = Path(local_path)
        self.put(path, local.read_bytes(), create=False)
        local.unlink()

    def scratch(self) -> str | None:
        """None: files are never moved."""
        return None

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """All objects below ``prefix``, sorted by path; with ``after``, only paths that sort after it."""
        below = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        paths = (path for path in self._objects if path.startswith(below) and (after is None or path > after))
        return [self.head(path) for path in sorted(paths)]

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; existing views stay valid."""
        for path in paths:
            self._objects.pop(check_path(path), None)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The object itself."""
        return self._bytes(path)

    def _bytes(self, path: str) -> NDArray[np.uint8]:
        try:
            return self._objects[check_path(path)][0]
        except KeyError:
            raise FileNotFoundError(f"{path}: not found in {self._url}") from None
