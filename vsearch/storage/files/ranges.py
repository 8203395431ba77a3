"""Planning of reads over chunks; pure functions without I/O.

All limits are required keywords, since the callers decide the policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def covering_chunks(
    begin: NDArray[np.int64], end: NDArray[np.int64], *, chunk: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chunks that cover the byte ranges ``[begin[i], end[i])``; empty ranges are dropped.

    Returns
    -------
    first, stop : int64 (ranges,)
        Half-open chunk ranges, in the order of the input.
    """
    full = end > begin
    return begin[full] // chunk, (end[full] - 1) // chunk + 1


def mark(first: NDArray[np.int64], stop: NDArray[np.int64], *, count: int) -> NDArray[np.bool_]:
    """Union of half-open ranges, as one flag per chunk."""
    change = np.bincount(first, minlength=count + 1) - np.bincount(stop, minlength=count + 1)
    return np.cumsum(change[:count]) > 0


def runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Maximal runs of True as half-open ranges ``first, stop``."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])))).astype(np.int64)
    return edges[0::2], edges[1::2]


def bridge(requested: NDArray[np.bool_], absent: NDArray[np.bool_], *, gap: int) -> NDArray[np.bool_]:
    """Add the chunks between two runs that are at most ``gap`` chunks apart, if all of these are absent.

    One longer request is cheaper than two; chunks that are present are never read again.
    """
    first, stop = runs(requested)
    if gap < 1 or len(first) < 2:
        return requested
    left, right = stop[:-1], first[1:]
    gaps = np.concatenate(([0], np.cumsum(absent, dtype=np.int64)))
    joined = (right - left <= gap) & (gaps[right] - gaps[left] == right - left)
    return requested | mark(left[joined], right[joined], count=len(requested))


def widen(requested: NDArray[np.bool_], absent: NDArray[np.bool_], *, count: int) -> NDArray[np.bool_]:
    """Add the absent chunks of every aligned group of ``count`` chunks of which one is requested."""
    if count < 2:
        return requested
    groups = np.zeros(-(-len(requested) // count), np.bool_)
    groups[np.flatnonzero(requested) // count] = True
    return np.repeat(groups, count)[: len(requested)] & absent


def split(
    begin: NDArray[np.int64], end: NDArray[np.int64], *, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut byte ranges into pieces of at most ``limit`` bytes, which can be fetched concurrently."""
    pieces = -(-(end - begin) // limit)
    which = np.repeat(np.arange(len(begin)), pieces)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = begin[which] + nth * limit
    return starts, np.minimum(starts + limit, end[which])
