"""Checkpoints: the state of a training run in one NumPy archive, with numbers as JSON and nothing pickled."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.errors import InputError

META = "meta"


def save_checkpoint(path: str | os.PathLike[str], mark: str, plain: dict[str, Any]) -> None:
    """Write a checkpoint, atomically replacing an earlier one.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    target = Path(path)
    arrays = {name: value for name, value in plain.items() if isinstance(value, np.ndarray)}
    meta = {"mark": mark, **{name: value for name, value in plain.items() if name not in arrays}}
    arrays[META] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write the checkpoint {target}: {error}; use another path") from error


def load_checkpoint(path: str | os.PathLike[str], mark: str) -> dict[str, Any] | None:
    """Load what `save_checkpoint` wrote; return None if the file does not exist.

    Raises
    ------
    InputError
        The file is not a checkpoint, or belongs to another training run.
    """
    target = Path(path)
    if not target.exists():
        return None
    try:
        with np.load(target, allow_pickle=False) as archive:
            plain: dict[str, Any] = {name: archive[name] for name in archive.files}
        meta = json.loads(plain.pop(META).tobytes())
        saved_mark = meta.pop("mark")
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read the checkpoint {target} ({error}); remove it to start over") from error
    if saved_mark != mark:
        raise InputError(
            f"the checkpoint {target} belongs to another training run (other data or options); remove it to start over"
        )
    return plain | meta
