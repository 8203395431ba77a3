"""Searches of runs that are not completely read: what is missing is listed, and results are provisional until it is read.

With `CallField.UNREAD`, partitions whose codes are not read are listed instead of scanned, and rows whose rerank codes are not read are
ranked by their estimated scores. The caller reads what is listed, for all runs at once, and searches again. A search that lists
nothing gives the results, which are those of an index that is completely read.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import PRESENT
from vsearch.kernels.scan.topk import push
from vsearch.kernels.toolchain.compiling import inlined, part
from vsearch.kernels.toolchain.memory import uint8s


@part
def list_partition(call, partition):
    """List a partition of which a run is not read."""
    count, missing = call.missing_count, call.missing
    call.unread = 2
    if count < missing.shape[0]:
        missing[count] = partition
    call.missing_count = count + 1


@inlined
def is_read(run, partition, row):
    """Return whether everything that reranking a row of a run takes is read; both are numbered within the run."""
    if run.complete[partition] != 0:
        return True
    arrays = run.row_arrays
    for i in range(arrays.shape[0]):
        flags, first = uint8s(arrays[i, 0], arrays[i, 1]), arrays[i, 2] + row * arrays[i, 3]
        last, shift = first + arrays[i, 3] - 1, arrays[i, 4]
        for chunk in range(first >> shift, (last >> shift) + 1):
            if flags[chunk] != PRESENT:
                return False
    return arrays.shape[0] > 0


@part
def list_row(call, address, row, number, score, size):
    """List a row to rerank, and rank it by an estimate; return the number of entries of the heap.

    Parameters
    ----------
    address : int
        Of the block of its run.
    row, number : int
        Its number within the run, and in results.
    score : float
        The estimate.
    size : int
        Number of entries of the heap.
    """
    count, unread_rows = call.unread_row_count, call.unread_rows
    call.unread = 2
    if count < unread_rows.shape[1]:  # more are listed by the next search
        unread_rows[0, count], unread_rows[1, count] = address, row
        call.unread_row_count = count + 1
    if size < call.k or score >= call.scores[0]:
        size = push(call.scores, call.rows, size, score, number)
    return size


@inlined
def lists_enough(call):
    """Return whether so many partitions are listed that they are read before others are visited."""
    return call.missing_count >= np.int64(1) and call.missing_count >= call.wave
