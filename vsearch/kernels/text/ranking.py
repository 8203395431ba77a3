"""BM25 over the rows of a run, window by window, with bounds from the blocks.

Scores are sums of integers: every gain is rounded to a whole number once, so a row's score does not depend on the order in which
lists are read, and bounds are exact. A window is skipped if the bounds of its blocks cannot reach the worst of the best k rows.
The lists of small gains, which cannot reach it on their own, are only read where rows of the other lists need them ("MaxScore":
H. Turtle and J. Flood, Query evaluation: strategies and optimizations, 1995; with bounds of blocks: S. Ding and T. Suel, Faster top-k
document retrieval using block-max indexes, SIGIR 2011).
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import WINDOW, ListField
from vsearch.kernels.text.heap import offer
from vsearch.kernels.text.lists import APPENDED, DENSE, MARKED, add_list, begin, bound_lists, probe_list
from vsearch.kernels.text.touched import (
    clear_appended,
    clear_sums,
    clear_touched,
    count_ones,
    keep_above,
    keep_allowed,
    list_allowed,
    list_sums,
    list_touched,
    offer_appended,
)
from vsearch.kernels.text.views import rank_at
from vsearch.kernels.toolchain.compiling import inlined, kernel, part

POSTINGS = int(ListField.POSTINGS)

SPARSE_BLOCKS = 16
"""Most blocks of postings in a window for which the rows that gain are listed; with more, all sums of the window are read."""

PROBE_COST = 3
"""Seeks for a row in a list take as long as reading about this number of postings."""


@part
def _add_others(call, start, end):
    """Add what the rows of a window gain from bitmaps and unpacked lists; return the largest possible sum of these gains."""
    sums, highest = call.sums, np.int64(0)
    for m in range(call.bitmaps):
        constant, any_set = call.constants[m], False
        for word in range(start >> 6, (end + 63) >> 6):
            bits = call.bits[m, word]
            if bits:
                any_set = True
                at = (word << 6) - start
                for i in range(min(64, end - (word << 6))):
                    if (bits >> np.uint64(i)) & np.uint64(1):
                        sums[at + i] += constant
        if any_set:
            highest += constant
    rows, gains = call.extra_rows, call.extra_gains
    for x in range(call.extras):
        place = call.extra_places[x]
        edge = call.extra_edges[x + 1] if x + 1 < call.extras else call.extra_postings
        largest = np.int64(0)
        while place < edge and rows[place] < end:
            if rows[place] >= start:
                sums[rows[place] - start] += gains[place]
                largest = max(largest, gains[place])
            place += 1
        call.extra_places[x] = place
        highest += largest
    return highest


@part
def _offer_sums(call, start, end, threshold):
    """Push the rows of a window with sums above a threshold, by ascending row."""
    sums, mask = call.sums, call.mask
    masked = mask.shape[0] > 0
    for word in range(start >> 6, (end + 63) >> 6):
        bits = mask[word] if masked else ~np.uint64(0)
        if bits == 0:
            continue
        base = word << 6
        for i in range(min(64, end - base)):
            score = sums[base - start + i]
            if score > threshold and (bits >> np.uint64(i)) & np.uint64(1):
                threshold = offer(call, call.base + base + i, score, threshold)


@part
def _probe_rest(call, first, start, count, left, threshold):
    """Complete the sums of candidates that can exceed a threshold with the lists from `first` on, and push them.

    Candidates are ascending; their sums are set to 0. `left` is the largest sum of gains from these lists. Return whether postings are
    undamaged.
    """
    sums, candidates, bounds = call.sums, call.candidates, call.bounds
    for i in range(first, call.lists):
        if bounds[i] == 0:
            continue
        count = keep_above(call, count, threshold - left)
        if count == 0:
            return True
        if not probe_list(call, i, start, candidates, count):
            return False
        left -= bounds[i]
    for c in range(count):
        at = candidates[c]
        score = sums[at]
        sums[at] = 0
        if score > threshold:
            threshold = offer(call, call.base + start + at, score, threshold)
    return True


@inlined
def _count_full(call, total, threshold):
    """Return the number of lists that must be read in full: those before the rest alone cannot exceed the threshold."""
    bounds, left, full = call.bounds, total, np.int64(0)
    while full < call.lists and (call.size < call.k or left > threshold):
        left -= bounds[full]
        full += 1
    return full


@inlined
def _mode_of(call, full):
    """Return how the rows of a window that gain are listed."""
    bounds, blocks, read = call.bounds, np.int64(0), np.int64(0)
    for i in range(full):
        if bounds[i] > 0:
            blocks += call.overlaps[i]
            read += 1
    if blocks > SPARSE_BLOCKS:
        return DENSE
    return APPENDED if full == call.lists or read == 1 else MARKED


@part
def _rank_window(call, start, end, total, threshold):
    """Push the rows of a window with the highest sums of gains from lists; return whether postings are undamaged.

    `total` is the largest possible sum.
    """
    full, count = _count_full(call, total, threshold), call.lists
    mode, bounds = _mode_of(call, full), call.bounds
    left, highest = total, np.int64(0)
    call.appended = 0
    for i in range(full):
        if bounds[i] > 0:
            best = add_list(call, i, start, end, mode)
            if best < 0:
                return False
            highest = max(highest, best)
            left -= bounds[i]
    if highest + left <= threshold:
        if mode == APPENDED:
            clear_appended(call)
    elif full < count:
        if mode == APPENDED:
            candidates = keep_allowed(call, start, call.appended, threshold - left)
        elif mode == MARKED:
            candidates = list_touched(call, start, threshold - left)
        else:
            candidates = list_sums(call, start, end, threshold - left)
        if not _probe_rest(call, full, start, candidates, left, threshold):
            return False
    elif mode == APPENDED:
        offer_appended(call, start, threshold)
    else:
        _offer_sums(call, start, end, threshold)
    if mode == MARKED:
        clear_touched(call)
    elif mode == DENSE:
        clear_sums(call)
    return True


@part
def _rank_all(call, start, end, total, threshold):
    """`_rank_window` for a query with bitmaps or unpacked lists, whose rows may gain without any list."""
    bounds, count, left, done = call.bounds, call.lists, total, np.int64(0)
    highest = _add_others(call, start, end)
    # while the remaining lists alone may exceed the threshold, every row in them is a candidate
    while done < count and (call.size < call.k or left > threshold):
        if bounds[done] > 0:
            best = add_list(call, done, start, end, DENSE)
            if best < 0:
                return False
            highest = max(highest, best)
            left -= bounds[done]
        done += 1
    if highest + left > threshold:
        if done == count:
            _offer_sums(call, start, end, threshold)
        elif not _probe_rest(call, done, start, list_sums(call, start, end, threshold - left), left, threshold):
            return False
    clear_sums(call)
    return True


@part
def rank_span(call):
    """Push the rows of a span with the highest scores; return whether the postings are undamaged. See `rank_rows`."""
    start, stop = call.first, call.stop
    bounds, mask = call.bounds, call.mask
    if start == 0:
        begin(call)
    others = np.int64(0)
    for m in range(call.bitmaps):
        others += call.constants[m]
    further = others > 0 or call.extras > 0
    postings = np.int64(0)
    for i in range(call.lists):
        postings += call.table[i, POSTINGS]
    while start < stop:
        end = min(start + WINDOW, stop)
        threshold = call.heap_scores[0] if call.size == call.k else np.int64(0)
        following = bound_lists(call, start, end)
        total, lists = np.int64(0), np.int64(0)
        for i in range(call.lists):
            total += bounds[i]
            lists += np.int64(bounds[i] > 0)
        if total == 0 and not further:  # no list has a row before `following`
            start = max(end, (following >> 6) << 6)
            continue
        if call.size == call.k and total <= threshold and not further:
            start = end
            continue
        fewest, allowed = np.int64(0), np.int64(WINDOW)
        if mask.shape[0] > 0:
            if lists > 0:  # up to this number of rows are looked up in the lists
                fewest = (postings * WINDOW) // (lists * PROBE_COST * stop)
            allowed = np.int64(0)
            for word in range(start >> 6, (end + 63) >> 6):
                allowed += count_ones(mask[word])
                if allowed > fewest:
                    break
        if allowed == 0:
            start = end
            continue
        if further:
            complete = _rank_all(call, start, end, total, threshold)
        elif allowed <= fewest:
            complete = _probe_rest(call, 0, start, list_allowed(call, start, end), total, threshold)
        else:
            complete = _rank_window(call, start, end, total, threshold)
        if not complete:
            clear_sums(call)
            return False
        start = end
    return True


@kernel
def rank_rows(address):
    """Push the rows of a span of a run with the highest scores to a heap.

    Spans, and runs, must be passed in ascending order: of rows with equal scores, the lowest stay.

    Parameters
    ----------
    address : int
        Address of a block of `RankField`.
    """
    call = rank_at(address)
    if not rank_span(call):
        call.damaged = 1
