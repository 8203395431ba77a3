"""The protocol of a place that holds an index, named after obstore's methods.

Paths are relative to the store's prefix, with ``/`` as separator. A missing object raises the builtin ``FileNotFoundError``;
other failures raise a ``StoreError`` with advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vsearch.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object: path, length in bytes and time of writing (UTC)."""

    path: str
    bytes: int
    modified: datetime


@runtime_checkable
class Store(Protocol):
    """A place that holds the files of an index."""

    @property
    def url(self) -> str:
        """The location, as :func:`vsearch.storage.open_store` accepts it."""

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """Bytes ``[start, stop)`` of an object, fewer if it ends before ``stop``."""

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Read several ranges concurrently, each as by :meth:`get`."""

    def read_into(
        self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]
    ) -> tuple[int, int] | None:
        """Read ranges concurrently, each to the same position in ``out``, which has the length of the object.

        Returns
        -------
        tuple of int, or None
            Requests that were sent and bytes that they returned, by a store that keeps copies; None for one request a range.

        Raises
        ------
        EOFError
            The object ends before one of the ranges.
        """

    def head(self, path: str) -> ObjectInfo:
        """Length and time of an object."""

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write an object atomically and durably.

        Raises
        ------
        ConflictError
            ``create`` is true and the object already exists.
        """

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Write an object from a local file and consume the file: move it if possible, otherwise copy and remove it."""

    def scratch(self) -> str | None:
        """Folder from which :meth:`put_file` can move files instead of copying; None for any folder."""

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """All objects below the folder ``prefix``, sorted by path; with ``after``, only paths that sort after it."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; missing ones are ignored."""

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The object as read-only mapped memory; None if the store is remote."""


_SEGMENT = re.compile(r"[^/\\\x00-\x1f\x7f:]+")


def path_problem(path: str) -> str | None:
    """Return why ``path`` is not a valid path below an index prefix, or None if it is valid."""
    if not path or len(path.encode("utf-8", "surrogatepass")) > 1024:
        return "a path must have 1 to 1024 bytes"
    for part in path.split("/"):
        if part in ("", ".", "..") or not _SEGMENT.fullmatch(part):
            return f"the path {path!r} is not a plain relative path"
    return None


def check_path(path: str) -> str:
    """Return ``path`` if it is a plain relative path, so that no store reaches outside its prefix.

    Raises
    ------
    InputError
        The path is absolute, contains ``..``, or is not a path at all.
    """
    problem = path_problem(path)
    if problem is not None:
        raise InputError(problem)
    return path


def forget_copies(store: Store, path: str, size: int) -> None:
    """Let a store that keeps copies of objects, if it is one, forget an object of a size whose bytes are damaged."""
    forget = getattr(store, "forget", None)
    if forget is not None:
        forget(path, size)
