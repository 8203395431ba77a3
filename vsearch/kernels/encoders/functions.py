"""The functions between an encoder's products: layer normalization, GELU and softmax in float32, by polynomial approximations.

The coefficients are those of `vsearch.encoders.functions`, the NumPy reference of this module.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.encoders.fields import LANES
from vsearch.kernels.encoders.loops import FLOATS, FOUR, WORDS, loop, pointer, store
from vsearch.kernels.toolchain.compiling import inlined, inlined_summing
from vsearch.kernels.toolchain.simd import DIALECT, F32, I32, broadcast, load, splat

ROOT_HALF, ERF_LIMIT = np.float32(0.7071067811865476), np.float32(4.0)
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
LEAST_EXPONENT = np.float32(-87.0)
#: Of ``(exp(r) - 1 - r) / r^2`` for r from -ln 2 / 2 to ln 2 / 2, highest power first.
POWERS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


@inlined
def gelu(x):
    """``x * Phi(x)``; absolute error below 1e-6."""
    z = min(max(x * ROOT_HALF, -ERF_LIMIT), ERF_LIMIT)
    square = z * z
    numerator = np.float32(-2.72614225801306e-10)
    numerator = numerator * square + np.float32(2.77068142495902e-08)
    numerator = numerator * square + np.float32(-2.10102402082508e-06)
    numerator = numerator * square + np.float32(-5.69250639462346e-05)
    numerator = numerator * square + np.float32(-7.34990630326855e-04)
    numerator = numerator * square + np.float32(-2.95459980854025e-03)
    numerator = numerator * square + np.float32(-1.60960333262415e-02)
    denominator = np.float32(-1.45660718464996e-05)
    denominator = denominator * square + np.float32(-2.13374055278905e-04)
    denominator = denominator * square + np.float32(-1.68282697438203e-03)
    denominator = denominator * square + np.float32(-7.37332916720468e-03)
    denominator = denominator * square + np.float32(-1.42647390514189e-02)
    half = np.float32(0.5) * x
    return half + half * (z * numerator / denominator)


@inlined
def exponential(x):
    """``exp(x)`` for x <= 0; relative error below 2e-7; x is clipped at -87."""
    x = max(x, LEAST_EXPONENT)
    exponent = np.int32(x * LOG2_E - np.float32(0.5))  # rounds to nearest, since it is not positive
    n = np.float32(exponent)
    r = x - n * LN2_HIGH - n * LN2_LOW
    p = np.float32(POWERS[0])
    p = p * r + np.float32(POWERS[1])
    p = p * r + np.float32(POWERS[2])
    p = p * r + np.float32(POWERS[3])
    p = p * r + np.float32(POWERS[4])
    p = p * r + np.float32(POWERS[5])
    power = np.int32((exponent + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + np.float32(1.0)) * power


@inlined
def raise_powers_plain(scores, highest):
    """Portable implementation of `raise_powers`."""
    for j in range(scores.shape[0]):
        scores[j] = exponential(min(scores[j] - highest, np.float32(0.0)))


@intrinsic
def _raise_powers(typingctx, scores, highest, count):
    """Vectorized `raise_powers_plain`; the count is a nonzero multiple of 16."""
    signature = types.void(scores, types.float32, types.int64)

    def codegen(context, b, signature, args):
        scores, highest = pointer(context, b, signature.args[0], args[0]), broadcast(b, args[1], LANES)
        log2, high, low, half, one = (splat(F32, LANES, float(value)) for value in (LOG2_E, LN2_HIGH, LN2_LOW, 0.5, 1))
        zero, least = splat(F32, LANES, 0.0), splat(F32, LANES, float(LEAST_EXPONENT))

        def body(index: ir.Value) -> list[ir.Value]:
            x = b.fsub(load(b, scores, b.mul(index, FOUR), FLOATS, 4), highest)
            x = b.select(b.fcmp_ordered("<", x, zero), x, zero)
            x = b.select(b.fcmp_ordered(">", x, least), x, least)
            exponent = b.fptosi(b.fsub(b.fmul(x, log2), half), WORDS)
            n = b.sitofp(exponent, FLOATS)
            r = b.fsub(b.fsub(x, b.fmul(n, high)), b.fmul(n, low))
            p = splat(F32, LANES, POWERS[0])
            for coefficient in POWERS[1:]:
                p = b.fadd(b.fmul(p, r), splat(F32, LANES, coefficient))
            value = b.fadd(b.fadd(b.fmul(b.fmul(p, r), r), r), one)
            power = b.shl(b.add(exponent, splat(I32, LANES, 127)), splat(I32, LANES, 23))
            store(b, b.fmul(value, b.bitcast(power, FLOATS)), scores, b.mul(index, FOUR))
            return []

        loop(b, args[2], [], body)
        return context.get_dummy_value()

    return signature, codegen


if DIALECT is None:
    raise_powers = raise_powers_plain

else:

    @inlined
    def raise_powers(scores, highest):
        """Replace scores with ``exp(score - highest)``, at most 1; their number is a multiple of 16."""
        _raise_powers(scores, highest, scores.shape[0])


@inlined_summing
def add_up(values, count):
    """Sum of the first values."""
    total = np.float32(0.0)
    for i in range(count):
        total += values[i]
    return total


@inlined_summing
def square_sum(values, mean, count):
    """Sum of squared differences from a mean."""
    total = np.float32(0.0)
    for i in range(count):
        difference = values[i] - mean
        total += difference * difference
    return total


@inlined
def layer_norm(row, norm, epsilon):
    """Normalize a row float32 (width,) in place; `norm` is its weight and bias, float32 (2, width)."""
    width = row.shape[0]
    mean = add_up(row, width) / np.float32(width)
    variance = square_sum(row, mean, width) / np.float32(width)
    scale = np.float32(1.0) / np.sqrt(variance + epsilon)
    for i in range(width):
        row[i] = (row[i] - mean) * scale * norm[0, i] + norm[1, i]


@inlined
def soften(scores, count):
    """Softmax of the first scores, in place; the padding up to a multiple of 16 becomes 0."""
    highest = scores[0]
    for j in range(1, count):
        highest = max(highest, scores[j])
    raise_powers(scores, highest)
    for j in range(count, scores.shape[0]):
        scores[j] = np.float32(0.0)
    share = np.float32(1.0) / add_up(scores, count)
    for start in range(0, scores.shape[0], LANES):
        for lane in range(LANES):
            scores[start + lane] *= share
