"""The bitmap kernels against the same in NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsearch.kernels.filters.bitmaps import count_ranges, list_rows, mark_rows, pack_cells

ROWS = st.one_of(st.integers(0, 300), st.sampled_from([0, 1, 63, 64, 65, 127, 128, 129]))


def frozen(array):
    array.setflags(write=False)
    return array


def pack(flags):
    words = np.zeros((len(flags) + 63) // 64 * 8, np.uint8)
    words[: (len(flags) + 7) // 8] = np.packbits(flags, bitorder="little")
    return words.view("<u8")


def unpack(words, rows):
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:rows].astype(bool)


@given(rows=ROWS, seed=st.integers(0, 1000), writeable=st.booleans())
def test_pack_cells(rows, seed, writeable):
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, rows).astype(np.uint8)
    table = rng.choice([0, 1, 3], 256).astype(np.uint64)
    lanes = (table >> 1) << np.uint64(32) | (table & 1)
    words = (rows + 63) // 64
    # What was there before does not matter.
    yes, possible = np.full(words, 12345, np.uint64), np.full(words, 67890, np.uint64)
    pack_cells(cells if writeable else frozen(cells), lanes if writeable else frozen(lanes), yes, possible)
    np.testing.assert_array_equal(yes, pack(table[cells] == 3))
    np.testing.assert_array_equal(possible, pack(table[cells] >= 1))


@given(rows=st.integers(1, 300), seed=st.integers(0, 1000))
def test_mark_rows(rows, seed):
    rng = np.random.default_rng(seed)
    listed = rng.integers(0, rows, 50).astype(np.uint32)
    edges = np.sort(rng.integers(0, 51, (3, 2)), axis=1)
    flags = rng.random(rows) < 0.1
    words = pack(flags)
    assert mark_rows(words, frozen(listed), rows, frozen(edges[:, 0].copy()), frozen(edges[:, 1].copy()))
    for start, stop in edges:
        flags[listed[start:stop]] = True
    np.testing.assert_array_equal(words, pack(flags))


def test_mark_rows_does_not_follow_rows_that_do_not_exist():
    words = np.zeros(2, np.uint64)
    listed = np.array([3, 70, 69, 2**32 - 1, 5], np.uint32)
    assert not mark_rows(words, frozen(listed), 70, np.zeros(1, np.int64), np.full(1, 5))
    assert np.flatnonzero(unpack(words, 128)).tolist() == [3, 5, 69]


@given(rows=ROWS, seed=st.integers(0, 1000), density=st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_count_and_list(rows, seed, density):
    rng = np.random.default_rng(seed)
    flags = rng.random(rows) < density
    words = frozen(pack(flags))
    edges = np.sort(rng.integers(0, rows + 1, (6, 2)), axis=1)
    edges[0] = 0, rows
    counts = count_ranges(words, frozen(edges[:, 0].copy()), frozen(edges[:, 1].copy()))
    np.testing.assert_array_equal(counts, [flags[start:stop].sum() for start, stop in edges])
    for start, stop in edges.tolist():
        listed = list_rows(words, start, stop)
        assert listed.dtype == np.int64
        np.testing.assert_array_equal(listed, np.flatnonzero(flags[start:stop]) + start)
