from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import METRICS, brute_force, clustered
from tests.live.small import D, numbers
from vsearch.live import beginning


def exact(metric, queries, vectors, k):
    scores = brute_force(metric, queries, vectors)
    return np.sort(scores if metric == "l2" else -scores, axis=1)[:, :k] * (1 if metric == "l2" else -1)


@pytest.fixture
def early(monkeypatch):
    """Train with fewer rows."""
    monkeypatch.setattr(beginning, "ENOUGH_ROWS", 200)
    monkeypatch.setattr(beginning, "LARGEST_MINIMUM", 300)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("ids", ["row", "int64", "string"])
def test_everything_works_on_no_rows(tmp_path, metric, ids):
    url = tmp_path / "index"
    vsearch.create(url, D, attributes={"number": "int64", "name": str}, ids=ids, metric=metric)
    index = vsearch.open(url)
    queries = clustered(3, D)
    none = [None if ids == "string" else -1] * 4
    for options in (
        {},
        {"exact": True},
        {"where": "number < 3"},
        {"where": "id IS NOT NULL"},
        {"nprobe": 1},
        {"offset": 2},
    ):
        hits = index.search(queries, k=4, columns=["name"], **options)
        assert hits.ids.tolist() == [none] * 3
        assert index.search(queries[0], k=4, **options).ids.tolist() == [none]
    assert len(index) == 0
    info = index.info()
    assert (info["rows"], info["removed"], info["deltas"], info["runs"], info["tail_rows"]) == (0, 0, 0, [1], 0)
    assert info["attributes"] == {"number": "int64", "name": "string"}
    assert info["drift"]["recommendation"] is None
    assert index.get([]).num_rows == 0
    with pytest.raises(vsearch.InputError, match="no row has the id"):
        index.get(["a"] if ids == "string" else [0])
    assert index.delete(["a"] if ids == "string" else [0]).deleted == 0
    assert index.delete(where="number = 1").deleted == 0
    assert index.update({"number": 1}, where="number = 1").replaced == 0
    assert index.append(np.empty((0, D), np.float32)).added == 0
    assert index.recall(queries=queries, k=3).recall == 1.0
    assert index.recall().queries == 0
    assert not index.optimize(force=True).changed
    assert vsearch.verify(url).ok
    assert index.explain(queries[0], k=3).stats is not None
    with pytest.raises(vsearch.InputError, match="not trained yet"):
        index.tune()


@pytest.mark.parametrize("metric", METRICS)
def test_searches_are_exact_until_it_is_trained(tmp_path, metric):
    index = vsearch.create(tmp_path / "index", D, metric=metric, attributes={"number": "int64"})
    vectors, queries = clustered(150, D), clustered(20, D, seed=5)
    for start in range(0, 150, 30):
        part = slice(start, start + 30)
        index.append(vectors[part], numbers(np.arange(150)[part]))
    for opened in (index, vsearch.open(tmp_path / "index")):
        hits = opened.search(queries, k=10)
        np.testing.assert_allclose(hits.scores, exact(metric, queries, vectors, 10), rtol=1e-3, atol=1e-3)
        assert opened.search(vectors[:9], k=1).ids[:, 0].tolist() == list(range(9)) or metric == "ip"
        hits = opened.search(queries, k=5, where="number < 40")
        np.testing.assert_allclose(hits.scores, exact(metric, queries, vectors[:40], 5), rtol=1e-3, atol=1e-3)
        assert opened.recall(k=10).notes == ()
        opened.optimize(force=True)
    assert index.info()["rerank"] == "float32"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "options", [{}, {"quantizer": "pq", "rerank": "int8"}, {"bits": 2.0, "rerank": None, "shards": 2}]
)
def test_an_append_trains_it(tmp_path, early, metric, options):
    if metric == "ip" and options.get("quantizer") == "pq":
        options = {"rerank": "float16"}
    index = vsearch.create(tmp_path / "index", D, metric=metric, ids="int64", attributes={"number": "int64"}, **options)
    vectors, ids = clustered(400, D), np.arange(400) * 3
    index.append(vectors[:190], numbers(ids[:190]), ids[:190])
    index.delete(ids[:5])
    before = index.info()
    index.append(vectors[190:], numbers(ids[190:]), ids[190:])
    info = index.info()
    assert info["snapshot"] == before["snapshot"] + 2
    assert info["quantizer"] == options.get("quantizer", "osq")
    assert info["rerank"] == options.get("rerank", "int8")
    assert info["partitions"] == 6
    assert info["shards"] == options.get("shards", 1)
    assert info["drift"]["rows"] == 1.0
    assert info["settings"]["recall"] <= 1.0
    assert len(index) == 395
    opened = vsearch.open(tmp_path / "index")
    assert opened.get(ids[5:])["number"].to_pylist() == ids[5:].tolist()
    found = opened.search(vectors[5:105], k=10).ids
    truth = brute_force(metric, vectors[5:105], vectors[5:])
    best = ids[5:][np.argsort(truth if metric == "l2" else -truth, axis=1)[:, :10]]
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), best.tolist(), strict=True)])
    assert shared > (0.85 if info["rerank"] else 0.3)
    index.append(vectors[:1], numbers([0]), [1])
    assert index.info()["snapshot"] == info["snapshot"] + 1  # it is not trained again


def test_two_writers_train_it_once(tmp_path, early):
    index = vsearch.create(tmp_path / "index", D, metric="l2")
    other = vsearch.open(tmp_path / "index")
    vectors = clustered(500, D)
    index.append(vectors[:250])
    assert index.info()["rerank"] == "int8"
    other.append(vectors[250:])
    assert len(other) == 500
    assert other.info()["rerank"] == "int8"
    hits = vsearch.open(tmp_path / "index").search(vectors, k=1, exact=True)
    np.testing.assert_allclose(hits.scores, 0, atol=0.05)
    assert sorted(other.get(np.arange(500))["id"].to_pylist()) == list(range(500))


def test_an_arrow_schema_and_what_info_says_are_attributes(tmp_path):
    schema = pa.schema(
        [("a", pa.int32()), ("b", pa.list_(pa.string())), ("c", pa.timestamp("ns")), ("d", pa.decimal128(9, 2))]
    )
    one = vsearch.create(tmp_path / "one", D, attributes=schema)
    two = vsearch.create(tmp_path / "two", D, attributes=one.info()["attributes"])
    assert two.info()["attributes"] == one.info()["attributes"]
    assert two.info()["attributes"] == {"a": "int64", "b": "list<string>", "c": "timestamp[ns]", "d": "decimal(9, 2)"}
    two.append(clustered(2, D), pa.table({"a": [1, None], "b": [["x"], []]}))
    assert two.search(clustered(1, D), k=1, where="list_contains(b, 'x')").ids.tolist() == [[0]]


def test_upsert_and_delete_fill_and_empty_it(tmp_path):
    index = vsearch.create(tmp_path / "index", D, ids="string", metric="l2")
    vectors = clustered(30, D)
    names = [f"n{i}" for i in range(30)]
    assert index.upsert(vectors, ids=names).added == 30
    assert index.upsert(vectors[::-1], ids=names).replaced == 30
    assert index.search(vectors[3], k=1).ids.tolist() == [["n26"]]
    assert index.delete(names).deleted == 30
    assert index.search(vectors[3], k=2).ids.tolist() == [[None, None]]
    index.optimize(force=True)
    assert len(vsearch.open(tmp_path / "index")) == 0
    index.append(vectors[:1], ids=["x"])
    assert vsearch.open(tmp_path / "index").search(vectors[3], k=1).ids.tolist() == [["x"]]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dimensions": 0}, "dimensions must be"),
        ({"dimensions": True}, "dimensions must be"),
        ({"ids": "uuid"}, "ids must be"),
        ({"attributes": ["a"]}, "attributes must be"),
        ({"attributes": {"a": "nothing"}}, "the type of 'a'"),
        ({"attributes": {"": "int64"}}, "the name of an attribute"),
        ({"attributes": {"\ud800": "int64"}}, "the name of an attribute"),
        ({"metric": "l1"}, "metric must be"),
        ({"quantizer": vsearch.PQ(3)}, "subquantizers must divide"),
        ({"partitions": 0}, "partitions must be"),
        ({"shards": 1.5}, "shards must be"),
        ({"rerank": "int4"}, "rerank must be"),
    ],
)
def test_options_that_are_none(tmp_path, options, match):
    with pytest.raises(vsearch.InputError, match=match):
        vsearch.create(tmp_path / "index", **{"dimensions": D, **options})
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(tmp_path / "index")


def test_open_creates_what_is_not_there(tmp_path):
    options = {"dimensions": D, "metric": "l2", "attributes": {"number": int}}
    index = vsearch.open(tmp_path / "index", create=options, refresh=0)
    other = vsearch.open(tmp_path / "index", create=options)
    other.append(clustered(5, D))
    assert index.search(clustered(1, D), k=1).ids.tolist() == [[0]]
    assert len(index.snapshots()) == 2
    with pytest.raises(vsearch.IndexExistsError, match="already contains an index"):
        vsearch.create(tmp_path / "index", D)
    with pytest.raises(vsearch.InputError, match="cannot be combined with"):
        vsearch.open(tmp_path / "index", create=options, tag="x")
    for bad in ({}, {"dimensions": D, "colour": "red"}, "yes"):
        with pytest.raises(vsearch.InputError, match="create must be a dict"):
            vsearch.open(tmp_path / "other", create=bad)


def test_vectors_of_other_dimensions_are_refused(tmp_path):
    index = vsearch.create(tmp_path / "index", D)
    with pytest.raises(vsearch.InputError, match="8 dimensions"):
        index.append(clustered(5, D + 1))


@pytest.mark.parametrize("dimensions", [1, 2, 3, 130])
def test_dimensions(tmp_path, dimensions):
    index = vsearch.create(tmp_path / "index", dimensions, metric="l2")
    vectors = np.random.default_rng(0).standard_normal((40, dimensions)).astype(np.float32)
    index.append(vectors)
    np.testing.assert_array_equal(index.search(vectors, k=1).ids[:, 0], np.arange(40))
