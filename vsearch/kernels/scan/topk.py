"""A bounded heap of the best (score, row) pairs.

The heap is two parallel arrays with the worst entry on top. Higher scores rank first, ties by lower row, so that the
result does not depend on the order in which rows are visited.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import inlined, part


@inlined
def worse(score_a, row_a, score_b, row_b):
    """Return whether entry a ranks after entry b."""
    return score_a < score_b or (score_a == score_b and row_a > row_b)


@inlined
def _sift_down(scores, rows, start, size):
    score, row = scores[start], rows[start]
    node = start
    while True:
        child = 2 * node + 1
        if child >= size:
            break
        if child + 1 < size and worse(scores[child + 1], rows[child + 1], scores[child], rows[child]):
            child += 1
        if not worse(scores[child], rows[child], score, row):
            break
        scores[node], rows[node] = scores[child], rows[child]
        node = child
    scores[node], rows[node] = score, row


@part
def push(scores, rows, size, score, row):
    """Push one entry to a heap of `size` entries and capacity ``len(scores)``; return the new size."""
    if size < scores.shape[0]:
        node = size
        while node > 0:
            parent = (node - 1) // 2
            if not worse(score, row, scores[parent], rows[parent]):
                break
            scores[node], rows[node] = scores[parent], rows[parent]
            node = parent
        scores[node], rows[node] = score, row
        return size + 1
    if worse(scores[0], rows[0], score, row):
        scores[0], rows[0] = score, row
        _sift_down(scores, rows, 0, size)
    return size


@part
def sort_best_first(scores, rows, size):
    """Sort the first `size` entries of a heap in place, best first, by heap sort; pad the others with NaN and -1."""
    for last in range(size - 1, 0, -1):
        scores[0], scores[last] = scores[last], scores[0]
        rows[0], rows[last] = rows[last], rows[0]
        _sift_down(scores, rows, 0, last)
    for i in range(size, scores.shape[0]):
        scores[i] = np.float32(np.nan)
        rows[i] = -1
