"""Route: base scores and bounds of all partitions, and those worth visiting in descending order of their bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vsearch.kernels.query.fields import HEAD, RADIX
from vsearch.kernels.scan.dot_products import dot_float, dot_half, square_distance, square_distance_half
from vsearch.kernels.toolchain.compiling import inlined, part, summing_part

COARSE, FINE = 64, 1024  # buckets of bounds: to find the head, and to order it


@inlined
def sortable(value):
    """A float32 as a uint32 that ascends as the float descends."""
    bits = np.float32(value).view(np.uint32)
    if bits & np.uint32(0x80000000):
        return bits
    return np.uint32(0x7FFFFFFF) - bits


@inlined
def _unsortable(key):
    """The float32 whose `sortable` this is."""
    if key & np.uint32(0x80000000):
        return np.uint32(key).view(np.float32)
    return np.uint32(np.uint32(0x7FFFFFFF) - key).view(np.float32)


@inlined
def _buckets_per_unit(highest, lowest, last):
    """Buckets of equal width per unit of the bound; 0 where all bounds are the same or too far apart."""
    width = highest - lowest
    per_unit = np.float32(last) / width if width > np.float32(0.0) else np.float32(0.0)
    return per_unit if np.isfinite(per_unit) else np.float32(0.0)


@inlined
def _bucket(bound, highest, per_unit, last):
    """Which of the buckets 0 to `last` a bound falls in: `last` too where bounds lie too far apart for a number."""
    place = (highest - bound) * per_unit
    place = place if place < np.float32(last) else np.float32(last)  # noqa: FURB136  no NaN may get through
    return np.int32(place if place > np.float32(0.0) else np.float32(0.0))  # noqa: FURB136


@summing_part
def relative_deviation(query, square, variances, least):
    """Standard deviation of ``<query, residual>``, relative to the query's norm and the residuals' root mean square.

    Rows that have nothing to do with the query scatter so around their partition's base score. O(d).

    Parameters
    ----------
    query : float32 (d,)
        Rotated; `square` is that of its norm.
    variances : float32 (d,)
        Shares of the residuals' variance, which add up to 1.
    least : float32
        Not less than this: under l2 not the query but its offset from a centroid counts, which may point anywhere.
    """
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += variances[j] * query[j] * query[j]
    if not square > np.float32(0.0):
        return least
    return max(np.sqrt(total / square), least)


@part
def nearness(inner, square, centroid_squares, squared):
    """How near the nearest centroid is: the cosine or inner product per norm of the query, or the negated squared distance.

    Parameters
    ----------
    inner, centroid_squares : float32 (partitions,)
        Inner products of a query with all centroids, and the centroids' squares; `square` is the query's.
    """
    nearest = np.uint32(0xFFFFFFFF)
    if squared:
        for p in range(inner.shape[0]):
            nearest = min(nearest, sortable(np.float32(2.0) * inner[p] - centroid_squares[p]))
        return _unsortable(nearest) - square
    for p in range(inner.shape[0]):
        nearest = min(nearest, sortable(inner[p]))
    return _unsortable(nearest) / np.sqrt(square) if square > np.float32(0.0) else np.float32(0.0)


@summing_part
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
        A row is taken to lie at most so many spreads from its centroid towards the query: the larger of the reach and the
        tail's.
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
def exact_base(query, centroids, half_centroids, squared, partition):
    """Base score of one partition, from its centroid in full: float16 where `half_centroids` has rows.

    Squared distances are made of differences: of partitions far from the mean the squares would leave no digits.
    """
    if half_centroids.shape[0] > 0:
        if squared:
            return -square_distance_half(query, half_centroids[partition])
        return dot_half(query, half_centroids[partition])
    if squared:
        return -square_distance(query, centroids[partition])
    return dot_float(query, centroids[partition])


@part
def order_head(bounds, eligible, order, keys, histogram, slots):
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
    histogram, slots : int32 (RADIX,), int64 (2 * HEAD,)
        Scratch.

    Returns
    -------
    int
        How many of `order` are in place.
    """
    # nothing here branches on a bound: a processor foretells such branches wrongly half of the time, which costs more
    # than the work
    nearest, farthest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for p in range(bounds.shape[0]):
        key = sortable(bounds[p])
        nearest, farthest = min(nearest, key), max(farthest, key)
    highest = _unsortable(nearest)
    per_unit = _buckets_per_unit(highest, _unsortable(farthest), COARSE - 1)
    for p in range(bounds.shape[0]):
        bucket = np.uint32(_bucket(bounds[p], highest, per_unit, COARSE - 1))
        keys[p] = bucket if eligible[p] > 0 else np.uint32(RADIX)
    histogram[: COARSE + 1] = 0
    for p in range(bounds.shape[0]):
        histogram[min(keys[p], np.uint32(COARSE))] += 1
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
        count += np.int64(keys[p] <= np.uint32(last))
    for p in range(bounds.shape[0]):
        keys[p] = np.uint32(RADIX) if keys[p] <= np.uint32(last) else keys[p]
    _sort_head(bounds, order, count, highest, histogram, slots)
    return count


@inlined
def _sort_head(bounds, order, count, highest, histogram, slots):
    """Order `count` partitions, which ascend, by descending bound: buckets first, then neighbours change places.

    `order` holds the outcome; the last ``2 * HEAD`` places of `histogram` are where partitions wait.
    """
    waiting = histogram[RADIX - 2 * HEAD :]
    farthest = np.uint32(0)
    for i in range(count):
        waiting[i] = order[i]
        farthest = max(farthest, sortable(bounds[order[i]]))
    per_unit = _buckets_per_unit(highest, _unsortable(farthest), FINE - 1)
    histogram[:FINE] = 0
    for i in range(count):
        histogram[_bucket(bounds[waiting[i]], highest, per_unit, FINE - 1)] += 1
    place = np.int32(0)
    for bucket in range(FINE):
        here = histogram[bucket]
        histogram[bucket] = place
        place += here
    for i in range(count):
        partition = waiting[i]
        bucket = _bucket(bounds[partition], highest, per_unit, FINE - 1)
        at = histogram[bucket]
        histogram[bucket] = at + 1
        slots[at] = np.int64(sortable(bounds[partition])) << 31 | np.int64(partition)
    moved = True
    while moved:
        moved = _exchange(slots[:count]) | _exchange(slots[1:count])
    for i in range(count):
        order[i] = np.int32(slots[i] & np.int64(0x7FFFFFFF))


@inlined
def _exchange(slots):
    """Put neighbours in order, pair by pair; returns whether any were not."""
    moved = np.int64(0)
    for i in range(slots.shape[0] // 2):
        left, right = slots[2 * i], slots[2 * i + 1]
        slots[2 * i], slots[2 * i + 1] = min(left, right), max(left, right)
        moved |= right - left
    return moved < 0


@part
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


class Fading(NamedTuple):
    """How bounds fall by how many eligible rows come before them.

    A neighbour is the less likely to lie in a partition the more partitions are nearer, whatever its radius says. But rows
    that have nothing to do with the query scatter as far as ever: no bound falls by more than `most_decay` spreads.

    Attributes
    ----------
    fades : float32 (partitions + 1,)
        Times `decay`, how much the reach falls, by rows that come before in units of `1 / per_rank`.
    per_rank, decay, most_decay : float32
    norm : float32
        Of the query.
    squared : bool
        Scores are negated squared distances; inner products otherwise.
    radii, spreads, bases, bounds : float32 (partitions,)
    """

    fades: Any
    per_rank: Any
    decay: Any
    most_decay: Any
    norm: Any
    squared: Any
    radii: Any
    spreads: Any
    bases: Any
    bounds: Any


@part
def fade_bounds(fading, order, start, stop, eligible):
    """Lower the bounds of visits `start` to `stop`.

    What a partition loses does not count for those behind it, so bounds need not descend any more: a wide partition comes
    before a tight one that is nearer.

    Parameters
    ----------
    fading : Fading
        Its bounds are lowered.
    order : int32 (partitions,)
        Those before `start` are faded already.
    eligible : int64 (partitions,)
    """
    fades, per_rank, decay, most_decay, norm, squared, radii, spreads, bases, bounds = fading
    before = np.int64(0)
    for i in range(start):
        before += eligible[order[i]]
    most = np.int64(fades.shape[0] - 1)
    for i in range(start, stop):
        partition = order[i]
        fade = decay * fades[min(np.int64(np.float32(before) * per_rank), most)] * radii[partition]
        fade = min(fade, most_decay * spreads[partition])
        if squared:
            fade *= np.float32(2.0) * np.sqrt(max(-bases[partition], np.float32(0.0)))
        else:
            fade *= norm
        bounds[partition] -= fade
        before += eligible[partition]


@part
def tail_reaches(fading, threshold, keys, before):
    """Whether a partition that `order_head` left may hold a row that scores `threshold`. O(partitions).

    Parameters
    ----------
    fading : Fading
    keys : uint32 (partitions,)
        Of `order_head`.
    before : int
        Eligible rows of the partitions in the head; the others follow `fade_bounds`.
    """
    fades, per_rank, decay, most_decay, norm, squared, radii, spreads, bases, bounds = fading
    most = np.int64(fades.shape[0] - 1)
    faded = decay * fades[min(np.int64(np.float32(before) * per_rank), most)]
    reached = np.int64(0)
    for p in range(bounds.shape[0]):  # without branches, so that it takes a register of partitions at a time
        by_rank, largest = faded * radii[p], most_decay * spreads[p]
        fade = by_rank if by_rank < largest else largest  # noqa: FURB136
        bound = bounds[p] - fade * (np.float32(2.0) * np.sqrt(np.abs(bases[p])) if squared else norm)
        reached |= np.int64(bound >= threshold) & np.int64(keys[p] < np.uint32(RADIX))
    return reached != 0


@part
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
