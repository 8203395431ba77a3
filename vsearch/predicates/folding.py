"""Upper and lower case, mapped code point by code point, as SQL's lower() and upper() do."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Code points for which Unicode's simple mapping differs from Python's full mapping.
_SINGLE = {"lower": {0x130: 0x69}, "upper": {0xDF: 0x1E9E}}
_CASED = 0x20000  # no code point from here on has case


def folded(text: str, fold: str) -> str:
    """Return a text in upper or lower case."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _map(points, fold).tobytes().decode("utf-32-le", "surrogatepass")


def fold_texts(
    offsets: NDArray[np.int64], data: NDArray[np.uint8], fold: str
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Fold concatenated UTF-8 texts to upper or lower case, without a Python object per text.

    Parameters
    ----------
    offsets : int64 (texts + 1,)
    data : uint8 (bytes,)

    Returns
    -------
    offsets, data
        In the order of the input, so they may not be sorted.

    Raises
    ------
    ValueError
        The data is not UTF-8.
    """
    data = data[: offsets[-1]]
    if not (data & 0x80).any():
        first, last = (0x41, 0x5A) if fold == "lower" else (0x61, 0x7A)
        return offsets, np.where((data >= first) & (data <= last), data ^ 0x20, data)
    points = _map(np.frombuffer(data.tobytes().decode().encode("utf-32-le"), np.uint32), fold)
    before = np.concatenate(([0], np.cumsum((data & 0xC0) != 0x80)))  # code points before each byte
    lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    ends = np.concatenate(([0], np.cumsum(lengths)))
    text = points.tobytes().decode("utf-32-le").encode()
    return ends[before[offsets]].astype(np.int64), np.frombuffer(text, np.uint8)


def _map(points: NDArray[np.uint32], fold: str) -> NDArray[np.uint32]:
    table = _table(fold)
    return np.where(points < _CASED, table[np.minimum(points, _CASED - 1)], points)


@cache
def _table(fold: str) -> NDArray[Any]:
    table = np.arange(_CASED, dtype=np.uint32)
    for point in range(_CASED):
        character = chr(point)
        cased = character.lower() if fold == "lower" else character.upper()
        if len(cased) > 1 and fold == "upper":
            cased = character.title()
        if len(cased) == 1:
            table[point] = ord(cased)
    for point, other_point in _SINGLE[fold].items():
        table[point] = other_point
    return table
