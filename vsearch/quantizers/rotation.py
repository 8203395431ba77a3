"""A rotation in 16-bit words, laid out for the kernel that rotates queries: see `vsearch.kernels.rotation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.fields import LARGEST_WORD, TOGETHER


@dataclass(frozen=True, eq=False)
class WordRotation:
    """A matrix of d rows, each of which is about ``step * words``.

    Attributes
    ----------
    groups : int16 (ceil(d / 64), 64 * D)
        Two dimensions of each of 64 rows, then the next two; D is d or one more.
    steps : float32 (d,)
    """

    groups: NDArray[np.int16]
    steps: NDArray[np.float32]


def encode_rotation(matrix: NDArray[np.float32]) -> WordRotation:
    """A matrix float32 (d, d) in words: every row that is not 0 has a norm of 32,767, so that no sum of products leaves 32 bits.

    With a query in words too, products are off by about 0.41 / (32,767 / sqrt(d)) of the norms.
    """
    d = len(matrix)
    padded = d + d % 2
    steps = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)) / LARGEST_WORD
    inverse = np.divide(1.0, steps, out=np.zeros(d), where=steps > np.finfo(np.float32).tiny).astype(np.float32)
    words = np.zeros((-(-d // TOGETHER) * TOGETHER, padded), np.int16)
    words[:d, :d] = np.rint(matrix * inverse[:, None])
    groups = words.reshape(-1, TOGETHER, padded // 2, 2).transpose(0, 2, 1, 3)
    return WordRotation(np.ascontiguousarray(groups).reshape(-1, TOGETHER * padded), steps.astype(np.float32))
