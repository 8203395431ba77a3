"""The functions between an encoder's products: layer normalization, GELU and softmax in float32, by polynomial approximations.

The coefficients are those of `vsearch.encoders.functions`, the NumPy reference of this module.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.encoders.fields import ATTENDING, LANES
from vsearch.kernels.encoders.loops import FLOATS, FOUR, WORDS, combine, loop, pointer, store
from vsearch.kernels.toolchain.compiling import inlined, inlined_summing
from vsearch.kernels.toolchain.simd import DIALECT, F32, I32, I64, broadcast, load, splat

ROOT_HALF, ERF_LIMIT = np.float32(0.7071067811865476), np.float32(4.0)
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
LEAST_EXPONENT = np.float32(-87.0)
LEAST_SCORE = np.float32(-3.0e38)
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
def soften_plain(scores, begin, end, token, distance, tokens):
    """Portable implementation of `soften`."""
    for row in range(scores.shape[0]):
        first, last = max(0, token + row - distance), min(tokens, token + row + distance + 1)
        highest = LEAST_SCORE
        for j in range(first, last):
            highest = max(highest, scores[row, j])
        total = np.float32(0.0)
        for j in range(begin, end):
            power = np.float32(0.0)
            if first <= j < last:
                difference = scores[row, j] - highest
                if difference > LEAST_EXPONENT:
                    power = exponential(min(difference, np.float32(0.0)))
                elif np.isnan(difference):
                    power = difference
            scores[row, j] = power
            total += power
        share = np.float32(1.0) / total
        for j in range(begin, end):
            scores[row, j] *= share


def _larger(b: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    return b.select(b.fcmp_ordered(">", left, right), left, right)


def _raise_power(b: ir.IRBuilder, difference: ir.Value) -> ir.Value:
    """`exponential` of the lanes of a vector, at most 1; 0 from -87 down, and NaN for NaN."""
    contract = ("contract",)

    def add_product(left: ir.Value, right: ir.Value, added: ir.Value) -> ir.Value:
        return b.fadd(b.fmul(left, right, flags=contract), added, flags=contract)

    zero, least = splat(F32, LANES, 0.0), splat(F32, LANES, float(LEAST_EXPONENT))
    x = b.select(b.fcmp_ordered("<", zero, difference), zero, difference)
    x = b.select(b.fcmp_ordered(">", least, x), least, x)
    exponent = b.fptosi(add_product(x, splat(F32, LANES, float(LOG2_E)), splat(F32, LANES, -0.5)), WORDS)
    n = b.sitofp(exponent, FLOATS)
    r = add_product(n, splat(F32, LANES, -float(LN2_LOW)), add_product(n, splat(F32, LANES, -float(LN2_HIGH)), x))
    p = splat(F32, LANES, POWERS[0])
    for coefficient in POWERS[1:]:
        p = add_product(p, r, splat(F32, LANES, coefficient))
    value = add_product(p, b.fmul(r, r), b.fadd(r, splat(F32, LANES, 1.0)))
    power = b.bitcast(b.shl(b.add(exponent, splat(I32, LANES, 127)), splat(I32, LANES, 23)), FLOATS)
    return b.select(b.fcmp_ordered("<=", difference, least), zero, b.fmul(value, power))


@intrinsic
def _soften(typingctx, scores, begin, count, width, token, distance, tokens):
    """Vectorized `soften_plain`, interleaved over rows of `width` columns; the count is a nonzero multiple of 16."""
    signature = types.void(scores, *[types.int64] * 6)

    def codegen(context, b, signature, args):
        scores, (begin, count, width, token, distance, tokens) = args[0], args[1:]
        base, one = pointer(context, b, signature.args[0], scores), ir.Constant(I64, 1)
        rows, firsts, lasts = [], [], []
        for row in range(ATTENDING):
            rows.append(b.gep(base, [b.mul(b.add(begin, b.mul(width, ir.Constant(I64, row))), FOUR)]))
            near = b.sub(b.add(token, ir.Constant(I64, row)), begin)  # bounds are relative to the first column
            last, limit = b.add(b.add(near, distance), one), b.sub(tokens, begin)
            lasts.append(broadcast(b, b.trunc(b.select(b.icmp_signed("<", last, limit), last, limit), I32), LANES))
            firsts.append(broadcast(b, b.trunc(b.sub(near, distance), I32), LANES))
        lowest, zero = splat(F32, LANES, float(LEAST_SCORE)), splat(F32, LANES, 0.0)
        hidden = splat(F32, LANES, -math.inf)  # below any maximum, so its power is 0
        lane_numbers = ir.Constant(WORDS, list(range(LANES)))

        def find(index: ir.Value, *highest: ir.Value) -> list[ir.Value]:
            at, columns = b.mul(index, FOUR), b.add(broadcast(b, b.trunc(index, I32), LANES), lane_numbers)
            maxima = []
            for row, first, last, top in zip(rows, firsts, lasts, highest, strict=True):
                near = b.and_(b.icmp_signed(">=", columns, first), b.icmp_signed("<", columns, last))
                score = b.select(near, load(b, row, at, FLOATS, 4), hidden)
                store(b, score, row, at)
                maxima.append(_larger(b, score, top))
            return maxima

        def raise_powers(index: ir.Value, *totals: ir.Value) -> list[ir.Value]:
            at, added = b.mul(index, FOUR), []
            for row, top, total in zip(rows, highest, totals, strict=True):
                value = _raise_power(b, b.fsub(load(b, row, at, FLOATS, 4), top))
                store(b, value, row, at)
                added.append(b.fadd(total, value))
            return added

        def divide(index: ir.Value) -> list[ir.Value]:
            at = b.mul(index, FOUR)
            for row, share in zip(rows, shares, strict=True):
                store(b, b.fmul(load(b, row, at, FLOATS, 4), share), row, at)
            return []

        highest = [
            combine(b, top, lambda left, right: _larger(b, left, right))
            for top in loop(b, count, [lowest] * ATTENDING, find)
        ]
        totals = loop(b, count, [zero] * ATTENDING, raise_powers)
        shares = [b.fdiv(splat(F32, LANES, 1.0), combine(b, total, b.fadd)) for total in totals]
        loop(b, count, [], divide)
        return context.get_dummy_value()

    return signature, codegen


if DIALECT is None:
    soften = soften_plain

else:

    @inlined
    def soften(scores, begin, end, token, distance, tokens):
        """Softmax of the scores of each of four adjacent tokens, in place.

        Parameters
        ----------
        scores : float32 (4, >= end)
        begin, end : int
            Columns, multiples of 16. Those beyond the tokens within the distance become 0. With a NaN among the others, all
            become NaN.
        token : int
            The first of the four.
        distance, tokens : int
            See `attend`.
        """
        _soften(scores, begin, end - begin, scores.shape[1], token, distance, tokens)


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
