"""An index in a folder: memory-mapped reads, atomic and durable writes."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from vsearch.errors import ConflictError, StoreError
from vsearch.storage.stores import ObjectInfo, check_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderStore:
    """Objects are files below one folder.

    Parameters
    ----------
    folder : str or path
        Need not exist; the first write makes it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._root = os.path.abspath(os.path.expanduser(folder))

    def __repr__(self) -> str:
        return f"FolderStore({self._root!r})"

    @property
    def url(self) -> str:
        """The folder, as an absolute path."""
        return self._root

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """Bytes ``[start, stop)`` of a file."""
        with _clear(path), open(self._local(path), "rb") as file:
            begin = start or 0
            file.seek(begin)
            return memoryview(file.read() if stop is None else file.read(max(stop - begin, 0)))

    def get_ranges(
        self, path: str, starts: Sequence[int], stops: Sequence[int]
    ) -> list[memoryview]:
        """Several ranges of one file."""
        with _clear(path), open(self._local(path), "rb") as file:
            number = file.fileno()
            return [
                memoryview(os.pread(number, max(stop - start, 0), start))
                for start, stop in zip(starts, stops, strict=True)
            ]

    def read_into(
        self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]
    ) -> None:
        """Ranges of one file, each to its own place in ``out``."""
        for start, part in zip(starts, self.get_ranges(path, starts, stops), strict=True):
            out[start : start + len(part)] = part
        if self.head(path).bytes < max(stops, default=0):
            raise EOFError(path)

    def head(self, path: str) -> ObjectInfo:
        """Length and time of one file."""
        with _clear(path):
            return _info(path, os.stat(self._local(path)))

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write a file at once: a temporary one, synced, then linked or renamed into place."""
        target = self._local(path)
        with _clear(path):
            self._make_folder(os.path.dirname(target))
            temporary = _temporary(target)
            try:
                _write(temporary, data)
                if create:
                    _create(temporary, target, data)
                else:
                    os.replace(temporary, target)
            except FileExistsError:
                raise ConflictError(
                    f"{path}: is already there; another writer was first"
                ) from None
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
            _sync_folder(os.path.dirname(target))

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Move a local file into place; copied first where it lies on another file system."""
        target = self._local(path)
        with _clear(path):
            self._make_folder(os.path.dirname(target))
            source = os.fspath(local_path)
            try:
                _sync(source)
                os.replace(source, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                temporary = _temporary(target)
                try:
                    shutil.copyfile(source, temporary)
                    _sync(temporary)
                    os.replace(temporary, target)
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(temporary)
                os.unlink(source)
            _sync_folder(os.path.dirname(target))

    def scratch(self) -> str | None:
        """The folder of the segments, so that a finished file is only renamed."""
        folder = os.path.join(self._root, "segments")
        with _clear("segments"):
            self._make_folder(folder)
        return folder

    def list(self, prefix: str) -> list[ObjectInfo]:
        """All files below ``prefix``, sorted by path."""
        folder = self._local(prefix.rstrip("/")) if prefix.strip("/") else self._root
        found: list[ObjectInfo] = []
        with _clear(prefix):
            if os.path.exists(folder) and not os.path.isdir(folder):
                raise StoreError(f"{folder}: is a file, not a folder; give the folder of the index")
            for parent, _, names in os.walk(folder, onerror=_unreadable):
                for name in names:
                    whole = os.path.join(parent, name)
                    with suppress(FileNotFoundError):
                        relative = os.path.relpath(whole, self._root).replace(os.sep, "/")
                        found.append(_info(relative, os.stat(whole)))
        return sorted(found, key=lambda info: info.path)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; a missing one is no error."""
        for path in paths:
            with _clear(path), suppress(FileNotFoundError):
                os.unlink(self._local(path))

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The file as read-only mapped memory."""
        with _clear(path), open(self._local(path), "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return np.empty(0, np.uint8)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)

    def _local(self, path: str) -> str:
        return os.path.join(self._root, *check_path(path).split("/"))

    def _make_folder(self, folder: str) -> None:
        if os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        if parent != folder:
            self._make_folder(parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        _sync_folder(parent)


def _info(path: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _temporary(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name}.{uuid4().hex}.tmp")


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _create(temporary: str, target: str, data: bytes) -> None:
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without hard links the name is still claimed by one writer only; a crash in between leaves a file that its own
        # checksum exposes.
        _write(target, data)


def _sync(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: str) -> None:
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _clear(path: str) -> Iterator[Any]:
    """Turn the system's errors into ones that say what to do; a missing file stays FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, StoreError):
        raise
    except PermissionError as error:
        raise StoreError(
            f"{path}: permission denied ({error.filename or 'folder'}); check who owns the folder of the index"
        ) from error
    except OSError as error:
        hint = {
            errno.ENOSPC: "; free some space and run it again",
            errno.EROFS: "; give a folder that can be written",
            errno.ENOTDIR: "; a part of the path is a file",
            errno.EISDIR: "; it should be a file",
        }.get(error.errno or 0, "")
        raise StoreError(f"{path}: {error.strerror or error}{hint}") from error
