"""Rerank: the inner product of a rotated query with a stored residual, and half-precision numbers."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.compiling import inlined, inlined_summing


@inlined
def half_to_float(half):
    """A float16, given as its 16 bits, as float32 (finite values only: shift the bits, then mend the exponent)."""
    magnitude = np.uint32(half & np.uint16(0x7FFF)) << np.uint32(13)
    value = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    if half & np.uint16(0x8000):
        return -value
    return value


@inlined_summing
def dot_int8(query, codes):
    """``sum query_j * codes_j``; query is float32 (d,), codes int8 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j] * np.float32(codes[j])
    return total


@inlined_summing
def dot_half(query, halves):
    """``sum query_j * halves_j``; halves is float16 given as uint16 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j] * half_to_float(halves[j])
    return total


@inlined_summing
def dot_float(query, values):
    """``sum query_j * values_j``, both float32 (d,)."""
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j] * values[j]
    return total
