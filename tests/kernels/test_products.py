"""Products in small integers are exact on every kind of processor."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.query.fields import SEVERAL, TOGETHER
from vsearch.kernels.query.products import dot_bytes, dot_bytes_of_several, dot_words, dot_words_of_several


@nb.njit
def dot_groups(groups, query, sums):
    """Products with the rows of all groups."""
    for at in range(groups.shape[0]):
        if groups.itemsize == 1:
            dot_bytes(groups, at, query, sums[at])
        else:
            dot_words(groups, at, query, sums[at])


@nb.njit
def dot_groups_of_several(groups, queries, sums):
    """Products of SEVERAL queries with the rows of all groups."""
    for at in range(groups.shape[0]):
        if groups.itemsize == 1:
            dot_bytes_of_several(groups, at, queries, sums[at])
        else:
            dot_words_of_several(groups, at, queries, sums[at])


def decode(groups: np.ndarray, dimensions: int) -> np.ndarray:
    """The rows (groups * 64, D)."""
    each = 4 // groups.itemsize
    rows = groups.reshape(-1, dimensions // each, TOGETHER, each).transpose(0, 2, 1, 3)
    return rows.reshape(-1, dimensions)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "query"), [(np.uint8, np.int8), (np.int16, np.int16)])
@given(count=st.integers(1, 3), steps=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_products_are_exact(rows: Any, query: Any, count: int, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dimensions = steps * (4 // np.dtype(rows).itemsize)
    least, largest = (0, 127) if rows is np.uint8 else (-3000, 3000)
    groups = rng.integers(least, largest + 1, (count, TOGETHER * dimensions)).astype(rows)
    asked = rng.integers(-127, 128, dimensions).astype(query)
    with Guarded() as guarded:
        sums = guarded.empty((count, TOGETHER), np.int32)
        dot_groups(guarded.copy(groups), guarded.copy(asked), sums)
    twin = decode(groups, dimensions).astype(np.int64) @ asked.astype(np.int64)
    np.testing.assert_array_equal(sums.reshape(-1), twin)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "query"), [(np.uint8, np.int8), (np.int16, np.int16)])
@given(count=st.integers(1, 3), steps=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_products_of_several_queries_are_exact(rows: Any, query: Any, count: int, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dimensions = steps * (4 // np.dtype(rows).itemsize)
    least, largest = (0, 127) if rows is np.uint8 else (-3000, 3000)
    groups = rng.integers(least, largest + 1, (count, TOGETHER * dimensions)).astype(rows)
    asked = rng.integers(-127, 128, (SEVERAL, dimensions)).astype(query)
    with Guarded() as guarded:
        sums = guarded.empty((count, SEVERAL, TOGETHER), np.int32)
        dot_groups_of_several(guarded.copy(groups), guarded.copy(asked), sums)
    twin = asked.astype(np.int64) @ decode(groups, dimensions).astype(np.int64).T
    np.testing.assert_array_equal(sums.transpose(1, 0, 2).reshape(SEVERAL, -1), twin)


def test_products_of_the_largest_bytes() -> None:
    groups = np.full((1, TOGETHER * 2048), 127, np.uint8)
    for value in (-127, 127):
        sums = np.empty((1, TOGETHER), np.int32)
        dot_groups(groups, np.full(2048, value, np.int8), sums)
        assert (sums == 127 * value * 2048).all()


def test_products_of_the_largest_words() -> None:
    groups = np.zeros((1, TOGETHER * 2), np.int16)
    groups[:, :TOGETHER] = 32767
    for value in (-32767, 32767):
        sums = np.empty((1, TOGETHER), np.int32)
        dot_groups(groups, np.array([value, 0], np.int16), sums)
        # the first word of the first 32 rows, each a square of the largest number
        np.testing.assert_array_equal(sums[0], np.where(np.arange(TOGETHER) < TOGETHER // 2, 32767 * value, 0))
