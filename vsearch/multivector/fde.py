"""Fixed-dimensional encodings: one vector per document, whose inner product with that of a query approximates MaxSim.

As in MUVERA, vectors are assigned to buckets; a document is represented by its mean in each bucket (its nearest vector
if it has none there), a query by the sum of its vectors. Unlike MUVERA, buckets and projections are fitted to the
documents instead of drawn at random: k-means buckets and, in each, the principal directions of the documents, allocated
by variance. An additional bucket contains the whole document. On real tokens, 1,024 such dimensions have .97 of the
exact top 10 among the best 100 of 700; MUVERA's random projections have .82 with twice as many dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import cached_property
from vsearch.multivector.codec import train_codebook


@dataclass(frozen=True, eq=False)
class FixedEncoding:
    """A fitted encoding.

    Attributes
    ----------
    centroids : float32 (buckets, d)
        Centroids of the buckets; none if there is only the bucket of the whole document.
    bases : float32 (D, d)
        Orthonormal directions: those of the whole document, then those of each bucket.
    counts : int32 (buckets + 1,)
        Number of directions of each.
    means : float32 (D,)
        Mean encoding of the documents, which is subtracted: this shifts all scores of a query by the same amount.
    """

    centroids: NDArray[np.float32]
    bases: NDArray[np.float32]
    counts: NDArray[np.int32]
    means: NDArray[np.float32]

    @property
    def dimensions(self) -> int:
        return len(self.bases)

    @cached_property
    def _half_squares(self) -> NDArray[np.float32]:
        return np.einsum("ij,ij->i", self.centroids, self.centroids) / 2

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])

    def encode_documents(self, vectors: NDArray[np.float32], offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Encode concatenated documents: float32 (documents, D). O(n * d * buckets + documents * d * D)."""
        entries = bucket_entries(self.centroids, vectors, offsets)
        encoded = np.empty((len(entries), self.dimensions), np.float32)
        for bucket in range(len(self.counts)):
            rows = slice(self._starts[bucket], self._starts[bucket + 1])
            encoded[:, rows] = entries[:, bucket] @ self.bases[rows].T
        return encoded - self.means

    def encode_query(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode one query's vectors (n, d): float32 (D,)."""
        from vsearch.kernels.multivector.fde import encode_query

        encoded = np.empty(self.dimensions, np.float32)
        sums = np.empty((len(self.counts), vectors.shape[1]), np.float32)
        encode_query(vectors, self.centroids, self._half_squares, self.bases, self._starts, sums, encoded)
        return encoded

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays to store in the model file, without empty ones."""
        arrays = {"fde.bases": self.bases, "fde.counts": self.counts, "fde.means": self.means}
        return arrays | ({"fde.centroids": self.centroids} if len(self.centroids) else {})


def bucket_entries(
    centroids: NDArray[np.float32], vectors: NDArray[np.float32], offsets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the representative of documents overall and in every bucket: float32 (documents, buckets + 1, d)."""
    from vsearch.kernels.multivector.fde import fill_buckets

    vectors = np.ascontiguousarray(vectors, np.float32)
    distances = np.einsum("ij,ij->i", centroids, centroids) / 2 - vectors @ centroids.T
    buckets = len(centroids)
    if buckets == 0:
        sums = np.add.reduceat(vectors, offsets[:-1], axis=0, dtype=np.float32)
        return np.asarray(sums / np.diff(offsets)[:, None], np.float32)[:, None]
    nearest = np.argmin(distances, axis=1)
    entries = np.empty((len(offsets) - 1, buckets + 1, vectors.shape[1]), np.float32)
    fill_buckets(
        vectors,
        np.ascontiguousarray(offsets, np.int64),
        np.ascontiguousarray(distances, np.float32),
        nearest,
        np.empty(buckets, np.int64),
        entries,
    )
    return entries


def train_fde(
    vectors: NDArray[np.float32], offsets: NDArray[np.int64], dimensions: int, buckets: int, seed: int = 0
) -> FixedEncoding:
    """Fit an encoding to a sample of concatenated documents.

    Parameters
    ----------
    vectors, offsets : float32 (n, d), int64 (documents + 1,)
    dimensions : int
        Maximum number of dimensions; there are fewer if the documents vary in fewer directions.
    buckets : int
        Number of buckets; 0 for the whole document only.
    """
    d = vectors.shape[1]
    centroids = train_codebook(vectors, buckets, seed) if buckets else np.empty((0, d), np.float32)
    entries = bucket_entries(centroids, vectors, offsets)
    shares = np.ones(len(centroids) + 1)
    if len(centroids):
        nearest = np.argmin(np.einsum("ij,ij->i", centroids, centroids) / 2 - vectors @ centroids.T, axis=1)
        shares[1:] = np.bincount(nearest, minlength=len(centroids)) / len(vectors)
    worth, bases, means = [], [], []
    for bucket in range(entries.shape[1]):
        mean = entries[:, bucket].mean(axis=0, dtype=np.float64)
        centered = entries[:, bucket] - mean.astype(np.float32)
        values, directions = np.linalg.eigh(np.asarray(centered.T @ centered, np.float64) / len(centered))
        # the weight of a direction: the variance of documents along it, times the fraction of vectors in its bucket
        worth.append(values[::-1] * shares[bucket])
        bases.append(directions[:, ::-1].T)
        means.append(mean)
    all_worth = np.concatenate(worth)
    order = np.argsort(-all_worth, kind="stable")[:dimensions]
    order = order[all_worth[order] > max(1e-9 * all_worth.max(), 0)] if all_worth.max() > 0 else order[:1]
    counts = np.bincount(order // d, minlength=len(bases)).astype(np.int32)
    chosen = np.concatenate([basis[:count] for basis, count in zip(bases, counts, strict=True)]).astype(np.float32)
    projected = [basis[:count] @ mean for basis, mean, count in zip(bases, means, counts, strict=True)]
    return FixedEncoding(centroids, np.ascontiguousarray(chosen), counts, np.concatenate(projected).astype(np.float32))


def load_fde(arrays: Mapping[str, NDArray[Any]]) -> FixedEncoding:
    """Restore an encoding from the results of `FixedEncoding.arrays`.

    Raises
    ------
    KeyError, ValueError
        They are incomplete or inconsistent.
    """
    bases, counts, means = arrays["fde.bases"], arrays["fde.counts"], arrays["fde.means"]
    centroids = arrays.get("fde.centroids", np.empty((0, bases.shape[-1]), np.float32))
    dtypes = [array.dtype for array in (centroids, bases, means, counts)]
    valid = dtypes == [np.float32, np.float32, np.float32, np.int32] and bases.ndim == centroids.ndim == 2
    valid = valid and bases.shape[1] == centroids.shape[1] and means.shape == (len(bases),)
    valid = valid and counts.shape == (len(centroids) + 1,) and counts.min() >= 0 and int(counts.sum()) == len(bases)
    if not valid or not all(np.isfinite(array).all() for array in (centroids, bases, means)):
        msg = "the arrays of the fixed-dimensional encoding are inconsistent"
        raise ValueError(msg)
    return FixedEncoding(np.ascontiguousarray(centroids), np.ascontiguousarray(bases), counts, means)
