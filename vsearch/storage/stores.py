"""Object stores behind one small protocol: folders, S3 and memory.

Verbs are obstore's. Paths are relative to the store's prefix, with ``/`` between their parts. A missing object is the
builtin ``FileNotFoundError``; whatever else goes wrong is a ``StoreError`` that says what to do.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vsearch.errors import InputError
from vsearch.storage.entries import path_problem
from vsearch.storage.urls import redacted, split_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from typing import Any

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
        """Where this is, as :func:`open_store` takes it."""

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

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All objects below the folder ``prefix``, sorted by path."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error."""

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The object as read-only mapped memory; None where the store is remote."""


_ONE_SLASH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/(?!/)|(s3|file|memory|lambda|local-faas):(?!//)", re.IGNORECASE)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def open_store(url: str | os.PathLike[str], **options: Any) -> Store:
    """Open the place where an index is, or shall be, kept. Nothing is read or made yet.

    Parameters
    ----------
    url
        A folder, ``file://...``, ``s3://bucket/prefix`` or, for tests, ``memory://name/prefix``.
    **options
        For S3 only: ``endpoint``, ``region``, ``profile``, ``anonymous`` (do not sign), ``allow_http`` (for an endpoint
        that is not on this machine), ``access_key_id``, ``secret_access_key``, ``session_token``. What is not given comes
        from the usual AWS environment variables and files.

    Raises
    ------
    InputError
        The URL or an option is not usable.
    """
    text: Any = os.fspath(url) if isinstance(url, os.PathLike) else url
    if not isinstance(text, str):
        raise InputError(f"give the folder or s3:// URL of the index as text or a path, got {type(url).__name__}")
    if not text.strip() or "\0" in text:
        raise InputError("give the folder or s3:// URL of the index; it is empty")
    if text != text.strip() and _SCHEME.match(text.strip()):
        raise InputError(f"{redacted(text)!r} begins or ends with white space, which no URL does; leave it out")
    match = _SCHEME.match(text)
    scheme = match.group(1).lower() if match else ""
    if scheme == "s3":
        from vsearch.storage.s3 import open_s3

        return open_s3(text, **options)
    given = sorted(name for name, value in options.items() if value not in (None, False))
    if given:
        raise InputError(f"{', '.join(given)}: these options are for s3:// URLs only, not for {redacted(text)!r}")
    if scheme == "memory":
        from vsearch.storage.objects import open_memory

        return open_memory(text)
    from vsearch.storage.folders import FolderStore

    if scheme == "file":
        from urllib.parse import unquote

        parts = split_url(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InputError(f"{redacted(text)!r} names no folder; write file:///path/to/folder")
        return FolderStore(unquote(parts.path))
    if scheme:
        raise InputError(
            f"{redacted(text)!r}: {scheme}:// is not supported; give a folder, file://, s3:// or memory://"
        )
    if _ONE_SLASH.match(text) and not os.path.lexists(text):
        raise InputError(
            f"{redacted(text)!r} is no URL: two slashes follow the colon; a folder of such a name is ./name"
        )
    return FolderStore(text)


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
