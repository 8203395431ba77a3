"""Convert columns of an answer to plain Python values, for JSON."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from vsearch.storage.files.column_types import column_type
from vsearch.storage.files.plain_columns import Column


def to_values(column: Column) -> list[Any]:
    """Return the values of a column, None for NULL; timestamps and dates in ISO 8601, decimals as strings."""
    if column.offsets is not None:
        edges = np.frombuffer(column.offsets, np.int64).tolist()
        runs = pairwise(edges)
        if column.items is None:
            values: list[Any] = [column.values[start:stop].decode("utf-8", "replace") for start, stop in runs]
        else:
            items = to_values(column.items)
            values = [items[start:stop] for start, stop in runs]
    else:
        kind = column_type(column.type)
        if kind is None:
            raise ValueError(f"unknown column type {column.type!r}")
        values = kind.plain(column.values)
    if column.valid is not None:
        values = [value if valid else None for value, valid in zip(values, column.valid, strict=True)]
    return values
