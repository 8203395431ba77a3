"""Rerank: score candidates by their rerank codes, and push them to the heap.

If partitions are far from the mean, scores are ``-|query - centroid - residual|^2``, which avoids cancellation.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import RERANK_HALF, RERANK_INT8, RERANKED
from vsearch.kernels.query.route import exact_centroid_score
from vsearch.kernels.query.views import run_at, shard_at
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
from vsearch.kernels.scan.topk import push
from vsearch.kernels.toolchain.compiling import inlined

LEAST = np.float32(np.finfo(np.float32).min)  # the threshold until there are k rows


@inlined
def rerank_dot(kind, query, rerank_bytes, rerank_halves, rerank_floats, row):
    """Return the inner product of the rerank query with a row's codes."""
    if kind == RERANK_INT8:
        return dot_int8(query, rerank_bytes[row])
    if kind == RERANK_HALF:
        return dot_half(query, rerank_halves[row])
    return dot_float(query, rerank_floats[row])


@inlined
def rerank_distance(kind, offset, weights, rerank_bytes, rerank_halves, rerank_floats, row, scale):
    """Return the squared distance of a row's codes, in units of `scale`, to the query's offset from the centroid."""
    if kind == RERANK_INT8:
        return distance_to_int8(offset, weights, rerank_bytes[row], scale)
    if kind == RERANK_HALF:
        return distance_to_half(offset, rerank_halves[row], scale)
    return distance_to_float(offset, rerank_floats[row], scale)


@inlined
def rerank_waiting(model, call, waiting, size):
    """Rerank the first `waiting` pending rows of a call whose heap has `size` entries; return the new size."""
    if waiting == 0:
        return size
    scores, rows, k = call.scores, call.rows, call.k
    pending, pending_scales = call.pending, call.pending_scales
    query, rerank_query, weights = call.rotated, call.rerank_query, model.rerank_weights
    centroids, half_centroids = model.centroids, model.half_centroids
    squared, differences, kind = model.squared != 0, model.differences != 0, model.rerank_kind
    address = pending[2, 0]
    run = run_at(address)
    shard, first = shard_at(run.shard), run.first_row
    offsets, scales = shard.offsets, shard.rerank_scales
    codes, halves, floats = shard.rerank_bytes, shard.rerank_halves, shard.rerank_floats
    threshold = scores[0] if size == k else LEAST
    call.counters[RERANKED] += waiting
    base, last = np.float32(0.0), np.int64(-1)
    for i in range(waiting):
        row, partition = pending[0, i], pending[1, i]
        if pending[2, i] != address:
            address = pending[2, i]
            run = run_at(address)
            shard, first = shard_at(run.shard), run.first_row
            offsets, scales = shard.offsets, shard.rerank_scales
            codes, halves, floats = shard.rerank_bytes, shard.rerank_halves, shard.rerank_floats
        scale = half_to_float(scales[row]) * pending_scales[i]
        if differences:
            if partition != last:
                subtract_centroid(query, centroids, half_centroids, partition, rerank_query)
                last = partition
            score = -rerank_distance(kind, rerank_query, weights, codes, halves, floats, row, scale)
        else:
            if partition != last:
                base = exact_centroid_score(query, centroids, half_centroids, squared, partition)
                last = partition
            dot = rerank_dot(kind, rerank_query, codes, halves, floats, row)
            offset = offsets[row] if offsets.shape[0] > 0 else np.float32(0.0)
            score = base + scale * dot - offset
        if score >= threshold:
            size = push(scores, rows, size, score, first + row)
            if size == k:
                threshold = scores[0]
    return size
