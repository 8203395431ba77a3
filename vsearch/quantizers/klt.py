"""The Karhunen-Loeve transform of residuals, and random rotations within blocks of its dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 16  # dimensions that share a grid: few enough for low-dimensional data, enough for a rotation to even them out
SPANNED = 1e-9  # of the largest squared norm along a direction: below it there is only rounding noise


@dataclass(frozen=True, eq=False)
class KLT:
    """An orthogonal transform that decorrelates the data that it was fitted to.

    Attributes
    ----------
    matrix : float32 (d, d)
        The rows are the eigenvectors of the covariance, by descending eigenvalue; ``z = matrix @ x``.
    eigenvalues : float64 (d,)
        Variances of the transformed dimensions, descending.
    """

    matrix: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]


def fit_klt(residuals: NDArray[np.float32]) -> KLT:
    """Fit the transform to residuals (n, d), which may be rank-deficient (constant data, n < d).

    O(n d^2 + d^3); with fewer residuals than dimensions O(n d^2).
    """
    if len(residuals) < residuals.shape[1]:
        return _fit_span(residuals)
    covariance = np.asarray(residuals.T @ residuals, np.float64) / max(1, len(residuals))
    eigenvalues, vectors = np.linalg.eigh(covariance)
    order = np.argsort(-eigenvalues, kind="stable")
    matrix = np.ascontiguousarray(vectors[:, order].T, np.float32)
    return KLT(matrix, np.maximum(eigenvalues[order], 0.0))


def _fit_span(residuals: NDArray[np.float32]) -> KLT:
    """`fit_klt` for fewer residuals than dimensions: their Gram matrix yields all directions that have variance."""
    n, d = residuals.shape
    rows = residuals.astype(np.float64)
    squares, combinations = np.linalg.eigh(rows @ rows.T)
    kept = np.flatnonzero(squares > SPANNED * squares.max(initial=0.0))[::-1]
    basis = _orthonormal((combinations[:, kept] / np.sqrt(squares[kept])).T @ rows)
    eigenvalues: NDArray[np.float64] = np.zeros(d)
    eigenvalues[: len(kept)] = squares[kept] / max(1, n)
    return KLT(complete_basis(np.asarray(basis, np.float32)), eigenvalues)


def principal_directions(vectors: NDArray[np.float32], energy: float, step: int) -> NDArray[np.float32]:
    """Return orthonormal directions float32 (r, d) with a fraction `energy` of the squares of vectors (n, d), n >= 1.

    They also have this fraction of the squares of what remains after subtracting the mean. r is a multiple of `step`, or
    all directions that the vectors have, but at least 1. O(n^2 d + n^3).
    """
    rows = vectors.astype(np.float64)
    squares, combinations = np.linalg.eigh(rows @ rows.T)
    kept = np.flatnonzero(squares > SPANNED * squares.max(initial=0.0))[::-1]
    if not len(kept):
        return np.eye(1, vectors.shape[1], dtype=np.float32)
    directions = _orthonormal((combinations[:, kept] / np.sqrt(squares[kept])).T @ rows)
    coordinates = rows @ directions.T
    count = 1
    for shares, total in ((squares[kept], squares[kept].sum()), (coordinates.var(axis=0), rows.var(axis=0).sum())):
        count = max(count, int(np.searchsorted(shares.cumsum(), energy * total)) + 1)
    return directions[: -(-count // step) * step].astype(np.float32)


def _orthonormal(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormalize rows (r, d) that are orthonormal up to rounding, as Gram-Schmidt does. O(r^2 d).

    The result is that of a QR decomposition, by matrix products, which take a tenth of the time.
    """
    return np.asarray(np.linalg.solve(np.linalg.cholesky(rows @ rows.T), rows))


def complete_basis(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Complete orthonormal rows (r, d) to an orthogonal matrix, float32 (d, d), that begins with them. O(r d^2).

    The other rows are those of the block reflector that maps the first r unit vectors into the span of the rows.
    """
    r, d = rows.shape
    left, _, right = np.linalg.svd(rows[:, :r].astype(np.float64))
    reflector = rows.copy()
    reflector[:, :r] += np.asarray(left @ right, np.float32)  # with this sign the sum is well conditioned
    reflector64 = reflector.astype(np.float64)
    scaled = np.asarray(2 * np.linalg.solve(reflector64 @ reflector64.T, reflector64[:, r:]).T, np.float32)
    matrix = np.empty((d, d), np.float32)
    matrix[:r] = rows
    np.matmul(scaled, -reflector, out=matrix[r:])
    matrix[np.arange(r, d), np.arange(r, d)] += 1
    return matrix


def block_bounds(dimensions: int, block: int = BLOCK) -> list[tuple[int, int]]:
    """Return the half-open range of dimensions of every block."""
    return [(start, min(start + block, dimensions)) for start in range(0, dimensions, block)]


def rotate_blocks(matrix: NDArray[np.float32], rng: np.random.Generator, block: int = BLOCK) -> NDArray[np.float32]:
    """Compose an orthogonal transform with a random rotation within every block of its output dimensions."""
    rotated = np.empty_like(matrix)
    # Buffers are reused: allocating them for each block costs more than the products.
    block_rows, block_rotated = np.empty((2, block, matrix.shape[1]))
    for start, stop in block_bounds(len(matrix), block):
        gaussian = rng.standard_normal((stop - start, stop - start))
        orthogonal, triangle = np.linalg.qr(gaussian)
        orthogonal *= np.sign(np.diagonal(triangle))
        count = stop - start
        block_rows[:count] = matrix[start:stop]
        np.matmul(orthogonal, block_rows[:count], out=block_rotated[:count])
        rotated[start:stop] = block_rotated[:count]
    return rotated
