"""Rotation of a query by a float32 matrix, or by 16-bit words if the later stages are coarser than these."""

from __future__ import annotations

import numpy as np

from vsearch.kernels.query.fields import LARGEST_WORD, SEVERAL, TOGETHER
from vsearch.kernels.query.products import dot_words, dot_words_of_several
from vsearch.kernels.toolchain.compiling import inlined, inlined_summing, part


@inlined_summing
def _square(query):
    """Return a query's squared norm in float64: float32 rounds small squares, and codes could overflow 16 bits."""
    total = 0.0
    for j in range(query.shape[0]):
        total += np.float64(query[j]) * np.float64(query[j])
    return total


@inlined_summing
def _dot_widely(row, query):
    total = 0.0
    for j in range(query.shape[0]):
        total += np.float64(row[j]) * np.float64(query[j])
    return np.float32(total)


@inlined
def rotate_widely(rotation, query, rotated):
    """Rotate a float32 query by a float32 matrix in float64, and round only the result."""
    for i in range(query.shape[0]):
        rotated[i] = _dot_widely(rotation[i], query)


@inlined
def quantize_words(query, codes):
    """Round a query, float32 (d,), to int16 codes (>= d,) of norm 32,767, padded with zeros; return the step."""
    step = np.float32(np.sqrt(_square(query)) / LARGEST_WORD)
    inverse = np.float32(1.0) / step if step > np.float32(0.0) else np.float32(0.0)
    if not np.isfinite(inverse):  # a query of negligible norm
        inverse = np.float32(0.0)
    for j in range(query.shape[0]):
        codes[j] = np.int16(np.int32(query[j] * inverse + np.float32(32768.5)) - np.int32(32768))
    for j in range(query.shape[0], codes.shape[0]):
        codes[j] = 0
    return step


@inlined
def rotate_in_words(query, groups, steps, codes, sums, rotated):
    """Rotate by a matrix of 16-bit words. O(d^2), with half the bytes of floats.

    Parameters
    ----------
    query : float32 (d,)
    groups : int16 (groups, 64 * D)
        Rows of the matrix, each with a norm of at most 32,767 (see `products`); D is d rounded up to an even number.
    steps : float32 (d,)
        A row of the matrix is its words times its step.
    codes, sums : int16 (D,), int32 (64,)
        Scratch.
    rotated : float32 (d,)
        Output.
    """
    step = quantize_words(query, codes)
    for at in range(groups.shape[0]):
        dot_words(groups, at, codes, sums)
        _scale(at, step, steps, sums, rotated)


@part
def _scale(at, step, steps, sums, rotated):
    first = at * TOGETHER
    for c in range(min(TOGETHER, rotated.shape[0] - first)):
        rotated[first + c] = step * steps[first + c] * np.float32(sums[c])


@inlined
def rotate_several_in_words(groups, steps, codes, query_steps, sums, rotated):
    """`rotate_in_words` for SEVERAL queries that `quantize_words` quantized, reading the matrix once.

    `codes` is int16 (SEVERAL, D), `query_steps` is float32 (SEVERAL,), `sums` int32 (SEVERAL, 64), and `rotated` float32 (SEVERAL, d).
    """
    for at in range(groups.shape[0]):
        dot_words_of_several(groups, at, codes, sums)
        for i in range(SEVERAL):
            _scale(at, query_steps[i], steps, sums[i], rotated[i])
