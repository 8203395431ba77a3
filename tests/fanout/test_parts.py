"""The cache, the bill, the envelope, planning, signing and HTTP with JSON."""

from __future__ import annotations

import hashlib
import json
import threading

import msgspec
import numpy as np
import pytest

import vsearch
from vsearch.cache import LRUCache
from vsearch.errors import InputError
from vsearch.fanout.calls.bill import Prices, Usage, Usages, make_bill
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.platforms.aws_lambda import LAMBDA, LIMITS, PRICES
from vsearch.fanout.platforms.network import function_error
from vsearch.fanout.platforms.signing import Keys, Signer
from vsearch.fanout.roles.planning import PlanSettings, choose_plan
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope, from_event, to_event
from vsearch.fanout.wire.replies import open_reply
from vsearch.storage import open_store, read_manifest
from vsearch.storage.stores.metered import MeteredStore


class TestRetention:
    def test_a_value_is_loaded_once_by_many_threads(self):
        kept, loads, gate = LRUCache(100), [], threading.Barrier(8)

        def get():
            gate.wait()
            kept.get("a", lambda: loads.append(1) or "value", lambda _: {"a": 10})

        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loads == [1]
        assert kept.stats().hits == 7

    def test_the_least_recently_used_goes(self):
        kept = LRUCache(25)
        for key in "ab":
            kept.get(key, lambda: "x", lambda _, key=key: {key: 10})
        kept.get("a", lambda: pytest.fail("kept"), lambda _: {"a": 10})
        kept.get("c", lambda: "x", lambda _: {"c": 10})
        assert kept.stats().evictions == 1
        kept.get("a", lambda: pytest.fail("kept"), lambda _: {"a": 10})
        assert kept.get("b", lambda: "again", lambda _: {"b": 10}) == "again"

    def test_at_most_so_many_values(self):
        kept = LRUCache(1 << 40, 3)
        for key in range(10):
            kept.get(key, lambda: "x", lambda _, key=key: {key: 10})
            kept.get(0, lambda: "again", lambda _: {0: 10})
        assert kept.stats().entries == 3
        assert kept.stats().bytes == 30
        kept.get(0, lambda: pytest.fail("kept"), lambda _: {0: 10})

    def test_failed_loads_leave_nothing(self):
        kept = LRUCache(25)
        with pytest.raises(ZeroDivisionError):
            kept.get("a", lambda: 1 / 0, lambda _: {"a": 10})
        assert kept.get("a", lambda: "fine", lambda _: {"a": 10}) == "fine"
        kept.drop(lambda value: True)
        assert kept.stats().bytes == 0

    def test_what_two_values_share_is_counted_once(self):
        kept = LRUCache(25)
        kept.get("a", lambda: "x", lambda _: {"shared": 10, "a": 5})
        kept.get("b", lambda: "y", lambda _: {"shared": 10, "b": 5})
        assert kept.stats().bytes == 20
        assert kept.stats().evictions == 0
        kept.drop(lambda value: value == "x")
        assert kept.stats().bytes == 15
        kept.get("c", lambda: "z", lambda _: {"c": 15})
        assert kept.stats().bytes == 15
        assert kept.stats().evictions == 1

    @pytest.mark.slow
    def test_a_new_snapshot_takes_over_what_has_not_changed(self):
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(300, 16)).astype(np.float32)
        url = "memory://fanout-retention/index"
        index = vsearch.build(vectors, url, shards=2, partitions=6)
        worker = Worker.open("processor", open_store(url), "f")
        worker.loader.shard(1, 0)
        before = worker.meter.requests
        index.tune(0.9)
        worker.loader.shard(2, 0)
        assert worker.meter.requests == before + 1  # the manifest


def test_a_bill_adds_up():
    usages = Usages.of("processor", Usage(3, 1, 0, 2.0, 4.0, 5, 100, 3)) + Usages.of(
        "allocator", Usage(1, 0, 0, 1.0, 1.0)
    )
    bill = make_bill(usages, Prices("here", "2026", 1.0, 10.0, 0.5, 4.0))
    assert bill.dollars == {"invocations": 4.0, "compute": 50.0, "storage": 2 * 0.5 + 3 * 4.0}
    assert bill.total == 67.0
    assert usages.total == Usage(4, 1, 0, 3.0, 5.0, 5, 100, 3)
    assert "4 invocations (1 cold)" in str(bill)
    assert PRICES["arm64"].gigabyte_second < PRICES["x86_64"].gigabyte_second


@pytest.mark.slow
def test_what_passes_through_the_overflow_store_is_billed(stack):
    """The reply's PUT by who sends it, its GET by who reads it."""
    spill = open_store("memory://overflow/billed")
    local = stack.with_overflow(spill)
    request = wire.encode(stack.request(stack.queries[:1], k=200, mode="flat"))
    local.invoke(stack.names.coordinator, request, 60)  # now all is warm
    answer = open_reply(Envelope(4096, spill), local.invoke(stack.names.coordinator, request, 60), "coordinator")
    processor, coordinator = answer.usages.processor, answer.usages.coordinator
    spilled = processor.writes
    assert 1 <= spilled == processor.requests <= processor.invocations
    assert (coordinator.requests, coordinator.writes) == (spilled + 1, 1)
    assert coordinator.bytes > spilled * 4096


def test_lists_cost_what_writes_do():
    store = MeteredStore(open_store("memory://metered/lists"))
    store.put("a/b", b"c")
    assert [info.path for info in store.list("a")] == ["a/b"]
    store.get("a/b")
    assert (store.requests, store.writes, store.bytes) == (3, 2, 1)


class TestMail:
    def message(self, count):
        return messages.SearchRequest(
            count=count, dimensions=64, queries=bytes(256 * count), options=messages.Options(k=1)
        )

    def test_small_ones_travel_as_they_are(self):
        envelope = Envelope(10_000)
        assert envelope.unpack(envelope.pack(self.message(1))) == self.message(1)

    def test_large_ones_go_by_the_store(self):
        envelope = Envelope(10_000, open_store("memory://overflow/x"))
        sent = envelope.pack(self.message(100))
        assert len(sent) < 200
        assert envelope.unpack(sent) == self.message(100)

    def test_without_a_store_they_are_refused(self):
        with pytest.raises(CallError, match="messages must have at most") as caught:
            Envelope(10_000).pack(self.message(100))
        assert caught.value.kind is ErrorKind.TOO_LARGE

    def test_tampered_or_lost_ones_are_noticed(self):
        store = open_store("memory://overflow/y")
        envelope = Envelope(10_000, store)
        pointer = wire.decode(envelope.pack(self.message(100)))
        data = bytearray(store.get(pointer.path))
        data[-1] ^= 1
        store.put(pointer.path, bytes(data), create=False)
        with pytest.raises(CallError, match="differs from the one that was sent"):
            envelope.unpack(wire.encode(pointer))
        store.delete([pointer.path])
        with pytest.raises(CallError, match="no longer"):
            envelope.unpack(wire.encode(pointer))

    @pytest.mark.parametrize(
        "path",
        [
            "manifest/00000000000000000001.json",
            "messages/../manifest/00000000000000000001.json",
            f"messages/{'0' * 31}",
            f"messages/{'0' * 33}",
            f"messages/{'0' * 32}\n",
            f"messages/{'G' * 32}",
            f"x/messages/{'0' * 32}",
        ],
    )
    def test_no_other_object_is_read(self, path):
        store = MeteredStore(open_store("memory://overflow/z"))
        sent = wire.encode(messages.Overflow(path=path, bytes=10, crc32c=0))
        with pytest.raises(InputError, match="path"):
            Envelope(10_000, store).unpack(sent)
        assert store.requests == 0

    def test_no_more_is_read_than_was_sent(self):
        store = MeteredStore(open_store("memory://overflow/large"))
        envelope = Envelope(10_000, store)
        pointer = wire.decode(envelope.pack(self.message(100)))
        store.put(pointer.path, bytes(store.get(pointer.path)) + bytes(1 << 20), create=False)
        before = store.bytes
        with pytest.raises(CallError, match="differs from the one that was sent"):
            envelope.unpack(wire.encode(pointer))
        assert store.bytes - before <= pointer.bytes + 1

    def test_events(self):
        assert from_event(to_event(b"\0\xff")) == b"\0\xff"
        assert len(json.dumps(to_event(bytes(LAMBDA.message_bytes)))) <= LIMITS.request_bytes
        for event in (None, [], {}, {"vsearch": 3}, {"vsearch": "%"}, {"vsearch": "abc"}):
            with pytest.raises(InputError):
                from_event(event)


class TestMessages:
    def sealed(self, body):
        return wire.seal(msgspec.msgpack.encode(body))

    def test_every_flipped_bit_is_noticed(self):
        data = wire.encode(messages.WarmRequest(snapshot=3))
        for i in range(8 * len(data)):
            bad = bytearray(data)
            bad[i // 8] ^= 1 << i % 8
            with pytest.raises(InputError):
                wire.decode(bytes(bad))

    def test_a_newer_version_is_told(self):
        newer = self.sealed({"kind": "search", "version": messages.VERSION + 1, "something": "new"})
        with pytest.raises(InputError, match=f"version {messages.VERSION + 1}"):
            wire.decode(newer)

    @pytest.mark.parametrize(
        "change",
        [
            {"count": 3},
            {"count": 0},
            {"dimensions": 5},
            {"queries": np.full(4, np.nan, "<f4").tobytes()},
            {"queries": np.array([0, 0, np.inf, 1], "<f4").tobytes()},
            {"options": {"k": 0}},
            {"options": {"k": 10_001}},
            {"options": {"k": 1, "min_score": float("inf")}},
            {"mode": "else"},
            {"allocators": 10_001},
            {"unknown": 1},
            {"remaining": -1.0},
        ],
    )
    def test_what_does_not_fit_is_refused(self, change):
        good = {
            "kind": "search",
            "version": messages.VERSION,
            "count": 2,
            "dimensions": 2,
            "queries": bytes(16),
            "options": {"k": 1},
        }
        wire.decode(self.sealed(good))
        with pytest.raises(InputError):
            wire.decode(self.sealed({**good, **change}))


class TestPlanning:
    def plan(self, stack, queries, **more):
        settings = PlanSettings(**more.pop("settings", {}))
        return choose_plan(read_manifest(open_store(stack.url)), queries, settings, **more)

    def test_small_jobs_need_nobody(self, stack):
        assert self.plan(stack, 1).mode == "alone"

    def test_large_indexes_are_fanned_out(self, stack):
        few = {"alone_bytes": 0}
        assert self.plan(stack, 1, settings=few).mode == "flat"
        plan = self.plan(stack, 1000, settings=few)
        assert (plan.mode, plan.allocators) == ("tree", 16)
        assert "16 allocators" in str(plan)

    def test_wishes_are_kept_where_they_make_sense(self, stack):
        assert self.plan(stack, 5, mode="tree", allocators=20).allocators == 5
        with pytest.raises(InputError):
            self.plan(stack, 5, mode="alone", allocators=20)


def test_the_signature_is_botocores():
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    for token in (None, "a/token+=="):
        path = "/2015-03-31/functions/st%20ack-1%3Alive/invocations"
        headers = {"content-type": "application/json", "x-amz-invocation-type": "RequestResponse"}
        ours = Signer(lambda token=token: Keys("AKID", "secret", token), "eu-west-1", "lambda").sign(
            "lambda.eu-west-1.amazonaws.com", path, headers, b'{"a": 1}'
        )
        request = AWSRequest("POST", f"https://lambda.eu-west-1.amazonaws.com{path}", headers=headers, data=b'{"a": 1}')
        request.context["timestamp"] = ours["x-amz-date"]
        auth = SigV4Auth(Credentials("AKID", "secret", token), "lambda", "eu-west-1")
        request.headers["X-Amz-Date"] = ours["x-amz-date"]
        if token:
            request.headers["X-Amz-Security-Token"] = token
        signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        assert ours["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (
            {"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: x Error: Task timed out after 3.00 seconds"},
            "timeout",
        ),
        ({"errorMessage": "2026 x Task timed out after 3.00 seconds"}, "timeout"),
        (
            {"errorType": "Runtime.ExitError", "errorMessage": "Error: Runtime exited with error: signal: killed"},
            "memory",
        ),
        (
            {"errorType": "Runtime.ExitError", "errorMessage": "Error: Runtime exited with error: exit status 3"},
            "crash",
        ),
        ({"errorType": "Runtime.ImportModuleError", "errorMessage": "No module named x"}, "init"),
        ({"errorType": "ZeroDivisionError", "errorMessage": "division by zero"}, "crash"),
        ("text", "crash"),
    ],
)
def test_function_errors_are_told_apart(event, kind):
    assert function_error(event, "f").kind == kind


class TestWeb:
    KEY = hashlib.sha256(b"key").hexdigest()

    def ask(self, stack, body, *, method="POST", path="/search", key="key"):
        worker = stack.local.worker("t-coordinator")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.answer(worker, method, path, {"x-api-key": key}, data, web.KeyHashes(self.KEY), Deadline())

    def test_hits_with_columns(self, stack):
        vector = stack.queries[0].tolist()
        status, reply = self.ask(stack, {"vector": vector, "k": 3, "where": "year > 2000", "columns": ["day", "tags"]})
        hits = stack.index.search(stack.queries[0], k=3, where="year > 2000", columns=["day", "tags"])
        assert status == 200
        assert [hit["id"] for hit in reply["hits"][0]] == hits.ids[0].tolist()
        assert [hit["columns"]["tags"] for hit in reply["hits"][0]] == hits.columns.column("tags").to_pylist()
        assert [hit["columns"]["day"] for hit in reply["hits"][0]] == [
            str(d) for d in hits.columns.column("day").to_pylist()
        ]
        assert reply["complete"]
        assert reply["bill"]["dollars"] > 0
        json.dumps(reply, allow_nan=False)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[",
            b"[]",
            b'{"vector": [1, "a"]}',
            {"vector": [1.0]},
            {"vector": []},
            {"vectors": [[1.0, 2.0], [1.0]]},
            {"vectors": []},
            {"k": 3},
            {"vector": [0.0] * 32, "k": 0},
            {"vector": [0.0] * 32, "more": 1},
            {"vector": [0.0] * 32, "where": "year >"},
            {"vector": [0.0] * 32, "where": {"nothing": 1}},
            {"vector": [1e300] * 32},
            b"\xff\xfe",
            b'{"vector": ' + b"[" * 5000,
        ],
    )
    def test_unusable_bodies(self, stack, body):
        status, reply = self.ask(stack, body)
        assert status == 400
        assert reply["error"] == "refused"
        assert "Traceback" not in reply["message"]

    def test_keys_paths_and_methods(self, stack):
        good = {"vector": [0.0] * 32}
        assert self.ask(stack, good, key="wrong")[0] == 401
        assert self.ask(stack, good, path="/else")[0] == 404
        assert self.ask(stack, good, method="GET")[0] == 405
        worker = stack.local.worker("t-coordinator")
        assert web.answer(worker, "POST", "/search", {}, b"{}", web.KeyHashes(), Deadline())[0] == 401

    def test_the_description_is_valid(self):
        from openapi_spec_validator import validate

        validate(web.describe())

    @pytest.mark.parametrize("event", [None, {}, [], {"requestContext": {"http": {}}}, {"requestContext": 3}])
    def test_events_that_are_none(self, stack, event):
        reply = web.answer_event(stack.local.worker("t-coordinator"), event, web.KeyHashes(self.KEY), Deadline())
        assert reply["statusCode"] == 400
