"""Routing kernels against NumPy: scores and bounds of partitions, their order, and how many are forced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.kernels.fields import RADIX
from vsearch.kernels.route import forced_visits, order_partitions, score_partitions


def ordered(bounds: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    n = len(bounds)
    order = np.full(n + 8, -7, np.int32)  # what lies behind must stay as it is
    scratch = [np.empty(n, np.uint32), np.empty(n, np.int32), np.empty(n, np.uint32), np.empty(RADIX, np.int32)]
    count = order_partitions(bounds, eligible, order[:n], *scratch)
    assert (order[n:] == -7).all()
    return order[:count]


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=300),
    st.integers(0, 2**32 - 1),
)
def test_order_is_a_stable_descending_sort_of_the_eligible(values: list[float], seed: int) -> None:
    bounds = np.array(values, np.float32) + np.float32(0)  # -0 and 0 are one value
    bounds[bounds == 0] = 0.0
    eligible = np.random.default_rng(seed).integers(0, 3, len(bounds)).astype(np.int64)
    twin = np.argsort(-bounds, kind="stable")
    np.testing.assert_array_equal(ordered(bounds, eligible), twin[eligible[twin] > 0])


def test_order_of_many_equal_bounds() -> None:
    bounds = np.repeat(np.array([1.5, -2.0, 1.5], np.float32), 1000)
    twin = np.argsort(-bounds, kind="stable")
    np.testing.assert_array_equal(ordered(bounds, np.ones(3000, np.int64)), twin)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("partitions", "dimensions"), [(1, 1), (3, 17), (40, 384)])
def test_scores_and_bounds(squared: bool, partitions: int, dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    query = rng.standard_normal(dimensions).astype(np.float32)
    centroids = rng.standard_normal((partitions, dimensions)).astype(np.float32)
    squares = np.einsum("ij,ij->i", centroids, centroids)
    radii = rng.uniform(0, 2, partitions).astype(np.float32)
    spreads = (radii * rng.uniform(0.5, 1, partitions)).astype(np.float32)
    bases, bounds = np.empty(partitions, np.float32), np.empty(partitions, np.float32)
    reach = np.float32(0.6)
    score_partitions(query, centroids, squares, radii, spreads, reach, squared, bases, bounds)
    if squared:
        expected = -np.sum((query - centroids) ** 2, axis=1)
        limits = expected + 2 * reach * np.sqrt(np.maximum(-expected, 0)) * spreads - radii**2
    else:
        expected = centroids @ query
        limits = expected + reach * np.linalg.norm(query) * spreads
    np.testing.assert_allclose(bases, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(bounds, limits, rtol=1e-4, atol=1e-4)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.integers(1, 500),
    st.integers(0, 80),
)
def test_forced_visits_cover_nprobe_and_k(rows: list[int], k: int, nprobe: int) -> None:
    eligible = np.array(rows, np.int64)
    order = np.argsort(-eligible, kind="stable").astype(np.int32)
    forced = forced_visits(order, len(order), eligible, k, nprobe)
    if nprobe == 0:
        assert forced == 0
        return
    covered = eligible[order[:forced]].sum()
    assert forced == len(rows) or (forced >= nprobe and covered >= k)
    if 0 < forced < len(rows):  # not one more than that
        assert forced == nprobe or eligible[order[: forced - 1]].sum() < k
