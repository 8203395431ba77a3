"""The scan of byte codes, with one table of 256 floats per code byte, as for PQ with 256 centroids.

Table entries are floats that are summed in the order of the bytes, without rounding to integers, so a row's estimate is
its score.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.scan.dot_products import half_to_float
from vsearch.kernels.toolchain.compiling import inlined

ENTRIES = 256
SLACK = np.float32(1e-6)  # of the largest possible sum: difference of float32 sums in different orders


@inlined
def sum_bytes(block, lane, tables):
    """Return the table sum of one lane of a block, uint8 (bytes * 32,); `tables` is float32 (bytes, 256)."""
    total = np.float32(0.0)
    for j in range(tables.shape[0]):
        total += tables[j, block[j * 32 + lane]]
    return total


@inlined
def good_bytes(block, tables, sums, factors, offsets, row, count, slope, intercept, least):
    """Find the lanes of a block whose upper bound is at least `least`; `nibbles.good_lanes` for byte codes.

    Parameters
    ----------
    block : uint8 (bytes * 32,)
        One block of codes (see `blocks`).
    tables : float32 (bytes, 256)
    sums : float32 (32,)
        Scratch.
    factors, offsets : uint16 (rows,), float32 (rows,) or (0,)
        Of the shard; the block's first lane is row `row`.
    count : int
        Number of lanes that are rows, 1 to 32.
    slope, intercept, least : float32

    Returns
    -------
    uint64
        Bit v is set for lane v.
    """
    for v in range(32):
        sums[v] = np.float32(0.0)
    for j in range(tables.shape[0]):
        for v in range(32):
            sums[v] += tables[j, block[j * 32 + v]]
    good = np.uint64(0)
    for v in range(count):
        bound = half_to_float(factors[row + v]) * (sums[v] * slope + intercept)
        if offsets.shape[0] > 0:
            bound -= offsets[row + v]
        if bound >= least:
            good |= np.uint64(1) << np.uint64(v)
    return good


@inlined
def sum_slack(tables):
    """Return the largest difference by rounding of two sums of the same entries."""
    largest = np.float32(0.0)
    for j in range(tables.shape[0]):
        peak = np.float32(0.0)
        for e in range(tables.shape[1]):
            peak = max(peak, np.abs(tables[j, e]))
        largest += peak
    return SLACK * largest
