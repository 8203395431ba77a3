"""Rotation by signs and Hadamard transforms: the same as matrices, orthogonal, invertible, and mixing, in any dimension."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.hadamard import turn_query, turn_rows, turn_wide_query, turn_wide_rows
from vsearch.quantizers.hadamard import ROUNDS, SignRotation

DIMENSIONS = st.one_of(st.integers(1, 70), st.sampled_from([127, 128, 129, 769, 800, 1000, 1023, 1025, 1535, 1536]))


@nb.njit(error_model="numpy")
def turn_one(signs, vector):
    turn_query(signs, vector)


@nb.njit(error_model="numpy")
def turn_one_widely(signs, vector):
    turn_wide_query(signs, vector)


def hadamard(size: int) -> np.ndarray:
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.sqrt(size)


def matrix_of(signs: np.ndarray) -> np.ndarray:
    """The rotation as a product of matrices, float64 (d, d)."""
    rounds, d = signs.shape
    size = 1 << (d.bit_length() - 1)
    half = d // 2
    walk = np.eye(d)
    for i in range(half):
        pair = [i, d - half + i]
        walk[np.ix_(pair, pair)] = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    total = np.eye(d)
    for at in range(rounds):
        window = np.eye(d)
        first = 0 if at % 2 == 0 else d - size
        window[first : first + size, first : first + size] = hadamard(size)
        total = window @ (signs[at].astype(float)[:, None] * total)
        if at % 2 == 1 and size < d:
            total = walk @ total
    return total


@pytest.mark.slow
@given(d=DIMENSIONS, rounds=st.integers(1, 5), seed=st.integers(0, 1000))
def test_rotations_are_products_of_their_matrices(d: int, rounds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs = rng.choice(np.array([-1, 1], np.int8), (rounds, d))
    rows = rng.standard_normal((3, d))
    matrix = matrix_of(signs)
    with Guarded() as guarded:
        held, wide, narrow = guarded.copy(signs), guarded.empty((3, d), np.float64), guarded.empty((3, d), np.float32)
        wide[:], narrow[:] = rows, rows
        turn_wide_rows(held, wide, 0)
        turn_rows(held, narrow, 0)
        np.testing.assert_allclose(wide, rows @ matrix.T, atol=1e-12)
        np.testing.assert_allclose(narrow, rows @ matrix.T, atol=1e-5)
        alone, alone_wide = guarded.empty(d, np.float32), guarded.empty(d, np.float64)
        alone[:], alone_wide[:] = rows[1], rows[1]
        turn_one(held, alone)
        turn_one_widely(held, alone_wide)
        np.testing.assert_allclose(alone, narrow[1], atol=1e-6)
        np.testing.assert_allclose(alone_wide, wide[1], atol=1e-12)
        turn_wide_rows(held, wide, 1)
        turn_rows(held, narrow, 1)
        np.testing.assert_allclose(wide, rows, atol=1e-12)
        np.testing.assert_allclose(narrow, rows, atol=1e-5)


@pytest.mark.parametrize("d", [769, 1000, 1023, 1024, 1535, 1536])
def test_any_single_coordinate_is_spread_over_all(d: int) -> None:
    """As by a random rotation, whose largest entry is about 5.3 deviations: without enough rounds some are 12 and more."""
    matrix = SignRotation.draw(d, np.random.default_rng(d)).matrix
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(d), atol=1e-5)
    assert np.abs(matrix).max() * np.sqrt(d) < 7
    assert np.abs(np.square(matrix).sum(axis=0) - 1).max() < 1e-5


@pytest.mark.parametrize("d", [769, 1000, 1536])
def test_structured_vectors_are_spread(d: int) -> None:
    rng = np.random.default_rng(0)
    blocks = np.zeros((4, d))
    blocks[0] = 1  # constant
    blocks[1, ::2] = 1
    blocks[2, : d // 3] = 1
    blocks[3] = np.where(np.arange(d) % 64 < 32, 1, -1)  # a row of a Hadamard matrix, which one transform would undo
    turned = SignRotation.draw(d, rng).apply(blocks)
    largest = np.abs(turned).max(axis=1) / np.sqrt(np.square(turned).mean(axis=1))
    assert (largest < 6).all()


@pytest.mark.parametrize("d", [1, 7, 8, 9, 769])
def test_signs_are_packed_and_unpacked(d: int) -> None:
    rotation = SignRotation.draw(d, np.random.default_rng(3))
    assert rotation.packed.shape == (ROUNDS, -(-d // 8))
    np.testing.assert_array_equal(SignRotation.unpack(rotation.packed, ROUNDS, d).signs, rotation.signs)
    assert set(np.unique(rotation.signs)) <= {-1, 1}


@pytest.mark.parametrize(
    "damaged",
    [
        np.zeros((ROUNDS, 3), np.uint8),
        np.zeros((ROUNDS, 1), np.uint8),
        np.zeros((0, 2), np.uint8),
        np.zeros((ROUNDS - 1, 2), np.uint8),
        np.zeros((ROUNDS, 2), np.int8),
        np.zeros(2, np.uint8),
    ],
)
def test_signs_of_another_shape_are_refused(damaged: np.ndarray) -> None:
    with pytest.raises(ValueError, match="signs must be uint8"):
        SignRotation.unpack(damaged, ROUNDS, 13)
