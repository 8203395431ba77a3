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
LEAST_EXPONENT = -126  # of float32's normal numbers
SMALL_EXPONENT = -60  # of a scale that is multiplied with steps of queries as small as the rows (1e-18), in float32
DROPPED_BITS = 13  # of float32's 24 significant bits, float16 has 11


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


def round_to_half_precision(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Finite float32 rounded to the 11 significant bits of a float16, to nearest and ties to even; their range stays."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << DROPPED_BITS - 1) - 1)
    odd = (bits >> np.uint32(DROPPED_BITS)) & np.uint32(1)
    return ((bits + half + odd) & np.uint32(0xFFFFFFFF << DROPPED_BITS & 0xFFFFFFFF)).view(np.float32)


def relative_half(
    values: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Non-negative values as float16, relative to a power of two for each group of rows.

    The power brings a group's largest value near the top of the range. Values of 11 significant bits down to ``2**-28`` of the
    largest are kept exactly, so they are the same numbers in whatever group they come to lie; below, bits are lost one by
    one, and what is under ``2**-39`` of the largest becomes 0. Where the largest is under ``2**-45`` its power falls more
    slowly, and under ``2**-60`` the largest comes to 1/2 and above: scales are factors of products that float32 must hold.

    Parameters
    ----------
    values : float32 (n,)
        Group by group.
    counts : int64 (groups,)
        Values of each group, none of them 0.

    Returns
    -------
    halves : float16 (n,)
        At most 2^15; ``halves * scale`` is the value.
    scales : float32 (groups,)
        1 where all values of a group are 0.
    """
    largest = np.maximum.reduceat(values, np.cumsum(counts) - counts) if len(counts) else np.empty(0, np.float32)
    scales = _power_below(largest, SMALL_EXPONENT)
    return (values / np.repeat(scales, counts)).astype(np.float16), scales


def _power_below(largest: NDArray[np.float32], small: int = LEAST_EXPONENT) -> NDArray[np.float32]:
    """Powers of two that bring numbers to 2^14 and above, below 2^15, as float16 can hold them; 1 for 0.

    They are normal float32, and below 2^small only for numbers that are smaller still: those come to 1/2 and above.
    """
    exponents = np.frexp(largest)[1]
    exponents = np.maximum(exponents - FLOAT16_EXPONENT, np.minimum(exponents, small))
    powers = np.ldexp(np.float32(1.0), np.maximum(exponents, LEAST_EXPONENT))
    return np.where(largest > 0, powers, np.float32(1.0))


def encode_residuals(
    residuals: NDArray[np.float32], weights: NDArray[np.float32], kind: Rerank, centroids: NDArray[np.float32]
) -> ResidualCodes:
    """Encode rotated residuals (n, d) to rotated centroids, float32 (n, d) or (d,) for all.

    A vector is returned for queries that point its way, so int8 scales are chosen such that the decoded vector is as long
    along the vector as the vector is: what is left of the error is at a right angle to it (see `_straighten`).

    Scales are as they are stored: rounded to 11 bits. float16 codes are relative to a power of two that a row's own peak
    chooses, so that no unit of the vectors is too small for halves; 0 for a zero residual.
    """
    from vsearch.kernels.scan.encode import encode_int8, largest_ratio

    n = len(residuals)
    if kind == "float32":
        return ResidualCodes(np.ascontiguousarray(residuals, np.float32), np.ones(n, np.float32))
    if kind == "float16":
        peaks = np.maximum(residuals.max(axis=1, initial=0.0), -residuals.min(axis=1, initial=0.0))
        scales = _power_below(peaks)
        halves = (residuals / scales[:, None]).astype(np.float16)
        return ResidualCodes(halves, np.where(peaks > 0, scales, np.float32(0.0)))
    ratios = np.empty(n, np.float32)
    largest_ratio(residuals, weights, ratios)
    steps = np.nextafter(ratios / np.float32(127), np.float32(np.inf), dtype=np.float32)
    bytes_ = np.empty(residuals.shape, np.int8)
    encode_int8(residuals, weights, steps, bytes_)
    scales = steps * _straighten(residuals, bytes_ * weights * steps[:, None], centroids)
    return ResidualCodes(bytes_, round_to_half_precision(scales))


def _straighten(
    residuals: NDArray[np.float32], decoded: NDArray[np.float32], centroids: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Factors float32 (n,) after which the errors of decoded residuals are at a right angle to the vectors.

    Where vector and residual are nearly at a right angle themselves the factor would be arbitrary, and stays 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        vectors = residuals + centroids
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
