"""Rows by id behind functions are those of the index itself, whatever ids and attributes are called."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack
from vsearch.api import remote_rows
from vsearch.api.remote_index import RemoteIndex
from vsearch.fanout.wire.envelope import Envelope

ROWS = 40
INTEGERS = [-1, -(2**63), 2**63 - 1, *range(100, 100 + ROWS - 3)]
TEXTS = ["", "a\0", "ä", *(f"row {i}" for i in range(ROWS - 3))]


def make_pair(url, ids, attributes, limit=None):
    """The same index here, and behind functions in this process."""
    vectors = np.random.default_rng(3).normal(size=(ROWS, 8)).astype(np.float32)
    index = vsearch.build(vectors, url, pa.table(attributes), ids, shards=2, partitions=4, metric="l2")
    stack = Stack(url, index, vectors[:3])
    return index, RemoteIndex("test://t", stack.names, stack.local, Envelope(limit))


@pytest.mark.parametrize("ids", [INTEGERS, TEXTS], ids=["integers", "texts"])
@pytest.mark.parametrize("called", ["x", "id", "ID", "Id"])
def test_get_is_that_of_the_index(ids, called):
    index, remote = make_pair(f"memory://rows-{called}-{ids is TEXTS}/i", ids, {called: range(ROWS), "y": ["v"] * ROWS})
    for asked in (ids[:1], [ids[5], ids[0], ids[5]], ids, []):
        for columns in (None, [], ["y"], ["y", "y"], [called]):
            assert remote.get(asked, columns).equals(index.get(asked, columns)), (asked, columns)


def test_attributes_that_take_both_names_of_the_row_are_refused():
    index, remote = make_pair("memory://rows-both/i", None, {"id": range(ROWS), "_id": range(ROWS)})
    assert index.get([3]).num_rows == 1
    with pytest.raises(vsearch.InputError, match="by its own URL"):
        remote.get([3])


@pytest.mark.parametrize("missing", [[-1], [-1, 5], [10**6], [5, -(2**63)]])
def test_integers_that_are_not_there(missing):
    for one in make_pair(f"memory://rows-missing-{len(missing)}-{missing[0]}/i", None, {"x": range(ROWS)}):
        with pytest.raises(vsearch.InputError, match="no row has the id"):
            one.get(missing)


def test_texts_that_cannot_be_stored_and_wrong_types():
    index, remote = make_pair("memory://rows-odd/i", TEXTS, {"x": range(ROWS)})
    for asked in (["a"], ["\udc80"], [5], [None]):
        for one in (index, remote):
            with pytest.raises(vsearch.InputError) as caught:
                one.get(asked)
            assert not isinstance(caught.value, vsearch.PredicateError)


def test_messages_that_would_be_too_large_are_made_smaller(monkeypatch):
    monkeypatch.setattr(remote_rows, "TOGETHER_BYTES", 200)
    text = {"x": [f"{i}" * 2000 for i in range(10, 10 + ROWS)]}
    index, remote = make_pair("memory://rows-large/i", None, text, limit=60_000)
    assert remote.get(range(ROWS)).equals(index.get(range(ROWS)))


def test_rows_of_documents():
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(ROWS * 5, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = vsearch.build_documents(
        vectors,
        np.arange(0, ROWS * 5 + 1, 5),
        "memory://rows-documents/i",
        attributes=pa.table({"x": range(ROWS)}),
        codebook=16,
        dimensions=64,
        shards=2,
    )
    stack = Stack("memory://rows-documents/i", index, None)
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    assert remote.get([3, 1]).equals(index.get([3, 1]))
    assert len(remote) == ROWS


@pytest.mark.parametrize(
    "queries", [3.0, np.float32(1), np.zeros((2, 0)), [], ["a text", 1], b"a text", "a" * (2 << 20)]
)
def test_queries_that_are_none_are_refused_before_anything_is_sent(queries):
    class Broken:
        def invoke(self, function, payload, timeout):
            raise AssertionError("called")

    remote = RemoteIndex("test://t", Stack("memory://rows-none/i", None, None).names, Broken(), Envelope())
    with pytest.raises(vsearch.InputError, match=r"one number|at least one|must be numbers|at most"):
        remote.search(queries)


def test_it_is_true_without_a_call_and_refuses_what_needs_a_snapshot():
    class Broken:
        def invoke(self, function, payload, timeout):
            raise AssertionError("called")

    remote = RemoteIndex("test://t", Stack("memory://rows-none/i", None, None).names, Broken(), Envelope())
    assert remote
    for ask in (lambda: remote.snapshot, remote.snapshots, remote.tune, lambda: vsearch.jpq.train(remote, [], [])):
        with pytest.raises(vsearch.InputError, match="by its own URL"):
            ask()
