"""Temporary folders and files; those of a killed process are removed by the next one.

A process holds a lock (flock) on each until it exits, and the system releases the lock however it exits: an entry that can
be locked belongs to no running process. Names contain the boot of the machine and the process id, since a lock means
something only on the machine that holds it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

ABANDONED = 86_400.0
"""Seconds without a change after which files from another boot or machine are removed."""

SWEPT_FOR = 60.0
"""Minimum seconds between scans of a temporary directory, since it may be large and changes of an index are frequent."""

_FOLDER = re.compile(r"vsearch-scratch-([0-9a-f]{8})-(\d+)-\w+")
_FILE = re.compile(r"\.vsearch-([0-9a-f]{8})-(\d+)-[0-9a-f]{32}\.tmp")
_swept: dict[str, float] = {}


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A temporary folder for this process, removed at the end. From time to time, first removes those of killed processes."""
    _sweep(tempfile.gettempdir())
    # Locked before it gets the name that others look for.
    folder = Path(tempfile.mkdtemp(prefix="vsearch-new-"))
    lock = hold(folder)
    try:
        named = folder.with_name(f"vsearch-scratch-{machine_start()}-{os.getpid()}-{uuid4().hex}")
        folder = folder.rename(named)
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release(lock)


def _sweep(folder: str) -> None:
    """Remove leftovers of killed processes from a temporary directory, unless that was done recently."""
    now = time.monotonic()
    if now - _swept.get(folder, -SWEPT_FOR) >= SWEPT_FOR:
        _swept[folder] = now
        remove_abandoned(Path(folder), _FOLDER)
        remove_abandoned(Path(folder))


def temporary_name(folder: Path) -> Path:
    """A name for a temporary file of this process in the folder of an index; the file should be locked by `hold`."""
    return folder / f".vsearch-{machine_start()}-{os.getpid()}-{uuid4().hex}.tmp"


def remove_abandoned(folder: Path, pattern: re.Pattern[str] = _FILE) -> None:
    """Remove files of killed processes from a folder: scratch folders or, by default, temporary files of an index."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match is not None:
                with suppress(OSError):
                    _remove_if_abandoned(Path(entry.path), match[1], int(match[2]))


def _remove_if_abandoned(path: Path, start: str, process: int) -> None:
    status = path.lstat()
    lives = _lives(process) if start == machine_start() else time.time() - status.st_mtime < ABANDONED
    if lives or status.st_uid != os.geteuid():
        return
    lock = hold(path)
    if lock is None:
        return
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        release(lock)


def _lives(process: int) -> bool:
    """Whether the process exists here; one in another container is invisible, but holds its lock."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def hold(path: Path) -> int | None:
    """Lock a file or folder until `release` or exit; None if another process holds it or locks are not supported."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def release(lock: int | None) -> None:
    """Release a lock returned by `hold`."""
    if lock is not None:
        os.close(lock)


@cache
def machine_start() -> str:
    """Eight hex digits that identify this boot of this machine; locks do not outlive it."""
    from zlib import crc32

    try:
        identity = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        import platform

        identity = platform.node()
    return f"{crc32(identity.encode()):08x}"
