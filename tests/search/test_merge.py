"""Ranking: higher score first, ties to the lower row, whatever order the hits come in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsearch.search.engine.merge import SHORT, merge, top, top_of_each

SCORES = st.lists(st.integers(-3, 3), max_size=40)


def ranked(scores, rows, k):
    return sorted(range(len(scores)), key=lambda place: (-scores[place], rows[place]))[:k]


@given(scores=SCORES, k=st.integers(1, 50), seed=st.integers(0, 99))
def test_top(scores, k, seed):
    rows = np.random.default_rng(seed).permutation(len(scores))
    assert top(np.array(scores, np.float32), rows, k).tolist() == ranked(scores, rows, k)


def test_top_of_many_is_that_of_few():
    rng = np.random.default_rng(0)
    scores, rows = rng.integers(0, 50, 10 * SHORT).astype(np.float32), rng.permutation(10 * SHORT)
    for k in (1, 10, SHORT, SHORT + 1, 10 * SHORT, 11 * SHORT):
        assert top(scores, rows, k).tolist() == np.lexsort((rows, -scores))[:k].tolist()


@given(found=st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), max_size=60), k=st.integers(1, 9))
def test_top_of_each_is_the_top_of_every_query(found, k):
    queries, scores = np.array(found, np.int64).reshape(-1, 2).T
    rows = np.random.default_rng(1).permutation(len(found))
    places, counts = top_of_each(queries, scores.astype(np.float32), rows, 5, k)
    expected = []
    for query in range(5):
        own = np.flatnonzero(queries == query)
        expected.append(own[ranked(scores[own], rows[own], k)].tolist())
    assert counts.tolist() == [len(own) for own in expected]
    assert places.tolist() == [place for own in expected for place in own]


@given(found=st.lists(SCORES, min_size=1, max_size=4), k=st.integers(1, 30))
def test_merge_pads_what_is_missing(found, k):
    starts = np.cumsum([0, *map(len, found)])
    rows = [np.append(np.arange(len(one)) + start, -1) for one, start in zip(found, starts, strict=False)]
    scores = [np.append(np.array(one, np.float32), np.float32(np.nan)) for one in found]
    merged, places = merge(scores, rows, k)
    flat = [score for one in found for score in one]
    best = ranked(flat, range(len(flat)), k)
    assert places.tolist() == best + [-1] * (k - len(best))
    assert merged[: len(best)].tolist() == [flat[place] for place in best]
    assert np.isnan(merged[len(best) :]).all()
    again, _ = merge(scores[::-1], rows[::-1], k)
    np.testing.assert_array_equal(again, merged)
