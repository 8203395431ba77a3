from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.blocks import BLOCK
from vsearch.kernels.scan import scan_nibble_block, sum_nibbles

PAIRS = st.one_of(st.integers(1, 20), st.sampled_from([255, 256, 257, 513, 600]))


def sample(pairs, seed, largest=127):
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 256, pairs * BLOCK).astype(np.uint8)
    tables = rng.integers(0, largest + 1, (2 * pairs, 16)).astype(np.uint8)
    return block, tables


def sums_twin(block, tables):
    codes = block.reshape(-1, BLOCK)
    places = np.arange(len(codes))[:, None]
    return (tables[2 * places, codes & 15] + tables[2 * places + 1, codes >> 4].astype(tables.dtype)).astype(
        np.float64
    ).sum(axis=0)


@given(pairs=PAIRS, seed=st.integers(0, 1000))
def test_scan_nibble_block(pairs, seed):
    block, tables = sample(pairs, seed)
    with Guarded() as guarded:
        sums = guarded.empty(32, np.uint32)
        scan_nibble_block(guarded.copy(block), guarded.copy(tables), sums)
    np.testing.assert_array_equal(sums, sums_twin(block, tables.astype(np.int64)))


@given(pairs=st.integers(1, 40), seed=st.integers(0, 1000))
def test_sum_nibbles(pairs, seed):
    block, tables = sample(pairs, seed)
    floats = (tables - np.float32(60)) / np.float32(8)  # exact in binary, whatever the order of the sum
    twin = sums_twin(block, floats)
    with Guarded() as guarded:
        guarded_block, guarded_tables = guarded.copy(block), guarded.copy(floats)
        for lane in (0, 1, 17, 31):
            assert sum_nibbles(guarded_block, lane, guarded_tables) == twin[lane]
