"""Codes of per-dimension cells: packed bit streams, sign bits, and lower bounds of squared distances.

A row's cell numbers form a bit stream, most significant bit first, in which a number may straddle two bytes. Codes are
stored in blocks of 32 rows (see `blocks`): byte j of all rows of a block together.

The cells of dimension j are entries ``starts[j]`` to ``starts[j] + 2**bits[j]`` of flat arrays. Cell c extends from
``lowers[starts[j] + c]`` to the lower edge of the next cell; the first and the last cell are unbounded.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import inlined, kernel

PAIRS = np.uint64(0x5555555555555555)
NIBBLES = np.uint64(0x3333333333333333)
BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)
FLUSH = 31  # bytes of a code whose bit counts are summed in one byte: 31 * 8 < 256


@inlined
def find_cell(value, lowers, start, width):
    """Return the cell of a value among the ``2**width`` cells from `start`: the last with a lower edge <= the value."""
    low, high = 0, (1 << width) - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if lowers[start + middle] <= value:
            low = middle
        else:
            high = middle - 1
    return low


@inlined
def cell_at(codes, row, first, stride, position, width):
    """Read `width` bits (0 to 8) from bit `position` of a code whose byte j is ``codes[row, first + j * stride]``."""
    byte, shift = first + (position >> 3) * stride, position & 7
    if width == 0:
        return 0
    window = np.int64(codes[row, byte]) << 8
    if shift + width > 8:
        window |= np.int64(codes[row, byte + stride])
    return (window >> (16 - shift - width)) & ((1 << width) - 1)


@inlined
def passes(mask, row):
    """Return whether a row's bit is set; all rows pass an empty mask."""
    return mask.shape[0] == 0 or (mask[row >> 6] >> np.uint64(row & 63)) & np.uint64(1) != np.uint64(0)


@inlined
def differing_bits(codes, query):
    """Count the differing bits of each byte of a word, in that byte."""
    x = codes ^ query
    x -= (x >> np.uint64(1)) & PAIRS
    x = (x & NIBBLES) + ((x >> np.uint64(2)) & NIBBLES)
    return (x + (x >> np.uint64(4))) & BYTES


@kernel
def encode_cells(vectors, means, bits, starts, lowers, sign_bytes, codes):
    """Encode rotated vectors: a sign bit for each leading dimension, a bit for zero vectors, then the packed cells.

    Parameters
    ----------
    vectors : float32 (n, d)
    means : float32 (signs,)
        A dimension's sign bit is set if its value is above the mean; signs <= d.
    bits : int32 (D,)
        Bits of the leading D <= d dimensions, 0 to 8.
    starts : int64 (D,)
        First cell of each dimension.
    lowers : float32 (cells,)
        Lower edges of all cells; those of first cells are not read.
    sign_bytes : int
        Number of bytes before the packed cells, more than ``signs / 8``.
    codes : uint8 (n, bytes)
        Output, initially zero.
    """
    signs = means.shape[0]
    for row in range(vectors.shape[0]):
        for j in range(signs):
            if vectors[row, j] > means[j]:
                codes[row, j >> 3] |= np.uint8(0x80 >> (j & 7))
        zero = True
        for j in range(vectors.shape[1]):
            zero &= vectors[row, j] == np.float32(0.0)
        if zero:
            codes[row, signs >> 3] |= np.uint8(0x80 >> (signs & 7))
        position = sign_bytes * 8
        for j in range(bits.shape[0]):
            byte, shift, width = position >> 3, position & 7, bits[j]
            window = find_cell(vectors[row, j], lowers, starts[j], width) << (16 - shift - width)
            if width > 0:
                codes[row, byte] |= np.uint8(window >> 8)
            if shift + width > 8:
                codes[row, byte + 1] |= np.uint8(window & 255)
            position += width


@kernel
def unpack_cells(packed, bits, cells):
    """Unpack rows, uint8 (n, bytes), to cell numbers, uint8 (n, D); `bits` is int32 (D,)."""
    for row in range(packed.shape[0]):
        position = 0
        for j in range(bits.shape[0]):
            cells[row, j] = cell_at(packed, row, 0, 1, position, bits[j])
            position += bits[j]


@kernel
def gap_tables(query, bits, starts, lowers, gaps):
    """Compute the squared distances of a rotated query's values to every cell, float32 (cells,); 0 inside a cell."""
    for j in range(bits.shape[0]):
        start = starts[j]
        query_cell = find_cell(query[j], lowers, start, bits[j])
        for cell in range(1 << bits[j]):
            gap = np.float32(0.0)
            if cell < query_cell:
                gap = query[j] - lowers[start + cell + 1]
            elif cell > query_cell:
                gap = lowers[start + cell] - query[j]
            gaps[start + cell] = gap * gap


@kernel
def scan_signs(
    blocks, query, partitions, row_starts, row_counts, block_starts, mask, sums, rows, places, visits, distances
):
    """List the rows of some partitions that pass a mask, with the Hamming distances of their sign codes to the query's.

    Parameters
    ----------
    blocks : uint64 (blocks, bytes * 4)
        Sign codes, eight rows per word.
    query : uint64 (bytes,)
        The query's sign code, each byte repeated in all eight bytes of a word.
    partitions : int32 (v,)
        Rows are listed partition by partition.
    row_starts, row_counts, block_starts : int64 (partitions,)
    mask : uint64 (words,) or (0,)
        Row mask; empty for all rows.
    sums : int32 (32,)
        Scratch.
    rows, places, visits, distances : int64, int64, int32, int32 (n,)
        Outputs, n at least the rows of the partitions: row, ``32 * block + lane``, index into `partitions`, distance.

    Returns
    -------
    count : int
        Number of rows listed.
    """
    width = query.shape[0]
    count = 0
    for visit in range(partitions.shape[0]):
        partition = partitions[visit]
        for inside in range((row_counts[partition] + 31) // 32):
            block = block_starts[partition] + inside
            first = row_starts[partition] + inside * 32
            last = min(first + 32, row_starts[partition] + row_counts[partition])
            next_row = first
            while next_row < last and not passes(mask, next_row):
                next_row += 1
            if next_row == last:
                continue
            for lane in range(32):
                sums[lane] = 0
            for start in range(0, width, FLUSH):
                a = b = c = d = np.uint64(0)
                for j in range(start, min(start + FLUSH, width)):
                    a += differing_bits(blocks[block, 4 * j], query[j])
                    b += differing_bits(blocks[block, 4 * j + 1], query[j])
                    c += differing_bits(blocks[block, 4 * j + 2], query[j])
                    d += differing_bits(blocks[block, 4 * j + 3], query[j])
                for lane in range(8):
                    shift = np.uint64(8 * lane)
                    sums[lane] += np.int32((a >> shift) & np.uint64(255))
                    sums[lane + 8] += np.int32((b >> shift) & np.uint64(255))
                    sums[lane + 16] += np.int32((c >> shift) & np.uint64(255))
                    sums[lane + 24] += np.int32((d >> shift) & np.uint64(255))
            for row in range(next_row, last):
                if passes(mask, row):
                    rows[count] = row
                    places[count] = block * 32 + row - first
                    visits[count] = visit
                    distances[count] = sums[row - first]
                    count += 1
    return count


@kernel
def lower_bounds(blocks, places, bits, starts, gaps, bounds):
    """Compute lower bounds of rows' squared distances to the query: the sums of the gaps of their cells.

    Parameters
    ----------
    blocks : uint8 (blocks, bytes * 32)
        Packed cells.
    places : int64 (n,)
        ``32 * block + lane`` of each row.
    bits, starts, gaps : int32 (D,), int64 (D,), float32 (cells,)
        See `gap_tables`.
    bounds : float32 (n,)
        Output.
    """
    for i in range(places.shape[0]):
        total = np.float32(0.0)
        position = 0
        for j in range(bits.shape[0]):
            total += gaps[starts[j] + cell_at(blocks, places[i] >> 5, places[i] & 31, 32, position, bits[j])]
            position += bits[j]
        bounds[i] = total
