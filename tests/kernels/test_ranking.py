"""Scores and gradients of listed rows against the same in NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsearch.kernels.scan.ranking import rank_gradients, score_rows


@given(many=st.integers(1, 9), width=st.integers(1, 5), queries=st.integers(1, 4), seed=st.integers(0, 999))
def test_scores_and_gradients(many: int, width: int, queries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, partitions, d = 12, 3, many * width

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    codes = rng.integers(0, 16, (rows, many)).astype(np.uint8)
    factors, members = normal(rows), rng.integers(0, partitions, rows).astype(np.int32)
    centroids, coarse, asked = normal(many, 16, width), normal(partitions, d), normal(queries, d)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 5, queries))]).astype(np.int64)
    listed = rng.integers(0, rows, starts[-1])
    of_query = np.repeat(np.arange(queries), np.diff(starts))
    values = centroids[np.arange(many), codes].reshape(rows, d)
    tables = np.einsum("qmw,mcw->qmc", asked.reshape(queries, many, width), centroids).astype(np.float32)
    scores = np.empty(len(listed), np.float32)
    inner = asked @ coarse.T
    score_rows(listed, starts, codes, factors, members, inner, np.ascontiguousarray(tables), scores)
    stored = coarse[members] + factors[:, None] * values
    np.testing.assert_allclose(scores, np.einsum("id,id->i", asked[of_query], stored[listed]), rtol=1e-3, atol=1e-3)
    weights = normal(len(listed)) * rng.integers(0, 2, len(listed)).astype(np.float32)
    by_partition, by_query = np.zeros((queries, partitions), np.float32), np.zeros_like(asked)
    by_centroid = np.zeros_like(centroids)
    rank_gradients(
        listed, starts, weights, codes, factors, members, asked, centroids, by_partition, by_query, by_centroid
    )
    expected_partition, expected_query = np.zeros((queries, partitions)), np.zeros((queries, d))
    expected_centroid = np.zeros(centroids.shape)
    for weight, row, q in zip(weights, listed, of_query, strict=True):
        expected_partition[q, members[row]] += weight
        expected_query[q] += weight * factors[row] * values[row]
        parts = asked[q].reshape(many, width)
        expected_centroid[np.arange(many), codes[row]] += weight * factors[row] * parts
    np.testing.assert_allclose(by_partition, expected_partition, atol=1e-4)
    np.testing.assert_allclose(by_query, expected_query, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(by_centroid, expected_centroid, rtol=1e-3, atol=1e-3)
