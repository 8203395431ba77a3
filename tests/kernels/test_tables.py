from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.tables import LARGEST, round_sign_tables, round_tables, sign_tables

PLANES = st.lists(st.integers(1, 45), min_size=0, max_size=8).map(lambda counts: sorted(counts, reverse=True))


def offsets_of(counts):
    """Every plane starts on a byte."""
    byte_counts = (np.asarray(counts, np.int64) + 7) // 8
    return (2 * (np.cumsum(byte_counts) - byte_counts)).astype(np.int32), int(2 * byte_counts.sum())


def sign_tables_twin(scaled, counts, offsets, nibbles):
    tables = np.zeros((nibbles, 16))
    signs = np.where((np.arange(16)[:, None] >> np.arange(4)) & 1, 1.0, -1.0)
    for plane, (count, offset) in enumerate(zip(counts, offsets, strict=True)):
        padded = np.zeros(-(-count // 4) * 4)
        padded[:count] = scaled[:count]
        sums = padded.reshape(-1, 4) @ signs.T
        tables[offset : offset + len(sums)] = sums * 0.5**plane
    return tables


@given(counts=PLANES, extra=st.integers(0, 3), seed=st.integers(0, 1000))
def test_sign_tables(counts, extra, seed):
    offsets, nibbles = offsets_of(counts)
    scaled = np.random.default_rng(seed).standard_normal((counts[0] if counts else 0) + extra).astype(np.float32)
    with Guarded() as guarded:
        tables = guarded.empty((nibbles + extra, 16), np.float32)
        sign_tables(guarded.copy(scaled), guarded.copy(np.array(counts, np.int32)), guarded.copy(offsets), tables)
    twin = sign_tables_twin(scaled.astype(np.float64), counts, offsets, nibbles + extra)
    np.testing.assert_allclose(tables, twin, atol=1e-5)


@pytest.mark.slow
@given(
    counts=PLANES, extra=st.integers(0, 3), seed=st.integers(0, 1000), scale=st.sampled_from([0.0, 1e-30, 1.0, 1e20])
)
def test_signs_are_rounded_without_float_tables(counts, extra, seed, scale):
    offsets, nibbles = offsets_of(counts)
    scaled = np.random.default_rng(seed).standard_normal((counts[0] if counts else 0) + extra) * scale
    scaled = scaled.astype(np.float32)
    tables, wanted = np.empty((nibbles, 16), np.float32), np.empty((nibbles + extra, 16), np.uint8)
    sign_tables(scaled, np.array(counts, np.int32), offsets, tables)
    step, bias = round_tables(tables, wanted)
    with Guarded() as guarded:
        rounded = guarded.empty((nibbles + extra, 16), np.uint8)
        found = round_sign_tables(
            guarded.copy(scaled), guarded.copy(np.array(counts, np.int32)), guarded.copy(offsets), rounded
        )
    np.testing.assert_allclose(found, (step, bias), rtol=1e-4)
    assert np.abs(rounded.astype(int) - wanted).max(initial=0) <= 1  # a sum that lies between two may round either way
    assert (rounded != wanted).sum() <= 0.02 * rounded.size


@pytest.mark.slow
@given(
    n=st.integers(0, 40), extra=st.integers(0, 3), seed=st.integers(0, 1000), scale=st.sampled_from([1e-30, 1.0, 1e20])
)
def test_rounding_error_is_at_most_half_a_step_each(n, extra, seed, scale):
    rng = np.random.default_rng(seed)
    tables = (rng.standard_normal((n, 16)) * scale * rng.choice([0.001, 1.0, 30.0], (n, 1))).astype(np.float32)
    with Guarded() as guarded:
        rounded = guarded.empty((n + extra, 16), np.uint8)
        step, bias = round_tables(guarded.copy(tables), rounded)
    assert rounded.max(initial=0) <= LARGEST
    assert (rounded[n:] == 0).all()
    if n == 0:
        assert (step, bias) == (0, 0)
        return
    low = tables.min(axis=1, keepdims=True).astype(np.float64)
    np.testing.assert_allclose(step * LARGEST, (tables.max(axis=1) - low[:, 0]).max(), rtol=1e-5)
    np.testing.assert_allclose(bias, low.sum(), rtol=1e-4, atol=float(np.abs(low).sum()) * 1e-5)
    error = np.abs(rounded[:n] * float(step) + low - tables)
    assert error.max() <= 0.5 * step * (1 + 1e-3)
    # so a sum over any codes is off by at most half a step per table
    codes = rng.integers(0, 16, (100, n))
    exact = tables.astype(np.float64)[np.arange(n), codes].sum(axis=1)
    estimated = rounded[np.arange(n), codes].astype(np.int64).sum(axis=1) * float(step) + float(bias)
    assert np.abs(exact - estimated).max() <= 0.5 * step * n * (1 + 1e-3) + np.abs(low).sum() * 1e-4


def test_entries_are_rounded_to_the_nearest_level():
    tables = np.linspace(-1.0, 1.0, 16, dtype=np.float32)[None, :].repeat(3, axis=0)
    tables[1] = 0.25
    rounded = np.empty((3, 16), np.uint8)
    step, bias = round_tables(tables, rounded)
    assert (rounded[1] == 0).all()
    assert rounded[0].tolist() == np.floor((tables[0] + 1) / step + 0.5).astype(int).tolist()
    assert rounded[0, 0] == 0
    assert rounded[0, 15] == LARGEST
    assert bias == pytest.approx(-1.75)


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_constant_tables_have_no_step(value):
    rounded = np.full((4, 16), 77, np.uint8)
    step, bias = round_tables(np.full((3, 16), value, np.float32), rounded)
    assert step == 0
    assert bias == pytest.approx(3 * value)
    assert (rounded == 0).all()
