"""Routing kernels against NumPy: scores and bounds of partitions, their order, and how many are forced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.kernels.query.fading import Fading, fade_bounds, tail_reaches
from vsearch.kernels.query.fields import HEAD, RADIX
from vsearch.kernels.query.route import (
    bound_partitions,
    min_probe_count,
    nearness,
    order_head,
    order_tail,
    relative_deviation,
)


def ordered(upper_bounds: np.ndarray, match_counts: np.ndarray) -> tuple[np.ndarray, int]:
    """The order of all partitions, and how many of them were ordered at first."""
    n = len(upper_bounds)
    order = np.full(n + 8, -7, np.int32)  # what lies behind must stay as it is
    keys, histogram = np.empty(n, np.uint32), np.empty(RADIX, np.int32)
    slots = np.full(2 * HEAD + 8, -7, np.int64)
    head = order_head(upper_bounds, match_counts, order[:n], keys, histogram, slots[: 2 * HEAD])
    assert (slots[2 * HEAD :] == -7).all()
    before = order[:head].copy()
    count = order_tail(upper_bounds, order[:n], head, keys, np.empty(n, np.int32), np.empty(n, np.uint32), histogram)
    assert (order[n:] == -7).all()
    np.testing.assert_array_equal(order[:head], before)
    return order[:count], head


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=300),
    st.integers(1, 8),
    st.integers(0, 2**32 - 1),
)
def test_order_is_a_stable_descending_sort_of_the_eligible(values: list[float], times: int, seed: int) -> None:
    upper_bounds = np.tile(np.array(values, np.float32), times)
    upper_bounds[upper_bounds == 0] = 0.0  # -0 and 0 are one value
    match_counts = np.random.default_rng(seed).integers(0, 3, len(upper_bounds)).astype(np.int64)
    twin = np.argsort(-upper_bounds, kind="stable")
    found, _ = ordered(upper_bounds, match_counts)
    np.testing.assert_array_equal(found, twin[match_counts[twin] > 0])


@pytest.mark.parametrize("count", [1, HEAD - 1, HEAD, HEAD + 1, 5000])
def test_a_head_of_many_is_ordered_first(count: int) -> None:
    upper_bounds = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    found, head = ordered(upper_bounds, np.ones(count, np.int64))
    np.testing.assert_array_equal(found, np.argsort(-upper_bounds, kind="stable"))
    assert min(count, HEAD) <= head <= 2 * HEAD


@pytest.mark.parametrize("outlier", [None, 1e30, -1e30])
def test_order_of_many_equal_bounds(outlier: float | None) -> None:
    upper_bounds = np.repeat(np.array([1.5, -2.0, 1.5], np.float32), 1000)
    if outlier is not None:
        upper_bounds[77] = outlier
    twin = np.argsort(-upper_bounds, kind="stable")
    np.testing.assert_array_equal(ordered(upper_bounds, np.ones(3000, np.int64))[0], twin)


@pytest.mark.parametrize("odd", [[3e38, -3e38], [np.inf], [-np.inf], [np.inf, -np.inf], [np.nan]])
@pytest.mark.parametrize("count", [3, 300, 3000])
def test_bounds_of_any_size_are_ordered(odd: list[float], count: int) -> None:
    upper_bounds = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    upper_bounds[1 : 1 + len(odd)] = odd
    found, _ = ordered(upper_bounds, np.ones(count, np.int64))
    np.testing.assert_array_equal(np.sort(found), np.arange(count))
    if not np.isnan(odd).any():
        np.testing.assert_array_equal(found, np.argsort(-upper_bounds, kind="stable"))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("partitions", "dimensions"), [(1, 1), (3, 17), (40, 384)])
def test_scores_and_bounds(squared: bool, partitions: int, dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    query = rng.standard_normal(dimensions).astype(np.float32)
    centroids = rng.standard_normal((partitions, dimensions)).astype(np.float32)
    squares = np.einsum("ij,ij->i", centroids, centroids)
    radii = rng.uniform(0, 2, partitions).astype(np.float32)
    effective_radii = (radii * rng.uniform(0.5, 1, partitions)).astype(np.float32)
    centroid_scores, upper_bounds = np.empty(partitions, np.float32), np.empty(partitions, np.float32)
    radius_factor, square = np.float32(0.6), np.float32(query @ query)
    rounding_bounds = rng.uniform(0, 0.1, partitions).astype(np.float32)
    bound_partitions(
        centroids @ query,
        square,
        squares,
        rounding_bounds,
        radii,
        effective_radii,
        radius_factor,
        squared,
        centroid_scores,
        upper_bounds,
    )
    if squared:
        expected = -np.sum((query - centroids) ** 2, axis=1)
        distances = np.sqrt(-expected)
        inside = np.maximum(radius_factor * effective_radii - distances, 0)
        limits = (
            expected
            + 2 * (radius_factor * distances * effective_radii + inside**2 + rounding_bounds * np.sqrt(square))
            - radii**2
        )
    else:
        expected = centroids @ query
        limits = expected + np.sqrt(square) * (radius_factor * effective_radii + rounding_bounds)
    np.testing.assert_allclose(centroid_scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(upper_bounds, limits, rtol=1e-4, atol=1e-4)


def test_of_equal_partitions_the_nearer_has_the_higher_bound() -> None:
    distances = np.linspace(0, 4, 50).astype(np.float32)
    centroid_scores, upper_bounds = np.empty(50, np.float32), np.empty(50, np.float32)
    ones, zeros = np.ones(50, np.float32), np.zeros(50, np.float32)
    bound_partitions(
        zeros, np.float32(0), distances**2, zeros, ones, ones, np.float32(1.5), True, centroid_scores, upper_bounds
    )
    assert (np.diff(upper_bounds) < 0).all()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("split", [0, 1, 20, 60])
def test_bounds_fade_with_the_rows_before_them(squared: bool, split: int) -> None:
    rng = np.random.default_rng(split)
    centroid_scores = -rng.uniform(0, 4, 60).astype(np.float32)
    upper_bounds, radii = centroid_scores + np.float32(0.5), rng.uniform(0.5, 1, 60).astype(np.float32)
    effective_radii = (radii * rng.uniform(0.5, 1, 60)).astype(np.float32)
    match_counts = rng.integers(1, 40, 60).astype(np.int64)
    fades = np.log1p(np.arange(31)).astype(np.float32)
    order = np.argsort(-upper_bounds, kind="stable").astype(np.int32)
    before = np.cumsum(match_counts[order]) - match_counts[order]
    unit = 2 * np.sqrt(-centroid_scores) if squared else np.float32(1.7)
    fade = np.minimum(0.1 * fades[np.minimum(before // 20, 30)] * radii[order], 0.3 * effective_radii[order])
    fade *= np.broadcast_to(unit, 60)[order]
    wanted = upper_bounds[order] - fade
    numbers = np.float32(1 / 20), np.float32(0.1), np.float32(0.3), np.float32(1.7)
    fading = Fading(fades, *numbers, squared, radii, effective_radii, centroid_scores, upper_bounds)
    fade_bounds(fading, order, 0, split, match_counts)
    fade_bounds(fading, order, split, 60, match_counts)
    np.testing.assert_allclose(upper_bounds[order], wanted, rtol=1e-5)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.integers(1, 500),
    st.integers(0, 80),
)
def test_forced_visits_cover_nprobe_and_k(rows: list[int], k: int, nprobe: int) -> None:
    match_counts = np.array(rows, np.int64)
    order = np.argsort(-match_counts, kind="stable").astype(np.int32)
    min_probes = min_probe_count(order, len(order), match_counts, k, nprobe)
    if nprobe == 0:
        assert min_probes == 0
        return
    covered = match_counts[order[:min_probes]].sum()
    assert min_probes == len(rows) or (min_probes >= nprobe and covered >= k)
    if 0 < min_probes < len(rows):  # not one more than that
        assert min_probes == nprobe or match_counts[order[: min_probes - 1]].sum() < k


@pytest.mark.parametrize("dimensions", [1, 7, 384])
def test_the_deviation_of_rows_that_have_nothing_to_do_with_a_query(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    query = rng.standard_normal(dimensions).astype(np.float32)
    variances = rng.uniform(0.1, 1, dimensions)
    variances /= variances.sum()
    residuals = rng.standard_normal((20_000, dimensions)) * np.sqrt(variances)  # their root mean square norm is 1
    found = relative_deviation(query, np.float32(query @ query), variances.astype(np.float32), np.float32(0))
    assert found == pytest.approx((residuals @ query).std() / np.linalg.norm(query), rel=0.05)
    assert relative_deviation(query, np.float32(query @ query), variances.astype(np.float32), np.float32(9)) == 9
    zeros = np.zeros(dimensions, np.float32)
    assert relative_deviation(zeros, np.float32(0), variances.astype(np.float32), np.float32(0.25)) == 0.25


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("partitions", [1, 3, 70])
def test_how_near_the_nearest_centroid_is(squared: bool, partitions: int) -> None:
    rng = np.random.default_rng(partitions)
    for shift in (-3, 0, 3):  # all inner products below 0, of both signs, above 0
        query = rng.standard_normal(24).astype(np.float32)
        centroids = (rng.standard_normal((partitions, 24)) + shift * query).astype(np.float32)
        inner, squares = centroids @ query, np.einsum("ij,ij->i", centroids, centroids)
        wanted = -((query - centroids) ** 2).sum(axis=1).min() if squared else inner.max() / np.linalg.norm(query)
        assert nearness(inner, np.float32(query @ query), squares, squared) == pytest.approx(wanted, rel=1e-4)
    assert nearness(np.zeros(partitions, np.float32), np.float32(0), np.zeros(partitions, np.float32), False) == 0


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_whether_a_partition_without_an_order_may_hold_a_row(squared: bool, spread: float) -> None:
    """Bounds that fade need not descend, so the first of the rest is not the highest."""
    count = 3000
    rng = np.random.default_rng(int(squared))
    centroid_scores = -rng.uniform(0, 4, count).astype(np.float32)
    radii = rng.uniform(0.2, 1, count).astype(np.float32)
    upper_bounds, match_counts = (
        (centroid_scores + radii).astype(np.float32),
        rng.integers(0, 3, count).astype(np.int64),
    )
    effective_radii, fades = (spread * radii).astype(np.float32), np.log1p(np.arange(count + 1)).astype(np.float32)
    order, keys = np.full(count, -7, np.int32), np.empty(count, np.uint32)
    slots = np.empty(2 * HEAD, np.int64)
    head = order_head(upper_bounds, match_counts, order, keys, np.empty(RADIX, np.int32), slots)
    before = int(match_counts[order[:head]].sum())
    rest = np.setdiff1d(np.flatnonzero(match_counts), order[:head])
    unit = 2 * np.sqrt(-centroid_scores[rest]) if squared else np.float32(1.7)
    fade = np.minimum(0.07 * fades[min(before // 4, count)] * radii[rest], 0.3 * effective_radii[rest]) * unit
    highest = float((upper_bounds[rest] - fade).max())
    numbers = np.float32(1 / 4), np.float32(0.07), np.float32(0.3), np.float32(1.7)
    fading = Fading(fades, *numbers, squared, radii, effective_radii, centroid_scores, upper_bounds)
    for threshold, wanted in ((highest - 1e-4, True), (highest + 1e-4, False)):
        assert tail_reaches(fading, np.float32(threshold), keys, before) == wanted
