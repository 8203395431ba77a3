"""Interval algebra against sets of small integers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vsearch.predicates.intervals import complement, intersection, union

ENDS = st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 21)))
INTERVALS = st.lists(ENDS, max_size=6).map(union)


def members(intervals):
    return {key for key in range(25) if any(low <= key and (high is None or key < high) for low, high in intervals)}


def assert_tidy(intervals):
    for (_, high), (low, _) in pairwise(intervals):
        assert high is not None
        assert high < low
    assert all(high is None or low < high for low, high in intervals)


@given(st.lists(ENDS, max_size=6))
def test_union(intervals):
    joined = union(intervals)
    assert_tidy(joined)
    assert members(joined) == members(intervals)


@given(INTERVALS)
def test_complement(intervals):
    rest = complement(intervals, 0)
    assert_tidy(rest)
    assert members(rest) == set(range(25)) - members(intervals)


@given(INTERVALS, INTERVALS)
def test_intersection(left, right):
    both = intersection(left, right)
    assert members(both) == members(left) & members(right)
    assert all(high is None or low < high for low, high in both)


def test_bytes():
    assert complement(((b"a", b"b"),), b"") == ((b"", b"a"), (b"b", None))
