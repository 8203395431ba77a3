"""The heap of the best rows."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import inlined, part


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


@inlined
def offer(call, row, score, threshold):
    """Push a row with a score above the threshold; return the threshold after it."""
    scores, rows, size = call.heap_scores, call.heap_rows, call.size
    if size < call.k:
        _push(scores, rows, size, score, row)
        size += 1
        call.size = size
    else:
        scores[0], rows[0] = score, row
        _sift(scores, rows, size)
    return scores[0] if size == call.k else threshold


@part
def sort_heap(call):
    """Put the rows of the heap in order, best first; of equal scores, the lower row comes first. Then it is no heap any more."""
    scores, rows = call.heap_scores, call.heap_rows
    for last in range(call.size - 1, 0, -1):
        score, row = scores[0], rows[0]
        scores[0], rows[0] = scores[last], rows[last]
        _sift(scores, rows, last)
        scores[last], rows[last] = score, row


@part
def scale_heap(call, scale):
    """Divide scores by the scale, in `BEST_SCORES`; after the last row, set NaN and the row -1."""
    scores, rows, floats = call.heap_scores, call.heap_rows, call.best_scores
    for place in range(call.size):
        floats[place] = np.float32(np.float64(scores[place]) / scale)
    for place in range(call.size, call.k):
        floats[place], rows[place] = np.float32(np.nan), -1
