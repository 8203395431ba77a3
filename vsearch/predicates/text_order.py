"""Sorting of texts by their bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD = 8


def sort_texts(offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Argsort texts by their bytes without an object per text: by eight bytes at a time, for texts that are still equal.

    Parameters
    ----------
    offsets : int64 (texts + 1,)
    data : uint8 (bytes,)
        Text i is ``data[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    int64 (texts,)
    """
    count = len(offsets) - 1
    starts, lengths = offsets[:-1], np.diff(offsets)
    padded = np.concatenate((data, np.zeros(_WORD, np.uint8)))
    order = np.arange(count, dtype=np.int64)
    group = np.zeros(count, np.int64)  # for each position in the order; texts of one group are equal so far
    open_places = order.copy()
    at = 0
    while len(open_places):
        texts = order[open_places]
        keys: list[Any] = [_words(padded, starts[texts], lengths[texts], at), group[open_places]]
        # a text sorts before the same text followed by zeros
        ends = np.minimum(np.maximum(lengths[texts] - at, 0), _WORD + 1)
        by = np.lexsort((ends, *keys))
        order[open_places] = texts[by]
        words, groups, ends = keys[0][by], group[open_places], ends[by]
        fresh = np.ones(len(by), np.bool_)
        fresh[1:] = (words[1:] != words[:-1]) | (groups[1:] != groups[:-1]) | (ends[1:] != ends[:-1])
        group[open_places] = open_places[np.maximum.accumulate(np.where(fresh, np.arange(len(by)), 0))]
        unique = fresh & np.append(fresh[1:], True)
        open_places = open_places[~unique & (ends > _WORD)]
        at += _WORD
    return order


def _words(
    padded: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], at: int
) -> NDArray[np.uint64]:
    """Eight bytes of each text, starting at `at` and padded with zeros, as a number with the same order."""
    words = np.zeros(len(starts), np.uint64)
    for place in range(at, at + _WORD):
        has_byte = place < lengths
        byte = np.where(has_byte, padded[np.where(has_byte, starts + place, 0)], 0)
        words = (words << np.uint64(8)) | byte.astype(np.uint64)
    return words
