"""Row masks as bitmaps: row i is bit ``i % 64`` of word ``i // 64``; bits beyond the last row are zero.

Kernels take C-contiguous arrays, which may be read-only, and do not check lengths; row numbers are checked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.toolchain.compiling import inlined, kernel

LOW = np.uint64(0xFFFFFFFF)


@kernel
def pack_cells(cells, lanes, yes, possible):
    """Look up every cell in a table and pack the results into two masks.

    Parameters
    ----------
    cells : uint8 (rows,)
    lanes : uint64 (256,)
        Bit 32: the cell's rows match. Bit 0: they match or may match.
    yes, possible : uint64 (ceil(rows / 64),)
        Output: bit 32 and bit 0 of every row's lane.

    Notes
    -----
    Shifting a lane by i < 32 puts both bits of row i in one register, so a row takes one lookup, one shift and one OR.
    """
    rows = cells.shape[0]
    for word in range(rows >> 6):
        start = word << 6
        first = np.uint64(0)
        second = np.uint64(0)
        for i in range(32):
            first |= lanes[cells[start + i]] << np.uint64(i)
            second |= lanes[cells[start + 32 + i]] << np.uint64(i)
        possible[word] = (first & LOW) | (second << np.uint64(32))
        yes[word] = (first >> np.uint64(32)) | (second & ~LOW)
    if rows & 63:
        word = rows >> 6
        yes[word] = np.uint64(0)
        possible[word] = np.uint64(0)
        for row in range(word << 6, rows):
            lane = lanes[cells[row]]
            bit = np.uint64(row & 63)
            yes[word] |= (lane >> np.uint64(32)) << bit
            possible[word] |= (lane & np.uint64(1)) << bit


@kernel
def mark_rows(words, rows, total, starts, stops):
    """Set the bits of the rows listed in ``rows[starts[i]:stops[i]]``.

    Parameters
    ----------
    words : uint64 (ceil(total / 64),)
        Modified in place.
    rows : uint32 (n,)
    total : int
        The number of rows; listed rows at or beyond it are skipped.
    starts, stops : int64 (ranges,)
        Ranges of ``rows``.

    Returns
    -------
    bool
        Whether all listed rows were below ``total``.
    """
    in_range = True
    for i in range(starts.shape[0]):
        for j in range(starts[i], stops[i]):
            row = np.int64(rows[j])
            if row < total:
                words[row >> 6] |= np.uint64(1) << np.uint64(row & 63)
            else:
                in_range = False
    return in_range


def count_ranges(words: NDArray[np.uint64], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the set bits of each row range.

    Parameters
    ----------
    words : uint64 (words,)
    starts, stops : int64 (ranges,)
        Row ranges within the mask.

    Returns
    -------
    int64 (ranges,)
    """
    counts = np.zeros(len(starts), np.int64)
    fill_counts(words, starts, stops, counts)
    return counts


@kernel
def fill_counts(words, starts, stops, counts):
    """Add the result of `count_ranges` to `counts`."""
    for i in range(starts.shape[0]):
        start, stop = starts[i], stops[i]
        if start >= stop:
            continue
        first, last = start >> 6, (stop - 1) >> 6
        for word in range(first, last + 1):
            bits = words[word]
            if word == first:
                bits &= ~np.uint64(0) << np.uint64(start & 63)
            if word == last:
                bits &= ~np.uint64(0) >> np.uint64(63 - ((stop - 1) & 63))
            counts[i] += _count(bits)


def list_rows(words: NDArray[np.uint64], start: int, stop: int) -> NDArray[np.int64]:
    """List the rows of [start, stop) whose bit is set, ascending.

    Parameters
    ----------
    words : uint64 (words,)
    start, stop : int
        A row range within the mask.

    Returns
    -------
    int64 (set bits,)
    """
    range_ = np.array([start, stop], np.int64)
    rows = np.empty(int(count_ranges(words, range_[:1], range_[1:])[0]), np.int64)
    fill_rows(words, start, stop, rows)
    return rows


@kernel
def fill_rows(words, start, stop, rows):
    """Write the result of `list_rows` to `rows`, which must be large enough."""
    if start >= stop:
        return
    first, last = start >> 6, (stop - 1) >> 6
    count = 0
    for word in range(first, last + 1):
        bits = words[word]
        if word == first:
            bits &= ~np.uint64(0) << np.uint64(start & 63)
        if word == last:
            bits &= ~np.uint64(0) >> np.uint64(63 - ((stop - 1) & 63))
        while bits:
            lowest = bits & (~bits + np.uint64(1))
            rows[count] = (word << 6) + _count(lowest - np.uint64(1))
            count += 1
            bits ^= lowest


@inlined
def _count(bits):
    """Count the set bits of a uint64; LLVM recognizes this idiom and emits one instruction."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))
