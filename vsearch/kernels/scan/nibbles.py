"""The scan of nibble codes: sums of lookup-table entries over a block, and the lanes whose upper bound is high enough.

A lane's upper bound is ``factor * (slope * sum + intercept) - offset``; the result is a set of lanes, one bit each. The
SIMD body stays in registers; the portable body and the last, short block of a shard use plain loops.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.scan.dot_products import half_to_float
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.simd import DIALECT, F16, F32, I8, I16, I32, I64, Dialect, broadcast, lanes, load, splat

FLUSH = 256  # pairs summed in 16 bits: 256 * 2 * 127 < 65,536


@inlined
def sum_nibbles(block, lane, tables):
    """Return the float table sum of one lane of a block; `tables` is float32 (2 * pairs, 16)."""
    total = np.float32(0.0)
    for j in range(block.shape[0] // 32):
        code = block[j * 32 + lane]
        total += tables[2 * j, code & np.uint8(15)] + tables[2 * j + 1, code >> np.uint8(4)]
    return total


@inlined
def good_lanes_plain(codes, block, tables, factors, offsets, row, count, slope, intercept, least):
    """Find the lanes of a block whose upper bound is at least `least`: the portable body of `good_lanes`.

    Parameters
    ----------
    codes : uint8 (blocks, pairs * 32)
    block : int
    tables : uint8 (2 * pairs, 16)
        Rounded tables, entries at most 127.
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
    good = np.uint64(0)
    for v in range(count):
        total = np.uint32(0)
        for j in range(codes.shape[1] // 32):
            code = codes[block, j * 32 + v]
            total += np.uint32(tables[2 * j, code & np.uint8(15)]) + np.uint32(tables[2 * j + 1, code >> np.uint8(4)])
        bound = half_to_float(factors[row + v]) * (np.float32(total) * slope + intercept)
        if offsets.shape[0] > 0:
            bound -= offsets[row + v]
        if bound >= least:
            good |= np.uint64(1) << np.uint64(v)
    return good


def _data(context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value) -> ir.Value:
    """Return a byte pointer to the first element of an array."""
    return b.bitcast(context.make_array(kind)(context, b, value).data, I8.as_pointer())


def _make_good_lanes(dialect: Dialect) -> Any:
    """Build the SIMD body of `good_lanes`, for a block of 32 lanes that are all rows."""

    @intrinsic
    def body(typingctx, codes, first, pairs, tables, factors, offsets, row, slope, intercept, least):
        signature = types.uint64(
            codes, types.int64, types.int64, tables, factors, offsets, types.int64, *[types.float32] * 3
        )

        def codegen(context, b, signature, args):
            kinds = signature.args
            codes, tables = _data(context, b, kinds[0], args[0]), _data(context, b, kinds[3], args[3])
            factors, offsets = _data(context, b, kinds[4], args[4]), _data(context, b, kinds[5], args[5])
            has_offsets = b.icmp_signed(
                "!=", b.extract_value(context.make_array(kinds[5])(context, b, args[5]).shape, 0), ir.Constant(I64, 0)
            )
            first, pairs, row, slope, intercept, least = (args[i] for i in (1, 2, 6, 7, 8, 9))
            sums = _emit_sums(b, dialect, b.gep(codes, [first]), tables, pairs)
            halves = load(b, factors, b.mul(row, ir.Constant(I64, 2)), ir.VectorType(F16, 32), 2)
            factor = b.fpext(halves, ir.VectorType(F32, 32))
            bound = b.fmul(factor, b.fadd(b.fmul(sums, broadcast(b, slope, 32)), broadcast(b, intercept, 32)))
            with b.if_else(has_offsets) as (yes, no):
                with yes:
                    shift = load(b, offsets, b.mul(row, ir.Constant(I64, 4)), ir.VectorType(F32, 32), 4)
                    lowered = b.fsub(bound, shift)
                    with_offsets = b.block
                with no:
                    without = b.block
            value = b.phi(bound.type)
            value.add_incoming(lowered, with_offsets)
            value.add_incoming(bound, without)
            good = b.fcmp_ordered(">=", value, broadcast(b, least, 32))
            return b.zext(b.bitcast(good, I32), I64)

        return signature, codegen

    return body


def _emit_sums(b: ir.IRBuilder, dialect: Dialect, codes: ir.Value, tables: ir.Value, pairs: ir.Value) -> ir.Value:
    """Emit the sums of the 32 lanes as floats; `tables` are laid out by `expand_tables`.

    Two 7-bit entries are added in a byte; even and odd bytes accumulate separately in 16 bits. The even accumulator
    also accumulates 256 * odd, which is subtracted at the end.
    """
    width = dialect.width
    rows = width // 32
    words = ir.VectorType(I16, width // 2)
    bytes_ = ir.VectorType(I8, width)
    zero = ir.Constant(words, None)
    low_mask, by4, by8 = splat(I8, width, 15), splat(I16, width // 2, 4), splat(I16, width // 2, 8)
    steps = b.udiv(b.add(pairs, ir.Constant(I64, rows - 1)), ir.Constant(I64, rows))
    per_flush = ir.Constant(I64, FLUSH // rows)
    entry = b.block
    outer, inner, flush, done = (b.append_basic_block(name) for name in ("outer", "inner", "flush", "done"))
    b.branch(outer)

    b.position_at_end(outer)
    start = b.phi(I64)
    start.add_incoming(ir.Constant(I64, 0), entry)
    total = b.phi(ir.VectorType(F32, 32))
    total.add_incoming(ir.Constant(ir.VectorType(F32, 32), None), entry)
    flush_at = b.add(start, per_flush)
    stop = b.select(b.icmp_signed("<", flush_at, steps), flush_at, steps)
    b.branch(inner)

    b.position_at_end(inner)
    j, even, odd = b.phi(I64), b.phi(words), b.phi(words)
    for phi, value in ((j, start), (even, zero), (odd, zero)):
        phi.add_incoming(value, outer)
    code = load(b, codes, b.mul(j, ir.Constant(I64, width)), bytes_, 1)
    low = b.and_(code, low_mask)
    high = b.and_(b.bitcast(b.lshr(b.bitcast(code, words), by4), bytes_), low_mask)
    at = b.mul(j, ir.Constant(I64, 2 * width))
    low_table = load(b, tables, at, bytes_, 1)
    high_table = load(b, tables, b.add(at, ir.Constant(I64, width)), bytes_, 1)
    both = b.bitcast(b.add(dialect.lookup(b, low_table, low), dialect.lookup(b, high_table, high)), words)
    next_even, next_odd = b.add(even, both), b.add(odd, b.lshr(both, by8))
    following = b.add(j, ir.Constant(I64, 1))
    for phi, value in ((j, following), (even, next_even), (odd, next_odd)):
        phi.add_incoming(value, inner)
    b.cbranch(b.icmp_signed("<", following, stop), inner, flush)

    b.position_at_end(flush)
    low_words, high_words = b.sub(next_even, b.shl(next_odd, by8)), next_odd
    if rows == 2:  # a register holds two rows of lanes: add them
        pick = [lanes(range(16)), lanes(range(16, 32))]
        low_words, high_words = (
            b.add(*(b.shuffle_vector(w, ir.Constant(words, ir.Undefined), p) for p in pick))
            for w in (low_words, high_words)
        )
    order = [i // 2 + (16 if i % 2 else 0) for i in range(32)]
    summed = b.shuffle_vector(low_words, high_words, lanes(order))
    flushed = b.uitofp(b.zext(summed, ir.VectorType(I32, 32)), ir.VectorType(F32, 32))
    next_total = b.fadd(total, flushed)
    start.add_incoming(following, flush)
    total.add_incoming(next_total, flush)
    b.cbranch(b.icmp_signed("<", following, steps), outer, done)

    b.position_at_end(done)
    return next_total


WIDTH = 32 if DIALECT is None else DIALECT.width


@kernel
def expand_tables(rounded, expanded):
    """Lay out rounded tables for registers.

    Parameters
    ----------
    rounded : uint8 (2 * pairs, 16)
    expanded : uint8 (>= expanded_bytes(pairs),)
        Output: for every register of codes the tables of its low nibbles, then of its high nibbles, each table repeated
        for the 32 lanes of its row.
    """
    pairs = rounded.shape[0] // 2
    rows = WIDTH // 32
    steps = (pairs + rows - 1) // rows
    for step in range(steps):
        for half in range(2):
            for r in range(rows):
                pair = step * rows + r
                at = (step * 2 + half) * WIDTH + r * 32
                for e in range(16):
                    entry = rounded[2 * pair + half, e] if pair < pairs else np.uint8(0)
                    expanded[at + e] = entry
                    expanded[at + 16 + e] = entry


if DIALECT is None:

    @inlined
    def good_lanes(codes, block, tables, expanded, factors, offsets, row, count, slope, intercept, least):
        """Find the lanes of a block whose upper bound is at least `least`; see `good_lanes_plain`."""
        return good_lanes_plain(codes, block, tables, factors, offsets, row, count, slope, intercept, least)

else:
    _good_lanes = _make_good_lanes(DIALECT)

    @inlined
    def good_lanes(codes, block, tables, expanded, factors, offsets, row, count, slope, intercept, least):
        """Find the lanes of a block whose upper bound is at least `least`; see `good_lanes_plain`.

        Parameters
        ----------
        codes : uint8 (blocks, pairs * 32), pairs even
        block : int
        expanded : uint8
            From `expand_tables`.
        """
        if row + 32 > factors.shape[0]:  # the last block of a shard: the arrays end before its last lane
            return good_lanes_plain(codes, block, tables, factors, offsets, row, count, slope, intercept, least)
        width = codes.shape[1]
        good = _good_lanes(codes, block * width, width // 32, expanded, factors, offsets, row, slope, intercept, least)
        return good & ((np.uint64(1) << np.uint64(count)) - np.uint64(1))


@kernel
def lanes_of_block(codes, block, tables, expanded, factors, offsets, row, count, slope, intercept, least):
    """`good_lanes` as a separate function that returns int64, for testing compiled libraries."""
    return np.int64(good_lanes(codes, block, tables, expanded, factors, offsets, row, count, slope, intercept, least))
