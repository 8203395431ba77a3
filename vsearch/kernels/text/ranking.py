"""BM25 over the rows of a run, window by window, with bounds from the blocks.

Scores are sums of integers: every gain is rounded to a whole number once, so a row's score does not depend on the order in which
lists are read, and bounds are exact. A window is passed over if the bounds of its blocks cannot reach the worst of the best k rows,
and the lists of small gains are not read if no row of the window can reach it with them ("MaxScore": H. Turtle and J. Flood, Query
evaluation: strategies and optimizations, 1995; with bounds of blocks: S. Ding and T. Suel, Faster top-k document retrieval using
block-max indexes, SIGIR 2011).
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.text.fields import BLOCK, LARGEST, WINDOW, CursorField, ListField, SpanField
from vsearch.kernels.text.postings import text_at, unpack_counts, unpack_rows
from vsearch.kernels.toolchain.compiling import inlined, kernel, part

COLUMN, FIRST_BLOCK, STOP_BLOCK, POSTINGS = (int(field) for field in ListField)
AT_BLOCK, DECODED, PLACE = (int(field) for field in CursorField)
FIRST, STOP, BASE, SIZE, SCORED = (int(field) for field in SpanField)


@inlined
def _bound(text, block, weight, fixed, slope):
    """Return the largest gain in a block, rounded up."""
    count = np.int64(text.largest_counts[block])
    if count >= LARGEST:
        return np.int64(weight) + 2
    count_, length = np.float64(count), np.float64(text.least_lengths[block])
    return np.int64(weight * (count_ / (count_ + (fixed + slope * length)))) + 2


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
def _sift(scores, rows, size):
    """Restore the heap after its root was replaced. The root is the lowest score, of equal ones the highest row."""
    score, row = scores[0], rows[0]
    node = 0
    while True:
        child = 2 * node + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            scores[other] < scores[child] or (scores[other] == scores[child] and rows[other] > rows[child])
        ):
            child = other
        if scores[child] > score or (scores[child] == score and rows[child] < row):
            break
        scores[node], rows[node] = scores[child], rows[child]
        node = child
    scores[node], rows[node] = score, row


@inlined
def _push(scores, rows, size, score, row):
    """Add a row to a heap with room left."""
    node = size
    while node > 0:
        parent = (node - 1) // 2
        if scores[parent] < score or (scores[parent] == score and rows[parent] > row):
            break
        scores[node], rows[node] = scores[parent], rows[parent]
        node = parent
    scores[node], rows[node] = score, row


@kernel
def rank_rows(
    columns,
    lists,
    weights,
    norms,
    bitmaps,
    constants,
    mask,
    cursors,
    bounds,
    block_rows,
    block_gains,
    sums,
    heap_scores,
    heap_rows,
    span,
):
    """Push the rows of a span of a run with the highest scores to a heap.

    Spans, and runs, must be passed in ascending order, each run with cursors of its own: of rows with equal scores, the lowest
    stay.

    Parameters
    ----------
    columns : int64 (columns,)
        Addresses of blocks of `TextField`.
    lists : int64 (lists, 4)
        See `ListField`. Best with descending weights.
    weights : float64 (lists,)
        What a posting gains at most.
    norms : float64 (columns, 2)
        A posting gains ``weight * count / (count + norms[c, 0] + norms[c, 1] * length)``, rounded down, plus 1.
    bitmaps, constants : uint64 (m, ceil(rows / 64)), int64 (m,)
        The rows of a bitmap gain a constant each.
    mask : uint64 (ceil(rows / 64),)
        The rows that may be returned.
    cursors : int64 (lists, 3)
        See `CursorField`; kept between the spans of a run.
    bounds, block_rows, block_gains : int64 (lists,), int64 (lists, 128), int64 (lists, 128)
        Scratch, kept like `cursors`.
    sums : int64 (2048,), initially 0
        Scratch.
    heap_scores, heap_rows : int64 (k,)
        The heap; the root is the worst.
    span : int64 (5,)
        See `SpanField`: the first row, a multiple of 64, and the end of the span; a number to add to rows; the size of the heap,
        and the number of postings scored so far, which are updated.

    Returns
    -------
    bool
        Whether all rows of the lists are rows of the run; if not, the heap is invalid.
    """
    k = heap_scores.shape[0]
    count = lists.shape[0]
    size = span[SIZE]
    scored = span[SCORED]
    start = span[FIRST]
    stop = span[STOP]
    fixed_gain = np.int64(0)
    for m in range(constants.shape[0]):
        fixed_gain += constants[m]
    while start < stop:
        end = min(start + WINDOW, stop)
        threshold = heap_scores[0] if size == k else np.int64(0)
        total = fixed_gain
        following = stop
        for i in range(count):
            text = text_at(columns[lists[i, COLUMN]])
            first_rows = text.first_rows
            block, last = cursors[i, AT_BLOCK], lists[i, STOP_BLOCK]
            while block + 1 < last and np.int64(first_rows[block + 1]) <= start:
                block += 1
            if block != cursors[i, AT_BLOCK]:
                cursors[i, AT_BLOCK] = block
            bound = np.int64(0)
            weight = weights[i]
            fixed, slope = norms[lists[i, COLUMN], 0], norms[lists[i, COLUMN], 1]
            over = block == last - 1 and cursors[i, DECODED] == block and cursors[i, PLACE] >= BLOCK
            while block < last and not over:
                first = np.int64(first_rows[block])
                if first >= end:
                    following = min(following, first)
                    break
                bound = max(bound, _bound(text, block, weight, fixed, slope))
                block += 1
            bounds[i] = bound
            total += bound
        if total == 0:  # no list has a row before `following`
            start = max(end, (following >> 6) << 6)
            continue
        if size == k and total <= threshold:
            start = end
            continue
        words = False
        for word in range(start >> 6, (end + 63) >> 6):
            words = words or mask[word] != 0
        if not words:
            start = end
            continue
        highest = np.int64(0)
        left = total
        for m in range(constants.shape[0]):
            constant = constants[m]
            found = False
            for word in range(start >> 6, (end + 63) >> 6):
                bits = bitmaps[m, word]
                if bits:
                    found = True
                    at = (word << 6) - start
                    for i in range(min(64, end - (word << 6))):
                        if (bits >> np.uint64(i)) & np.uint64(1):
                            sums[at + i] += constant
            if found:
                highest += constant
            left -= constant
        for i in range(count):
            if bounds[i] == 0:
                continue
            if size == k and highest + left <= threshold:
                break
            address = columns[lists[i, COLUMN]]
            fixed, slope = norms[lists[i, COLUMN], 0], norms[lists[i, COLUMN], 1]
            rows, gains = block_rows[i], block_gains[i]
            best = np.int64(0)
            block, last = cursors[i, AT_BLOCK], lists[i, STOP_BLOCK]
            first_rows = text_at(address).first_rows
            while block < last and np.int64(first_rows[block]) < end:
                length = min(BLOCK, lists[i, POSTINGS] - (block - lists[i, FIRST_BLOCK]) * BLOCK)
                if cursors[i, DECODED] != block:
                    if not _unpack(address, block, length, weights[i], fixed, slope, rows, gains):
                        return False
                    scored += length
                    cursors[i, DECODED] = block
                    cursors[i, PLACE] = 0
                place = cursors[i, PLACE]
                while place < length and rows[place] < start:
                    place += 1
                while place < length and rows[place] < end:
                    at = rows[place] - start
                    gained = sums[at] + gains[place]
                    sums[at] = gained
                    best = max(best, gained)
                    place += 1
                if place < length:
                    cursors[i, PLACE] = place
                    break
                cursors[i, PLACE] = BLOCK
                if block + 1 < last:
                    cursors[i, AT_BLOCK] = block + 1
                block += 1
            highest = max(highest, best)
            left -= bounds[i]
        if highest > threshold:
            for word in range(start >> 6, (end + 63) >> 6):
                bits = mask[word]
                if bits == 0:
                    continue
                base = word << 6
                for i in range(min(64, end - base)):
                    score = sums[base - start + i]
                    if score > threshold and (bits >> np.uint64(i)) & np.uint64(1):
                        row = span[BASE] + base + i
                        if size < k:
                            _push(heap_scores, heap_rows, size, score, row)
                            size += 1
                        else:
                            heap_scores[0], heap_rows[0] = score, row
                            _sift(heap_scores, heap_rows, size)
                        if size == k:
                            threshold = heap_scores[0]
        for i in range(end - start):
            sums[i] = 0
        start = end
    span[SIZE] = size
    span[SCORED] = scored
    return True
