"""Groups, diverse rows, examples, fusion and other scores, compared with loops over all rows."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import cache

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import METRICS, brute_force, clustered
from vsearch.api import groups
from vsearch.api.remote_index import RemoteIndex
from vsearch.search.diversity import choose_diverse
from vsearch.search.fusion import fuse_ranks

#: The first rows lie closer together than the others.
pytestmark = pytest.mark.filterwarnings("ignore:.*far from all partitions")

D, ROWS = 8, 360


def documents(rows=ROWS):
    """Groups of unlike sizes: one of 150 rows, many of a few, and rows without a group."""
    rng = np.random.default_rng(4)
    numbers = np.where(np.arange(rows) < 150, 0, rng.integers(1, 60, rows))
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=int(n)) for n in numbers]
    nobody = rng.random(rows) < 0.05
    return pa.table(
        {
            "doc": pa.array([None if none else int(n) for n, none in zip(numbers, nobody, strict=True)], pa.int64()),
            "text": pa.array([None if none else f"doc {n}\0'" for n, none in zip(numbers, nobody, strict=True)]),
            "day": pa.array(days),
            "ns": pa.array([1_700_000_000_000_000_000 + int(n) for n in numbers], pa.timestamp("ns")),
            "us": pa.array([dt.datetime(2024, 1, 1, 0, 0, 0, int(n)) for n in numbers], pa.timestamp("us")),
            "price": pa.array([Decimal(int(n)) / 10 for n in numbers], pa.decimal128(8, 1)),
            "big": pa.array([2**64 - 1 - int(n) for n in numbers], pa.uint64()),
            "even": pa.array([int(n) % 2 == 0 for n in numbers]),
            "number": pa.array(range(rows)),
            "tags": pa.array([["a"]] * rows),
            "ratio": pa.array([0.5] * rows),
        }
    )


class Case:
    def __init__(self, metric):
        self.metric, self.table, self.vectors = metric, documents(), clustered(ROWS, D)
        self.vectors[:150] *= 0.1  # the large group is near the origin, where the queries are
        self.vectors[:150] += np.float32(0.5)
        url = f"memory://variants-{metric}/i"
        start = 300
        self.index = vsearch.build(
            self.vectors[:start],
            url,
            self.table.slice(0, start),
            range(start),
            metric=metric,
            shards=2,
            rerank="float32",
        )
        self.index.append(self.vectors[start:], self.table.slice(start), range(start, ROWS))
        self.index.delete(range(0, ROWS, 11))
        self.alive = np.array([row for row in range(ROWS) if row % 11])
        self.queries = clustered(5, D, seed=3) * np.float32(0.1) + np.float32(0.5)

    def groups(self, query, column, passing):
        """The best row of each group, best first: by a loop."""
        scores = brute_force(self.metric, query[None], self.vectors)[0]
        order = sorted(passing, key=lambda row: scores[row] if self.metric == "l2" else -scores[row])
        best = {}
        for row in order:
            best.setdefault(
                self.table[column][int(row)].as_py() if column != "ns" else self.table[column][int(row)].value, row
            )
        return list(best.values()), scores


@cache
def made(metric):
    return Case(metric)


@pytest.fixture(params=METRICS)
def case(request):
    return made(request.param)


@pytest.fixture
def cosine():
    return made("cosine")


@pytest.mark.parametrize("k", [1, 7, 200])
def test_the_best_row_of_each_group(case, k, monkeypatch):
    monkeypatch.setattr(groups, "LEAST_ROWS", 4)  # several rounds
    for where, passing in ((None, case.alive), ("number < 200", [row for row in case.alive if row < 200])):
        hits = case.index.search_groups(case.queries, "doc", k, where, exact=True, columns=["number"])
        assert hits.ids.shape == (len(case.queries), k)
        for query, found in enumerate(hits):
            best, scores = case.groups(case.queries[query], "doc", passing)
            assert len(found) == min(k, len(best))
            np.testing.assert_allclose([hit.score for hit in found], scores[best[:k]], rtol=1e-4, atol=1e-4)
            assert [hit.values["number"] for hit in found] == [hit.id for hit in found]
            expected = [case.table["doc"][int(row)].as_py() for row in best[:k]]
            assert [hit.values["doc"] for hit in found] == expected


@pytest.mark.parametrize("column", ["text", "day", "ns", "us", "price", "big", "even"])
def test_groups_of_every_type(cosine, column, monkeypatch):
    monkeypatch.setattr(groups, "LEAST_ROWS", 4)
    monkeypatch.setattr(groups, "ROWS_PER_GROUP", 1)
    hits = cosine.index.search_groups(cosine.queries[:2], column, 50, exact=True)
    for query, found in enumerate(hits):
        best, _ = cosine.groups(cosine.queries[query], column, cosine.alive)
        assert {hit.id for hit in found} == set(best[:50])
        assert hits.columns.column_names == [column]


def test_approximate_groups_are_as_many_and_differ(cosine):
    hits = cosine.index.search_groups(cosine.queries, "doc", 30)
    for found in hits:
        assert len({hit.values["doc"] for hit in found}) == len(found) == 30
        scores = [hit.score for hit in found]
        assert scores == sorted(scores, reverse=True)


def test_thresholds_and_nothing(cosine):
    whole = cosine.index.search_groups(cosine.queries[0], "doc", 40, exact=True)
    some = cosine.index.search_groups(cosine.queries[0], "doc", 40, exact=True, min_score=float(whole.scores[0, 12]))
    assert [hit.id for hit in some[0]] == [hit.id for hit in whole[0]][:13]
    nothing = cosine.index.search_groups(cosine.queries, "doc", 3, "number < 0")
    assert (nothing.ids.tolist(), nothing.columns.num_rows) == ([[-1] * 3] * 5, 15)
    assert len(cosine.index.search_groups(cosine.queries[:0], "doc", 3)) == 0
    null = cosine.index.search_groups(cosine.queries[0], "doc", 3, "doc IS NULL")
    assert [hit.values["doc"] for hit in null[0]] == [None]


def test_groups_behind_functions(cosine):
    from tests.fanout.conftest import Stack
    from vsearch.fanout.wire.envelope import Envelope

    index = vsearch.build(
        cosine.vectors, "memory://variants-remote/i", cosine.table, shards=2, partitions=4, rerank="float32"
    )
    stack = Stack("memory://variants-remote/i", index, cosine.queries)
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    for k in (3, 100):
        here = index.search_groups(cosine.queries, "text", k, exact=True, columns=["number"])
        there = remote.search_groups(cosine.queries, "text", k, exact=True, columns=["number"])
        assert there.ids.tolist() == here.ids.tolist()
        assert there.columns.to_pylist() == here.columns.to_pylist()
    assert there.bill is not None


def test_unusable_groups_are_refused(cosine):
    for per in ("tags", "ratio", "nothing", 3, None):
        with pytest.raises(vsearch.InputError):
            cosine.index.search_groups(cosine.queries, per)
    for options in ({"k": 0}, {"where": "x ="}, {"columns": ["nothing"]}, {"timeout": -1}, {"min_score": "a"}):
        with pytest.raises(vsearch.InputError):
            cosine.index.search_groups(cosine.queries, "doc", **options)
    with pytest.raises(vsearch.SearchTimeoutError):
        cosine.index.search_groups(cosine.queries, "doc", timeout=1e-9)


def slow_mmr(relevance, vectors, k, diversity, squared):
    chosen = []
    while len(chosen) < min(k, len(relevance)):
        worth = []
        for row in range(len(relevance)):
            near = [
                -float(((vectors[row] - vectors[other]) ** 2).sum())
                if squared
                else float(vectors[row] @ vectors[other])
                for other in chosen
            ]
            value = (1 - diversity) * relevance[row] - (diversity * max(near) if near else 0)
            worth.append(-np.inf if row in chosen else value)
        chosen.append(int(np.argmax(worth)))
    return chosen


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
def test_mmr_is_that_of_a_loop(squared, diversity):
    vectors = clustered(40, D, seed=8)
    query = clustered(1, D, seed=9)[0]
    relevance = (-((vectors - query) ** 2).sum(axis=1) if squared else vectors @ query).astype(np.float32)
    expected = slow_mmr(relevance.astype(float), vectors.astype(float), 12, diversity, squared)
    assert choose_diverse(relevance, vectors, 12, diversity, squared=squared).tolist() == expected
    assert len(choose_diverse(relevance[:3], vectors[:3], 12, diversity, squared=squared)) == 3


def test_diverse_rows(case):
    plain = case.index.search(case.queries, k=60, columns=["number"])
    same = case.index.search_diverse(case.queries, k=10, diversity=0, columns=["number"])
    assert same.ids.tolist() == plain.ids[:, :10].tolist()
    assert same.vectors is None
    hits = case.index.search_diverse(case.queries, k=10, diversity=0.7, candidates=60, columns=["number"], vectors=True)
    for query, found in enumerate(hits):
        vectors = case.index.vectors(plain.ids[query]).vectors
        squared = case.metric == "l2"
        relevance = (-plain.scores if squared else plain.scores)[query].astype(float)
        expected = plain.ids[query][slow_mmr(relevance, vectors.astype(float), 10, 0.7, squared)]
        assert [hit.id for hit in found] == expected.tolist()
        assert [hit.values["number"] for hit in found] == expected.tolist()
        np.testing.assert_array_equal(np.stack([hit.vector for hit in found]), case.index.vectors(expected).vectors)
    few = case.index.search_diverse(case.queries[0], k=10, where="number < 4")
    assert (few.ids[0] >= 0).sum() == 3


def test_unusable_diversity_is_refused(cosine):
    for options in (
        {"diversity": 1.1},
        {"diversity": None},
        {"candidates": 3},
        {"offset": 5},
        {"k": 0},
        {"candidates": 10**6},
    ):
        with pytest.raises(vsearch.InputError):
            cosine.index.search_diverse(cosine.queries, **{"k": 5, **options})


def test_rows_like_examples(case):
    index = case.index
    hits = index.search_like([3, 5], k=8, where="number > 2", columns=["number"], exact=True)
    middle = index.vectors([3, 5]).vectors.mean(axis=0)
    plain = index.search(middle, k=20, where="number > 2", exact=True).ids[0]
    assert hits.ids[0].tolist() == [id_ for id_ in plain.tolist() if id_ not in (3, 5)][:8]
    assert hits.columns["number"].to_pylist() == hits.ids[0].tolist()
    away = index.search_like(3, unlike=[200], k=8, exact=True)
    positive, negative = index.vectors([3, 200]).vectors.astype(float)
    plain = index.search(2 * positive - negative, k=20, exact=True).ids[0]
    assert away.ids[0].tolist() == [id_ for id_ in plain.tolist() if id_ not in (3, 200)][:8]
    everything = index.search_like([3], k=ROWS, where="number < 10")
    assert sorted(everything.ids[0][~np.isnan(everything.scores[0])].tolist()) == [1, 2, 4, 5, 6, 7, 8, 9]


def test_unusable_examples_are_refused(cosine):
    for like, options in (
        ([], {}),
        ([11], {}),
        (["a"], {}),
        ([3], {"k": 10_000}),
        ([3], {"offset": 1}),
        ([3], {"unlike": [0]}),
    ):
        with pytest.raises(vsearch.InputError):
            cosine.index.search_like(like, **options)


def test_reciprocal_ranks_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    for texts in (False, True):
        lists = [rng.permutation(30)[: rng.integers(0, 20)] for _ in range(4)]
        if texts:
            lists = [np.array([f"{one:02}" for one in ids] + [], object) for ids in lists]
        weights = [1.0, 2.0, 0.5, 1.0]
        expected: dict = {}
        for ids, weight in zip(lists, weights, strict=True):
            for rank, one in enumerate(ids.tolist(), 1):
                expected[one] = expected.get(one, 0) + weight / (60 + rank)
        places, scores = fuse_ranks(lists, weights, 60)
        found = np.concatenate(lists)[places].tolist()
        assert sorted(found) == sorted(expected)
        assert scores.tolist() == sorted(expected.values(), reverse=True)
        np.testing.assert_allclose(scores, [expected[one] for one in found])


def test_fusion_of_queries_and_of_answers(cosine):
    hits = cosine.index.search(cosine.queries[:3], k=20, columns=["number"], vectors=True)
    fused = hits.fuse(k=7)
    places, scores = fuse_ranks(list(hits.ids), [1] * 3, 60)
    assert fused.ids.tolist() == [hits.ids.reshape(-1)[places[:7]].tolist()]
    np.testing.assert_allclose(fused.scores[0], scores[:7], rtol=1e-6)
    assert fused.columns["number"].to_pylist() == fused.ids[0].tolist()
    np.testing.assert_array_equal(fused.vectors[0], cosine.index.vectors(fused.ids[0]).vectors)
    other = cosine.index.search(cosine.queries[1:4], k=9, where="number < 5", columns=["number"])
    both = vsearch.fuse([hits, other], k=40, weights=[1, 3], constant=10)
    for query, found in enumerate(both):
        present = other.ids[query][~np.isnan(other.scores[query])]
        places, scores = fuse_ranks([hits.ids[query], present], [1, 3], 10)
        assert [hit.id for hit in found] == np.concatenate([hits.ids[query], present])[places].tolist()
        np.testing.assert_allclose([hit.score for hit in found], scores, rtol=1e-6)
        assert [hit.values["number"] for hit in found] == [hit.id for hit in found]
    assert both.vectors is None
    assert len(vsearch.fuse([cosine.index.search(cosine.queries[:0], k=3)], k=2)) == 0


def test_answers_that_do_not_fit_are_refused(cosine):
    one = cosine.index.search(cosine.queries, k=3)
    columns = cosine.index.search(cosine.queries, k=3, columns=["number"])
    fewer = cosine.index.search(cosine.queries[:2], k=3)
    for answers, options in (
        ([], {}),
        ([one, columns], {}),
        ([one, fewer], {}),
        ([one, 3], {}),
        ([one], {"k": 0}),
        ([one], {"weights": [1, 2]}),
        ([one], {"weights": [0]}),
        ([one], {"weights": [float("nan")]}),
        ([one], {"constant": -1}),
    ):
        with pytest.raises(vsearch.InputError):
            vsearch.fuse(answers, **options)


def test_other_scores(cosine):
    hits = cosine.index.search(cosine.queries[:2], k=12, where="number < 9", columns=["number"], vectors=True)
    asked = []

    def score(query, table):
        asked.append((query, table.column_names, table.num_rows))
        return [(number * 7) % 5 for number in table["number"].to_pylist()]

    again = hits.rerank(score, k=5)
    assert asked == [(0, ["id", "score", "number"], 8), (1, ["id", "score", "number"], 8)]
    assert again.ids.shape == (2, 5)
    for query, found in enumerate(again):
        expected = sorted(hits[query], key=lambda hit: -((hit.values["number"] * 7) % 5))[:5]
        assert [(hit.id, hit.values) for hit in found] == [(hit.id, hit.values) for hit in expected]
        assert [hit.score for hit in found] == [(hit.id * 7) % 5 for hit in expected]
    assert len(hits.rerank(score)[0]) == 8
    for bad in (lambda _, table: [1.0], lambda _, table: [float("nan")] * table.num_rows, lambda _, table: None):
        with pytest.raises(vsearch.InputError, match="score must return 8 finite numbers"):
            hits.rerank(bad)


def test_matches_of_documents_follow_their_hits():
    vectors = clustered(60, D)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = vsearch.build_documents(
        vectors, np.arange(0, 61, 6), "memory://variants-documents/i", codebook=8, dimensions=64
    )
    hits = index.search_documents([vectors[:3], vectors[3:5]], k=4, matches=True)
    again = hits.rerank(lambda _, table: -table["score"].to_numpy(), k=3)
    for query in range(2):
        assert again.ids[query].tolist() == hits.ids[query][::-1][:3].tolist()
        np.testing.assert_array_equal(again.matches[query].positions, hits.matches[query].positions[::-1][:3])
