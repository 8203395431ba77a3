"""An index in a folder: memory-mapped reads, atomic and durable writes."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.storage.stores.advice import OF_SYSTEM, explain_system
from vsearch.storage.stores.base import ObjectInfo, check_path
from vsearch.storage.stores.maps import map_file
from vsearch.storage.stores.numbered import (
    MANIFESTS,
    later_paths,
    least_path,
    local_path,
    note_all,
    note_gaps,
    number_of,
    object_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def open_folder(url: str) -> FolderStore:
    """Open a folder given by its path."""
    return FolderStore(url)


def open_file_url(url: str) -> FolderStore:
    """Open ``file:///path/to/folder``."""
    from urllib.parse import unquote

    from vsearch.storage.stores.urls import redacted, split_url

    parts = split_url(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise InputError(f"{redacted(url)!r} is not the URL of a folder; use file:///path/to/folder")
    return FolderStore(unquote(parts.path))


class FolderStore:
    """A store whose objects are files below one folder.

    Parameters
    ----------
    folder : str or path
        Need not exist; the first write creates it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._root = Path(folder).expanduser().absolute()
        self._swept = self._noted = False

    def __repr__(self) -> str:
        return f"FolderStore({str(self._root)!r})"

    @property
    def url(self) -> str:
        """The folder, as an absolute path."""
        return str(self._root)

    def get(self, path: str, *, start: int | None = None, stop: int | None = None) -> memoryview:
        """Bytes ``[start, stop)`` of a file."""
        begin = start or 0
        with _clear(path), self._local(path).open("rb") as file:
            file.seek(begin)
            return memoryview(file.read() if stop is None else file.read(max(stop - begin, 0)))

    def get_ranges(self, path: str, starts: Sequence[int], stops: Sequence[int]) -> list[memoryview]:
        """Several ranges of one file."""
        return [self.get(path, start=start, stop=stop) for start, stop in zip(starts, stops, strict=True)]

    def read_into(self, path: str, starts: Sequence[int], stops: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Read ranges of one file, each to the same position in ``out``."""
        for start, stop in zip(starts, stops, strict=True):
            part = self.get(path, start=start, stop=stop)
            if len(part) != stop - start:
                raise EOFError(path)
            out[start:stop] = part

    def head(self, path: str) -> ObjectInfo:
        """Length and modification time of a file."""
        with _clear(path):
            return _info(path, self._local(path).stat())

    def put(self, path: str, data: bytes, *, create: bool = True) -> None:
        """Write a file atomically: a temporary file is synced, then linked or renamed into place."""
        target = self._local(path)
        temporary = _temporary_path(target)
        with _clear(path):
            _make_folder(target.parent)
            try:
                _write(temporary, data)
                if create:
                    _create(temporary, target, data)
                else:
                    temporary.replace(target)
            except FileExistsError:
                raise ConflictError(f"{path}: already exists; another writer was first") from None
            finally:
                temporary.unlink(missing_ok=True)
            _sync(target.parent)
            if not self._noted and number_of(path) is not None:
                note_all(self._root, _touch)
                self._noted = True

    def put_file(self, path: str, local_path: str | os.PathLike[str]) -> None:
        """Move a local file into place; it is copied first if it is on another file system."""
        target, source = self._local(path), Path(local_path)
        with _clear(path):
            _make_folder(target.parent)
            _sync(source)
            try:
                source.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                _copy(source, target)
                source.unlink()
            _sync(target.parent)

    def scratch(self) -> str | None:
        """The folder of segments, so that a finished file only needs to be renamed."""
        with _clear("segments"):
            _make_folder(self._root / "segments")
        if not self._swept:
            from vsearch.storage.stores.scratch import remove_abandoned  # not needed for reading

            self._swept = True
            with os.scandir(self._root) as entries:
                folders = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
            for folder in [self._root, *folders]:
                remove_abandoned(folder)
        return str(self._root / "segments")

    def list(self, prefix: str, *, after: str | None = None) -> list[ObjectInfo]:
        """All files below ``prefix``, sorted by path; with ``after``, only paths that sort after it.

        Listing manifests after a number takes time proportional to their count (`numbered`).
        """
        below, after = prefix.strip("/"), after or ""
        folder = self._local(below) if below else self._root
        with _clear(prefix):
            number = number_of(after) if below == MANIFESTS else None
            later = None if number is None else later_paths(self._root, number)
            if later is None:
                infos = _list_files(str(folder), f"{below}/" if below else "", least_path(after))
            else:
                infos = _info_of(self._root, later)
            return sorted(_as_objects(infos, after), key=lambda info: info.path)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; missing ones are ignored."""
        paths = list(paths)
        with _clear(MANIFESTS):
            note_gaps(self._root, (number for path in paths if (number := number_of(path)) is not None), _touch)
        for path in paths:
            with _clear(path):
                self._local(path).unlink(missing_ok=True)

    def memory_map(self, path: str) -> NDArray[np.uint8] | None:
        """The file as read-only mapped memory."""
        with _clear(path), self._local(path).open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return np.empty(0, np.uint8)
            return map_file(file.fileno())

    def check_writable(self) -> None:
        """Raise StoreError if files cannot be written. Creates nothing: the folder need not exist yet."""
        folder = self._root
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        if not folder.is_dir():
            raise StoreError(f"{folder}: is not a folder; {OF_SYSTEM[errno.ENOTDIR]}")
        for place in (folder, *(self._root / name for name in ("manifest", "model", "segments"))):
            if place.exists() and not os.access(place, os.W_OK | os.X_OK):
                raise StoreError(f"{place}: is not writable; {OF_SYSTEM[errno.EACCES]}")

    def _local(self, path: str) -> Path:
        return self._root.joinpath(*local_path(check_path(path)).split("/"))


def _info(path: str, status: os.stat_result) -> ObjectInfo:
    from datetime import UTC, datetime

    return ObjectInfo(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _info_of(root: Path, paths: Sequence[str]) -> Iterator[ObjectInfo]:
    """Yield information about files; files removed in the meantime are left out."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield _info(path, (root / path).stat())


def _as_objects(infos: Iterable[ObjectInfo], after: str) -> Iterator[ObjectInfo]:
    """Yield the objects in files, by their paths, that sort after a path."""
    for info in infos:
        path = object_path(info.path)
        if path is not None and path > after:
            yield info if path == info.path else ObjectInfo(path, info.bytes, info.modified)


def _touch(path: Path) -> None:
    """Create an empty file durably, unless it exists."""
    _make_folder(path.parent)
    path.touch()
    _sync(path.parent)


def _temporary_path(target: Path) -> Path:
    from vsearch.storage.stores.scratch import temporary_name

    return temporary_name(target.parent)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:  # the parent exists, but does not allow new folders, such as /proc
        raise StoreError(f"{folder}: {explain_system(error)}") from error
    _sync(folder.parent)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _create(temporary: Path, target: Path, data: bytes) -> None:
    try:
        target.hardlink_to(temporary)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without hard links, exclusive creation still lets only one writer claim the name; a crash in between leaves a
        # file that its own checksum exposes.
        _write(target, data)


def _copy(source: Path, target: Path) -> None:
    import shutil

    temporary = _temporary_path(target)
    try:
        shutil.copyfile(source, temporary)
        _sync(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, survive a power failure."""
    if os.name == "nt":  # folders cannot be opened there, nor files opened for reading be synced
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _list_files(folder: str, below: str, after: str) -> Iterator[ObjectInfo]:
    """Yield the files of a folder, whose paths begin with `below`, that sort after a path. Linked folders are not entered.

    Names before it need no system call: a folder of manifests has a file for every snapshot.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 (a Path for each would cost more than the rest)
    except FileNotFoundError:
        return
    if after:
        names = [
            name for name in names if f"{below}{name}0" > after
        ]  # "0" sorts after "/": a folder's files are before it
    for name in names:
        path, place = below + name, f"{folder}/{name}"
        with suppress(FileNotFoundError):
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode):
                yield from _list_files(place, f"{path}/", after)
                continue
            if stat.S_ISLNK(status.st_mode):
                status = Path(place).stat()
            if path > after and not stat.S_ISDIR(status.st_mode):
                yield _info(path, status)


@contextmanager
def _clear(path: str) -> Iterator[None]:
    """Translate OSErrors to StoreErrors with advice; a missing file still raises FileNotFoundError."""
    try:
        yield
    except (FileNotFoundError, StoreError):
        raise
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StoreError(f"{path}{where}: {explain_system(error)}") from error
