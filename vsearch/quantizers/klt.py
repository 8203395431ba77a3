"""The Karhunen-Loeve transform of residuals, and random rotations inside blocks of its dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 16  # dimensions that share a grid: fine enough for low dimensions, wide enough that a rotation evens them out


@dataclass(frozen=True, eq=False)
class KLT:
    """An orthogonal transform that decorrelates what it was fitted to.

    Attributes
    ----------
    matrix : float32 (d, d)
        Rows are eigenvectors of the covariance, by descending eigenvalue; ``z = matrix @ x``.
    eigenvalues : float64 (d,)
        Variances of the transformed dimensions, descending.
    """

    matrix: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]


def fit_klt(residuals: NDArray[np.float32]) -> KLT:
    """Fit the transform to residuals (n, d); O(n d^2 + d^3). Rank-deficient input is fine (n < d, constant data)."""
    covariance = np.asarray(residuals.T @ residuals, np.float64) / max(1, len(residuals))
    eigenvalues, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-eigenvalues, kind="stable")
    matrix = np.ascontiguousarray(vectors[:, order].T, np.float32)
    return KLT(matrix, np.maximum(eigenvalues[order], 0.0))


def block_bounds(dimensions: int, block: int = BLOCK) -> list[tuple[int, int]]:
    """First and past-the-last dimension of every block."""
    return [(start, min(start + block, dimensions)) for start in range(0, dimensions, block)]


def rotate_blocks(matrix: NDArray[np.float32], rng: np.random.Generator, block: int = BLOCK) -> NDArray[np.float32]:
    """Follow an orthogonal transform by a random rotation inside every block of its output dimensions."""
    rotated = np.empty_like(matrix)
    for start, stop in block_bounds(len(matrix), block):
        gaussian = rng.standard_normal((stop - start, stop - start))
        orthogonal, triangle = np.linalg.qr(gaussian)
        orthogonal *= np.sign(np.diagonal(triangle))
        rotated[start:stop] = orthogonal @ matrix[start:stop]
    return rotated
