"""Sets of int or bytes keys as sorted, disjoint, half-open intervals ``(low, high)``; ``high=None`` means unbounded.

They represent ranges, IN lists, and their complements, unions and intersections.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Key = TypeVar("Key", int, bytes)


def complement(intervals: tuple[tuple[Key, Key | None], ...], bottom: Key) -> tuple[tuple[Key, Key | None], ...]:
    """Return all keys >= ``bottom`` that are in none of the intervals."""
    gaps: list[tuple[Key, Key | None]] = []
    cursor = bottom
    for low, high in intervals:
        if cursor < low:
            gaps.append((cursor, low))
        if high is None:
            return tuple(gaps)
        cursor = high
    gaps.append((cursor, None))
    return tuple(gaps)


def union(intervals: Iterable[tuple[Key, Key | None]]) -> tuple[tuple[Key, Key | None], ...]:
    """Sort intervals, merge those that overlap or touch, and drop empty ones."""
    joined: list[tuple[Key, Key | None]] = []
    for low, high in sorted(intervals, key=lambda interval: interval[0]):
        if high is not None and high <= low:
            continue
        if joined:
            last_low, last_high = joined[-1]
            if last_high is None:
                break
            if low <= last_high:
                joined[-1] = (last_low, None if high is None else max(high, last_high))
                continue
        joined.append((low, high))
    return tuple(joined)


def intersection(
    left: tuple[tuple[Key, Key | None], ...], right: tuple[tuple[Key, Key | None], ...]
) -> tuple[tuple[Key, Key | None], ...]:
    """Return the keys that are in both sets."""
    common: list[tuple[Key, Key | None]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        (left_low, left_high), (right_low, right_high) = left[i], right[j]
        low = max(left_low, right_low)
        left_ends_first = right_high is None or (left_high is not None and left_high <= right_high)
        high = left_high if left_ends_first else right_high
        if high is None or low < high:
            common.append((low, high))
        if left_ends_first:
            i += 1
        else:
            j += 1
    return tuple(common)
