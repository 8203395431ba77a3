"""Rotation of many vectors by a quantizer, by the matrix or the signs that it has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.quantizers.protocol import Projected, Quantizer


def projected(quantizer: Quantizer) -> Projected | None:
    """Return the quantizer if its rotation is by signs."""
    return quantizer if isinstance(quantizer, Projected) else None


def rotate_vectors(quantizer: Quantizer, vectors: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Rotate vectors (n, d), float32 or float64; the result has the same type. O(n d^2), by signs O(n d log d)."""
    codec = projected(quantizer)
    if codec is not None:
        return codec.signs.apply(vectors)
    return vectors @ quantizer.rotation.T.astype(vectors.dtype, copy=False)
