"""The multi-stage search of partitions for one query, over all runs that have rows of them.

Partitions are visited in the given order; those whose bound cannot reach the k-th best score so far are skipped. In
each partition the codes are scanned block by block, rows whose upper bound cannot reach that score are dropped, and the
survivors are refined and reranked.

A run may have copies: codes of its rows in a second partition each (see `copies`). They are scanned like rows, and
survivors stand for the row that they are copies of, which is reranked once.

A row's estimated score is ``base + gain * <query, residual> - offset``: base is the base score of the partition, gain
is 1 for inner product and cosine and 2 for (negated) squared distance, and offset is 0 except for squared distance. If
partitions are far from the mean, rerank scores are computed from differences instead (see `rerank`).
"""

# ruff: noqa: ARG001  the arguments of an intrinsic are only its type
from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vsearch.kernels.query.copies import is_seen, mark_seen, partition_of
from vsearch.kernels.query.fields import PENDING, REFINED, RERANK_NONE, SCANNED, VISITED, FloatField
from vsearch.kernels.query.prefetching import (
    AHEAD,
    fetch_blocks,
    fetch_centroid,
    fetch_factors,
    fetch_rerank,
    fetch_run,
)
from vsearch.kernels.query.rerank import LEAST, rerank_waiting
from vsearch.kernels.query.route import exact_centroid_score
from vsearch.kernels.query.unread import is_read, list_partition, list_row
from vsearch.kernels.query.views import run_at, shard_at
from vsearch.kernels.scan.byte_codes import good_bytes, sum_bytes
from vsearch.kernels.scan.dot_products import half_to_float
from vsearch.kernels.scan.nibbles import good_lanes, sum_nibbles
from vsearch.kernels.scan.topk import push
from vsearch.kernels.toolchain.compiling import inlined, part
from vsearch.kernels.toolchain.memory import prefetch

TIGHT = np.float32(0.02)  # of a partition's radius: largest error of an approximate centroid product in a scan
ENOUGH = 8  # number of pending rows from which they are reranked at the end of a partition


@inlined
def mask_bits(mask, first, count):
    """Return `count` bits (at most 32) from bit `first` of a bitmap of uint64 words, lowest bit first."""
    word, shift = first >> 6, first & 63
    bits = mask[word] >> np.uint64(shift)
    if shift + count > 64:
        bits |= mask[word + 1] << np.uint64(64 - shift)
    return bits & ((np.uint64(1) << np.uint64(count)) - np.uint64(1))


@intrinsic
def trailing_zeros(typingctx, value):
    """Return the position of the lowest set bit of a uint64 that is not 0, as int64."""

    def codegen(context, b, signature, args):
        return b.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@inlined
def sum_code(first_codes, later_codes, at, lane, tables, byte_tables):
    """Return the table sum of one lane of block `at` over all stages."""
    if byte_tables.shape[0] > 0:
        return sum_bytes(first_codes[at], lane, byte_tables)
    total = sum_nibbles(first_codes[at], lane, tables)
    if later_codes.shape[1] > 0:
        total += sum_nibbles(later_codes[at], lane, tables[2 * (first_codes.shape[1] // 32) :])
    return total


@inlined
def scan_partition(
    model, address, shard, call, partition, fetch, next_codes, following, following_blocks, waiting, size
):
    """Scan a run's rows of a partition, then refine and rerank the survivors; return the numbers of pending rows and hits.

    Parameters
    ----------
    address : int
        Of the block of the run, or of its copies; `shard` has its data.
    fetch : bool
        Whether to prefetch codes, including the `following_blocks` blocks of `next_codes` from `following` on, which are
        scanned next.
    waiting, size : int
        Number of rows already pending, and of entries of the heap.
    """
    run = run_at(address)
    local = partition - shard.first_partition
    stages, kind, numbers = model.stages, model.rerank_kind, call.floats
    centroids, half_centroids = model.centroids, model.half_centroids
    stage_scales, last_margin = model.stage_scales, numbers[FloatField.LAST_MARGIN]
    squared, exhaustive = model.squared != 0, call.exact != 0
    first_codes, later_codes = shard.first_codes, shard.later_codes
    copied, owner_address = run.owner != 0, run.owner if run.owner != 0 else address
    owner_run = run_at(owner_address)
    owner, positions, seen = shard_at(owner_run.shard), shard.positions, call.seen
    factors, offsets, rerank_scales = shard.factors, shard.offsets, owner.rerank_scales
    near = shard.first_factors if stages == 2 else factors
    codes, halves, floats = owner.rerank_bytes, owner.rerank_halves, owner.rerank_floats
    tables, byte_tables, sums = call.tables, call.byte_tables, call.sums
    rounded, expanded, mask, first = call.rounded, call.expanded, owner_run.mask, owner_run.first_row
    scores, rows_found, k = call.scores, call.rows, call.k
    pending, pending_scales, counters = call.pending, call.pending_scales, call.counters
    masked, by_bytes, unread = mask.shape[0] > 0, byte_tables.shape[0] > 0, call.unread != 0
    once = seen.shape[0] > 0 and not exhaustive
    gain = np.float32(2.0) if squared else np.float32(1.0)
    refined = kind == RERANK_NONE or (stages == 2 and not exhaustive)
    ahead = max(AHEAD // first_codes.shape[1], 1)
    threshold = scores[0] if size == k else LEAST
    base = call.centroid_scores[partition]
    if refined or (not exhaustive and model.centroid_rounding_bounds[partition] > TIGHT * model.radii[partition]):
        base = exact_centroid_score(call.rotated, centroids, half_centroids, squared, partition)
    counters[VISITED] += np.int64(not copied)
    row_start, rows, block_start = shard.row_starts[local], shard.row_counts[local], shard.block_starts[local]
    factor_scale = shard.factor_scales[local]
    near_scale = gain * (shard.first_factor_scales[local] if stages == 2 else factor_scale)
    slope = near_scale * stage_scales[0] * numbers[FloatField.STEP]
    intercept = near_scale * (stage_scales[0] * numbers[FloatField.BIAS] + numbers[FloatField.FIRST_MARGIN])
    rerank_gain = np.float32(1.0) if model.differences != 0 else gain
    rerank_scale = owner.rerank_partition_scales[local] * rerank_gain
    fetched = False
    blocks = (rows + 31) // 32
    for block in range(blocks):
        first_row = row_start + block * 32
        count = min(rows - block * 32, 32)
        every = (np.uint64(1) << np.uint64(count)) - np.uint64(1)
        present = mask_bits(mask, first_row, count) if masked and not copied else every
        at = block_start + block
        if fetch:  # a little at a time: more would fill the memory queue and stall the scan
            if block + ahead < blocks:
                fetch_blocks(first_codes, at + ahead, at + ahead + 1)
            rest = block + 1 == blocks or following_blocks <= block
            until = following_blocks if rest else np.int64(block + 1)
            fetch_blocks(next_codes, following + block, following + until)
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
                owned = row
                if copied:
                    owned = np.int64(positions[row])
                    if masked and (mask[owned >> 6] >> np.uint64(owned & 63)) & np.uint64(1) == np.uint64(0):
                        continue
                if once and is_seen(seen, first + owned):
                    continue
                if refined:
                    counters[REFINED] += 1
                    offset = offsets[row] if offsets.shape[0] > 0 else np.float32(0.0)
                    factor = half_to_float(factors[row]) * factor_scale
                    total = sum_code(first_codes, later_codes, at, lane, tables, byte_tables)
                    total *= stage_scales[stages - 1]
                    if kind == RERANK_NONE:
                        score = base + gain * factor * total - offset
                        if score >= threshold:
                            size = push(scores, rows_found, size, score, first + row)
                            if size == k:
                                threshold = scores[0]
                        continue
                    if base + gain * factor * (total + last_margin) - offset < threshold:
                        continue
                if once:
                    mark_seen(call, seen, first + owned)
                place = partition_of(owner.row_starts, owned) if copied else local
                if unread and not is_read(owner_run, place, owned):
                    offset = offsets[row] if offsets.shape[0] > 0 else np.float32(0.0)
                    factor = half_to_float(factors[row]) * factor_scale
                    total = sum_code(first_codes, later_codes, at, lane, tables, byte_tables)
                    score = (
                        base
                        + gain
                        * factor
                        * (total * stage_scales[stages - 1] + numbers[FloatField.OPTIMISM] * last_margin)
                        - offset
                    )
                    size = list_row(call, owner_address, owned, first + owned, score, size)
                    if size == k:
                        threshold = scores[0]
                    continue
                fetch_rerank(kind, codes, halves, floats, owned)
                prefetch(rerank_scales, 2 * owned)
                own_partition = owner.first_partition + place
                if copied:
                    rerank_scale = owner.rerank_partition_scales[place] * rerank_gain
                if not fetched:
                    fetched = not copied  # copies in a partition are of rows in several others
                    fetch_centroid(centroids, half_centroids, own_partition)
                pending[0, waiting], pending[1, waiting], pending[2, waiting] = owned, own_partition, owner_address
                pending_scales[waiting] = rerank_scale
                waiting += 1
        # A block adds at most 32 rows. Before there are k rows there is no threshold, so candidates are reranked at
        # once.
        enough = ENOUGH if block + 1 == blocks else PENDING - 31
        if waiting >= enough or size < k:
            size = rerank_waiting(model, call, waiting, size)
            waiting = 0
            threshold = scores[0] if size == k else LEAST
    return waiting, size


@inlined
def may_reach(run, call, partition, local, threshold):
    """Return whether a run may have a row of a partition that scores `threshold`, if the partition may.

    A later run has few rows of a partition, and these rarely reach as far as the farthest of all its rows. With a filter,
    they may be the only rows that pass.
    """
    reaches = run.reaches
    if reaches.shape[0] == 0 or call.filtered != 0:
        return True
    base = call.centroid_scores[partition]
    return not base + reaches[local] * (call.upper_bounds[partition] - base) < threshold


@part
def search_partitions(model, runs, call, order, first, last, min_probes, descending, fetch):
    """Search the visited partitions into the heap of the call; return the visit before which it stopped.

    With `CallField.UNREAD` it lists what is not read yet: see `unread`.

    Candidates stay pending while their rerank codes are prefetched, some until after this call: see `rerank_waiting`.

    Parameters
    ----------
    model, runs, call
        See `views`.
    order : int32 (n,)
        Partitions in visiting order; entries `first` to `last` are visited now.
    min_probes : int
        Number of leading entries of `order` that are visited regardless of their bounds.
    descending : bool
        Whether the bounds approximately descend in `order`: then the first partition that cannot reach the k-th best score
        ends the search; otherwise it is skipped.
    fetch : bool
        Whether to prefetch codes; pointless if they are in the cache already.
    """
    upper_bounds, scores, k = call.upper_bounds, call.scores, call.k
    owners, addresses = runs.owners, runs.runs
    first_partition, partition_count = runs.first_partition, runs.partitions
    fetch = fetch and call.exact == 0
    size, waiting, reached = call.size, call.waiting, last
    for visit in range(first, last):
        partition = np.int64(order[visit])
        if partition < first_partition or partition >= first_partition + partition_count:
            continue
        threshold = scores[0] if size == k else LEAST
        bounded = visit >= min_probes
        if bounded and upper_bounds[partition] < threshold:
            if descending:
                reached = visit
                break
            continue
        position = np.int64(owners[partition - first_partition])
        end = run_at(addresses[position]).end
        following_position = np.int64(-1)
        if fetch:
            for later in range(position + 1, end):
                run = run_at(addresses[later])
                shard = shard_at(run.shard)
                local = partition - shard.first_partition
                if not bounded or may_reach(run, call, partition, local, threshold):
                    fetch_run(shard, local, model.stages)
            next_partition = np.int64(order[visit + 1]) if visit + 1 < order.shape[0] else np.int64(-1)
            if first_partition <= next_partition < first_partition + partition_count:
                following_position = np.int64(owners[next_partition - first_partition])
        while position < end:
            address = addresses[position]
            run = run_at(address)
            shard = shard_at(run.shard)
            position += 1
            if shard.row_counts[partition - shard.first_partition] == 0:
                continue  # a run may have no rows of a partition
            if run.owner != 0 and call.exact != 0:
                continue
            if call.unread != 0 and run.read[partition - shard.first_partition] == 0:
                list_partition(call, partition)
                continue
            reached_so_far = scores[0] if size == k else LEAST
            if bounded and not may_reach(run, call, partition, partition - shard.first_partition, reached_so_far):
                continue
            next_codes, following, following_blocks = shard.first_codes, np.int64(0), np.int64(0)
            if following_position >= 0:  # during the first run: scans of later runs are too short to hide the latency
                following_shard = shard_at(run_at(addresses[following_position]).shard)
                local = next_partition - following_shard.first_partition
                fetch_factors(following_shard, local, model.stages)
                next_codes, following = following_shard.first_codes, following_shard.block_starts[local]
                ahead = max(AHEAD // following_shard.first_width, 1)
                following_blocks = np.int64(min((following_shard.row_counts[local] + 31) // 32, ahead))
                following_position = np.int64(-1)
            waiting, size = scan_partition(
                model,
                address,
                shard,
                call,
                partition,
                fetch,
                next_codes,
                following,
                following_blocks,
                waiting,
                size,
            )
    call.size, call.waiting = size, waiting
    return reached
