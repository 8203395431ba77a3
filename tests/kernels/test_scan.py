from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.query.fields import expanded_bytes
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.kernels.scan.nibbles import (
    expand_tables,
    good_lanes_plain,
    lanes_of_block,
    sum_nibbles,
)

PAIRS = st.one_of(st.integers(1, 20), st.sampled_from([255, 256, 257, 513, 600]))


def sample(pairs, seed, largest=127):
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 256, pairs * BLOCK).astype(np.uint8)
    tables = rng.integers(0, largest + 1, (2 * pairs, 16)).astype(np.uint8)
    return block, tables


def sums_twin(block, tables):
    codes = block.reshape(-1, BLOCK)
    places = np.arange(len(codes))[:, None]
    return (
        (tables[2 * places, codes & 15] + tables[2 * places + 1, codes >> 4].astype(tables.dtype))
        .astype(np.float64)
        .sum(axis=0)
    )


@given(pairs=st.integers(1, 40), seed=st.integers(0, 1000))
def test_sum_nibbles(pairs, seed):
    block, tables = sample(pairs, seed)
    floats = (tables - np.float32(60)) / np.float32(8)  # exact in binary, whatever the order of the sum
    twin = sums_twin(block, floats)
    with Guarded() as guarded:
        guarded_block, guarded_tables = guarded.copy(block), guarded.copy(floats)
        for lane in (0, 1, 17, 31):
            assert sum_nibbles(guarded_block, lane, guarded_tables) == twin[lane]


@nb.njit
def plain_lanes(codes, block, tables, factors, offsets, row, count, slope, intercept, least):
    return good_lanes_plain(codes, block, tables, factors, offsets, row, count, slope, intercept, least)


@pytest.mark.slow
@given(
    pairs=PAIRS.map(lambda pairs: pairs + pairs % 2),
    seed=st.integers(0, 1000),
    count=st.integers(1, 32),
    last=st.booleans(),
    with_offsets=st.booleans(),
)
def test_good_lanes(pairs, seed, count, last, with_offsets):
    """The body of this machine and the portable one agree bit for bit, and with NumPy."""
    rng = np.random.default_rng(seed)
    block, tables = sample(pairs, seed)
    codes = np.stack([rng.permutation(block), block, rng.permutation(block)])
    row = 5
    rows = row + count if last else row + 70
    factors = rng.uniform(0, 1, rows).astype(np.float16)
    factors[::7] = 0
    offsets = rng.standard_normal(rows if with_offsets else 0).astype(np.float32)
    slope, intercept = np.float32(0.25), np.float32(-16.0 * pairs)
    sums = sums_twin(block, tables.astype(np.int64))[:count]
    bounds = factors[row : row + count].astype(np.float32) * (sums.astype(np.float32) * slope + intercept)
    if with_offsets:
        bounds = bounds - offsets[row : row + count]
    least = np.float32(np.median(bounds))
    with Guarded() as guarded:
        expanded = guarded.empty(expanded_bytes(pairs), np.uint8)
        expand_tables(guarded.copy(tables), expanded)
        expanded.setflags(write=False)
        codes, tables = guarded.copy(codes), guarded.copy(tables)
        halves, offsets = guarded.copy(factors.view(np.uint16)), guarded.copy(offsets)
        for bar in (least, np.float32(-np.inf), np.float32(np.inf)):
            plain = plain_lanes(codes, 1, tables, halves, offsets, row, count, slope, intercept, bar)
            fast = lanes_of_block(codes, 1, tables, expanded, halves, offsets, row, count, slope, intercept, bar)
            wanted = sum(1 << v for v in range(count) if bounds[v] >= bar)
            assert int(plain) == wanted
            assert int(fast) == wanted
