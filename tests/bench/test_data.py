from __future__ import annotations

import numpy as np
import pytest

from bench import data as bench_data
from bench.data import Data, Truth, exact, hits_by_score, load, prepare, recall, spaced


def made(rows=500, queries=20, d=16, metric="cosine", seed=0, k=10):
    random = np.random.default_rng(seed)
    base = prepare(random.standard_normal((rows, d)), metric)
    asked = prepare(random.standard_normal((queries, d)), metric)
    return Data("made", metric, base, asked, exact(base, asked, k, metric))


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_truth_is_that_of_a_plain_sort(metric, monkeypatch):
    monkeypatch.setattr(bench_data, "BLOCK", 64)
    data = made(metric=metric)
    base, queries = data.base.astype(np.float64), data.queries.astype(np.float64)
    scores = -((queries[:, None] - base[None]) ** 2).sum(axis=2) if metric == "l2" else queries @ base.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(data.truth.ids, expected)
    np.testing.assert_allclose(data.truth.scores, np.take_along_axis(scores, expected, axis=1), rtol=1e-9, atol=1e-12)


def test_the_truth_of_fewer_rows_than_k_is_filled_up():
    data = made(rows=4)
    assert (data.truth.ids[:, 4:] == -1).all()
    assert recall(data, data.truth.ids) == 1.0
    assert recall(data, np.full((20, 10), -1)) == 0.0


def test_nothing_to_find_is_found():
    data = made()
    nothing = Truth(np.full((20, 10), -1), np.full((20, 10), -np.inf))
    assert recall(data, np.full((20, 10), -1), nothing) == 1.0


def test_a_duplicate_of_a_neighbor_is_as_good_as_the_neighbor():
    data = made()
    twice = np.concatenate([data.base, data.base])
    doubled = Data("doubled", data.metric, twice, data.queries, data.truth)
    assert recall(doubled, data.truth.ids + len(data.base)) == 1.0


def test_the_same_row_twice_counts_once():
    data = made()
    ids = np.repeat(data.truth.ids[:, :1], 10, axis=1)
    assert hits_by_score(data, ids).sum(axis=1).tolist() == [1] * 20
    assert recall(data, ids) == pytest.approx(0.1)


def test_more_answers_than_k_give_the_share_of_the_true_k_among_them():
    data = made()
    best = exact(data.base, data.queries, 50, data.metric).ids
    assert recall(data, best[:, ::-1]) == 1.0
    assert recall(data, best[:, 5:]) == pytest.approx(0.5)


def test_given_neighbors_are_used_and_others_computed_and_kept(tmp_path, monkeypatch):
    data = made()
    monkeypatch.setattr(bench_data, "CACHE", tmp_path / "cache")
    np.save(tmp_path / "base.npy", data.base)
    np.save(tmp_path / "queries.npy", data.queries)
    computed = load(tmp_path)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    np.testing.assert_array_equal(load(tmp_path).truth.ids, computed.truth.ids)
    np.save(tmp_path / "neighbours.npy", data.truth.ids[:, ::-1].astype(np.int32))
    np.testing.assert_array_equal(load(tmp_path).truth.ids, data.truth.ids)


def test_parts_of_one_size_never_share_a_kept_truth(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_data, "CACHE", tmp_path / "cache")
    for seed in (1, 2):
        data = made(seed=seed)
        np.save(tmp_path / "base.npy", data.base)
        np.save(tmp_path / "queries.npy", data.queries)
        np.testing.assert_array_equal(load(tmp_path, rows=100).truth.ids, exact_of_part(data))


def exact_of_part(data):
    part = prepare(data.base[spaced(data.rows, 100)], "cosine")
    return exact(part, prepare(data.queries, "cosine"), 10, "cosine").ids


def test_data_that_do_not_fit_together_are_refused(tmp_path):
    np.save(tmp_path / "base.npy", np.zeros((3, 4), np.float32))
    np.save(tmp_path / "queries.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match="do not fit together"):
        load(tmp_path)
    with pytest.raises(ValueError, match="metric"):
        load(tmp_path, metric="hamming")
