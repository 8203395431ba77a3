"""Pages through functions: the same as those of the index opened directly, of one snapshot."""

from __future__ import annotations

import hashlib
import json

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.fanout.conftest import Stack, make_sample
from tests.fanout.test_faults import Faulty
from vsearch.api.remote_index import RemoteIndex
from vsearch.errors import InputError
from vsearch.fanout.calls.retries import Deadline, ErrorKind
from vsearch.fanout.platforms import http_api as web
from vsearch.fanout.roles.allocator import Calls, allocate
from vsearch.fanout.wire.codec import decode, encode
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import AllocateRequest, Options, ProcessRequest

MODES = [{"mode": "alone"}, {"mode": "flat"}, {"mode": "tree", "allocators": 4, "branching": 2}]
ASKED = [
    {},
    {"where": "price < 40 AND word = 'w3'", "columns": ["word", "tags", "day"]},
    {"nprobe": 1, "where": "year > 2000"},
    {"exact": True, "columns": ["ok"]},
    {"where": "price > 1e9", "columns": ["word", "tags", "price", "ok"]},
]


def remote_of(stack, limit=None, **options):
    return RemoteIndex("test://t", stack.names, stack.local, Envelope(limit), **options)


def assert_same(found, hits):
    assert found.ids.tolist() == hits.ids.tolist()
    np.testing.assert_array_equal(found.scores, hits.scores)
    assert found.offset == hits.offset
    assert found.to_arrow().column("rank").equals(hits.to_arrow().column("rank"))
    assert found.ids.dtype == hits.ids.dtype
    if hits.columns is not None:
        assert found.columns.equals(hits.columns)


@pytest.mark.slow
def test_the_same_pages(any_stack):
    remote = remote_of(any_stack)
    for number, asked in enumerate(ASKED):
        how = MODES[number % 3]
        for k, offset in ((10, 10), (10, 45), (7, 300)):
            hits = any_stack.index.search(any_stack.queries, k, offset=offset, **asked)
            assert_same(remote.search(any_stack.queries, k, offset=offset, **asked, **how), hits)


@pytest.mark.parametrize("how", MODES, ids=lambda how: how["mode"])
def test_all_pages_together_are_the_rows_that_match(stack, how):
    remote = remote_of(stack)
    where = "price < 40 AND year > 2010"
    expected = stack.index.search(stack.queries[:2], 1500, where, exact=True)
    many = int((expected.ids[0] >= 0).sum())
    found = [remote.search(stack.queries[:2], 40, where, offset=o, **how).ids for o in range(0, many + 40, 40)]
    for each, all_ in zip(np.concatenate(found, axis=1), expected.ids, strict=True):
        assert sorted(each[each >= 0]) == sorted(all_[all_ >= 0])


def test_batches_that_are_cut(stack, monkeypatch):
    """Neither a small message nor a small memory changes a page."""
    hits = stack.index.search(stack.queries, 5, offset=60, columns=["word"])
    monkeypatch.setattr("vsearch.search.pages.TOGETHER", 300)
    found = remote_of(stack, 12_000).search(stack.queries, 5, offset=60, columns=["word"])
    assert found.bill.usages.coordinator.invocations > 1
    assert_same(found, hits)


def test_only_the_rows_of_the_page_are_read_with_columns(stack):
    """Searches that are made to know what comes before the page ask for no columns."""
    asked = []
    columns = {}

    class Watching:
        def invoke(self, function, payload, timeout):
            message = decode(payload)
            if isinstance(message, ProcessRequest):
                asked.append((message.options.k, message.options.columns, message.options.offset))
                columns[message.options.k] = message.options.columns
            return stack.local.invoke(function, payload, timeout)

    stack.invoker = Watching()
    remote_of(stack).search(stack.queries[0], 10, offset=45, columns=["word"], mode="flat")
    assert columns == {10: (), 20: (), 40: (), 80: ("word",)}
    assert all(offset == 0 for *_, offset in asked)


def test_a_shard_that_fails(stack):
    stack.invoker = Faulty(stack.local, "t-processor-1", ErrorKind.CRASH, 10**6)
    remote = remote_of(stack)
    with pytest.raises(vsearch.IncompleteAnswerError, match="shards 1 failed"):
        remote.search(stack.queries, offset=30, mode="flat")
    hits = remote.search(stack.queries, offset=30, mode="flat", allow_partial=True)
    assert {outcome.shard for outcome in hits.failed} == {1}
    assert len(set(hits.failed)) == len(hits.failed)
    assert not hits.complete


def test_pages_of_one_snapshot(tmp_path):
    """A commit between two pages changes the list, unless the index is opened with the first page's snapshot."""
    vectors, attributes, queries = make_sample(400, 16, 1)
    url = str(tmp_path / "index")
    stack = Stack(url, vsearch.build(vectors, url, attributes, partitions=8), queries)
    newest = remote_of(stack)
    first = newest.search(queries, offset=0)
    vsearch.build(vectors[::-1].copy(), url, attributes, partitions=8, overwrite=True)
    pinned = RemoteIndex("test://t", stack.names, stack.local, Envelope(), first.snapshot)
    second = pinned.search(queries, offset=10)
    assert second.snapshot == first.snapshot
    assert_same(second, stack.index.search(queries, offset=10))  # opened before
    stack.reset()
    assert remote_of(stack).search(queries, offset=10).snapshot > first.snapshot


def ask(stack, **body):
    worker, key = stack.local.worker("t-coordinator"), hashlib.sha256(b"key").hexdigest()
    return web.answer(
        worker, "POST", "/search", {"x-api-key": "key"}, json.dumps(body).encode(), web.KeyHashes(key), Deadline()
    )


def test_json(stack):
    query = stack.queries[3]
    hits = stack.index.search(query, 7, "year > 2000", offset=14)
    status, reply = ask(stack, vector=query.tolist(), k=7, where="year > 2000", offset=14, snapshot=1)
    assert status == 200, reply
    assert [hit["id"] for hit in reply["hits"][0]] == hits.ids[0].tolist()
    status, reply = ask(stack, vector=query.tolist(), k=7, offset=999_994)
    assert (status, reply["error"]) == (400, "refused")
    assert "offset + k at most 1000000" in reply["message"]
    for offset in (-1, 1.5, "3", True, None, 10**30):
        assert ask(stack, vector=query.tolist(), offset=offset)[0] == 400


@pytest.mark.parametrize("offset", [-1, 999_991, True, 2.0, None])
def test_offsets_out_of_range(stack, offset):
    with pytest.raises(InputError, match="from 0 to 999990"):
        remote_of(stack).search(stack.queries, offset=offset)


def test_messages_with_offsets_that_cannot_be(stack):
    request = stack.request(k=10, offset=999_990)
    assert decode(encode(request)) == request
    options = msgspec.structs.replace(request.options, offset=999_991)
    with pytest.raises(InputError, match="offset"):
        decode(encode(msgspec.structs.replace(request, options=options)))
    fields = dict.fromkeys(("partitions", "bases", "bounds"), b"")
    asked = ProcessRequest(
        snapshot=1,
        shard=0,
        count=1,
        dimensions=1,
        queries=bytes(4),
        options=Options(k=1, offset=1),
        visits=bytes(4),
        minimums=bytes(4),
        **fields,
    )
    with pytest.raises(InputError, match="offset must be 0"):
        decode(encode(asked))


def test_what_is_not_asked_for_is_not_sent():
    """So functions that were deployed before there were pages still answer searches without any."""
    assert msgspec.json.decode(msgspec.json.encode(Options(k=3))) == {"k": 3}


@pytest.mark.slow
def test_documents(tmp_path):
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 20, 300)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    topics = rng.standard_normal((20, 16))
    vectors = (topics[rng.integers(0, 20, offsets[-1])] + 0.8 * rng.standard_normal((offsets[-1], 16))).astype("f4")
    table = pa.table({"year": rng.integers(1990, 2030, 300)})
    queries = [vectors[at : at + 5] for at in (0, 100, 700)]
    url = "memory://pages-documents/index"
    index = vsearch.build_documents(vectors, offsets, url, attributes=table, codebook=32, dimensions=64, shards=2)
    stack = Stack(url, index, queries)
    remote = remote_of(stack)
    where = "year > 2005"
    for candidates in (20, "all"):
        pages = [
            index.search_documents(queries, 20, where, candidates=candidates, offset=o, matches=True)
            for o in range(0, 300, 20)
        ]
        ids = np.concatenate([page.ids for page in pages], axis=1)
        for each in ids:
            assert sorted(each[each >= 0]) == np.flatnonzero(table["year"].to_numpy() > 2005).tolist()
        for number in (0, 1, 2, 5, 14):
            how = {"candidates": candidates, "offset": 20 * number, "matches": True, **MODES[number % 3]}
            found = remote.search_documents(queries, 20, where, **how)
            assert_same(found, pages[number])
            for one, other in zip(found.matches, pages[number].matches, strict=True):
                np.testing.assert_array_equal(one.positions, other.positions)
                np.testing.assert_array_equal(one.scores, other.scores)


def test_a_subtree_is_given_the_offset(stack):
    """What an allocator is asked and what it answers has the page's size."""
    seen = []

    class Watching:
        def invoke(self, function, payload, timeout):
            reply = stack.local.invoke(function, payload, timeout)
            message = decode(payload)
            if isinstance(message, AllocateRequest):
                seen.append((message.options.offset, decode(reply).k))
            return reply

    stack.invoker = Watching()
    hits = remote_of(stack).search(stack.queries, 4, offset=8, mode="tree", allocators=6, branching=2)
    assert_same(hits, stack.index.search(stack.queries, 4, offset=8))
    assert set(seen) == {(8, 4)}
    assert len(seen) > 2


def test_a_deadline_bounds_all_searches_of_a_page(stack):
    snapshot = stack.local.worker("t-allocator").loader.tables(1).snapshot
    request = stack.request(k=10, offset=500)
    asked = AllocateRequest(
        snapshot=1,
        count=request.count,
        dimensions=request.dimensions,
        queries=request.queries,
        options=request.options,
        allocators=1,
        branching=2,
        level=1,
    )
    with pytest.raises(Exception, match="time"):
        allocate(snapshot, asked, Calls(lambda *_: None, lambda *_: None), Deadline.after(0.0))
