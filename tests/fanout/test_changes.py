"""The writer and the keeper of a stack: through RemoteIndex, over HTTP, and as messages. What they commit is what an index
opened in process commits."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack, make_sample
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.calls.retries import CallError, Deadline, ErrorKind
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.roles.keeper import keep
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.roles.writer import Writer
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.change_messages import MOST_FAULTS, BadRows, Committed, WriteRequest
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Failure
from vsearch.storage import open_store
from vsearch.storage.snapshots.condemned import DATA_FOLDERS

D = 16
KEY = "a write key"
KEYS = web.KeyHashes(write=hashlib.sha256(KEY.encode()).hexdigest())


@pytest.fixture(scope="module")
def sample():
    vectors, attributes, queries = make_sample(400, D, 8)
    return vectors, attributes, queries


IDS = {"strings": [f"row {i}" for i in range(300)], "integers": np.arange(300), "none": None}


@pytest.fixture(scope="module")
def built(sample):
    """Indexes by their ids, built once; tests change copies."""
    vectors, attributes, _ = sample
    return {
        kind: vsearch.build(
            vectors[:300], f"memory://changes-{kind}/index", attributes[:300], ids, shards=2, partitions=8
        ).snapshot.store
        for kind, ids in IDS.items()
    }


def copy_of(store):
    """The URL of a copy of an index."""
    url = f"memory://changes-{uuid4().hex}/index"
    copy = open_store(url)
    for folder in ("manifest", *DATA_FOLDERS):
        for info in store.list(folder):
            copy.put(info.path, store.get(info.path))
    return url


def make_stack(built, sample, kind):
    url = copy_of(built[kind])
    return Stack(url, vsearch.open(url), sample[2])


@pytest.fixture
def stack(built, sample):
    return make_stack(built, sample, "strings")


@pytest.fixture
def numbered(built, sample):
    return make_stack(built, sample, "integers")


def remote_of(stack, invoker=None, envelope=None):
    return RemoteIndex("test://changes", stack.names, invoker or stack.invoker, envelope or Envelope())


def ask(stack, method, body, query="", key=KEY, path="/rows", **headers):
    """Status and document of a request to the URL; a dict or a list is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {"x-write-key": key} | {name.replace("_", "-"): value for name, value in headers.items()}
    return web.answer(stack.local.worker(stack.names.coordinator), method, path, names, data, KEYS, Deadline(), query)


def row(id_, vector=(0.5,) * D, **columns):
    return {"id": id_, "vector": list(vector), "columns": columns}


class TestRemoteIndex:
    def test_changes_equal_those_of_an_index_opened_in_process(self, stack, built, sample):
        vectors, attributes, queries = sample
        ids = [f"row {i}" for i in range(400)]
        twin, remote = vsearch.open(copy_of(built["strings"])), remote_of(stack)

        def both(change):
            there, here = change(remote), change(twin)
            assert there == here

        both(lambda index: index.append(vectors[300:350], attributes[300:350], ids[300:350]))
        both(lambda index: index.upsert(vectors[350:], attributes[350:], ids[280:330]))
        both(lambda index: index.update({"year": 1950, "day": dt.date(2020, 1, 2)}, where="word = 'w3'"))
        both(lambda index: index.update({"price": [1.5, None]}, ids=["row 5", "row 6"]))
        both(lambda index: index.delete(["row 1", "row 2", "no such row"]))
        both(lambda index: index.delete(where="year > 2015"))
        stack.index.refresh()
        for where in (None, "year < 1990", "price < 40 AND ok"):
            there = stack.index.search(queries, k=12, where=where, columns=["word", "day"], exact=True)
            here = twin.search(queries, k=12, where=where, columns=["word", "day"], exact=True)
            assert there.ids.tolist() == here.ids.tolist()
            np.testing.assert_array_equal(there.scores, here.scores)
            assert there.columns.to_pylist() == here.columns.to_pylist()
        found = remote.search(queries, k=12, exact=True, at_least=stack.index.info()["snapshot"])
        assert found.ids.tolist() == twin.search(queries, k=12, exact=True).ids.tolist()
        report = remote.optimize(force=True)
        assert (report.merged, stack.index.refresh(), len(stack.index)) == (2, True, len(twin))

    def test_rows_are_given_as_to_a_build(self, stack, tmp_path, sample):
        remote, vectors = remote_of(stack), sample[0]
        table = pa.table({"key": ["t1", "t2"], "embedding": pa.array(list(vectors[:2])), "year": [1, 2]})
        assert remote.append(table, ["year"], vectors="embedding", id="key").added == 2
        frame = table.set_column(0, "key", pa.array(["t2", "t3"])).to_pandas()
        assert vars(remote.upsert(frame, ["year"], vectors="embedding", id="key"))["replaced"] == 1
        broken = np.full((3, D), np.nan, np.float32)
        broken[1] = 1
        with pytest.warns(vsearch.VsearchWarning, match="skipped"):
            assert remote.append(broken, ids=["a", "b", "c"], missing="skip").added == 1
        stack.index.refresh()
        assert stack.index.get(["b", "t3"], ["year"])["year"].to_pylist() == [None, 2]

    def test_rows_over_the_limit_of_a_message_take_several_commits(self, stack, sample):
        vectors, attributes, _ = sample
        remote = remote_of(stack, stack.with_overflow(None), Envelope(4096 * 3))
        calls = []
        new = [f"new {i}" for i in range(400)]
        progress = lambda *told: calls.append(told)  # noqa: E731
        commit = remote.append(vectors, attributes, new, token="t", if_snapshot=1, progress=progress)
        assert commit.added == 400
        assert commit.snapshot == len(calls) + 1 > 3
        assert calls[-1] == ("write", 400, 400)
        assert remote.append(vectors, attributes, new, token="t") == commit  # nothing is added twice
        stack.index.refresh()
        assert len(stack.index) == 700

    def test_an_answer_that_was_lost_is_asked_for_again(self, stack, sample):
        vectors, attributes, _ = sample
        lost = []

        class Losing:
            def invoke(self, function, payload, timeout):
                reply = stack.invoker.invoke(function, payload, timeout)
                if len(lost) < 2:
                    lost.append(function)
                    raise CallError(ErrorKind.CRASH, "the answer was lost")
                return reply

        commit = remote_of(stack, Losing()).append(vectors[300:302], attributes[300:302], ["x", "y"])
        assert (lost, commit.added) == (["t-writer"] * 2, 2)
        stack.index.refresh()
        assert (len(stack.index), stack.index.info()["snapshot"]) == (302, 2)

    def test_an_index_that_numbers_its_rows(self, built, sample):
        stack = make_stack(built, sample, "none")
        remote = remote_of(stack)
        assert remote.append(sample[0][:5]).added == 5
        assert remote.delete([300, 301]).deleted == 2
        with pytest.raises(vsearch.InputError, match="numbers its rows"):
            remote.append(sample[0][:1], ids=[7])

    def test_what_is_refused(self, stack, sample):
        remote, vectors = remote_of(stack), sample[0]
        with pytest.raises(vsearch.InputError, match=r"1 row is invalid: row 1: the index has a row with this id"):
            remote.append(vectors[:2], ids=["new", "row 7"])
        with pytest.raises(vsearch.InputError, match="'a' occur more than once"):
            remote.upsert(vectors[:3], ids=["a", "b", "a"])
        with pytest.raises(vsearch.InputError, match=f"must have the index's {D} dimensions, got 3"):
            remote.append(vectors[:2, :3], ids=["a", "b"])
        with pytest.raises(vsearch.InputError, match="must be strings"):
            remote.append(vectors[:2], ids=[1, 2])
        with pytest.raises(vsearch.InputError, match="no attribute 'colour'"):
            remote.update({"colour": 1}, where="year > 2000")
        with pytest.raises(vsearch.InputError, match="exactly one of ids and where"):
            remote.delete()
        with pytest.raises(vsearch.InputError, match="no row has the id"):
            remote.update({"year": [1]}, ids=["nobody"])
        with pytest.raises(vsearch.PredicateError):
            remote.delete(where="nothing = 1")
        with pytest.raises(vsearch.ConflictError, match="newest snapshot is 1, not 5"):
            remote.delete(["row 1"], if_snapshot=5)
        stack.index.refresh()
        assert stack.index.info()["snapshot"] == 1

    def test_a_stack_without_a_writer_says_so(self, stack, sample):
        def make(function):
            if function.endswith(("writer", "keeper")):
                raise CallError(ErrorKind.ABSENT, f"there is no function {function}")
            return stack.make(function)

        class Without:
            def invoke(self, function, payload, timeout):
                make(function)
                return stack.invoker.invoke(function, payload, timeout)

        remote = remote_of(stack, Without())
        with pytest.raises(vsearch.RemoteError, match="has no writer"):
            remote.append(sample[0][:1], ids=["a"])
        with pytest.raises(vsearch.RemoteError, match="has no keeper"):
            remote.optimize()

    def test_documents_of_many_vectors_are_refused_by_name(self):
        url = f"memory://documents-{uuid4().hex}/index"
        rng = np.random.default_rng(0)
        index = vsearch.build_documents(rng.normal(size=(200, 8)).astype(np.float32), np.arange(0, 201, 4), url)
        with pytest.raises(vsearch.InputError, match="multi-vector documents"):
            remote_of(Stack(url, index, None)).delete([1])

    def test_writers_at_once_follow_each_other(self, stack, sample):
        """Two warm writers, each with the snapshot that it knows, commit by turns."""
        vectors = sample[0]
        writers = []
        for _ in range(2):
            stack.reset()
            writers.append(remote_of(stack))
        for turn in range(6):
            writers[turn % 2].append(vectors[turn : turn + 1], ids=[f"turn {turn}"])
            writers[turn % 2].upsert(vectors[turn : turn + 1], ids=["shared"])
        stack.index.refresh()
        assert len(stack.index) == 307
        assert stack.index.info()["snapshot"] == 13


class TestHttp:
    def test_rows_as_json(self, stack):
        days = {"day": "2024-05-06", "tags": ["a", None], "ok": True, "price": 3, "word": "é"}
        status, reply = ask(stack, "POST", {"rows": [row("n1", **days), row("n2"), {"id": "n3", "vector": [1] * D}]})
        assert (status, reply["added"], reply["snapshot"]) == (200, 3, 2)
        assert reply["bill"]["dollars"] > 0
        assert reply["bill"]["roles"]["writer"]["invocations"] == 1
        stack.index.refresh()
        expected = {"day": dt.date(2024, 5, 6), "tags": ["a", None], "ok": True, "price": 3.0, "word": "é"}
        read = stack.index.get(["n1"], ["year", *days]).to_pylist()[0]
        assert {name: read[name] for name in expected} == expected
        assert read["year"] is None
        status, reply = ask(stack, "POST", {"rows": [row("n1", Year=7)]}, "upsert=true&if_snapshot=2")
        assert (status, reply["replaced"]) == (200, 1)
        status, reply = ask(stack, "PATCH", {"ids": ["n1", "n2"], "values": {"day": ["2001-01-01", None]}})
        assert (status, reply["replaced"]) == (200, 2)
        status, reply = ask(stack, "PATCH", {"where": "day = DATE '2001-01-01'", "values": {"price": 8, "tags": []}})
        assert (status, reply["replaced"]) == (200, 1)
        stack.index.refresh()
        assert stack.index.get(["n1"], ["price", "tags", "word"]).to_pylist()[0] | {} == {
            "id": "n1", "price": 8.0, "tags": [], "word": None,
        }  # fmt: skip

    def test_rows_as_arrow(self, stack, sample):
        vectors, attributes, _ = sample
        for dictionary, opened in ((False, pa.ipc.new_stream), (True, pa.ipc.new_file)):
            word = attributes["word"][:4].combine_chunks()
            table = pa.table(
                {
                    "id": pa.array([f"{dictionary} {i}" for i in range(4)]),
                    "vector": pa.array(list(vectors[:4].astype(np.float16)), pa.list_(pa.float16())),
                    "word": word.dictionary_encode() if dictionary else word,
                    "year": pa.array([1, 2, 3, None], pa.int8()),
                }
            )
            sink = pa.BufferOutputStream()
            with opened(sink, table.schema) as writer:
                writer.write_table(table)
            status, reply = ask(
                stack, "POST", sink.getvalue().to_pybytes(), content_type="application/vnd.apache.arrow.stream"
            )
            assert (status, reply["added"]) == (200, 4)
            stack.index.refresh()
            read = stack.index.get([f"{dictionary} {i}" for i in range(4)], ["word", "year"])
            assert read["word"].to_pylist() == word.to_pylist()
            assert read["year"].to_pylist() == [1, 2, 3, None]

    def test_deletions(self, stack):
        status, reply = ask(stack, "DELETE", {"where": "year > 2010"}, "dry_run=true")
        count = reply["deleted"]
        assert (status, reply["snapshot"]) == (200, 1)
        assert count > 0
        assert ask(stack, "DELETE", {"where": {"year": {"$gt": 2010}}})[1]["deleted"] == count
        assert ask(stack, "DELETE", {"ids": ["row 0", "row 1", "row 2"]})[0] == 200
        assert ask(stack, "DELETE", {"where": "year > 2010"}, "dry_run=true")[1]["deleted"] == 0

    def test_a_key_makes_a_request_repeatable(self, numbered):
        body = {"rows": [row(1000), row(1001)]}
        first = ask(numbered, "POST", body, idempotency_key="k1")
        again = ask(numbered, "POST", body, idempotency_key="k1")
        assert (again[0], again[1]["snapshot"], again[1]["added"]) == (200, first[1]["snapshot"], 2)
        assert ask(numbered, "POST", body, idempotency_key="k2")[0] == 400
        assert ask(numbered, "POST", body, idempotency_key="k" * 201)[0] == 400

    def test_bad_rows_come_with_their_positions(self, numbered):
        rows = [
            row(1000),
            row(1001, [1.0] * (D - 1)),
            row("text"),
            row(1003, [1e300] * D),
            row(1000),
            row(None),
            row(1006, colour="red"),
            row(1007, year="late"),
            row(1008, ok=1),
            row(1009, day="yesterday"),
            row(1010, year=True),
            row(1011, year=2**70),
            row(1012, tags=["a", 3]),
            row(1013, word=3),
        ]
        status, reply = ask(numbered, "POST", {"rows": rows})
        assert (status, reply["error"], reply["count"]) == (400, "bad rows", 13)
        assert [fault["position"] for fault in reply["rows"]] == list(range(1, 14))
        messages = {fault["position"]: fault["message"] for fault in reply["rows"]}
        assert messages[1] == f"the vector must have the index's {D} dimensions, got {D - 1}"
        assert messages[2] == "id: must be int64, got 'text'"
        assert "beyond float32" in messages[3]
        assert messages[4] == "has the same id as row 0"
        assert "no attribute 'colour'" in messages[6]
        assert messages[9] == "day: must be date, got 'yesterday'"
        status, reply = ask(numbered, "POST", {"rows": [row(5), row(1000), row(7)]})
        assert [fault["position"] for fault in reply["rows"]] == [0, 2]
        malformed = [{"id": 1}, row(2), {"id": 3, "vector": "x"}, {"id": 4.5, "vector": [1] * D}, 7]
        status, reply = ask(numbered, "POST", {"rows": malformed})
        assert (status, [fault["position"] for fault in reply["rows"]]) == (400, [0, 2, 3, 4])
        status, reply = ask(numbered, "PATCH", {"ids": [1, 2], "values": {"year": [3, "x"]}})
        assert (status, [fault["position"] for fault in reply["rows"]]) == (400, [1])
        status, reply = ask(numbered, "POST", {"rows": [row(i) for i in range(150)]})
        assert (status, reply["count"], len(reply["rows"])) == (400, 150, MOST_FAULTS)
        numbered.index.refresh()
        assert numbered.index.info()["snapshot"] == 1

    @pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[",
            b"[]",
            b"{}",
            b"\xff\xfe",
            b'{"rows": ' + b"[" * 5000,
            {"rows": 3},
            {"rows": []},
            {"rows": [{"id": "a", "vector": [1e999]}], "more": 1},
            {"ids": ["row 1"], "where": "year > 3"},
            {"ids": [[1]]},
            {"where": ""},
            {"where": "year >"},
            {"ids": ["row 1"], "values": {"year": 3}},
            {"ids": ["row 1"], "values": {"": [3]}},
            {"where": "year > 3", "values": {"nothing": 3}},
            b'{"rows": [{"id": "\\ud800", "vector": [1]}]}',
        ],
    )
    def test_unusable_bodies(self, stack, method, body):
        status, reply = ask(stack, method, body)
        assert status == 400, reply
        assert reply["error"] in ("refused", "bad rows")
        assert "Traceback" not in reply["message"]
        assert stack.index.refresh() is False

    @pytest.mark.parametrize(
        "query", ["upsert=maybe", "more=1", "if_snapshot=-1", "timeout=0", "timeout=nan", "a=1&" * 20]
    )
    def test_unusable_queries(self, stack, query):
        assert ask(stack, "POST", {"rows": [row("a")]}, query)[0] == 400
        assert ask(stack, "DELETE", {"ids": ["row 1"]}, "upsert=true")[0] == 400

    def test_keys_and_methods(self, stack):
        body = {"rows": [row("a")]}
        assert ask(stack, "POST", body, key="wrong")[0] == 401
        assert ask(stack, "POST", body, key="")[0] == 401
        assert ask(stack, "GET", body)[0] == 405
        assert ask(stack, "POST", {"vector": [1.0] * D}, path="/search")[0] == 401  # a write key does not search
        worker = stack.local.worker(stack.names.coordinator)
        search_only = web.KeyHashes(search=KEYS.write)
        headers = {"x-write-key": KEY, "x-api-key": KEY}
        assert web.answer(worker, "POST", "/rows", headers, b"{}", search_only, Deadline())[0] == 404
        assert ask(stack, "DELETE", {"ids": ["row 1"]}, "if_snapshot=9")[0] == 409

    def test_events(self, stack):
        event = {
            "requestContext": {"http": {"method": "DELETE"}},
            "rawPath": "/rows",
            "rawQueryString": "dry_run=1",
            "headers": {"X-Write-Key": KEY},
            "body": json.dumps({"ids": ["row 1", "row 2"]}),
        }
        reply = web.answer_event(stack.local.worker(stack.names.coordinator), event, KEYS, Deadline())
        assert (reply["statusCode"], json.loads(reply["body"])["deleted"]) == (200, 2)


class TestMessages:
    def write(self, worker, **fields):
        from vsearch.fanout.roles.worker import serve

        fields = {"operation": "append", "token": uuid4().hex} | fields
        return wire.decode(serve(worker, wire.encode(WriteRequest(**fields)), Deadline.after(30)))

    @pytest.mark.parametrize(
        "columns",
        [
            {"vector": pa.array([[1.0] * D, None])},
            {"vector": pa.array([[1.0] * D, [1.0] * (D - 1) + [None]])},
            {"vector": pa.array([[1.0] * D, [np.inf] * D])},
            {"vector": pa.array([[1.0] * D] * 2), "year": pa.array([1.0, 1.5])},
            {"vector": pa.array([[1.0] * D] * 2), "id": pa.array(["a", None])},
            {"vector": pa.array([[1] * D, [1] * D], pa.list_(pa.int64(), D)), "id": pa.array(["a", "a"])},
        ],
    )
    def test_arrow_rows_that_do_not_fit(self, stack, columns):
        table = pa.table({"id": ["a", "b"]} | columns)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        reply = self.write(stack.local.worker(stack.names.writer), form="arrow", body=sink.getvalue().to_pybytes())
        assert isinstance(reply, BadRows), reply
        assert [fault.position for fault in reply.faults] == [1]

    def test_arrow_streams_that_are_damaged(self, stack):
        table = pa.table({"id": ["a", "b"], "vector": pa.array([[1.0] * D] * 2), "word": ["x", "y"]})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data, rng = sink.getvalue().to_pybytes(), np.random.default_rng(0)
        worker = stack.local.worker(stack.names.writer)
        replies = []
        for number in range(150):
            damaged = bytearray(data[: None if number % 2 else int(rng.integers(8, len(data)))])
            for place in rng.integers(0, len(damaged), int(rng.integers(1, 6))):
                damaged[place] = rng.integers(256)
            reply = self.write(worker, operation="upsert", form="arrow", body=bytes(damaged))
            assert isinstance(reply, Committed | BadRows) or reply.error == ErrorKind.REFUSED, reply
            replies.append(type(reply).__name__)
        assert {"Committed", "Failure"} <= set(replies)

    def test_each_role_takes_its_own(self, stack):
        reply = self.write(stack.local.worker(stack.names.coordinator))
        assert isinstance(reply, Failure)
        reply = self.write(stack.local.worker(stack.names.keeper))
        assert isinstance(reply, Failure)
        assert reply.error == ErrorKind.REFUSED

    def test_a_writer_that_may_not_delete_loses_nothing(self, stack, sample):
        """Its role has no permission to delete: what it wrote in vain is left to a prune."""
        store = open_store(stack.url)

        class NoDeletion:
            def __getattr__(self, name):
                return getattr(store, name)

            def delete(self, paths):
                raise vsearch.StoreError(f"403: not authorized to delete {list(paths)[:1]}")

        writer = Worker.open("writer", NoDeletion(), "t-writer", run=Writer().answer)
        body = json.dumps({"rows": [row("n1")]}).encode()
        assert isinstance(self.write(writer, body=body), Committed)
        stack.index.append(sample[0][:1], ids=["other"])  # so that what the writer writes next meets another's commit
        body = json.dumps({"rows": [row("n2")]}).encode()
        assert isinstance(self.write(writer, body=body), Committed)
        stack.index.refresh()
        assert len(stack.index.get(["n1", "n2", "other"])) == 3

    def test_a_keeper_leaves_training_that_changes_the_shards(self, sample):
        url = f"memory://created-{uuid4().hex}/index"
        index = vsearch.create(url, dimensions=D, shards=3)
        rng = np.random.default_rng(1)
        worker = Worker.open("writer", open_store(url), "t-writer", run=Writer().answer)
        vectors = rng.normal(size=(2500, D)).round(3)
        body = json.dumps({"rows": [{"vector": vector} for vector in vectors.tolist()]}).encode()
        assert self.write(worker, body=body).added == 2500
        keeper = Worker.open("keeper", open_store(url), "t-keeper", run=keep)
        from vsearch.fanout.roles.worker import serve
        from vsearch.fanout.wire.change_messages import KeepRequest

        wire.decode(serve(keeper, wire.encode(KeepRequest()), Deadline.after(60)))
        index.refresh()
        assert index.info()["shards"] == 1
