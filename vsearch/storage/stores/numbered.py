"""Files of a folder that are named by consecutive numbers, as manifests are: which came after one, without reading all names.

A file system returns the names of a folder in no order, so a listing costs as much as there are files. Names from a number on are
found by trying one after the other instead, which is right as long as none is missing. Whoever removes a numbered file therefore
first leaves a note up to which number files may be missing: a listing from an earlier number on reads all names. Notes, and files
without a number, are in a folder of their own, which stays small.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MANIFESTS = "manifest"
"""The folder with numbered files."""

BESIDE = "beside"
"""The folder in it for notes and other files."""

LEAST = 64
"""Number below which names are listed, since there are few."""

MOST_TRIED = 64
"""Number of later files from which on names are listed."""

_NUMBERED = re.compile(rf"{MANIFESTS}/([0-9]{{20}})\.json")
_OTHER = re.compile(rf"{MANIFESTS}/([a-z]+-[0-9a-f]{{32}}(?:-[0-9]+)?\.json)")
_LISTED = re.compile(rf"{MANIFESTS}/{BESIDE}/([a-z]+-[0-9a-f]{{32}}(?:-[0-9]+)?\.json)")
_NOTE = re.compile(r"gaps-([0-9]{20})")


def number_of(path: str) -> int | None:
    """Return the number of an object; None if it has none, or one that is too small to matter."""
    match = _NUMBERED.fullmatch(path)
    number = int(match[1]) if match else 0
    return number if number >= LEAST else None


def local_path(path: str) -> str:
    """Return the path of the file of an object: files without a number are apart from those with one."""
    match = _OTHER.fullmatch(path)
    return f"{MANIFESTS}/{BESIDE}/{match[1]}" if match else path


def object_path(path: str) -> str | None:
    """Return the path of the object in a file; None for a note."""
    match = _LISTED.fullmatch(path)
    if match:
        return f"{MANIFESTS}/{match[1]}"
    name = path.removeprefix(f"{MANIFESTS}/{BESIDE}/")
    return None if name != path and _NOTE.fullmatch(name) else path


def least_path(after: str) -> str:
    """Return the path after which the files of all objects are that sort after another path."""
    hides_folder = f"{MANIFESTS}/{BESIDE}" <= after < f"{MANIFESTS}0"  # "0" sorts after "/"
    return f"{MANIFESTS}/{BESIDE}" if hides_folder else after


def later_paths(root: Path, number: int) -> list[str] | None:
    """Return the paths of the files with greater numbers, and of those without one; None if all names must be read.

    The order matters: a file that is not there was never there, if no note says otherwise afterwards.
    """
    paths: list[str] = []
    last = number
    while len(paths) < MOST_TRIED and os.path.lexists(f"{root}/{_path(last + 1)}"):
        last += 1
        paths.append(_path(last))
    names = _names(root / MANIFESTS / BESIDE)
    gaps = _greatest_gap(names)
    if gaps is None or gaps > last or len(paths) == MOST_TRIED:
        return None
    return [*paths, *(f"{MANIFESTS}/{BESIDE}/{name}" for name in names)]


def note_gaps(root: Path, numbers: Iterable[int], write: Callable[[Path], None]) -> None:
    """Leave a note that files up to the greatest of these numbers may be missing; to be called before they are removed.

    Parameters
    ----------
    write : callable
        Creates an empty file durably.
    """
    greatest = max(numbers, default=0)
    if not greatest:
        return
    folder = root / MANIFESTS / BESIDE
    names = _names(folder)
    if (_greatest_gap(names) or 0) >= greatest:
        return
    write(folder / f"gaps-{greatest:020d}")
    for name in names:  # a greater one says all that they do
        match = _NOTE.fullmatch(name)
        if match and int(match[1]) < greatest:
            (folder / name).unlink(missing_ok=True)


def note_all(root: Path, write: Callable[[Path], None]) -> None:
    """Leave the first note, if there is none: files may be missing up to the greatest number of now."""
    if _greatest_gap(_names(root / MANIFESTS / BESIDE)) is None:
        numbers = (number_of(f"{MANIFESTS}/{name}") for name in _names(root / MANIFESTS))
        note_gaps(root, (number for number in numbers if number is not None), write)


def _path(number: int) -> str:
    return f"{MANIFESTS}/{number:020d}.json"


def _names(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return os.listdir(folder)  # noqa: PTH208 (a Path for each would cost more than the rest)
    return []


def _greatest_gap(names: Iterable[str]) -> int | None:
    return max((int(match[1]) for name in names if (match := _NOTE.fullmatch(name))), default=None)
