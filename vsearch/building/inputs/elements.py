"""The element types of vectors, and the checks that they pass: finite elements, and squares that fit where a metric takes them."""

from __future__ import annotations

import numpy as np

from vsearch.errors import InputError
from vsearch.metrics import Metric, unbounded

BLOCK_BYTES = 4 << 20
"""Work on vectors goes in blocks of about this size, so that temporaries stay in cache."""

LARGEST_FLOAT, LEAST_FLOAT = np.finfo(np.float32).max, float(np.finfo(np.float32).tiny)
_HALF_EXPONENT = np.uint16(0x7C00)


class NotFiniteError(InputError):
    """A vector holds what is no finite number, or one too large."""


def stored_dtype(given: np.dtype, label: str) -> np.dtype:
    """Return the element type in which vectors of type `given` are kept.

    Parameters
    ----------
    given : numpy.dtype
        float32, float16 and uint8 stay (in native byte order); int8 becomes float16, which holds it exactly; float64 and
        other integers become float32.
    label : str
        Names the input in the message.

    Raises
    ------
    InputError
        Any other type.
    """
    if given.kind == "f" and given.itemsize in (4, 8):
        return np.dtype(np.float32)
    if given.kind == "f" and given.itemsize == 2:
        return np.dtype(np.float16)
    if given == np.uint8:
        return np.dtype(np.uint8)
    if given.kind in "iu":
        return np.dtype(np.float16 if given == np.int8 else np.float32)
    if given.kind == "b":
        advice = "convert them with .astype('float32') first"
    elif given.kind == "O":
        advice = "objects are never loaded; save the vectors as a plain float32 array"
    else:
        advice = "vectors must be real numbers; convert them to float32"
    msg = f"{label}: elements of type {given} are not supported (floats and integers are); {advice}"
    raise InputError(msg)


def converted(
    batch: np.ndarray, dtype: np.dtype, label: str, rows: int | np.ndarray, *, check: bool = True
) -> np.ndarray:
    """Return `batch` as a C-contiguous array of `dtype`, every element finite.

    Parameters
    ----------
    batch : ndarray, shape (n, d)
        Vectors in any layout and byte order; returned itself when nothing is to do.
    dtype : numpy.dtype
        What :func:`stored_dtype` says for the type of `batch`.
    label : str
        Names the input in the message.
    rows : int or ndarray of int, shape (n,)
        Row number of the first vector, or of each, for the message.
    check : bool
        False when these vectors have been checked before.

    Raises
    ------
    InputError
        NaN, infinity, a number beyond float32, or a row of numbers that are all too small for it; names the first bad row.
    """
    if dtype.kind == "u":
        return np.ascontiguousarray(batch, dtype=dtype)
    with np.errstate(over="ignore"):
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
            lost = _vanished(batch[start : start + step], block)
            if lost is not None:
                number = rows + start + lost if isinstance(rows, int) else int(rows[start + lost])
                raise NotFiniteError(_fault(label, number, 0, float(np.abs(batch[start + lost]).max())))
    return result


def _vanished(batch: np.ndarray, block: np.ndarray) -> int | None:
    """The first row (of n, d) whose numbers are all too small for float32, though not all 0; None where there is none."""
    small = np.flatnonzero(np.maximum(block.max(axis=1, initial=0), -block.min(axis=1, initial=0)) < LEAST_FLOAT)
    lost = small[(batch[small] != 0).any(axis=1)]
    return int(lost[0]) if len(lost) else None


def check_bounded(batch: np.ndarray, metric: Metric, rows: int | np.ndarray) -> None:
    """Refuse numbers whose squares a metric would have to add up in float32, and could not.

    Parameters
    ----------
    rows : int or ndarray of int, shape (n,)
        Row number of the first vector, or of each, for the message.

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
        # isfinite on float16 is five times slower than looking at the exponent bits
        bits = block.view(np.uint16)
        return not bool(((bits & _HALF_EXPONENT) == _HALF_EXPONENT).any())
    # without a temporary; NaN fails both comparisons
    return bool(block.max(initial=0) <= LARGEST_FLOAT and block.min(initial=0) >= -LARGEST_FLOAT)


def _fault(label: str, row: int, column: int, value: float) -> str:
    if 0 < value < LEAST_FLOAT:
        return f"{label}: row {row} holds nothing larger than {value:g}, which float32 does not hold; scale the vectors"
    if np.isfinite(value):
        return f"{label}: row {row} holds {value:g} (dimension {column}), which does not fit float32; scale the vectors"
    name = "NaN" if np.isnan(value) else "infinity"
    return f"{label}: row {row} holds {name} (dimension {column}); repair or remove that row"
