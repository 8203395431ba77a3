from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quantizers.samples import ODD, residuals
from vsearch.quantizers.klt import block_bounds
from vsearch.quantizers.rerank_codes import (
    KINDS,
    LARGEST_CORRECTION,
    ResidualCodes,
    decode_residuals,
    dimension_weights,
    encode_residuals,
    relative_half,
    round_to_half_precision,
)


def allowed_error(rows, weights, codes, kind):
    """The most that a code may be off, float64 (n, d)."""
    if kind == "float32":
        return np.zeros(rows.shape)
    if kind == "float16":
        return np.maximum(np.abs(rows) * 2.0**-11, 2.0**-25 * codes.scales.astype(np.float64)[:, None]) * 1.001
    scales = codes.scales.astype(np.float64)[:, None]
    # half a level, of a step that may have been corrected; and what that and rounding to a half take off the end of the grid
    corrected = scales * (2.0**-11 + LARGEST_CORRECTION * 1.03)
    return weights * (0.5 * (scales + corrected) + 127 * corrected) * 1.001


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", ["usual", *ODD])
def test_error_bounds(kind, data):
    for n, d in ((200, 50), (7, 3), (1, 1), (40, 2)):
        rows = residuals(n, d) if data == "usual" else ODD[data](n, d, 0)
        weights = dimension_weights(rows)
        codes = encode_residuals(rows, weights, kind, np.zeros(rows.shape[1], np.float32))
        rebuilt = decode_residuals(codes, weights, kind)
        assert np.isfinite(rebuilt).all()
        assert (np.abs(rebuilt.astype(np.float64) - rows) <= allowed_error(rows, weights, codes, kind) + 1e-37).all()
        # what is stored makes the same again
        halves, scale = relative_half(codes.scales, np.array([n]))
        stored = ResidualCodes(codes.codes, halves.astype(np.float32) * scale[0])
        exact = (codes.scales == 0) | (codes.scales >= scale[0] * np.float32(2.0**-14))
        np.testing.assert_array_equal(decode_residuals(stored, weights, kind)[exact], rebuilt[exact])
        assert exact.mean() > 0.5


@given(n=st.integers(1, 30), d=st.integers(1, 40), seed=st.integers(0, 10_000), spread=st.sampled_from([0, 2, 6]))
def test_int8_error_bound(n, d, seed, spread):
    rng = np.random.default_rng(seed)
    rows = residuals(n, d, seed) * (10.0 ** rng.uniform(-spread, spread, (n, 1))).astype(np.float32)
    weights = dimension_weights(rows)
    codes = encode_residuals(rows, weights, "int8", np.zeros(d, np.float32))
    error = np.abs(decode_residuals(codes, weights, "int8").astype(np.float64) - rows)
    assert (error <= allowed_error(rows, weights, codes, "int8")).all()
    assert np.abs(codes.codes.astype(int)).max() <= 127


def test_int8_errors_are_at_a_right_angle_to_the_vectors():
    """So that the scores of queries near a vector are better than the codes are."""
    centroid = residuals(1, 64, 5)[0] * np.float32(0.7)
    rows = residuals(300, 64)
    weights = dimension_weights(rows)
    codes = encode_residuals(rows, weights, "int8", centroid)
    vectors = (rows + centroid).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    errors = decode_residuals(codes, weights, "int8").astype(np.float64) - rows
    along = np.abs(np.einsum("ij,ij->i", errors, vectors))
    plain = np.linalg.norm(errors, axis=1) / np.sqrt(64)  # what a random direction would have of it
    assert np.median(along / plain) < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows(kind):
    weights = np.ones(5, np.float32)
    codes = encode_residuals(np.empty((0, 5), np.float32), weights, kind, np.zeros(5, np.float32))
    assert codes.codes.shape == (0, 5)
    assert codes.scales.shape == (0,)


def test_float16_beyond_its_range():
    rows = residuals(20, 6) * np.float32(1e7)
    codes = encode_residuals(rows, np.ones(6, np.float32), "float16", np.zeros(6, np.float32))
    assert np.isfinite(codes.codes).all()
    np.testing.assert_allclose(
        decode_residuals(codes, np.ones(6, np.float32), "float16"),
        rows,
        rtol=1e-3,
        atol=float(np.abs(rows).max()) * 1e-6,
    )
    assert (codes.scales > 1).all()


def test_float16_scales_are_powers_of_two_of_each_row():
    """So that a row means the same in any partition, and small rows lose nothing beside large ones."""
    rows = residuals(40, 6) * (10.0 ** np.linspace(-30, 14, 40)).astype(np.float32)[:, None]
    rows[7] = 0
    codes = encode_residuals(rows, np.ones(6, np.float32), "float16", np.zeros(6, np.float32))
    assert set(np.frexp(np.delete(codes.scales, 7))[0]) == {0.5}
    assert codes.scales[7] == 0
    assert np.isfinite(codes.codes).all()
    error = np.abs(decode_residuals(codes, np.ones(6, np.float32), "float16").astype(np.float64) - rows)
    assert (error <= np.abs(rows).max(axis=1, keepdims=True) * 2.0**-11).all()


@pytest.mark.parametrize("d", [1, 16, 50])
def test_weights_are_roots_of_the_deviations_of_blocks(d):
    rows = residuals(2000, d, decay=0.95)
    weights = dimension_weights(rows)
    for start, stop in block_bounds(d):
        assert (weights[start:stop] == weights[start]).all()
        assert weights[start] == pytest.approx(np.mean(rows[:, start:stop].astype(np.float64) ** 2) ** 0.25, rel=1e-4)


def test_weights_are_never_zero():
    rows = residuals(100, 48)
    rows[:, 16:32] = 0
    assert (dimension_weights(rows) > 0).all()
    assert (dimension_weights(np.zeros((5, 3), np.float32)) == 1).all()


GROUPS = st.lists(st.lists(st.floats(0, 2.0**127, width=32), min_size=1, max_size=8), max_size=8)


@given(GROUPS)
def test_relative_half(groups):
    counts = np.array([len(group) for group in groups], np.int64)
    values = np.array([value for group in groups for value in group], np.float32)
    halves, scales = relative_half(values, counts)
    assert scales.shape == counts.shape
    assert (np.frexp(scales)[0] == 0.5).all()
    assert np.isfinite(halves).all()
    wide = np.repeat(scales, counts).astype(np.float64)
    bound = np.maximum(values.astype(np.float64) * 2.0**-11, 2.0**-25 * wide) * 1.001
    assert (np.abs(halves * wide - values) <= bound).all()
    assert halves.max(initial=0) <= 2.0**15
    for group, scale in zip(groups, scales, strict=True):
        largest = float(max(group))
        assert scale == 1 if largest == 0 else largest < 2.0**15 * float(scale)
        assert largest == 0 or scale == 2.0**-126 or largest >= (2.0**14 if largest >= 2.0**-45 else 0.5) * float(scale)
        assert scale >= min(2.0**-60, float(largest))


@given(GROUPS, st.floats(0, 2.0**127, width=32))
def test_rounded_values_stay_the_same_beside_any_larger_one(groups, other):
    values = round_to_half_precision(np.array([value for group in groups for value in group] + [other], np.float32))
    halves, scale = relative_half(values, np.array([len(values)]))
    largest = values.max()
    near = values >= largest * np.float32(2.0**-28 if largest >= 2.0**-45 else 2.0**-13)
    np.testing.assert_array_equal((halves.astype(np.float32) * scale[0])[near], values[near])


@given(st.lists(st.floats(2.0**-14, 65504, width=32), max_size=30))
def test_rounding_is_that_of_float16(values):
    values = np.array(values, np.float32)
    np.testing.assert_array_equal(round_to_half_precision(values), values.astype(np.float16).astype(np.float32))


def test_rounding_keeps_what_lies_beyond_float16():
    values = np.array([0, 1e-45, 1e-40, 1e-30, 1e30, 2.0**-140], np.float32)
    rounded = round_to_half_precision(values)
    assert rounded[0] == 0
    np.testing.assert_allclose(rounded[3:5], values[3:5], rtol=2.0**-11)
    np.testing.assert_array_equal(round_to_half_precision(rounded), rounded)
