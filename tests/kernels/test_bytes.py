"""The scan of byte codes against the same in NumPy."""

from __future__ import annotations

import numba as nb
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsearch.kernels.scan.blocks import transpose
from vsearch.kernels.scan.byte_codes import good_bytes


@nb.njit
def lanes(block, tables, sums, factors, offsets, row, count, slope, intercept, least):
    return good_bytes(block, tables, sums, factors, offsets, row, count, slope, intercept, least)


@given(width=st.integers(1, 60), count=st.integers(1, 32), offsets=st.booleans(), seed=st.integers(0, 999))
def test_good_lanes_are_those_above_the_least(width: int, count: int, offsets: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (count, width)).astype(np.uint8)
    block = np.zeros((1, width * 32), np.uint8)
    transpose(codes, block)
    tables = rng.standard_normal((width, 256)).astype(np.float32)
    factors = rng.random(count + 3).astype(np.float16)
    shifts = rng.random(count + 3).astype(np.float32) if offsets else np.empty(0, np.float32)
    slope, intercept = np.float32(0.7), np.float32(0.1)
    total = np.zeros(count, np.float32)
    for j in range(width):
        total += tables[j, codes[:, j]]
    bounds = factors[3:].astype(np.float32) * (total * slope + intercept) - (shifts[3:] if offsets else 0)
    least = np.float32(np.median(bounds)) + np.float32(1e-3)
    sums = np.empty(32, np.float32)
    found = lanes(block[0], tables, sums, factors.view(np.uint16), shifts, 3, count, slope, intercept, least)
    np.testing.assert_allclose(sums[:count], total, rtol=1e-5, atol=1e-5)
    clear = np.abs(bounds - least) > 1e-4
    good = np.array([bool(int(found) >> v & 1) for v in range(count)])
    np.testing.assert_array_equal(good[clear], (bounds >= least)[clear])
    assert int(found) < 1 << count
