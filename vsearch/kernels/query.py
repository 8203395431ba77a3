"""One crossing: a query from its vector to its best rows, with nothing of Python in between.

`plan_query` rotates, routes and builds tables; `scan_shard` visits partitions of one shard; `search_shard` does both and
sorts. Each takes addresses of field lists (see `fields`), so that the same code serves Numba and plain C callers.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.bytes import sum_slack
from vsearch.kernels.compiling import inlined, kernel
from vsearch.kernels.fields import (
    COUNTERS,
    PENDING,
    RADIX,
    RERANK_FLOAT,
    RERANK_HALF,
    RERANK_INT8,
    CallField,
    FloatField,
    ModelField,
    ShardField,
)
from vsearch.kernels.memory import (
    byte_rows,
    bytes_,
    float_rows,
    floats,
    half_rows,
    halves,
    int8_rows,
    int32s,
    int64s,
    uint32s,
    uint64s,
)
from vsearch.kernels.rerank import dot_float
from vsearch.kernels.route import forced_visits, order_partitions, score_partitions
from vsearch.kernels.scan import expand_tables
from vsearch.kernels.search import search_partitions
from vsearch.kernels.tables import round_tables, sign_tables
from vsearch.kernels.topk import sort_best_first

MODEL_FIELDS, SHARD_FIELDS, CALL_FIELDS = len(ModelField), len(ShardField), len(CallField)
FLOAT_FIELDS = len(FloatField)
ROUNDING = np.float32(0.2887)  # deviation of one rounding to the nearest, in steps: 1 / sqrt(12)
LEAST_ROUNDING_MARGIN = np.float32(3.0)


@inlined
def _prepare(query, normalise, mean, rotation, rotated):
    """Normalise or centre, and rotate. The unrotated query is overwritten: it is the caller's scratch."""
    d = query.shape[0]
    if normalise:
        norm = np.sqrt(dot_float(query, query))
        scale = np.float32(1.0) / norm if norm > np.float32(0.0) else np.float32(0.0)
        for j in range(d):
            query[j] *= scale
    else:
        for j in range(d):
            query[j] -= mean[j]
    for i in range(d):
        rotated[i] = dot_float(rotation[i], query)


@kernel
def plan_query(model_address, call_address):
    """Rotate the query, score and order the partitions, build and round the tables.

    With `ModelField.TABLES_GIVEN` the rotated query and the tables are the caller's, and only rounded here.
    """
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    d, partitions = model[ModelField.DIMENSIONS], model[ModelField.PARTITIONS]
    numbers = floats(call[CallField.FLOATS], FLOAT_FIELDS)
    rotated = floats(call[CallField.ROTATED], d)
    first_bytes = model[ModelField.FIRST_BYTES]
    nibbles = 2 * (first_bytes + model[ModelField.LATER_BYTES])
    tables = float_rows(call[CallField.TABLES], nibbles, 16)
    if call[CallField.QUERY] != 0:
        _prepare(
            floats(call[CallField.QUERY], d),
            model[ModelField.NORMALISE] != 0,
            floats(model[ModelField.MEAN], d),
            float_rows(model[ModelField.ROTATION], d, d),
            rotated,
        )
    bases, bounds = floats(call[CallField.BASES], partitions), floats(call[CallField.BOUNDS], partitions)
    score_partitions(
        rotated,
        float_rows(model[ModelField.CENTROIDS], partitions, d),
        floats(model[ModelField.CENTROID_SQUARES], partitions),
        floats(model[ModelField.RADII], partitions),
        floats(call[CallField.SPREADS], partitions),
        numbers[FloatField.REACH],
        model[ModelField.SQUARED] != 0,
        bases,
        bounds,
    )
    order = int32s(call[CallField.ORDER], partitions)
    eligible = int64s(call[CallField.ELIGIBLE], partitions)
    visits = order_partitions(
        bounds,
        eligible,
        order,
        uint32s(call[CallField.KEYS], partitions),
        int32s(call[CallField.SPARE_ORDER], partitions),
        uint32s(call[CallField.SPARE_KEYS], partitions),
        int32s(call[CallField.HISTOGRAM], RADIX),
    )
    forced = forced_visits(order, visits, eligible, call[CallField.K], call[CallField.NPROBE])
    if call[CallField.EXACT] != 0:
        forced = visits
    elif call[CallField.NPROBE] > 0 and call[CallField.FILTERED] == 0:
        visits = forced
    call[CallField.VISITS], call[CallField.FORCED] = visits, forced
    weights = floats(model[ModelField.RERANK_WEIGHTS], d)
    rerank_query = floats(call[CallField.RERANK_QUERY], d)
    for j in range(d):
        rerank_query[j] = rotated[j] * weights[j]
    if model[ModelField.TABLES_GIVEN] == 0:
        coded, planes = model[ModelField.CODED], model[ModelField.PLANES]
        scale = floats(model[ModelField.TABLE_SCALE], coded)
        scaled = floats(call[CallField.SCALED], d)
        for j in range(coded):
            scaled[j] = rotated[j] * scale[j]
        sign_tables(
            scaled,
            int32s(model[ModelField.PLANE_DIMENSIONS], planes),
            int32s(model[ModelField.PLANE_OFFSETS], planes),
            tables,
        )
    if model[ModelField.BYTE_TABLES] != 0:
        step, bias = np.float32(1.0), np.float32(0.0)
        rounding = sum_slack(float_rows(call[CallField.TABLES], first_bytes, 256))
    else:
        rounded = byte_rows(call[CallField.ROUNDED], 2 * first_bytes, 16)
        step, bias = round_tables(tables[: 2 * first_bytes], rounded)
        expand_tables(rounded, bytes_(call[CallField.EXPANDED], call[CallField.EXPANDED_BYTES]))
        rounding = ROUNDING * step * np.sqrt(np.float32(2 * first_bytes))
    _margins(model, numbers, np.sqrt(dot_float(rotated, rotated)), step, bias, rounding)


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


@kernel
def scan_shard(model_address, shard_address, call_address):
    """Search the planned visits `CallField.FIRST_VISIT` to `LAST_VISIT` in one shard; the heap is the caller's."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    shard = int64s(shard_address, SHARD_FIELDS)
    d, partitions = model[ModelField.DIMENSIONS], model[ModelField.PARTITIONS]
    stages, kind = model[ModelField.STAGES], model[ModelField.RERANK_KIND]
    first_bytes, later_bytes = model[ModelField.FIRST_BYTES], model[ModelField.LATER_BYTES]
    own, rows, blocks = shard[ShardField.PARTITIONS], shard[ShardField.ROWS], shard[ShardField.BLOCKS]
    squared = model[ModelField.SQUARED] != 0
    numbers = floats(call[CallField.FLOATS], FLOAT_FIELDS)
    codes, k = shard[ShardField.RERANK_CODES], call[CallField.K]
    stored = shard[ShardField.RERANK_ROWS]
    # arguments with a condition in them are worked out first: Numba does not take them in a call this long
    gain = np.float32(2.0) if squared else np.float32(1.0)
    staged_rows = rows if stages == 2 else 0
    offset_rows = rows if squared else 0
    byte_tables = first_bytes if model[ModelField.BYTE_TABLES] != 0 else 0
    int8_stored = stored if kind == RERANK_INT8 else 0
    half_stored = stored if kind == RERANK_HALF else 0
    float_stored = stored if kind == RERANK_FLOAT else 0
    call[CallField.SIZE] = search_partitions(
        floats(call[CallField.RERANK_QUERY], d),
        int32s(call[CallField.ORDER], partitions),
        call[CallField.FIRST_VISIT],
        call[CallField.LAST_VISIT],
        floats(call[CallField.BASES], partitions),
        floats(call[CallField.BOUNDS], partitions),
        call[CallField.FORCED],
        shard[ShardField.FIRST_PARTITION],
        call[CallField.EXACT] != 0,
        gain,
        int64s(shard[ShardField.ROW_STARTS], own),
        int64s(shard[ShardField.ROW_COUNTS], own),
        int64s(shard[ShardField.BLOCK_STARTS], own),
        byte_rows(shard[ShardField.FIRST_CODES], blocks, first_bytes * 32),
        byte_rows(shard[ShardField.LATER_CODES], blocks, later_bytes * 32),
        float_rows(call[CallField.TABLES], 2 * (first_bytes + later_bytes), 16),
        float_rows(call[CallField.TABLES], byte_tables, 256),
        floats(call[CallField.SUMS], 32),
        byte_rows(call[CallField.ROUNDED], 2 * first_bytes, 16),
        bytes_(call[CallField.EXPANDED], call[CallField.EXPANDED_BYTES]),
        numbers[FloatField.STEP],
        numbers[FloatField.BIAS],
        halves(shard[ShardField.FACTORS], rows),
        floats(shard[ShardField.FACTOR_SCALES], own),
        halves(shard[ShardField.FIRST_FACTORS], staged_rows),
        floats(shard[ShardField.FIRST_FACTOR_SCALES], own),
        floats(model[ModelField.STAGE_SCALES], stages),
        numbers[FloatField.FIRST_MARGIN],
        numbers[FloatField.LAST_MARGIN],
        floats(shard[ShardField.OFFSETS], offset_rows),
        kind,
        int8_rows(codes, int8_stored, d),
        half_rows(codes, half_stored, d),
        float_rows(codes, float_stored, d),
        halves(shard[ShardField.RERANK_SCALES], stored),
        floats(shard[ShardField.RERANK_PARTITION_SCALES], own),
        uint64s(call[CallField.MASK], call[CallField.MASK_WORDS]),
        floats(call[CallField.SCORES], k),
        int64s(call[CallField.ROWS], k),
        call[CallField.SIZE],
        numbers[FloatField.LOWEST],
        int64s(call[CallField.PENDING], PENDING),
        int64s(call[CallField.COUNTERS], COUNTERS),
    )


@kernel
def finish(call_address):
    """Sort the heap, best first, and pad it with NaN and -1."""
    call = int64s(call_address, CALL_FIELDS)
    k = call[CallField.K]
    sort_best_first(floats(call[CallField.SCORES], k), int64s(call[CallField.ROWS], k), call[CallField.SIZE])


@kernel
def search_shard(model_address, shard_address, call_address):
    """Plan a query, search all its visits in the only shard of an index, and sort."""
    plan_query(model_address, call_address)
    call = int64s(call_address, CALL_FIELDS)
    call[CallField.FIRST_VISIT], call[CallField.LAST_VISIT] = 0, call[CallField.VISITS]
    scan_shard(model_address, shard_address, call_address)
    finish(call_address)
