"""The scan: sums of lookup-table entries over blocks of codes."""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True)
def scan_nibble_block(block, tables, sums):
    """Add up the table entries of one block's nibble codes.

    Parameters
    ----------
    block : uint8 (pairs * 32,)
        One block of codes (see `blocks`).
    tables : uint8 (2 * pairs, 16)
        Rounded tables, entries at most 127.
    sums : uint32 (32,)
        Output: the sum of every lane.
    """
    for v in range(32):
        sums[v] = 0
    for j in range(block.shape[0] // 32):
        low, high = tables[2 * j], tables[2 * j + 1]
        for v in range(32):
            code = block[j * 32 + v]
            sums[v] += np.uint32(low[code & np.uint8(15)]) + np.uint32(high[code >> np.uint8(4)])


@nb.njit(cache=True, nogil=True)
def sum_nibbles(block, lane, tables):
    """The float table sum of one lane of a block; `tables` is float32 (2 * pairs, 16)."""
    total = np.float32(0.0)
    for j in range(block.shape[0] // 32):
        code = block[j * 32 + lane]
        total += tables[2 * j, code & np.uint8(15)] + tables[2 * j + 1, code >> np.uint8(4)]
    return total
