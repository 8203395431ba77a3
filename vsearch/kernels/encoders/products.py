"""Exact integer products of unsigned 8-bit inputs with 7-bit weights, for 64 rows of weights and up to six tokens at a time.

Weights lie as registers take them: four neighboring columns of each of 64 rows, then the next four. The same integers come out
on every processor.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.encoders.fields import BLOCK, TOGETHER, TOKENS
from vsearch.kernels.encoders.loops import pointer
from vsearch.kernels.toolchain.compiling import inlined
from vsearch.kernels.toolchain.simd import DIALECT, I32, I64, Dialect, broadcast, load, splat

#: Subtracted from inputs on processors that only multiply signed numbers.
SHIFT = 128 if DIALECT is not None and DIALECT.name == "neon" else 0
#: Rows whose sums fit into registers, for six tokens.
ROWS_AT_ONCE = {"avx512": 64, "avx2": 16, "neon": 16}


@inlined
def multiply_plain(weights, block, codes, first, count, sums):
    """Portable implementation of `multiply`.

    Parameters
    ----------
    weights : int8 (blocks, columns * 64)
        From -63 to 63; the number of columns is a multiple of four.
    block : int
    codes : uint8 (t, columns)
    first, count : int
        Tokens, 1 to 6.
    sums : int32 (6, 64)
        Output: the product of each token with each row of the block.
    """
    columns = codes.shape[1]
    for token in range(count):
        for row in range(BLOCK):
            sums[token, row] = 0
        for column in range(columns):
            code = np.int32(codes[first + token, column])
            start = column // TOGETHER * (TOGETHER * BLOCK) + column % TOGETHER
            for row in range(BLOCK):
                sums[token, row] += np.int32(weights[block, start + TOGETHER * row]) * code


def _make_multiply(dialect: Dialect, tokens: int) -> Any:
    """Build the function body for a number of tokens: ``(weights, offset, codes, offset, columns, sums)``, offsets in bytes."""
    native, rows = dialect.native, ROWS_AT_ONCE[dialect.name]
    registers = rows * TOGETHER // native
    words, flipped = ir.VectorType(I32, native // 4), splat(I32, native // 4, 0x80808080 - (1 << 32))

    def emit(b: ir.IRBuilder, weights: ir.Value, codes: ir.Value, columns: ir.Value, sums: ir.Value, part: int) -> None:
        entry, loop, done = b.block, b.append_basic_block("columns"), b.append_basic_block("multiplied")
        b.branch(loop)
        b.position_at_end(loop)
        column = b.phi(I64)
        column.add_incoming(ir.Constant(I64, 0), entry)
        totals = [[b.phi(words) for _ in range(registers)] for _ in range(tokens)]
        at = b.add(b.mul(column, ir.Constant(I64, BLOCK)), ir.Constant(I64, part * rows * TOGETHER))
        parts = [load(b, weights, b.add(at, ir.Constant(I64, i * native)), words, 1) for i in range(registers)]
        added = []
        for token, of_token in enumerate(totals):
            place = b.add(b.mul(columns, ir.Constant(I64, token)), column)
            inputs = broadcast(b, load(b, codes, place, I32, 1), native // 4)
            if SHIFT:
                inputs = b.xor(inputs, flipped)
            added.append([])
            for total, weight in zip(of_token, parts, strict=True):
                total.add_incoming(ir.Constant(words, None), entry)
                added[-1].append(dialect.add_products(b, total, inputs, weight))
        following = b.add(column, ir.Constant(I64, TOGETHER))
        column.add_incoming(following, loop)
        for of_token, values in zip(totals, added, strict=True):
            for total, value in zip(of_token, values, strict=True):
                total.add_incoming(value, loop)
        b.cbranch(b.icmp_signed("<", following, columns), loop, done)
        b.position_at_end(done)
        for token, values in enumerate(added):
            for i, value in enumerate(values):
                place = ir.Constant(I64, 4 * (token * BLOCK + part * rows) + i * native)
                b.store(value, b.bitcast(b.gep(sums, [place]), words.as_pointer())).align = 4

    @intrinsic
    def body(typingctx, weights, offset, codes, start, columns, sums):
        signature = types.void(weights, types.int64, codes, types.int64, types.int64, sums)

        def codegen(context, b, signature, args):
            kinds = signature.args
            weights = b.gep(pointer(context, b, kinds[0], args[0]), [args[1]])
            codes = b.gep(pointer(context, b, kinds[2], args[2]), [args[3]])
            sums = pointer(context, b, kinds[5], args[5])
            for part in range(BLOCK // rows):
                emit(b, weights, codes, args[4], sums, part)
            return context.get_dummy_value()

        return signature, codegen

    return body


if DIALECT is None:
    multiply = multiply_plain
else:
    _one, _two, _three, _four, _five, _six = (_make_multiply(DIALECT, tokens) for tokens in range(1, TOKENS + 1))

    @inlined
    def multiply(weights, block, codes, first, count, sums):
        """Products of some tokens with one block of rows; see `multiply_plain`. Sums lack `SHIFT` times each row's sum."""
        offset, start, columns = block * weights.shape[1], first * codes.shape[1], codes.shape[1]
        if count == 6:
            _six(weights, offset, codes, start, columns, sums)
        elif count == 5:
            _five(weights, offset, codes, start, columns, sums)
        elif count == 4:
            _four(weights, offset, codes, start, columns, sums)
        elif count == 3:
            _three(weights, offset, codes, start, columns, sums)
        elif count == 2:
            _two(weights, offset, codes, start, columns, sums)
        else:
            _one(weights, offset, codes, start, columns, sums)
