"""Route a query in two levels: score regions, which are groups of nearby partitions, then the partitions of the nearest regions.

The partitions that are scored are candidates. They are kept in arrays of their own, region by region, in which they are bounded and
ordered like all partitions otherwise; `place_candidates` translates an order of candidates to one of partitions.

Functions take the views of a model and a call (see `views`).
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.centroids import encode_query, score_groups
from vsearch.kernels.query.fields import TOGETHER, FloatField
from vsearch.kernels.query.route import bound_partitions, nearness, order_head
from vsearch.kernels.toolchain.compiling import inlined, part

REGION_TAIL = np.float32(
    2.0
)  # standard deviations that the centroids of a region are assumed to reach towards the query
COVER = 32  # candidates must contain this many times k rows that may be returned


@inlined
def _score_region(model, call, start, step, total, scores):
    """Score the partitions of the region that begins at position `start`, for the query that `encode_query` encoded."""
    first, last = start // TOGETHER, (start + scores.shape[0] + TOGETHER - 1) // TOGETHER
    score_groups(
        model.centroid_groups[first:last],
        model.centroid_steps[start:],
        model.centroid_lows[start:],
        step,
        total,
        call.query_codes[: model.quantized_dimensions],
        call.group_sums,
        scores,
    )


@part
def score_positions(model, call, rotated, inner):
    """Score all partitions of an index with regions, whose coarse centroids are ordered by region; `inner` is by partition."""
    scores, members = call.candidate_scores, model.members
    step, total = encode_query(rotated, call.query_codes[: model.quantized_dimensions])
    starts, sizes = model.region_starts, model.region_sizes
    for region in range(model.regions):
        start, size = starts[region], sizes[region]
        _score_region(model, call, start, step, total, scores[:size])
        for i in range(size):
            inner[members[start + i]] = scores[i]


@part
def choose_regions(model, call, rotated, square):
    """Score the partitions of the nearest regions; return their number, or 0 if they are too many, or have too few rows.

    Afterwards `CHOSEN` lists these regions; their candidates have scores (inner products), effective radii and counts, but no bounds.
    """
    codes, sums = call.query_codes[: model.quantized_dimensions], call.group_sums
    step, total = encode_query(rotated, codes)
    regions, sizes = model.regions, model.region_sizes
    scores, bounds = call.centroid_scores[:regions], call.upper_bounds[:regions]  # scratch until candidates are placed
    score_groups(model.region_groups, model.region_steps, model.region_lows, step, total, codes, sums, scores)
    bound_partitions(
        scores,
        square,
        model.region_squares,
        model.region_rounding_bounds,
        model.region_spreads,
        model.region_spreads,
        REGION_TAIL * call.floats[FloatField.DEVIATION],
        model.squared != 0,
        scores,
        bounds,
    )
    order = call.order[:regions]
    ordered = order_head(bounds, sizes, order, call.keys[:regions], call.histogram, call.slots)
    near = min(call.near_regions, regions)
    if ordered < near:
        return 0
    chosen, count = call.chosen, np.int64(0)
    for i in range(near):
        chosen[i] = order[i]
        count += sizes[order[i]]
    if 2 * count > model.partitions:
        return 0
    return _score_candidates(model, call, near, step, total)


@inlined
def _score_candidates(model, call, near, step, total):
    starts, sizes, members, chosen = model.region_starts, model.region_sizes, model.members, call.chosen
    match_counts, effective_radii = call.match_counts, call.effective_radii
    candidates, matches, radii = call.candidates, call.candidate_matches, call.candidate_radii
    count, rows = np.int64(0), np.int64(0)
    for i in range(near):
        start, size = starts[chosen[i]], sizes[chosen[i]]
        _score_region(model, call, start, step, total, call.candidate_scores[count : count + size])
        for j in range(size):
            partition = members[start + j]
            candidates[count + j] = partition
            radii[count + j] = effective_radii[partition]
            matches[count + j] = match_counts[partition]
            rows += match_counts[partition]
        count += size
    return count if rows >= COVER * call.k else 0


@part
def candidates_nearness(model, call, square):
    """`nearness` of the candidates."""
    nearest, count = np.float32(-np.inf), np.int64(0)
    starts, sizes, chosen = model.region_starts, model.region_sizes, call.chosen
    for i in range(min(call.near_regions, model.regions)):
        start, size = starts[chosen[i]], sizes[chosen[i]]
        inner = call.candidate_scores[count : count + size]
        nearest = max(
            nearest, nearness(inner, square, model.position_squares[start : start + size], model.squared != 0)
        )
        count += size
    return nearest


@part
def bound_candidates(model, call, square, radius_factor):
    """`bound_partitions` of the candidates."""
    starts, sizes, chosen, count = model.region_starts, model.region_sizes, call.chosen, np.int64(0)
    for i in range(min(call.near_regions, model.regions)):
        start, size = starts[chosen[i]], sizes[chosen[i]]
        stop = start + size
        scores = call.candidate_scores[count : count + size]
        bound_partitions(
            scores,
            square,
            model.position_squares[start:stop],
            model.position_rounding_bounds[start:stop],
            model.position_radii[start:stop],
            call.candidate_radii[count : count + size],
            radius_factor,
            model.squared != 0,
            scores,
            call.candidate_bounds[count : count + size],
        )
        count += size


@part
def place_candidates(call, first, last):
    """Replace candidates in entries `first` to `last` of the order by their partitions, and copy their scores and bounds."""
    order, candidates, scores, bounds = call.order, call.candidates, call.candidate_scores, call.candidate_bounds
    centroid_scores, upper_bounds = call.centroid_scores, call.upper_bounds
    for i in range(first, last):
        candidate = order[i]
        partition = candidates[candidate]
        order[i] = partition
        centroid_scores[partition], upper_bounds[partition] = scores[candidate], bounds[candidate]
