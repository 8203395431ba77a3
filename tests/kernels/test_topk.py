from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.guards import Guarded
from vsearch.kernels.scan.topk import push, sort_best_first

# Few distinct scores, so that most of them are ties.
ENTRIES = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1000)), max_size=60, unique_by=lambda entry: entry[1])


def best(entries, k):
    """The twin: sorted by score, ties to the lower row."""
    return sorted(entries, key=lambda entry: (-entry[0], entry[1]))[:k]


def collect(entries, k, guarded):
    scores, rows = guarded.empty(k, np.float32), guarded.empty(k, np.int64)
    size = 0
    for score, row in entries:
        size = push(scores, rows, size, np.float32(score), row)
    return scores, rows, size


@given(entries=ENTRIES, k=st.integers(1, 70))
def test_best_entries_in_order(entries, k):
    with Guarded() as guarded:
        scores, rows, size = collect(entries, k, guarded)
        assert size == min(k, len(entries))
        sort_best_first(scores, rows, size)
    wanted = best(entries, k)
    assert rows[:size].tolist() == [row for _, row in wanted]
    assert scores[:size].tolist() == [score for score, _ in wanted]
    assert np.isnan(scores[size:]).all()
    assert (rows[size:] == -1).all()


@given(entries=ENTRIES, k=st.integers(1, 20), seed=st.integers(0, 100))
def test_order_of_arrival_does_not_matter(entries, k, seed):
    shuffled = np.random.default_rng(seed).permutation(len(entries))
    answers = []
    with Guarded() as guarded:
        for order in (range(len(entries)), shuffled):
            scores, rows, size = collect([entries[i] for i in order], k, guarded)
            sort_best_first(scores, rows, size)
            answers.append(rows.tolist())
    assert answers[0] == answers[1]


@given(entries=ENTRIES.filter(len), k=st.integers(1, 20))
def test_worst_entry_is_on_top(entries, k):
    with Guarded() as guarded:
        scores, rows, size = collect(entries, k, guarded)
        assert (scores[0], rows[0]) == best(entries, k)[-1]
        assert size <= k


def test_infinities_and_zeros():
    entries = [(np.inf, 3), (-np.inf, 1), (0.0, 5), (-0.0, 4), (np.inf, 2)]
    with Guarded() as guarded:
        scores, rows, size = collect(entries, 5, guarded)
        sort_best_first(scores, rows, size)
    assert rows.tolist() == [2, 3, 4, 5, 1]


@pytest.mark.parametrize("k", [1, 1000, 10_000])
def test_large(k):
    rng = np.random.default_rng(k)
    offered = rng.integers(0, 500, 3000).astype(np.float32)
    entries = list(zip(offered.tolist(), range(3000), strict=True))
    with Guarded() as guarded:
        scores, rows, size = collect(entries, k, guarded)
        sort_best_first(scores, rows, size)
    assert rows[:size].tolist() == [row for _, row in best(entries, k)]
