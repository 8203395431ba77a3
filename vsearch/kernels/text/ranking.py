"""BM25 over the rows of a run, window by window, with bounds from the blocks.

Scores are sums of integers: every gain is rounded to a whole number once, so a row's score does not depend on the order in which
lists are read, and bounds are exact. A window is skipped if the bounds of its blocks cannot reach the worst of the best k rows.
The lists of small gains, which cannot reach it on their own, are only read where rows of the other lists need them ("MaxScore":
H. Turtle and J. Flood, Query evaluation: strategies and optimizations, 1995; with bounds of blocks: S. Ding and T. Suel, Faster top-k
document retrieval using block-max indexes, SIGIR 2011).
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import BLOCK, LARGEST, TOUCHED_WORDS, WINDOW, CursorField, ListField
from vsearch.kernels.text.heap import offer, sort_heap
from vsearch.kernels.text.postings import count_at, text_at, unpack_counts, unpack_rows
from vsearch.kernels.text.touched import clear_touched, list_touched, offer_touched
from vsearch.kernels.text.views import rank_at
from vsearch.kernels.toolchain.compiling import inlined, kernel, part

COLUMN, FIRST_BLOCK, STOP_BLOCK, POSTINGS = (int(field) for field in ListField)
AT_BLOCK, UNPACKED, PLACE = (int(field) for field in CursorField)

SPARSE_BLOCKS = 16
"""Most blocks of postings in a window for which the touched rows are marked; with more, all sums of the window are read."""


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
def _unpack(address, block, size, weight, fixed, slope, rows, gains):
    """Unpack a block: its rows, and what each gains; return whether the rows are rows of the run."""
    if not unpack_rows(address, block, size, rows):
        return False
    unpack_counts(address, block, size, gains)
    lengths = text_at(address).lengths
    for i in range(size):
        count = np.float64(gains[i])
        length = np.float64(lengths[rows[i]])
        gains[i] = np.int64(weight * (count / (count + (fixed + slope * length)))) + 1
    return True


@inlined
def _begin(call):
    """Put the cursors at the beginning of a run."""
    table, cursors = call.table, call.cursors
    for i in range(call.lists):
        cursors[i, AT_BLOCK], cursors[i, UNPACKED], cursors[i, PLACE] = table[i, FIRST_BLOCK], -1, 0
    for x in range(call.extras):
        call.extra_places[x] = call.extra_edges[x]


@part
def _bound_lists(call, start, end):
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
def _add_list(call, i, start, end, sparse):
    """Add what the rows of a window gain from a list; return the largest sum of these rows, or -1 for damaged postings.

    If the window is sparse, mark these rows in `touched`.
    """
    table, cursors, sums, touched = call.table, call.cursors, call.sums, call.touched
    column = table[i, COLUMN]
    address = call.addresses[column]
    weight, fixed, slope = call.weights[i], call.norms[column, 0], call.norms[column, 1]
    rows, gains = call.block_rows[i], call.block_gains[i]
    first_rows = text_at(address).first_rows
    block, last = cursors[i, AT_BLOCK], table[i, STOP_BLOCK]
    best = np.int64(0)
    while block < last and np.int64(first_rows[block]) < end:
        size = min(BLOCK, table[i, POSTINGS] - (block - table[i, FIRST_BLOCK]) * BLOCK)
        if cursors[i, UNPACKED] != block:
            if not _unpack(address, block, size, weight, fixed, slope, rows, gains):
                return np.int64(-1)
            call.scored += size
            cursors[i, UNPACKED], cursors[i, PLACE] = block, 0
        place = cursors[i, PLACE]
        while place < size and rows[place] < start:
            place += 1
        while place < size and rows[place] < end:
            at = rows[place] - start
            gained = sums[at] + gains[place]
            sums[at] = gained
            if sparse:
                touched[at >> 6] |= np.uint64(1) << np.uint64(at & 63)
            best = max(best, gained)
            place += 1
        cursors[i, PLACE] = place
        if place < size:
            break
        if block + 1 < last:
            cursors[i, AT_BLOCK] = block + 1
        block += 1
    return best


@part
def _probe_list(call, i, start, candidates, count):
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
        low, high = place, size  # the first row of the block that is not lower
        while low < high:
            middle = (low + high) >> 1
            if rows[middle] < row:
                low = middle + 1
            else:
                high = middle
        place = low
        if place < size and rows[place] == row:
            call.scored += 1
            if cursors[i, UNPACKED] == block:
                sums[candidates[c]] += gains[place]
            else:
                counted = count_at(text, block, size, place)
                sums[candidates[c]] += gain_of(text, row, counted, weight, fixed, slope)
    cursors[i, AT_BLOCK] = block
    return True


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
def _list_candidates(call, start, end, least):
    """List the places in a window of the rows in the mask with larger sums than `least`; return their number."""
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
def _probe_rest(call, first, start, end, left, threshold, sparse):
    """Complete the sums of rows that can exceed a threshold with the lists from `first` on, and push them.

    `left` is the largest sum of gains from these lists.
    """
    sums, candidates, bounds = call.sums, call.candidates, call.bounds
    if sparse:
        count = list_touched(call, start, threshold - left)
    else:
        count = _list_candidates(call, start, end, threshold - left)
    for i in range(first, call.lists):
        if bounds[i] == 0:
            continue
        kept = 0
        for c in range(count):
            at = candidates[c]
            candidates[kept] = at
            kept += np.int64(sums[at] + left > threshold)
        count = kept
        if count == 0:
            return True
        if not _probe_list(call, i, start, candidates, count):
            return False
        left -= bounds[i]
    for c in range(count):
        score = sums[candidates[c]]
        if score > threshold:
            threshold = offer(call, call.base + start + candidates[c], score, threshold)
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
    start, stop, count = call.first, call.stop, call.lists
    bounds, sums, mask = call.bounds, call.sums, call.mask
    if start == 0:
        _begin(call)
    others = np.int64(0)
    for m in range(call.bitmaps):
        others += call.constants[m]
    further = others > 0 or call.extras > 0
    while start < stop:
        end = min(start + WINDOW, stop)
        threshold = call.heap_scores[0] if call.size == call.k else np.int64(0)
        following = _bound_lists(call, start, end)
        total = np.int64(0)
        for i in range(count):
            total += bounds[i]
        if total == 0 and not further:  # no list has a row before `following`
            start = max(end, (following >> 6) << 6)
            continue
        if call.size == call.k and total <= threshold and not further:
            start = end
            continue
        some = mask.shape[0] == 0
        for word in range(start >> 6, (end + 63) >> 6):
            some = some or mask[word] != 0
        if not some:
            start = end
            continue
        highest = _add_others(call, start, end) if further else np.int64(0)
        left, done, blocks = total, 0, np.int64(0)
        sparse = not further
        # while the remaining lists alone may exceed the threshold, every row in them is a candidate
        while done < count and (call.size < call.k or left > threshold):
            if bounds[done] > 0:
                blocks += call.overlaps[done]
                sparse = sparse and blocks <= SPARSE_BLOCKS
                best = _add_list(call, done, start, end, sparse)
                if best < 0:
                    call.damaged = 1
                    return
                highest = max(highest, best)
                left -= bounds[done]
            done += 1
        if highest + left > threshold:
            if done == count and sparse:
                offer_touched(call, start, threshold)
            elif done == count:
                _offer_sums(call, start, end, threshold)
            elif not _probe_rest(call, done, start, end, left, threshold, sparse):
                call.damaged = 1
                return
        if sparse:
            clear_touched(call)
        else:
            for i in range(end - start):
                sums[i] = 0
            for i in range(TOUCHED_WORDS):
                call.touched[i] = 0
        start = end
    if call.sorted != 0:
        sort_heap(call)
