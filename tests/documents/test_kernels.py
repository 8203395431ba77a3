"""Kernels compared with their NumPy references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.kernels.multivector import api, maxsim
from vsearch.kernels.multivector.hamming import PADDING, pack_numbers, score_hamming
from vsearch.kernels.multivector.inverted_lists import collect_lists
from vsearch.kernels.multivector.strips import STRIP, TOGETHER
from vsearch.multivector.codec import train_token_codec
from vsearch.multivector.opening import take_numbers


def spans(rng: np.random.Generator, total: int) -> tuple[np.ndarray, np.ndarray]:
    edges = np.unique(np.concatenate([[0, total], rng.integers(0, total + 1, 6)]))
    return edges[:-1].astype(np.int64), edges[1:].astype(np.int64)


def twin_maxsim(similar: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """MaxSim from similarities (vectors, queries)."""
    return np.array([similar[a:b].max(axis=0).sum() for a, b in zip(starts, stops, strict=True)], np.float32)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16]))
def test_codes_score_as_their_twin(seed, total, queries, dtype) -> None:
    rng = np.random.default_rng(seed)
    centroids = 256 if dtype is np.uint8 else 700
    codes = rng.integers(0, centroids, total).astype(dtype)
    starts, stops = spans(rng, total)
    table = rng.standard_normal((centroids, -(-queries // STRIP) * STRIP)).astype(np.float32)
    scores = np.empty(len(starts), np.float32)
    kernel = api.score_codes if dtype is np.uint8 else api.score_wide_codes
    kernel(codes, starts, stops, table, queries, np.empty(STRIP, np.float32), scores)
    np.testing.assert_allclose(scores, twin_maxsim(table[codes, :queries], starts, stops), rtol=1e-5, atol=1e-5)


def twin_tables(
    scaled: np.ndarray, planes: np.ndarray, offsets: np.ndarray, pairs: int
) -> tuple[np.ndarray, float, float]:
    """Rounded tables (nibbles, 16) of one query vector, their step and bias."""
    tables = np.zeros((2 * pairs, 16), np.float32)
    reach = np.zeros(2 * pairs, np.float32)
    for plane, (count, first) in enumerate(zip(planes, offsets, strict=True)):
        values = np.pad(scaled[:count] * np.float32(0.5**plane), (0, -count % 4)).reshape(-1, 4)
        signs = np.array([[1 if e >> i & 1 else -1 for i in range(4)] for e in range(16)], np.float32)
        tables[first : first + len(values)] = values @ signs.T
        reach[first : first + len(values)] = np.abs(values).sum(axis=1)
    step = 2 * reach.max() / 127
    rounded = np.minimum(127, np.floor((tables + reach[:, None]) / step + 0.5)) if step > 0 else np.zeros_like(tables)
    used = np.zeros(2 * pairs, bool)
    for count, first in zip(planes, offsets, strict=True):
        used[first : first + -(-count // 4)] = True
    rounded[~used] = 0
    return rounded, float(step), float(-step * rounded.sum() / 16)


def read_tables(expanded: np.ndarray, query: int, pairs: int) -> np.ndarray:
    """Tables (nibbles, 16) of a query vector out of the layout for registers."""
    rows, made = maxsim.WIDTH // 32, np.empty((2 * pairs, 16), np.float32)
    for nibble in range(2 * pairs):
        pair, half = divmod(nibble, 2)
        at = query * maxsim.table_bytes(pairs) + (pair // rows * 2 + half) * maxsim.WIDTH + pair % rows * 32
        np.testing.assert_array_equal(expanded[at : at + 16], expanded[at + 16 : at + 32])
        made[nibble] = expanded[at : at + 16]
    return made


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("centroids", [30, 300])
def test_residuals_score_as_their_twin(bits, centroids) -> None:
    rng = np.random.default_rng(bits)
    total, d, queries = 700, 48, 5
    vectors = rng.standard_normal((total, d)).astype(np.float32) * np.linspace(2, 0.1, d, dtype=np.float32)
    token_codec = train_token_codec(vectors, centroids, bits)
    encoded = token_codec.encode(vectors)
    # documents shorter than a register, as long as one, and of several
    edges = np.array([0, 1, 3, 34, 66, 98, 131, 200, 329, 700])
    starts, stops = edges[:-1].astype(np.int64), edges[1:].astype(np.int64)
    scales = np.array([encoded.factors[a:b].max() for a, b in zip(starts, stops, strict=True)], np.float32)
    relative = (encoded.factors / np.repeat(scales, stops - starts)).astype(np.float16)
    width = token_codec.residual_bytes
    flat = np.concatenate([encoded.residuals[a:b].T.reshape(-1) for a, b in zip(starts, stops, strict=True)])
    query = rng.standard_normal((queries, d)).astype(np.float32)
    padded = -(-queries // TOGETHER) * TOGETHER
    scaled = np.zeros((padded, token_codec.table_scale.shape[1]), np.float32)
    scaled[:queries] = query @ token_codec.table_scale
    expanded = np.zeros(padded * maxsim.table_bytes(width), np.uint8)
    scalings = np.empty((2, padded), np.float32)
    steps, biases = scalings
    planes, offsets = token_codec.residual.plane_dimensions, token_codec.residual.plane_offsets
    maxsim.fill_tables(scaled, planes, offsets, width, expanded, scalings)

    similar = np.empty((total, queries), np.float32)
    factors = relative.astype(np.float32) * np.repeat(scales, stops - starts)
    for i in range(queries):
        rounded, step, bias = twin_tables(scaled[i], planes, offsets, width)
        assert steps[i] == pytest.approx(step, rel=1e-5)
        assert biases[i] == pytest.approx(bias, rel=2e-3, abs=1e-4)  # an entry on the edge may round either way
        made = read_tables(expanded, i, width)
        assert np.abs(made - rounded).max() <= 1
        assert (made != rounded).mean() < 0.01
        rounded = made
        low = np.take_along_axis(rounded[0::2].T, (encoded.residuals & 15).astype(np.int64), axis=0)
        high = np.take_along_axis(rounded[1::2].T, (encoded.residuals >> 4).astype(np.int64), axis=0)
        sums = (low + high).sum(axis=1)
        similar[:, i] = (token_codec.codebook @ query[i])[encoded.centroids] + factors * (sums * steps[i] + biases[i])
    table = np.zeros((len(token_codec.codebook), STRIP), np.float32)
    table[:, :queries] = token_codec.codebook @ query.T
    scores = np.empty(len(starts), np.float32)
    kernel = api.score_residuals if centroids <= 256 else api.score_wide_residuals
    kernel(
        encoded.centroids.astype(token_codec.code_dtype),
        relative.view(np.uint16),
        flat,
        width,
        starts,
        stops,
        scales,
        table,
        queries,
        expanded,
        scalings,
        np.empty(width * 32, np.uint8),
        np.empty((2 * TOGETHER + 1, 32), np.float32),
        np.empty(queries, np.float32),
        scores,
    )
    np.testing.assert_allclose(scores, twin_maxsim(similar, starts, stops), rtol=2e-3, atol=2e-3)
    # and against what decoding says: only the tables' rounding is between
    decoded = token_codec.decode(encoded)
    exact = twin_maxsim(decoded @ query.T, starts, stops)
    assert np.abs(scores - exact).max() < 0.02 * np.abs(exact).max() + 6 * queries * steps.max() * scales.max()


@pytest.mark.parametrize("pairs", [2, 6, 50, 700])
def test_simd_sums_equal_the_portable_body(pairs) -> None:
    if maxsim.DIALECT is None:
        pytest.skip("there is only the portable body")
    import numba

    rng = np.random.default_rng(pairs)
    codes = rng.integers(0, 256, pairs * 40).astype(np.uint8)
    size = maxsim.table_bytes(pairs)
    tables = rng.integers(0, 128, (2, 2 * pairs, 16)).astype(np.uint8)
    expanded = np.zeros(2 * size, np.uint8)
    rows = maxsim.WIDTH // 32
    for query in range(2):
        for nibble in range(2 * pairs):
            pair, half = divmod(nibble, 2)
            at = query * size + (pair // rows * 2 + half) * maxsim.WIDTH + pair % rows * 32
            expanded[at : at + 32] = np.tile(tables[query, nibble], 2)
    found, plain = np.empty((2, 32), np.float32), np.empty((2, 32), np.float32)

    @numba.njit
    def simd(codes, expanded, sums):
        maxsim.sum_block(codes, 3, 40, pairs, expanded, 0, size, sums)

    simd(codes, expanded, found)
    maxsim.sum_block_plain(codes, 3, 40, pairs, expanded, 0, size, plain)
    np.testing.assert_array_equal(found, plain)
    block = np.stack([codes[3 + j * 40 : 35 + j * 40] for j in range(pairs)]).astype(np.int64)
    for query in range(2):
        low = np.take_along_axis(tables[query, 0::2].astype(np.int64), block & 15, axis=1)
        high = np.take_along_axis(tables[query, 1::2].astype(np.int64), block >> 4, axis=1)
        np.testing.assert_array_equal(found[query], (low + high).sum(axis=0))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(1, 80), st.integers(1, 33))
def test_hamming_scores_as_its_twin(seed, bits, total, queries) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 1 << bits, total).astype(np.uint16)
    packed = np.zeros(-(-total * bits // 8) + PADDING, np.uint8)
    pack_numbers(numbers, bits, packed)
    places = np.concatenate([np.arange(total), rng.integers(0, total, 20)])
    np.testing.assert_array_equal(take_numbers(packed, bits, places), numbers[places])
    starts, stops = spans(rng, total)
    asked = rng.integers(0, 1 << bits, queries).astype(np.uint16)
    scores = np.empty(len(starts), np.float32)
    score_hamming(packed, bits, starts, stops, asked, np.empty(queries, np.uint16), scores)
    common = bits - np.bitwise_count(numbers[:, None] ^ asked[None, :]).astype(np.float32)
    np.testing.assert_array_equal(scores, twin_maxsim(common, starts, stops))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_lists_collect_as_their_twin(seed) -> None:
    rng = np.random.default_rng(seed)
    centroids, documents, queries, probes = 12, 30, 4, 3
    holds = rng.random((centroids, documents)) < 0.2
    offsets = np.concatenate([[0], np.cumsum(holds.sum(axis=1))]).astype(np.int64)
    entries = np.nonzero(holds)[1].astype(np.uint32)
    similar = rng.standard_normal((queries, centroids)).astype(np.float32)
    nearest = np.ascontiguousarray(np.argsort(-similar, axis=1)[:, :probes])
    scores = np.ascontiguousarray(np.take_along_axis(similar, nearest, axis=1))
    missing = np.ascontiguousarray(scores[:, -1])
    totals = np.full(documents, missing.sum(), np.float32)
    seen = np.full(documents, -1, np.int64)
    collect_lists(offsets, entries, nearest, scores, missing, seen, totals)
    expected = np.zeros(documents)
    for query in range(queries):
        best = np.full(documents, missing[query])
        for probe in range(probes):
            inside = holds[nearest[query, probe]]
            best[inside] = np.maximum(best[inside], scores[query, probe])
        expected += best
    np.testing.assert_allclose(totals, expected, atol=1e-5)
