"""Rotations that are stored as random signs; see `vsearch.kernels.scan.hadamard`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import cached_property

ROUNDS = 4  # after these, rows of the matrix look like random directions


@dataclass(frozen=True, eq=False)
class SignRotation:
    """A random rotation of d dimensions in O(d log d).

    Attributes
    ----------
    signs : int8 (rounds, d)
        1 or -1.
    """

    signs: NDArray[np.int8]

    @classmethod
    def draw(cls, dimensions: int, rng: np.random.Generator) -> SignRotation:
        return cls(np.where(rng.random((ROUNDS, dimensions)) < 0.5, -1, 1).astype(np.int8))

    @classmethod
    def unpack(cls, packed: NDArray[np.uint8], rounds: int, dimensions: int) -> SignRotation:
        """Invert `packed`.

        Raises
        ------
        ValueError
            The shape or the type is not that of packed signs of this many rounds and dimensions.
        """
        shape = rounds, -(-dimensions // 8)
        if packed.dtype != np.uint8 or packed.shape != shape:
            msg = f"signs must be uint8 of the shape {shape}, got {packed.dtype} {packed.shape}"
            raise ValueError(msg)
        bits = np.unpackbits(packed, axis=1, count=dimensions, bitorder="little")
        return cls(np.where(bits == 1, -1, 1).astype(np.int8))

    @property
    def packed(self) -> NDArray[np.uint8]:
        """The signs as stored, uint8 (rounds, ceil(d / 8)): 1 for -1, lowest bit first."""
        return np.packbits(self.signs < 0, axis=1, bitorder="little")

    @cached_property
    def matrix(self) -> NDArray[np.float32]:
        """The same rotation as a matrix, float32 (d, d): ``rotated = matrix @ vector``."""
        return np.ascontiguousarray(self.apply(np.eye(self.signs.shape[1])).T, np.float32)

    def apply(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Rotate vectors (n, d), float32 or float64; the result has the same type, and rows do not depend on each other."""
        return self._turned(vectors, 0)

    def invert(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Invert `apply`."""
        return self._turned(vectors, 1)

    def _turned(self, vectors: NDArray[np.floating[Any]], back: int) -> NDArray[np.floating[Any]]:
        from vsearch.kernels.scan.hadamard import turn_rows, turn_wide_rows

        turned = np.array(vectors, order="C")
        (turn_wide_rows if turned.dtype == np.float64 else turn_rows)(self.signs, turned, back)
        return turned
