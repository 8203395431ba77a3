"""Temporary folders and files that outlive nobody: what a killed process left is removed by the next one.

Each is locked (flock) by its process for as long as this lives, however it ends; the system takes the lock away. So what
can be locked belongs to nobody. Names say which start of which machine and which process it was: a lock means something only
on the machine that holds it.
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
"""Seconds without a change after which what another start of a machine left is removed."""

SWEPT_FOR = 60.0
"""Seconds for which a temporary directory is not looked through again: it may be large, and changes of an index are many."""

_FOLDER = re.compile(r"vsearch-scratch-([0-9a-f]{8})-(\d+)-\w+")
_FILE = re.compile(r"\.vsearch-([0-9a-f]{8})-(\d+)-[0-9a-f]{32}\.tmp")
_swept: dict[str, float] = {}


@contextmanager
def scratch_folder() -> Iterator[str]:
    """A temporary folder for this process, removed at the end; now and then, those of processes that were killed are first."""
    _sweep(tempfile.gettempdir())
    # Locked before it has the name by which others find it.
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
    """Remove what killed processes left in a temporary directory, unless that was done a moment ago."""
    now = time.monotonic()
    if now - _swept.get(folder, -SWEPT_FOR) >= SWEPT_FOR:
        _swept[folder] = now
        remove_abandoned(Path(folder), _FOLDER)
        remove_abandoned(Path(folder))


def temporary_name(folder: Path) -> Path:
    """A name for a temporary file of this process in the folder of an index; `hold` it while it is there."""
    return folder / f".vsearch-{machine_start()}-{os.getpid()}-{uuid4().hex}.tmp"


def remove_abandoned(folder: Path, pattern: re.Pattern[str] = _FILE) -> None:
    """Remove what killed processes left in a folder: scratch, or by default temporary files of an index."""
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
    """Whether there is such a process here; another container's may live without being seen, but holds its lock."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def hold(path: Path) -> int | None:
    """Lock a file or folder until the process ends or `release`s it; None where another holds it or locks are unknown."""
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
    """Give back what `hold` returned."""
    if lock is not None:
        os.close(lock)


@cache
def machine_start() -> str:
    """Eight hex digits for this start of this machine; what a lock holds for no longer."""
    from zlib import crc32

    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        import platform

        told = platform.node()
    return f"{crc32(told.encode()):08x}"
