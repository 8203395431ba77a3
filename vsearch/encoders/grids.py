"""Round weights to integers: with a step size per row and, for fewer than 8 bits, a scale and offset per 32 columns.

In a group, a weight is ``scale * code + offset`` steps, where scale and offset are small integers. All weights are therefore
int8, and one kernel serves all numbers of bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from vsearch.kernels.encoders.fields import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_WEIGHT = 63
"""Weights of linear layers have 7 bits, so that the sum of two products with unsigned 8-bit numbers fits 16 bits (AVX2)."""

LARGEST_ENTRY = 127
"""Entries of the token table are not multiplied."""

Bits: TypeAlias = Literal[8, 4, 3, 2, "ternary"]

TERNARY: Literal["ternary"] = "ternary"
"""Three values per group: minus the scale, 0, and the scale."""

BITS: tuple[Bits, ...] = (8, 4, 3, 2, TERNARY)
"""Bits per number on disk; 8-bit numbers have no groups."""

SHRINKAGES = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Fractions of a group's range that its codes may cover: smaller ones clip outliers, and round the rest more finely."""

TERNARY_SHRINKAGES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""The same for ternary weights, for normally distributed ones of which about 0.55 is best."""

DAMPING = 0.01
"""Added to the diagonal of the second moments, as a fraction of its mean."""


class Rounded(NamedTuple):
    """Weights (rows, columns) as integers.

    Attributes
    ----------
    steps : float32 (rows,)
        Step size of each row.
    codes : int8 or uint8 (rows, columns)
        The integers themselves (8 bits), or codes from 0 to ``2^bits - 1``; from 0 to 2 for ternary weights.
    scales, offsets : uint8 and int8 (rows, groups), or None
        Scales and offsets of groups of columns, in steps; None for 8 bits.
    """

    steps: NDArray[np.float32]
    codes: NDArray[np.int8] | NDArray[np.uint8]
    scales: NDArray[np.uint8] | None = None
    offsets: NDArray[np.int8] | None = None

    def integers(self) -> NDArray[np.int8]:
        """Return the weights in steps, int8 (rows, columns)."""
        if self.scales is None or self.offsets is None:
            return self.codes.astype(np.int8)
        return expand(self.codes, self.scales, self.offsets)


def is_bits(value: Any) -> bool:
    """Whether a value is one of `BITS`."""
    return type(value) in (int, str) and value in BITS


def largest_code(bits: Bits) -> int:
    """Return the largest code of groups."""
    return 2 if bits == TERNARY else 2**bits - 1


def expand(codes: NDArray[np.generic], scales: NDArray[np.uint8], offsets: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return integers int8 (rows, columns) from codes and the scales and offsets of their groups; overflows wrap."""
    grouped = codes.reshape(*scales.shape, -1).astype(np.int16)
    return (grouped * scales[:, :, None] + offsets[:, :, None]).astype(np.int8).reshape(len(codes), -1)


def choose_steps(weights: NDArray[np.floating], largest: int) -> NDArray[np.float32]:
    """Return step sizes float32 (rows,) for which the largest weight of each row is `largest` steps."""
    steps = (np.abs(weights).max(axis=1, initial=0) / largest).astype(np.float32)
    return np.where(steps > np.finfo(np.float32).tiny, steps, np.float32(1))


def choose_groups(
    weights: NDArray[np.float32], bits: Bits, largest: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose the scales and offsets of groups with the smallest rounding errors.

    Parameters
    ----------
    weights : float32 (n, 32)
        In steps.
    bits : {4, 3, 2, "ternary"}
        Bits per code; the offsets of ternary weights are minus the scales.
    largest : int
        The largest magnitude of the resulting integers.

    Returns
    -------
    scales, offsets : float32 (n,)
        Integers.
    """
    top = largest_code(bits)
    clipped = np.clip(weights, -largest, largest)
    low, high = clipped.min(axis=1), clipped.max(axis=1)
    if bits == TERNARY:
        high = np.maximum(high, -low)
        low = -high
    best = np.full(len(weights), np.inf, np.float32)
    scales, offsets = np.ones_like(best), np.zeros_like(best)
    for shrinkage in TERNARY_SHRINKAGES if bits == TERNARY else SHRINKAGES:
        scale = np.clip(np.rint((high - low) * np.float32(shrinkage / top)), 1, 2 * largest // top)
        offset = np.clip(np.rint((low + high - scale * top) / 2), -largest, largest - scale * top)
        nearest = round_to(weights, scale[:, None], offset[:, None], top) * scale[:, None] + offset[:, None]
        error = np.square(nearest - weights).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        scales, offsets = np.where(better, scale, scales), np.where(better, offset, offsets)
    return scales, offsets


def round_to(
    weights: NDArray[np.float32], scale: NDArray[np.float32], offset: NDArray[np.float32], top: int
) -> NDArray[np.float32]:
    """Return the codes of weights in steps, as floats."""
    return np.clip(np.rint((weights - offset) / scale), 0, top)


def round_plainly(weights: NDArray[np.float32], bits: Bits, largest: int) -> Rounded:
    """Round each weight to the nearest integer. The number of columns must be a multiple of 32 for fewer than 8 bits."""
    steps = choose_steps(weights, largest)
    units = weights / steps[:, None]
    if bits == 8:
        return Rounded(steps, np.rint(units).astype(np.int8))
    groups = units.reshape(-1, GROUP)
    scales, offsets = choose_groups(groups, bits, largest)
    codes = round_to(groups, scales[:, None], offsets[:, None], largest_code(bits))
    shape = (len(weights), -1)
    return Rounded(
        steps,
        codes.astype(np.uint8).reshape(weights.shape),
        scales.astype(np.uint8).reshape(shape),
        offsets.astype(np.int8).reshape(shape),
    )


def round_jointly(weights: NDArray[np.float32], factor: NDArray[np.float32], bits: Bits, largest: int) -> Rounded:
    """Round column by column, and adjust the remaining columns to compensate for each error (GPTQ).

    Parameters
    ----------
    weights : float32 (rows, columns)
        The number of columns is a multiple of 32.
    factor : float32 (columns, columns)
        The `error_factor` of the inputs, for which products are preserved.
    bits : {8, 4, 3, 2, "ternary"}
    largest : int

    Notes
    -----
    Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2022.
    """
    rows, columns = weights.shape
    steps = choose_steps(weights, largest)
    units = (weights / steps[:, None]).astype(np.float32)
    top = 2 * largest if bits == 8 else largest_code(bits)
    codes = np.empty((rows, columns), np.float32)
    scales = np.ones((rows, columns // GROUP), np.float32)
    offsets = np.full((rows, columns // GROUP), -largest, np.float32)
    for group in range(columns // GROUP):
        start, stop = group * GROUP, (group + 1) * GROUP
        block = units[:, start:stop].copy()
        if bits != 8:
            scales[:, group], offsets[:, group] = choose_groups(block, bits, largest)
        scale, offset = scales[:, group], offsets[:, group]
        errors = np.empty_like(block)
        for column in range(GROUP):
            codes[:, start + column] = round_to(block[:, column], scale, offset, top)
            nearest = codes[:, start + column] * scale + offset
            errors[:, column] = (block[:, column] - nearest) / factor[start + column, start + column]
            block[:, column:] -= errors[:, column, None] * factor[start + column, start + column : stop]
        units[:, stop:] -= errors @ factor[start:stop, stop:]
    if bits == 8:
        return Rounded(steps, (codes - largest).astype(np.int8))
    return Rounded(steps, codes.astype(np.uint8), scales.astype(np.uint8), offsets.astype(np.int8))


def error_factor(moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the factor by which errors propagate to later columns, for inputs with these second moments (columns, columns).

    It is the upper Cholesky factor of the inverse of the damped moments.
    """
    diagonal = np.diagonal(moments)
    damped = moments + np.diag(np.full(len(moments), max(DAMPING * diagonal.mean(), 1e-12)))
    return np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
