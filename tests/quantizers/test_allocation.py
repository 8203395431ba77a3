from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vsearch.quantizers.allocation import allocate_bits
from vsearch.quantizers.gaussian import ERROR, MAX_BITS


def cost(variances, widths, bits):
    return float(np.sum(np.asarray(variances) * widths * ERROR[np.asarray(bits)]))


def least_cost(variances, widths, budget):
    """Over all descending allocations within the budget."""
    found = [
        cost(variances, widths, bits)
        for bits in combinations_with_replacement(range(MAX_BITS, -1, -1), len(widths))
        if np.dot(bits, widths) <= budget
    ]
    return min(found)


VARIANCES = st.lists(st.floats(1e-6, 10), min_size=1, max_size=4)


@given(variances=VARIANCES, width=st.integers(1, 5), last=st.integers(1, 5), share=st.floats(0, 1))
@example(variances=[1.0, 1.0, 1.0, 1.0], width=5, last=1, share=0.06)
@example(variances=[1.0, 0.9, 0.8, 0.7], width=4, last=2, share=0.03125)
def test_equals_brute_force(variances, width, last, share):
    variances = np.sort(variances)[::-1]
    widths = [width] * (len(variances) - 1) + [min(width, last)]
    budget = int(share * MAX_BITS * sum(widths))
    bits = allocate_bits(variances, widths, budget)
    assert bits.dtype == np.int32
    assert np.dot(bits, widths) <= budget
    assert (np.diff(bits) <= 0).all()
    assert bits.min() >= 0
    assert bits.max() <= MAX_BITS
    assert cost(variances, widths, bits) == pytest.approx(least_cost(variances, widths, budget), rel=1e-9, abs=1e-15)


@given(variances=st.lists(st.floats(0, 10), min_size=2, max_size=4), share=st.floats(0, 1))
def test_any_order_of_variances_stays_within_the_budget(variances, share):
    """The order of the transform need not be that of the variances of unit vectors."""
    widths = [4] * (len(variances) - 1) + [3]
    budget = int(share * MAX_BITS * sum(widths))
    bits = allocate_bits(np.array(variances), widths, budget)
    assert np.dot(bits, widths) <= budget
    assert (np.diff(bits) <= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [1, 7, 16, 50, 100, 384])
@pytest.mark.parametrize("budget", np.arange(0.25, 8.01, 0.25))
def test_every_budget(dimensions, budget):
    widths = [16] * (dimensions // 16) + ([dimensions % 16] if dimensions % 16 else [])
    variances = 0.7 ** np.arange(len(widths))
    spend = int(budget * dimensions)
    bits = allocate_bits(variances, widths, spend)
    assert spend - max(widths) < np.dot(bits, widths) <= spend
    assert (np.diff(bits) <= 0).all()


def test_dead_blocks_get_nothing():
    bits = allocate_bits(np.array([1.0, 0.5, 0.0, 0.0]), [16] * 4, 8 * 64)
    assert bits.tolist() == [8, 8, 0, 0]
    assert allocate_bits(np.zeros(3), [16] * 3, 100).tolist() == [0, 0, 0]


def test_no_budget():
    assert allocate_bits(np.array([2.0, 1.0]), [16, 16], 0).tolist() == [0, 0]
    assert allocate_bits(np.array([2.0, 1.0]), [16, 16], 15).tolist() == [0, 0]
