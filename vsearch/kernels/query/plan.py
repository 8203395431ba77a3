"""Plan a query: rotate it, route it to partitions, make its lookup tables.

Takes addresses of field lists (see `fields`), so that the same code serves Numba and plain C callers.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.centroids import score_centroids
from vsearch.kernels.query.fields import (
    FAMILIAR_TAIL,
    HEAD,
    PLAIN_TAIL,
    RADIX,
    TOGETHER,
    CallField,
    FloatField,
    ModelField,
)
from vsearch.kernels.query.rotation import rotate_in_words, rotate_widely
from vsearch.kernels.query.route import (
    bound_partitions,
    exact_base,
    fade_bounds,
    forced_visits,
    nearness,
    order_head,
    order_tail,
    relative_deviation,
    tail_reaches,
)
from vsearch.kernels.scan.byte_codes import sum_slack
from vsearch.kernels.scan.dot_products import dot_float
from vsearch.kernels.scan.nibbles import expand_tables
from vsearch.kernels.scan.tables import round_sign_tables, round_tables, sign_tables
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.memory import (
    byte_rows,
    bytes_,
    float_rows,
    floats,
    half_rows,
    int8s,
    int16_rows,
    int16s,
    int32s,
    int64s,
    uint32s,
)

MODEL_FIELDS, CALL_FIELDS, FLOAT_FIELDS = len(ModelField), len(CallField), len(FloatField)
ROUNDING = np.float32(0.2887)  # deviation of one rounding to the nearest, in steps: 1 / sqrt(12)
LEAST_SQUARE, LARGEST_SQUARE = np.float32(1e-30), np.float32(1e36)  # of a norm, between which float32 holds the squares
LEAST_ROUNDING_MARGIN = np.float32(3.0)


@inlined
def _normalise_widely(query):
    """Scale a query whose squares leave float32 to norm 1; zeros stay zeros."""
    total = 0.0
    for j in range(query.shape[0]):
        total += np.float64(query[j]) * np.float64(query[j])
    scale = 1.0 / np.sqrt(total) if total > 0.0 else 0.0
    for j in range(query.shape[0]):
        query[j] = np.float32(np.float64(query[j]) * scale)


@inlined
def _prepare(model, call, query, rotated):
    """Normalise or centre, and rotate. The query as given is overwritten: it is scratch."""
    d = query.shape[0]
    if model[ModelField.NORMALISE] != 0:
        square = dot_float(query, query)
        if LEAST_SQUARE < square < LARGEST_SQUARE:
            scale = np.float32(1.0) / np.sqrt(square)
            for j in range(d):
                query[j] *= scale
        else:
            _normalise_widely(query)
    else:
        mean = floats(model[ModelField.MEAN], d)
        for j in range(d):
            query[j] -= mean[j]
    if model[ModelField.ROTATION] != 0:
        rotation = float_rows(model[ModelField.ROTATION], d, d)
        if model[ModelField.WIDE_ROTATION] != 0:
            rotate_widely(rotation, query, rotated)
        else:
            for i in range(d):
                rotated[i] = dot_float(rotation[i], query)
    else:
        even = d + d % 2
        rotate_in_words(
            query,
            int16_rows(model[ModelField.ROTATION_GROUPS], (d + TOGETHER - 1) // TOGETHER, TOGETHER * even),
            floats(model[ModelField.ROTATION_STEPS], d),
            int16s(call[CallField.QUERY_WORDS], even),
            int32s(call[CallField.GROUP_SUMS], TOGETHER),
            rotated,
        )


@kernel
def plan_query(model_address, call_address):
    """Rotate the query, score and order the partitions, build and round the tables.

    With `ModelField.TABLES_GIVEN` the rotated query and the tables are the caller's, and only rounded here.
    """
    plan_nearest(model_address, call_address)
    complete_order(model_address, call_address)


@kernel
def plan_nearest(model_address, call_address):
    """`plan_query`, but partitions that are hardly visited may have no order yet: see `complete_order`."""
    plan_visits(model_address, call_address)
    plan_tables(model_address, call_address)


@inlined
def _score_far_centroids(model, rotated, inner):
    """Half the base scores of partitions far apart, whose squares and products with the query would leave no digits."""
    d, partitions = model[ModelField.DIMENSIONS], model[ModelField.PARTITIONS]
    centroids = float_rows(model[ModelField.CENTROIDS], partitions, d)
    for p in range(partitions):
        inner[p] = np.float32(0.5) * exact_base(rotated, centroids, half_rows(0, 0, d), True, p)


@inlined
def _find_tail(model, call, numbers, rotated, inner, square):
    """How far rows that have nothing to do with the query are taken to scatter.

    What is near a query that lies among the rows is found by the reach, so for it a shorter tail will do. `square` is what
    base scores lack yet.
    """
    tail = numbers[FloatField.TAIL]
    if call[CallField.FILTERED] == 0 and tail > FAMILIAR_TAIL:
        squares = floats(model[ModelField.CENTROID_SQUARES], inner.shape[0])
        near = nearness(inner, square, squares, model[ModelField.SQUARED] != 0) >= numbers[FloatField.FAMILIAR]
        tail = np.float32(FAMILIAR_TAIL) if near else min(tail, np.float32(PLAIN_TAIL))
    deviation = relative_deviation(
        rotated,
        numbers[FloatField.SQUARE],
        floats(model[ModelField.VARIANCES], rotated.shape[0]),
        floats(model[ModelField.LEAST_DEVIATION], 1)[0],
    )
    numbers[FloatField.DEVIATION], numbers[FloatField.TAIL_REACH] = deviation, tail * deviation


@kernel
def plan_visits(model_address, call_address):
    """The first half of `plan_nearest`: rotate the query, score the partitions and order the nearest."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    d, partitions = model[ModelField.DIMENSIONS], model[ModelField.PARTITIONS]
    numbers = floats(call[CallField.FLOATS], FLOAT_FIELDS)
    rotated = floats(call[CallField.ROTATED], d)
    if call[CallField.QUERY] != 0:
        _prepare(model, call, floats(call[CallField.QUERY], d), rotated)
    square = dot_float(rotated, rotated)
    numbers[FloatField.SQUARE] = square
    bases, bounds = floats(call[CallField.BASES], partitions), floats(call[CallField.BOUNDS], partitions)
    groups, quantised = model[ModelField.GROUPS], model[ModelField.QUANTISED_DIMENSIONS]
    if model[ModelField.EXACT_BASES] != 0:
        _score_far_centroids(model, rotated, bases)
        square = np.float32(0.0)
    else:
        score_centroids(
            byte_rows(model[ModelField.CENTROID_GROUPS], groups, TOGETHER * quantised),
            floats(model[ModelField.CENTROID_STEPS], partitions),
            floats(model[ModelField.CENTROID_LOWS], partitions),
            rotated[: min(d, quantised)],
            int8s(call[CallField.QUERY_CODES], quantised),
            int32s(call[CallField.GROUP_SUMS], TOGETHER),
            bases,
        )
    _find_tail(model, call, numbers, rotated, bases, square)
    bound_partitions(
        bases,
        square,
        floats(model[ModelField.CENTROID_SQUARES], partitions),
        floats(model[ModelField.CENTROID_SLACKS], partitions),
        floats(model[ModelField.RADII], partitions),
        floats(call[CallField.SPREADS], partitions),
        max(numbers[FloatField.REACH], numbers[FloatField.TAIL_REACH]),
        model[ModelField.SQUARED] != 0,
        bases,
        bounds,
    )
    ordered = order_head(
        bounds,
        int64s(call[CallField.ELIGIBLE], partitions),
        int32s(call[CallField.ORDER], partitions),
        uint32s(call[CallField.KEYS], partitions),
        int32s(call[CallField.HISTOGRAM], RADIX),
        int64s(call[CallField.SLOTS], 2 * HEAD),
    )
    _fade(model, call, 0, ordered)
    call[CallField.ORDERED] = call[CallField.VISITS] = ordered
    call[CallField.FORCED], call[CallField.COMPLETE] = 0, 0
    if ordered == 0 or call[CallField.EXACT] != 0 or call[CallField.NPROBE] > 0:
        complete_order(model_address, call_address)


@kernel
def plan_tables(model_address, call_address):
    """The second half of `plan_nearest`: what rows are scored with."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    d, numbers = model[ModelField.DIMENSIONS], floats(call[CallField.FLOATS], FLOAT_FIELDS)
    rotated = floats(call[CallField.ROTATED], d)
    weights = floats(model[ModelField.RERANK_WEIGHTS], d)
    rerank_query = floats(call[CallField.RERANK_QUERY], d)
    for j in range(d):
        rerank_query[j] = rotated[j] * weights[j]
    _make_tables(model, call, numbers, rotated, np.sqrt(numbers[FloatField.SQUARE]))


@inlined
def _fade(model, call, start, stop):
    """Fade the bounds of some of the ordered partitions."""
    partitions = model[ModelField.PARTITIONS]
    numbers = floats(call[CallField.FLOATS], FLOAT_FIELDS)
    if numbers[FloatField.DECAY] > np.float32(0.0):
        fade_bounds(
            int32s(call[CallField.ORDER], partitions),
            start,
            stop,
            int64s(call[CallField.ELIGIBLE], partitions),
            floats(model[ModelField.FADES], partitions + 1),
            np.float32(partitions) / np.float32(model[ModelField.ROWS]),
            numbers[FloatField.DECAY],
            max(numbers[FloatField.REACH] - numbers[FloatField.TAIL_REACH], np.float32(0.0)),
            np.sqrt(numbers[FloatField.SQUARE]),
            floats(model[ModelField.RADII], partitions),
            floats(call[CallField.SPREADS], partitions),
            model[ModelField.SQUARED] != 0,
            floats(call[CallField.BASES], partitions),
            floats(call[CallField.BOUNDS], partitions),
        )


@kernel
def rest_reaches(model_address, call_address, threshold):
    """Whether a partition that has no order yet may hold a row that scores `threshold`."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    partitions, numbers = model[ModelField.PARTITIONS], floats(call[CallField.FLOATS], FLOAT_FIELDS)
    order, eligible = int32s(call[CallField.ORDER], partitions), int64s(call[CallField.ELIGIBLE], partitions)
    before = np.int64(0)
    for visit in range(call[CallField.ORDERED]):
        before += eligible[order[visit]]
    return tail_reaches(
        threshold,
        uint32s(call[CallField.KEYS], partitions),
        before,
        floats(model[ModelField.FADES], partitions + 1),
        np.float32(partitions) / np.float32(model[ModelField.ROWS]),
        numbers[FloatField.DECAY],
        max(numbers[FloatField.REACH] - numbers[FloatField.TAIL_REACH], np.float32(0.0)),
        np.sqrt(numbers[FloatField.SQUARE]),
        floats(model[ModelField.RADII], partitions),
        floats(call[CallField.SPREADS], partitions),
        model[ModelField.SQUARED] != 0,
        floats(call[CallField.BASES], partitions),
        floats(call[CallField.BOUNDS], partitions),
    )


@kernel
def complete_order(model_address, call_address):
    """Order all partitions, and settle which are visited whatever their bounds."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    if call[CallField.COMPLETE] != 0:
        return
    partitions, ordered = model[ModelField.PARTITIONS], call[CallField.ORDERED]
    order, eligible = int32s(call[CallField.ORDER], partitions), int64s(call[CallField.ELIGIBLE], partitions)
    visits = order_tail(
        floats(call[CallField.BOUNDS], partitions),
        order,
        ordered,
        uint32s(call[CallField.KEYS], partitions),
        int32s(call[CallField.SPARE_ORDER], partitions),
        uint32s(call[CallField.SPARE_KEYS], partitions),
        int32s(call[CallField.HISTOGRAM], RADIX),
    )
    _fade(model, call, ordered, visits)
    call[CallField.ORDERED], call[CallField.COMPLETE] = visits, 1
    forced = forced_visits(order, visits, eligible, call[CallField.K], call[CallField.NPROBE])
    if call[CallField.EXACT] != 0:
        forced = visits
    elif call[CallField.NPROBE] > 0 and call[CallField.FILTERED] == 0:
        visits = forced
    call[CallField.VISITS], call[CallField.FORCED] = visits, forced


@inlined
def _make_tables(model, call, numbers, rotated, norm):
    """Tables of the first stage, rounded; float tables too where more than the first look at a code needs them."""
    d, first_bytes = model[ModelField.DIMENSIONS], model[ModelField.FIRST_BYTES]
    nibbles = 2 * (first_bytes + model[ModelField.LATER_BYTES])
    tables = float_rows(call[CallField.TABLES], nibbles, 16)
    rounded = byte_rows(call[CallField.ROUNDED], 2 * first_bytes, 16)
    whole = model[ModelField.STAGES] > 1 or model[ModelField.RERANK_KIND] == 0
    step, bias = np.float32(1.0), np.float32(0.0)
    if model[ModelField.TABLES_GIVEN] == 0:
        coded, planes = model[ModelField.CODED], model[ModelField.PLANES]
        scale = floats(model[ModelField.TABLE_SCALE], coded)
        scaled = floats(call[CallField.SCALED], d)
        for j in range(coded):
            scaled[j] = rotated[j] * scale[j]
        dimensions = int32s(model[ModelField.PLANE_DIMENSIONS], planes)
        offsets = int32s(model[ModelField.PLANE_OFFSETS], planes)
        if whole:
            sign_tables(scaled, dimensions, offsets, tables)
        else:
            step, bias = round_sign_tables(scaled, dimensions, offsets, rounded)
    if model[ModelField.BYTE_TABLES] != 0:
        rounding = sum_slack(float_rows(call[CallField.TABLES], first_bytes, 256))
    else:
        if whole or model[ModelField.TABLES_GIVEN] != 0:
            step, bias = round_tables(tables[: 2 * first_bytes], rounded)
        expand_tables(rounded, bytes_(call[CallField.EXPANDED], call[CallField.EXPANDED_BYTES]))
        rounding = ROUNDING * step * np.sqrt(np.float32(2 * first_bytes))
    _margins(model, numbers, norm, step, bias, rounding)


@inlined
def _margins(model, numbers, norm, step, bias, rounding):
    """How wrong the table sums of the stages may be."""
    stages = model[ModelField.STAGES]
    scales = floats(model[ModelField.STAGE_SCALES], stages)
    deviations = floats(model[ModelField.STAGE_DEVIATIONS], stages)
    margin = numbers[FloatField.MARGIN]
    first = margin * deviations[0] * norm
    if model[ModelField.RERANK_KIND] == 0 and stages == 1:
        first = np.float32(0.0)  # the estimate is the score itself: only the rounding is in doubt
    numbers[FloatField.STEP], numbers[FloatField.BIAS] = step, bias
    numbers[FloatField.FIRST_MARGIN] = first + max(margin, LEAST_ROUNDING_MARGIN) * rounding * scales[0]
    numbers[FloatField.LAST_MARGIN] = margin * deviations[stages - 1] * norm
