"""The parts of a text encoder's kernel match their NumPy references: products exactly, functions to the last digits."""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import pytest

from tests.kernels.guards import Guarded
from vsearch.encoders.functions import attend as attend_twin
from vsearch.encoders.functions import attention_received, rotate, rotation
from vsearch.encoders.functions import gelu as gelu_twin
from vsearch.encoders.packing import pack_blocks
from vsearch.encoders.quantized import quantize_rows
from vsearch.kernels.encoders.attention import attend
from vsearch.kernels.encoders.fields import ATTENDING, BLOCK, LANES, TOKENS
from vsearch.kernels.encoders.functions import exponential, gelu
from vsearch.kernels.encoders.products import SHIFT, multiply
from vsearch.kernels.encoders.rotary_layers import turn
from vsearch.kernels.encoders.rounding import quantize, settle


@nb.njit
def multiply_block(weights, codes, first, count, sums):
    multiply(weights, weights.shape[0] - 1, codes, first, count, sums)


@nb.njit
def apply_functions(x, powers, curves):
    for i in range(x.shape[0]):
        powers[i] = exponential(min(x[i], np.float32(0.0)))
        curves[i] = gelu(x[i])


@nb.njit
def quantize_all(rows, scales, scaled, codes, bounds, factors):
    for row in range(rows.shape[0]):
        factors[row, 0], factors[row, 1] = quantize(rows[row], scales, scaled, codes[row], bounds)


@nb.njit
def convert(sums, row_sums, steps, bias, start, factors, first, count, outputs):
    settle(sums, row_sums, steps, bias, start, factors, first, count, outputs)


@pytest.mark.parametrize("count", range(1, TOKENS + 1))
@pytest.mark.parametrize("columns", [4, 100])
def test_products_are_exact(count: int, columns: int) -> None:
    rng = np.random.default_rng([count, columns])
    integers = rng.integers(-63, 64, (2 * BLOCK, columns)).astype(np.int8)
    codes = rng.integers(0, 256, (count + 2, columns)).astype(np.uint8)
    weights = pack_blocks(integers)[:, : columns * BLOCK]
    with Guarded() as guarded:
        sums = guarded.empty((TOKENS, BLOCK), np.int32)
        sums[...] = -1
        multiply_block(guarded.copy(weights), guarded.copy(codes), 2, count, sums)
    twin = codes[2:].astype(np.int64) @ integers[BLOCK:].astype(np.int64).T
    np.testing.assert_array_equal(sums[:count] + SHIFT * integers[BLOCK:].sum(axis=1, dtype=np.int64), twin)
    assert (sums[count:] == -1).all()


@pytest.mark.parametrize("weight", [-63, 63])
def test_products_of_the_largest_numbers(weight: int) -> None:
    """Two products of 255 * 63 still fit the 16 bits in which AVX2 adds them up."""
    columns = 4096
    weights = np.full((1, columns * BLOCK), weight, np.int8)
    sums = np.empty((TOKENS, BLOCK), np.int32)
    multiply_block(weights, np.full((TOKENS, columns), 255, np.uint8), 0, TOKENS, sums)
    assert (sums + SHIFT * weight * columns == 255 * weight * columns).all()


def test_functions() -> None:
    x = np.concatenate([np.linspace(-100, 30, 4001), np.linspace(-6, 6, 4001), [0, -87, -1e30, 1e30]]).astype(
        np.float32
    )
    powers, curves = np.empty_like(x), np.empty_like(x)
    apply_functions(x, powers, curves)
    wide = x.astype(np.float64)
    exact = np.exp(np.clip(wide, -87, 0))
    assert np.abs(powers / exact - 1).max() < 2e-7
    phi = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in wide])
    small = np.abs(wide) < 40
    assert np.abs(curves - wide * phi)[small].max() < 2e-6
    np.testing.assert_allclose(curves[~small], np.maximum(wide[~small], 0), rtol=1e-6)
    np.testing.assert_allclose(curves, gelu_twin(x), atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 15, 40, 64])
def test_rounding_is_that_of_the_twin(columns: int) -> None:
    rng = np.random.default_rng(columns)
    rows = rng.standard_normal((5, columns)).astype(np.float32)
    rows[3], rows[4] = 0.1, -7
    scales = rng.uniform(0.5, 2, columns).astype(np.float32) if columns > 1 else np.ones(1, np.float32)
    twin = quantize_rows(rows, scales)
    with Guarded() as guarded:
        codes, factors = guarded.empty((5, 64), np.uint8), guarded.empty((5, 2), np.float32)
        scratch = guarded.empty((columns,), np.float32), codes, guarded.empty((2, LANES), np.float32)
        quantize_all(guarded.copy(rows), guarded.copy(scales), *scratch, factors)
    np.testing.assert_array_equal(codes[:, :columns], twin.codes)
    assert (codes[:, columns:] == 0).all()
    np.testing.assert_array_equal(factors, np.stack([twin.low, twin.step], axis=1))


@pytest.mark.parametrize("columns", [1, 15, 16, 40])
def test_rounding_does_not_hide_what_is_no_number(columns: int) -> None:
    rows = np.random.default_rng(columns).standard_normal((columns + 1, columns)).astype(np.float32)
    np.fill_diagonal(rows, np.nan)
    codes, factors = np.empty((columns + 1, 64), np.uint8), np.empty((columns + 1, 2), np.float32)
    scratch = np.empty(columns, np.float32), codes, np.empty((2, LANES), np.float32)
    quantize_all(rows, np.ones(columns, np.float32), *scratch, factors)
    assert np.isnan(factors[:-1]).all()
    assert np.isfinite(factors[-1]).all()


@pytest.mark.parametrize("count", range(1, TOKENS + 1))
@pytest.mark.parametrize("rows", [BLOCK, 2 * BLOCK, 100])
def test_sums_become_floats(count: int, rows: int) -> None:
    """Of the second token and later ones, in the last block of rows, which may be incomplete."""
    rng = np.random.default_rng([count, rows])
    start = (rows - 1) // BLOCK * BLOCK
    sums = rng.integers(-(1 << 20), 1 << 20, (TOKENS, BLOCK)).astype(np.int32)
    row_sums = rng.integers(-1000, 1000, rows).astype(np.int32)
    steps, bias = rng.random((2, rows)).astype(np.float32)
    factors = rng.standard_normal((count + 2, 5)).astype(np.float32)
    with Guarded() as guarded:
        outputs = guarded.empty((count + 2, rows), np.float32)
        outputs[...] = -1
        arrays = [guarded.copy(array) for array in (sums, row_sums, steps, bias)]
        convert(*arrays, start, guarded.copy(factors), 1, count, outputs)
    settled = sums[:count, : rows - start] + SHIFT * row_sums[start:]
    low, step = factors[1 : count + 1, :1].astype(np.float64), factors[1 : count + 1, 1:2]
    twin = (settled * step + low * row_sums[start:]) * steps[start:] + bias[start:]
    np.testing.assert_allclose(outputs[1 : count + 1, start:], twin, rtol=1e-5, atol=1e-2)
    assert (outputs[[0, -1]] == -1).all()
    assert (outputs[:, :start] == -1).all()


@pytest.mark.parametrize(
    ("tokens", "heads", "each", "distance"),
    [
        (1, 3, 16, 1),
        (2, 1, 16, 9),
        (7, 2, 32, 7),
        (12, 2, 32, 12),
        (17, 2, 10, 40),
        (33, 1, 40, 33),
        (1, 3, 16, 5),
        (40, 2, 32, 3),
        (39, 2, 16, 1),
        (70, 2, 10, 17),
    ],
)
@pytest.mark.parametrize("spread", [2.0, 40.0])
def test_attention(tokens: int, heads: int, each: int, distance: int, spread: float) -> None:
    """To all tokens and to near ones, in groups of four and less; with a wide spread most scores become 0."""
    rng = np.random.default_rng(tokens)
    width = heads * each
    joined = (spread * rng.standard_normal((tokens, 3 * width))).astype(np.float32)
    turned = rotate(joined, heads, 100.0)
    padded = -(-tokens // LANES) * LANES
    with Guarded() as guarded:
        outputs = guarded.empty((tokens, width), np.float32)
        keys, scores = (guarded.empty((rows, padded), np.float32) for rows in (each, ATTENDING))
        received, turning = guarded.empty((padded,), np.float32), guarded.empty(joined.shape, np.float32)
        for scratch in (keys, scores, received, outputs):
            scratch[...] = np.nan
        turning[...] = joined
        turn(turning, heads, *map(guarded.copy, rotation(tokens, each // 2, 100.0)))
        np.testing.assert_allclose(turning, turned, atol=1e-5 * spread)
        attend(guarded.copy(turned), heads, distance, keys, scores, True, received, outputs)
        total = received.copy()
        attend(guarded.copy(turned), heads, distance, keys, scores, False, received, outputs)
    np.testing.assert_allclose(outputs, attend_twin(turned, heads, distance), atol=1e-4 * spread)
    np.testing.assert_allclose(total[:tokens], heads * attention_received(turned, heads, distance), atol=1e-3)
    assert (total[tokens:] == 0).all()
    assert (received == 0).all()


def attend_to_all(joined: np.ndarray, distance: int) -> np.ndarray:
    """Outputs of attention with one head."""
    tokens, width = len(joined), joined.shape[1] // 3
    padded = -(-tokens // LANES) * LANES
    outputs, received = np.empty((tokens, width), np.float32), np.empty(padded, np.float32)
    keys, scores = np.empty((width, padded), np.float32), np.empty((ATTENDING, padded), np.float32)
    attend(joined, 1, distance, keys, scores, True, received, outputs)
    return outputs


@pytest.mark.parametrize("tokens", [1, 6, 16, 21])
@pytest.mark.parametrize("each", [16, 10])
def test_attention_to_a_score_that_is_no_number(tokens: int, each: int) -> None:
    """It must not become finite: then too large weights would go unnoticed. Other tokens than those near it have numbers."""
    joined = np.random.default_rng(tokens).standard_normal((tokens, 3 * each)).astype(np.float32)
    joined[0, each] = np.nan
    assert np.isnan(attend_to_all(joined, tokens)).all()
    near = np.arange(tokens) <= 2
    outputs = attend_to_all(joined, 2)
    assert np.isnan(outputs[near]).all()
    assert np.isfinite(outputs[~near]).all()


@pytest.mark.parametrize("tokens", [1, 6, 16, 21])
def test_attention_with_very_low_scores(tokens: int) -> None:
    """Columns beyond the text receive none of it."""
    joined = np.random.default_rng(tokens).standard_normal((tokens, 48)).astype(np.float32)
    joined[:, :16], joined[:, 16:32] = 1e17, -1e17
    np.testing.assert_allclose(attend_to_all(joined, tokens), attend_twin(joined, 1, tokens), atol=1e-5)
