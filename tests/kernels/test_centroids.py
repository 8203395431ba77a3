"""Quantized centroids: their products approximate the exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch.kernels.query.centroids import score_centroids
from vsearch.kernels.query.fields import TOGETHER
from vsearch.search.state.packed_centroids import encode_centroids


@pytest.mark.parametrize(("partitions", "dimensions"), [(1, 1), (3, 17), (64, 64), (130, 384)])
def test_scores_are_near_the_truth(partitions: int, dimensions: int) -> None:
    rng = np.random.default_rng(partitions)
    centroids = (rng.standard_normal((partitions, dimensions)) + 0.1).astype(np.float32)
    query = rng.standard_normal(dimensions).astype(np.float32)
    coarse = encode_centroids(centroids)
    kept = min(coarse.dimensions, dimensions)
    inner = np.empty(partitions, np.float32)
    codes, sums = np.empty(coarse.dimensions, np.int8), np.empty(TOGETHER, np.int32)
    score_centroids(coarse.groups, coarse.steps, coarse.lows, query[:kept], codes, sums, inner)
    rounding = 0.5 * coarse.steps * np.abs(query[:kept]).sum()
    query_rounding = 0.5 / 127 * np.abs(query).max() * np.abs(centroids[:, :kept] - coarse.lows[:, None]).sum(axis=1)
    error = np.abs(inner - centroids[:, :kept] @ query[:kept])
    assert (error <= 1.01 * (rounding + query_rounding) + 1e-4).all()


def test_a_query_of_zeros_and_centroids_without_extent() -> None:
    coarse = encode_centroids(np.repeat(np.array([[0.0], [2.5]], np.float32), 8, axis=1))
    for query, wanted in ((np.zeros(8), [0, 0]), (np.full(8, 1e-44), [0, 0]), (np.ones(8), [0, 20])):
        inner, codes, sums = np.empty(2, np.float32), np.empty(8, np.int8), np.empty(TOGETHER, np.int32)
        score_centroids(coarse.groups, coarse.steps, coarse.lows, query.astype(np.float32), codes, sums, inner)
        np.testing.assert_allclose(inner, wanted, atol=1e-6)


def test_leading_dimensions_are_kept_as_far_as_they_matter() -> None:
    rng = np.random.default_rng(0)
    steep = rng.standard_normal((50, 384)) * np.where(np.arange(384) < 40, 1, 1e-3)
    assert encode_centroids(steep.astype(np.float32)).dimensions == 48
    assert encode_centroids(rng.standard_normal((50, 30)).astype(np.float32)).dimensions == 32
    assert encode_centroids(np.zeros((5, 30), np.float32)).dimensions == 16
