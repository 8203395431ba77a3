"""Blocks of postings: measure, pack and unpack them, and mark their rows in bitmaps.

A list has the rows of one term, ascending, and how often each has the term. A block of it has up to 128 postings: its first
row is in the block table, and its bits are, lowest first, the gaps to the following rows minus 1, then the counts minus 1.
If there are positions, the block has others elsewhere: for each posting its first position, and the gaps between positions.

Kernels do not check lengths. Rows are checked when a block is unpacked, since damaged gaps could lead anywhere.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import BLOCK, LARGEST, TextField
from vsearch.kernels.toolchain.compiling import inlined, kernel, part
from vsearch.kernels.toolchain.views import ArrayField, view

text_at = view(
    "Text",
    TextField,
    {
        "first_rows": ArrayField("uint32", ("blocks",)),
        "starts": ArrayField("uint32", ("blocks",)),
        "gap_bits": ArrayField("uint8", ("blocks",)),
        "count_bits": ArrayField("uint8", ("blocks",)),
        "largest_counts": ArrayField("uint16", ("blocks",)),
        "least_lengths": ArrayField("uint16", ("blocks",)),
        "packed": ArrayField("uint32", ("words",)),
        "lengths": ArrayField("uint32", ("rows",)),
        "position_starts": ArrayField("uint32", ("blocks",)),
        "position_bits": ArrayField("uint8", ("blocks",)),
        "positions": ArrayField("uint32", ("position_words",)),
    },
)


@inlined
def _width(number):
    """Return the number of bits of a non-negative int64."""
    bits = 0
    while number:
        number >>= 1
        bits += 1
    return bits


@kernel
def measure_blocks(
    offsets, rows, counts, lengths, first_rows, starts, gap_bits, count_bits, largest_counts, least_lengths
):
    """Compute the block table of lists.

    Parameters
    ----------
    offsets : int64 (terms + 1,)
        List t has the postings ``offsets[t]:offsets[t + 1]``, at least one.
    rows, counts : uint32 (postings,)
    lengths : uint32 (rows,)
    first_rows, gap_bits, count_bits, largest_counts, least_lengths : uint32, uint8, uint8, uint16, uint16 (blocks,)
        Output.
    starts : int64 (blocks,)
        Output: first byte of each block.

    Returns
    -------
    int
        Number of bytes of all blocks.
    """
    block = 0
    size = np.int64(0)
    for term in range(offsets.shape[0] - 1):
        for first in range(offsets[term], offsets[term + 1], BLOCK):
            stop = min(first + BLOCK, offsets[term + 1])
            gap = np.int64(0)
            count = np.int64(0)
            length = np.int64(LARGEST)
            for i in range(first, stop):
                if i > first:
                    gap = max(gap, np.int64(rows[i]) - np.int64(rows[i - 1]) - 1)
                count = max(count, np.int64(counts[i]))
                length = min(length, np.int64(lengths[rows[i]]))
            first_rows[block] = rows[first]
            starts[block] = size
            gap_bits[block] = _width(gap)
            count_bits[block] = _width(count - 1)
            largest_counts[block] = min(count, LARGEST)
            least_lengths[block] = length
            bits = (stop - first - 1) * np.int64(gap_bits[block]) + (stop - first) * np.int64(count_bits[block])
            size += (bits + 7) >> 3
            block += 1
    return size


@inlined
def _put(packed, bit, number):
    """Write a number of up to 32 bits at a bit position."""
    word = bit >> 5
    value = np.uint64(number) << np.uint64(bit & 31)
    packed[word] |= np.uint32(value & np.uint64(0xFFFFFFFF))
    high = np.uint32(value >> np.uint64(32))
    if high:
        packed[word + 1] |= high


@kernel
def pack_blocks(offsets, rows, counts, starts, gap_bits, count_bits, packed):
    """Write the bits of all blocks.

    Parameters
    ----------
    offsets, rows, counts, starts, gap_bits, count_bits
        As for `measure_blocks`.
    packed : uint32 (words,), initially 0
        Output; holds all bytes and at least one more word.
    """
    block = 0
    for term in range(offsets.shape[0] - 1):
        for first in range(offsets[term], offsets[term + 1], BLOCK):
            stop = min(first + BLOCK, offsets[term + 1])
            bit = starts[block] * 8
            for i in range(first + 1, stop):
                _put(packed, bit, np.int64(rows[i]) - np.int64(rows[i - 1]) - 1)
                bit += np.int64(gap_bits[block])
            for i in range(first, stop):
                _put(packed, bit, np.int64(counts[i]) - 1)
                bit += np.int64(count_bits[block])
            block += 1


@inlined
def read_bits(packed, bit, mask):
    """Read the bits of `mask` at a bit position."""
    word = bit >> 5
    both = np.uint64(packed[word]) | (np.uint64(packed[word + 1]) << np.uint64(32))
    return np.int64((both >> np.uint64(bit & 31)) & mask)


@inlined
def mask_of(bits):
    """Return a mask of the lowest `bits` bits, up to 63."""
    return (np.uint64(1) << np.uint64(bits)) - np.uint64(1)


@inlined
def count_at(text, block, size, place):
    """Read one count of a block of `size` postings."""
    bits = np.int64(text.count_bits[block])
    if bits == 0:
        return np.int64(1)
    bit = np.int64(text.starts[block]) * 8 + (size - 1) * np.int64(text.gap_bits[block]) + place * bits
    return read_bits(text.packed, bit, mask_of(bits)) + 1


@kernel
def pack_positions(edges, gaps, starts, bits, packed):
    """Write the gaps between positions.

    Parameters
    ----------
    edges : int64 (blocks + 1,)
        Block b has the gaps ``gaps[edges[b]:edges[b + 1]]``.
    gaps : uint32 (occurrences,)
    starts, bits : int64 (blocks + 1,), uint8 (blocks + 1,)
        First byte of each block, and bits of its numbers.
    packed : uint32 (words,), initially 0
        Output; holds all bytes and at least one more word.
    """
    for block in range(edges.shape[0] - 1):
        bit = starts[block] * 8
        for i in range(edges[block], edges[block + 1]):
            _put(packed, bit, np.int64(gaps[i]))
            bit += np.int64(bits[block])


@part
def unpack_rows(address, block, size, rows):
    """Unpack the rows of a block of `size` postings; return whether they are rows of the run."""
    text = text_at(address)
    packed = text.packed
    bits = np.int64(text.gap_bits[block])
    bit = np.int64(text.starts[block]) * 8
    row = np.int64(text.first_rows[block])
    rows[0] = row
    if bits == 0:
        for i in range(1, size):
            rows[i] = row + i
        row += size - 1
    else:
        mask = mask_of(bits)
        for i in range(1, size):
            row += read_bits(packed, bit, mask) + 1
            rows[i] = row
            bit += bits
    return row < text.rows


@part
def unpack_counts(address, block, size, counts):
    """Unpack the counts of a block of `size` postings."""
    text = text_at(address)
    packed = text.packed
    bits = np.int64(text.count_bits[block])
    if bits == 0:
        for i in range(size):
            counts[i] = 1
        return
    bit = np.int64(text.starts[block]) * 8 + (size - 1) * np.int64(text.gap_bits[block])
    mask = mask_of(bits)
    for i in range(size):
        counts[i] = read_bits(packed, bit, mask) + 1
        bit += bits


@kernel
def unpack_list(address, first, stop, postings, rows, counts):
    """Unpack a list.

    Parameters
    ----------
    address : int
        Address of a block of `TextField`.
    first, stop : int
        Its blocks.
    postings : int
    rows, counts : int64 (postings,)
        Output.

    Returns
    -------
    bool
        Whether all rows are rows of the run; otherwise the output is incomplete.
    """
    done = 0
    for block in range(first, stop):
        size = min(BLOCK, postings - done)
        if not unpack_rows(address, block, size, rows[done:]):
            return False
        unpack_counts(address, block, size, counts[done:])
        done += size
    return True


@kernel
def mark_list(address, first, stop, postings, rows, words):
    """Set the bits of the rows of a list.

    Parameters
    ----------
    address, first, stop, postings
        As for `unpack_list`.
    rows : int64 (128,)
        Scratch.
    words : uint64 (ceil(rows / 64),)
        Modified in place.

    Returns
    -------
    bool
        Whether all rows are rows of the run.
    """
    done = 0
    for block in range(first, stop):
        size = min(BLOCK, postings - done)
        if not unpack_rows(address, block, size, rows):
            return False
        for i in range(size):
            row = rows[i]
            words[row >> 6] |= np.uint64(1) << np.uint64(row & 63)
        done += size
    return True


@kernel
def count_list(address, first, stop, postings, rows, words):
    """Count the rows of a list whose bit is set in `words`; -1 if some are not rows of the run. Arguments as for `mark_list`."""
    done = 0
    count = 0
    for block in range(first, stop):
        size = min(BLOCK, postings - done)
        if not unpack_rows(address, block, size, rows):
            return -1
        for i in range(size):
            row = rows[i]
            count += np.int64((words[row >> 6] >> np.uint64(row & 63)) & np.uint64(1))
        done += size
    return count
