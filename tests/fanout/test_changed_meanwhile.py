"""A writer that keeps an index open, whose columns, rows or model others change meanwhile: what it answers equals the answer of a
writer that has just started."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.roles.worker import Worker, serve
from vsearch.fanout.roles.writer import Writer
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.change_messages import BadRows, Committed, WriteRequest
from vsearch.fanout.wire.messages import Failure
from vsearch.storage import open_store
from vsearch.storage.snapshots.pruning import prune

D = 8
VECTORS = np.random.default_rng(0).normal(size=(60, D)).astype(np.float32)
IDS = [f"row {i}" for i in range(60)]


def built(url, attributes=None, vectors=VECTORS, ids=IDS, **options):
    return vsearch.build(vectors, url, attributes, ids, partitions=4, **options)


@pytest.fixture
def url():
    return f"memory://meanwhile-{uuid4().hex}/index"


@pytest.fixture
def index(url):
    return built(url, pa.table({"year": np.arange(60), "word": ["x"] * 60}))


@pytest.fixture
def writer(url, index):
    """A writer that has the first snapshot open."""
    worker = Worker.open("writer", open_store(url), "t-writer", run=Writer().answer)
    assert write(worker, body={"rows": [row("warm")]}).snapshot == 2
    index.refresh()
    return worker


def write(worker, operation="append", **fields):
    fields = {"token": uuid4().hex} | fields
    fields |= {"body": json.dumps(fields["body"]).encode()} if isinstance(fields.get("body"), dict) else {}
    message = WriteRequest(operation=operation, **fields)
    return wire.decode(serve(worker, wire.encode(message), Deadline.after(30)))


def row(id_, dimensions=D, **columns):
    return {"id": id_, "vector": [0.5] * dimensions, "columns": columns}


def test_a_column_that_was_added(index, writer):
    index.add_column("extra", "int64")
    assert write(writer, body={"rows": [row("a", extra=3)]}).added == 1
    index.add_column("more", "int64")
    assert write(writer, "update", body={"ids": ["a"], "values": {"more": [4]}}).replaced == 1
    index.refresh()
    assert index.get(["a"], ["extra", "more"]).to_pylist() == [{"id": "a", "extra": 3, "more": 4}]
    reply = write(writer, body={"rows": [row("b", nothing=3)]})
    assert isinstance(reply, BadRows)
    assert reply.faults[0].message == "the index has no attribute 'nothing'; it has year, word, extra, more"


def test_a_column_that_has_another_type_now(index, writer):
    index.drop_column("year")
    index.add_column("year", "string")
    assert write(writer, body={"rows": [row("a", year="MMXX")]}).added == 1
    assert isinstance(write(writer, body={"rows": [row("b", year=2020)]}), BadRows)


@pytest.mark.parametrize("dimensions", [D, 4])
def test_an_index_that_was_rebuilt(url, writer, dimensions):
    built(url, None, VECTORS[:, :dimensions], np.arange(60) if dimensions < D else IDS, overwrite=True)
    new, old = (1000, 1) if dimensions < D else ("new", "row 1")
    assert write(writer, body={"rows": [row(new, dimensions)]}).added == 1
    assert write(writer, "delete", body={"ids": [old]}).deleted == 1
    built(url, None, overwrite=True)
    assert write(writer, "delete", body={"ids": ["row 1"]}).deleted == 1  # the first change that meets the new index


def test_an_index_that_was_rebuilt_and_pruned(url, writer):
    built(url, None, overwrite=True)
    prune(open_store(url), 1, older_than=timedelta(0))
    assert write(writer, "update", body={"ids": ["nobody"], "values": {"year": [1]}}).error == "refused"
    assert write(writer, "delete", body={"ids": ["row 1"]}).deleted == 1


def test_an_index_without_rerank_codes_that_was_retrained(url):
    index = built(url, rerank=None)
    worker = Worker.open("writer", open_store(url), "t-writer", run=Writer().answer)
    assert write(worker, body={"rows": [row("warm")]}).added == 1
    index.refresh()
    index.retrain(np.concatenate([VECTORS, [[0.5] * D]]).astype(np.float32), [*IDS, "warm"])
    assert write(worker, body={"rows": [row("a")]}).added == 1


def test_a_request_that_is_no_longer_valid_but_was_carried_out(index, writer, url):
    """The caller lost the answer, and repeats it after the column was dropped."""
    body = {"rows": [row("a", year=3)]}
    first = write(writer, token="t", body=body)
    index.refresh()
    index.drop_column("year")
    other = Worker.open("writer", open_store(url), "t-writer", run=Writer().answer)
    for worker in (writer, other):
        again = write(worker, token="t", body=body)
        assert isinstance(again, Committed)
        assert (again.snapshot, again.added) == (first.snapshot, 1)


def test_a_condition_on_the_snapshot_is_not_repeated(index, writer):
    index.append(VECTORS[:1], ids=["other"])
    reply = write(writer, body={"rows": [row("a")]}, if_snapshot=2)
    assert isinstance(reply, Failure)
    assert reply.error == "conflict"
    assert write(writer, body={"rows": [row("a")]}, if_snapshot=3).snapshot == 4


def test_messages_about_rows_fit_a_reply():
    url = f"memory://meanwhile-{uuid4().hex}/index"
    built(url, pa.table({"n" * 1000: np.arange(60), "m" * 1000: np.arange(60)}))
    worker = Worker.open("writer", open_store(url), "t-writer", run=Writer().answer)
    reply = write(worker, body={"rows": [row("a", nothing=1), row("b", **{"n" * 1000: "x"})]})
    assert isinstance(reply, BadRows)
    assert [fault.position for fault in reply.faults] == [0, 1]


def test_rows_are_selected_by_ids_or_by_a_predicate_not_both(writer, index):
    from vsearch.fanout.wire.where import encode_where

    where = encode_where("year > 3")
    for operation, body in (("update", {"ids": ["row 1"], "values": {"word": ["y"]}}), ("delete", {"ids": ["row 1"]})):
        assert write(writer, operation, where=where, body=body).error == "refused"
    assert index.refresh() is False
