"""One crossing: a query from its vector to its best rows, with nothing of Python in between.

A query is planned (see `plan`). Then the nearest partitions of a shard are visited best first, until k rows are found and
some partitions seen; those whose bounds can still reach the k-th best follow in the order in which they are stored.
`search_shard` does it all, `search_batch` for several queries at once. Each takes addresses of field lists (see
`fields`), so that the same code serves Numba and plain C callers.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import (
    COUNTERS,
    NEAREST,
    PENDING,
    RERANK_FLOAT,
    RERANK_HALF,
    RERANK_INT8,
    VISITED,
    CallField,
    FloatField,
    ModelField,
    ShardField,
)
from vsearch.kernels.query.partitions import AHEAD, LEAST, fetch_blocks, rerank_waiting, search_partitions
from vsearch.kernels.query.plan import complete_order, plan_nearest, plan_tables, plan_visits, rest_reaches
from vsearch.kernels.scan.topk import sort_best_first
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.memory import (
    byte_rows,
    bytes_,
    float_rows,
    floats,
    half_rows,
    halves,
    int8_rows,
    int32s,
    int64_rows,
    int64s,
    uint32s,
    uint64s,
)

MODEL_FIELDS, SHARD_FIELDS, CALL_FIELDS = len(ModelField), len(ShardField), len(CallField)
FLOAT_FIELDS = len(FloatField)


@kernel
def scan_visits(
    model_address, shard_address, call_address, order_address, listed, first, last, forced, descending, fetch
):
    """Search the partitions `first` to `last` of a list of so many in one shard; the heap is the call's.

    Returns the visit that it ended before.
    """
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
    staged_rows = rows if stages == 2 else 0
    offset_rows = rows if squared else 0
    byte_tables = first_bytes if model[ModelField.BYTE_TABLES] != 0 else 0
    halved = partitions if model[ModelField.HALF_CENTROIDS] != 0 else 0
    int8_stored = stored if kind == RERANK_INT8 else 0
    half_stored = stored if kind == RERANK_HALF else 0
    float_stored = stored if kind == RERANK_FLOAT else 0
    call[CallField.SIZE], call[CallField.WAITING], reached = search_partitions(
        floats(call[CallField.ROTATED], d),
        float_rows(model[ModelField.CENTROIDS], partitions - halved, d),
        half_rows(model[ModelField.HALF_CENTROIDS], halved, d),
        squared,
        model[ModelField.DIFFERENCES] != 0,
        floats(call[CallField.RERANK_QUERY], d),
        floats(model[ModelField.RERANK_WEIGHTS], d),
        int32s(order_address, listed),
        first,
        last,
        floats(call[CallField.BASES], partitions),
        floats(call[CallField.BOUNDS], partitions),
        forced,
        descending != 0,
        fetch != 0,
        shard[ShardField.FIRST_PARTITION],
        call[CallField.EXACT] != 0,
        floats(model[ModelField.CENTROID_SLACKS], partitions),
        floats(model[ModelField.RADII], partitions),
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
        call[CallField.WAITING],
        int64_rows(call[CallField.PENDING], 2, PENDING),
        floats(call[CallField.PENDING_SCALES], PENDING),
        int64s(call[CallField.COUNTERS], COUNTERS),
    )
    return reached


@kernel
def rerank_rest(model_address, shard_address, call_address):
    """Rerank the rows that still wait."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    shard = int64s(shard_address, SHARD_FIELDS)
    d, kind, stored = model[ModelField.DIMENSIONS], model[ModelField.RERANK_KIND], shard[ShardField.RERANK_ROWS]
    codes, k, partitions = shard[ShardField.RERANK_CODES], call[CallField.K], model[ModelField.PARTITIONS]
    offset_rows = shard[ShardField.ROWS] if model[ModelField.SQUARED] != 0 else 0
    halved = partitions if model[ModelField.HALF_CENTROIDS] != 0 else 0
    int8_stored = stored if kind == RERANK_INT8 else 0
    half_stored = stored if kind == RERANK_HALF else 0
    float_stored = stored if kind == RERANK_FLOAT else 0
    call[CallField.SIZE] = rerank_waiting(
        call[CallField.WAITING],
        int64_rows(call[CallField.PENDING], 2, PENDING),
        floats(call[CallField.PENDING_SCALES], PENDING),
        floats(call[CallField.ROTATED], d),
        float_rows(model[ModelField.CENTROIDS], partitions - halved, d),
        half_rows(model[ModelField.HALF_CENTROIDS], halved, d),
        model[ModelField.SQUARED] != 0,
        model[ModelField.DIFFERENCES] != 0,
        floats(call[CallField.RERANK_QUERY], d),
        floats(model[ModelField.RERANK_WEIGHTS], d),
        floats(shard[ShardField.OFFSETS], offset_rows),
        kind,
        int8_rows(codes, int8_stored, d),
        half_rows(codes, half_stored, d),
        float_rows(codes, float_stored, d),
        halves(shard[ShardField.RERANK_SCALES], stored),
        floats(call[CallField.SCORES], k),
        int64s(call[CallField.ROWS], k),
        call[CallField.SIZE],
        int64s(call[CallField.COUNTERS], COUNTERS),
    )
    call[CallField.WAITING] = 0


@kernel
def scan_nearest(model_address, shard_address, call_address):
    """Visit planned partitions best first, from `CallField.FIRST_VISIT` on and before `LAST_VISIT`.

    Stops, and says so in `SETTLED`, once NEAREST of the shard's partitions are visited and k rows are found, or the bounds
    of all others are too low; `FIRST_VISIT` is where to go on.
    """
    call = int64s(call_address, CALL_FIELDS)
    counters = int64s(call[CallField.COUNTERS], COUNTERS)
    visit = call[CallField.FIRST_VISIT]
    while True:
        if call[CallField.SIZE] == call[CallField.K] and call[CallField.NEAR] >= NEAREST:
            call[CallField.SETTLED] = 1
            break
        if visit == call[CallField.LAST_VISIT] and call[CallField.COMPLETE] == 0:
            complete_order(model_address, call_address)
            call[CallField.LAST_VISIT] = call[CallField.VISITS]
        if visit == call[CallField.LAST_VISIT]:
            break
        stop = min(visit + max(NEAREST - call[CallField.NEAR], 1), call[CallField.LAST_VISIT])
        listed, forced, before = call[CallField.ORDERED], call[CallField.FORCED], counters[VISITED]
        visit = scan_visits(
            model_address, shard_address, call_address, call[CallField.ORDER], listed, visit, stop, forced, 1, 1
        )
        call[CallField.NEAR] += counters[VISITED] - before
        if visit < stop:
            call[CallField.SETTLED] = 1
            break
    call[CallField.FIRST_VISIT] = visit


@kernel
def list_rest(model_address, shard_address, call_address):
    """List the shard's partitions that are left to visit, ascending: forced ones, and those whose bounds may still do."""
    call, shard = int64s(call_address, CALL_FIELDS), int64s(shard_address, SHARD_FIELDS)
    partitions, k = int64s(model_address, MODEL_FIELDS)[ModelField.PARTITIONS], call[CallField.K]
    rerank_rest(model_address, shard_address, call_address)
    order = int32s(call[CallField.ORDER], partitions)
    bounds = floats(call[CallField.BOUNDS], partitions)
    marks = uint32s(call[CallField.SPARE_KEYS], partitions)
    rest = int32s(call[CallField.REST], partitions)
    low, own = shard[ShardField.FIRST_PARTITION], shard[ShardField.PARTITIONS]
    threshold = LEAST
    if call[CallField.SIZE] == k:
        threshold = floats(call[CallField.SCORES], k)[0]
    if call[CallField.COMPLETE] == 0 and rest_reaches(model_address, call_address, threshold):
        complete_order(model_address, call_address)
    found = 0
    marks[low : low + own] = 0
    for visit in range(call[CallField.FIRST_VISIT], call[CallField.VISITS]):
        partition = np.int64(order[visit])
        if visit < call[CallField.FORCED]:
            bounds[partition] = np.float32(np.inf)
        if bounds[partition] >= threshold and low <= partition < low + own:
            marks[partition] = 1
            found += 1
    count = 0
    if found > 0:
        for partition in range(low, low + own):  # without branches: hardly any of them would be foretold
            rest[count] = partition
            count += np.int64(marks[partition])
    call[CallField.REST_COUNT] = count


@kernel
def scan_rest(model_address, shard_address, call_address):
    """Visit what `list_rest` found."""
    call = int64s(call_address, CALL_FIELDS)
    count = call[CallField.REST_COUNT]
    scan_visits(model_address, shard_address, call_address, call[CallField.REST], count, 0, count, 0, 0, 1)
    rerank_rest(model_address, shard_address, call_address)


@kernel
def finish(call_address):
    """Sort the heap, best first, and pad it with NaN and -1."""
    call = int64s(call_address, CALL_FIELDS)
    k = call[CallField.K]
    sort_best_first(floats(call[CallField.SCORES], k), int64s(call[CallField.ROWS], k), call[CallField.SIZE])


@inlined
def _begin(call):
    int64s(call[CallField.COUNTERS], COUNTERS)[:] = 0
    call[CallField.SIZE] = call[CallField.WAITING] = 0
    call[CallField.FIRST_VISIT], call[CallField.LAST_VISIT] = 0, call[CallField.VISITS]
    call[CallField.SETTLED], call[CallField.NEAR] = 0, 0


@kernel
def fetch_nearest(model_address, shard_address, call_address):
    """Ask for the codes of the partition that is visited first."""
    model, call = int64s(model_address, MODEL_FIELDS), int64s(call_address, CALL_FIELDS)
    shard = int64s(shard_address, SHARD_FIELDS)
    own, width = shard[ShardField.PARTITIONS], model[ModelField.FIRST_BYTES] * 32
    if call[CallField.ORDERED] == 0:
        return
    local = int32s(call[CallField.ORDER], model[ModelField.PARTITIONS])[0] - shard[ShardField.FIRST_PARTITION]
    if 0 <= local < own:
        start = int64s(shard[ShardField.BLOCK_STARTS], own)[local]
        blocks = (int64s(shard[ShardField.ROW_COUNTS], own)[local] + 31) // 32
        codes = byte_rows(shard[ShardField.FIRST_CODES], shard[ShardField.BLOCKS], width)
        fetch_blocks(codes, start, start + min(blocks, AHEAD // width + 1))


@kernel
def search_shard(model_address, shard_address, call_address):
    """Plan a query, search all its visits in the only shard of an index, and sort."""
    plan_visits(model_address, call_address)
    fetch_nearest(model_address, shard_address, call_address)
    plan_tables(model_address, call_address)
    _begin(int64s(call_address, CALL_FIELDS))
    scan_nearest(model_address, shard_address, call_address)
    list_rest(model_address, shard_address, call_address)
    scan_rest(model_address, shard_address, call_address)
    finish(call_address)


@kernel
def search_batch(model_address, shard_address, calls_address, count):
    """`search_shard` for several queries, which share one pass over the codes of what is left after the nearest.

    Answers are those of `search_shard`: each query visits the same partitions in the same order. A partition's codes stay
    in the nearest cache while all queries that want it scan them.
    """
    calls, shard = int64s(calls_address, count), int64s(shard_address, SHARD_FIELDS)
    low, own = shard[ShardField.FIRST_PARTITION], shard[ShardField.PARTITIONS]
    for i in range(count):
        plan_nearest(model_address, calls[i])
        call = int64s(calls[i], CALL_FIELDS)
        _begin(call)
        scan_nearest(model_address, shard_address, calls[i])
        list_rest(model_address, shard_address, calls[i])
        call[CallField.FIRST_VISIT] = 0  # from here on: the place in the rest
    for partition in range(low, low + own):
        fetch = 1  # the codes are near when the second query comes
        for i in range(count):
            call = int64s(calls[i], CALL_FIELDS)
            place = call[CallField.FIRST_VISIT]
            if place < call[CallField.REST_COUNT]:
                listed = call[CallField.REST_COUNT]
                rest = int32s(call[CallField.REST], listed)
                if rest[place] == partition:
                    scan_visits(
                        model_address,
                        shard_address,
                        calls[i],
                        call[CallField.REST],
                        listed,
                        place,
                        place + 1,
                        0,
                        0,
                        fetch,
                    )
                    fetch = 0
                    call[CallField.FIRST_VISIT] = place + 1
    for i in range(count):
        rerank_rest(model_address, shard_address, calls[i])
        finish(calls[i])
