"""Expansion of weights of 2 to 4 bits, stored as bit planes, to the integers that products take."""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.encoders.fields import BLOCK, GROUP, TOGETHER
from vsearch.kernels.encoders.loops import pointer
from vsearch.kernels.encoders.products import SHIFT, multiply
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.simd import I8, I16, I32, I64, broadcast, splat

ONE = np.uint32(1)


@inlined
def words_of(planes, row, group, bits):
    """The four words of a group, of which those beyond its bits are 0."""
    first = group * bits
    third = planes[row, first + 2] if bits > 2 else np.uint32(0)
    fourth = planes[row, first + 3] if bits > 3 else np.uint32(0)
    return planes[row, first], planes[row, first + 1], third, fourth


@inlined
def expand_group(planes, row, group, bits, scale, offset, integers):
    """The integers of a group of 32 columns, int32 (32,): ``scale * code + offset``."""
    low, high, third, fourth = words_of(planes, row, group, bits)
    for i in range(GROUP):
        shift = np.uint32(i)
        code = np.uint32(low >> shift) & ONE
        code |= np.uint32((np.uint32(high >> shift) & ONE) << ONE)
        code |= np.uint32((np.uint32(third >> shift) & ONE) << np.uint32(2))
        code |= np.uint32((np.uint32(fourth >> shift) & ONE) << np.uint32(3))
        integers[i] = np.int32(np.int32(code) * scale + offset)


@intrinsic
def store_group(typingctx, low, high, third, fourth, scale, offset, blocks, at):
    """Expand a group as `expand_group` does, and store four columns at a time, 256 bytes apart, from byte `at` of the blocks."""
    signature = types.void(low, high, third, fourth, types.int32, types.int32, blocks, types.int64)

    def codegen(context, b, signature, args):
        codes = zeros = splat(I16, GROUP, 0)
        for bit, word in enumerate(args[:4]):
            flags = b.bitcast(word, ir.VectorType(ir.IntType(1), GROUP))
            codes = b.or_(codes, b.select(flags, splat(I16, GROUP, 1 << bit), zeros))
        scales, offsets = (broadcast(b, b.trunc(value, I16), GROUP) for value in args[4:6])
        integers = b.trunc(b.add(b.mul(codes, scales), offsets), ir.VectorType(I8, GROUP))
        words = b.bitcast(integers, ir.VectorType(I32, GROUP // TOGETHER))
        base = b.gep(pointer(context, b, signature.args[6], args[6]), [args[7]])
        for quad in range(GROUP // TOGETHER):
            place = b.gep(base, [ir.Constant(I64, quad * TOGETHER * BLOCK)])
            b.store(b.extract_element(words, ir.Constant(I32, quad)), b.bitcast(place, I32.as_pointer())).align = 4
        return context.get_dummy_value()

    return signature, codegen


@kernel
def unpack_weights(planes, scales, offsets, bits, columns, integers, blocks):
    """Expand the weights of a product.

    Parameters
    ----------
    planes : uint32 (rows, groups * bits)
    scales, offsets : uint8 and int8 (rows, groups)
    bits : int
        2 to 4.
    columns : int
        The padding up to a multiple of 32 becomes 0.
    integers : int32 (32,)
        Scratch.
    blocks : int8 (rows / 64, groups * 32 * 64), zero
        Output, in the layout that products read.
    """
    full = columns // GROUP
    for row in range(planes.shape[0]):
        block, lane = row // BLOCK, row % BLOCK * TOGETHER
        for group in range(full):
            low, high, third, fourth = words_of(planes, row, group, bits)
            scale, offset = np.int32(scales[row, group]), np.int32(offsets[row, group])
            at = block * blocks.shape[1] + group * GROUP * BLOCK + lane
            store_group(low, high, third, fourth, scale, offset, blocks, at)
        if full < scales.shape[1]:
            scale, offset = np.int32(scales[row, full]), np.int32(offsets[row, full])
            expand_group(planes, row, full, bits, scale, offset, integers)
            for i in range(columns - full * GROUP):
                column = full * GROUP + i
                at = column // TOGETHER * (TOGETHER * BLOCK) + lane + column % TOGETHER
                blocks[block, at] = np.int8(integers[i])


@kernel
def sum_weights(blocks, ones, products, sums):
    """Sum the weights of each row, as products with inputs of 1.

    Parameters
    ----------
    blocks : int8 (rows / 64, columns * 64)
        From -63 to 63.
    ones : uint8 (1, columns)
        Scratch.
    products : int32 (6, 64)
        Scratch.
    sums : int32 (rows,)
        Output.
    """
    for column in range(ones.shape[1]):
        ones[0, column] = np.uint8(SHIFT + 1)
    for block in range(blocks.shape[0]):
        multiply(blocks, block, ones, 0, 1, products)
        for row in range(min(BLOCK, sums.shape[0] - block * BLOCK)):
            sums[block * BLOCK + row] = products[0, row]


@kernel
def take_rows(planes, scales, offsets, bits, steps, ids, integers, rows):
    """Expand some rows of a table.

    Parameters
    ----------
    planes, scales, offsets, bits
        As for `unpack_weights`.
    steps : float32 (tokens,)
    ids : int64 (t,)
        Rows of the table.
    integers : int32 (32,)
        Scratch.
    rows : float32 (t, width)
        Output.
    """
    width = rows.shape[1]
    for at in range(ids.shape[0]):
        row = ids[at]
        for group in range(scales.shape[1]):
            scale, offset = np.int32(scales[row, group]), np.int32(offsets[row, group])
            expand_group(planes, row, group, bits, scale, offset, integers)
            for i in range(min(GROUP, width - group * GROUP)):
                rows[at, group * GROUP + i] = np.float32(np.int8(integers[i])) * steps[row]
