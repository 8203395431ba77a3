from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.blocks import BLOCK, transpose, untranspose

SIZES = {"rows": st.integers(0, 130), "width": st.integers(0, 9), "seed": st.integers(0, 1000)}


def codes_of(rows, width, seed):
    return np.random.default_rng(seed).integers(0, 256, (rows, width)).astype(np.uint8)


def transpose_twin(codes):
    rows, width = codes.shape
    blocks = -(-rows // BLOCK)
    padded = np.zeros((blocks * BLOCK, width), np.uint8)
    padded[:rows] = codes
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK, width).transpose(0, 2, 1)).reshape(blocks, width * BLOCK)


@given(**SIZES)
@example(rows=32, width=3, seed=0)
@example(rows=33, width=1, seed=0)
def test_transpose(rows, width, seed):
    codes = codes_of(rows, width, seed)
    with Guarded() as guarded:
        blocks = guarded.empty((-(-rows // BLOCK), width * BLOCK), np.uint8)
        transpose(guarded.copy(codes), blocks)
    np.testing.assert_array_equal(blocks, transpose_twin(codes))


@given(**SIZES)
def test_untranspose_gives_the_codes_back(rows, width, seed):
    codes = codes_of(rows, width, seed)
    with Guarded() as guarded:
        back = guarded.empty((rows, width), np.uint8)
        untranspose(guarded.copy(transpose_twin(codes)), back)
    np.testing.assert_array_equal(back, codes)
