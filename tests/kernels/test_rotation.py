"""Rotation in words: near the product in floats, for matrices and queries of any size."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.query.fields import TOGETHER
from vsearch.kernels.query.rotation import rotate_in_words
from vsearch.search.state.packed_rotation import encode_rotation


@nb.njit
def rotate(query, groups, steps, codes, sums, rotated):
    rotate_in_words(query, groups, steps, codes, sums, rotated)


def rotated(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    d = len(matrix)
    encoded = encode_rotation(matrix)
    with Guarded() as guarded:
        codes, sums, found = (
            guarded.empty(d + d % 2, np.int16),
            guarded.empty(TOGETHER, np.int32),
            guarded.empty(d, np.float32),
        )
        rotate(guarded.copy(query), guarded.copy(encoded.groups), guarded.copy(encoded.steps), codes, sums, found)
        return found.copy()


@pytest.mark.slow
@given(
    d=st.one_of(st.integers(1, 70), st.sampled_from([128, 384])),
    size=st.sampled_from([1e-15, 1.0, 1e12]),
    seed=st.integers(0, 1000),
)
def test_rotation_is_near_the_product_in_floats(d: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((d, d)).astype(np.float32)
    query = (rng.standard_normal(d) * size).astype(np.float32)
    true = matrix.astype(np.float64) @ query.astype(np.float64)
    error = rotated(matrix, query) - true
    # two roundings of half a word in each dimension
    allowed = np.sqrt(d) / 32767 * np.linalg.norm(matrix, axis=1) * np.linalg.norm(query.astype(np.float64))
    assert (np.abs(error) <= 1.01 * allowed + 1e-30).all()


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-38])
def test_queries_of_hardly_any_length_become_nothing_large(size: float) -> None:
    found = rotated(np.eye(5, dtype=np.float32), np.full(5, size, np.float32))
    assert (np.abs(found) <= 1e-37).all()


def test_rows_of_any_length() -> None:
    matrix = np.diag(np.array([0, 1e-30, 1e-6, 1, 1e30], np.float32))
    np.testing.assert_allclose(rotated(matrix, np.ones(5, np.float32)), np.diagonal(matrix), rtol=1e-3)


def test_a_query_and_a_row_of_one_dimension_take_the_largest_words() -> None:
    for sign in (-1, 1):
        query = np.array([0, sign * 3, 0, 0], np.float32)
        np.testing.assert_allclose(rotated(np.eye(4, dtype=np.float32), query), query, rtol=1e-4)


@pytest.mark.parametrize("size", [1e-20, 3e-22, 1e-22, 4e-23, 1e-30])
def test_squares_of_short_queries_may_be_nothing(size: float) -> None:
    query = np.array([0, size, 0, 0], np.float32)
    np.testing.assert_allclose(rotated(np.eye(4, dtype=np.float32), query), query, rtol=1e-3, atol=1e-4 * size)
