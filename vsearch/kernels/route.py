"""Route: base scores and bounds of all partitions, and those worth visiting in descending order of their bounds."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.compiling import inlined, kernel
from vsearch.kernels.fields import RADIX
from vsearch.kernels.rerank import dot_float


@inlined
def sortable(value):
    """A float32 as a uint32 that ascends as the float descends."""
    bits = np.float32(value).view(np.uint32)
    if bits & np.uint32(0x80000000):
        return bits
    return np.uint32(0x7FFFFFFF) - bits


@kernel
def score_partitions(query, centroids, centroid_squares, radii, spreads, reach, squared, bases, bounds):
    """Score all partitions for a rotated query. O(partitions * d).

    Parameters
    ----------
    query : float32 (d,)
    centroids : float32 (partitions, d)
    centroid_squares, radii : float32 (partitions,)
        Radii are root mean squares of the rows' distances to the centroid.
    spreads : float32 (partitions,)
        The radii, smaller where few rows are eligible.
    reach : float32
        A row is taken to lie at most so many spreads from its centroid towards the query.
    squared : bool
        Scores are negated squared distances; inner products otherwise.
    bases, bounds : float32 (partitions,)
        Outputs: see `search`; bounds of the rows' scores.
    """
    square = dot_float(query, query)
    norm = np.sqrt(square)
    for p in range(centroids.shape[0]):
        inner = dot_float(query, centroids[p])
        if squared:
            base = np.float32(2.0) * inner - centroid_squares[p] - square
            distance = np.sqrt(max(-base, np.float32(0.0)))
            bound = base + np.float32(2.0) * reach * distance * spreads[p] - radii[p] * radii[p]
        else:
            base = inner
            bound = inner + reach * norm * spreads[p]
        bases[p] = base
        bounds[p] = bound


@kernel
def order_partitions(bounds, eligible, order, keys, spare_order, spare_keys, histogram):
    """Order the partitions that hold eligible rows by descending bound, ties to the lower; returns how many.

    Three stable counting passes over 11 bits each: O(partitions).

    Parameters
    ----------
    bounds : float32 (partitions,)
    eligible : int64 (partitions,)
        Rows of each partition that may be returned.
    order : int32 (partitions,)
        Output.
    keys, spare_order, spare_keys : uint32, int32, uint32 (partitions,)
    histogram : int32 (RADIX,)
        Scratch.
    """
    count = 0
    for p in range(bounds.shape[0]):
        if eligible[p] > 0:
            order[count] = p
            keys[count] = sortable(bounds[p])
            count += 1
    for step in range(3):
        shift = np.uint32(11 * step)
        histogram[:] = 0
        for i in range(count):
            histogram[(keys[i] >> shift) & np.uint32(RADIX - 1)] += 1
        total = np.int32(0)
        for slot in range(RADIX):
            here = histogram[slot]
            histogram[slot] = total
            total += here
        for i in range(count):
            slot = (keys[i] >> shift) & np.uint32(RADIX - 1)
            at = histogram[slot]
            histogram[slot] = at + 1
            spare_order[at] = order[i]
            spare_keys[at] = keys[i]
        for i in range(count):
            order[i] = spare_order[i]
            keys[i] = spare_keys[i]
    return count


@kernel
def forced_visits(order, count, eligible, k, nprobe):
    """How many of the first partitions are visited whatever their bounds: `nprobe`, and enough to hold k rows."""
    if nprobe <= 0:
        return 0
    covered = np.int64(0)
    for i in range(count):
        covered += eligible[order[i]]
        if i + 1 >= nprobe and covered >= k:
            return i + 1
    return count
