"""Inner products of a query with all centroids in 8-bit integers, for routing.

Centroids have 7-bit codes and the query signed 8-bit codes, so that the integer results are the same on every
processor.
"""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import SEVERAL, TOGETHER
from vsearch.kernels.query.products import dot_bytes, dot_bytes_of_several
from vsearch.kernels.toolchain.compiling import inlined, summing_part

LARGEST_CODE = 127


@inlined
def quantize_query(query, codes):
    """Round a query, float32 (d,), to int8 codes (>= d,), padded with zeros; return the step."""
    largest = np.float32(0.0)
    for j in range(query.shape[0]):
        largest = max(largest, abs(query[j]))
    step = largest / np.float32(LARGEST_CODE)
    inverse = np.float32(1.0) / step if step > np.float32(0.0) else np.float32(0.0)
    if not np.isfinite(inverse):  # a query of negligible norm
        inverse = np.float32(0.0)
    for j in range(query.shape[0]):
        value = query[j] * inverse
        codes[j] = np.int8(np.int32(value + np.float32(128.5)) - np.int32(128))
    for j in range(query.shape[0], codes.shape[0]):
        codes[j] = 0
    return step


@summing_part
def score_centroids(groups, steps, lows, query, codes, sums, inner):
    """Approximate the inner products of a query with all centroids. Reads O(partitions * d) bytes.

    Parameters
    ----------
    groups : uint8 (groups, 64 * D)
    steps, lows : float32 (partitions,)
        A centroid is approximately ``low + step * code``.
    query : float32 (d,)
    codes : int8 (D,)
        Scratch.
    sums : int32 (64,)
        Scratch.
    inner : float32 (partitions,)
        Output.
    """
    step, total = encode_query(query, codes)
    score_groups(groups, steps, lows, step, total, codes, sums, inner)


@inlined
def encode_query(query, codes):
    """Quantize a query, and return the step and the sum of its elements, as `score_groups` takes them."""
    step = quantize_query(query, codes)
    total = np.float32(0.0)
    for j in range(query.shape[0]):
        total += query[j]
    return step, total


@inlined
def score_groups(groups, steps, lows, step, total, codes, sums, inner):
    """`score_centroids` for a query that `encode_query` encoded."""
    for at in range(groups.shape[0]):
        dot_bytes(groups, at, codes, sums)
        _set_products(at, steps, lows, step, total, sums, inner)


@summing_part
def _set_products(at, steps, lows, step, total, sums, inner):
    first = at * TOGETHER
    for c in range(min(TOGETHER, inner.shape[0] - first)):
        inner[first + c] = lows[first + c] * total + step * steps[first + c] * np.float32(sums[c])


@inlined
def score_centroids_of_several(groups, steps, lows, codes, query_steps, totals, sums, inner):
    """`score_centroids` for SEVERAL queries that `encode_query` encoded, reading the centroids once.

    `codes` is int8 (SEVERAL, D), `query_steps` and `totals`, float32 (SEVERAL,), are its results, `sums` is int32 (SEVERAL, 64), and
    `inner` float32 (SEVERAL, partitions).
    """
    for at in range(groups.shape[0]):
        dot_bytes_of_several(groups, at, codes, sums)
        for i in range(SEVERAL):
            _set_products(at, steps, lows, query_steps[i], totals[i], sums[i], inner[i])
