"""Words, alone and with vectors, through the roles of a stack: the answers of the index itself."""

from __future__ import annotations

import asyncio
import hashlib
import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.encoders.models import sentences, write_model
from tests.fanout.conftest import Stack
from tests.text.conftest import WEIGHTS, make_rows, table, vectors
from vsearch import InputError
from vsearch.api.remote_index import RemoteIndex
from vsearch.api.remote_legs import RemoteHybridHits
from vsearch.deploy.cost import measure_bill
from vsearch.encoders import compress, load
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.legs import LegQueries
from vsearch.fanout.wire.messages import Options, ProcessRequest, SearchRequest
from vsearch.text import packing

N = 500
QUERIES = vectors(7, 9)
WORDS = ["ak bk", "jt ir -ak", "title:al am", "zz", "+ak c* bl", "", "title:a* nothing"]
PLANS = [{}, {"mode": "alone"}, {"mode": "flat"}, {"allocators": 3, "branching": 2}]
PARTS = ("vector_scores", "vector_ranks", "text_scores", "text_ranks")


def built(name, **options):
    url = f"memory://fanout-words-{name}/index"
    given = {"shards": 3, "partitions": 9, "rerank": "float32", "metric": "l2", "text": WEIGHTS, **options}
    return Stack(url, vsearch.build(vectors(N, 3), url, table(make_rows(N, 8)), **given), QUERIES)


@pytest.fixture(scope="module")
def stack():
    return built("plain")


@pytest.fixture(scope="module")
def changed():
    """Rows were removed, replaced, added and changed, in a young run and a tail; a text column was added."""
    stack = built("changed", text="body")
    index = stack.index
    index.delete(where="number < 40")
    index.append(vectors(120, 21), table({N + row: text for row, text in make_rows(120, 5).items()}))
    index.optimize(force=True)
    index.append(vectors(90, 22), table({N + 120 + row: text for row, text in make_rows(90, 6).items()}))
    index.update({"body": "ak zebra"}, where="number >= 100 AND number < 110")
    index.delete(where="number >= 600 AND number < 620")
    index.add_text("title", vsearch.TextColumn(weight=3.0))
    return stack


def remote_of(stack, envelope=None):
    stack.reset()
    return RemoteIndex("test://t", stack.names, stack.local, envelope or Envelope())


def assert_equal(hits, expected, parts=()):
    assert hits.ids.tolist() == expected.ids.tolist()
    for name in ("scores", *parts):
        np.testing.assert_array_equal(getattr(hits, name), getattr(expected, name))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", ["stack", "changed"])
def test_words_score_as_in_process(request, name, plan):
    stack = request.getfixturevalue(name)
    remote = remote_of(stack)
    for options in (
        {"k": 7},
        {"where": "number >= 80 AND number < 560", "columns": ["number", "title"], "k": 20},
        {"offset": 4, "k": 5},
    ):
        expected, hits = stack.index.search_text(WORDS, **options), remote.search_text(WORDS, **options, **plan)
        assert_equal(hits, expected)
        assert hits.bill.total > 0
        if "columns" in options:
            assert hits.columns.to_pylist() == expected.columns.to_pylist()
    assert (stack.index.search_text("ak", 3).ids >= 0).all()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", ["stack", "changed"])
def test_both_parts_score_as_in_process(request, name, plan):
    stack = request.getfixturevalue(name)
    remote = remote_of(stack)
    for options in (
        {"k": 7, "nprobe": 9},
        {
            "where": "number < 560",
            "columns": ["number"],
            "k": 20,
            "fusion": "weighted",
            "weights": (0.3, 2),
            "nprobe": 9,
        },
        {"offset": 4, "k": 5, "depth": 15, "exact": True},
    ):
        expected = stack.index.search(QUERIES, text=WORDS, **options)
        hits = remote.search(QUERIES, text=WORDS, **options, **plan)
        assert isinstance(hits, RemoteHybridHits)
        assert_equal(hits, expected, PARTS)
        if "columns" in options:
            assert hits.columns.to_pylist() == expected.columns.to_pylist()
    assert "vector_rank" in hits.to_arrow().column_names


@pytest.mark.parametrize(
    "options", [{"metric": "cosine", "quantizer": "osq-lloyd", "rerank": None}, {"metric": "ip", "rerank": None}]
)
def test_estimates_are_scored_again(options):
    stack = built(f"estimates-{options['metric']}", **options)
    remote = remote_of(stack)
    expected = stack.index.search(QUERIES, text=WORDS, nprobe=9)
    for plan in PLANS:
        hits = remote.search(QUERIES, text=WORDS, nprobe=9, **plan)
        np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-5)
        np.testing.assert_array_equal(hits.text_ranks > 0, expected.text_ranks > 0)


def test_a_prefix_may_stand_for_two_things_in_every_column():
    columns = [f"text{number}" for number in range(40)]
    attributes = pa.table({name: [f"v5.{row} ak" for row in range(60)] for name in columns})
    url = "memory://fanout-words-wide/index"
    stack = Stack(url, vsearch.build(vectors(60), url, attributes, text=columns, shards=2, partitions=4), QUERIES)
    asked = ["+v5.* ak", "ak -v5.1*", "ak -v5.*"]
    for plan in PLANS:
        assert_equal(remote_of(stack).search_text(asked, **plan), stack.index.search_text(asked))


def test_batches_fit_messages(stack):
    envelope = Envelope(12_000)
    stack.reset()
    remote = RemoteIndex("test://t", stack.names, stack.local, envelope)
    many = WORDS * 10
    assert_equal(remote.search_text(many, 5), stack.index.search_text(many, 5))
    points = np.tile(QUERIES, (10, 1))
    hits = remote.search(points, 5, text=many, nprobe=9, depth=20)
    assert_equal(hits, stack.index.search(points, 5, text=many, nprobe=9, depth=20), PARTS)


def test_no_queries_and_no_hits(stack):
    remote = remote_of(stack)
    none, some = remote.search_text([], 4, columns=["number"]), stack.index.search_text([], 4, columns=["number"])
    assert none.ids.shape == some.ids.shape == (0, 4)
    assert none.ids.dtype == some.ids.dtype
    hits = remote.search(np.zeros((0, 8)), 4, text=[])
    assert hits.vector_scores.shape == hits.text_ranks.shape == hits.ids.shape == (0, 4)
    nothing = remote.search(QUERIES[:1], 3, "number < 0", text=["ak"])
    assert (nothing.ids == -1).all()
    assert np.isnan(nothing.text_scores).all()
    assert (remote.search_text("zz qq", 3).ids == -1).all()


def test_wrong_uses_say_what_is_wrong(stack):
    remote = remote_of(stack)
    for ask, reason in [
        (lambda: remote.search_text('"a b"'), "requires the positions of words"),
        (lambda: remote.search_text("-ak"), "only excludes words"),
        (lambda: remote.search_text(3), "a string, a dict of clauses, or a list"),
        (lambda: remote.search_text(["ak", "a " * 3_000_000]), "at most 1,000,000 characters, got 6,000,000"),
        (lambda: remote.search(QUERIES[0], text="a " * 3_000_000), "at most 1,000,000 characters, got 6,000,000"),
        (lambda: remote.search_text("ak", columns=["nothing"]), "no attribute column"),
        (lambda: remote.search(QUERIES[0], fusion="rrf"), "require text"),
        (lambda: remote.search(QUERIES[0], text=["a", "b"]), "one text for each of the 1 queries"),
        (lambda: remote.search(QUERIES[0], text="a", fusion=max), "'rrf' or 'weighted' through functions"),
        (lambda: remote.search(QUERIES[0], text="a", min_score=0.5), "min_score cannot be combined"),
        (lambda: remote.search(QUERIES[0], 10, text="a", depth=3), "at least offset"),
        (lambda: remote.search(QUERIES[0, :3], text="a"), "8 dimensions"),
        (lambda: remote.search("ak", hybrid=True), "no query encoder"),
        (lambda: remote.search(QUERIES[0], hybrid=True), "requires text queries"),
    ]:
        with pytest.raises(InputError, match=reason):
            ask()


def test_an_index_without_text_columns_says_so():
    url = "memory://fanout-words-none/index"
    stack = Stack(url, vsearch.build(vectors(60), url), QUERIES)
    for plan in PLANS:
        with pytest.raises(InputError, match="no text columns"):
            remote_of(stack).search_text("ak", **plan)
        with pytest.raises(InputError, match="no text columns"):
            remote_of(stack).search(QUERIES[0], text="ak", **plan)


def test_warm_functions_read_nothing(stack):
    remote = remote_of(stack)
    remote.warm()
    remote.search(QUERIES, text=WORDS, mode="flat")
    again = remote.search_text(WORDS, mode="flat")
    assert again.stats.bytes_fetched == 0


def process(name="text", dimensions=0, queries=b"", k=3, **leg):
    return ProcessRequest(
        snapshot=1, shard=0, count=1, dimensions=dimensions, queries=queries, options=Options(k), visits=bytes(4),
        minimums=bytes(4), partitions=b"", bases=b"", bounds=b"", leg=LegQueries(name, **leg),
    )  # fmt: skip


def packed(*term, weights=None, **conditions):
    """A planned query as a processor gets it."""
    terms = (packing.PackedTerm(*(term or (0, b"ak"))),)
    weights = np.ones(1, "<f8").tobytes() if weights is None else weights
    return msgspec.msgpack.encode(packing.PackedQuery(terms, weights, **conditions))


LENGTHS = np.full(2, 5.0, "<f8").tobytes()


def test_inconsistent_messages_are_refused():
    vector = np.zeros(8, "<f4").tobytes()
    good = {"planned": (packed(),), "shared": LENGTHS}
    for right in (process(**good), process(**good, dimensions=8, queries=vector, depth=3)):
        assert wire.decode(wire.encode(right)) == right
    for wrong in (
        process(),
        process(planned=(packed(), packed())),
        process(**good, depth=5),
        process(**good, name="Text"),
        process(**good, dimensions=8, queries=vector),
        process(**good, dimensions=8, queries=vector, depth=5),
    ):
        with pytest.raises(InputError):
            wire.decode(wire.encode(wrong))
    queries = LegQueries("text", (b"ak",))
    search = SearchRequest(count=1, dimensions=0, queries=b"", options=Options(3), leg=queries)
    assert wire.decode(wire.encode(search)).leg == queries
    replaced = msgspec.structs.replace
    for options in (Options(3, min_score=1.0), Options(3, nprobe=2), Options(3, exact=True)):
        with pytest.raises(InputError):
            wire.decode(wire.encode(replaced(search, options=options)))
    for leg in (replaced(queries, shared=b"a"), replaced(queries, planned=(b"a",)), replaced(queries, queries=())):
        with pytest.raises(InputError):
            wire.decode(wire.encode(replaced(search, leg=leg)))


def answer_of(stack, request):
    from vsearch.fanout.roles.worker import serve

    stack.reset()
    role = "processor-0" if isinstance(request, ProcessRequest) else "coordinator"
    return wire.decode(serve(stack.make(f"t-{role}"), wire.encode(request), Deadline()))


def test_processors_read_planned_words(stack):
    answer = answer_of(stack, process(planned=(packed(),), shared=LENGTHS))
    assert isinstance(answer, messages.Answer)
    assert int(np.frombuffer(answer.found, "<i4").sum()) == 3


@pytest.mark.parametrize(
    ("leg", "reason"),
    [
        ({"shared": b""}, "mean length"),
        ({"shared": np.ones(1).tobytes()}, "mean length"),
        ({"shared": bytes(9)}, "mean length"),
        ({"shared": np.array([5, np.nan]).tobytes()}, "mean lengths must be from 1"),
        ({"shared": np.array([5, 0.0]).tobytes()}, "mean lengths must be from 1"),
        ({"planned": (b"",)}, "inconsistent"),
        ({"planned": (b"\xff" * 40,)}, "inconsistent"),
        ({"planned": (b"\x94" * 4000,)}, "inconsistent"),
        ({"planned": (packed(weights=bytes(8)),)}, "weight from"),
        ({"planned": (packed(weights=np.array([np.inf]).tobytes()),)}, "weight from"),
        ({"planned": (packed(weights=b""),)}, "weight from"),
        ({"planned": (packed(2, b"ak"),)}, "one of the text columns"),
        ({"planned": (packed(0, b"\xff"),)}, "inconsistent"),
        ({"planned": (packed(must=(((packing.PackedTerm(9, b"a"),),),)),)}, "one of the text columns"),
        ({"name": "nothing"}, "leg must be one of text"),
    ],
)
def test_forged_words_are_refused(stack, leg, reason):
    reply = answer_of(stack, process(**{"planned": (packed(),), "shared": LENGTHS} | leg))
    assert isinstance(reply, messages.Failure)
    assert reason in reply.message


def test_forged_queries_are_refused(stack):
    leg = LegQueries("text", (b"\xff",))
    reply = answer_of(stack, SearchRequest(count=1, dimensions=0, queries=b"", options=Options(3), leg=leg))
    assert isinstance(reply, messages.Failure)
    assert "inconsistent" in reply.message


def post(stack, **body):
    key = hashlib.sha256(b"k").hexdigest()
    given = {"x-api-key": "k"}, json.dumps(body).encode(), web.KeyHashes(key)
    return web.answer(stack.local.worker("t-coordinator"), "POST", "/search", *given, Deadline())


def test_words_over_http(stack):
    remote_of(stack).search_text("ak")
    status, answer = post(stack, words=WORDS, k=4, where="number < 300", columns=["number"])
    expected = stack.index.search_text(WORDS, 4, "number < 300", ["number"])
    assert status == 200, answer
    found = [[hit["id"] for hit in hits] for hits in answer["hits"]]
    assert found == [[id_ for id_ in ids if id_ >= 0] for ids in expected.ids.tolist()]
    points = QUERIES.astype(np.float64).tolist()
    status, answer = post(
        stack, vectors=points, words=WORDS, k=4, nprobe=9, fusion="weighted", weights=[0.3, 2], depth=30
    )
    assert status == 200, answer
    hits = stack.index.search(QUERIES, 4, text=WORDS, nprobe=9, fusion="weighted", weights=(0.3, 2), depth=30)
    for name in ("id", "score", "vector_score", "vector_rank", "text_score", "text_rank"):
        shown = np.array([[hit[name] for hit in of_query] for of_query in answer["hits"]])
        np.testing.assert_allclose(shown, getattr(hits, f"{name}s"), rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "exactly one of"),
        ({"words": []}, "list of 1 to 1000, got 0"),
        ({"words": "-ak"}, "only excludes words"),
        ({"words": "ak", "fusion": "rrf"}, "only words"),
        ({"words": "ak", "depth": 20}, "only words"),
        ({"words": "ak", "nprobe": 2}, "only words"),
        ({"words": "ak", "exact": True}, "only words"),
        ({"words": "ak", "min_score": 2}, "min_score"),
        ({"words": "ak", "vector": [0.0] * 8, "min_score": 2}, "min_score"),
        ({"words": ["ak", "b"], "vector": [0.0] * 8}, "one text in words for each of 1"),
        ({"words": "ak", "vector": [0.0] * 8, "depth": 3}, "depth must be at least"),
        ({"words": "ak", "vector": [0.0] * 8, "fusion": "sum"}, "fusion"),
        ({"words": "ak", "vector": [0.0] * 8, "weights": [0, 0]}, "weights"),
        ({"words": "ak", "query_vectors": [[0.0] * 8]}, "cannot be combined"),
        ({"vector": [0.0] * 8, "fusion": "rrf"}, "require words"),
        ({"vector": [0.0] * 8, "hybrid": True}, "requires text queries"),
        ({"text": "ak", "words": "b", "hybrid": True}, "words of the queries themselves"),
        ({"text": "ak", "hybrid": True}, "no query encoder"),
    ],
)
def test_wrong_bodies_say_what_is_wrong(stack, body, reason):
    remote_of(stack).search_text("ak")
    status, answer = post(stack, **body)
    assert status == 400
    assert reason in answer["message"]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """An index of texts that holds their encoder."""
    model = write_model(tmp_path_factory.mktemp("model"))
    texts, url = sentences(90, 6), "memory://fanout-words-encoded/index"
    attributes = pa.table({"text": texts, "number": np.arange(len(texts))})
    index = vsearch.build(load(model).encode(texts), url, attributes, shards=3, partitions=6, text="text")
    return Stack(url, index.with_encoder(compress(model, texts[:40], bits=4)), texts)


@pytest.mark.parametrize("plan", PLANS)
def test_one_text_for_both_parts(encoded, plan):
    asked = [*encoded.queries[:3], "nothing known", ""]
    options = {"k": 5, "where": "number < 70", "nprobe": 6, "depth": 30}
    expected = encoded.index.search(asked, hybrid=True, **options)
    assert_equal(encoded.index.search(asked, text=asked, **options), expected, PARTS)
    hits = remote_of(encoded).search(asked, hybrid=True, **options, **plan)
    assert_equal(hits, expected, PARTS)
    assert hits.ids[:3, 0].tolist() == [0, 1, 2]
    assert asyncio.run(encoded.index.asearch(asked, hybrid=True, **options)).ids.tolist() == expected.ids.tolist()


def test_one_text_over_http_and_explained(encoded):
    remote = remote_of(encoded)
    asked = encoded.queries[:2]
    remote.search(asked, hybrid=True)
    status, answer = post(encoded, text=asked, hybrid=True, k=3)
    assert status == 200, answer
    expected = encoded.index.search(asked, 3, hybrid=True)
    assert [[hit["id"] for hit in hits] for hits in answer["hits"]] == expected.ids.tolist()
    for index in (encoded.index, remote):
        explained = str(index.explain(asked, 3, hybrid=True, fusion="weighted"))
        assert "hybrid" in explained
        assert "weighted" in explained


def test_costs_are_predicted_with_words(stack):
    store = stack.index.snapshot.store
    plain, _ = measure_bill(store, queries=1, mode="flat", vectors=QUERIES)
    worded, count = measure_bill(store, queries=1, mode="flat", vectors=QUERIES, words=["ak bk", "jt"])
    assert count > 0
    assert worded.total > 0
    assert plain.usages.total.invocations == worded.usages.total.invocations


@pytest.fixture(scope="module")
def phrased():
    return built("phrases", text={"body": vsearch.TextColumn(phrases=True), "title": vsearch.TextColumn(phrases=True)})


PHRASES = [
    '"ak bk"',
    '+"bk ak" ck',
    '-"ak ak" ak',
    'body:"ak ak" "zz zz" title:a*',
    {"must": [{"phrase": "ak bk"}], "should": ["ck", {"prefix": "b"}]},
    {"tokens": ["ak", "bk"], "column": "body"},
]


@pytest.mark.parametrize("plan", PLANS)
def test_phrases_and_dicts_score_as_in_process(phrased, plan):
    remote = remote_of(phrased)
    expected = phrased.index.search_text(PHRASES, 20)
    assert ((expected.ids != -1).sum(axis=1) > 0).sum() >= 4
    assert_equal(remote.search_text(PHRASES, 20, **plan), expected)
    both = phrased.index.search(QUERIES[:6], 10, text=PHRASES, nprobe=9, depth=30)
    assert_equal(remote.search(QUERIES[:6], 10, text=PHRASES, nprobe=9, depth=30, **plan), both, PARTS)


def test_warnings_of_queries_reach_the_caller(stack):
    remote = remote_of(stack)
    for index in (remote, stack.index):
        with pytest.warns(vsearch.VsearchWarning, match="only at the end of a word") as warned:
            index.search_text("so*g ak")
        assert [each.filename for each in warned] == [__file__]
        for search in (index.search_text, lambda text: index.search(QUERIES[:1], text=text)):  # noqa: B023
            with pytest.warns(vsearch.VsearchWarning, match="did you mean title:") as warned:
                search("titel:ak")
            assert [each.filename for each in warned] == [__file__]


@pytest.mark.parametrize("rerank", [None, "int8"])
def test_scores_are_estimated_as_in_process(rerank):
    stack = built(f"estimated-{rerank}", rerank=rerank)
    remote = remote_of(stack)
    for plan in PLANS:
        both = remote.search(QUERIES[:1], 3, text=["ak"], **plan)
        assert (
            both.stats.estimated == stack.index.search(QUERIES[:1], 3, text=["ak"]).stats.estimated == (rerank is None)
        )
        words = remote.search_text("ak", 3, **plan)
        assert words.stats.estimated == stack.index.search_text("ak", 3).stats.estimated == False  # noqa: E712
