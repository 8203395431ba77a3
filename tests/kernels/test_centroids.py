"""Coarse centroids: the integer products are exact on every kind of processor, what they stand for is near the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.centroids import dot_groups, score_centroids
from vsearch.kernels.fields import TOGETHER
from vsearch.quantizers.centroids import encode_centroids


def decode(groups: np.ndarray, dimensions: int) -> np.ndarray:
    """Codes uint8 (groups * 64, D), one centroid a row."""
    return groups.reshape(-1, dimensions // 4, TOGETHER, 4).transpose(0, 2, 1, 3).reshape(-1, dimensions)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_products_are_exact(count: int, quads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 128, (count, TOGETHER * 4 * quads)).astype(np.uint8)
    query = rng.integers(-127, 128, 4 * quads).astype(np.int8)
    with Guarded() as guarded:
        sums = guarded.empty((count, TOGETHER), np.int32)
        dot_groups(guarded.copy(groups), guarded.copy(query), sums)
    twin = decode(groups, 4 * quads).astype(np.int64) @ query.astype(np.int64)
    np.testing.assert_array_equal(sums.reshape(-1), twin)


def test_products_of_the_largest_values() -> None:
    groups = np.full((1, TOGETHER * 2048), 127, np.uint8)
    for value in (-127, 127):
        sums = np.empty((1, TOGETHER), np.int32)
        dot_groups(groups, np.full(2048, value, np.int8), sums)
        assert (sums == 127 * value * 2048).all()


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
