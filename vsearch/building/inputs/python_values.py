"""Conversion of Python values to Arrow arrays, including UUIDs in lists and mappings, which Arrow refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

DEEPEST = 200
"""Depth of nested values with UUIDs; deeper ones cannot be written as JSON either."""


def python_array(values: Any, kind: Any = None, *, from_pandas: bool = False) -> pa.Array:
    """Return values as an Arrow array, as `pyarrow.array` does; UUIDs in lists and mappings become strings.

    Parameters
    ----------
    values : sequence, array or series
    kind : pyarrow.DataType, optional
        Inferred if None.
    from_pandas : bool
        Whether NaN is NULL.

    Raises
    ------
    pyarrow.ArrowException, TypeError, ValueError, OverflowError
        As `pyarrow.array`.
    """
    import pyarrow as pa

    def converted(listed: Any) -> pa.Array:
        array = pa.array(listed, kind, from_pandas=from_pandas)
        return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array

    try:
        return converted(values)
    except (pa.ArrowException, TypeError):
        texts = [_with_texts(value, DEEPEST) for value in values]
        if all(text is value for text, value in zip(texts, values, strict=True)):
            raise
        return converted(texts)


def _with_texts(value: Any, levels: int) -> Any:
    """Return a value with strings for its UUIDs; the value itself, if it has none."""
    if isinstance(value, UUID):
        return str(value)
    if not levels and isinstance(value, (Mapping, list, tuple, np.ndarray)):
        import pyarrow as pa

        message = f"values must be nested up to {DEEPEST} levels deep, got more, or one that contains itself"
        raise pa.ArrowInvalid(message)
    if isinstance(value, Mapping):
        items = {key: _with_texts(item, levels - 1) for key, item in value.items()}
        return items if any(items[key] is not item for key, item in value.items()) else value
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object and value.ndim):
        listed = list(value)
        texts = [_with_texts(item, levels - 1) for item in listed]
        return texts if any(text is not item for text, item in zip(texts, listed, strict=True)) else value
    return value
