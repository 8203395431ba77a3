"""The rows of a sparse window that have a sum: found by their bits rather than among all sums of the window."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.partitions import trailing_zeros
from vsearch.kernels.text.fields import TOUCHED_WORDS
from vsearch.kernels.text.heap import offer
from vsearch.kernels.toolchain.compiling import part


@part
def offer_touched(call, start, threshold):
    """Push the touched rows in the mask with sums above a threshold, by ascending row."""
    sums, touched, mask = call.sums, call.touched, call.mask
    masked = mask.shape[0] > 0
    for word in range(TOUCHED_WORDS):
        bits = touched[word]
        if bits != 0 and masked:
            bits &= mask[(start >> 6) + word]
        while bits != 0:
            at = (word << 6) + np.int64(trailing_zeros(bits))
            bits &= bits - np.uint64(1)
            score = sums[at]
            if score > threshold:
                threshold = offer(call, call.base + start + at, score, threshold)


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
def clear_touched(call):
    """Set the sums of touched rows to 0, and their bits."""
    sums, touched = call.sums, call.touched
    for word in range(TOUCHED_WORDS):
        if touched[word] != 0:
            first = word << 6
            for i in range(64):
                sums[first + i] = 0
            touched[word] = 0
