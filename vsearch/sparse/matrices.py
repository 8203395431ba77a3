"""CSR matrices of weights, of SciPy or of the same form; SciPy itself is not required."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.sparse.weights import MOST_ROW_TERMS, MOST_WEIGHT


def is_matrix(value: Any) -> bool:
    """Whether a value is a CSR matrix, of SciPy or of the same form."""
    return all(hasattr(value, name) for name in ("indptr", "indices", "data", "shape"))


def matrix_rows(matrix: Any, label: str) -> Iterator[dict[str, float]]:
    """Yield the positive weights of each row of a CSR matrix by column number.

    Raises
    ------
    InputError
        The arrays do not fit its shape, a row has a column twice, or a weight is negative or not a number.
    """
    starts, columns, weights, width = _checked(matrix, label)
    for first, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        numbers, values = columns[first:stop].tolist(), weights[first:stop].tolist()
        row = {str(number): value for number, value in zip(numbers, values, strict=True) if value > 0}
        if len(set(numbers)) != len(numbers):
            raise InputError(f"{label} must have each of its {width} columns once in a row: call its sum_duplicates()")
        yield row


def _checked(matrix: Any, label: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], int]:
    form = getattr(matrix, "format", "csr")
    try:
        rows, width = (int(size) for size in matrix.shape)
        starts, columns, weights = (np.asarray(getattr(matrix, name)) for name in ("indptr", "indices", "data"))
    except (TypeError, ValueError):
        form = "another"
        rows = width = 0
        starts = columns = weights = np.empty(0)
    kinds = starts.dtype.kind, columns.dtype.kind, weights.dtype.kind
    if form != "csr" or any(array.ndim != 1 for array in (starts, columns, weights)) or kinds[2] not in "fiub":
        raise InputError(f"{label} must be a CSR matrix of real numbers: call its tocsr(), got {matrix!r:.100}")
    if not set(kinds[:2]) <= set("iu") or len(starts) != rows + 1 or len(columns) != len(weights):
        raise InputError(f"{label} must be a CSR matrix whose indptr, indices and data fit its shape {matrix.shape}")
    starts, columns, weights = starts.astype(np.int64), columns.astype(np.int64), weights.astype(np.float64)
    if starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] != len(columns):
        raise InputError(f"{label} must be a CSR matrix whose indptr ascends from 0 to its {len(columns)} weights")
    if len(columns) and not (columns.min() >= 0 and columns.max() < width):
        raise InputError(
            f"{label} must have column numbers from 0 to {width - 1}, got {columns.min() if columns.min() < 0 else columns.max()}"
        )
    if len(starts) > 1 and np.diff(starts).max() > MOST_ROW_TERMS:
        raise InputError(
            f"{label} must have at most {MOST_ROW_TERMS:,} weights in a row, got {int(np.diff(starts).max()):,}"
        )
    invalid = np.flatnonzero(~((weights >= 0) & (weights <= MOST_WEIGHT)))
    if len(invalid):
        row = int(np.searchsorted(starts, invalid[0], side="right")) - 1
        raise InputError(
            f"{label} must have weights from 0 to {MOST_WEIGHT:g}, got {weights[invalid[0]]:g} in row {row}, column "
            f"{columns[invalid[0]]}"
        )
    return starts, columns, weights, width
