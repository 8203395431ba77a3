"""BM25 of given rows, by seeks in the lists: for rows that were found by other means."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import BLOCK, ListField
from vsearch.kernels.text.lists import gain_of
from vsearch.kernels.text.postings import count_at, mask_of, read_bits, text_at
from vsearch.kernels.text.views import rank_at
from vsearch.kernels.toolchain.compiling import inlined, kernel, part

COLUMN, FIRST_BLOCK, STOP_BLOCK, POSTINGS = (int(field) for field in ListField)


@inlined
def _last_not_above(numbers, low, high, number):
    """Return the last place before `high` of a number that is not larger, in ascending numbers; `low` if there is none."""
    step = 1
    while low + step < high and np.int64(numbers[low + step]) <= number:
        low += step
        step *= 2
    high = min(high, low + step)
    while low + 1 < high:
        middle = (low + high) >> 1
        if np.int64(numbers[middle]) <= number:
            low = middle
        else:
            high = middle
    return low


@part
def _score_list(call, i):
    """Add what the listed rows gain from a list."""
    table, rows, scores, base = call.table, call.listed_rows, call.listed_scores, call.base
    column = table[i, COLUMN]
    text = text_at(call.addresses[column])
    first_rows, packed = text.first_rows, text.packed
    weight, fixed, slope = call.weights[i], call.norms[column, 0], call.norms[column, 1]
    block, last = table[i, FIRST_BLOCK], table[i, STOP_BLOCK]
    ready = np.int64(-1)
    place = size = 0
    at, bit, bits = np.int64(0), np.int64(0), np.int64(0)
    mask = np.uint64(0)
    for n in range(rows.shape[0]):
        row = rows[n] - base
        block = _last_not_above(first_rows, block, last, row)
        if np.int64(first_rows[block]) > row:
            continue
        if ready != block:
            ready, place, at = block, 0, np.int64(first_rows[block])
            size = min(BLOCK, table[i, POSTINGS] - (block - table[i, FIRST_BLOCK]) * BLOCK)
            bits, bit = np.int64(text.gap_bits[block]), np.int64(text.starts[block]) * 8
            mask = mask_of(bits)
        if bits == 0 and at < row:
            step = min(row - at, size - 1 - place)
            place += step
            at += step
        while at < row and place + 1 < size:
            at += read_bits(packed, bit, mask) + 1
            bit += bits
            place += 1
        if at == row:
            scores[n] += gain_of(text, row, count_at(text, block, size, place), weight, fixed, slope)


@part
def score_listed(call):
    """Compute the scores of listed rows; see `score_rows`."""
    rows, scores, base = call.listed_rows, call.listed_scores, call.base
    for n in range(rows.shape[0]):
        row = rows[n] - base
        gained = np.int64(0)
        for m in range(call.bitmaps):
            if (call.bits[m, row >> 6] >> np.uint64(row & 63)) & np.uint64(1):
                gained += call.constants[m]
        scores[n] = gained
    others, gains = call.extra_rows, call.extra_gains
    for x in range(call.extras):
        place = call.extra_edges[x]
        edge = call.extra_edges[x + 1] if x + 1 < call.extras else call.extra_postings
        for n in range(rows.shape[0]):
            row = rows[n] - base
            while place < edge and others[place] < row:
                place += 1
            if place < edge and others[place] == row:
                scores[n] += gains[place]
    for i in range(call.lists):
        _score_list(call, i)


@kernel
def score_rows(address):
    """Compute the scores that `rank_rows` would give to listed rows, whether they are in the mask or not.

    Parameters
    ----------
    address : int
        Address of a block of `RankField`; rows and scores are `LISTED_ROWS` and `LISTED_SCORES`.
    """
    score_listed(rank_at(address))
