"""Spooling: input that cannot be memory-mapped is written once, batch by batch, to a file that can."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vsearch.building.inputs.elements import converted, stored_dtype
from vsearch.errors import InputError, StoreError
from vsearch.storage.stores.advice import ROOM, explain_system


@contextmanager
def scratch_file(scratch: Path, suffix: str) -> Iterator[Path]:
    """Create an empty file in `scratch` (created if missing); the file is removed if the body fails.

    Raises
    ------
    StoreError
        The folder cannot be created or written, or the disk fills up in the body.
    """
    path: Path | None = None
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=scratch, suffix=suffix)
        os.close(handle)
        path = Path(name)
        yield path
    except BaseException as error:
        if path is not None:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError) and (path is None or error.errno in (*ROOM, errno.EROFS)):
            msg = f"cannot write to the scratch folder {scratch}: {explain_system(error)}; TMPDIR names another"
            raise StoreError(msg) from error
        raise


def spool_vectors(batches: Iterable[object], scratch: Path, label: str, *, check: bool = True) -> np.ndarray:
    """Write batches of vectors to a scratch file and return them as one memory map.

    At most one batch is held at a time. The first batch that has rows sets the width and the
    element type (float64 is written as float32).

    Parameters
    ----------
    batches : iterable of array-like, each of shape (n, d)
        Empty batches are skipped.
    scratch : Path
        Folder for the file; the caller owns and removes it.
    label : str
        Names the input in messages.
    check : bool
        False if the reader of the vectors checks that they are finite.

    Returns
    -------
    ndarray, shape (rows, d)
        Read-only, C-contiguous, finite, float32, float16 or uint8.

    Raises
    ------
    InputError
        There are no rows, or a batch is not 2-d, has another width or type, or is not finite.
    StoreError
        The scratch folder is full or not writable.
    """
    rows = width = 0
    dtype: np.dtype | None = None
    with scratch_file(scratch, ".vectors") as path:
        with path.open("wb") as file:
            for number, item in enumerate(batches):
                batch = as_batch(item, f"{label}: batch {number}")
                if len(batch) == 0:
                    continue
                batch_dtype = stored_dtype(batch.dtype, f"{label}: batch {number}")
                if dtype is None:
                    dtype, width = batch_dtype, batch.shape[1]
                _require_same(batch_dtype, batch.shape[1], dtype, width, f"{label}: batch {number}")
                file.write(converted(batch, dtype, label, rows, check=check).data)
                rows += len(batch)
        if dtype is None:
            msg = f"{label}: no rows; there must be at least one vector"
            raise InputError(msg)
        return np.asarray(np.memmap(path, dtype=dtype, mode="r", shape=(rows, width)))


def as_batch(item: object, label: str) -> np.ndarray:
    """Return `item` as a 2-d array with at least one column.

    Raises
    ------
    InputError
        It is not an array, is masked, or has another number of dimensions.
    """
    if isinstance(item, np.ma.MaskedArray):
        msg = f"{label} is a masked array; vectors have no missing values: fill or drop them"
        raise InputError(msg)
    if item is None or isinstance(item, (str, bytes, dict, set)):
        msg = f"{label} is a {type(item).__name__}, not an array of shape (rows, dimensions)"
        raise InputError(msg)
    try:
        array = np.asarray(item)
    except (ValueError, TypeError) as error:
        msg = f"{label} is not an array of shape (rows, dimensions): {error}"
        raise InputError(msg) from error
    if array.dtype == object:
        msg = f"{label} is a {type(item).__name__}, not an array of numbers; expected shape (rows, dimensions)"
        raise InputError(msg)
    if array.ndim != 2 or array.shape[1] == 0:
        hint = "; pass a single vector as vector[None, :]" if array.ndim == 1 else ""
        msg = f"{label} has shape {array.shape}, expected (rows, dimensions){hint}"
        raise InputError(msg)
    return array


def _require_same(dtype: np.dtype, width: int, first: np.dtype, first_width: int, label: str) -> None:
    if width != first_width:
        msg = f"{label} has {width} dimensions, earlier batches have {first_width}; all vectors need the same width"
        raise InputError(msg)
    if dtype != first:
        msg = f"{label} has elements of type {dtype}, earlier batches {first}; convert all to one type"
        raise InputError(msg)
