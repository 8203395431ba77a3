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
)


def allowed_error(rows, weights, codes, largest, kind):
    """The most that a code may be off, float64 (n, d)."""
    if kind == "float32":
        return np.zeros(rows.shape)
    if kind == "float16":
        return np.maximum(np.abs(rows) * 2.0**-11, 2.0**-25 * float(largest)) * 1.001
    scales = codes.scales.astype(np.float64)[:, None]
    # half a level, of a step that may have been corrected; and what that and rounding to a half take off the end of the grid
    corrected = scales * (2.0**-11 + LARGEST_CORRECTION * 1.03) + float(largest) * 2.0**-25
    return weights * (0.5 * (scales + corrected) + 127 * corrected) * 1.001


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", ["usual", *ODD])
def test_error_bounds(kind, data):
    for n, d in ((200, 50), (7, 3), (1, 1), (40, 2)):
        rows = residuals(n, d) if data == "usual" else ODD[data](n, d, 0)
        weights = dimension_weights(rows)
        codes, halves, largest = encode_residuals(rows, weights, kind, np.zeros(rows.shape[1], np.float32))
        rebuilt = decode_residuals(codes, weights, kind)
        assert np.isfinite(rebuilt).all()
        assert (
            np.abs(rebuilt.astype(np.float64) - rows) <= allowed_error(rows, weights, codes, largest, kind) + 1e-37
        ).all()
        # what is stored makes the same again
        stored = ResidualCodes(codes.codes, halves.astype(np.float32) * largest)
        np.testing.assert_array_equal(decode_residuals(stored, weights, kind), rebuilt)


@given(n=st.integers(1, 30), d=st.integers(1, 40), seed=st.integers(0, 10_000), spread=st.sampled_from([0, 2, 6]))
def test_int8_error_bound(n, d, seed, spread):
    rng = np.random.default_rng(seed)
    rows = residuals(n, d, seed) * (10.0 ** rng.uniform(-spread, spread, (n, 1))).astype(np.float32)
    weights = dimension_weights(rows)
    codes, _, largest = encode_residuals(rows, weights, "int8", np.zeros(d, np.float32))
    error = np.abs(decode_residuals(codes, weights, "int8").astype(np.float64) - rows)
    assert (error <= allowed_error(rows, weights, codes, largest, "int8")).all()
    assert np.abs(codes.codes.astype(int)).max() <= 127


def test_int8_errors_are_at_a_right_angle_to_the_vectors():
    """So that the scores of queries near a vector are better than the codes are."""
    centroid = residuals(1, 64, 5)[0] * np.float32(0.7)
    rows = residuals(300, 64)
    weights = dimension_weights(rows)
    codes, _, _ = encode_residuals(rows, weights, "int8", centroid)
    vectors = (rows + centroid).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    errors = decode_residuals(codes, weights, "int8").astype(np.float64) - rows
    along = np.abs(np.einsum("ij,ij->i", errors, vectors))
    plain = np.linalg.norm(errors, axis=1) / np.sqrt(64)  # what a random direction would have of it
    assert np.median(along / plain) < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows(kind):
    weights = np.ones(5, np.float32)
    codes, halves, largest = encode_residuals(np.empty((0, 5), np.float32), weights, kind, np.zeros(5, np.float32))
    assert codes.codes.shape == (0, 5)
    assert halves.shape == (0,)
    assert np.isfinite(largest)


def test_float16_beyond_its_range():
    rows = residuals(20, 6) * np.float32(1e7)
    codes, halves, largest = encode_residuals(rows, np.ones(6, np.float32), "float16", np.zeros(6, np.float32))
    assert np.isfinite(codes.codes).all()
    np.testing.assert_allclose(
        decode_residuals(codes, np.ones(6, np.float32), "float16"),
        rows,
        rtol=1e-3,
        atol=float(np.abs(rows).max()) * 1e-6,
    )
    assert (halves == 1).all()
    assert largest > 1


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


@given(st.lists(st.floats(0, 2.0**99, width=32), max_size=30))
def test_relative_half(values):
    values = np.array(values, np.float32)
    halves, largest = relative_half(values)
    assert largest > 0
    back = halves.astype(np.float64) * float(largest)
    bound = np.maximum(values.astype(np.float64) * 2.0**-11, 2.0**-25 * float(largest)) * 1.001
    assert (np.abs(back - values) <= bound).all()
    assert halves.max(initial=0) <= 1
