"""How many bits each block of dimensions gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vsearch.quantizers.gaussian import ERROR, MAX_BITS


def allocate_bits(variances: NDArray[np.float64], widths: Sequence[int], budget: int) -> NDArray[np.int32]:
    """Bits per dimension of each block that minimise the total squared error.

    Exact dynamic programming over blocks and spent bits: O(blocks * budget * 9).

    Parameters
    ----------
    variances : float64 (blocks,)
        Mean variance of a block's dimensions, descending.
    widths : (blocks,)
        Dimensions of each block.
    budget : int
        Bits to spend on one vector, at most ``8 * sum(widths)``.

    Returns
    -------
    bits : int32 (blocks,)
        0 to 8, descending. Blocks without variance get 0.
    """
    blocks = len(widths)
    best = np.zeros(budget + 1)
    choice = np.zeros((blocks, budget + 1), np.int8)
    for block in range(blocks):
        weight = variances[block] * widths[block]
        cost = best + weight
        choose = np.zeros(budget + 1, np.int8)
        for bits in range(1, MAX_BITS + 1 if weight > 0 else 1):
            spent = bits * widths[block]
            if spent > budget:
                break
            candidate = np.full(budget + 1, np.inf)
            candidate[spent:] = best[: budget + 1 - spent] + weight * ERROR[bits]
            better = candidate < cost
            cost[better] = candidate[better]
            choose[better] = bits
        best, choice[block] = cost, choose
    allocated = np.zeros(blocks, np.int32)
    left = int(np.argmin(best))
    for block in range(blocks - 1, -1, -1):
        allocated[block] = choice[block, left]
        left -= int(allocated[block]) * widths[block]
    return np.sort(allocated)[::-1].astype(np.int32)
