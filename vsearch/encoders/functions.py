"""The functions between the linear layers of a transformer, in float32 with NumPy, on the tokens of one text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numerator and denominator of a rational approximation of erf(x) in x^2, highest power first, for |x| <= 4; the numerator
#: is multiplied by x. The absolute error is below 4e-7.
ERF_NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
ERF_DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
ERF_LIMIT = 4.0

TOGETHER = 256
"""Number of tokens whose attention to all others is in memory at a time."""
ROOT_HALF = 0.7071067811865476


def layer_norm(
    rows: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32], epsilon: float
) -> NDArray[np.float32]:
    """Normalize rows float32 (t, width) to mean 0 and variance 1, then apply weight and bias."""
    centered = rows - rows.mean(axis=1, keepdims=True)
    variance = np.square(centered).mean(axis=1, keepdims=True)
    return centered / np.sqrt(variance + np.float32(epsilon)) * weight + bias


def gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``x * Phi(x)``, where Phi is the cumulative normal distribution."""
    z = np.clip(x * np.float32(ROOT_HALF), -ERF_LIMIT, ERF_LIMIT)
    square = z * z
    numerator, denominator = np.zeros_like(x), np.zeros_like(x)
    for coefficient in ERF_NUMERATOR:
        numerator = numerator * square + np.float32(coefficient)
    for coefficient in ERF_DENOMINATOR:
        denominator = denominator * square + np.float32(coefficient)
    half = np.float32(0.5) * x
    return half + half * (z * numerator / denominator)


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def attend(rows: NDArray[np.float32], heads: int, distance: int = 0) -> NDArray[np.float32]:
    """Compute self-attention.

    Parameters
    ----------
    rows : float32 (t, 3 * width)
        Query, key and value of each token.
    heads : int
    distance : int
        Tokens attend to tokens up to this distance; 0 for any distance.

    Returns
    -------
    float32 (t, width)
        The concatenated outputs of the heads.
    """
    value = rows.reshape(len(rows), 3, heads, -1)[:, 2].transpose(1, 0, 2)
    parts = [shares @ value for shares in attention(rows, heads, distance)]
    return np.concatenate(parts, axis=1).transpose(1, 0, 2).reshape(len(rows), -1)


def attention(rows: NDArray[np.float32], heads: int, distance: int = 0) -> Iterator[NDArray[np.float32]]:
    """Yield the attention weights float32 (heads, n, t) of the next n tokens (second axis) for all tokens; see `attend`."""
    query, key, _ = rows.reshape(len(rows), 3, heads, -1).transpose(1, 2, 0, 3)
    scale = np.float32(1 / np.sqrt(query.shape[-1]))
    places = np.arange(len(rows))
    for start in range(0, len(rows), TOGETHER):
        scores = query[:, start : start + TOGETHER] @ key.transpose(0, 2, 1) * scale
        if distance:
            far = np.abs(places[start : start + TOGETHER, None] - places) > distance
            scores[:, far] = -np.inf
        yield softmax(scores)


def attention_received(rows: NDArray[np.float32], heads: int, distance: int = 0) -> NDArray[np.float32]:
    """Return the attention float32 (t,) that each token receives from all, averaged over the heads; see `attend`."""
    parts = [shares.sum(axis=1).mean(axis=0) for shares in attention(rows, heads, distance)]
    return np.sum(parts, axis=0, dtype=np.float32)


def rotate(rows: NDArray[np.float32], heads: int, base: float) -> NDArray[np.float32]:
    """Rotate queries and keys by angles that grow with the position (RoFormer); the halves of a head form the pairs.

    Parameters
    ----------
    rows : float32 (t, 3 * width)
        Query, key and value of each token.
    heads : int
    base : float
        Pair ``i`` of ``n`` is rotated by ``base ** (-i / n)`` per position.
    """
    turned = rows.reshape(len(rows), 3, heads, 2, -1).copy()
    cosines, sines = rotation(len(rows), turned.shape[-1], base)[:, :, None, None]
    first, second = turned[:, :2, :, 0].copy(), turned[:, :2, :, 1].copy()
    turned[:, :2, :, 0] = first * cosines - second * sines
    turned[:, :2, :, 1] = second * cosines + first * sines
    return turned.reshape(rows.shape)


def rotation(tokens: int, pairs: int, base: float) -> NDArray[np.float32]:
    """Return the cosines and sines float32 (2, tokens, pairs) of the angles of `rotate`."""
    frequencies = (base ** (-np.arange(pairs) / pairs)).astype(np.float32)
    angles = np.arange(tokens, dtype=np.float32)[:, None] * frequencies
    return np.stack([np.cos(angles), np.sin(angles)])


def pool(rows: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Return the vector of a text from its tokens' float32 (t, width): their mean, or the first."""
    return rows[0] if pooling == "cls" else np.add.reduce(rows, axis=0) * np.float32(1 / len(rows))
