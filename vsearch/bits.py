"""Vectors of bits, for the metric hamming: the squared distance of two vectors of zeros and ones is the number of bits that differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError

BYTE = 8


def unpack_bytes(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """Unpack uint8, as `numpy.packbits` writes it, or int8 (the byte minus 128), to zeros and ones along the last axis."""
    if packed.dtype == np.int8:
        packed = (packed.astype(np.int16) + 128).astype(np.uint8)
    return np.unpackbits(packed, axis=-1)


def nearest_bits(decoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the zeros and ones of which vectors are approximations; NaN stays."""
    return np.minimum(np.maximum(np.rint(decoded), 0), 1)


def as_bits(vectors: NDArray[Any], dimensions: int, label: str = "queries") -> NDArray[np.float32]:
    """Return vectors of bits as zeros and ones, float32 (n, dimensions).

    Parameters
    ----------
    vectors : array (n, dimensions) or (n, dimensions / 8)
        Zeros and ones, or -1 and +1 as `vsearch.unpack_bits` returns them; or bytes of eight bits: numbers from 0 to 255, or int8.
    dimensions : int
        Bits of a vector.
    label : str
        Names the vectors in messages.

    Raises
    ------
    InputError
        They have another shape, or hold other numbers.
    """
    packable = dimensions % BYTE == 0
    widths = f"{dimensions} bits" + (f", or {dimensions // BYTE} bytes" if packable else "")
    if vectors.ndim != 2 or vectors.dtype.kind not in "biuf":
        raise InputError(f"{label} must have {widths} each, got {vectors.dtype} of shape {vectors.shape}")
    if packable and vectors.shape[1] == dimensions // BYTE:
        return unpack_bytes(_bytes(vectors, label)).astype(np.float32)
    if vectors.shape[1] != dimensions:
        raise InputError(f"{label} must have {widths} each, got {vectors.shape[1]} numbers")
    if vectors.dtype.kind == "b":
        return vectors.astype(np.float32)
    ones = vectors == 1
    for zero in (0, -1):
        if (ones | (vectors == zero)).all():
            return ones.astype(np.float32)
    row = int(np.flatnonzero(~(ones | (vectors == 0)).all(axis=1))[0])
    raise InputError(
        f"{label} under hamming must be bits, 0 and 1 (or all of them -1 and 1), or packed to bytes; {label} {row} holds others: "
        "binarize vectors of other numbers first, such as by `vectors > 0`"
    )


def _bytes(vectors: NDArray[Any], label: str) -> NDArray[Any]:
    if vectors.dtype in (np.uint8, np.int8):
        return vectors
    with np.errstate(invalid="ignore"):
        packed = vectors.astype(np.uint8)
    wrong = (packed != vectors) | (vectors < 0) | (vectors > 255)
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise InputError(f"packed {label} must be bytes, whole numbers from 0 to 255; {label} {row} holds others")
    return packed
