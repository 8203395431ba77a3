"""Codes of document vectors: a centroid number per vector, and an OSQ code of its residual.

The centroid numbers follow HPC-ColPali. For the residual, uniform bits with per-dimension buckets (PLAID), with and
without a factor per vector, and OSQ (KLT, bits allocated by variance, one factor) were compared on the same tokens: the
squared error of OSQ was a third to a half of that of buckets of the same size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError
from vsearch.forking import cached_property, with_threads_of_its_own
from vsearch.quantizers.kmeans import import_faiss, train_kmeans
from vsearch.quantizers.osq import OSQ, load_osq, train_osq
from vsearch.storage import TokenCodecEntry

LARGEST_CODEBOOK = 65536
LARGEST_BINARY_CODEBOOK = 4096  # numbering compares all pairs of centroids
RESIDUAL_BITS = (0, 1, 2, 4)
ITERATIONS = 15


@dataclass(frozen=True, eq=False)
class TokenCodes:
    """Codes of n vectors.

    Attributes
    ----------
    centroids : int64 (n,)
    residuals : uint8 (n, bytes) or None
    factors : float32 (n,) or None
        ``<query, residual>`` is approximately ``factor * (table sum)``.
    """

    centroids: NDArray[np.int64]
    residuals: NDArray[np.uint8] | None
    factors: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class TokenCodec:
    """A trained codec of document vectors.

    Attributes
    ----------
    codebook : float32 (centroids, d)
    residual : OSQ or None
        Codec of the residuals; None without residual bits.
    numbers : uint16 (centroids,) or None
        In binary mode, the number of each centroid: near centroids have numbers with many equal bits.
    """

    codebook: NDArray[np.float32]
    residual: OSQ | None = None
    numbers: NDArray[np.uint16] | None = None

    name = "patches"

    @property
    def dimensions(self) -> int:
        return self.codebook.shape[1]

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """uint8 up to 256 centroids, else uint16."""
        return np.dtype(np.uint8 if len(self.codebook) <= 256 else np.uint16)

    @property
    def number_bits(self) -> int:
        """Bits of a centroid's number: ceil(log2 centroids), at least 1."""
        return max(1, int(len(self.codebook) - 1).bit_length())

    @property
    def residual_bytes(self) -> int:
        """Bytes of a vector's residual code, even; 0 without residual bits."""
        return 0 if self.residual is None else self.residual.code_bytes

    @cached_property
    def _search(self) -> Any:
        index = import_faiss().IndexFlatL2(self.dimensions)
        index.add(self.codebook)
        return index

    @cached_property
    def table_scale(self) -> NDArray[np.float32]:
        """Maps queries to scaled coded dimensions for lookup tables: float32 (d, D), D = 0 without residuals."""
        if self.residual is None:
            return np.empty((self.dimensions, 0), np.float32)
        coded = len(self.residual.deltas)
        return np.ascontiguousarray((self.residual.rotation[:coded] * self.residual.table_scale[:, None]).T)

    @cached_property
    def codebook_columns(self) -> NDArray[np.float32]:
        """The codebook transposed: float32 (d, centroids)."""
        return np.ascontiguousarray(self.codebook.T)

    @with_threads_of_its_own
    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the nearest centroid of each vector (n, d): int64 (n,)."""
        _, centroids = self._search.search(np.ascontiguousarray(vectors, np.float32), 1)
        return np.asarray(centroids[:, 0], np.int64)

    def encode(self, vectors: NDArray[np.float32]) -> TokenCodes:
        """Encode vectors, float32 (n, d). O(n * d * (centroids + d))."""
        centroids = self.nearest(vectors)
        if self.residual is None:
            return TokenCodes(centroids, None, None)
        residuals = np.asarray((vectors - self.codebook[centroids]) @ self.residual.rotation.T, np.float32)
        encoded = self.residual.encode(residuals)
        factors = np.asarray(encoded.factors * self.residual.calibration.scale[-1], np.float32)
        return TokenCodes(centroids, encoded.codes, factors)

    def decode(self, codes: TokenCodes) -> NDArray[np.float32]:
        """Decode codes to vectors, float32 (n, d)."""
        vectors = self.codebook[codes.centroids]
        if self.residual is None or codes.residuals is None or codes.factors is None:
            return vectors
        rotated = self.residual.decode(np.ascontiguousarray(codes.residuals)) * codes.factors[:, None]
        return np.asarray(vectors + rotated @ self.residual.rotation, np.float32)

    def configuration(self) -> TokenCodecEntry:
        """Return the manifest entry; with `arrays` it restores the codec."""
        residual = None if self.residual is None else self.residual.configuration()
        return TokenCodecEntry(len(self.codebook), residual, self.numbers is not None)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays to store in the model file."""
        arrays: dict[str, NDArray[Any]] = {"codebook": self.codebook}
        if self.residual is not None:
            arrays |= {f"residual.{name}": array for name, array in self.residual.arrays().items()}
        if self.numbers is not None:
            arrays["numbers"] = self.numbers
        return arrays


def check_token_codec(codebook: int, residual_bits: int, *, binary: bool) -> None:
    """Raise InputError unless the options of a codec are valid and consistent."""
    if (
        isinstance(codebook, bool)
        or not isinstance(codebook, (int, np.integer))
        or not 1 <= codebook <= LARGEST_CODEBOOK
    ):
        msg = (
            f"codebook must be from 1 to {LARGEST_CODEBOOK} centroids (one byte up to 256, else two), got {codebook!r}"
        )
        raise InputError(msg)
    if isinstance(residual_bits, bool) or residual_bits not in RESIDUAL_BITS:
        msg = f"residual_bits must be 0, 1, 2 or 4 bits per dimension, got {residual_bits!r}"
        raise InputError(msg)
    if binary and residual_bits != 0:
        msg = f"residual_bits must be 0 with binary=True, which compares centroid numbers only, got {residual_bits}"
        raise InputError(msg)
    if binary and codebook > LARGEST_BINARY_CODEBOOK:
        msg = f"codebook must be at most {LARGEST_BINARY_CODEBOOK} centroids with binary=True, got {codebook}"
        raise InputError(msg)


def train_token_codec(
    sample: NDArray[np.float32], codebook: int = 256, residual_bits: int = 2, *, binary: bool = False, seed: int = 0
) -> TokenCodec:
    """Train on document vectors, float32 (n, d), n >= 1; with fewer distinct vectors there are fewer centroids.

    Raises
    ------
    InputError
        The options are out of range or inconsistent.
    """
    check_token_codec(codebook, residual_bits, binary=binary)
    centroids = train_codebook(sample, int(codebook), seed)
    codec = TokenCodec(centroids)
    if binary:
        from vsearch.multivector.numbering import number_centroids

        return TokenCodec(centroids, None, number_centroids(centroids, codec.number_bits, seed))
    if residual_bits == 0:
        return codec
    residuals = sample - centroids[codec.nearest(sample)]
    return TokenCodec(centroids, train_osq(residuals, float(residual_bits), seed))


def train_codebook(sample: NDArray[np.float32], centroids: int, seed: int) -> NDArray[np.float32]:
    """Return k-means centroids, float32 (at most ``centroids``, d); fewer if the sample has fewer distinct vectors."""
    if centroids == 1 or len(sample) == 1:
        return sample.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    return train_kmeans(sample, centroids, ITERATIONS, seed)


def load_token_codec(entry: TokenCodecEntry, arrays: Mapping[str, NDArray[Any]]) -> TokenCodec:
    """Restore a codec from the results of `configuration` and `arrays`.

    Raises
    ------
    KeyError, TypeError, ValueError
        They are incomplete or inconsistent.
    """
    codebook = np.asarray(arrays["codebook"])
    if codebook.dtype != np.float32 or codebook.ndim != 2 or len(codebook) != entry.centroids:
        msg = f"the codebook must be float32 ({entry.centroids}, d), got {codebook.dtype} {codebook.shape}"
        raise ValueError(msg)
    if not 1 <= len(codebook) <= LARGEST_CODEBOOK or not np.isfinite(codebook).all():
        msg = "the codebook is empty, too large or not finite"
        raise ValueError(msg)
    residual = None
    if entry.residual is not None:
        prefix = "residual."
        residual_arrays = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        residual = load_osq(entry.residual, residual_arrays)
        d = codebook.shape[1]
        bits = residual.dimension_bits
        valid = residual.rotation.shape == (d, d) and len(bits) <= d and bits.shape == residual.deltas.shape
        if not valid or (len(bits) and (bits.min() < 1 or bits.max() > 8 or (np.diff(bits) > 0).any())):
            msg = "the residual codec does not match the codebook"
            raise ValueError(msg)
    numbers = None
    if entry.binary:
        numbers = np.asarray(arrays["numbers"])
        codec = TokenCodec(codebook)
        if numbers.dtype != np.uint16 or numbers.shape != (len(codebook),) or numbers.max() >> codec.number_bits:
            msg = "the numbers of the centroids do not match the codebook"
            raise ValueError(msg)
    return TokenCodec(np.ascontiguousarray(codebook), residual, numbers)
