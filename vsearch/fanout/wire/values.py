"""Columns of an answer as plain Python values, for JSON."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from vsearch.fanout.wire.columns import Column

_LOW = (1 << 64) - 1


def to_values(column: Column) -> list[Any]:
    """The values of a column, None for NULL; timestamps and dates in ISO 8601, decimals as text, which is exact."""
    if column.offsets is not None:
        edges = np.frombuffer(column.offsets, np.int64).tolist()
        runs = pairwise(edges)
        if column.items is None:
            values: list[Any] = [column.values[start:stop].decode("utf-8", "replace") for start, stop in runs]
        else:
            items = to_values(column.items)
            values = [items[start:stop] for start, stop in runs]
    elif column.type == "bool":
        values = np.frombuffer(column.values, np.uint8).astype(bool).tolist()
    elif column.type == "date32":
        values = np.datetime_as_string(np.frombuffer(column.values, np.int32).astype("datetime64[D]")).tolist()
    elif column.type.startswith("timestamp["):
        unit = column.type[len("timestamp[") :].split(",")[0].rstrip("]")
        times = np.frombuffer(column.values, np.int64).view(f"datetime64[{unit}]")
        zone = "Z" if "tz=" in column.type else ""
        values = [f"{text}{zone}" for text in np.datetime_as_string(times).tolist()]
    elif column.type.startswith("decimal128("):
        scale = int(column.type.split(",")[1].rstrip(")"))
        halves = np.frombuffer(column.values, "<i8").reshape(-1, 2).tolist()
        values = [_decimal_text((high << 64) + (low & _LOW), scale) for low, high in halves]
    else:
        stored = np.frombuffer(column.values, column.type)
        if column.type in ("float16", "float32"):
            stored = stored.astype("U32").astype(np.float64)  # 0.1 reads as 0.1
        values = stored.tolist()
        if column.type.startswith("float"):  # JSON has no NaN and no infinity
            values = [value if math.isfinite(value) else None for value in values]
    if column.valid is not None:
        values = [value if valid else None for value, valid in zip(values, column.valid, strict=True)]
    return values


def _decimal_text(whole: int, scale: int) -> str:
    """Write ``whole / 10**scale`` with all its digits."""
    if scale <= 0:
        return str(whole * 10**-scale)
    digits = str(abs(whole)).rjust(scale + 1, "0")
    return f"{'-' if whole < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"
