"""Files of a folder with consecutive numbers as names, such as manifests: finds those after a number without reading all names.

A file system returns the names of a folder unordered, so a listing takes time proportional to the number of files. Later names are
instead found by probing one after the other, which is correct if none is missing. A process that removes a numbered file therefore
first leaves a note with the number up to which files may be missing; listings from an earlier number read all names. Notes, and files
without a number, are in a separate folder, which stays small.
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
"""Number up to which names are listed, since there are few."""

MOST_TRIED = 64
"""Number of later files beyond which names are listed."""

_NUMBERED = re.compile(rf"{MANIFESTS}/([0-9]{{20}})\.json")
_OTHER = re.compile(rf"{MANIFESTS}/([a-z]+-[0-9a-f]{{32}}(?:-[0-9]+)?\.json)")
_LISTED = re.compile(rf"{MANIFESTS}/{BESIDE}/([a-z]+-[0-9a-f]{{32}}(?:-[0-9]+)?\.json)")
_NOTE = re.compile(r"gaps-([0-9]{20})")


def number_of(path: str) -> int | None:
    """Return the number of an object; None if it has none, or a small one for which names are listed."""
    match = _NUMBERED.fullmatch(path)
    number = int(match[1]) if match else 0
    return number if number >= LEAST else None


def local_path(path: str) -> str:
    """Return the path of the file of an object; files without a number are in a separate folder."""
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
    """Return the path after which the files of all objects sort that sort after `after`."""
    hides_folder = f"{MANIFESTS}/{BESIDE}" <= after < f"{MANIFESTS}0"  # "0" sorts after "/"
    return f"{MANIFESTS}/{BESIDE}" if hides_folder else after


def later_paths(root: Path, number: int) -> list[str] | None:
    """Return the paths of the files with greater numbers, and of those without one; None if all names must be read.

    The order matters: a missing file never existed, unless a note found afterwards says otherwise.
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
    for name in names:  # a note with a greater number includes smaller ones
        match = _NOTE.fullmatch(name)
        if match and int(match[1]) < greatest:
            (folder / name).unlink(missing_ok=True)


def note_all(root: Path, write: Callable[[Path], None]) -> None:
    """Leave a note if there is none: files may be missing up to the current greatest number."""
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
