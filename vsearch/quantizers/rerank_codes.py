"""Rerank codes: the rotated residual of a vector to its partition centroid, independent of the scan's codes.

``int8`` keeps one byte per dimension on a grid that is shared up to one scale per vector; ``float16`` and ``float32``
keep the residual itself. The inner product with a query is ``sum_j query_j * weight_j * code_j * scale``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vsearch.quantizers.klt import block_bounds

Rerank = Literal["int8", "float16", "float32"]
KINDS: tuple[Rerank, ...] = ("int8", "float16", "float32")
LEAST_COSINE = 0.2  # between a vector and its residual, for the one to tell the scale of the other
LARGEST_CORRECTION = 0.02  # of an int8 scale
FAR = 10.0  # partitions' radii from the mean
FLOAT16_EXPONENT = 15  # a peak is scaled to at least 2^14 and below 2^15


@dataclass(frozen=True, eq=False)
class ResidualCodes:
    """Rerank codes of n residuals: codes (n, d) int8, float16 or float32, and scales float32 (n,)."""

    codes: NDArray[np.int8] | NDArray[np.float16] | NDArray[np.float32]
    scales: NDArray[np.float32]


def dimension_weights(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """How coarse the grid of each block's dimensions is, float32 (d,): the square root of their deviation.

    A grid must hold a vector's largest values, which wants steps in proportion to the deviations. Its error is felt where
    queries are large, which are as uneven as the vectors, and wants the opposite. In between it is least: measured on
    115,659 glosses, 10 % less than with the deviations themselves. A block of dead dimensions gets a small positive weight,
    so that nothing is divided by zero.
    """
    dimensions = rotated.shape[1]
    squares: NDArray[np.float64] = np.einsum("ij,ij->j", rotated, rotated, dtype=np.float64) / len(rotated)
    weights = np.ones(dimensions)
    for start, stop in block_bounds(dimensions):
        weights[start:stop] = squares[start:stop].mean() ** 0.25
    largest = weights.max()
    if not largest > 0:
        return np.ones(dimensions, np.float32)
    return np.maximum(weights, largest * 1e-3).astype(np.float32)


def lie_far_apart(centroid_squares: NDArray[np.float32], weights: NDArray[np.float32], radii: float = FAR) -> bool:
    """Whether some partition lies so many radii from the mean, so that its rows' distances to each other are small beside it.

    Sums of float32 numbers lose the digits that these distances need; what is rotated is rounded once, from float64.

    Parameters
    ----------
    centroid_squares : float32 (partitions,)
    weights : float32 (d,)
        See `dimension_weights`.
    """
    residuals = float(np.sum(weights.astype(np.float64) ** 4))  # mean square
    return float(centroid_squares.max()) > radii**2 * residuals


def rotate_widely(vectors: NDArray[np.float32], rotation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, d) rotated in float64, and rounded once."""
    return (vectors.astype(np.float64) @ rotation.T.astype(np.float64)).astype(np.float32)


def relative_half(values: NDArray[np.float32]) -> tuple[NDArray[np.float16], np.float32]:
    """Non-negative values as float16 relative to their largest; (halves, largest)."""
    largest = np.float32(values.max(initial=0.0))
    if largest == 0:
        return np.zeros(len(values), np.float16), np.float32(1.0)
    return (values / largest).astype(np.float16), largest


def encode_residuals(
    residuals: NDArray[np.float32], weights: NDArray[np.float32], kind: Rerank, centroid: NDArray[np.float32]
) -> tuple[ResidualCodes, NDArray[np.float16], np.float32]:
    """Encode the rotated residuals (n, d) of one partition, whose rotated centroid is float32 (d,).

    A vector is returned for queries that point its way, so int8 scales are chosen such that the decoded vector is as long
    along the vector as the vector is: what is left of the error is at a right angle to it (see `_straighten`).

    Returns
    -------
    codes : ResidualCodes
        With the scales as they are stored.
    halves : float16 (n,)
        Scales relative to `largest`.
    largest : float32
        The partition's scale.
    """
    from vsearch.kernels.scan.encode import encode_int8, largest_ratio

    n = len(residuals)
    if kind != "int8":
        halves, largest = np.ones(n, np.float16), np.float32(1.0)
        if kind == "float16":
            # the partition's peak comes to the top of the range, so that no unit of the vectors is too small for halves
            exponent = int(np.frexp(np.abs(residuals).max(initial=0.0))[1])
            largest = np.float32(2.0 ** max(exponent - FLOAT16_EXPONENT, -126))
            codes: NDArray[np.float16] | NDArray[np.float32] = (residuals / largest).astype(np.float16)
        else:
            codes = residuals.astype(np.float32)
        return ResidualCodes(codes, np.full(n, largest, np.float32)), halves, largest
    ratios = np.empty(n, np.float32)
    largest_ratio(residuals, weights, ratios)
    steps = np.nextafter(ratios / np.float32(127), np.float32(np.inf), dtype=np.float32)
    bytes_ = np.empty(residuals.shape, np.int8)
    encode_int8(residuals, weights, steps, bytes_)
    halves, largest = relative_half(steps * _straighten(residuals, bytes_ * weights * steps[:, None], centroid))
    return ResidualCodes(bytes_, halves.astype(np.float32) * largest), halves, largest


def _straighten(
    residuals: NDArray[np.float32], decoded: NDArray[np.float32], centroid: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Factors float32 (n,) after which the errors of decoded residuals are at a right angle to the vectors.

    Where vector and residual are nearly at a right angle themselves the factor would be arbitrary, and stays 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        vectors = residuals + centroid
        along: NDArray[np.float32] = np.einsum("ij,ij->i", residuals, vectors)
        decoded_along = np.einsum("ij,ij->i", decoded, vectors)
        lengths = np.sqrt(np.einsum("ij,ij->i", residuals, residuals)) * np.sqrt(
            np.einsum("ij,ij->i", vectors, vectors)
        )
        usable = (along > LEAST_COSINE * lengths) & (decoded_along > 0) & np.isfinite(lengths)
    factors = np.divide(along, decoded_along, out=np.ones_like(along), where=usable)
    return np.clip(factors, 1 - LARGEST_CORRECTION, 1 + LARGEST_CORRECTION)


def decode_residuals(codes: ResidualCodes, weights: NDArray[np.float32], kind: Rerank) -> NDArray[np.float32]:
    """Rotated residuals float32 (n, d) of rerank codes."""
    values = codes.codes.astype(np.float32) * codes.scales[:, None]
    return values * weights if kind == "int8" else values
