"""Route: base scores and bounds of all partitions, and those worth visiting in descending order of their bounds."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.compiling import inlined, kernel, summing
from vsearch.kernels.fields import HEAD, RADIX
from vsearch.kernels.rerank import dot_float

COARSE, FINE = 64, 256  # buckets of bounds: to find the head, and to order it


@inlined
def sortable(value):
    """A float32 as a uint32 that ascends as the float descends."""
    bits = np.float32(value).view(np.uint32)
    if bits & np.uint32(0x80000000):
        return bits
    return np.uint32(0x7FFFFFFF) - bits


@inlined
def _buckets_per_unit(highest, lowest, last):
    """Buckets of equal width per unit of the bound; 0 where all bounds are the same or too far apart."""
    width = highest - lowest
    per_unit = np.float32(last) / width if width > np.float32(0.0) else np.float32(0.0)
    return per_unit if np.isfinite(per_unit) else np.float32(0.0)


@inlined
def _bucket(bound, highest, per_unit, last):
    """Which of the buckets 0 to `last` a bound falls in; 0 where bounds lie too far apart for a number."""
    place = (highest - bound) * per_unit
    if place >= np.float32(last):
        return np.int32(last)
    return np.int32(place) if place > np.float32(0.0) else np.int32(0)


@summing
def bound_partitions(inner, square, centroid_squares, slacks, radii, spreads, reach, squared, bases, bounds):
    """Turn inner products of a query with all centroids into base scores and bounds. O(partitions).

    Parameters
    ----------
    inner : float32 (partitions,)
        May be `bases` itself.
    square : float32
        Of the query's norm.
    centroid_squares, slacks, radii : float32 (partitions,)
        Slacks are what the inner products may be off by, for a query of norm 1. Radii are root mean squares of the
        rows' distances to the centroid.
    spreads : float32 (partitions,)
        The radii, smaller where few rows are eligible.
    reach : float32
        A row is taken to lie at most so many spreads from its centroid towards the query.
    squared : bool
        Scores are negated squared distances; inner products otherwise.
    bases, bounds : float32 (partitions,)
        Outputs: see `search`; bounds of the rows' scores.
    """
    norm = np.sqrt(square)
    if squared:
        for p in range(inner.shape[0]):
            base = np.float32(2.0) * inner[p] - centroid_squares[p] - square
            distance = np.sqrt(max(-base, np.float32(0.0)))
            inside = max(reach * spreads[p] - distance, np.float32(0.0))  # nearer than it reaches: the best there is
            above = reach * distance * spreads[p] + inside * inside + norm * slacks[p]
            bases[p] = base
            bounds[p] = base + np.float32(2.0) * above - radii[p] * radii[p]
    else:
        for p in range(inner.shape[0]):
            bases[p] = inner[p]
            bounds[p] = inner[p] + norm * (reach * spreads[p] + slacks[p])


@inlined
def exact_base(query, square, centroid, centroid_square, squared):
    """Base score of one partition, from its centroid in full."""
    inner = dot_float(query, centroid)
    if squared:
        return np.float32(2.0) * inner - centroid_square - square
    return inner


@kernel
def order_head(bounds, eligible, order, keys, histogram):
    """Order the partitions of the highest bounds, descending, ties to the lower; at least HEAD of them, or all.

    Few partitions are visited, so the others need no order. Bounds fall into buckets of equal width, and so again within
    the head: O(partitions), unless nearly all bounds are the same; then no head is made.

    Parameters
    ----------
    bounds : float32 (partitions,)
    eligible : int64 (partitions,)
        Rows of each partition that may be returned; partitions without are left out.
    order : int32 (partitions,)
        Output.
    keys : uint32 (partitions,)
        Output: RADIX for those in the head or left out, less for the tail (`order_tail`).
    histogram : int32 (RADIX,)
        Scratch.

    Returns
    -------
    int
        How many of `order` are in place.
    """
    highest, lowest = np.float32(-np.inf), np.float32(np.inf)
    for p in range(bounds.shape[0]):
        highest, lowest = max(highest, bounds[p]), min(lowest, bounds[p])
    per_unit = _buckets_per_unit(highest, lowest, COARSE - 1)
    histogram[:COARSE] = 0
    for p in range(bounds.shape[0]):
        bucket = np.uint32(_bucket(bounds[p], highest, per_unit, COARSE - 1))
        if eligible[p] <= 0:
            bucket = np.uint32(RADIX)
        else:
            histogram[bucket] += 1
        keys[p] = bucket
    total, last = 0, COARSE - 1
    for bucket in range(COARSE):
        total += histogram[bucket]
        if total >= HEAD:
            last = bucket
            break
    if total > 2 * HEAD:
        return 0
    count = 0
    for p in range(bounds.shape[0]):
        order[count] = p
        if keys[p] <= np.uint32(last):
            keys[p] = np.uint32(RADIX)
            count += 1
        if count == total:
            break
    _sort_head(bounds, order, count, highest, histogram)
    return count


@inlined
def _sort_head(bounds, order, count, highest, histogram):
    """Order `count` partitions, which ascend, by descending bound: buckets first, then insertion.

    `order` holds the outcome; the last ``2 * HEAD`` places of `histogram` are where they wait.
    """
    lowest = highest
    for i in range(count):
        lowest = min(lowest, bounds[order[i]])
    per_unit = _buckets_per_unit(highest, lowest, FINE - 1)
    waiting = histogram[RADIX - 2 * HEAD :]
    histogram[:FINE] = 0
    for i in range(count):
        waiting[i] = order[i]
        histogram[_bucket(bounds[order[i]], highest, per_unit, FINE - 1)] += 1
    place = np.int32(0)
    for bucket in range(FINE):
        here = histogram[bucket]
        histogram[bucket] = place
        place += here
    for i in range(count):
        bucket = _bucket(bounds[waiting[i]], highest, per_unit, FINE - 1)
        order[histogram[bucket]] = waiting[i]
        histogram[bucket] += 1
    for i in range(1, count):
        partition = order[i]
        bound = bounds[partition]
        j = i
        while j > 0 and bounds[order[j - 1]] < bound:
            order[j] = order[j - 1]
            j -= 1
        order[j] = partition


@kernel
def order_tail(bounds, order, first, keys, spare_order, spare_keys, histogram):
    """Order the partitions that `order_head` left, by descending bound, ties to the lower, behind the `first` of `order`.

    Three stable counting passes over 11 bits each: O(partitions). `spare_order` int32 and `spare_keys` uint32
    (partitions,) are scratch.

    Returns
    -------
    int
        How many of `order` are in place now.
    """
    count = 0
    rest = order[first:]
    for p in range(bounds.shape[0]):
        if keys[p] < np.uint32(RADIX):
            rest[count] = p
            keys[count] = sortable(bounds[p])
            count += 1
    if count == 0:
        return first
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
            spare_order[at] = rest[i]
            spare_keys[at] = keys[i]
        for i in range(count):
            rest[i] = spare_order[i]
            keys[i] = spare_keys[i]
    return first + count


@kernel
def fade_bounds(order, start, stop, eligible, fades, per_rank, decay, norm, radii, squared, bases, bounds):
    """Lower the bounds of visits `start` to `stop` by how many eligible rows come before them; they descend as before.

    A neighbour is the less likely to lie in a partition the more partitions are nearer, whatever its radius says.

    Parameters
    ----------
    order : int32 (partitions,)
        Those before `start` are faded already.
    eligible : int64 (partitions,)
    fades : float32 (partitions + 1,)
        Times `decay`, how much the reach falls, by rows that come before in units of `1 / per_rank`.
    per_rank, decay : float32
    norm : float32
        Of the query.
    radii, bases, bounds : float32 (partitions,)
    """
    before = np.int64(0)
    for i in range(start):
        before += eligible[order[i]]
    last = bounds[order[start - 1]] if start > 0 else np.float32(np.inf)
    most = np.int64(fades.shape[0] - 1)
    for i in range(start, stop):
        partition = order[i]
        fade = decay * fades[min(np.int64(np.float32(before) * per_rank), most)] * radii[partition]
        if squared:
            fade *= np.float32(2.0) * np.sqrt(max(-bases[partition], np.float32(0.0)))
        else:
            fade *= norm
        last = min(last, bounds[partition] - fade)
        bounds[partition] = last
        before += eligible[partition]


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
