"""Lookup tables of a query: floats for the final estimate, 7-bit integers for the scan.

A nibble of an OSQ plane is one bit of four consecutive dimensions; its table contains the 16 signed sums of the four
scaled query values. The table of a PQ nibble contains the 16 inner products. Both are summed by the same scan.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import summing, summing_part

ENTRIES = 16
LARGEST = 127  # the sum of two 7-bit entries fits in a byte
BITS = ((np.arange(ENTRIES) >> np.arange(4)[:, None]) & 1).astype(np.float32)  # (4, 16): bit i of every entry


@summing
def sign_tables(scaled_query, plane_dimensions, plane_offsets, tables):
    """Fill `tables` (nibbles, 16) with the signed sums of every plane.

    Parameters
    ----------
    scaled_query : float32 (D,)
        Rotated query times the block's delta * 2^(bits - 2), in code order; D >= plane_dimensions[0].
    plane_dimensions : int32 (planes,)
        Number of leading dimensions in each plane, non-increasing.
    plane_offsets : int32 (planes,)
        First nibble of each plane.
    tables : float32 (nibbles, 16)
        Output; zero for nibbles that belong to no plane.
    """
    tables[:] = np.float32(0.0)
    weight = np.float32(1.0)
    for plane in range(plane_dimensions.shape[0]):
        count = plane_dimensions[plane]
        nibble = plane_offsets[plane]
        for first in range(0, count, 4):
            a = scaled_query[first] * weight
            b = scaled_query[first + 1] * weight if first + 1 < count else np.float32(0.0)
            c = scaled_query[first + 2] * weight if first + 2 < count else np.float32(0.0)
            d = scaled_query[first + 3] * weight if first + 3 < count else np.float32(0.0)
            # the sums of (a, b) for each sum of (c, d)
            for upper in range(4):
                rest = (c if upper & 1 else -c) + (d if upper & 2 else -d)
                at = upper * 4
                tables[nibble, at] = rest - a - b
                tables[nibble, at + 1] = rest + a - b
                tables[nibble, at + 2] = rest - a + b
                tables[nibble, at + 3] = rest + a + b
            nibble += 1
        weight *= np.float32(0.5)


@summing_part
def round_tables(tables, rounded):
    """Round float tables to 7 bits with a common step.

    Parameters
    ----------
    tables : float32 (nibbles, 16)
    rounded : uint8 (nibbles', 16), nibbles' >= nibbles
        Output; tables beyond `nibbles` are set to 0.

    Returns
    -------
    step, bias : float32
        A sum of entries is approximately ``step * (sum of rounded entries) + bias``.
    """
    widest = np.float32(0.0)
    bias = np.float32(0.0)
    for n in range(tables.shape[0]):
        low = high = tables[n, 0]
        for e in range(1, 16):
            low = min(low, tables[n, e])
            high = max(high, tables[n, e])
        widest = max(widest, high - low)
        bias += low
    step = widest / np.float32(LARGEST)
    inverse = np.float32(0.0) if step == np.float32(0.0) else np.float32(1.0) / step
    for n in range(tables.shape[0]):
        low = tables[n, 0]
        for e in range(1, 16):
            low = min(low, tables[n, e])
        for e in range(16):
            rounded[n, e] = np.uint8(
                np.int32(min(np.float32(LARGEST), (tables[n, e] - low) * inverse + np.float32(0.5)))
            )
    for n in range(tables.shape[0], rounded.shape[0]):
        for e in range(16):
            rounded[n, e] = 0
    return step, bias


@summing_part
def round_sign_tables(scaled_query, plane_dimensions, plane_offsets, rounded):
    """Compute the result of `sign_tables` followed by `round_tables`, without the intermediate float tables.

    Parameters
    ----------
    scaled_query, plane_dimensions, plane_offsets
        See `sign_tables`.
    rounded : uint8 (nibbles, 16)
        Output; zero for nibbles that belong to no plane.

    Returns
    -------
    step, bias : float32
        See `round_tables`.
    """
    rounded[:] = 0
    widest = bias = np.float32(0.0)
    weight = np.float32(1.0)
    for plane in range(plane_dimensions.shape[0]):
        for first in range(0, plane_dimensions[plane], 4):
            height = np.float32(0.0)
            for i in range(first, min(first + 4, plane_dimensions[plane])):
                height += abs(scaled_query[i]) * weight
            widest = max(widest, height)
            bias -= height
        weight *= np.float32(0.5)
    step = np.float32(2.0) * widest / np.float32(LARGEST)
    inverse = np.float32(0.0) if step == np.float32(0.0) else np.float32(1.0) / step
    weight = np.float32(2.0) * inverse
    for plane in range(plane_dimensions.shape[0]):
        count = plane_dimensions[plane]
        nibble = plane_offsets[plane]
        for first in range(0, count, 4):
            a = scaled_query[first] * weight
            b = scaled_query[first + 1] * weight if first + 1 < count else np.float32(0.0)
            c = scaled_query[first + 2] * weight if first + 2 < count else np.float32(0.0)
            d = scaled_query[first + 3] * weight if first + 3 < count else np.float32(0.0)
            # shift the smallest sum to 0, plus one half to round to nearest
            low = np.float32(0.5)
            for value in (a, b, c, d):
                low -= min(value, np.float32(0.0))
            for e in range(ENTRIES):
                entry = low + a * BITS[0, e] + b * BITS[1, e] + c * BITS[2, e] + d * BITS[3, e]
                rounded[nibble, e] = np.uint8(np.int32(min(np.float32(LARGEST), entry)))
            nibble += 1
        weight *= np.float32(0.5)
    return step, bias
