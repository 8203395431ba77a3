"""Multi-vector documents through the functions: the answers are those of the index opened directly."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack
from vsearch.api.remote_index import RemoteIndex
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.wire.codec import decode, encode
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Answer, Documents, Options, ProcessRequest, SearchRequest

PLANS = [{"mode": "alone"}, {"mode": "flat"}, {"allocators": 6, "branching": 2}]
KINDS = {
    "encodings": {"store": "float16", "keep": 0.8, "saliency": True},
    "no residuals": {"residual_bits": 0},
    "lists": {"candidates": "lists", "residual_bits": 1},
    "binary": {"binary": True, "residual_bits": 0, "codebook": 32},
}
PREDICATES = [None, "year < 2005", "price < 0.31 AND kind = 'report'", "kind IS NULL", "year > 3000"]


@pytest.fixture(scope="session")
def stacks():
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 40, 500)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    topics = rng.standard_normal((30, 24))
    vectors = (topics[rng.integers(0, 30, offsets[-1])] + 0.8 * rng.standard_normal((offsets[-1], 24))).astype("f4")
    queries = [
        vectors[at : at + many] for at, many in zip(range(0, 900, 100), (1, 3, 7, 16, 17, 2, 5, 9, 33), strict=True)
    ]
    attributes = pa.table(
        {
            "year": rng.integers(1990, 2030, 500),
            "price": rng.random(500),  # more values than cells, so that some rows are open
            "kind": [("report", "letter", None)[i % 3] for i in range(500)],
        }
    )
    made = {}

    def get(kind):
        if kind not in made:
            options = {"codebook": 64, "dimensions": 96, "shards": 3} | KINDS[kind]
            if options.pop("saliency", False):
                options["saliency"] = rng.random(len(vectors))
            url = f"memory://fanout-documents-{kind.replace(' ', '-')}/index"
            made[kind] = Stack(
                url, vsearch.build_documents(vectors, offsets, url, attributes=attributes, **options), queries
            )
        made[kind].reset()
        return made[kind]

    return get


def remote(stack, limit=None):
    class Invoker:
        called: ClassVar[list[str]] = []

        def invoke(self, function, payload, timeout):
            self.called.append(function)
            return stack.local.invoke(function, payload, timeout or 60)

    return RemoteIndex("local-faas://t", stack.names, Invoker(), Envelope(limit))


def assert_same(found, hits):
    np.testing.assert_array_equal(found.ids, hits.ids)
    np.testing.assert_array_equal(found.scores, hits.scores)
    assert (found.matches is None) == (hits.matches is None)
    for one, other in zip(found.matches or (), hits.matches or (), strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.places, other.places)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", PLANS, ids=["alone", "flat", "tree"])
def test_identical_to_the_index(stacks, kind, plan):
    stack = stacks(kind)
    for where in PREDICATES:
        for options in ({}, {"candidates": 12, "k": 4, "matches": True}, {"candidates": "all", "k": 600}):
            hits = stack.index.search_documents(stack.queries, where=where, **options)
            assert_same(remote(stack).search_documents(stack.queries, where=where, **plan, **options), hits)


def test_exact_on_stored_vectors(stacks):
    stack = stacks("encodings")
    options = {"exact": True, "k": 7, "candidates": 30, "columns": ["year", "kind"], "where": "year > 2000"}
    hits = stack.index.search_documents(stack.queries, **options)
    found = remote(stack).search_documents(stack.queries, mode="flat", **options)
    assert_same(found, hits)
    assert found.columns.to_pylist() == hits.columns.to_pylist()
    assert not found.stats.estimated
    assert not hits.stats.estimated


def test_pruned_queries_and_small_messages(stacks):
    stack = stacks("no residuals")
    weights = [np.arange(len(query), dtype=float) for query in stack.queries]
    options = {"query_keep": 0.5, "query_saliency": weights, "matches": True, "k": 3}
    hits = stack.index.search_documents(stack.queries, **options)
    small = remote(stack, 8000)
    assert_same(small.search_documents(stack.queries, mode="flat", **options), hits)
    assert len(small._client.invoker.called) > 1


def test_one_query_is_one_matrix(stacks):
    stack = stacks("encodings")
    hits = stack.index.search_documents(stack.queries[3])
    assert_same(remote(stack).search_documents(stack.queries[3]), hits)


def test_functions_tell_what_their_index_holds(stacks):
    assert remote(stacks("encodings")).has_documents
    single = vsearch.build(np.eye(24, dtype="f4"), "memory://fanout-documents-none/index")
    assert not remote(Stack("memory://fanout-documents-none/index", single, [])).has_documents


def test_warm_workers_read_nothing(stacks):
    stack = stacks("encodings")
    index = remote(stack)
    cold, warm = (index.search_documents(stack.queries, mode="flat") for _ in range(2))
    assert cold.stats.bytes_fetched > 0
    assert warm.stats.bytes_fetched == 0


def test_mistakes_are_named(stacks):
    plain, stack = stacks("no residuals"), stacks("encodings")
    with pytest.raises(InputError, match="stores no vectors"):
        remote(plain).search_documents(plain.queries, exact=True)
    with pytest.raises(InputError, match="must have 24 dimensions, got 5"):
        remote(stack).search_documents(np.ones((2, 5)))
    with pytest.raises(InputError, match="candidates must be"):
        remote(stack).search_documents(stack.queries, candidates=0)
    with pytest.raises(InputError, match="NaN"):
        remote(stack).search_documents(np.full((2, 24), np.nan))
    single = vsearch.build(np.eye(24, dtype="f4"), "memory://fanout-documents-single/index")
    with pytest.raises(InputError, match="one vector per row"):
        remote(Stack("memory://fanout-documents-single/index", single, [])).search_documents(stack.queries)


def test_messages_that_do_not_fit_are_refused():
    def asked(**changed):
        kept = {"dimensions": 2, "vectors": bytes(24), "lengths": np.array([1, 2], "<i4").tobytes()} | changed
        return ProcessRequest(
            snapshot=1, shard=0, count=2, dimensions=1, queries=bytes(8), options=Options(k=1), visits=bytes(8),
            minimums=bytes(8), partitions=b"", bases=b"", bounds=b"", documents=Documents(**kept),
        )  # fmt: skip

    assert decode(encode(asked())).documents.dimensions == 2
    for changed in (
        {"lengths": b""},
        {"lengths": np.array([0, 3], "<i4").tobytes()},
        {"lengths": np.array([2, 2], "<i4").tobytes()},
        {"lengths": np.array([-1, 4], "<i4").tobytes()},
        {"vectors": np.full(6, np.nan, "<f4").tobytes()},
        {"dimensions": 3},
        {"candidates": 0},
    ):
        with pytest.raises(InputError):
            decode(encode(asked(**changed)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e15, 1e17])
def test_numbers_that_would_overflow_are_refused(stacks, kind, size):
    stack = stacks(kind)
    request = SearchRequest(
        count=1, dimensions=24, queries=b"", options=Options(k=3),
        documents=Documents(24, np.full((99, 24), size, "<f4").tobytes(), np.array([99], "<i4").tobytes()),
    )  # fmt: skip
    reply = decode(stack.local.invoke(stack.names.coordinator, encode(request), 60))
    assert reply.error == "refused"
    assert "at most 1e15 in magnitude" in reply.message


def test_an_answer_without_matches_is_refused():
    from vsearch.fanout.roles.multivector import read_matches
    from vsearch.storage.files.plain_columns import Column

    numbers = Column("int64", 1, None, bytes(8))
    with pytest.raises(InputError, match="no matches"):
        read_matches((numbers, numbers))
    assert Answer(count=1, k=1, found=bytes(4), scores=b"", rows=b"").columns == ()


def post(stack, **body):
    """What the web handler answers to a body."""
    worker, key = stack.local.worker("t-coordinator"), hashlib.sha256(b"key").hexdigest()
    data = json.dumps(body).encode()
    return web.answer(worker, "POST", "/search", {"x-api-key": "key"}, data, web.KeyHashes(key), Deadline())


@pytest.mark.parametrize("kind", KINDS)
def test_json_gives_what_the_index_gives(stacks, kind):
    from openapi_schema_validator import OAS31Validator

    stack = stacks(kind)
    query = stack.queries[4]
    for where in PREDICATES:
        options = {"k": 5, "candidates": 40, "where": where, "columns": ["kind"]}
        hits = stack.index.search_documents(query, matches=True, **options)
        status, reply = post(stack, query_vectors=query.tolist(), matches=True, **options)
        assert status == 200
        assert reply["complete"]
        (rows,) = reply["hits"]
        assert [row["id"] for row in rows] == hits.ids[0][hits.ids[0] >= 0].tolist()
        for rank, row in enumerate(rows):
            assert row["score"] == hits.scores[0, rank]
            assert row["columns"]["kind"] == hits.columns.column("kind")[rank].as_py()
            assert [match["position"] for match in row["matches"]] == hits.matches[0].positions[rank].tolist()
            assert [match["score"] for match in row["matches"]] == hits.matches[0].scores[rank].tolist()
        json.dumps(reply, allow_nan=False)
        described = web.describe()
        answer = {**described["components"]["schemas"]["Answer"], "components": described["components"]}
        assert list(OAS31Validator(answer).iter_errors(reply)) == []
    plain = post(stack, query_vectors=query.tolist(), candidates="all", k=2)[1]["hits"][0]
    assert [row["id"] for row in plain] == stack.index.search_documents(query, 2, candidates="all").ids[0].tolist()
    assert all("matches" not in row for row in plain)


@pytest.mark.parametrize("kind", KINDS)
def test_json_of_several_queries_is_that_of_each(stacks, kind):
    stack = stacks(kind)
    asked = [query.tolist() for query in stack.queries[:4]]
    options = {"k": 3, "where": PREDICATES[-1], "columns": ["kind"], "matches": True}
    status, reply = post(stack, queries=asked, **options)
    assert status == 200
    assert reply["hits"] == [post(stack, query_vectors=query, **options)[1]["hits"][0] for query in asked]


def test_json_exact_on_stored_vectors(stacks):
    stack = stacks("encodings")
    hits = stack.index.search_documents(stack.queries[2], 3, exact=True)
    rows = post(stack, query_vectors=stack.queries[2].tolist(), k=3, exact=True)[1]["hits"][0]
    assert [row["score"] for row in rows] == hits.scores[0].tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query_vectors": [[1.0] * 24], "vector": [1.0]}, "exactly one of text"),
        ({"query_vectors": []}, "one or more nonempty lists"),
        ({"query_vectors": [[1.0] * 24, [1.0]]}, "same length"),
        ({"query_vectors": [[1.0] * 23]}, "must have 24 dimensions"),
        ({"query_vectors": [[1e300] * 24]}, "contains NaN, infinity"),
        ({"query_vectors": [[1.0] * 24], "nprobe": 3}, "nprobe"),
        ({"query_vectors": [[1.0] * 24], "candidates": 0}, "candidates"),
        ({"query_vectors": [[1.0] * 24], "candidates": "some"}, "candidates"),
        ({"query_vectors": [[1.0] * 24], "exact": True}, "stores no vectors"),
        ({"queries": []}, "one or more nonempty lists"),
        ({"queries": [[]]}, "one or more nonempty lists"),
        ({"queries": [[[1.0] * 24], []]}, "one or more nonempty lists"),
        ({"queries": [[[1.0] * 24], [[1.0]]]}, "same length"),
        ({"queries": [[[1.0] * 24]], "query_vectors": [[1.0] * 24]}, "exactly one of text"),
        ({"queries": [[[1.0] * 24]], "min_score": 0.5}, "min_score"),
        ({"vectors": [[1.0] * 24]}, "multi-vector documents"),
        ({"vectors": [[1.0] * 24], "matches": True}, "require query_vectors"),
    ],
)
def test_json_mistakes_are_named(stacks, body, message):
    status, reply = post(stacks("no residuals"), **body)
    assert status == 400
    assert message in reply["message"]


def test_single_vectors_on_an_index_of_documents_are_refused(stacks):
    with pytest.raises(InputError, match="use search_documents"):
        remote(stacks("encodings")).search(np.ones(24))
    with pytest.raises(InputError, match="use search_documents"):
        stacks("encodings").index.search(np.ones(24))


@pytest.mark.parametrize("kind", ["no residuals", "binary"])
def test_documents_that_were_changed_are_described_and_fetched(kind):
    """Functions hold no documents of deltas, and still count their vectors."""
    rng = np.random.default_rng(4)
    matrices = [rng.standard_normal((length, 24)).astype("f4") for length in rng.integers(1, 9, 60)]
    options = {"codebook": 16, "dimensions": 32, "shards": 2} | {
        n: v for n, v in KINDS[kind].items() if n != "codebook"
    }
    url = f"memory://changed-documents-{kind.replace(' ', '-')}/index"
    index = vsearch.build_documents(
        matrices[:40], None, url, attributes={"year": np.arange(40)}, ids=np.arange(40), **options
    )
    stack = Stack(url, index, matrices[:2])
    index.append(matrices[40:], {"year": np.arange(40, 60)}, np.arange(40, 60))
    index.upsert(matrices[3:5], {"year": np.array([7, 8])}, [41, 2])
    index.delete([0, 1, 45])
    for _ in range(2):
        found = remote(stack)
        assert found.info() == index.info()
        assert found.get([41, 50, 2]).equals(index.get([41, 50, 2]))
        index.optimize(force=True, retune=False)
        stack.reset()
