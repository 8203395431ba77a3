"""Rotate a query: by a matrix of floats, or of 16-bit words where what follows is coarser than these."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.compiling import inlined
from vsearch.kernels.fields import TOGETHER
from vsearch.kernels.products import dot_words
from vsearch.kernels.rerank import dot_float

LARGEST_NORM = 32767  # of a row or a query in words: a product of two fits in 32 bits


@inlined
def quantise_words(query, codes):
    """Round a query float32 (d,) to int16 codes (>= d,) of a norm of 32,767, padded with zeros; returns the step."""
    norm = np.sqrt(dot_float(query, query))
    step = norm / np.float32(LARGEST_NORM)
    inverse = np.float32(1.0) / step if step > np.float32(0.0) else np.float32(0.0)
    if not np.isfinite(inverse):  # a query of hardly any length
        inverse = np.float32(0.0)
    for j in range(query.shape[0]):
        codes[j] = np.int16(np.int32(query[j] * inverse + np.float32(32768.5)) - np.int32(32768))
    for j in range(query.shape[0], codes.shape[0]):
        codes[j] = 0
    return step


@inlined
def rotate_in_words(query, groups, steps, codes, sums, rotated):
    """Rotate by a matrix in words. O(d^2), half the bytes of floats.

    Parameters
    ----------
    query : float32 (d,)
    groups : int16 (groups, 64 * D)
        Rows of the matrix, each of a norm of at most 32,767 (`products`); D is even, d or one more.
    steps : float32 (d,)
        A row is its words times its step.
    codes, sums : int16 (D,), int32 (64,)
        Scratch.
    rotated : float32 (d,)
        Output.
    """
    step = quantise_words(query, codes)
    for at in range(groups.shape[0]):
        dot_words(groups, at, codes, sums)
        first = at * TOGETHER
        for c in range(min(TOGETHER, rotated.shape[0] - first)):
            rotated[first + c] = step * steps[first + c] * np.float32(sums[c])
