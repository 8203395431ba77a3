"""Expansion of weights of 2 to 4 bits, stored as bit planes, to the integers that products take."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.encoders.fields import BLOCK, GROUP, TOGETHER
from vsearch.kernels.toolchain.compiling import inlined, kernel

ONE = np.uint32(1)


@inlined
def expand_group(planes, row, group, bits, scale, offset, integers):
    """The integers of a group of 32 columns, int32 (32,): ``scale * code + offset``."""
    first = group * bits
    low, high = planes[row, first], planes[row, first + 1]
    third = planes[row, first + 2] if bits > 2 else np.uint32(0)
    fourth = planes[row, first + 3] if bits > 3 else np.uint32(0)
    for i in range(GROUP):
        shift = np.uint32(i)
        code = np.uint32(low >> shift) & ONE
        code |= np.uint32((np.uint32(high >> shift) & ONE) << ONE)
        code |= np.uint32((np.uint32(third >> shift) & ONE) << np.uint32(2))
        code |= np.uint32((np.uint32(fourth >> shift) & ONE) << np.uint32(3))
        integers[i] = np.int32(np.int32(code) * scale + offset)


@kernel
def unpack_weights(planes, scales, offsets, bits, columns, integers, blocks, sums):
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
    sums : int32 (rows,)
        Output: the sum of each row.
    """
    for row in range(planes.shape[0]):
        block, lane = row // BLOCK, row % BLOCK * TOGETHER
        total = np.int32(0)
        for group in range(scales.shape[1]):
            scale, offset = np.int32(scales[row, group]), np.int32(offsets[row, group])
            expand_group(planes, row, group, bits, scale, offset, integers)
            count = min(GROUP, columns - group * GROUP)
            for i in range(count):
                value = np.int8(integers[i])
                column = group * GROUP + i
                blocks[block, column // TOGETHER * (TOGETHER * BLOCK) + lane + column % TOGETHER] = value
                total += np.int32(value)
        sums[row] = total


@kernel
def sum_weights(blocks, sums):
    """Row sums, int32 (rows,), of blocks int8 (rows / 64, columns * 64)."""
    for row in range(sums.shape[0]):
        sums[row] = 0
    for block in range(blocks.shape[0]):
        rows = min(BLOCK, sums.shape[0] - block * BLOCK)
        for start in range(0, blocks.shape[1], TOGETHER * BLOCK):
            for row in range(rows):
                at = start + TOGETHER * row
                total = np.int32(blocks[block, at]) + np.int32(blocks[block, at + 1])
                total += np.int32(blocks[block, at + 2]) + np.int32(blocks[block, at + 3])
                sums[block * BLOCK + row] += np.int32(total)


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
