"""Route a query: compute base scores and bounds of all partitions, and order partitions by descending bound."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import HEAD, RADIX
from vsearch.kernels.scan.dot_products import dot_float, dot_half, square_distance, square_distance_half
from vsearch.kernels.toolchain.compiling import inlined, part, summing_part

COARSE, FINE = 64, 1024  # numbers of buckets: to find the head, and to order it


@inlined
def sortable(value):
    """Map a float32 to a uint32 that ascends as the float descends."""
    bits = np.float32(value).view(np.uint32)
    flipped = np.uint32(np.uint32(0x7FFFFFFF) - bits)  # the difference is 64 bits wide, too wide for fast loops
    return bits if bits & np.uint32(0x80000000) else flipped


@inlined
def _unsortable(key):
    """Invert `sortable`."""
    if key & np.uint32(0x80000000):
        return np.uint32(key).view(np.float32)
    return np.uint32(np.uint32(0x7FFFFFFF) - key).view(np.float32)


@inlined
def _buckets_per_unit(highest, lowest, last):
    """Return the number of equal-width buckets per unit of the bound; 0 if all bounds are equal or too far apart."""
    width = highest - lowest
    per_unit = np.float32(last) / width if width > np.float32(0.0) else np.float32(0.0)
    return per_unit if np.isfinite(per_unit) else np.float32(0.0)


@inlined
def _bucket(bound, highest, per_unit, last):
    """Return the bucket, 0 to `last`, of a bound; `last` if the difference to `highest` overflows."""
    place = (highest - bound) * per_unit
    place = place if place < np.float32(last) else np.float32(last)  # noqa: FURB136  must also catch NaN
    return np.int32(place if place > np.float32(0.0) else np.float32(0.0))  # noqa: FURB136


@summing_part
def relative_deviation(query, square, variances, least):
    """Return the standard deviation of ``<query, residual>``, relative to the norms of query and residuals (RMS).

    The scores of rows unrelated to the query scatter by this much around their partition's base score. O(d).

    Parameters
    ----------
    query : float32 (d,)
        Rotated; `square` is its squared norm.
    variances : float32 (d,)
        Shares of the residuals' variance, which sum to 1.
    least : float32
        Lower limit of the result: for l2 the offset of the query from a centroid counts, which may have any direction.
    """
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += variances[j] * query[j] * query[j]
    if not square > np.float32(0.0):
        return least
    return max(np.sqrt(total / square), least)


@part
def nearness(inner, square, centroid_squares, squared):
    """Return the inner product of the nearest centroid divided by the query's norm, or its negated squared distance.

    Parameters
    ----------
    inner, centroid_squares : float32 (partitions,)
        Inner products of a query with all centroids, and the squared norms of the centroids; `square` is the query's.
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
def bound_partitions(
    inner,
    square,
    centroid_squares,
    rounding_bounds,
    radii,
    effective_radii,
    radius_factor,
    squared,
    centroid_scores,
    upper_bounds,
):
    """Compute centroid scores and upper bounds from the inner products of a query with all centroids. O(partitions).

    Parameters
    ----------
    inner : float32 (partitions,)
        May be `centroid_scores` itself.
    square : float32
        Squared norm of the query.
    centroid_squares, rounding_bounds, radii : float32 (partitions,)
        Rounding bounds are the largest errors of the inner products for a query of norm 1. Radii are root mean square
        distances of the rows to the centroid.
    effective_radii : float32 (partitions,)
        The radii, reduced if few rows match.
    radius_factor : float32
        A row is assumed to be at most this many effective radii from its centroid in the direction of the query: the
        larger of the setting and the tail.
    squared : bool
        Whether scores are negated squared distances instead of inner products.
    centroid_scores, upper_bounds : float32 (partitions,)
        Outputs: scores of the centroids (see `partitions`), and upper bounds of the rows' scores.
    """
    norm = np.sqrt(square)
    if squared:
        for p in range(inner.shape[0]):
            base = np.float32(2.0) * inner[p] - centroid_squares[p] - square
            distance = np.sqrt(max(-base, np.float32(0.0)))
            inside = max(
                radius_factor * effective_radii[p] - distance, np.float32(0.0)
            )  # if positive, a row may coincide with the query
            above = radius_factor * distance * effective_radii[p] + inside * inside + norm * rounding_bounds[p]
            centroid_scores[p] = base
            upper_bounds[p] = base + np.float32(2.0) * above - radii[p] * radii[p]
    else:
        for p in range(inner.shape[0]):
            centroid_scores[p] = inner[p]
            upper_bounds[p] = inner[p] + norm * (radius_factor * effective_radii[p] + rounding_bounds[p])


@inlined
def exact_centroid_score(query, centroids, half_centroids, squared, partition):
    """Return the base score of one partition from its float centroid; float16 if `half_centroids` has rows.

    Squared distances are computed from differences: for partitions far from the mean, expanding the square would
    cancel.
    """
    if half_centroids.shape[0] > 0:
        if squared:
            return -square_distance_half(query, half_centroids[partition])
        return dot_half(query, half_centroids[partition])
    if squared:
        return -square_distance(query, centroids[partition])
    return dot_float(query, centroids[partition])


@part
def order_head(upper_bounds, match_counts, order, keys, histogram, slots):
    """Order the partitions with the highest bounds, descending, ties by number; at least HEAD of them, or all.

    Few partitions are visited, so the others need no order. Bounds are bucketed by equal width, and again within the
    head: O(partitions), unless nearly all bounds are equal; then there is no head.

    Parameters
    ----------
    upper_bounds : float32 (partitions,)
    match_counts : int64 (partitions,)
        Number of rows of each partition that may be returned; partitions without any are omitted.
    order : int32 (partitions,)
        Output.
    keys : uint32 (partitions,)
        Output: RADIX for partitions in the head or omitted, less for the tail (`order_tail`).
    histogram, slots : int32 (RADIX,), int64 (2 * HEAD,)
        Scratch.

    Returns
    -------
    int
        Number of entries of `order` that are in place.
    """
    # Branch-free in the bounds: such branches are mispredicted half of the time, which costs more than the work.
    nearest, farthest = np.uint32(0xFFFFFFFF), np.uint32(0)
    for p in range(upper_bounds.shape[0]):
        key = sortable(upper_bounds[p])
        nearest = np.uint32(key if key < nearest else nearest)  # noqa: FURB136  `min` would be 64 bits wide
        farthest = np.uint32(key if key > farthest else farthest)  # noqa: FURB136
    highest = _unsortable(nearest)
    per_unit = _buckets_per_unit(highest, _unsortable(farthest), COARSE - 1)
    for p in range(upper_bounds.shape[0]):
        bucket = np.uint32(_bucket(upper_bounds[p], highest, per_unit, COARSE - 1))
        keys[p] = bucket if match_counts[p] > 0 else np.uint32(RADIX)
    histogram[: COARSE + 1] = 0
    for p in range(upper_bounds.shape[0]):
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
    for p in range(upper_bounds.shape[0]):
        order[count] = p
        count += np.int64(keys[p] <= np.uint32(last))
    for i in range(count):
        keys[order[i]] = np.uint32(RADIX)
    _sort_head(upper_bounds, order, count, highest, histogram, slots)
    return count


@inlined
def _sort_head(upper_bounds, order, count, highest, histogram, slots):
    """Sort `count` ascending partitions by descending bound: first into buckets, then by exchanging neighbors.

    Sorts `order` in place; the last ``2 * HEAD`` entries of `histogram` are scratch.
    """
    waiting = histogram[RADIX - 2 * HEAD :]
    farthest = np.uint32(0)
    for i in range(count):
        waiting[i] = order[i]
        farthest = max(farthest, sortable(upper_bounds[order[i]]))
    per_unit = _buckets_per_unit(highest, _unsortable(farthest), FINE - 1)
    histogram[:FINE] = 0
    for i in range(count):
        histogram[_bucket(upper_bounds[waiting[i]], highest, per_unit, FINE - 1)] += 1
    place = np.int32(0)
    for bucket in range(FINE):
        size = histogram[bucket]
        histogram[bucket] = place
        place += size
    for i in range(count):
        partition = waiting[i]
        bucket = _bucket(upper_bounds[partition], highest, per_unit, FINE - 1)
        at = histogram[bucket]
        histogram[bucket] = at + 1
        slots[at] = np.int64(sortable(upper_bounds[partition])) << 31 | np.int64(partition)
    moved = True
    while moved:
        moved = _exchange(slots[:count]) | _exchange(slots[1:count])
    for i in range(count):
        order[i] = np.int32(slots[i] & np.int64(0x7FFFFFFF))


@inlined
def _exchange(slots):
    """Sort neighbors, pair by pair; return whether any were out of order."""
    moved = np.int64(0)
    for i in range(slots.shape[0] // 2):
        left, right = slots[2 * i], slots[2 * i + 1]
        slots[2 * i], slots[2 * i + 1] = min(left, right), max(left, right)
        moved |= right - left
    return moved < 0


@part
def order_tail(upper_bounds, order, first, keys, spare_order, spare_keys, histogram):
    """Order the partitions of the tail by descending bound, ties by number, after the `first` entries of `order`.

    A radix sort of three stable passes over 11 bits each: O(partitions). `spare_order`, int32 (partitions,), and
    `spare_keys`, uint32 (partitions,), are scratch.

    Returns
    -------
    int
        Number of entries of `order` that are in place now.
    """
    count = 0
    rest = order[first:]
    for p in range(upper_bounds.shape[0]):
        if keys[p] < np.uint32(RADIX):
            rest[count] = p
            keys[count] = sortable(upper_bounds[p])
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
            size = histogram[slot]
            histogram[slot] = total
            total += size
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


@part
def min_probe_count(order, count, match_counts, k, nprobe):
    """Return the number of partitions that are visited regardless of bounds: `nprobe`, or more to cover k rows."""
    if nprobe <= 0:
        return 0
    covered = np.int64(0)
    for i in range(count):
        covered += match_counts[order[i]]
        if i + 1 >= nprobe and covered >= k:
            return i + 1
    return count
