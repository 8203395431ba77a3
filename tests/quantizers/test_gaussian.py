"""The constants against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest

from vsearch.quantizers.gaussian import ERROR, MAX_BITS, STEP

X = np.linspace(-9, 9, 600_001)
DENSITY = np.exp(-(X**2) / 2) / np.sqrt(2 * np.pi)


def squared_error(step, bits):
    """Mean squared error of a midrise grid of 2^bits levels on a standard normal variable."""
    half = 2 ** (bits - 1)
    level = np.clip(np.floor(X / step), -half, half - 1)
    return np.sum((X - step * (level + 0.5)) ** 2 * DENSITY) * (X[1] - X[0])


@pytest.mark.parametrize("bits", range(1, MAX_BITS + 1))
def test_error(bits):
    assert squared_error(STEP[bits], bits) == pytest.approx(ERROR[bits], rel=1e-3)


@pytest.mark.parametrize("bits", range(1, MAX_BITS + 1))
def test_step_is_the_best(bits):
    least = squared_error(STEP[bits], bits)
    others = [squared_error(STEP[bits] * factor, bits) for factor in (0.97, 0.99, 1.01, 1.03)]
    assert min(others) >= least * (1 - 1e-5)
    assert others[0] > others[1]
    assert others[3] > others[2]


def test_no_bits_leave_everything():
    assert ERROR[0] == 1
    assert len(STEP) == len(ERROR) == MAX_BITS + 1
    assert (np.diff(ERROR) < 0).all()
