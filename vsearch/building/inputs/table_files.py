"""Resolve a path, folder, glob or list of these to files; the shards of a dataset must be complete and come in order."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from vsearch.building.inputs.files import split_path
from vsearch.errors import InputError

COLUMNAR = (".parquet", ".arrow", ".feather")
"""Suffixes of files that hold a columnar table."""

_SHARD = re.compile(r"(.*?)-(\d{5,})-of-(\d{5,})")
_DIGITS = re.compile(r"(\d+)")


def expand(source: object) -> list[Path] | None:
    """Resolve what was passed to columnar files, in order; None for a single file of another kind.

    Parameters
    ----------
    source : path, or list of paths
        A file, a folder (all its files except hidden ones and those that begin with ``_``), or a glob. Files of a folder or
        glob are sorted, with numbers compared by value.

    Raises
    ------
    InputError
        A folder or glob without files; shards (``train-00000-of-00010``) of several splits, or an incomplete set of shards.
    """
    if isinstance(source, (list, tuple)):
        files: list[Path] = []
        for path in source:
            files += expand(path) or [Path(path).expanduser()]
        return files
    if not isinstance(source, (str, os.PathLike)):
        return None
    path = Path(source).expanduser()
    if path.is_dir() and path.suffix.lower() not in (".npy", ".csv", ".tsv"):
        files = _sorted(path.rglob("*"), path)
    elif not path.exists() and glob.has_magic(str(path)):
        files = _sorted((Path(name) for name in glob.iglob(str(path), recursive=True)), path)  # noqa: PTH207  absolute ones too
    else:
        path = split_path(str(source))[0]
        return [path] if path.suffix.lower() in COLUMNAR else None
    check_shards(files, path, complete=path.is_dir())
    return files


def _sorted(paths: Iterable[Path], where: Path) -> list[Path]:
    root = where if where.is_dir() else where.parent
    files = [
        path
        for path in paths
        if path.suffix.lower() in COLUMNAR
        and not any(part.startswith((".", "_")) for part in path.parts[len(root.parts) :])
        and path.is_file()
    ]
    if not files:
        msg = f"{where}: contains no {' or '.join(COLUMNAR)} file"
        raise InputError(msg)
    return sorted(files, key=lambda path: natural_key(str(path)))


def natural_key(path: str) -> list[int | str]:
    """Key that sorts paths with their numbers compared by value."""
    return [int(part) if part.isdigit() else part for part in _DIGITS.split(path)]


def check_shards(files: Sequence[PurePath], where: PurePath, *, complete: bool) -> None:
    """Refuse files that are not one set of shards (``train-00000-of-00010``); files without such names are not checked.

    Raises
    ------
    InputError
        Shards of several splits or sets, or, if `complete` is true, a set in which some are missing.
    """
    matches = [(path, _SHARD.fullmatch(path.stem)) for path in files]
    sets = {(path.parent, match[1], int(match[3])): set[int]() for path, match in matches if match}
    for path, match in matches:
        if match:
            sets[path.parent, match[1], int(match[3])].add(int(match[2]))
    splits = sorted({name for _, name, _ in sets})
    if len(splits) > 1:
        msg = f"{where}: contains the splits {', '.join(splits)}; name one, as {where / (splits[0] + '-*.parquet')}"
        raise InputError(msg)
    if len(sets) > 1:
        places = ", ".join(sorted(str(folder / name) for folder, name, _ in sets))
        msg = f"{where}: contains several sets of shards ({places}); name one"
        raise InputError(msg)
    for (folder, name, count), numbers in sets.items():
        absent = sorted(set(range(count)) - numbers)
        if absent and complete:
            msg = (
                f"{folder}: {len(absent)} of {count} shards are missing, such as {name}-{absent[0]:05d}-of-{count:05d}"
            )
            raise InputError(msg)
