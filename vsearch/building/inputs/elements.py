"""Element types of vectors and their checks: elements must be finite, and small enough for the metric to square in float32."""

from __future__ import annotations

import numpy as np

from vsearch.errors import InputError
from vsearch.metrics import Metric, unbounded

BLOCK_BYTES = 4 << 20
"""Vectors are processed in blocks of about this size, so that temporaries stay in cache."""

LARGEST_FLOAT, LEAST_FLOAT = np.finfo(np.float32).max, float(np.finfo(np.float32).tiny)
_HALF_EXPONENT = np.uint16(0x7C00)


class NotFiniteError(InputError):
    """A vector holds an element that is NaN, infinite or too large."""


def stored_dtype(dtype: np.dtype, label: str) -> np.dtype:
    """Return the element type in which vectors of type `dtype` are stored.

    Parameters
    ----------
    dtype : numpy.dtype
        float32, float16 and uint8 stay (in native byte order); int8 becomes float16, which holds it exactly; float64 and
        other integers become float32.
    label : str
        Names the input in the message.

    Raises
    ------
    InputError
        Any other type; the message says how to convert it.
    """
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return np.dtype(np.float32)
    if dtype.kind == "f" and dtype.itemsize == 2:
        return np.dtype(np.float16)
    if dtype == np.uint8:
        return np.dtype(np.uint8)
    if dtype.kind in "iu":
        return np.dtype(np.float16 if dtype == np.int8 else np.float32)
    if dtype.kind == "b":
        advice = "convert them with .astype('float32') first"
    elif dtype.kind == "O":
        advice = "objects are never loaded; save the vectors as a plain float32 array"
    else:
        advice = "vectors must be real numbers; convert them to float32"
    msg = f"{label}: elements of type {dtype} are not supported (floats and integers are); {advice}"
    raise InputError(msg)


def converted(
    batch: np.ndarray, dtype: np.dtype, label: str, rows: int | np.ndarray, *, check: bool = True
) -> np.ndarray:
    """Return `batch` as a C-contiguous array of `dtype`, with all elements finite.

    Parameters
    ----------
    batch : ndarray, shape (n, d)
        Vectors in any layout and byte order; returned unchanged if nothing needs to be converted.
    dtype : numpy.dtype
        From :func:`stored_dtype` for the type of `batch`.
    label : str
        Names the input in error messages.
    rows : int or ndarray of int, shape (n,)
        Row number of the first vector, or of each vector, for error messages.
    check : bool
        False if these vectors have been checked before.

    Raises
    ------
    InputError
        NaN, infinity, a number beyond float32, or a row of numbers that all vanish in float32; names the first bad row.
    """
    if dtype.kind == "u":
        return np.ascontiguousarray(batch, dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.ascontiguousarray(batch, dtype=dtype)
    if not check:
        return result
    step = block_rows(result.shape[1], result.itemsize)
    for start in range(0, len(result), step):
        block = result[start : start + step]
        if not _all_finite(block):
            row, column = (int(x) for x in np.argwhere(~np.isfinite(block))[0])
            number = rows + start + row if isinstance(rows, int) else int(rows[start + row])
            raise NotFiniteError(_fault(label, number, column, float(batch[start + row, column])))
        if batch.dtype.kind == "f" and batch.dtype.itemsize > result.dtype.itemsize:
            vanished = _vanished(batch[start : start + step], block)
            if vanished is not None:
                number = rows + start + vanished if isinstance(rows, int) else int(rows[start + vanished])
                raise NotFiniteError(_fault(label, number, 0, float(np.abs(batch[start + vanished]).max())))
    return result


def _vanished(batch: np.ndarray, block: np.ndarray) -> int | None:
    """The first row of (n, d) whose numbers are all too small for float32 but not all 0; None if there is no such row."""
    small = np.flatnonzero(np.maximum(block.max(axis=1, initial=0), -block.min(axis=1, initial=0)) < LEAST_FLOAT)
    vanished = small[(batch[small] != 0).any(axis=1)]
    return int(vanished[0]) if len(vanished) else None


def check_bounded(batch: np.ndarray, metric: Metric, rows: int | np.ndarray) -> None:
    """Refuse numbers so large that sums of their squares, which l2 and ip need, could overflow float32.

    Parameters
    ----------
    rows : int or ndarray of int, shape (n,)
        Row number of the first vector, or of each vector, for error messages.

    Raises
    ------
    InputError
        Under l2 and ip, a number beyond 1e15.
    """
    bad = unbounded(batch, metric)
    if bad is not None:
        row, column = bad
        number = rows + row if isinstance(rows, int) else int(rows[row])
        msg = (
            f"row {number} holds {float(batch[row, column]):g} (dimension {column}): {metric} takes numbers up to 1e15, "
            "since sums of their squares must fit float32; scale the vectors, or use metric='cosine'"
        )
        raise NotFiniteError(msg)


def block_rows(dimensions: int, itemsize: int) -> int:
    """Return how many vectors make one block of work (at least 1)."""
    return max(1, BLOCK_BYTES // max(1, dimensions * itemsize))


def _all_finite(block: np.ndarray) -> bool:
    if block.dtype == np.float16:
        # testing the exponent bits is five times faster than isfinite on float16
        bits = block.view(np.uint16)
        return not bool(((bits & _HALF_EXPONENT) == _HALF_EXPONENT).any())
    # needs no temporary; NaN fails both comparisons
    return bool(block.max(initial=0) <= LARGEST_FLOAT and block.min(initial=0) >= -LARGEST_FLOAT)


def _fault(label: str, row: int, column: int, value: float) -> str:
    if 0 < value < LEAST_FLOAT:
        return f"{label}: row {row} has no element larger than {value:g}, which is 0 in float32; scale the vectors"
    if np.isfinite(value):
        return f"{label}: row {row} holds {value:g} (dimension {column}), which does not fit float32; scale the vectors"
    name = "NaN" if np.isnan(value) else "infinity"
    return f"{label}: row {row} holds {name} (dimension {column}); repair or remove that row"
