"""The rows of a window that have a sum, or may be returned: lists of their places in the window, and their sums."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.partitions import trailing_zeros
from vsearch.kernels.text.fields import TOUCHED_WORDS, WINDOW
from vsearch.kernels.text.heap import offer
from vsearch.kernels.toolchain.compiling import inlined, part


@inlined
def count_ones(bits):
    """Return the number of bits that are set."""
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@part
def list_sums(call, start, end, least):
    """List the places in a window of the rows in the mask with larger sums than `least`, ascending; return their number."""
    sums, candidates, mask = call.sums, call.candidates, call.mask
    count = 0
    for at in range(end - start):
        candidates[count] = at
        count += np.int64(sums[at] > least)  # branch-free
    if mask.shape[0] > 0:
        kept = 0
        for c in range(count):
            row = start + candidates[c]
            candidates[kept] = candidates[c]
            kept += np.int64((mask[row >> 6] >> np.uint64(row & 63)) & np.uint64(1))
        count = kept
    return count


@part
def list_touched(call, start, least):
    """List the places of the touched rows in the mask with larger sums than `least`, ascending; return their number."""
    sums, touched, candidates, mask = call.sums, call.touched, call.candidates, call.mask
    masked = mask.shape[0] > 0
    count = 0
    for word in range(TOUCHED_WORDS):
        bits = touched[word]
        if bits != 0 and masked:
            bits &= mask[(start >> 6) + word]
        while bits != 0:
            at = (word << 6) + np.int64(trailing_zeros(bits))
            bits &= bits - np.uint64(1)
            candidates[count] = at
            count += np.int64(sums[at] > least)
    return count


@part
def list_allowed(call, start, end):
    """List the places in a window of the rows in the mask, ascending; return their number."""
    candidates, mask = call.candidates, call.mask
    count = 0
    for word in range(start >> 6, (end + 63) >> 6):
        bits = mask[word]
        while bits != 0:
            candidates[count] = (word << 6) + np.int64(trailing_zeros(bits)) - start
            bits &= bits - np.uint64(1)
            count += 1
    return count


@part
def keep_above(call, count, least):
    """Keep the candidates with larger sums than `least`, and set the sums of the others to 0; return the number of those kept."""
    sums, candidates = call.sums, call.candidates
    kept = 0
    for c in range(count):
        at = candidates[c]
        above = np.int64(sums[at] > least)
        candidates[kept] = at
        sums[at] *= above
        kept += above
    return kept


@part
def keep_allowed(call, start, count, least):
    """`keep_above`, for candidates that need not be in the mask."""
    sums, candidates, mask = call.sums, call.candidates, call.mask
    if mask.shape[0] > 0:
        kept = 0
        for c in range(count):
            at = candidates[c]
            row = start + at
            allowed = np.int64((mask[row >> 6] >> np.uint64(row & 63)) & np.uint64(1))
            candidates[kept] = at
            sums[at] *= allowed
            kept += allowed
        count = kept
    return keep_above(call, count, least)


@part
def offer_appended(call, start, threshold):
    """Push the candidates in the mask with sums above a threshold, and set all their sums to 0. They may be in any order."""
    sums, candidates, mask = call.sums, call.candidates, call.mask
    masked = mask.shape[0] > 0
    for c in range(call.appended):
        at = candidates[c]
        score = sums[at]
        sums[at] = 0
        if score < threshold:
            continue
        row = start + at
        if masked and not (mask[row >> 6] >> np.uint64(row & 63)) & np.uint64(1):
            continue
        if score > threshold or call.base + row < call.heap_rows[0]:  # equal: the lower row stays
            threshold = offer(call, call.base + row, score, threshold)


@part
def clear_appended(call):
    """Set the sums of candidates to 0."""
    sums, candidates = call.sums, call.candidates
    for c in range(call.appended):
        sums[candidates[c]] = 0


@part
def clear_touched(call):
    """Set the sums of touched rows to 0, and their bits."""
    sums, touched = call.sums, call.touched
    for word in range(TOUCHED_WORDS):
        if touched[word] != 0:
            first = word << 6
            for i in range(64):
                sums[first + i] = 0
            touched[word] = 0


@part
def clear_sums(call):
    """Set all sums of a window to 0, and the bits of touched rows."""
    sums, touched = call.sums, call.touched
    for i in range(WINDOW):
        sums[i] = 0
    for i in range(TOUCHED_WORDS):
        touched[i] = 0
