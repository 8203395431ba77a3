"""The folder of a cache on disk: its files, the lock of those who write, and the bytes that it may use.

Files are named ``ranges-1/<32 hex digits>/<32 hex digits>.pack``: the first are the key of an object, the second are random, so that no
name is ever used twice. Nothing else in the folder is touched. All processes that share the folder hold one lock
(flock) while they write or evict; reading needs none.
"""

# ruff: noqa: PTH102, PTH106, PTH108, PTH112, PTH116, PTH118, PTH120, PTH208

from __future__ import annotations

import errno
import os
import re
import struct
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
"""File systems allocate files in pages of this many bytes."""

PATIENCE = 1.0
"""Seconds to wait for the lock of another process; then what was read is not cached."""

FULL = (errno.ENOSPC, errno.EDQUOT)

_USAGE = struct.Struct("<QI")
_KEY, _PACK = re.compile("[0-9a-f]{32}"), re.compile(r"[0-9a-f]{32}\.pack")


class CacheFolder:
    """A folder whose files take at most a number of bytes; the least recently used are removed first.

    Parameters
    ----------
    folder : str
    budget : int
        Bytes on disk, as the file system counts them, over all processes that share the folder.
    """

    def __init__(self, folder: str, budget: int) -> None:
        self.folder, self.budget = folder, budget
        self.root = os.path.join(folder, "ranges-1")

    def prepare(self) -> None:
        """Make the folder, for this user alone, and check that files can be written there.

        Raises
        ------
        InputError
            The folder cannot be made or written, or the system has no file locks.
        """
        try:
            import fcntl  # noqa: F401
        except ImportError:  # Windows
            raise InputError("cache requires a system with file locks (flock), which this one is not") from None
        try:
            make_folders(self.root)
            os.close(self._open("lock"))
        except OSError as error:
            if error.errno not in FULL:  # a full disk may have room later
                raise InputError(
                    f"cache must be a folder that can be written to, got {self.folder!r} ({error.strerror})"
                ) from None

    def object_folder(self, key: bytes) -> str:
        """The folder of the packs of one object (16 bytes of key)."""
        return f"{self.root}/{key.hex()}"

    @contextmanager
    def writing(self) -> Iterator[bool]:
        """Hold the lock; false if another process holds it for too long.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        import fcntl

        make_folders(self.root)  # it may have been removed
        descriptor = self._open("lock")
        try:
            is_held = _lock(descriptor)
            try:
                yield is_held
            finally:
                if (
                    is_held
                ):  # a process that was forked meanwhile has a copy of the descriptor, which would keep the lock
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def reserve(self, size: int) -> None:
        """Make room for bytes that are about to be written; requires the lock.

        The total is kept in a file, as an upper bound: files are listed only if it exceeds the budget, and then a tenth of the budget is
        made free.

        Raises
        ------
        OSError
            The total cannot be written.
        """
        total = self._total()
        if total is None or total + size > self.budget:
            total = self.evict(self.budget - size, self.budget - self.budget // 10 - size)
        data = struct.pack("<Q", total + size)
        descriptor = self._open("usage")
        try:
            os.pwrite(descriptor, data + struct.pack("<I", _crc(data)), 0)
        finally:
            os.close(descriptor)

    def evict(self, most: int, target: int) -> int:
        """Remove the least recently used packs if all take more than ``most`` bytes, until they take ``target``; return what is left."""
        packs = sorted(self.packs())
        total = sum(size for _, size, _ in packs)
        if total <= most:
            return total
        for _, size, path in packs:
            if total <= target:
                break
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= size
            with suppress(OSError):  # not empty
                os.rmdir(os.path.dirname(path))
        return max(total, 0)

    def packs(self) -> Iterator[tuple[int, int, str]]:
        """Time of last use in nanoseconds, bytes on disk, and path of each pack; a folder counts with its packs."""
        for folder in _entries(self.root, _KEY):
            overhead = PAGE
            for path in _entries(folder, _PACK):
                with suppress(FileNotFoundError):
                    status = os.stat(path)
                    yield status.st_mtime_ns, status.st_blocks * 512 + overhead, path
                    overhead = 0

    def _total(self) -> int | None:
        try:
            descriptor = os.open(f"{self.root}/usage", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            data = os.pread(descriptor, _USAGE.size, 0)
        finally:
            os.close(descriptor)
        if len(data) < _USAGE.size or _crc(data[:8]) != _USAGE.unpack(data)[1]:
            return None
        return int(_USAGE.unpack(data)[0])

    def _open(self, name: str) -> int:
        return os.open(f"{self.root}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int) -> bool:
    import fcntl

    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        else:
            return True


def make_folders(path: str) -> None:
    """Make a folder and those above it that are missing, for this user alone.

    Raises
    ------
    OSError
        A folder cannot be made.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent and parent != path:
        make_folders(parent)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def _entries(folder: str, pattern: re.Pattern[str]) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder) if pattern.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _crc(data: bytes) -> int:
    from zlib import crc32

    return crc32(data)
