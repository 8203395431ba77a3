"""The multi-level search of one shard for one query.

Partitions are visited in the order given; in each one the codes are scanned block by block, rows whose upper bound
cannot reach the k-th best score so far are dropped, survivors are refined and reranked. So are whole partitions whose own
bound cannot reach it.

A row's estimated score is ``base + gain * <query, residual> - offset``: base is the partition's share, gain is 1 for inner
product and cosine and 2 for (negated) squared distance, and offset is 0 except for squared distance. Where
partitions lie far from the mean, rerank scores are ``-|query - centroid - residual|^2`` instead, which loses no digits.
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.query.fields import (
    PENDING,
    REFINED,
    RERANK_HALF,
    RERANK_INT8,
    RERANK_NONE,
    RERANKED,
    SCANNED,
    VISITED,
)
from vsearch.kernels.query.route import exact_base
from vsearch.kernels.scan.byte_codes import good_bytes, sum_bytes
from vsearch.kernels.scan.dot_products import (
    distance_to_float,
    distance_to_half,
    distance_to_int8,
    dot_float,
    dot_half,
    dot_int8,
    half_to_float,
    subtract_centroid,
)
from vsearch.kernels.scan.nibbles import good_lanes, sum_nibbles
from vsearch.kernels.scan.topk import push
from vsearch.kernels.toolchain.compiling import inlined, kernel
from vsearch.kernels.toolchain.memory import prefetch

LINE = 64  # bytes that come from memory together
AHEAD = 8192  # bytes of codes, of this partition and the next, that are asked for before they are scanned
TIGHT = np.float32(0.02)  # of a partition's radius: centroids that may be off by more are not near enough to scan by
LEAST = np.float32(np.finfo(np.float32).min)  # what rows are compared with until there are k
ENOUGH = 8  # rows that wait at the end of a partition are reranked if they are so many


@inlined
def mask_bits(mask, first, count):
    """Bits `first` to ``first + count`` (at most 32) of a bitmap of uint64 words, lowest bit first."""
    word, shift = first >> 6, first & 63
    bits = mask[word] >> np.uint64(shift)
    if shift + count > 64:
        bits |= mask[word + 1] << np.uint64(64 - shift)
    return bits & ((np.uint64(1) << np.uint64(count)) - np.uint64(1))


@intrinsic
def trailing_zeros(typingctx, value):
    """Number of the lowest bit that is set in a uint64 (not 0), as int64."""

    def codegen(context, b, signature, args):
        return b.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@inlined
def fetch_rerank(kind, rerank_bytes, rerank_halves, rerank_floats, row):
    """Ask for a row's rerank codes before they are needed."""
    d = rerank_bytes.shape[1]
    for at in range(0, d if kind == RERANK_INT8 else 2 * d if kind == RERANK_HALF else 4 * d, LINE):
        if kind == RERANK_INT8:
            prefetch(rerank_bytes, row * d + at)
        elif kind == RERANK_HALF:
            prefetch(rerank_halves, 2 * row * d + at)
        else:
            prefetch(rerank_floats, 4 * row * d + at)


@inlined
def fetch_factors(local, row_starts, row_counts, first_codes, near, offsets):
    """Ask for the factors that a visit begins with; the rest follows by itself."""
    row = row_starts[local]
    rows = min(row_counts[local], 32 * AHEAD // first_codes.shape[1] + 32)
    for at in range(0, 2 * rows + LINE, LINE):
        prefetch(near, 2 * row + at)
    if offsets.shape[0] > 0:
        for at in range(0, 4 * rows + LINE, LINE):
            prefetch(offsets, 4 * row + at)


@inlined
def fetch_blocks(first_codes, start, stop):
    """Ask for the first codes of some blocks."""
    width = first_codes.shape[1]
    for at in range(start * width, stop * width, LINE):
        prefetch(first_codes, at)


@inlined
def fetch_centroid(centroids, half_centroids, partition):
    """Ask for a centroid."""
    if half_centroids.shape[0] > 0:
        width = 2 * half_centroids.shape[1]
        for at in range(0, width, LINE):
            prefetch(half_centroids, partition * width + at)
    else:
        width = 4 * centroids.shape[1]
        for at in range(0, width, LINE):
            prefetch(centroids, partition * width + at)


@inlined
def rerank_dot(kind, query, rerank_bytes, rerank_halves, rerank_floats, row):
    """Inner product of the rerank query with a row's codes."""
    if kind == RERANK_INT8:
        return dot_int8(query, rerank_bytes[row])
    if kind == RERANK_HALF:
        return dot_half(query, rerank_halves[row])
    return dot_float(query, rerank_floats[row])


@inlined
def rerank_distance(kind, offset, weights, rerank_bytes, rerank_halves, rerank_floats, row, scale):
    """Squared distance of a row's codes, in units of `scale`, to the query's offset from the centroid."""
    if kind == RERANK_INT8:
        return distance_to_int8(offset, weights, rerank_bytes[row], scale)
    if kind == RERANK_HALF:
        return distance_to_half(offset, rerank_halves[row], scale)
    return distance_to_float(offset, rerank_floats[row], scale)


@inlined
def rerank_waiting(
    waiting,
    pending,
    pending_scales,
    query,
    centroids,
    half_centroids,
    squared,
    differences,
    rerank_query,
    rerank_weights,
    offsets,
    rerank_kind,
    rerank_bytes,
    rerank_halves,
    rerank_floats,
    rerank_scales,
    heap_scores,
    heap_rows,
    size,
    counters,
):
    """Rerank the first `waiting` rows of `pending`; returns the new heap size. See `search_partitions`."""
    k = heap_scores.shape[0]
    threshold = heap_scores[0] if size == k else LEAST
    counters[RERANKED] += waiting
    base, last = np.float32(0.0), np.int64(-1)
    for i in range(waiting):
        row, partition = pending[0, i], pending[1, i]
        scale = half_to_float(rerank_scales[row]) * pending_scales[i]
        if differences:
            if partition != last:
                subtract_centroid(query, centroids, half_centroids, partition, rerank_query)
                last = partition
            score = -rerank_distance(
                rerank_kind, rerank_query, rerank_weights, rerank_bytes, rerank_halves, rerank_floats, row, scale
            )
        else:
            if partition != last:
                base = exact_base(query, centroids, half_centroids, squared, partition)
                last = partition
            dot = rerank_dot(rerank_kind, rerank_query, rerank_bytes, rerank_halves, rerank_floats, row)
            offset = offsets[row] if offsets.shape[0] > 0 else np.float32(0.0)
            score = base + scale * dot - offset
        if score >= threshold:
            size = push(heap_scores, heap_rows, size, score, row)
            if size == k:
                threshold = heap_scores[0]
    return size


@kernel
def search_partitions(
    query,
    centroids,
    half_centroids,
    squared,
    differences,
    rerank_query,
    rerank_weights,
    order,
    first_visit,
    last_visit,
    bases,
    bounds,
    forced,
    descending,
    fetch,
    first_partition,
    exhaustive,
    centroid_slacks,
    radii,
    row_starts,
    row_counts,
    block_starts,
    first_codes,
    later_codes,
    tables,
    byte_tables,
    sums,
    rounded,
    expanded,
    step,
    bias,
    factors,
    factor_scales,
    first_factors,
    first_factor_scales,
    stage_scales,
    first_margin,
    last_margin,
    offsets,
    rerank_kind,
    rerank_bytes,
    rerank_halves,
    rerank_floats,
    rerank_scales,
    rerank_partition_scales,
    mask,
    heap_scores,
    heap_rows,
    size,
    waiting,
    pending,
    pending_scales,
    counters,
):
    """Search those of the visited partitions that a shard holds.

    Returns the new heap size, how many rows wait, and the visit that it ended before.

    Candidates wait for their rerank codes to come from memory, some of them until after the call: see `rerank_waiting`.

    Parameters
    ----------
    query : float32 (d,)
        Rotated.
    centroids, half_centroids : float32 (partitions, d), or (0, d) where uint16 (partitions, d) has them in float16
        Rotated; a base score is worked out in full where rows are scored, else `bases` are near enough.
    squared : bool
        Whether scores are negated squared distances.
    differences : bool
        Whether reranked ones are made of differences.
    rerank_query, rerank_weights : float32 (d,)
        The query, times the weights of int8 rerank codes, and these; scratch with `differences`: the query less a centroid.
    order : int32 (partitions,)
        Partitions in visiting order; entries `first_visit` to `last_visit` are visited now, the others perhaps later.
    bases, bounds : float32 (partitions,)
        By partition: about the base score, and an upper bound of the rows' scores.
    forced : int
        The first so many of `order` are visited whatever the bounds say.
    descending : bool
        Whether the bounds about descend in `order`: then the shard's first that cannot reach the k-th best score ends the
        search, otherwise it is passed over.
    fetch : bool
        Whether to ask for codes ahead: where they are near already that only costs time.
    first_partition : int
        The shard's first partition; it holds ``len(row_starts)`` of them, others are passed over.
    exhaustive : bool
        Rerank every row that the mask lets pass, without a scan.
    centroid_slacks, radii : float32 (partitions,)
        How far rounding may move a centroid, and how far rows lie from it; only those of the shard's partitions are read.
    row_starts, row_counts, block_starts : int64 (shard partitions,)
        First row, number of rows and first block of each partition in the shard.
    first_codes, later_codes : uint8 (blocks, bytes * 32)
        Codes of the first stage and of the rest; the rest has zero width where there is one stage.
    tables : float32 (nibbles, 16)
        Tables of the whole code; `rounded` uint8 (nibbles, 16) are those of the first stage rounded, `expanded` the same
        as registers take them, `step` and `bias` map a sum of rounded entries back.
    byte_tables : float32 (bytes, 256) or (0, 256)
        Tables of byte codes, which then stand in for `tables` and are not rounded; `sums` float32 (32,) is scratch for them.
    factors, first_factors : uint16 (rows,)
        Float16 factors relative to `factor_scales`, `first_factor_scales` float32 (shard partitions,).
    stage_scales : float32 (stages,)
        Calibration of a stage's estimate; `first_margin`, `last_margin` are the allowed errors of the table sums.
    offsets : float32 (rows,) or (0,)
        Offsets of squared distances.
    rerank_kind : int
        Which of `rerank_bytes` int8, `rerank_halves` uint16, `rerank_floats` float32 (rows, d) holds rerank codes.
    mask : uint64 (words,) or (0,)
        Rows that may be returned; empty for all.
    heap_scores, heap_rows : float32 (k,), int64 (k,)
        The heap, holding `size` entries.
    waiting : int
        Rows that wait from before.
    pending, pending_scales : int64 (2, PENDING), float32 (PENDING,)
        Rows that wait and their partitions, and what their scales are relative to.
    counters : int64 (COUNTERS,)
        Added to: partitions visited, rows scanned, refined and reranked.
    """
    stages = stage_scales.shape[0]
    first_pairs = first_codes.shape[1] // 32
    masked = mask.shape[0] > 0
    by_bytes = byte_tables.shape[0] > 0
    near = first_factors if stages == 2 else factors
    k = heap_scores.shape[0]
    gain = np.float32(2.0) if squared else np.float32(1.0)
    refined = rerank_kind == RERANK_NONE or (stages == 2 and not exhaustive)
    fetched = np.int64(-1)
    ahead = max(AHEAD // first_codes.shape[1], 1)
    threshold = heap_scores[0] if size == k else LEAST
    for visit in range(first_visit, last_visit):
        partition = np.int64(order[visit])
        local = partition - first_partition
        if local < 0 or local >= row_starts.shape[0]:
            continue  # before its bound is looked at: bounds descend not quite, and a shard must not heed others'
        if visit >= forced and bounds[partition] < threshold:
            if descending:
                return size, waiting, visit
            continue
        following = following_blocks = np.int64(0)
        if fetch and visit + 1 < order.shape[0] and not exhaustive:
            next_local = np.int64(order[visit + 1]) - first_partition
            if 0 <= next_local < row_starts.shape[0]:
                fetch_factors(next_local, row_starts, row_counts, first_codes, near, offsets)
                following = block_starts[next_local]
                following_blocks = np.int64(min((row_counts[next_local] + 31) // 32, ahead))
        base = bases[partition]
        if refined or (not exhaustive and centroid_slacks[partition] > TIGHT * radii[partition]):
            base = exact_base(query, centroids, half_centroids, squared, partition)
        counters[VISITED] += 1
        row_start = row_starts[local]
        rows = row_counts[local]
        factor_scale = factor_scales[local]
        near_scale = gain * (first_factor_scales[local] if stages == 2 else factor_scale)
        slope = near_scale * stage_scales[0] * step
        intercept = near_scale * (stage_scales[0] * bias + first_margin)
        rerank_scale = rerank_partition_scales[local] * (np.float32(1.0) if differences else gain)
        blocks = (rows + 31) // 32
        for block in range(blocks):
            first_row = row_start + block * 32
            count = min(rows - block * 32, 32)
            present = mask_bits(mask, first_row, count) if masked else (np.uint64(1) << np.uint64(count)) - np.uint64(1)
            at = block_starts[local] + block
            if fetch and not exhaustive:  # a little at a time: more would fill the queue and hold the scan up
                if block + ahead < blocks:
                    fetch_blocks(first_codes, at + ahead, at + ahead + 1)
                rest = block + 1 == blocks or following_blocks <= block
                until = following_blocks if rest else np.int64(block + 1)
                fetch_blocks(first_codes, following + block, following + until)
            if present != np.uint64(0):
                if not exhaustive:
                    counters[SCANNED] += count
                    least = threshold - base
                    if by_bytes:
                        present &= good_bytes(
                            first_codes[at], byte_tables, sums, near, offsets, first_row, count, slope, intercept, least
                        )
                    else:
                        present &= good_lanes(
                            first_codes, at, rounded, expanded, near, offsets, first_row, count, slope, intercept, least
                        )
                while present != np.uint64(0):
                    lane = trailing_zeros(present)
                    present &= present - np.uint64(1)
                    row = first_row + lane
                    if refined:
                        counters[REFINED] += 1
                        offset = offsets[row] if offsets.shape[0] > 0 else np.float32(0.0)
                        factor = half_to_float(factors[row]) * factor_scale
                        if by_bytes:
                            total = sum_bytes(first_codes[at], lane, byte_tables)
                        else:
                            total = sum_nibbles(first_codes[at], lane, tables)
                        if stages == 2:
                            total += sum_nibbles(later_codes[at], lane, tables[2 * first_pairs :])
                        total *= stage_scales[stages - 1]
                        if rerank_kind == RERANK_NONE:
                            score = base + gain * factor * total - offset
                            if score >= threshold:
                                size = push(heap_scores, heap_rows, size, score, row)
                                if size == k:
                                    threshold = heap_scores[0]
                            continue
                        if base + gain * factor * (total + last_margin) - offset < threshold:
                            continue
                    fetch_rerank(rerank_kind, rerank_bytes, rerank_halves, rerank_floats, row)
                    prefetch(rerank_scales, 2 * row)
                    if fetched != partition:
                        fetched = partition
                        fetch_centroid(centroids, half_centroids, partition)
                    pending[0, waiting], pending[1, waiting] = row, partition
                    pending_scales[waiting] = rerank_scale
                    waiting += 1
            # a block adds at most 32; without k rows there is no threshold yet, and every candidate less is worth the wait
            enough = ENOUGH if block + 1 == blocks else PENDING - 31
            if waiting >= enough or size < k:
                size = rerank_waiting(
                    waiting,
                    pending,
                    pending_scales,
                    query,
                    centroids,
                    half_centroids,
                    squared,
                    differences,
                    rerank_query,
                    rerank_weights,
                    offsets,
                    rerank_kind,
                    rerank_bytes,
                    rerank_halves,
                    rerank_floats,
                    rerank_scales,
                    heap_scores,
                    heap_rows,
                    size,
                    counters,
                )
                waiting = 0
                threshold = heap_scores[0] if size == k else LEAST
    return size, waiting, last_visit
