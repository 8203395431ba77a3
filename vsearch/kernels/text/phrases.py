"""Phrases: rows that have terms at given distances, by the positions of these terms."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import BLOCK
from vsearch.kernels.text.postings import mask_of, read_bits, text_at, unpack_counts, unpack_rows
from vsearch.kernels.toolchain.compiling import kernel, part

FIRST_BLOCK, STOP_BLOCK, POSTINGS, OFFSET = 0, 1, 2, 3
AT_BLOCK, UNPACKED, PLACE, BEFORE = 0, 1, 2, 3
BIT, LEFT, POSITION = 0, 1, 2


@part
def _unpack(address, lists, i, block, rows, counts):
    """Unpack a block of a list; return the number of its postings, or -1 for damaged ones."""
    text = text_at(address)
    size = min(BLOCK, lists[i, POSTINGS] - (block - lists[i, FIRST_BLOCK]) * BLOCK)
    if not unpack_rows(address, block, size, rows):
        return np.int64(-1)
    unpack_counts(address, block, size, counts)
    total = np.int64(0)
    for place in range(size):
        total += counts[place]
    room = (np.int64(text.position_starts[block + 1]) - np.int64(text.position_starts[block])) * 8
    return size if total * np.int64(text.position_bits[block]) <= room else np.int64(-1)


@part
def _seek(address, lists, cursors, i, row, rows, counts):
    """Move the cursor of a list to a row; return 1 if the list has it, 0 if not, -1 for damaged postings."""
    first_rows = text_at(address).first_rows
    block, last = cursors[i, AT_BLOCK], lists[i, STOP_BLOCK]
    while block + 1 < last and np.int64(first_rows[block + 1]) <= row:
        block += 1
    cursors[i, AT_BLOCK] = block
    if np.int64(first_rows[block]) > row:
        return 0
    if cursors[i, UNPACKED] != block:
        if _unpack(address, lists, i, block, rows, counts) < 0:
            return -1
        cursors[i, UNPACKED], cursors[i, PLACE], cursors[i, BEFORE] = block, 0, 0
    size = min(BLOCK, lists[i, POSTINGS] - (block - lists[i, FIRST_BLOCK]) * BLOCK)
    place, before = cursors[i, PLACE], cursors[i, BEFORE]
    while place < size and rows[place] < row:
        before += counts[place]
        place += 1
    cursors[i, PLACE], cursors[i, BEFORE] = place, before
    return 1 if place < size and rows[place] == row else 0


@part
def _advance(text, block, states, i):
    """Read the next position of a term in a row; there must be one."""
    bits = np.int64(text.position_bits[block])
    states[i, POSITION] += read_bits(text.positions, states[i, BIT], mask_of(bits)) if bits else 0
    states[i, BIT] += bits
    states[i, LEFT] -= 1


@part
def _count_matches(address, lists, cursors, counts, states):
    """Count how often the row of the cursors has the phrase."""
    text = text_at(address)
    for i in range(lists.shape[0]):
        block = cursors[i, AT_BLOCK]
        bits = np.int64(text.position_bits[block])
        states[i, BIT] = np.int64(text.position_starts[block]) * 8 + cursors[i, BEFORE] * bits
        states[i, LEFT], states[i, POSITION] = counts[i, cursors[i, PLACE]], 0
        _advance(text, block, states, i)
    matches = 0
    while True:
        begins = states[0, POSITION] - lists[0, OFFSET]
        matching = True
        for i in range(1, lists.shape[0]):
            target = begins + lists[i, OFFSET]
            while states[i, POSITION] < target and states[i, LEFT] > 0:
                _advance(text, cursors[i, AT_BLOCK], states, i)
            if states[i, POSITION] != target:
                matching = False
                break
        matches += np.int64(matching)
        if states[0, LEFT] == 0:
            return matches
        _advance(text, cursors[0, AT_BLOCK], states, 0)


@kernel
def match_phrase(address, lists, mask, cursors, block_rows, block_counts, states, rows, counts):
    """Find the rows that have a phrase.

    Parameters
    ----------
    address : int
        Address of a block of `TextField`, with positions.
    lists : int64 (terms, 4)
        First block, block after the last, number of postings, and position in the phrase. Fastest with the shortest list first.
    mask : uint64 (ceil(rows / 64),)
        Rows that count.
    cursors : int64 (terms, 4), initially (first block, -1, 0, 0)
        Scratch: block, unpacked block, posting in it, and number of occurrences before it.
    block_rows, block_counts, states : int64 (terms, 128), int64 (terms, 128), int64 (terms, 3)
        Scratch.
    rows, counts : int64 (postings of the first list,)
        Output: rows with the phrase, ascending, and how often they have it.

    Returns
    -------
    int
        Number of these rows; -1 if postings are damaged.
    """
    matched = 0
    terms = lists.shape[0]
    for block in range(lists[0, FIRST_BLOCK], lists[0, STOP_BLOCK]):
        size = _unpack(address, lists, 0, block, block_rows[0], block_counts[0])
        if size < 0:
            return -1
        cursors[0, AT_BLOCK], cursors[0, UNPACKED], cursors[0, BEFORE] = block, block, 0
        for place in range(size):
            row = block_rows[0, place]
            cursors[0, PLACE] = place
            matching = ((mask[row >> 6] >> np.uint64(row & 63)) & np.uint64(1)) != 0
            for i in range(1, terms):
                if not matching:
                    break
                sought = _seek(address, lists, cursors, i, row, block_rows[i], block_counts[i])
                if sought < 0:
                    return -1
                matching = sought == 1
            if matching:
                repeated = _count_matches(address, lists, cursors, block_counts, states)
                if repeated > 0:
                    rows[matched], counts[matched] = row, repeated
                    matched += 1
            cursors[0, BEFORE] += block_counts[0, place]
    return matched
