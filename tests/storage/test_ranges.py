from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.storage.files.ranges import bridge, covering_chunks, mark, runs, split, widen


def ints(*values):
    return np.array(values, np.int64)


def test_covering_chunks_drops_what_is_empty():
    first, stop = covering_chunks(ints(0, 5, 64, 63), ints(0, 6, 128, 65), chunk=64)
    assert first.tolist() == [0, 1, 0]
    assert stop.tolist() == [1, 2, 2]


def test_runs():
    first, stop = runs(np.array([1, 1, 0, 0, 1], bool))
    assert (first.tolist(), stop.tolist()) == ([0, 4], [2, 5])
    assert [len(part) for part in runs(np.zeros(3, bool))] == [0, 0]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 64])
@pytest.mark.parametrize("length", [1, 7, 8, 9])
def test_widen_adds_the_absent_chunks_of_aligned_groups(count, length):
    rng = np.random.default_rng(length)
    for _ in range(50):
        absent = rng.random(length) < 0.7
        requested = absent & (rng.random(length) < 0.3)
        groups = {i // max(count, 1) for i in np.flatnonzero(requested)}
        expected = [bool(absent[i]) and i // max(count, 1) in groups for i in range(length)]
        assert widen(requested, absent, count=count).tolist() == expected


def test_bridge_joins_near_runs_but_never_over_what_is_there():
    wanted = np.array([1, 0, 0, 1, 0, 0, 0, 1], bool)
    absent = np.ones(8, bool)
    assert bridge(wanted, absent, gap=2).astype(int).tolist() == [1, 1, 1, 1, 0, 0, 0, 1]
    absent[1] = False
    assert bridge(wanted, absent, gap=3).astype(int).tolist() == [1, 0, 0, 1, 1, 1, 1, 1]
    assert bridge(wanted, absent, gap=0) is wanted


def test_split():
    starts, stops = split(ints(0, 100, 200), ints(25, 110, 200), limit=10)
    assert starts.tolist() == [0, 10, 20, 100]
    assert stops.tolist() == [10, 20, 25, 110]


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 60)), max_size=8),
    st.integers(1, 40),
    st.lists(st.booleans(), min_size=600, max_size=600),
    st.integers(0, 5),
    st.integers(1, 100),
)
def test_a_plan_covers_what_is_wanted_and_reads_nothing_twice(ranges, chunk, present, gap, limit):
    begin = ints(*(start for start, _ in ranges))
    end = ints(*(start + length for start, length in ranges))
    count = -(-600 // chunk)
    wanted = mark(*covering_chunks(begin, end, chunk=chunk), count=count)
    bytes_wanted = {b for start, length in ranges for b in range(start, start + length)}
    assert {b // chunk for b in bytes_wanted} == set(np.flatnonzero(wanted))
    absent = ~np.array(present[:count])
    chunks = bridge(wanted & absent, absent, gap=gap)
    assert not (chunks & ~absent).any()
    assert not (wanted & absent & ~chunks).any()
    first, stop = runs(chunks)
    starts, stops = split(first * chunk, np.minimum(stop * chunk, 600), limit=limit)
    assert (stops - starts <= limit).all()
    assert (stops > starts).all()
    read = [b for start, stop in zip(starts, stops, strict=True) for b in range(start, stop)]
    assert len(read) == len(set(read))
    assert set(read) == {b for c in np.flatnonzero(chunks) for b in range(c * chunk, min((c + 1) * chunk, 600))}
