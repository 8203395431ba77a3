"""Encode rotated residuals as packed OSQ planes and as 8-bit residual codes."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import kernel

LEAST_COSINE = np.float32(0.1)


@kernel
def encode_planes(residuals, deltas, bits, plane_offsets, codes, factors, first_factors):
    """Encode rotated residuals as bit planes with one factor per vector.

    Parameters
    ----------
    residuals : float32 (n, d)
        Rotated residuals, not normalized.
    deltas : float32 (D,)
        Grid step of each coded dimension, relative to a residual of norm 1; D <= d.
    bits : int32 (D,)
        Bits of each coded dimension, non-increasing, 1 to 8.
    plane_offsets : int32 (planes,)
        First nibble of each plane.
    codes : uint8 (n, bytes)
        Output, initially zero: nibble 2j in the low half of byte j, nibble 2j + 1 in its high half.
    factors, first_factors : float32 (n,)
        Outputs: norm / <code, o>, with o the normalized residual, for the whole code and for plane 0; 0 for a zero
        residual. A code that is nearly orthogonal to its residual carries no information, so their cosine is clamped to
        at least LEAST_COSINE.
    """
    n, d = residuals.shape
    coded = deltas.shape[0]
    for row in range(n):
        square = np.float32(0.0)
        for j in range(d):
            square += residuals[row, j] * residuals[row, j]
        factors[row] = np.float32(0.0)
        first_factors[row] = np.float32(0.0)
        if square <= np.float32(0.0):
            continue
        norm = np.sqrt(square)
        inverse = np.float32(1.0) / norm
        product = np.float32(0.0)
        first_product = np.float32(0.0)
        code_square = np.float32(0.0)
        first_square = np.float32(0.0)
        for j in range(coded):
            o = residuals[row, j] * inverse
            b = bits[j]
            half = np.int32(1 << (b - 1))
            level = np.int32(np.floor(o / deltas[j])) + half
            level = min(max(level, np.int32(0)), np.int32(2) * half - np.int32(1))
            value = deltas[j] * (np.float32(level - half) + np.float32(0.5))
            sign = deltas[j] * np.float32(half) * np.float32(0.5)
            product += o * value
            first_product += np.abs(o) * sign
            code_square += value * value
            first_square += sign * sign
            for p in range(b):
                if (level >> (b - 1 - p)) & 1:
                    nibble = plane_offsets[p] + j // 4
                    codes[row, nibble // 2] |= np.uint8(1 << (j % 4 + 4 * (nibble % 2)))
        if code_square > np.float32(0.0):
            factors[row] = norm / max(product, LEAST_COSINE * np.sqrt(code_square))
            first_factors[row] = norm / max(first_product, LEAST_COSINE * np.sqrt(first_square))


@kernel
def decode_planes(codes, deltas, bits, plane_offsets, values):
    """Decode codes to values on the unit-norm grid, float32 (n, d): inverts `encode_planes` up to the factor."""
    for row in range(codes.shape[0]):
        for j in range(values.shape[1]):
            values[row, j] = np.float32(0.0)
        for j in range(deltas.shape[0]):
            level = 0
            for p in range(bits[j]):
                nibble = plane_offsets[p] + j // 4
                level = (level << 1) | ((codes[row, nibble // 2] >> (j % 4 + 4 * (nibble % 2))) & 1)
            values[row, j] = deltas[j] * (np.float32(level - (1 << (bits[j] - 1))) + np.float32(0.5))


@kernel
def largest_ratio(residuals, weights, out):
    """Compute ``max_j |residual_j| / weight_j`` of every row, the range that the 8-bit grid must span."""
    n, d = residuals.shape
    for row in range(n):
        largest = np.float32(0.0)
        for j in range(d):
            largest = max(largest, np.abs(residuals[row, j]) / weights[j])
        out[row] = largest


@kernel
def encode_int8(residuals, weights, scales, codes):
    """Encode residuals as ``round(residual / (weight * scale))``, clipped to [-127, 127]; 0 if the scale is 0."""
    n, d = residuals.shape
    for row in range(n):
        inverse = np.float32(0.0) if scales[row] == np.float32(0.0) else np.float32(1.0) / scales[row]
        for j in range(d):
            value = residuals[row, j] / weights[j] * inverse
            value = np.floor(value + np.float32(0.5))
            codes[row, j] = np.int8(min(max(value, np.float32(-127.0)), np.float32(127.0)))
