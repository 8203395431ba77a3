"""Checkpoints: the state of a training in one NumPy archive, numbers as JSON inside it, nothing pickled."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vsearch.errors import InputError
from vsearch.jpq.pairs import Pairs
from vsearch.jpq.scoring import Documents

META = "meta"


def fingerprint(documents: Documents, training: Pairs, validation: Pairs, options: dict[str, Any]) -> str:
    """A digest of all that a training's course depends on."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    manifest = documents.snapshot.manifest
    digest.update(f"{manifest.snapshot} {manifest.writer} {manifest.rows}".encode())
    for pairs in (training, validation):
        for array in (pairs.queries, pairs.starts, pairs.rows):
            digest.update(str((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def save_checkpoint(path: str | os.PathLike[str], mark: str, plain: dict[str, Any]) -> None:
    """Write a checkpoint in the place of an earlier one, whole or not at all.

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
        raise InputError(f"the checkpoint {target} cannot be written: {error}; give another path") from error


def load_checkpoint(path: str | os.PathLike[str], mark: str) -> dict[str, Any] | None:
    """What `save_checkpoint` wrote; None where there is no such file.

    Raises
    ------
    InputError
        It is no checkpoint, or one of another training.
    """
    target = Path(path)
    if not target.exists():
        return None
    try:
        with np.load(target, allow_pickle=False) as archive:
            plain: dict[str, Any] = {name: archive[name] for name in archive.files}
        meta = json.loads(plain.pop(META).tobytes())
        found = meta.pop("mark")
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{target} is no checkpoint that can be read ({error}); remove it to start anew") from error
    if found != mark:
        raise InputError(
            f"{target} belongs to another training (other pairs, options or snapshot); remove it to start anew"
        )
    return plain | meta
