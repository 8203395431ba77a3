"""The kernels of cells against the same in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.blocks import transpose
from vsearch.kernels.scan.cells import encode_cells, gap_tables, lower_bounds, scan_signs, unpack_cells

BITS = st.lists(st.integers(0, 8), max_size=24)
SEEDS = st.integers(0, 1000)


def starts_of(bits):
    cells = 1 << np.asarray(bits, np.int64)
    return np.cumsum(cells) - cells


def packed_twin(cells, bits):
    """Cells (n, D) as a stream of characters, cut into bytes."""
    size = max(1, -(-sum(bits) // 8))
    rows = ["".join(f"{c:0{b}b}" for c, b in zip(row, bits, strict=True) if b) for row in cells.tolist()]
    return np.array(
        [[int(row.ljust(8 * size, "0")[i : i + 8], 2) for i in range(0, 8 * size, 8)] for row in rows], np.uint8
    )


def edges_of(rng, bits, values=None):
    """Lower edges of all cells, ascending in each dimension; some are zero and some alike."""
    grid = np.linspace(-2, 2, 17) if values is None else values
    edges = [np.sort(rng.choice(grid, 1 << b)) for b in bits]
    for own in edges:
        own[0] = -np.inf
    return np.concatenate([np.empty(0), *edges]).astype(np.float32)


def own_cells(values, bits, lowers):
    """Cells of values (n, D) by counting the edges that are not above them."""
    starts = starts_of(bits)
    columns = [
        np.searchsorted(lowers[s + 1 : s + (1 << b)], values[:, j], side="right")
        for j, (s, b) in enumerate(zip(starts, bits, strict=True))
    ]
    return np.stack(columns, axis=1) if columns else np.empty((len(values), 0), np.int64)


def test_a_code_that_straddles_two_bytes():
    bits = np.array([5, 5, 3], np.int32)
    lowers = np.concatenate([np.arange(1 << b) for b in bits]).astype(np.float32)
    codes = np.zeros((1, 3), np.uint8)
    vector = np.array([[0b10110, 0b01101, 0b011]], np.float32)
    encode_cells(vector, np.array([22, 12], np.float32), bits, starts_of(bits), lowers, 1, codes)
    assert [f"{byte:08b}" for byte in codes[0]] == ["01000000", "10110011", "01011000"]


@pytest.mark.slow
@given(bits=BITS, extra=st.integers(0, 10), n=st.integers(0, 9), seed=SEEDS)
def test_encode_cells(bits, extra, n, seed):
    rng = np.random.default_rng(seed)
    d = len(bits) + extra
    signs = int(rng.integers(0, d + 1))
    vectors = rng.choice(np.linspace(-2.5, 2.5, 41), (n, d)).astype(np.float32)
    vectors[::3] = 0
    means, lowers = rng.choice(np.linspace(-1, 1, 9), signs).astype(np.float32), edges_of(rng, bits)
    sign_bytes, packed_bytes = signs // 8 + 1, max(1, -(-sum(bits) // 8))
    with Guarded() as guarded:
        codes = guarded.zeros((n, sign_bytes + packed_bytes), np.uint8)
        inputs = (vectors, means, np.array(bits, np.int32), starts_of(bits), lowers)
        encode_cells(*(guarded.copy(a) for a in inputs), sign_bytes, codes)
    flags = np.concatenate([vectors[:, :signs] > means, ~vectors.any(axis=1, keepdims=True)], axis=1)
    np.testing.assert_array_equal(codes[:, :sign_bytes], np.packbits(flags, axis=1))
    cells = own_cells(vectors[:, : len(bits)], bits, lowers)
    np.testing.assert_array_equal(codes[:, sign_bytes:], packed_twin(cells, bits).reshape(n, packed_bytes))


@pytest.mark.slow
@given(bits=BITS, seed=SEEDS, data=st.data())
def test_packing_round_trip(bits, seed, data):
    largest = np.array([(1 << b) - 1 for b in bits], np.int64)
    drawn = data.draw(st.lists(st.tuples(*(st.integers(0, int(m)) for m in largest)), min_size=1, max_size=4))
    cells = np.array([*drawn, largest, 0 * largest], np.int64).reshape(len(drawn) + 2, len(bits))
    packed = packed_twin(cells, bits)
    with Guarded() as guarded:
        found = guarded.empty(cells.shape, np.uint8)
        unpack_cells(guarded.copy(packed), guarded.copy(np.array(bits, np.int32)), found)
    np.testing.assert_array_equal(found, cells)
    # the kernel that encodes makes the same stream of cells whose edges are their numbers
    lowers = np.concatenate([np.empty(0), *(np.arange(m + 1) for m in largest)]).astype(np.float32)
    codes = np.zeros((len(cells), 1 + packed.shape[1]), np.uint8)
    none = np.empty(0, np.float32)
    encode_cells(cells.astype(np.float32), none, np.array(bits, np.int32), starts_of(bits), lowers, 1, codes)
    np.testing.assert_array_equal(codes[:, 1:], packed)


@given(bits=BITS, seed=SEEDS)
def test_gap_tables(bits, seed):
    rng = np.random.default_rng(seed)
    lowers = edges_of(rng, bits)
    query = rng.choice(np.linspace(-3, 3, 25), len(bits)).astype(np.float32)
    with Guarded() as guarded:
        gaps = guarded.empty(len(lowers), np.float32)
        inputs = (query, np.array(bits, np.int32), starts_of(bits), lowers)
        gap_tables(*(guarded.copy(a) for a in inputs), gaps)
    for j, (start, b) in enumerate(zip(starts_of(bits), bits, strict=True)):
        own, edges = slice(start, start + (1 << b)), lowers[start : start + (1 << b)]
        below, above = edges - query[j], query[j] - np.append(edges[1:], np.inf)
        np.testing.assert_array_equal(gaps[own], np.maximum(0, np.maximum(below, above)) ** 2)


@pytest.mark.slow
@given(counts=st.lists(st.integers(0, 80), min_size=1, max_size=5), width=st.integers(1, 70), seed=SEEDS)
def test_scan_signs(counts, width, seed):
    rng = np.random.default_rng(seed)
    many = np.array(counts, np.int64)
    blocks_of, total = (many + 31) // 32, int(many.sum())
    row_starts, block_starts = np.cumsum(many) - many, np.cumsum(blocks_of) - blocks_of
    codes, query = rng.integers(0, 256, (total, width), np.uint8), rng.integers(0, 256, width, np.uint8)
    if seed % 3 == 0:
        codes[:] = ~query  # every bit differs
    blocks = np.zeros((int(blocks_of.sum()), width * 32), np.uint8)
    for start, block, count in zip(row_starts, block_starts, many, strict=True):
        transpose(codes[start : start + count], blocks[block : block + (count + 31) // 32])
    chosen = np.flatnonzero(rng.random(len(counts)) < 0.7).astype(np.int32)
    flags = rng.random(total) < rng.choice([0.02, 0.5, 1.0])
    padded = np.zeros((total // 64 + 1) * 64, np.uint8)
    padded[:total] = flags
    mask = np.packbits(padded, bitorder="little").view(np.uint64)
    if seed % 2:
        mask, flags = np.empty(0, np.uint64), np.ones(total, bool)
    wanted = [(r, v) for v, p in enumerate(chosen) for r in range(row_starts[p], row_starts[p] + many[p]) if flags[r]]
    with Guarded() as guarded:
        size = int(many[chosen].sum())
        rows, places = guarded.empty(size, np.int64), guarded.empty(size, np.int64)
        visits, distances = guarded.empty(size, np.int32), guarded.empty(size, np.int32)
        words = query.astype(np.uint64) * np.uint64(0x0101010101010101)
        where = [guarded.copy(a) for a in (chosen, row_starts, many, block_starts, mask)]
        sums = guarded.empty(32, np.int32)
        outputs = (rows, places, visits, distances)
        count = scan_signs(guarded.copy(blocks.view(np.uint64)), guarded.copy(words), *where, sums, *outputs)
    assert count == len(wanted)
    assert list(zip(rows[:count].tolist(), visits[:count].tolist(), strict=True)) == wanted
    found = codes[rows[:count]]
    np.testing.assert_array_equal(blocks.reshape(-1, width, 32)[places[:count] >> 5, :, places[:count] & 31], found)
    np.testing.assert_array_equal(distances[:count], np.unpackbits(found ^ query, axis=1).sum(axis=1))


@given(bits=BITS, n=st.integers(1, 70), seed=SEEDS)
def test_lower_bounds(bits, n, seed):
    rng = np.random.default_rng(seed)
    starts, widths = starts_of(bits), np.array(bits, np.int32)
    cells = rng.integers(0, 1 << np.asarray(bits, np.int64), (n, len(bits)))
    packed = packed_twin(cells, bits)
    blocks = np.zeros(((n + 31) // 32, packed.shape[1] * 32), np.uint8)
    transpose(packed, blocks)
    gaps = rng.random(int((1 << widths.astype(np.int64)).sum())).astype(np.float32)
    places = rng.permutation(n)[: n // 2 + 1].astype(np.int64)
    with Guarded() as guarded:
        bounds = guarded.empty(len(places), np.float32)
        lower_bounds(*(guarded.copy(a) for a in (blocks, places, widths, starts, gaps)), bounds)
    expected = gaps.astype(np.float64)[starts + cells[places]].sum(axis=1)
    np.testing.assert_allclose(bounds, expected, rtol=1e-5, atol=1e-6)
