"""Scores of stored rows and their gradients, for training PQ centroids and the query encoder."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.toolchain.compiling import kernel


@kernel
def score_rows(rows, starts, codes, factors, partitions, inner, tables, scores):
    """Compute the scores ``<query, centroid of the row's partition> + factor * (table sum)`` of listed rows.

    Parameters
    ----------
    rows : int64 (n,)
        Rows of `codes`, `factors` and `partitions`, query by query.
    starts : int64 (m + 1,)
        Entries ``starts[q]`` to ``starts[q + 1]`` belong to query q.
    codes : uint8 (r, subquantizers)
    factors : float32 (r,)
    partitions : int32 (r,)
    inner : float32 (m, partitions)
        Inner products of each query with the partition centroids.
    tables : float32 (m, subquantizers, c)
        Inner products of each query's parts with the PQ centroids.
    scores : float32 (n,)
        Output.
    """
    for q in range(inner.shape[0]):
        for i in range(starts[q], starts[q + 1]):
            row = rows[i]
            total = np.float32(0.0)
            for m in range(codes.shape[1]):
                total += tables[q, m, codes[row, m]]
            scores[i] = inner[q, partitions[row]] + factors[row] * total


@kernel
def rank_gradients(
    rows,
    starts,
    weights,
    codes,
    factors,
    partitions,
    queries,
    centroids,
    partition_gradients,
    query_gradients,
    centroid_gradients,
):
    """Accumulate the gradients of ``sum_i weights[i] * (score i of score_rows)``.

    Parameters
    ----------
    rows, starts, codes, factors, partitions
        As in `score_rows`.
    weights : float32 (n,)
    queries : float32 (m, d)
    centroids : float32 (subquantizers, c, d / subquantizers)
    partition_gradients : float32 (m, partitions)
        Incremented by the gradient with respect to ``inner``.
    query_gradients : float32 (m, d)
        Incremented by the gradient with respect to the queries through the tables, but not through ``inner``.
    centroid_gradients : float32 (subquantizers, c, d / subquantizers)
        Incremented by the gradient with respect to the centroids.
    """
    parts, _, width = centroids.shape
    for q in range(queries.shape[0]):
        for i in range(starts[q], starts[q + 1]):
            weight = weights[i]
            if weight == np.float32(0.0):
                continue
            row = rows[i]
            partition_gradients[q, partitions[row]] += weight
            scaled = weight * factors[row]
            for m in range(parts):
                code = codes[row, m]
                for j in range(width):
                    query_gradients[q, m * width + j] += scaled * centroids[m, code, j]
                    centroid_gradients[m, code, j] += scaled * queries[q, m * width + j]
