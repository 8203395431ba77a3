"""k, nprobe, min_score, timeout, shapes of queries, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import METRICS, brute_force, clustered
from vsearch.search.engine.request import SearchRequest

ROWS, PARTITIONS = 900, 16


@pytest.fixture(params=METRICS)
def metric(request):
    return request.param


@pytest.fixture
def index(build_once, metric):
    table = pa.table({"number": np.arange(ROWS), "half": np.arange(ROWS) % 2 == 0})
    options = {"metric": metric, "partitions": PARTITIONS, "shards": 2, "rerank": "float16", "bits": 2.0}
    return build_once(("limits", metric), clustered(ROWS), attributes=table, **options)


# -- k


@pytest.mark.parametrize("k", [1, 3, ROWS - 1, ROWS, ROWS + 1, 10_000])
@pytest.mark.parametrize("options", [{}, {"exact": True}, {"nprobe": 1}, {"where": "number >= 0"}])
def test_min_of_k_and_rows_come_back(index, k, options):
    hits = index.search(clustered(2, seed=1), k=k, **options)
    found = min(k, ROWS)
    assert hits.ids.shape == (2, k)
    assert hits.ids.dtype == np.int64
    for ids, scores in zip(hits.ids, hits.scores, strict=True):
        assert len(set(ids[:found].tolist())) == found
        assert ids[:found].min() >= 0
        assert (ids[found:] == -1).all()
        assert np.isfinite(scores[:found]).all()
        assert np.isnan(scores[found:]).all()


@pytest.mark.parametrize("k", [0, -1, 10_001, 1.5, "3", None, True])
def test_unusable_k(index, k):
    with pytest.raises(vsearch.InputError, match="k must be an integer from 1 to 10000, got"):
        index.search(clustered(1), k=k)


def test_numpy_integers_are_whole_numbers(index):
    assert index.search(clustered(1), k=np.int32(3), nprobe=np.int64(2)).ids.shape == (1, 3)


# -- shapes


def test_a_single_vector(index):
    query = clustered(1, seed=2)
    one, two = index.search(query[0], k=4), index.search(query, k=4)
    assert one.ids.shape == (1, 4)
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert len(one) == 1


def test_no_queries(index):
    hits = index.search(np.empty((0, 24), np.float32), k=4, columns=["number"])
    assert hits.ids.shape == hits.scores.shape == (0, 4)
    assert hits.to_arrow().num_rows == 0


def test_queries_of_other_types(index):
    query = np.round(clustered(3, seed=2) * 8)
    wanted = index.search(query)
    for other in (query.astype(np.float64), query.astype(np.float16), query.astype(np.int32), query.tolist()):
        np.testing.assert_array_equal(index.search(other).ids, wanted.ids)
    strided = np.asfortranarray(np.repeat(query, 2, axis=0))[::2]
    strided.setflags(write=False)
    np.testing.assert_array_equal(index.search(strided).ids, wanted.ids)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.zeros((2, 23)), r"\(queries, 24\)"),
        (np.zeros(25), r"\(queries, 24\)"),
        (np.zeros((2, 3, 24)), r"\(queries, 24\)"),
        (np.float32(3), r"\(queries, 24\)"),
        (np.full((2, 24), np.nan), "query 0 contains NaN"),
        (np.concatenate([np.zeros((1, 24)), np.full((1, 24), np.inf)]), "query 1 contains NaN, infinity"),
        (np.full((1, 24), 1e300), "a number beyond float32"),
        (np.full((1, 24), -1e16), "at most 1e.*query 0 contains"),
        (np.full(24, 1e20, np.float32), "at most 1e.*query 0 contains"),
        (np.full((1, 24), 3e38, np.float32), "at most 1e.*query 0 contains"),
        (["a"] * 24, "has no query encoder"),
        ([[1.0, 2.0], [3.0]], "rows of different lengths"),
        (None, "queries"),
        (np.zeros((1, 24), complex), "numbers"),
    ],
)
def test_unusable_queries(index, metric, queries, message):
    if metric == "cosine" and ("beyond" in message or "at most" in message):  # only directions matter
        assert (index.search(queries).ids >= 0).all()
        return
    with pytest.raises(vsearch.InputError, match=message):
        index.search(queries)


def test_a_zero_query(index, metric):
    """All rows are equally similar to it, or it is a point like another."""
    hits = index.search(np.zeros(24), k=5)
    assert (hits.ids >= 0).all()
    if metric == "l2":
        true = brute_force(metric, np.zeros((1, 24)), clustered(ROWS))
        np.testing.assert_allclose(hits.scores[0], np.sort(true[0])[:5], rtol=1e-2)
    else:
        np.testing.assert_allclose(hits.scores, 0, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine"])
@pytest.mark.parametrize("magnitude", [1e-18, 1e-12, 1e12, 1e14])
def test_length_of_a_cosine_query_does_not_matter(index, magnitude):
    query = clustered(4, seed=3)
    wanted, found = index.search(query), index.search(query * np.float32(magnitude))
    assert np.mean(wanted.ids == found.ids) > 0.95
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)


# -- nprobe


@pytest.mark.parametrize("nprobe", [1, 3, PARTITIONS, 1000])
def test_nprobe_partitions_are_visited(index, nprobe):
    partitions = index.info()["partitions"]
    stats = index.search(clustered(10, seed=4), k=1, nprobe=nprobe).stats
    assert stats.partitions == partitions
    assert stats.partitions_visited == 10 * min(nprobe, partitions)


def test_nprobe_covers_k_rows(index):
    sizes = index._snapshot.partition_rows
    hits = index.search(clustered(10, seed=4), k=int(sizes.max()) + 1, nprobe=1)
    assert (hits.ids >= 0).all()
    assert 20 <= hits.stats.partitions_visited < 10 * len(sizes)


def test_all_partitions_are_as_good_as_estimates_allow(index):
    queries = clustered(40, seed=5)
    exact = index.search(queries, exact=True)
    few, all_ = (index.search(queries, nprobe=n) for n in (1, 1000))
    shares = [np.mean([np.isin(a, b).mean() for a, b in zip(h.ids, exact.ids, strict=True)]) for h in (few, all_)]
    assert shares[0] <= shares[1]
    assert shares[1] > 0.97


def test_nprobe_is_a_minimum_under_a_predicate(index):
    queries, where = clustered(20, seed=6), "number < 300"
    free = index.search(queries, where=where)
    one = index.search(queries, where=where, nprobe=1)
    all_ = index.search(queries, where=where, nprobe=1000)
    assert one.stats.partitions_visited >= free.stats.partitions_visited
    assert all_.stats.partitions_visited >= one.stats.partitions_visited
    np.testing.assert_array_equal(one.ids, free.ids)
    for hits in (free, one, all_):
        assert (hits.ids >= 0).all()
        assert hits.ids.max() < 300


@pytest.mark.parametrize("nprobe", [0, -3, 2.0, "all", False])
def test_unusable_nprobe(index, nprobe):
    with pytest.raises(vsearch.InputError, match="nprobe must be"):
        index.search(clustered(1), nprobe=nprobe)


# -- min_score


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"where": "half"}, {"nprobe": 1000}])
def test_min_score(index, metric, options):
    query = clustered(3, seed=7)
    free = index.search(query, k=200, **options)
    bar = float(np.median(free.scores))
    hits = index.search(query, k=200, min_score=bar, **options)
    for ids, scores, all_ids, all_scores in zip(hits.ids, hits.scores, free.ids, free.scores, strict=True):
        good = all_scores <= bar if metric == "l2" else all_scores >= bar
        found = ids >= 0
        assert (np.isnan(scores) == ~found).all()
        np.testing.assert_array_equal(ids[found], all_ids[good])
        np.testing.assert_array_equal(scores[found], all_scores[good])


def test_min_score_that_nothing_reaches(index, metric):
    hits = index.search(clustered(2, seed=7), min_score=-1.0 if metric == "l2" else 1e9)
    assert (hits.ids == -1).all()
    assert np.isnan(hits.scores).all()


def test_min_score_that_everything_reaches(index, metric):
    free = index.search(clustered(2, seed=7))
    hits = index.search(clustered(2, seed=7), min_score=1e9 if metric == "l2" else -1e9)
    np.testing.assert_array_equal(hits.ids, free.ids)


@pytest.mark.parametrize("bar", [float("nan"), float("inf"), "high"])
def test_unusable_min_score(index, bar):
    with pytest.raises(vsearch.InputError, match="min_score must be"):
        index.search(clustered(1), min_score=bar)


# -- timeout


def test_a_timeout_gives_no_partial_answer(index):
    for queries in (clustered(1), clustered(100)):
        with pytest.raises(vsearch.SearchTimeoutError, match="timeout"):
            index.search(queries, timeout=1e-9)
    # and the index goes on
    assert (index.search(clustered(100), timeout=1e9).ids >= 0).all()
    assert (index.search(clustered(1), timeout=float("inf")).ids >= 0).all()


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "soon"])
def test_unusable_timeout(index, timeout):
    with pytest.raises(vsearch.InputError, match="timeout must be"):
        index.search(clustered(1), timeout=timeout)


# -- threads


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"where": "number > 100 OR half"}, {"nprobe": 3}])
def test_any_number_of_threads_gives_one_answer(index, monkeypatch, options):
    queries = clustered(70, seed=8)
    index.search(
        queries, exact=True, **{"where": options["where"]} if "where" in options else {}
    )  # nothing is left to fetch
    answers = []
    for cores in (1, 2, 8):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        answers.append(index.search(queries, k=12, **options))
    for other in answers[1:]:
        np.testing.assert_array_equal(answers[0].ids, other.ids)
        np.testing.assert_array_equal(answers[0].scores, other.scores)
        assert {k: v for k, v in answers[0].stats.to_dict().items() if "milliseconds" not in k} == {
            k: v for k, v in other.stats.to_dict().items() if "milliseconds" not in k
        }


def test_one_by_one_or_together(index):
    queries = clustered(40, seed=9)
    together = index.search(queries)
    alone = [index.search(query) for query in queries]
    np.testing.assert_array_equal(together.ids, np.concatenate([hits.ids for hits in alone]))
    np.testing.assert_allclose(together.scores, np.concatenate([hits.scores for hits in alone]), rtol=1e-5, atol=1e-6)


def test_searches_from_many_threads(index, metric):
    """Of an index that was just opened, so that they race for what is read at first touch."""
    queries = clustered(48, seed=10)
    wanted = index.search(queries, where="half", columns=["number"])
    fresh = vsearch.open(index.info()["url"])

    def ask(i):
        hits = fresh.search(queries[i], where="half", columns=["number"])
        return hits.ids[0], hits.scores[0]

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, range(len(queries))))
    np.testing.assert_array_equal([ids for ids, _ in found], wanted.ids)
    np.testing.assert_allclose([scores for _, scores in found], wanted.scores, rtol=1e-5, atol=1e-6)


def test_scores_beyond_float32_may_be_asked_for(index):
    farthest = index.info()["metric"] == "l2"  # where it is the largest squared distance
    found = [bool((index.search(np.ones(24), min_score=score).ids >= 0).all()) for score in (1e308, -1e308)]
    assert found == [farthest, not farthest]
    assert (index.search(np.ones(24), min_score=-1e308 if farthest else 1e308).ids == -1).all()


@pytest.mark.parametrize("shards", [1, 2])
def test_no_query_has_no_hits(build_once, shards):
    index = build_once(("limits", "no query", shards), clustered(100), shards=shards)
    hits = index.search(np.empty((0, index.info()["dimensions"]), np.float32), k=3)
    assert hits.ids.shape == hits.scores.shape == (0, 3)
    assert hits.to_arrow().num_rows == 0


def test_no_request_of_no_rows_reaches_a_kernel(index):
    with pytest.raises(ValueError, match="k must be at least 1"):
        SearchRequest(0, index.snapshot.settings)
