"""Weights as whole numbers of steps: what postings hold in place of counts.

All segments of an index have one step, a power of two, so that the same weight is the same number of steps in each of them and the
score of a row does not depend on how it came into the index. It is chosen when the index is built: the smallest that
takes at most 255 steps, 8 bits, for all but the largest thousandth of the weights. Larger weights take more bits in
their block of postings, up to `MOST_STEPS`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.kernels.text.fields import LARGEST

STEPS = 255
"""Maximum number of steps of the weight that one in a thousand exceeds."""

MOST_STEPS = LARGEST - 1
"""Maximum number of steps of any weight. In the tables of blocks, larger numbers stand for no limit."""

LEAST_STEP, LARGEST_STEP = 2.0**-40, 2.0**32

SATURATION = 2.0**44
"""The k1 with which BM25 adds up sums of products: ``w * k1 * n / (n + k1)`` is ``w * n`` to 4e-9 for all n up to `MOST_STEPS`."""

SUM = 2.0**52 * SATURATION / (MOST_STEPS + 1)
"""Sum of the weights of a query as integers, such that no row's score exceeds 2**52, and floats hold all of them."""


def choose_step(weights: NDArray[np.float64]) -> float:
    """Return the step for positive weights."""
    if not len(weights):
        return 1.0
    high = float(np.quantile(weights, 0.999, method="higher"))
    needed = max(high / STEPS, float(weights.max()) / MOST_STEPS)
    return min(max(2.0 ** math.ceil(math.log2(needed)), LEAST_STEP), LARGEST_STEP) if needed > 0 else LEAST_STEP


def steps_of(weights: NDArray[np.float64], step: float, name: str) -> NDArray[np.uint32]:
    """Return positive weights as numbers of steps, at least 1, so that every row with a term matches.

    Raises
    ------
    InputError
        A weight is too large.
    """
    steps = np.maximum(np.rint(weights / step), 1)
    if len(steps) and steps.max() > MOST_STEPS:
        raise InputError(
            f"weights of {name!r} must be at most {MOST_STEPS * step:g}, got {weights.max():g}: this index stores them as multiples "
            f"of {step:g}; to store larger ones, build it again"
        )
    return steps.astype(np.uint32)
