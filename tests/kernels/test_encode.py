from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.encode import decode_planes, encode_int8, encode_planes, largest_ratio

BITS = st.lists(st.integers(1, 8), max_size=40).map(lambda bits: sorted(bits, reverse=True))


def plane_layout(bits):
    """First nibble of every plane and the bytes of a code; every plane starts on a byte."""
    counts = [sum(b > p for b in bits) for p in range(max(bits, default=0))]
    byte_counts = (np.array(counts, np.int64) + 7) // 8
    return (2 * (np.cumsum(byte_counts) - byte_counts)).astype(np.int32), int(byte_counts.sum())


def encode_twin(residuals, deltas, bits, offsets, code_bytes):
    """Levels by comparing with the grid, packed bit by bit; factors in float64."""
    n, coded = len(residuals), len(bits)
    codes = np.zeros((n, code_bytes), np.uint8)
    norms = np.linalg.norm(residuals.astype(np.float64), axis=1)
    unit = (residuals / np.where(norms > 0, norms, 1)[:, None].astype(np.float32))[:, :coded]
    half = (1 << np.asarray(bits, np.int64)) // 2
    levels = np.clip(np.floor(unit / deltas).astype(np.int64) + half, 0, 2 * half - 1)
    for j in range(coded):
        for p in range(bits[j]):
            nibble = offsets[p] + j // 4
            bit = ((levels[:, j] >> (bits[j] - 1 - p)) & 1).astype(np.uint8)
            codes[:, nibble // 2] |= bit << np.uint8(j % 4 + 4 * (nibble % 2))
    codes[norms == 0] = 0
    values = deltas * (levels - half + 0.5)
    whole = np.sum(unit * values, axis=1)
    first = np.sum(np.abs(unit) * deltas * half * 0.5, axis=1)
    whole = np.maximum(whole, 0.1 * np.sqrt(np.sum(values**2, axis=1)))
    first = np.maximum(first, 0.1 * np.sqrt(np.sum((deltas * half * 0.5) ** 2)))
    factors, first_factors = (np.where((norms > 0) & (x > 0), norms / np.where(x > 0, x, 1), 0) for x in (whole, first))
    return codes, factors, first_factors, values


def sample(bits, dead, n, seed):
    rng = np.random.default_rng(seed)
    residuals = rng.standard_normal((n, len(bits) + dead)).astype(np.float32) * 3
    if n > 2:
        residuals[n // 2] = 0
    deltas = rng.uniform(0.01, 0.4, len(bits)).astype(np.float32)
    return residuals, deltas, np.array(bits, np.int32)


def run_encode(guarded, residuals, deltas, bits, offsets, code_bytes):
    n = len(residuals)
    codes = guarded.zeros((n, code_bytes), np.uint8)
    factors, first = guarded.empty(n, np.float32), guarded.empty(n, np.float32)
    encode_planes(*(guarded.copy(a) for a in (residuals, deltas, bits, offsets)), codes, factors, first)
    return codes, factors, first


@given(bits=BITS, dead=st.integers(0, 5), n=st.integers(0, 20), seed=st.integers(0, 1000))
def test_encode_planes(bits, dead, n, seed):
    residuals, deltas, bits = sample(bits, dead, n, seed)
    offsets, code_bytes = plane_layout(bits)
    with Guarded() as guarded:
        codes, factors, first = run_encode(guarded, residuals, deltas, bits, offsets, code_bytes)
    twin, twin_factors, twin_first, _ = encode_twin(residuals, deltas, bits, offsets, code_bytes)
    # a value that lies on an edge of the grid may be rounded to either side
    assert np.count_nonzero(codes != twin) <= 2
    same = (codes == twin).all(axis=1)
    np.testing.assert_allclose(factors[same], twin_factors[same], rtol=1e-4)
    np.testing.assert_allclose(first, twin_first, rtol=1e-4)


@given(bits=BITS, dead=st.integers(0, 5), n=st.integers(0, 20), seed=st.integers(0, 1000))
def test_round_trip(bits, dead, n, seed):
    residuals, deltas, bits = sample(bits, dead, n, seed)
    offsets, code_bytes = plane_layout(bits)
    with Guarded() as guarded:
        codes, factors, _ = run_encode(guarded, residuals, deltas, bits, offsets, code_bytes)
        values = guarded.empty(residuals.shape, np.float32)
        decode_planes(*(guarded.copy(a) for a in (codes, deltas, bits, offsets)), values)
    assert (values[:, len(bits) :] == 0).all()
    norms = np.linalg.norm(residuals, axis=1, keepdims=True)
    unit = np.divide(residuals, norms, out=np.zeros_like(residuals), where=norms > 0)[:, : len(bits)]
    coded = values[:, : len(bits)]
    reach = deltas * (1 << bits) / 2
    inside = (np.abs(unit) < reach) & (norms > 0)
    assert (np.abs(unit - coded)[inside] <= np.broadcast_to(deltas, unit.shape)[inside] * 0.5 + 1e-5).all()
    outside = (np.abs(unit) >= reach) & (norms > 0)
    np.testing.assert_allclose(
        np.abs(coded)[outside], np.broadcast_to(reach - deltas / 2, unit.shape)[outside], rtol=1e-5
    )
    # the factor makes the code's projection on the residual as long as the residual, unless they are nearly orthogonal
    projected = np.sum(values * residuals, axis=1) / np.maximum(norms[:, 0], 1e-30)
    found = (norms[:, 0] > 0) & (projected > 0.11 * np.linalg.norm(values, axis=1))
    np.testing.assert_allclose((projected * factors)[found], norms[found, 0], rtol=1e-4)


@pytest.mark.parametrize("magnitude", [1e-12, 1.0, 1e12])
def test_codes_do_not_depend_on_the_length(magnitude):
    residuals, deltas, bits = sample([4] * 8 + [2] * 5, 3, 10, 0)
    offsets, code_bytes = plane_layout(bits)
    with Guarded() as guarded:
        codes, factors, _ = run_encode(guarded, residuals, deltas, bits, offsets, code_bytes)
        scaled = residuals * np.float32(magnitude)
        again, longer, _ = run_encode(guarded, scaled, deltas, bits, offsets, code_bytes)
    assert np.mean(again != codes) < 0.02
    same = (again == codes).all(axis=1)
    np.testing.assert_allclose(longer[same], factors[same] * magnitude, rtol=1e-4)


def test_zero_residuals_have_factor_zero_and_code_zero():
    bits = np.array([8, 3, 1], np.int32)
    offsets, code_bytes = plane_layout(bits)
    codes = np.zeros((2, code_bytes), np.uint8)
    factors, first = np.full(2, 9, np.float32), np.full(2, 9, np.float32)
    encode_planes(np.zeros((2, 5), np.float32), np.full(3, 0.1, np.float32), bits, offsets, codes, factors, first)
    assert not codes.any()
    assert not factors.any()
    assert not first.any()


@given(n=st.integers(0, 20), d=st.integers(1, 30), seed=st.integers(0, 1000))
def test_encode_int8(n, d, seed):
    rng = np.random.default_rng(seed)
    residuals = rng.standard_normal((n, d)).astype(np.float32)
    weights = rng.uniform(0.1, 2, d).astype(np.float32)
    scales = rng.uniform(0.005, 0.1, n).astype(np.float32)
    scales[::5] = 0
    with Guarded() as guarded:
        codes = guarded.empty((n, d), np.int8)
        encode_int8(guarded.copy(residuals), guarded.copy(weights), guarded.copy(scales), codes)
    scaled = np.divide(residuals / weights, scales[:, None], out=np.zeros_like(residuals), where=scales[:, None] != 0)
    twin = np.clip(np.floor(scaled.astype(np.float64) + 0.5), -127, 127)
    assert np.abs(codes - twin).max(initial=0) <= 1
    assert np.count_nonzero(codes != twin) <= 2
    assert not codes[scales == 0].any()


@given(n=st.integers(0, 20), d=st.integers(0, 30), seed=st.integers(0, 1000))
def test_largest_ratio(n, d, seed):
    rng = np.random.default_rng(seed)
    residuals = rng.standard_normal((n, d)).astype(np.float32)
    weights = rng.uniform(0.1, 2, d).astype(np.float32)
    with Guarded() as guarded:
        out = guarded.empty(n, np.float32)
        largest_ratio(guarded.copy(residuals), guarded.copy(weights), out)
    np.testing.assert_allclose(out, np.abs(residuals / weights).max(axis=1, initial=0), rtol=1e-6)
