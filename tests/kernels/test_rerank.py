from __future__ import annotations

import numba as nb
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.dot_products import dot_float, dot_half, dot_int8, half_to_float

SIZES = {"d": st.one_of(st.integers(0, 70), st.sampled_from([127, 128, 384, 1023])), "seed": st.integers(0, 1000)}


@nb.njit
def convert(halves, out):
    for i in range(halves.shape[0]):
        out[i] = half_to_float(halves[i])


def test_every_finite_half():
    halves = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    floats = halves.view(np.float16)
    halves = halves[np.isfinite(floats)]
    out = np.empty(len(halves), np.float32)
    convert(halves, out)
    np.testing.assert_array_equal(out.view(np.uint32), halves.view(np.float16).astype(np.float32).view(np.uint32))
    assert len(halves) == 65536 - 2 * 1024


def close(found, query, values):
    """Equal to the sum in float64, to the rounding of as many additions."""
    terms = query.astype(np.float64) * values.astype(np.float64)
    return abs(float(found) - terms.sum()) <= 1e-6 * np.abs(terms).sum() + 1e-30


@given(**SIZES)
def test_dot_int8(d, seed):
    rng = np.random.default_rng(seed)
    query, codes = rng.standard_normal(d).astype(np.float32), rng.integers(-127, 128, d).astype(np.int8)
    with Guarded() as guarded:
        assert close(dot_int8(guarded.copy(query), guarded.copy(codes)), query, codes)


@given(**SIZES)
def test_dot_half(d, seed):
    rng = np.random.default_rng(seed)
    query = rng.standard_normal(d).astype(np.float32)
    halves = (rng.standard_normal(d) * rng.choice([1e-7, 1e-3, 1.0, 1e4], d)).astype(np.float16)
    with Guarded() as guarded:
        assert close(dot_half(guarded.copy(query), guarded.copy(halves.view(np.uint16))), query, halves)


@given(**SIZES)
def test_dot_float(d, seed):
    rng = np.random.default_rng(seed)
    query, values = rng.standard_normal((2, d)).astype(np.float32)
    with Guarded() as guarded:
        assert close(dot_float(guarded.copy(query), guarded.copy(values)), query, values)
