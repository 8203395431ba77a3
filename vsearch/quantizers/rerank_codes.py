"""Rerank codes: the rotated residual of a vector to its partition centroid, independent of the codes that are scanned.

``int8`` stores one byte per dimension on a grid that all vectors share up to a scale per vector; ``float16`` and
``float32`` store the residual itself. The inner product with a query is ``sum_j query_j * weight_j * code_j * scale``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vsearch.quantizers.klt import block_bounds

Rerank = Literal["int8", "float16", "float32"]
KINDS: tuple[Rerank, ...] = ("int8", "float16", "float32")
LEAST_COSINE = 0.2  # between vector and residual: below it, the vector does not determine the scale of its residual
LARGEST_CORRECTION = 0.02  # largest relative correction of an int8 scale
FAR = 10.0  # distance of a partition from the mean, in radii of partitions
FLOAT16_EXPONENT = 15  # peaks are scaled to [2^14, 2^15)
LEAST_EXPONENT = -126  # of normal float32 numbers
SMALL_EXPONENT = -60  # of a scale whose product with the steps of queries as small as the rows (1e-18) fits in float32
DROPPED_BITS = 13  # float32 has 24 significant bits, float16 has 11


@dataclass(frozen=True, eq=False)
class ResidualCodes:
    """Rerank codes of n residuals.

    Attributes
    ----------
    codes : int8, float16 or float32 (n, d)
    scales : float32 (n,)
    """

    codes: NDArray[np.int8] | NDArray[np.float16] | NDArray[np.float32]
    scales: NDArray[np.float32]


def dimension_weights(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the relative grid step of each dimension, float32 (d,): the square root of its block's standard deviation.

    To cover a vector's largest values, steps should be proportional to the deviations. But errors matter most in
    dimensions where queries are large, and queries are as uneven as the vectors, which calls for the opposite. The
    square root is the best compromise: on 115,659 glosses the error is 10 % smaller than with the deviations
    themselves. Blocks without variance get a small positive weight to avoid division by zero.
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
    """Return whether some partition is more than `radii` radii from the mean, far compared to the distances within it.

    Float32 sums then lose the digits that distinguish its rows, so rotation must be computed in float64 and rounded
    once.

    Parameters
    ----------
    centroid_squares : float32 (partitions,)
        Squared norms of the centroids.
    weights : float32 (d,)
        See `dimension_weights`.
    radii : float
        The threshold.
    """
    mean_square = float(np.sum(weights.astype(np.float64) ** 4))  # of residuals
    return float(centroid_squares.max()) > radii**2 * mean_square


def rotate_widely(vectors: NDArray[np.float32], rotation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rotate vectors (n, d) in float64 and round once to float32."""
    return (vectors.astype(np.float64) @ rotation.T.astype(np.float64)).astype(np.float32)


def round_to_half_precision(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round finite float32 values to 11 significant bits, as of float16, to nearest even; keep float32's range."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << DROPPED_BITS - 1) - 1)
    odd = (bits >> np.uint32(DROPPED_BITS)) & np.uint32(1)
    return ((bits + half + odd) & np.uint32(0xFFFFFFFF << DROPPED_BITS & 0xFFFFFFFF)).view(np.float32)


def relative_half(
    values: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Convert non-negative values to float16, relative to a power of two for each group of rows.

    The power scales a group's largest value near the top of float16's range. Values with 11 significant bits are exact
    down to ``2**-28`` of the largest, so they are the same numbers in any group; smaller values lose bits one by one,
    and values below ``2**-39`` of the largest become 0. If the largest value is below ``2**-45`` its power decreases
    more slowly, and below ``2**-60`` the largest is scaled to 1/2 and above: scales are factors of products that must
    fit in float32.

    Parameters
    ----------
    values : float32 (n,)
        Group by group.
    counts : int64 (groups,)
        Number of values of each group, at least 1.

    Returns
    -------
    halves : float16 (n,)
        At most 2^15; ``halves * scale`` is the value.
    scales : float32 (groups,)
        1 if all values of a group are 0.
    """
    largest = np.maximum.reduceat(values, np.cumsum(counts) - counts) if len(counts) else np.empty(0, np.float32)
    scales = _power_below(largest, SMALL_EXPONENT)
    return (values / np.repeat(scales, counts)).astype(np.float16), scales


def _power_below(largest: NDArray[np.float32], small: int = LEAST_EXPONENT) -> NDArray[np.float32]:
    """Return powers of two that scale numbers to [2^14, 2^15), in the range of float16; 1 for 0.

    They are normal float32 numbers, below 2^small only for numbers that are smaller still, which are scaled to 1/2 and
    above.
    """
    exponents = np.frexp(largest)[1]
    exponents = np.maximum(exponents - FLOAT16_EXPONENT, np.minimum(exponents, small))
    powers = np.ldexp(np.float32(1.0), np.maximum(exponents, LEAST_EXPONENT))
    return np.where(largest > 0, powers, np.float32(1.0))


def encode_residuals(
    residuals: NDArray[np.float32], weights: NDArray[np.float32], kind: Rerank, centroids: NDArray[np.float32]
) -> ResidualCodes:
    """Encode rotated residuals (n, d) to rotated centroids, float32 (n, d), or (d,) for all.

    The queries that return a vector point in its direction, so int8 scales are chosen so that the decoded vector has
    the right length along the vector: the remaining error is orthogonal to it (see `_straighten`).

    Scales are rounded to 11 bits, as they are stored. float16 codes are relative to a power of two derived from the
    row's peak, so that vectors may have any unit; it is 0 for a zero residual.
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
    codes = np.empty(residuals.shape, np.int8)
    encode_int8(residuals, weights, steps, codes)
    scales = steps * _straighten(residuals, codes * weights * steps[:, None], centroids)
    return ResidualCodes(codes, round_to_half_precision(scales))


def _straighten(
    residuals: NDArray[np.float32], decoded: NDArray[np.float32], centroids: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return factors, float32 (n,), that make the errors of decoded residuals orthogonal to the vectors.

    Where vector and residual are nearly orthogonal themselves the factor would be arbitrary, so it is 1.
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
    """Decode rerank codes to rotated residuals, float32 (n, d)."""
    values = codes.codes.astype(np.float32) * codes.scales[:, None]
    return values * weights if kind == "int8" else values
