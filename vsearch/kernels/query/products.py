"""Exact inner products of a query in small integers with rows, 64 rows at a time.

Rows are laid out for registers: as many dimensions of each of 64 rows as fill 32 bits (four bytes, or two words of 16
bits), then the next dimensions. The results are the same integers on every processor.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.query.fields import SEVERAL, TOGETHER
from vsearch.kernels.toolchain.compiling import inlined
from vsearch.kernels.toolchain.simd import DIALECT, I8, I32, I64, broadcast, load

Product = Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]


@inlined
def dot_group_plain(groups, at, query, adjacent, sums):
    """The portable body of `dot_bytes` and `dot_words`.

    Parameters
    ----------
    groups : uint8 (groups, 64 * D) or int16 (groups, 64 * D)
        Bytes are below 128; D is a positive multiple of 4 for bytes, of 2 for words.
    at : int
        Number of the group.
    query : int8 or int16 (D,)
        Without the smallest number of its type. No sum may overflow 32 bits.
    adjacent : int
        Number of adjacent dimensions of a row.
    sums : int32 (64,)
        Output.
    """
    for c in range(TOGETHER):
        sums[c] = 0
    for j in range(query.shape[0]):
        for c in range(TOGETHER):
            place = (j // adjacent) * adjacent * TOGETHER + adjacent * c + j % adjacent
            sums[c] += np.int32(groups[at, place]) * np.int32(query[j])


def _make_dot_group(native: int, product: Product, count: int) -> Any:
    """Build the SIMD body for registers of `native` bytes and `count` queries, whose codes and sums follow one another."""

    @intrinsic
    def body(typingctx, groups, first, queries, steps, sums):
        signature = types.void(groups, types.int64, queries, types.int64, sums)

        def codegen(context, b, signature, args):
            groups, queries, sums = (
                b.bitcast(context.make_array(signature.args[i])(context, b, args[i]).data, I8.as_pointer())
                for i in (0, 2, 4)
            )
            words = ir.VectorType(I32, native // 4)
            registers = 4 * TOGETHER // native
            codes, steps = b.gep(groups, [args[1]]), args[3]
            code_bytes = b.mul(steps, ir.Constant(I64, 4))
            starts = [b.gep(queries, [b.mul(code_bytes, ir.Constant(I64, q))]) for q in range(count)]
            entry, loop, done = b.block, b.append_basic_block("steps"), b.append_basic_block("dotted")
            b.branch(loop)
            b.position_at_end(loop)
            j = b.phi(I64)
            j.add_incoming(ir.Constant(I64, 0), entry)
            totals = [[b.phi(words) for _ in range(registers)] for _ in range(count)]
            at = b.mul(j, ir.Constant(I64, 4 * TOGETHER))
            parts = [load(b, codes, b.add(at, ir.Constant(I64, i * native)), words, 1) for i in range(registers)]
            added: list[ir.Value] = []
            for start, query_totals in zip(starts, totals, strict=True):
                values = broadcast(b, load(b, start, b.mul(j, ir.Constant(I64, 4)), I32, 1), native // 4)
                added += [product(b, total, part, values) for total, part in zip(query_totals, parts, strict=True)]
            following = b.add(j, ir.Constant(I64, 1))
            j.add_incoming(following, loop)
            for total, value in zip(chain.from_iterable(totals), added, strict=True):
                total.add_incoming(ir.Constant(words, None), entry)
                total.add_incoming(value, loop)
            b.cbranch(b.icmp_signed("<", following, steps), loop, done)
            b.position_at_end(done)
            for i, value in enumerate(added):
                place = b.bitcast(b.gep(sums, [ir.Constant(I64, i * native)]), words.as_pointer())
                b.store(value, place).align = 4
            return context.get_dummy_value()

        return signature, codegen

    return body


#: Whether there are registers for the sums of SEVERAL queries; if not, a group stays in the cache for all of them.
SUMMED_AT_ONCE = DIALECT is not None and DIALECT.native == 64

if DIALECT is None:

    @inlined
    def dot_bytes(groups, at, query, sums):
        """Compute the inner products of a query with the rows of one group; see `dot_group_plain`."""
        dot_group_plain(groups, at, query, 4, sums)

    @inlined
    def dot_words(groups, at, query, sums):
        """As `dot_bytes`, for 16-bit words."""
        dot_group_plain(groups, at, query, 2, sums)

else:
    _dot_bytes = _make_dot_group(DIALECT.native, DIALECT.add_products, 1)
    _dot_words = _make_dot_group(DIALECT.native, DIALECT.add_word_products, 1)

    @inlined
    def dot_bytes(groups, at, query, sums):
        """Compute the inner products of a query with the rows of one group; see `dot_group_plain`."""
        _dot_bytes(groups, at * groups.shape[1], query, query.shape[0] // 4, sums)

    @inlined
    def dot_words(groups, at, query, sums):
        """As `dot_bytes`, for 16-bit words."""
        _dot_words(groups, 2 * at * groups.shape[1], query, query.shape[0] // 2, sums)


if DIALECT is not None and SUMMED_AT_ONCE:
    _dot_bytes_of_several = _make_dot_group(DIALECT.native, DIALECT.add_products, SEVERAL)
    _dot_words_of_several = _make_dot_group(DIALECT.native, DIALECT.add_word_products, SEVERAL)

    @inlined
    def dot_bytes_of_several(groups, at, queries, sums):
        """`dot_bytes` for SEVERAL queries, int8 (SEVERAL, D); `sums` is int32 (SEVERAL, 64)."""
        _dot_bytes_of_several(groups, at * groups.shape[1], queries, queries.shape[1] // 4, sums)

    @inlined
    def dot_words_of_several(groups, at, queries, sums):
        """`dot_words` for SEVERAL queries, int16 (SEVERAL, D); `sums` is int32 (SEVERAL, 64)."""
        _dot_words_of_several(groups, 2 * at * groups.shape[1], queries, queries.shape[1] // 2, sums)

else:

    @inlined
    def dot_bytes_of_several(groups, at, queries, sums):
        """`dot_bytes` for SEVERAL queries, int8 (SEVERAL, D); `sums` is int32 (SEVERAL, 64)."""
        for i in range(SEVERAL):
            dot_bytes(groups, at, queries[i], sums[i])

    @inlined
    def dot_words_of_several(groups, at, queries, sums):
        """`dot_words` for SEVERAL queries, int16 (SEVERAL, D); `sums` is int32 (SEVERAL, 64)."""
        for i in range(SEVERAL):
            dot_words(groups, at, queries[i], sums[i])
