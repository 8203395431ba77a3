"""The inner loops of MaxSim as vector IR: table sums of 32 document vectors, and running maxima over table rows."""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.multivector.strips import STRIP, TOGETHER
from vsearch.kernels.toolchain.simd import F32, I8, I16, I32, I64, Dialect, lanes, load, splat

FLUSH = 256  # pairs summed in 16 bits: 256 * 2 * 127 < 65,536


def _data(context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value) -> ir.Value:
    """Return a byte pointer to the first element of an array."""
    return b.bitcast(context.make_array(kind)(context, b, value).data, I8.as_pointer())


def make_sum_block(dialect: Dialect) -> Any:
    """Build `sum_block`; see `maxsim.sum_block_plain` for the arguments."""

    @intrinsic
    def body(typingctx, codes, base, stride, pairs, expanded, table, table_bytes, sums):
        integers = [types.int64] * 3
        signature = types.void(codes, *integers, expanded, types.int64, types.int64, sums)

        def codegen(context, b, signature, args):
            kinds = signature.args
            pointers = {i: _data(context, b, kinds[i], args[i]) for i in (0, 4, 7)}
            codes = b.gep(pointers[0], [args[1]])
            tables = [
                b.gep(pointers[4], [b.add(args[5], b.mul(args[6], ir.Constant(I64, query)))])
                for query in range(TOGETHER)
            ]
            totals = _emit_sums(b, dialect, codes, args[2], args[3], tables)
            kind = ir.VectorType(F32, 32)
            for query, total in enumerate(totals):
                place = b.bitcast(b.gep(pointers[7], [ir.Constant(I64, query * 128)]), kind.as_pointer())
                b.store(total, place).align = 4
            return context.get_dummy_value()

        return signature, codegen

    return body


def _load_rows(b: ir.IRBuilder, dialect: Dialect, codes: ir.Value, stride: ir.Value, step: ir.Value) -> ir.Value:
    """Load one register of codes: a row of 32 lanes, or two consecutive rows."""
    row = ir.VectorType(I8, 32)
    if dialect.width == 32:
        return load(b, codes, b.mul(step, stride), row, 1)
    first = b.mul(b.mul(step, ir.Constant(I64, 2)), stride)
    low, high = load(b, codes, first, row, 1), load(b, codes, b.add(first, stride), row, 1)
    return b.shuffle_vector(low, high, lanes(range(64)))


def _emit_sums(
    b: ir.IRBuilder, dialect: Dialect, codes: ir.Value, stride: ir.Value, pairs: ir.Value, tables: list[ir.Value]
) -> list[ir.Value]:
    """Emit the sums of the 32 lanes as floats, once per table.

    Two 7-bit entries are added in a byte; even and odd bytes accumulate separately in 16 bits. The even accumulator
    also accumulates 256 * odd, which is subtracted at the end.
    """
    width = dialect.width
    rows = width // 32
    words, bytes_, floats = ir.VectorType(I16, width // 2), ir.VectorType(I8, width), ir.VectorType(F32, 32)
    low_mask, by4, by8 = splat(I8, width, 15), splat(I16, width // 2, 4), splat(I16, width // 2, 8)
    steps = b.udiv(pairs, ir.Constant(I64, rows))
    per_flush = ir.Constant(I64, FLUSH // rows)
    entry = b.block
    outer, inner, flush, done = (b.append_basic_block(name) for name in ("outer", "inner", "flush", "done"))
    b.branch(outer)

    b.position_at_end(outer)
    start = b.phi(I64)
    start.add_incoming(ir.Constant(I64, 0), entry)
    totals = [b.phi(floats) for _ in tables]
    for total in totals:
        total.add_incoming(ir.Constant(floats, None), entry)
    flush_at = b.add(start, per_flush)
    stop = b.select(b.icmp_signed("<", flush_at, steps), flush_at, steps)
    b.branch(inner)

    b.position_at_end(inner)
    step = b.phi(I64)
    step.add_incoming(start, outer)
    evens, odds = [b.phi(words) for _ in tables], [b.phi(words) for _ in tables]
    for phi in (*evens, *odds):
        phi.add_incoming(ir.Constant(words, None), outer)
    code = _load_rows(b, dialect, codes, stride, step)
    low = b.and_(code, low_mask)
    high = b.and_(b.bitcast(b.lshr(b.bitcast(code, words), by4), bytes_), low_mask)
    at = b.mul(step, ir.Constant(I64, 2 * width))
    next_evens, next_odds = [], []
    for table, even, odd in zip(tables, evens, odds, strict=True):
        low_table = load(b, table, at, bytes_, 1)
        high_table = load(b, table, b.add(at, ir.Constant(I64, width)), bytes_, 1)
        both = b.bitcast(b.add(dialect.lookup(b, low_table, low), dialect.lookup(b, high_table, high)), words)
        next_evens.append(b.add(even, both))
        next_odds.append(b.add(odd, b.lshr(both, by8)))
    following = b.add(step, ir.Constant(I64, 1))
    step.add_incoming(following, inner)
    for phi, value in zip((*evens, *odds), (*next_evens, *next_odds), strict=True):
        phi.add_incoming(value, inner)
    b.cbranch(b.icmp_signed("<", following, stop), inner, flush)

    b.position_at_end(flush)
    start.add_incoming(following, flush)
    finished = []
    for total, even, odd in zip(totals, next_evens, next_odds, strict=True):
        low_words, high_words = b.sub(even, b.shl(odd, by8)), odd
        if rows == 2:  # a register holds two rows of lanes: add them
            pick = [lanes(range(16)), lanes(range(16, 32))]
            undefined = ir.Constant(words, ir.Undefined)
            low_words, high_words = (
                b.add(*(b.shuffle_vector(word, undefined, half) for half in pick)) for word in (low_words, high_words)
            )
        order = [i // 2 + (16 if i % 2 else 0) for i in range(32)]
        summed = b.shuffle_vector(low_words, high_words, lanes(order))
        flushed = b.uitofp(b.zext(summed, ir.VectorType(I32, 32)), floats)
        added = b.fadd(total, flushed)
        total.add_incoming(added, flush)
        finished.append(added)
    b.cbranch(b.icmp_signed("<", following, steps), outer, done)
    b.position_at_end(done)
    return finished


@intrinsic
def strip_maxima(typingctx, codes, start, stop, table, width, strip, best):
    """``best[i] = max over document vectors of table[code, strip + i]``; see `maxsim.strip_maxima_plain`."""
    signature = types.void(codes, types.int64, types.int64, table, types.int64, types.int64, best)

    def codegen(context, b, signature, args):
        kinds = signature.args
        bytes_of_code = context.get_abi_sizeof(context.get_data_type(kinds[0].dtype))
        codes = b.bitcast(_data(context, b, kinds[0], args[0]), ir.IntType(8 * bytes_of_code).as_pointer())
        table = b.gep(_data(context, b, kinds[3], args[3]), [b.mul(args[5], ir.Constant(I64, 4))])
        best = _data(context, b, kinds[6], args[6])
        start, stop, row_bytes = args[1], args[2], b.mul(args[4], ir.Constant(I64, 4))
        floats = ir.VectorType(F32, STRIP)
        lowest = splat(F32, STRIP, -3.0e38)
        entry = b.block
        loop, done = b.append_basic_block("loop"), b.append_basic_block("done")
        b.cbranch(b.icmp_signed("<", start, stop), loop, done)

        b.position_at_end(loop)
        token, highest = b.phi(I64), b.phi(floats)
        token.add_incoming(start, entry)
        highest.add_incoming(lowest, entry)
        code = b.zext(b.load(b.gep(codes, [token])), I64)
        row = load(b, table, b.mul(code, row_bytes), floats, 4)
        higher = b.select(b.fcmp_ordered(">", row, highest), row, highest)
        following = b.add(token, ir.Constant(I64, 1))
        token.add_incoming(following, loop)
        highest.add_incoming(higher, loop)
        b.cbranch(b.icmp_signed("<", following, stop), loop, done)

        b.position_at_end(done)
        maxima = b.phi(floats)
        maxima.add_incoming(lowest, entry)
        maxima.add_incoming(higher, loop)
        b.store(maxima, b.bitcast(best, floats.as_pointer())).align = 4
        return context.get_dummy_value()

    return signature, codegen
