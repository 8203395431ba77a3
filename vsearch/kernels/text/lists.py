"""The lists of a query in a window of rows: their bounds, and what rows gain from them."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import BLOCK, LARGEST, CursorField, ListField
from vsearch.kernels.text.postings import count_at, text_at, unpack_counts, unpack_rows
from vsearch.kernels.toolchain.compiling import inlined, part

COLUMN, FIRST_BLOCK, STOP_BLOCK, POSTINGS = (int(field) for field in ListField)
AT_BLOCK, UNPACKED, PLACE = (int(field) for field in CursorField)

DENSE, MARKED, APPENDED = 0, 1, 2
"""How the rows of a window that gain are listed: not at all, by bits in `touched`, or in any order in `candidates`."""


@inlined
def _bound(text, block, weight, fixed, slope):
    """Return the largest gain in a block, rounded up."""
    count = np.int64(text.largest_counts[block])
    if count >= LARGEST:
        return np.int64(weight) + 2
    count_, length = np.float64(count), np.float64(text.least_lengths[block])
    return np.int64(weight * (count_ / (count_ + (fixed + slope * length)))) + 2


@inlined
def gain_of(text, row, count, weight, fixed, slope):
    """Return what a posting gains, as a whole number."""
    number, length = np.float64(count), np.float64(text.lengths[row])
    return np.int64(weight * (number / (number + (fixed + slope * length)))) + 1


@part
def _unpack(address, block, size, weight, fixed, slope, rows, gains, row_lengths):
    """Unpack a block: its rows, and what each gains; return whether the rows are rows of the run."""
    if not unpack_rows(address, block, size, rows):
        return False
    unpack_counts(address, block, size, gains)
    lengths = text_at(address).lengths
    for i in range(size):  # apart from the next loop, so that the next one is vectorized
        row_lengths[i] = np.int64(lengths[rows[i]])
    for i in range(size):
        count, length = np.float64(gains[i]), np.float64(row_lengths[i])
        gains[i] = np.int64(weight * (count / (count + (fixed + slope * length)))) + 1
    return True


@inlined
def begin(call):
    """Put the cursors at the beginning of a run."""
    table, cursors = call.table, call.cursors
    for i in range(call.lists):
        cursors[i, AT_BLOCK], cursors[i, UNPACKED], cursors[i, PLACE] = table[i, FIRST_BLOCK], -1, 0
    for x in range(call.extras):
        call.extra_places[x] = call.extra_edges[x]


@part
def bound_lists(call, start, end):
    """Move the cursors to a window; set the largest gain and the number of blocks of every list; return where the next block begins."""
    table, cursors, bounds, overlaps = call.table, call.cursors, call.bounds, call.overlaps
    following = call.stop
    for i in range(call.lists):
        column = table[i, COLUMN]
        text = text_at(call.addresses[column])
        first_rows = text.first_rows
        block, last = cursors[i, AT_BLOCK], table[i, STOP_BLOCK]
        while block + 1 < last and np.int64(first_rows[block + 1]) <= start:
            block += 1
        cursors[i, AT_BLOCK] = block
        bound = np.int64(0)
        if block == last - 1 and (cursors[i, UNPACKED] == block or cursors[i, UNPACKED] == -2 - block):
            size = table[i, POSTINGS] - (block - table[i, FIRST_BLOCK]) * BLOCK
            if call.block_rows[i, size - 1] < start:  # the list has ended
                block = last
        weight, fixed, slope = call.weights[i], call.norms[column, 0], call.norms[column, 1]
        passed = block
        while block < last:
            first = np.int64(first_rows[block])
            if first >= end:
                following = min(following, first)
                break
            bound = max(bound, _bound(text, block, weight, fixed, slope))
            block += 1
        bounds[i], overlaps[i] = bound, block - passed
    return following


@part
def add_list(call, i, start, end, mode):
    """Add what the rows of a window gain from a list; return the largest sum of these rows, or -1 for damaged postings.

    Depending on the mode, rows that gain are marked in `touched`, or appended to the candidates when they first gain.
    """
    table, cursors, sums, touched, candidates = call.table, call.cursors, call.sums, call.touched, call.candidates
    column = table[i, COLUMN]
    address = call.addresses[column]
    weight, fixed, slope = call.weights[i], call.norms[column, 0], call.norms[column, 1]
    rows, gains = call.block_rows[i], call.block_gains[i]
    first_rows = text_at(address).first_rows
    block, last = cursors[i, AT_BLOCK], table[i, STOP_BLOCK]
    best, appended = np.int64(0), call.appended
    while block < last and np.int64(first_rows[block]) < end:
        size = min(BLOCK, table[i, POSTINGS] - (block - table[i, FIRST_BLOCK]) * BLOCK)
        if cursors[i, UNPACKED] != block:
            if not _unpack(address, block, size, weight, fixed, slope, rows, gains, call.block_lengths):
                return np.int64(-1)
            call.scored += size
            cursors[i, UNPACKED], cursors[i, PLACE] = block, 0
        place = cursors[i, PLACE]
        while place < size and rows[place] < start:
            place += 1
        if mode == APPENDED:
            while place < size and rows[place] < end:
                at = rows[place] - start
                before = sums[at]
                gained = before + gains[place]
                sums[at], candidates[appended] = gained, at
                appended += np.int64(before == 0)
                best = max(best, gained)
                place += 1
        else:
            while place < size and rows[place] < end:
                at = rows[place] - start
                gained = sums[at] + gains[place]
                sums[at] = gained
                if mode == MARKED:
                    touched[at >> 6] |= np.uint64(1) << np.uint64(at & 63)
                best = max(best, gained)
                place += 1
        cursors[i, PLACE] = place
        if place < size:
            break
        if block + 1 < last:
            cursors[i, AT_BLOCK] = block + 1
        block += 1
    call.appended = appended
    return best


@part
def probe_list(call, i, start, candidates, count):
    """Add what some rows of a window, ascending, gain from a list; return whether its postings are undamaged."""
    table, cursors, sums = call.table, call.cursors, call.sums
    column = table[i, COLUMN]
    address = call.addresses[column]
    text = text_at(address)
    weight, fixed, slope = call.weights[i], call.norms[column, 0], call.norms[column, 1]
    rows, gains = call.block_rows[i], call.block_gains[i]
    first_rows = text.first_rows
    block, last = cursors[i, AT_BLOCK], table[i, STOP_BLOCK]
    place = size = 0
    ready = np.int64(-1)  # the block of `place` and `size`
    for c in range(count):
        row = start + candidates[c]
        while block + 1 < last and np.int64(first_rows[block + 1]) <= row:
            block += 1
        if np.int64(first_rows[block]) > row:
            continue
        if ready != block:
            size = min(BLOCK, table[i, POSTINGS] - (block - table[i, FIRST_BLOCK]) * BLOCK)
            if cursors[i, UNPACKED] != block and cursors[i, UNPACKED] != -2 - block:
                if not unpack_rows(address, block, size, rows):
                    return False
                cursors[i, UNPACKED] = -2 - block
            ready, place = block, 0
        left = size - place  # find the first row of the block that is not lower, without branches
        while left > 1:
            half = left >> 1
            place += half * np.int64(rows[place + half - 1] < row)
            left -= half
        place += np.int64(left > 0 and rows[place] < row)
        if place < size and rows[place] == row:
            call.scored += 1
            if cursors[i, UNPACKED] == block:
                sums[candidates[c]] += gains[place]
            else:
                counted = count_at(text, block, size, place)
                sums[candidates[c]] += gain_of(text, row, counted, weight, fixed, slope)
    cursors[i, AT_BLOCK] = block
    return True
