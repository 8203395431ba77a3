"""Copies: codes of rows in a second partition, so that a query which visits either partition finds them.

A run with copies is searched as two: its rows, and its copies, which name the rows that they are copies of. A row becomes
pending at most once per query, through whichever of the two is scanned first. Exhaustive searches ignore copies.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import MARKS
from vsearch.kernels.toolchain.compiling import inlined


@inlined
def partition_of(row_starts, row):
    """Return the partition of a row, given the first row of each partition: the last one that starts at it or before."""
    low, high = np.int64(0), np.int64(row_starts.shape[0])
    while high - low > 1:
        middle = (low + high) >> 1
        if row_starts[middle] <= row:
            low = middle
        else:
            high = middle
    return low


@inlined
def is_seen(seen, row):
    """Return whether a row was pending before in this call."""
    return (seen[row >> 6] >> np.uint64(row & 63)) & np.uint64(1) != np.uint64(0)


@inlined
def mark_seen(call, seen, row):
    """Remember that a row was pending."""
    word, count = row >> 6, call.marked
    seen[word] |= np.uint64(1) << np.uint64(row & 63)
    if count < MARKS:
        call.marks[count] = word
    call.marked = count + 1


@inlined
def forget_seen(call):
    """Forget the rows of the previous query. O(rows that were pending), or O(all rows) if these were many."""
    seen, count = call.seen, call.marked
    if count > MARKS:
        seen[:] = np.uint64(0)
    else:
        for i in range(count):
            seen[call.marks[i]] = np.uint64(0)
    call.marked = 0
