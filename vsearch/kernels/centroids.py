"""Inner products of a query with all centroids, in 8-bit integers: what routing goes by.

Centroids have codes of 7 bits, the query of 8 with a sign, so that the same integers come out on every processor. 64
centroids make a group, whose bytes lie as registers take them: four dimensions of each of the 64, then the next four.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.compiling import inlined, kernel, summing
from vsearch.kernels.fields import TOGETHER
from vsearch.kernels.simd import DIALECT, I8, I32, I64, Dialect, broadcast, load

LARGEST_CODE = 127


@inlined
def quantise_query(query, codes):
    """Round a query float32 (d,) to int8 codes (>= d,), padded with zeros; returns the step."""
    largest = np.float32(0.0)
    for j in range(query.shape[0]):
        largest = max(largest, abs(query[j]))
    step = largest / np.float32(LARGEST_CODE)
    inverse = np.float32(1.0) / step if step > np.float32(0.0) else np.float32(0.0)
    if not np.isfinite(inverse):  # a query of hardly any length
        inverse = np.float32(0.0)
    for j in range(query.shape[0]):
        value = query[j] * inverse
        codes[j] = np.int8(np.int32(value + np.float32(128.5)) - np.int32(128))
    for j in range(query.shape[0], codes.shape[0]):
        codes[j] = 0
    return step


@inlined
def dot_group_plain(groups, at, query, sums):
    """The portable body of `dot_group`."""
    for c in range(TOGETHER):
        sums[c] = 0
    for j in range(query.shape[0]):
        for c in range(TOGETHER):
            sums[c] += np.int32(groups[at, (j // 4) * 4 * TOGETHER + 4 * c + j % 4]) * np.int32(query[j])


def _make_dot_group(dialect: Dialect) -> Any:
    """Build the SIMD body of `dot_group`."""

    @intrinsic
    def body(typingctx, groups, first, query, quads, sums):
        signature = types.void(groups, types.int64, query, types.int64, sums)

        def codegen(context, b, signature, args):
            groups, query, sums = (
                b.bitcast(context.make_array(signature.args[i])(context, b, args[i]).data, I8.as_pointer())
                for i in (0, 2, 4)
            )
            words = ir.VectorType(I32, dialect.native // 4)
            registers = 4 * TOGETHER // dialect.native
            codes, quads = b.gep(groups, [args[1]]), args[3]
            entry, loop, done = b.block, b.append_basic_block("quads"), b.append_basic_block("dotted")
            b.branch(loop)
            b.position_at_end(loop)
            j = b.phi(I64)
            j.add_incoming(ir.Constant(I64, 0), entry)
            totals = [b.phi(words) for _ in range(registers)]
            at = b.mul(j, ir.Constant(I64, 4 * TOGETHER))
            four = load(b, query, b.mul(j, ir.Constant(I64, 4)), I32, 1)
            values = broadcast(b, four, dialect.native // 4)
            added = []
            for i, total in enumerate(totals):
                total.add_incoming(ir.Constant(words, None), entry)
                part = load(b, codes, b.add(at, ir.Constant(I64, i * dialect.native)), words, 1)
                added.append(dialect.add_products(b, total, part, values))
            following = b.add(j, ir.Constant(I64, 1))
            j.add_incoming(following, loop)
            for total, value in zip(totals, added, strict=True):
                total.add_incoming(value, loop)
            b.cbranch(b.icmp_signed("<", following, quads), loop, done)
            b.position_at_end(done)
            for i, value in enumerate(added):
                place = b.bitcast(b.gep(sums, [ir.Constant(I64, i * dialect.native)]), words.as_pointer())
                b.store(value, place).align = 4
            return context.get_dummy_value()

        return signature, codegen

    return body


if DIALECT is None:

    @inlined
    def dot_group(groups, at, query, sums):
        """Integer inner products of a query with the centroids of one group; see `dot_groups`."""
        dot_group_plain(groups, at, query, sums)

else:
    _dot_group = _make_dot_group(DIALECT)

    @inlined
    def dot_group(groups, at, query, sums):
        """Integer inner products of a query with the centroids of one group; see `dot_groups`."""
        _dot_group(groups, at * groups.shape[1], query, query.shape[0] // 4, sums)


@kernel
def dot_groups(groups, query, sums):
    """Integer inner products of a query with all centroids.

    Parameters
    ----------
    groups : uint8 (groups, 64 * D)
        Codes below 128; D is a multiple of 4, at least 4.
    query : int8 (D,)
        From -127 up.
    sums : int32 (groups, 64)
        Output.
    """
    for at in range(groups.shape[0]):
        dot_group(groups, at, query, sums[at])


@summing
def score_centroids(groups, steps, lows, query, codes, sums, inner):
    """Approximate inner products of a query with all centroids. O(partitions * d) bytes read.

    Parameters
    ----------
    groups : uint8 (groups, 64 * D)
    steps, lows : float32 (partitions,)
        A centroid is about ``low + step * code``.
    query : float32 (d,)
    codes : int8 (D,)
        Scratch.
    sums : int32 (64,)
        Scratch.
    inner : float32 (partitions,)
        Output.
    """
    step = quantise_query(query, codes)
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j]
    for at in range(groups.shape[0]):
        dot_group(groups, at, codes, sums)
        first = at * TOGETHER
        for c in range(min(TOGETHER, inner.shape[0] - first)):
            inner[first + c] = lows[first + c] * total + step * steps[first + c] * np.float32(sums[c])
