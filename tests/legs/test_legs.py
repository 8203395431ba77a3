"""Every leg passes the suite for legs: the words, and a small one that exists only here and changes no other file."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.legs import near
from tests.text.conftest import WEIGHTS, make_rows, table, terms
from tests.text.reference import Reference
from vsearch import InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api as web
from vsearch.legs.registry import BUILT_IN, LegKind, find_leg, leg_kinds, register_leg
from vsearch.testing.legs import DIMENSIONS, Indexed, LegCase, LegContract

ROWS = 320
NEAR = LegKind("near", "rows with a number near another", "tests.legs.near:LEG")
register_leg(NEAR)


def near_scores(rows, query):
    numbers = rows.column("number").cast("float64").to_numpy(zero_copy_only=False)
    return np.nan_to_num(np.maximum(near.REACH - np.abs(numbers - query), 0))


def text_scores(rows, query):
    texts = dict(enumerate(rows.select(list(WEIGHTS)).to_pylist()))
    scores = Reference(texts, terms, WEIGHTS).scores(query.split())
    return np.array([scores.get(row, 0.0) for row in range(rows.num_rows)])


def weights():
    """Maps with weights of skewed terms, in whole steps of the index; some are empty or missing."""
    rng = np.random.default_rng(2)
    rows = []
    for size in rng.integers(-1, 12, ROWS).tolist():
        terms = np.unique(np.minimum(rng.zipf(1.3, max(size, 0)), 400)).tolist()
        rows.append(None if size < 0 else {f"t{term}": int(rng.integers(1, 256)) / 64 for term in terms})
    return pa.table({"weights": pa.array(rows, pa.map_(pa.string(), pa.float32()))})


def sparse_scores(rows, query):
    named = [dict(row or ()) for row in rows.column("weights").to_pylist()]
    return np.array([sum(weight * row.get(str(term), 0) for term, weight in query.items()) for row in named])


def numbers():
    rng = np.random.default_rng(1)
    spread = np.where(rng.random(ROWS) < 0.3, rng.integers(0, 15, ROWS), rng.integers(0, 100_000, ROWS))
    return pa.table({"number": pa.array(spread, mask=rng.random(ROWS) < 0.1)})


CASES = {
    "near": LegCase("near", "number", numbers(), (5, 7.5, 50_000, -200), near_scores, ("five", float("nan"), [None])),
    "sparse": LegCase(
        "sparse",
        "weights",
        weights(),
        ({"t1": 0.7, "t2": 1.9, "t5": 0.01}, {"t4": 3}, {"t400": 1e-3, "x": 5.0}, {"x": 1}),
        sparse_scores,
        ("t1", {}, {"t1": -1.0}, {"t1": float("nan")}, {"t1": None}, {"": 1.0}, {1.5: 1.0}, [{"t1": 1}, {"t2": 0}]),
    ),
    "text": LegCase(
        "text", WEIGHTS, table(make_rows(ROWS, 5)), ("ak bk", "jt", "ck", "zz"), text_scores, (3, "-ak", [None])
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


class TestLegs(LegContract):
    """All that there are."""


def test_every_leg_is_tried():
    assert set(CASES) == {kind.name for kind in leg_kinds()}
    assert set(CASES) > {kind.name for kind in BUILT_IN}


@pytest.fixture(scope="module")
def indexed():
    points = np.random.default_rng(0).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    attributes = table(make_rows(ROWS, 5)).drop(["number"]).append_column("number", numbers().column(0))
    url = "memory://legs/two"
    index = vsearch.build(points, url, attributes, text=WEIGHTS, legs={"near": "number"}, shards=2, partitions=4)
    return Indexed(index, np.arange(ROWS), attributes)


def test_an_index_may_have_several_legs(indexed):
    index, remote = indexed.index, indexed.remote()
    assert index.info()["legs"] == ["near", "text"]
    assert {"leg_near", "text"} <= set(index.info()["bytes_per_vector_by_part"])
    for opened in (index, remote):
        assert opened.search_leg("text", "ak bk", 5).ids.tolist() == index.search_text("ak bk", 5).ids.tolist()
        assert opened.search_text("ak bk", 5).ids.tolist() == index.search_text("ak bk", 5).ids.tolist()
        best = near_scores(indexed.attributes, 7.5).max()
        assert opened.search_leg("near", 7.5, 5).scores[0, 0] == pytest.approx(best)
    fused = index.search_leg("near", 7.5, 3, query_vectors=np.ones(DIMENSIONS, np.float32))
    assert fused.leg == "near"
    assert not hasattr(fused, "text_scores")


def test_legs_over_http(indexed):
    worker = indexed.remote()._client.invoker.worker("legs-coordinator")
    keys = web.KeyHashes(hashlib.sha256(b"k").hexdigest())

    def post(**body):
        return web.answer(worker, "POST", "/search", {"x-api-key": "k"}, json.dumps(body).encode(), keys, Deadline())

    status, answer = post(leg={"near": 7.5}, k=4)
    assert status == 200, answer
    expected = indexed.index.search_leg("near", 7.5, 4)
    assert [hit["id"] for hit in answer["hits"][0]] == expected.ids[0].tolist()
    status, answer = post(leg={"near": [7.5]}, vector=[1.0] * DIMENSIONS, k=4, exact=True)
    assert status == 200, answer
    assert {"vector_score", "vector_rank", "near_score", "near_rank"} <= set(answer["hits"][0][0])
    for body, reason in [
        ({"leg": {"far": 1}}, "leg must be one of"),
        ({"leg": {"near": "x"}}, "finite number"),
        ({"leg": {"near": 1, "text": "a"}}, "one leg"),
        ({"leg": {"near": 1}, "words": "a"}, "one leg"),
        ({"leg": {}}, "one leg"),
        ({"leg": {"near": 1}, "depth": 10}, "depth requires vectors"),
    ]:
        status, answer = post(**body)
        assert status == 400
        assert reason in answer["message"]


def test_wrong_records_are_refused():
    register_leg(NEAR)  # again is not another
    for kind, reason in [
        (LegKind("Near", "", "a:b"), "must match"),
        (LegKind("documents", "", "a:b"), "must match"),
        (LegKind("text", "", "a:b"), "must match"),
        (LegKind("other", "", "a.b"), "module:object"),
        (LegKind("near", "another", "tests.legs.near:LEG"), "already registered"),
    ]:
        with pytest.raises(InputError, match=reason):
            register_leg(kind)
    with pytest.raises(InputError, match="leg must be one of text"):
        find_leg("nothing")
    with pytest.raises(InputError, match="with the name"):
        LegKind("other", "", "tests.legs.near:LEG").load()


def test_a_leg_that_is_not_installed_is_ignored_by_searches_and_kept_by_changes(indexed, monkeypatch):
    from vsearch.legs import registry

    url = "memory://legs/strange"
    points = np.random.default_rng(0).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)
    vsearch.build(points, url, indexed.attributes, text=WEIGHTS, legs={"near": "number"}, partitions=4)
    monkeypatch.setattr(registry, "_kinds", {"text": registry.TEXT})
    monkeypatch.setattr(registry, "_legs", {})
    index = vsearch.open(url)
    assert index.search(points[3], k=1).ids.tolist() == [[3]]
    assert (index.search_text("ak", 3).ids >= 0).all()
    assert Indexed(index, np.arange(ROWS), indexed.attributes).remote().search_text("ak", 3).ids[0, 0] >= 0
    index.delete([0])
    for change in (index.optimize, index.retrain):
        with pytest.raises(InputError, match="others need to be installed"):
            change(**({"force": True} if change == index.optimize else {}))
    with pytest.raises(InputError, match="others need to be installed"):
        index.drop_column("number")
    assert vsearch.open(url).info()["legs"] == ["near", "text"]


@pytest.mark.parametrize("legs", ["near", ["near"], {1: "number"}, {"near": "nothing"}, {"far": 1}])
def test_wrong_arguments_of_a_build_are_refused(indexed, legs):
    points = np.ones((ROWS, DIMENSIONS), np.float32)
    with pytest.raises(InputError):
        vsearch.build(points, "memory://legs/refused", indexed.attributes, legs=legs)
    with pytest.raises(InputError):
        vsearch.build(points, "memory://legs/refused", indexed.attributes, text="body", legs={"text": "body"})
