"""What an index needs of a place to be kept: one small protocol, with obstore's verbs.

Paths are relative to the store's prefix, with ``/`` between their parts. A missing object is the builtin
``FileNotFoundError``; whatever else goes wrong is a ``StoreError`` that says what to do.
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
    """One stored object: its path, its length and when it was written (UTC)."""

    path: str
    bytes: int
    modified: datetime


@runtime_checkable
class Store(Protocol):
    """What an index needs of a place to be kept."""

    @property
    def url(self) -> str:
        """Where this is, as :func:`vsearch.storage.open_store` takes it."""

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """Bytes ``[start, stop)`` of an object, fewer where it ends before ``stop``."""

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Several ranges at once, each as :meth:`get` gives it."""

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Read ranges side by side, each to its own place in ``out`` (the whole object's length).

        Raises
        ------
        EOFError
            The object ends before one of the ranges does.
        """

    def head(self, path: str) -> ObjectInfo:
        """What is known of one object."""

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write an object at once and durably.

        Raises
        ------
        ConflictError
            ``create`` and there is one already.
        """

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Write an object from a local file, which is used up: moved where that is possible, else removed."""

    def scratch(self) -> str | None:
        """Folder from which :meth:`put_file` moves instead of copying; None for any."""

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """All objects below the folder ``prefix``, sorted by path; with ``after`` those whose paths sort behind it."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The object as read-only mapped memory; None where the store is remote."""


_SEGMENT = re.compile(r"[^/\\\x00-\x1f\x7f:]+")


def path_problem(path: str) -> str | None:
    """Say why ``path`` may not be used below an index prefix, or None where it may."""
    if not path or len(path.encode("utf-8", "surrogatepass")) > 1024:
        return "a path needs 1 to 1024 bytes"
    for part in path.split("/"):
        if part in ("", ".", "..") or not _SEGMENT.fullmatch(part):
            return f"the path {path!r} is not a plain relative path"
    return None


def check_path(path: str) -> str:
    """Return ``path`` if it is plain and relative, so that no store ever reaches outside its prefix.

    Raises
    ------
    InputError
        It is absolute, has ``..`` in it, or is not a path at all.
    """
    problem = path_problem(path)
    if problem is not None:
        raise InputError(problem)
    return path
