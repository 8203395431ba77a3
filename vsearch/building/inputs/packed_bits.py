"""Bit vectors packed eight to a byte, as embedding services return them: each bit counts as +1 or -1, or under hamming as 1 or 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vsearch.bits import BYTE, as_bits, unpack_bytes
from vsearch.building.inputs.vectors import VectorSource
from vsearch.errors import InputError


def unpack_bits(packed: Any) -> np.ndarray:
    """Unpack bit vectors: 1 becomes +1 and 0 becomes -1, so that inner products rank like Hamming distances.

    Parameters
    ----------
    packed : array (..., bytes) of uint8 ("ubinary"), or int8 ("binary": the byte minus 128)
        The first bit is the most significant bit of the first byte, as in `numpy.packbits`.

    Returns
    -------
    ndarray of float32, shape (..., 8 * bytes)

    Raises
    ------
    InputError
        The elements are neither uint8 nor int8.
    """
    array = np.asarray(packed)
    if array.dtype not in (np.uint8, np.int8) or array.ndim < 1:
        msg = f"packed vectors must be uint8 or int8, eight bits to a byte, got {array.dtype} of shape {array.shape}"
        raise InputError(msg)
    return unpack_bytes(array).astype(np.float32) * 2 - 1


@dataclass(frozen=True, eq=False)
class PackedVectors:
    """A source of packed vectors that are unpacked when read.

    Attributes
    ----------
    source : VectorSource
        Of uint8, or of float16 holding int8 values.
    """

    source: VectorSource

    def __post_init__(self) -> None:
        if self.source.dtype not in (np.dtype(np.uint8), np.dtype(np.float16)):
            msg = f"packed=True requires vectors of uint8 or int8, eight bits to a byte, got {self.source.dtype}"
            raise InputError(msg)

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return self.source.rows

    @property
    def dimensions(self) -> int:
        """Eight per byte."""
        return 8 * self.source.dimensions

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return np.dtype(np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start:stop`` as +1 and -1."""
        return self._unpacked(self.source.read(start, stop))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows as +1 and -1."""
        return self._unpacked(self.source.take(rows))

    def _unpacked(self, read: np.ndarray) -> np.ndarray:
        if read.dtype == np.float16:
            signed = read.astype(np.int8)
            if (signed != read).any():
                msg = "packed=True requires vectors of uint8 or int8, eight bits to a byte, got fractions"
                raise InputError(msg)
            read = signed
        return unpack_bits(read)


@dataclass(frozen=True, eq=False)
class BitVectors:
    """A source of vectors of bits, which are checked and become zeros and ones when they are read.

    Attributes
    ----------
    source : VectorSource
        Of zeros and ones, or -1 and +1.
    """

    source: VectorSource

    @property
    def rows(self) -> int:
        """Number of vectors."""
        return self.source.rows

    @property
    def dimensions(self) -> int:
        """Of the source."""
        return self.source.dimensions

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return np.dtype(np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start:stop`` as zeros and ones."""
        return as_bits(self.source.read(start, stop), self.dimensions, "rows")

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the given rows as zeros and ones."""
        return as_bits(self.source.take(rows), self.dimensions, "rows")


def plain_bits(embeddings: object) -> object:
    """Return an array of bool as one of uint8; anything else unchanged."""
    is_bool = isinstance(embeddings, np.ndarray) and embeddings.dtype == np.bool_
    return embeddings.view(np.uint8) if isinstance(embeddings, np.ndarray) and is_bool else embeddings


def bit_source(source: VectorSource, dimensions: int | None = None) -> VectorSource:
    """Return a source of the rows of an index of bits.

    Parameters
    ----------
    dimensions : int, optional
        Bits of a vector in the index; vectors of as many bytes are then unpacked.
    """
    if dimensions is not None and BYTE * source.dimensions == dimensions and not isinstance(source, PackedVectors):
        source = PackedVectors(source)
    return BitVectors(source)
