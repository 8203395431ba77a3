"""Bit allocation among blocks of dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vsearch.quantizers.gaussian import ERROR, MAX_BITS


def allocate_bits(variances: NDArray[np.float64], widths: Sequence[int], budget: int) -> NDArray[np.int32]:
    """Choose the bits per dimension of each block, non-increasing, that minimize the total squared error.

    Exact dynamic programming over blocks, bits of the block and bits spent: O(blocks * budget * 9).

    Parameters
    ----------
    variances : float64 (blocks,)
        Mean variance of each block's dimensions, descending. If they are not, a block still gets no fewer bits than
        those after it.
    widths : (blocks,)
        Number of dimensions of each block.
    budget : int
        Bits to spend on one vector, at most ``8 * sum(widths)``.

    Returns
    -------
    bits : int32 (blocks,)
        0 to 8, non-increasing; ``sum(bits * widths) <= budget``. Trailing blocks without variance get 0.
    """
    blocks = len(widths)
    # best[b]: smallest error of the blocks so far, by bits spent, if the last of them has at least b bits
    best = np.zeros((MAX_BITS + 1, budget + 1))
    choice = np.zeros((blocks, MAX_BITS + 1, budget + 1), np.int8)
    for block in range(blocks):
        errors = np.full((MAX_BITS + 1, budget + 1), np.inf)
        for bits in range(MAX_BITS, -1, -1):
            spent = bits * widths[block]
            if spent <= budget:
                errors[bits, spent:] = best[bits, : budget + 1 - spent] + variances[block] * widths[block] * ERROR[bits]
            choice[block, bits] = bits
            if bits < MAX_BITS:
                more = errors[bits + 1] < errors[bits]
                errors[bits, more] = errors[bits + 1, more]
                choice[block, bits, more] = choice[block, bits + 1, more]
        best = errors
    allocated = np.zeros(blocks, np.int32)
    at_least, left = 0, int(np.argmin(best[0]))
    for block in range(blocks - 1, -1, -1):
        at_least = int(choice[block, at_least, left])
        allocated[block] = at_least
        left -= at_least * widths[block]
    return allocated


def allocate_to_few(
    variances: NDArray[np.float64], widths: Sequence[int], budget: int, excess: float
) -> NDArray[np.int32]:
    """Choose as `allocate_bits`, but give bits to the fewest blocks with which the error is at most ``1 + excess`` times as large.

    By bisection, since more blocks never increase the error.
    """
    best = allocate_bits(variances, widths, budget)
    limit = (1 + excess) * _error(variances, widths, best)
    low, high = 0, int(np.count_nonzero(best))
    while low < high:
        middle = (low + high) // 2
        bits = allocate_bits(np.where(np.arange(len(widths)) < middle, variances, 0.0), widths, budget)
        if _error(variances, widths, bits) <= limit:
            best, high = bits, middle
        else:
            low = middle + 1
    return best


def _error(variances: NDArray[np.float64], widths: Sequence[int], bits: NDArray[np.int32]) -> float:
    return float(np.sum(variances * np.asarray(widths) * np.asarray(ERROR)[bits]))
