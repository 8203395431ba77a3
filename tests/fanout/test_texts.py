"""Texts as queries of functions: encoded once in the coordinator, with the answers that the index itself gives."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import contextmanager

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.encoders.models import sentences, write_model
from tests.fanout.conftest import Stack
from vsearch.api.remote_index import RemoteIndex
from vsearch.encoders import compress, load
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.roles.texts import HeldEncoder
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store, write_arrays

TEXTS = sentences(300, 6)
ASKED = [*TEXTS[:4], "", "日本語 Naïve CAFÉ", "[S\ud800EP] \udc00 a [SEP] b"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(model):
    return compress(model, TEXTS[:40], bits=4)


def make_stack(model, encoder, name, rows=60):
    attributes = pa.table({"text": TEXTS[:rows], "number": np.arange(rows)})
    url = f"memory://fanout-texts-{name}/index"
    index = vsearch.build(load(model).encode(TEXTS[:rows]), url, attributes, shards=3, partitions=6)
    return Stack(url, index if encoder is None else index.with_encoder(encoder), None)


@pytest.fixture(scope="module")
def shared(model, encoder):
    return make_stack(model, encoder, "shared", len(TEXTS))


@pytest.fixture
def stack(shared):
    shared.reset()
    return shared


def remote_of(stack, envelope=None, **more):
    return RemoteIndex("test://t", stack.names, stack.local, envelope or Envelope(), **more)


def assert_equal(hits, expected):
    assert hits.ids.tolist() == expected.ids.tolist()
    assert hits.scores.tobytes() == expected.scores.tobytes()


@pytest.mark.parametrize("plan", [{}, {"mode": "alone"}, {"mode": "flat"}, {"allocators": 3, "branching": 2}])
def test_answers_are_those_of_the_index(stack, encoder, plan):
    remote = remote_of(stack)
    for options in ({}, {"where": "number < 200", "columns": ["text"], "k": 4}, {"offset": 3, "k": 5}, {"exact": True}):
        expected = stack.index.search(ASKED, **options)
        hits = remote.search(ASKED, **options, **plan)
        assert_equal(hits, expected)
        assert_equal(hits, stack.index.search(encoder.encode(ASKED), **options))
        if "columns" in options:
            assert hits.columns.to_pylist() == expected.columns.to_pylist()
    assert_equal(remote.search(TEXTS[7], **plan), stack.index.search(TEXTS[7]))
    assert_equal(remote.search(tuple(TEXTS[:2]), **plan), stack.index.search(TEXTS[:2]))


def test_texts_end_at_the_coordinator(stack):
    sent = []
    invoke = stack.local.invoke

    class Seen:
        def invoke(self, function, payload, timeout):
            sent.append(wire.decode(payload))
            return invoke(function, payload, timeout)

    stack.invoker = Seen()
    remote_of(stack).search(TEXTS[:6], allocators=2)
    assert {type(message).__name__ for message in sent} == {"AllocateRequest", "ProcessRequest"}
    assert all(message.dimensions == 64 and message.queries for message in sent)


def test_it_is_explained_and_billed(stack):
    explained = remote_of(stack).explain(TEXTS[0], k=2)
    assert explained.stats.rows_scanned
    hits = remote_of(stack).search(TEXTS[:100], k=2, mode="flat")
    vectors = remote_of(stack).search(stack.index._encode[1](TEXTS[:100]), k=2, mode="flat")
    assert hits.bill.usages.processor.invocations == vectors.bill.usages.processor.invocations


def test_batches_fit_the_messages(stack, monkeypatch):
    expected = stack.index.search(TEXTS, k=3)
    hits = remote_of(stack, Envelope(10_000)).search(TEXTS, k=3)
    assert_equal(hits, expected)
    assert hits.bill.usages.coordinator.invocations > 2
    monkeypatch.setattr("vsearch.api.remote_queries.TEXTS_TOGETHER", 100)
    hits = remote_of(stack).search(TEXTS, k=3)
    assert_equal(hits, expected)
    assert hits.bill.usages.coordinator.invocations == 3


def test_a_single_text_over_the_limit_of_the_platform(stack):
    with pytest.raises(vsearch.RemoteError, match="messages must have at most"):
        remote_of(stack, Envelope(10_000)).search(["a short one", "long " * 10_000])


def worker_of(stack):
    return stack.local.worker(stack.names.coordinator)


def held(stack):
    return worker_of(stack).loader.retention.values(HeldEncoder)


def test_the_encoder_is_kept_while_it_is_the_same(model, encoder):
    stack = make_stack(model, encoder, "kept")
    remote = remote_of(stack)
    remote.search(np.ones((1, 64), np.float32))
    assert not held(stack), "vectors need none"
    hits = remote.search(TEXTS[0])
    (first,) = held(stack)
    file_bytes = sum(e.bytes for kind, e in stack.index.snapshot.manifest.model.items() if kind.startswith("encoder:"))
    assert hits.bill.usages.coordinator.bytes >= file_bytes
    assert worker_of(stack).loader.retention.stats().bytes > first.bytes > file_bytes
    warm = remote.search(TEXTS[1], mode="alone", freshness=60)
    assert warm.bill.usages.coordinator.bytes == 0
    number = stack.index.append(load(model).encode(["blue blue river"]), pa.table({"text": ["x"], "number": [1]}))
    hits = remote.search("blue blue river", k=1, at_least=number.snapshot)
    assert hits.ids[0, 0] == 60
    assert held(stack) == [first], "it was read again although it is the same"
    second = compress(model, TEXTS[:20], bits=8)
    index = stack.index.with_encoder(second)
    after = index.snapshot.manifest.snapshot
    assert_equal(remote.search(TEXTS[5], at_least=after), index.search(second.encode(TEXTS[5])))
    assert_equal(
        RemoteIndex("t", stack.names, stack.local, Envelope(), after - 1).search(TEXTS[5]), stack.index.search(TEXTS[5])
    )


def test_warming_loads_it(stack):
    remote = remote_of(stack)
    before = remote.warm()
    assert held(stack)
    assert before > held(stack)[0].bytes
    assert remote.search(TEXTS[0], mode="flat").bill.usages.coordinator.bytes == 0


def test_an_index_without_an_encoder(model, encoder):
    stack = make_stack(model, None, "none")
    remote = remote_of(stack)
    with pytest.raises(
        vsearch.InputError, match=r"no query encoder: pass vectors, or attach one with Index\.with_encoder"
    ):
        remote.search("a text")
    remote.warm()
    entry, _ = write_arrays(stack.index.snapshot.store, "model/hand-state-0.arrow", {"bytes": np.ones(9, np.uint8)})
    from vsearch.live.attaching import Attach
    from vsearch.live.commits import commit_change

    _, after = commit_change(stack.index.snapshot, Attach({"encoder:state.safetensors": entry}))
    with pytest.raises(vsearch.InputError, match="is not compressed"):
        remote.search("a text", at_least=after.manifest.snapshot)


def test_a_damaged_encoder_is_an_error_until_it_is_restored(model, encoder):
    stack = make_stack(model, encoder, "damaged")
    store = open_store(stack.url)
    path = stack.index.snapshot.manifest.model["encoder:encoder.arrow"].path
    good = bytes(store.get(path))
    store.delete([path])
    store.put(path, good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])
    remote = remote_of(stack)
    with pytest.raises(vsearch.RemoteError, match="corrupt"):
        remote.search(TEXTS[0])
    assert len(remote.search(np.ones((1, 64), np.float32)).ids) == 1
    store.delete([path])
    store.put(path, good)
    assert_equal(remote.search(TEXTS[0]), stack.index.search(TEXTS[0]))
    store.delete([path])
    stack.reset()
    with pytest.raises(vsearch.RemoteError, match="missing"):
        remote_of(stack).search(TEXTS[0])


def test_the_deadline_holds_while_texts_are_encoded(stack, monkeypatch):
    remote_of(stack).warm()
    encoder = held(stack)[0].encoder

    def slow(self, texts, prompt=None):
        time.sleep(0.05)
        return np.ones((len(texts), 64), np.float32)

    monkeypatch.setattr(type(encoder), "encode", slow)
    begun = time.monotonic()
    with pytest.raises(vsearch.SearchTimeoutError):
        remote_of(stack).search(["a"] * 10_000, timeout=0.2)
    with pytest.raises(vsearch.SearchTimeoutError, match="of 10000 texts were encoded"):
        stack.index.search(["a"] * 10_000, timeout=0.2)
    assert time.monotonic() - begun < 10


HOSTILE = {
    "a megabyte": "word " * 200_000,
    "one character": "a" * (1 << 20),
    "punctuation": "." * (1 << 20),
    "spaces": " " * (1 << 20),
    "surrogates": "\ud800" * 100_000 + "\udc00\ud800",
    "nothing": "\0" * (1 << 20),
    "marks": "a" + "\u0301\u0323" * 50_000,
    "special tokens": "[SEP][CLS][MASK][PAD][UNK]" * 10_000,
    "unassigned": "\U000e0fff\ufffe\uffff" * 10_000,
    "ideographs": "語" * (1 << 20),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts(stack, kind):
    expected = stack.index.search(HOSTILE[kind], k=3)
    assert np.isfinite(expected.scores).all()
    assert_equal(
        remote_of(stack).search([HOSTILE[kind], TEXTS[0]], k=3), stack.index.search([HOSTILE[kind], TEXTS[0]], k=3)
    )


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ("a" * ((1 << 20) + 1), r"texts must have at most 1048576 characters, text 0 has 1048577"),
        (["a", b"b"], "queries must be numbers"),
        (["a", None], "queries must be"),
        ([], "no queries|queries must"),
    ],
)
def test_what_is_no_text_is_refused_alike(stack, queries, message):
    for index in (stack.index, remote_of(stack)):
        with pytest.raises(vsearch.InputError, match=message):
            index.search(queries)


@pytest.mark.parametrize(
    "change",
    [
        {"count": 3},
        {"dimensions": 64},
        {"queries": bytes(8)},
        {"texts": (b"\xff", b"b")},
        {"texts": (b"a" * (messages.LARGEST_TEXT + 1), b"b")},
        {"texts": (b"a" * messages.LARGEST_TEXT,) * 9, "count": 9},
        {"texts": (b"a",) * (messages.MOST_TEXTS + 1), "count": messages.MOST_TEXTS + 1},
        {"texts": ("a", "b")},
        {"texts": (), "dimensions": 0},
    ],
)
def test_messages_that_do_not_fit(change):
    good = messages.SearchRequest(
        count=2, dimensions=0, queries=b"", texts=(b"a", b"b"), options=messages.Options(k=1), id="x"
    )
    assert wire.decode(wire.encode(good)).texts == (b"a", b"b")
    with pytest.raises(vsearch.InputError):
        wire.decode(wire.seal(msgspec.msgpack.encode({"kind": "search", **msgspec.structs.asdict(good), **change})))


def test_a_coordinator_of_an_older_release_says_so(stack, monkeypatch):
    """What that release answers: it knows neither the version nor the field."""

    class Older:
        def invoke(self, function, payload, timeout):
            with monkeypatch.context() as patch:
                patch.setattr(wire, "VERSION", messages.VERSION - 1)
                return stack.local.invoke(function, payload, timeout)

    remote = RemoteIndex("test://t", stack.names, Older(), Envelope())
    with pytest.raises(
        vsearch.InputError, match=rf"has version {messages.VERSION}, this vsearch supports .*; upgrade the older"
    ):
        remote.search("a text")


def post(stack, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    key = hashlib.sha256(b"k").hexdigest()
    return web.answer(worker_of(stack), "POST", "/search", {"x-api-key": "k"}, data, web.KeyHashes(key), Deadline())


def test_texts_over_http(stack):
    expected = stack.index.search(ASKED[:6], k=3, where="number < 200", columns=["text"])
    status, answer = post(stack, {"text": ASKED[:6], "k": 3, "where": "number < 200", "columns": ["text"]})
    assert status == 200, answer
    assert [[hit["id"] for hit in hits] for hits in answer["hits"]] == expected.ids.tolist()
    assert [[np.float32(hit["score"]) for hit in hits] for hits in answer["hits"]] == expected.scores.tolist()
    assert [hit["columns"]["text"] for hits in answer["hits"] for hit in hits] == expected.columns["text"].to_pylist()
    status, answer = post(stack, {"text": TEXTS[3], "k": 1, "offset": 1})
    assert [hit["id"] for hit in answer["hits"][0]] == stack.index.search(TEXTS[3], k=1, offset=1).ids[0].tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": []}, "text must be a string or a list of 1 to 1000 strings, got 0"),
        ({"text": ["a"] * 1001}, "got 1001"),
        ({"text": "a" * ((1 << 20) + 1)}, "text 0 has 1048577"),
        ({"text": "a", "vector": [1.0]}, "exactly one of text, vector"),
        ({"text": None}, "exactly one of text, vector"),
        ({"text": 5}, "is not a valid search"),
        ({"text": ["a", 5]}, "is not a valid search"),
        ({"text": "a", "matches": True}, "require query_vectors"),
        (b'{"text": "\\ud800 a"}', "is not a valid search"),
        (b'{"text": "\xff"}', "is not a valid search"),
    ],
)
def test_bodies_that_are_no_texts(stack, body, message):
    status, answer = post(stack, body)
    assert (status, answer["error"]) == (400, "refused")
    assert message in answer["message"]


def test_an_encoding_is_a_span_of_its_own(stack, monkeypatch):
    seen = []

    @contextmanager
    def record(name, parent="", **attributes):
        seen.append((name, attributes))
        yield None

    monkeypatch.setattr("vsearch.fanout.roles.texts.span", record)
    remote_of(stack).search(TEXTS[:3])
    assert [name for name, _ in seen] == ["encode", "load"]
    assert seen[0][1] == {"texts": 3}
    assert seen[1][1]["bytes"] > 50_000
