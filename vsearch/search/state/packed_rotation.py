"""A rotation in 16-bit words, in the layout of the kernel that rotates queries; see `vsearch.kernels.query.rotation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import LARGEST_WORD, TOGETHER


@dataclass(frozen=True, eq=False)
class WordRotation:
    """A matrix of d rows, which are about ``step * words``.

    Attributes
    ----------
    groups : int16 (ceil(d / 64), 64 * D)
        Two dimensions of each of 64 rows, then the next two; D is d or one more.
    steps : float32 (d,)
    """

    groups: NDArray[np.int16]
    steps: NDArray[np.float32]


def encode_rotation(matrix: NDArray[np.float32]) -> WordRotation:
    """Encode a matrix float32 (d, d). Nonzero rows are scaled to a norm of 32,767, so that sums of products fit 32 bits.

    With an encoded query, the error of a product is about 0.41 / (32,767 / sqrt(d)) of the norms.
    """
    d = len(matrix)
    padded = d + d % 2
    steps = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)) / LARGEST_WORD
    inverse = np.divide(1.0, steps, out=np.zeros(d), where=steps > np.finfo(np.float32).tiny).astype(np.float32)
    pairs = np.zeros((-(-d // TOGETHER), padded // 2, TOGETHER), np.int32)
    scaled = np.zeros((TOGETHER, padded), np.float32)
    for group, start in enumerate(range(0, d, TOGETHER)):  # one group at a time, to stay in cache
        count = min(TOGETHER, d - start)
        np.multiply(matrix[start : start + count], inverse[start : start + count, None], out=scaled[:count, :d])
        words = np.rint(scaled[:count], out=scaled[:count]).astype(np.int16)
        pairs[group, :, :count] = words.view(np.int32).T
    return WordRotation(pairs.view(np.int16).reshape(-1, TOGETHER * padded), steps.astype(np.float32))
