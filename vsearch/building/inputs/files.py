"""Input files: parsing of paths, and translation of the errors that libraries raise on damaged content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsearch.errors import InputError, VsearchError


def split_path(text: str) -> tuple[Path, str | None]:
    """Split ``path::column`` into its parts; the column is None if there is none."""
    if "::" in text and not Path(text).exists():
        base, _, name = text.rpartition("::")
        return Path(base).expanduser(), name or None
    return Path(text).expanduser(), None


def require_file(path: Path) -> None:
    """Raise InputError unless `path` is a readable file."""
    if path.is_dir():
        msg = f"{path}: is a folder; pass one file, or an iterable of batches"
        raise InputError(msg)
    if not path.exists():
        hint = "; only local files can be read: copy it here first" if ":/" in str(path) else ""
        msg = f"{path}: no such file{hint}"
        raise InputError(msg)
    try:
        path.open("rb").close()
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise InputError(msg) from error


@contextmanager
def reading(path: Path | str, kind: str) -> Iterator[None]:
    """Turn any exception that a library raises on a damaged or hostile file into InputError.

    Parameters
    ----------
    path : Path or str
        The file, for the error message.
    kind : str
        The expected format, such as ``"Parquet"``.
    """
    try:
        yield
    except VsearchError:
        raise
    except Exception as error:
        msg = f"{path}: not a readable {kind} file ({first_line(error)}); write it again"
        raise InputError(msg) from error


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message, at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
