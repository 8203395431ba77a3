"""Quantization: inputs are rounded to unsigned 8 bits before a product, and sums are converted to floats after it."""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.encoders.fields import BLOCK, LANES
from vsearch.kernels.encoders.loops import FLOATS, FOUR, WORDS, combine, loop, pointer, store
from vsearch.kernels.encoders.products import SHIFT
from vsearch.kernels.toolchain.compiling import inlined
from vsearch.kernels.toolchain.simd import DIALECT, F32, I8, I32, I64, broadcast, load, splat

OCTETS = ir.VectorType(I8, LANES)


@inlined
def scale_plain(row, scales, start, scaled, bounds):
    """Scale a row, starting at a column, and update the first lane of its bounds (2, 16).

    A NaN is noted in the last lane.
    """
    for column in range(start, row.shape[0]):
        value = row[column] * scales[column]
        scaled[column] = value
        bounds[0, 0] = min(bounds[0, 0], value)
        bounds[1, 0] = max(bounds[1, 0], value)
        if np.isnan(value):
            bounds[0, LANES - 1] = value


@inlined
def round_plain(row, start, low, inverse, codes):
    """Round a row, starting at a column: ``floor((x - low) * inverse + 1/2)``, at most 255."""
    for column in range(start, row.shape[0]):
        code = np.int32((row[column] - low) * inverse + np.float32(0.5))
        codes[column] = np.uint8(min(code, np.int32(255)))


@inlined
def settle_plain(sums, row_sums, steps, bias, start, factors, first, count, outputs):
    """Convert the sums of some tokens to floats: ``(sum * step + low * row_sum) * row_step + bias``.

    Parameters
    ----------
    sums : int32 (6, 64)
    row_sums, steps, bias : int32, float32 and float32 (rows,)
    start : int
        The first row of the block.
    factors : float32 (t, >= 2)
        Offset and step of each token's codes.
    first, count : int
        The tokens, 1 to 6.
    outputs : float32 (t, >= rows)
        Output.
    """
    for token in range(count):
        low, step = factors[first + token, 0], factors[first + token, 1]
        for row in range(start, min(start + BLOCK, row_sums.shape[0])):
            total = np.float32(np.int32(sums[token, row - start] + SHIFT * row_sums[row]))
            outputs[first + token, row] = (total * step + low * np.float32(row_sums[row])) * steps[row] + bias[row]


@intrinsic
def _scale(typingctx, row, scales, count, scaled, bounds):
    """Vectorized `scale_plain` of the first columns, a nonzero multiple of 16; all lanes of the bounds are written.

    With a NaN or an infinity, all lower bounds become NaN.
    """
    signature = types.void(row, scales, types.int64, scaled, bounds)

    def codegen(context, b, signature, args):
        row, scales, scaled, bounds = (pointer(context, b, signature.args[i], args[i]) for i in (0, 1, 3, 4))

        def body(index: ir.Value, low: ir.Value, high: ir.Value, wrong: ir.Value) -> list[ir.Value]:
            at = b.mul(index, FOUR)
            value = b.fmul(load(b, row, at, FLOATS, 4), load(b, scales, at, FLOATS, 4))
            store(b, value, scaled, at)
            lower, higher = b.fcmp_ordered("<", value, low), b.fcmp_ordered(">", value, high)
            difference = b.fsub(value, value)  # 0 or NaN
            return [b.select(lower, value, low), b.select(higher, value, high), b.fadd(wrong, difference)]

        start = [splat(F32, LANES, number) for number in (3.0e38, -3.0e38, 0.0)]
        low, high, wrong = loop(b, args[2], start, body)
        store(b, b.fadd(low, combine(b, wrong, b.fadd)), bounds, ir.Constant(I64, 0))
        store(b, high, bounds, ir.Constant(I64, 4 * LANES))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _round(typingctx, row, count, low, inverse, codes):
    """Vectorized `round_plain` of the first columns, a nonzero multiple of 16."""
    signature = types.void(row, types.int64, types.float32, types.float32, codes)

    def codegen(context, b, signature, args):
        row, codes = (pointer(context, b, signature.args[i], args[i]) for i in (0, 4))
        low, inverse = broadcast(b, args[2], LANES), broadcast(b, args[3], LANES)
        most = splat(I32, LANES, 255)

        def body(index: ir.Value) -> list[ir.Value]:
            value = b.fsub(load(b, row, b.mul(index, FOUR), FLOATS, 4), low)
            code = b.fptosi(b.fadd(b.fmul(value, inverse), splat(F32, LANES, 0.5)), WORDS)
            store(b, b.trunc(b.select(b.icmp_signed("<", code, most), code, most), OCTETS), codes, index)
            return []

        loop(b, args[1], [], body)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _settle(typingctx, sums, row_sums, steps, bias, start, factors, stride, first, count, outputs, width):
    """Vectorized `settle_plain` for a block of 64 rows; factors have `stride` columns and outputs `width`."""
    integer = types.int64
    signature = types.void(sums, row_sums, steps, bias, integer, factors, integer, integer, integer, outputs, integer)

    def codegen(context, b, signature, args):
        arrays = (0, 1, 2, 3, 5, 9)
        sums, row_sums, steps, bias, factors, outputs = (
            pointer(context, b, signature.args[i], args[i]) for i in arrays
        )
        start, stride, first, count, width = (args[i] for i in (4, 6, 7, 8, 10))
        block = []
        for lane in range(0, BLOCK, LANES):
            at = b.mul(b.add(start, ir.Constant(I64, lane)), FOUR)
            row_sum = load(b, row_sums, at, WORDS, 4)
            shift = b.mul(row_sum, splat(I32, LANES, SHIFT))
            block.append(
                (b.sitofp(row_sum, FLOATS), shift, load(b, steps, at, FLOATS, 4), load(b, bias, at, FLOATS, 4))
            )
        entry, inside, done = b.block, b.append_basic_block("tokens"), b.append_basic_block("settled")
        b.branch(inside)
        b.position_at_end(inside)
        token = b.phi(I64)
        token.add_incoming(ir.Constant(I64, 0), entry)
        place = b.add(first, token)
        pair = b.mul(b.mul(place, stride), FOUR)
        low, step = (broadcast(b, load(b, factors, b.add(pair, ir.Constant(I64, at)), F32, 4), LANES) for at in (0, 4))
        out = b.mul(b.add(b.mul(place, width), start), FOUR)
        for number, (row_sum, shift, row_step, offset) in enumerate(block):
            at = ir.Constant(I64, 4 * LANES * number)
            total = load(b, sums, b.add(b.mul(token, ir.Constant(I64, 4 * BLOCK)), at), WORDS, 4)
            if SHIFT:
                total = b.add(total, shift)
            value = b.fadd(b.fmul(b.sitofp(total, FLOATS), step), b.fmul(low, row_sum))
            store(b, b.fadd(b.fmul(value, row_step), offset), outputs, b.add(out, at))
        following = b.add(token, ir.Constant(I64, 1))
        token.add_incoming(following, inside)
        b.cbranch(b.icmp_signed("<", following, count), inside, done)
        b.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


VECTORS = DIALECT is not None

if DIALECT is None:

    @inlined
    def scale(row, scales, vectorized, scaled, bounds):
        """Scale a row and find its bounds."""
        scale_plain(row, scales, vectorized, scaled, bounds)

    @inlined
    def to_codes(row, vectorized, low, inverse, codes):
        """Round a scaled row."""
        round_plain(row, vectorized, low, inverse, codes)

    settle = settle_plain

else:

    @inlined
    def scale(row, scales, vectorized, scaled, bounds):
        """Scale a row and find its bounds; the first `vectorized` columns with vector instructions."""
        if vectorized > 0:
            _scale(row, scales, vectorized, scaled, bounds)
        scale_plain(row, scales, vectorized, scaled, bounds)

    @inlined
    def to_codes(row, vectorized, low, inverse, codes):
        """Round a scaled row; the first `vectorized` columns with vector instructions."""
        if vectorized > 0:
            _round(row, vectorized, low, inverse, codes)
        round_plain(row, vectorized, low, inverse, codes)

    @inlined
    def settle(sums, row_sums, steps, bias, start, factors, first, count, outputs):
        """Convert the sums of some tokens with a block of rows to floats; see `settle_plain`."""
        if start + BLOCK <= row_sums.shape[0]:
            _settle(
                sums, row_sums, steps, bias, start, factors, factors.shape[1], first, count, outputs, outputs.shape[1]
            )
        else:
            settle_plain(sums, row_sums, steps, bias, start, factors, first, count, outputs)


@inlined
def quantize(row, scales, scaled, codes, bounds):
    """Scale a row by column and quantize it to unsigned 8 bits between its minimum and its maximum.

    Parameters
    ----------
    row, scales : float32 (columns,)
    scaled : float32 (>= columns,)
        Scratch.
    codes : uint8 (>= columns,)
        Output; padded with 0 beyond the columns.
    bounds : float32 (2, 16)
        Scratch.

    Returns
    -------
    low, step : float32
        An element is approximately ``low + step * code``. They are NaN if an element is.
    """
    columns = row.shape[0]
    vectorized = columns - columns % LANES if VECTORS else 0
    for lane in range(LANES):
        bounds[0, lane] = np.float32(3.0e38)
        bounds[1, lane] = np.float32(-3.0e38)
    scale(row, scales, vectorized, scaled, bounds)
    low, high = bounds[0, LANES - 1], bounds[1, LANES - 1]
    for lane in range(LANES - 1):
        low = bounds[0, lane] if bounds[0, lane] < low else low  # noqa: FURB136  a NaN stays
        high = max(high, bounds[1, lane])
    step = (high - low) * np.float32(1.0 / 255.0)
    inverse = np.float32(1.0) / step if step > np.float32(0.0) else np.float32(0.0)
    to_codes(scaled[:columns], vectorized, low, inverse, codes)
    for column in range(columns, codes.shape[0]):
        codes[column] = np.uint8(0)
    return low, step
