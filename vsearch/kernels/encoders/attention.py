"""Attention between the tokens of a text, for several tokens at a time.

Weighted sums are accumulated in registers. Those of several tokens share the rows that are weighed, and do not wait for each other.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.encoders.fields import ATTENDING, LANES
from vsearch.kernels.encoders.functions import soften
from vsearch.kernels.encoders.loops import FLOATS, FOUR, pointer, store
from vsearch.kernels.toolchain.compiling import inlined, part
from vsearch.kernels.toolchain.simd import DIALECT, F32, I64, broadcast, load


@inlined
def weigh_plain(factors, first_factor, rows, first_row, column, count, outputs, first_output, place, tokens):
    """Portable implementation of `weigh`.

    Computes ``outputs[first_output + t, place + l] = sum_i factors[t, first_factor + i] * rows[first_row + i, column + l]``.

    Parameters
    ----------
    factors : float32 (>= tokens, >= first_factor + count)
    first_factor : int
    rows : float32 (>= first_row + count, >= column + 16)
    first_row, column, count : int
        The count is at least 1.
    outputs : float32 (>= first_output + tokens, >= place + 16)
        Output.
    first_output, place : int
    tokens : int
        From 1 to 4.
    """
    for token in range(tokens):
        for lane in range(LANES):
            total = np.float32(0.0)
            for i in range(count):
                total += factors[token, first_factor + i] * rows[first_row + i, column + lane]
            outputs[first_output + token, place + lane] = total


def _make_weigh(tokens: int) -> Any:
    """Build `weigh_plain` for a number of tokens, with the sums in registers; offsets and strides are in floats."""
    apart = max(1, ATTENDING // tokens)  # separate sums of a token, to break the dependency chain

    @intrinsic
    def body(typingctx, factors, at, stride, rows, row_at, width, count, outputs, out_at, out_stride):
        integer = types.int64
        signature = types.void(factors, integer, integer, rows, integer, integer, integer, outputs, integer, integer)

        def codegen(context, b, signature, args):
            factors, rows, outputs = (pointer(context, b, signature.args[i], args[i]) for i in (0, 3, 7))
            at, stride, row_at, width, count, out_at, out_stride = (args[i] for i in (1, 2, 4, 5, 6, 8, 9))
            starts = [b.add(at, b.mul(stride, ir.Constant(I64, token))) for token in range(tokens)]

            def add(sums: list[ir.Value], i: ir.Value) -> list[ir.Value]:
                row = load(b, rows, b.mul(b.add(row_at, b.mul(i, width)), FOUR), FLOATS, 4)
                added = []
                for start, total in zip(starts, sums, strict=True):
                    factor = broadcast(b, load(b, factors, b.mul(b.add(start, i), FOUR), F32, 4), LANES)
                    added.append(b.fadd(total, b.fmul(row, factor, flags=("contract",)), flags=("contract",)))
                return added

            def run(first: ir.Value, last: ir.Value, sums: list[ir.Value], step: int) -> list[ir.Value]:
                """Emit a loop over rows, which adds each of `step` adjacent ones to sums of its own."""
                entry, inside, done = b.block, b.append_basic_block("rows"), b.append_basic_block("weighed")
                b.cbranch(b.icmp_signed("<", first, last), inside, done)
                b.position_at_end(inside)
                i, carried = b.phi(I64), [b.phi(FLOATS) for _ in sums]
                i.add_incoming(first, entry)
                added: list[ir.Value] = []
                for lane in range(step):
                    added += add(carried[lane * tokens : (lane + 1) * tokens], b.add(i, ir.Constant(I64, lane)))
                following = b.add(i, ir.Constant(I64, step))
                i.add_incoming(following, inside)
                b.cbranch(b.icmp_signed("<", following, last), inside, done)
                b.position_at_end(done)
                results = []
                for phi, before, after in zip(carried, sums, added, strict=True):
                    phi.add_incoming(before, entry)
                    phi.add_incoming(after, inside)
                    results.append(b.phi(FLOATS))
                    results[-1].add_incoming(before, entry)
                    results[-1].add_incoming(after, inside)
                return results

            zero, begin = ir.Constant(FLOATS, None), ir.Constant(I64, 0)
            grouped = b.and_(count, ir.Constant(I64, -apart))
            several = run(begin, grouped, [zero] * (apart * tokens), apart)
            sums = several[:tokens]
            for lane in range(1, apart):
                sums = [b.fadd(total, several[lane * tokens + token]) for token, total in enumerate(sums)]
            if apart > 1:
                sums = run(grouped, count, sums, 1)
            for token, total in enumerate(sums):
                place = b.add(out_at, b.mul(out_stride, ir.Constant(I64, token)))
                store(b, total, outputs, b.mul(place, FOUR))
            return context.get_dummy_value()

        return signature, codegen

    return body


if DIALECT is None:
    weigh = weigh_plain
else:
    _one, _two, _three, _four = (_make_weigh(tokens) for tokens in range(1, ATTENDING + 1))

    @inlined
    def weigh(factors, first_factor, rows, first_row, column, count, outputs, first_output, place, tokens):
        """Weighted sums of 16 columns of some rows, for some tokens; see `weigh_plain`."""
        stride, width, out_stride = factors.shape[1], rows.shape[1], outputs.shape[1]
        row_at, out_at = first_row * width + column, first_output * out_stride + place
        if tokens == 4:
            _four(factors, first_factor, stride, rows, row_at, width, count, outputs, out_at, out_stride)
        elif tokens == 3:
            _three(factors, first_factor, stride, rows, row_at, width, count, outputs, out_at, out_stride)
        elif tokens == 2:
            _two(factors, first_factor, stride, rows, row_at, width, count, outputs, out_at, out_stride)
        else:
            _one(factors, first_factor, stride, rows, row_at, width, count, outputs, out_at, out_stride)


@part
def attend(joined, heads, distance, keys, scores, counts, received, outputs):
    """Multi-head attention of each token of a text to the tokens within a distance.

    Parameters
    ----------
    joined : float32 (t, >= 3 * width)
        Query, key and value of each token.
    heads, distance : int
        A distance of t or more is no limit.
    keys, scores : float32 (width / heads, T), (4, T), T being t rounded up to 16
        Scratch.
    counts : bool
        Whether to sum up the attention that tokens receive.
    received : float32 (T,)
        Output: the attention that each token receives from all tokens, summed over heads; 0 if it is not summed up.
    outputs : float32 (t, width)
        Output.
    """
    for token in range(received.shape[0]):
        received[token] = np.float32(0.0)
    for row in range(scores.shape[0]):
        for token in range(scores.shape[1]):
            scores[row, token] = np.float32(0.0)
    for i in range(keys.shape[0]):
        for token in range(outputs.shape[0], keys.shape[1]):
            keys[i, token] = np.float32(0.0)
    tokens, width = outputs.shape
    head_width = width // heads
    scale = np.float32(1.0) / np.sqrt(np.float32(head_width))
    vectorized = head_width - head_width % LANES
    for head in range(heads):
        query, key, value = head * head_width, width + head * head_width, 2 * width + head * head_width
        for token in range(tokens):
            for i in range(head_width):
                keys[i, token] = joined[token, key + i] * scale
        for token in range(0, tokens, ATTENDING):
            count = min(ATTENDING, tokens - token)
            first, last = max(0, token - distance), min(tokens, token + count + distance)
            begin = first - first % LANES
            end = last + (LANES - last % LANES) % LANES
            for start in range(begin, end, LANES):
                weigh(joined[token:], query, keys, 0, start, head_width, scores, 0, start, count)
            soften(scores, begin, end, token, distance, tokens)
            if counts:
                for row in range(count):
                    for other in range(begin, end):
                        received[other] += scores[row, other]
            for start in range(0, vectorized, LANES):
                place = head * head_width + start
                weigh(scores, begin, joined, begin, value + start, last - begin, outputs, token, place, count)
            for i in range(vectorized, head_width):
                for row in range(count):
                    total = np.float32(0.0)
                    for other in range(first, last):
                        total += scores[row, other] * joined[other, value + i]
                    outputs[token + row, head * head_width + i] = total
