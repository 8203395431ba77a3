"""Plan a query: rotate it, route it to partitions, compute its lookup tables.

Functions take the views of a model and a call (see `views`).
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.centroids import score_centroids
from vsearch.kernels.query.fading import Fading, fade_bounds, tail_reaches
from vsearch.kernels.query.fields import FAMILIAR_TAIL, PLAIN_TAIL, RADIX, FloatField
from vsearch.kernels.query.projection import project, turn_by_signs
from vsearch.kernels.query.regions import (
    bound_candidates,
    candidates_nearness,
    choose_regions,
    place_candidates,
    score_positions,
)
from vsearch.kernels.query.rotation import rotate_in_words, rotate_widely
from vsearch.kernels.query.route import (
    bound_partitions,
    exact_centroid_score,
    min_probe_count,
    nearness,
    order_head,
    order_tail,
    relative_deviation,
)
from vsearch.kernels.scan.byte_codes import sum_slack
from vsearch.kernels.scan.dot_products import dot_float
from vsearch.kernels.scan.nibbles import expand_tables
from vsearch.kernels.scan.tables import round_sign_tables, round_tables, sign_tables
from vsearch.kernels.toolchain.compiling import inlined, part

ROUNDING = np.float32(0.2887)  # standard deviation of one rounding to nearest, in steps: 1 / sqrt(12)
LEAST_SQUARE, LARGEST_SQUARE = np.float32(1e-30), np.float32(1e36)  # squared norms that float32 computes safely
LEAST_ROUNDING_SIGMAS = np.float32(3.0)


@inlined
def _normalize_widely(query):
    """Scale a query to norm 1 in float64, for squares outside the range of float32; zeros stay zeros."""
    total = 0.0
    for j in range(query.shape[0]):
        total += np.float64(query[j]) * np.float64(query[j])
    scale = 1.0 / np.sqrt(total) if total > 0.0 else 0.0
    for j in range(query.shape[0]):
        query[j] = np.float32(np.float64(query[j]) * scale)


@inlined
def center(model, query):
    """Normalize or center a query in place, as the metric requires."""
    d = query.shape[0]
    if model.normalize != 0:
        square = dot_float(query, query)
        if LEAST_SQUARE < square < LARGEST_SQUARE:
            scale = np.float32(1.0) / np.sqrt(square)
            for j in range(d):
                query[j] *= scale
        else:
            _normalize_widely(query)
    else:
        mean = model.mean
        for j in range(d):
            query[j] -= mean[j]


@inlined
def rotate(model, call, query, rotated):
    """Rotate a centered query."""
    rotation = model.rotation
    if model.sign_rounds > 0:
        turn_by_signs(model, call, query, rotated)
    elif rotation.shape[0] > 0:
        if model.wide_rotation != 0:
            rotate_widely(rotation, query, rotated)
        else:
            for i in range(query.shape[0]):
                rotated[i] = dot_float(rotation[i], query)
    else:
        rotate_in_words(query, model.rotation_groups, model.rotation_steps, call.query_words, call.group_sums, rotated)


@inlined
def _score_far_centroids(model, rotated, inner):
    """Compute half the base scores from differences: for partitions far apart, other formulas would cancel."""
    centroids, halves = model.centroids, model.half_centroids
    for p in range(inner.shape[0]):
        inner[p] = np.float32(0.5) * exact_centroid_score(rotated, centroids, halves, True, p)


@inlined
def _set_tail(numbers, tail):
    numbers[FloatField.TAIL_RADII] = tail * numbers[FloatField.DEVIATION]


@inlined
def _find_tail(model, call, numbers, inner, square):
    """Set the tail: how far rows unrelated to the query are assumed to scatter.

    For a query that lies among the rows, the radius factor covers nearby rows, so a shorter tail suffices. `square` is the term
    that `inner` does not include yet.
    """
    tail = numbers[FloatField.TAIL]
    if call.filtered == 0 and tail > FAMILIAR_TAIL:
        near = nearness(inner, square, model.centroid_squares, model.squared != 0) >= numbers[FloatField.FAMILIAR]
        tail = np.float32(FAMILIAR_TAIL) if near else min(tail, np.float32(PLAIN_TAIL))
    _set_tail(numbers, tail)


@inlined
def prepare(model, call):
    """Normalize or center the query, and rotate it, unless that was done. Overwrites the caller's query, which is scratch."""
    if call.query.shape[0] > 0:
        center(model, call.query)
        rotate(model, call, call.query, call.rotated)


@inlined
def _square(model, call):
    """Set and return the squared norm of the rotated query; set its coordinates."""
    numbers, rotated = call.floats, call.rotated
    numbers[FloatField.SQUARE] = dot_float(rotated, rotated)
    if model.projected > 0:
        project(model, call, numbers[FloatField.SQUARE])
    return numbers[FloatField.SQUARE]


@part
def plan_visits(model, call):
    """Rotate the query, score the partitions and order the nearest; `complete_order` orders the others if needed."""
    prepare(model, call)
    route(model, call, scored=False)


@part
def route(model, call, scored):
    """`plan_visits` for a rotated query; if `scored`, its products with all centroids are in `CENTROID_SCORES` already."""
    numbers, square = call.floats, _square(model, call)
    coordinates = call.coordinates[model.routed :] if model.projected > 0 else call.rotated
    numbers[FloatField.DEVIATION] = relative_deviation(coordinates, square, model.variances, model.least_deviation[0])
    call.candidate_count = 0
    if call.near_regions > 0 and _may_use_regions(model, call):
        _route_regions(model, call, square)
    if call.candidate_count == 0:
        _route_all(model, call, square, scored)
    _fade(model, call, 0, call.ordered)
    call.visits = call.ordered
    call.min_probes = call.complete = 0
    if call.ordered == 0 or call.exact != 0 or call.nprobe > 0:
        complete_order(model, call)


@inlined
def _may_use_regions(model, call):
    """Whether only nearby rows are sought: filters may leave only distant ones, and `nprobe` and `exact` are promises."""
    nearby = call.filtered == 0 and call.nprobe == 0 and call.exact == 0
    return nearby and model.regions > 0 and model.exact_centroid_scores == 0


@inlined
def _radius_factor(numbers):
    return max(numbers[FloatField.RADIUS_FACTOR], numbers[FloatField.TAIL_RADII])


@part
def _route_regions(model, call, square):
    """Score the partitions of the nearest regions, and order the nearest, if the query lies among the rows."""
    numbers = call.floats
    coordinates = call.coordinates[: model.routed] if model.projected > 0 else call.rotated
    kept = coordinates[: min(coordinates.shape[0], model.quantized_dimensions)]
    count = choose_regions(model, call, kept, square)
    if count == 0 or candidates_nearness(model, call, square) < numbers[FloatField.FAMILIAR]:
        return
    _set_tail(numbers, min(numbers[FloatField.TAIL], np.float32(FAMILIAR_TAIL)))
    bound_candidates(model, call, square, _radius_factor(numbers))
    call.candidate_count = count
    call.ordered = order_head(
        call.candidate_bounds[:count],
        call.candidate_matches[:count],
        call.order[:count],
        call.keys[:count],
        call.histogram,
        call.slots,
    )
    place_candidates(call, 0, call.ordered)


@part
def _route_all(model, call, square, scored):
    """Score all partitions, unless that was done, and order the nearest."""
    numbers, rotated, quantized = call.floats, call.rotated, model.quantized_dimensions
    centroid_scores, upper_bounds = call.centroid_scores, call.upper_bounds
    coordinates = call.coordinates[: model.routed] if model.projected > 0 else rotated
    kept = coordinates[: min(coordinates.shape[0], quantized)]
    if model.exact_centroid_scores != 0:
        _score_far_centroids(model, rotated, centroid_scores)
        square = np.float32(0.0)
    elif model.regions > 0:
        score_positions(model, call, kept, centroid_scores)
    elif not scored:
        score_centroids(
            model.centroid_groups,
            model.centroid_steps,
            model.centroid_lows,
            kept,
            call.query_codes[:quantized],
            call.group_sums,
            centroid_scores,
        )
    _find_tail(model, call, numbers, centroid_scores, square)
    bound_partitions(
        centroid_scores,
        square,
        model.centroid_squares,
        model.centroid_rounding_bounds,
        model.radii,
        call.effective_radii,
        _radius_factor(numbers),
        model.squared != 0,
        centroid_scores,
        upper_bounds,
    )
    call.ordered = order_head(upper_bounds, call.match_counts, call.order, call.keys, call.histogram, call.slots)


@inlined
def _set_rerank_query(model, call):
    rotated, weights, rerank_query = call.rotated, model.rerank_weights, call.rerank_query
    for j in range(rotated.shape[0]):
        rerank_query[j] = rotated[j] * weights[j]


@part
def plan_tables(model, call):
    """Compute the lookup tables and the rerank query."""
    _set_rerank_query(model, call)
    _make_tables(model, call, call.coordinates[model.routed :] if model.projected > 0 else call.rotated)


@part
def plan_rerank(model, call):
    """Compute only what reranking needs: the rotated query and the rerank query."""
    prepare(model, call)
    _set_rerank_query(model, call)


@inlined
def _fading(model, call, radii, effective_radii, centroid_scores, upper_bounds):
    numbers = call.floats
    return Fading(
        model.fades,
        np.float32(model.partitions) / np.float32(model.rows),
        numbers[FloatField.RADIUS_DECAY],
        max(numbers[FloatField.RADIUS_FACTOR] - numbers[FloatField.TAIL_RADII], np.float32(0.0)),
        np.sqrt(numbers[FloatField.SQUARE]),
        model.squared != 0,
        radii,
        effective_radii,
        centroid_scores,
        upper_bounds,
    )


@inlined
def _fading_of_all(model, call):
    return _fading(model, call, model.radii, call.effective_radii, call.centroid_scores, call.upper_bounds)


@inlined
def _fade(model, call, start, stop):
    """Fade the bounds of a range of the ordered partitions."""
    if call.floats[FloatField.RADIUS_DECAY] > np.float32(0.0):
        fade_bounds(_fading_of_all(model, call), call.order, start, stop, call.match_counts)


@part
def rest_reaches(model, call, threshold):
    """Return whether a partition that is not ordered yet may contain a row that scores `threshold`."""
    order, match_counts = call.order, call.match_counts
    before = np.int64(0)
    for visit in range(call.ordered):
        before += match_counts[order[visit]]
    if call.candidate_count == 0:
        return tail_reaches(_fading_of_all(model, call), threshold, call.keys, before)
    starts, sizes, chosen, first = model.region_starts, model.region_sizes, call.chosen, np.int64(0)
    while first < call.candidate_count:
        start, size = starts[chosen[0]], sizes[chosen[0]]
        chosen = chosen[1:]
        last = first + size
        fading = _fading(
            model,
            call,
            model.position_radii[start : start + size],
            call.candidate_radii[first:last],
            call.candidate_scores[first:last],
            call.candidate_bounds[first:last],
        )
        if tail_reaches(fading, threshold, call.keys[first:last], before):
            return True
        first = last
    return False


@part
def complete_order(model, call):
    """Order all partitions or candidates, and determine which are visited regardless of their bounds."""
    if call.complete != 0:
        return
    order, ordered, count = call.order, call.ordered, call.candidate_count
    if count == 0:
        visits = order_tail(
            call.upper_bounds, order, ordered, call.keys, call.spare_order, call.spare_keys, call.histogram
        )
    else:
        visits = order_tail(
            call.candidate_bounds[:count],
            order,
            ordered,
            call.keys,
            call.spare_order,
            call.spare_keys,
            call.histogram,
        )
        place_candidates(call, ordered, visits)
    _fade(model, call, ordered, visits)
    call.ordered, call.complete = visits, 1
    min_probes = min_probe_count(order, visits, call.match_counts, call.k, call.nprobe)
    if call.exact != 0:
        min_probes = visits
    elif call.nprobe > 0 and call.filtered == 0:
        visits = min_probes
    call.visits, call.min_probes = visits, min_probes


@part
def complete_above(model, call, threshold):
    """`complete_order`, without the partitions whose bounds were below a threshold before they were faded."""
    if call.complete != 0:
        return
    count, keys = call.candidate_count, call.keys
    upper_bounds = call.upper_bounds if count == 0 else call.candidate_bounds[:count]
    for p in range(upper_bounds.shape[0]):
        key = keys[p]
        keys[p] = np.uint32(RADIX) if upper_bounds[p] < threshold else key
    complete_order(model, call)


@part
def plan_scan(model, call, visits):
    """Prepare a rotated query for scanning `visits` partitions that were planned elsewhere and are in ORDER already."""
    prepare(model, call)
    _square(model, call)
    plan_tables(model, call)
    call.ordered = call.visits = visits
    call.complete = 1


@inlined
def _make_tables(model, call, coordinates):
    """Compute the rounded tables of the first stage, and float tables if later stages need them."""
    tables, byte_tables, rounded = call.tables, call.byte_tables, call.rounded
    needs_floats = model.stages > 1 or model.rerank_kind == 0
    step, bias = np.float32(1.0), np.float32(0.0)
    if model.tables_given == 0:
        scale, scaled = model.table_scale, call.scaled
        for j in range(scale.shape[0]):
            scaled[j] = coordinates[j] * scale[j]
        if needs_floats:
            sign_tables(scaled, model.plane_dimensions, model.plane_offsets, tables)
        else:
            step, bias = round_sign_tables(scaled, model.plane_dimensions, model.plane_offsets, rounded)
    if model.byte_tables != 0:
        rounding = sum_slack(byte_tables)
    else:
        nibbles = rounded.shape[0]
        if needs_floats or model.tables_given != 0:
            step, bias = round_tables(tables[:nibbles], rounded)
        expand_tables(rounded, call.expanded)
        rounding = ROUNDING * step * np.sqrt(np.float32(nibbles))
    _margins(model, call.floats, step, bias, rounding)


@inlined
def _margins(model, numbers, step, bias, rounding):
    """Compute the error margins of the table sums of the stages."""
    stages, scales, deviations = model.stages, model.stage_scales, model.stage_deviations
    sigmas, norm = numbers[FloatField.ERROR_SIGMAS], np.sqrt(numbers[FloatField.SQUARE])
    first = sigmas * deviations[0] * norm
    if model.rerank_kind == 0 and stages == 1:
        first = np.float32(0.0)  # the estimate is the score itself, so only rounding errors count
    numbers[FloatField.STEP], numbers[FloatField.BIAS] = step, bias
    numbers[FloatField.FIRST_MARGIN] = first + max(sigmas, LEAST_ROUNDING_SIGMAS) * rounding * scales[0]
    numbers[FloatField.LAST_MARGIN] = sigmas * deviations[stages - 1] * norm
