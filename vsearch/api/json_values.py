"""Values of attributes as JSON that every parser reads without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LONGEST = 2000
"""Characters of a string that are shown."""

NUMBER = 10
"""Characters that a number in a list is assumed to take."""

SAFE_INTEGER = 2**53 - 1
"""Integers beyond this become strings, since JavaScript would round them."""


def to_json_value(value: Any, longest: int = LONGEST) -> Any:
    """Convert a value to numbers, strings, booleans, None, and lists and objects of these, for people and models to read.

    Parameters
    ----------
    longest : int
        Longer strings are cut, and end in an ellipsis. So are lists whose items have more characters together, except lists of
        objects, such as rows.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest] + "…"
    if isinstance(value, int):
        return value if abs(value) <= SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): to_json_value(item, longest) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return _beginning(value, longest)
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        return to_json_value(value.item(), longest)
    return value.isoformat() if hasattr(value, "isoformat") else to_json_value(str(value), longest)


def _beginning(values: Sequence[Any], longest: int) -> list[Any]:
    copied: list[Any] = []
    for value in values:
        if longest <= 0:
            return [*copied, "…"]
        copied.append(to_json_value(value, longest))
        if not isinstance(value, Mapping):
            longest -= len(value) + 1 if isinstance(value, str) else NUMBER
    return copied
