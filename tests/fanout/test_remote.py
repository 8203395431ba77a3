"""A remote index returns the same answers and errors as one opened locally."""

from __future__ import annotations

import numpy as np
import pytest

import vsearch
from tests.fanout.test_faults import Faulty
from vsearch.api.remote_index import RemoteIndex
from vsearch.api.remote_opening import open_remote
from vsearch.fanout.calls.bill import Prices
from vsearch.fanout.calls.retries import CallError, ErrorKind, RetryPolicy
from vsearch.fanout.platforms.aws_lambda import PRICES
from vsearch.fanout.wire.codec import decode
from vsearch.fanout.wire.envelope import Envelope
from vsearch.storage import open_store


@pytest.fixture
def remote(stack):
    return RemoteIndex("test://t", stack.names, stack.local, Envelope())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_the_same_hits(stacks, kind):
    stack = stacks(kind)
    stack.reset()
    remote = RemoteIndex("test://t", stack.names, stack.local, Envelope())
    for asked in ({}, {"where": "price < 40", "columns": ["word", "day"], "k": 200}, {"nprobe": 1, "mode": "flat"}):
        local = {name: value for name, value in asked.items() if name != "mode"}
        expected, hits = stack.index.search(stack.queries, **local), remote.search(stack.queries, **asked)
        assert hits.ids.dtype == expected.ids.dtype
        assert hits.ids.tolist() == expected.ids.tolist()
        assert hits.scores.tobytes() == expected.scores.tobytes()
        if "columns" in asked:
            assert hits.columns.to_pylist() == expected.columns.to_pylist()
        assert hits.to_arrow().equals(expected.to_arrow())
        assert hits.stats.rows_masked == expected.stats.rows_masked or "mode" in asked
        assert hits.complete
        assert hits.bill.total > 0
        assert hits.plan


def test_one_vector_and_where_in_every_spelling(stack, remote):
    expected = stack.index.search(stack.queries[0], where="year > 2000").ids.tolist()
    for where in ("year > 2000", {"year": {"$gt": 2000}}, vsearch.col("year") > 2000):
        assert remote.search(stack.queries[0].tolist(), where=where).ids.tolist() == expected


def test_large_batches_are_sent_as_several(stack):
    small = RemoteIndex("test://t", stack.names, stack.local, Envelope(10_000))
    hits = small.search(stack.queries)
    assert hits.bill.usages.coordinator.invocations > 1
    assert hits.ids.tolist() == stack.index.search(stack.queries).ids.tolist()


@pytest.mark.parametrize(("machine", "arch"), [("aarch64", "arm64"), ("x86_64", "x86_64"), ("riscv64", "x86_64")])
def test_the_bill_has_the_prices_of_where_the_functions_ran(stack, remote, monkeypatch, machine, arch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert remote.search(stack.queries).bill.prices == PRICES[arch]


def test_prices_can_be_given(stack, monkeypatch):
    mine = Prices("home", "today", 1.0, 0.0, 0.0, 0.0)
    billed = RemoteIndex("test://t", stack.names, stack.local, Envelope(), prices=mine)
    hits = billed.search(stack.queries[:1], mode="alone")
    assert (hits.bill.total, hits.bill.prices) == (1.0, mine)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert vsearch.open("lambda://stack", prices=mine)._prices == mine
    assert vsearch.open("lambda://stack", overflow="memory://overflow/open")._client.envelope.overflow is not None
    with pytest.raises(vsearch.InputError, match=r"a vsearch\.Prices.*, got dict"):
        vsearch.open("lambda://stack", prices={"get": 1})


def test_answers_in_the_overflow_store_need_it_here_too(stack):
    spill = open_store("memory://overflow/remote")
    local = stack.with_overflow(spill)
    with pytest.raises(vsearch.RemoteError, match="overflow="):
        RemoteIndex("test://t", stack.names, local, Envelope(4096)).search(stack.queries[:1], k=400)
    hits = RemoteIndex("test://t", stack.names, local, Envelope(4096, spill)).search(stack.queries, k=400)
    assert hits.ids.tolist() == stack.index.search(stack.queries, k=400).ids.tolist()
    assert hits.bill.usages.coordinator.invocations == 1


def test_nothing_found(stack, remote):
    hits = remote.search(stack.queries, where="price > 1e9", columns=["word"])
    assert np.isnan(hits.scores).all()
    assert (hits.ids == -1).all()
    assert len(hits.columns) == hits.scores.size


MISTAKES = {
    "dimensions": {"queries": [[1.0, 2.0]]},
    "nan": {"queries": [[np.nan] * 32]},
    "k": {"k": 0},
    "nprobe": {"nprobe": True},
    "columns": {"columns": "word"},
    "no such column": {"columns": ["none"]},
    "min_score": {"min_score": np.inf},
    "timeout": {"timeout": 0},
    "mode": {"mode": "any"},
    "wrong width of no query": {"queries": np.zeros((0, 31), np.float32)},
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistakes(stack, remote, mistake):
    with pytest.raises(vsearch.InputError):
        remote.search(**{"queries": stack.queries, **mistake})


@pytest.mark.parametrize("where", ["year >", "none = 1", "tags > 3"])
def test_predicates_that_are_none(stack, remote, where):
    with pytest.raises(vsearch.InputError):
        remote.search(stack.queries, where=where)


def test_failures(stack, remote):
    stack.invoker = Faulty(stack.local, "t-processor-1", ErrorKind.CRASH, 10**6)
    with pytest.raises(vsearch.IncompleteAnswerError, match="shards 1 failed"):
        remote.search(stack.queries, mode="flat")
    hits = remote.search(stack.queries, mode="flat", allow_partial=True)
    assert not hits.complete
    assert {outcome.shard for outcome in hits.failed} == {1}
    with pytest.raises(vsearch.SearchTimeoutError):
        remote.search(stack.queries, mode="flat", timeout=1e-9)

    class Away:
        def invoke(self, function, payload, timeout):
            raise CallError(ErrorKind.DENIED, "not for you")

    with pytest.raises(vsearch.RemoteError, match="not for you"):
        RemoteIndex("test://t", stack.names, Away(), Envelope()).search(stack.queries)


@pytest.mark.parametrize("kind", [ErrorKind.CRASH, ErrorKind.TIMEOUT, ErrorKind.THROTTLED])
def test_a_shard_that_failed_for_good_is_not_asked_again_by_the_client(stack, kind):
    stack.invoker = Faulty(stack.local, "t-processor-1", kind, 10**6)
    asked = []

    class Counting:
        def invoke(self, function, payload, timeout):
            asked.append(function)
            return stack.local.invoke(function, payload, timeout)

    counted = RemoteIndex("test://t", stack.names, Counting(), Envelope())
    with pytest.raises(vsearch.IncompleteAnswerError, match="shards 1 failed"):
        counted.search(stack.queries, mode="flat")
    assert asked == ["t-coordinator"]


@pytest.mark.parametrize("function", ["t-processor-1", "t-allocator"])
def test_what_there_was_no_time_to_ask_again_is_asked_again_by_the_client(stack, remote, monkeypatch, function):
    """A function that hangs takes all the time that its caller has."""
    monkeypatch.setattr("tests.fanout.conftest.QUICK", RetryPolicy(attempts=1))
    stack.reset()
    stack.invoker = Faulty(stack.local, function, ErrorKind.TIMEOUT, 1)
    hits = remote.search(stack.queries, allocators=3, branching=2)
    assert hits.ids.tolist() == stack.index.search(stack.queries).ids.tolist()
    stack.invoker = Faulty(stack.local, function, ErrorKind.TIMEOUT, 10**6)
    with pytest.raises(vsearch.VsearchError, match="failed"):
        remote.search(stack.queries, allocators=3, branching=2)


def test_one_search_sees_one_snapshot(stack):
    """Also where it takes several requests, and another snapshot is committed between them."""
    snapshots = []

    class Noting:
        def invoke(self, function, payload, timeout):
            snapshots.append(decode(payload).snapshot)
            return stack.local.invoke(function, payload, timeout)

    hits = RemoteIndex("test://t", stack.names, Noting(), Envelope(10_000)).search(stack.queries)
    assert snapshots == [None] + [hits.snapshot] * (len(snapshots) - 1)
    assert len(snapshots) > 1


def test_explain_tells_who_answered_and_why(stack, remote):
    told = remote.explain(stack.queries[:1], where="year > 2000", nprobe=1, mode="flat")
    assert told.predicate == "year > 2000"
    assert told.plan["how"].startswith("flat: requested; ")
    assert told.plan["how"].endswith(f"{len(told.plan['shards'])} of 3 shards searched")
    assert told.plan["nprobe"] == 1
    assert told.stats.partitions == 30
    assert "invocations" in str(told)
    small = remote.explain(stack.queries)
    assert "the coordinator holds the whole index" in small.plan["how"]
    tree = remote.explain(stack.queries, allocators=20, branching=4)
    assert tree.plan["how"].startswith("tree of 20 allocators, branching 4, 2 levels: requested; ")


def test_few_partitions_are_explained_by_few_shards(stack, remote):
    assert len(remote.explain(stack.queries[:1], nprobe=1, mode="flat").plan["shards"]) == 1


def test_info_is_that_of_the_index(stack, remote):
    assert remote.info() == stack.index.info()


def test_info_of_an_index_that_is_not_there(stack):
    missing = RemoteIndex("test://t", stack.names, stack.local, Envelope(), 99)
    with pytest.raises(vsearch.RemoteSnapshotNotFoundError, match="snapshot 99 does not exist"):
        missing.info()


def test_warming(stack, remote):
    assert remote.warm() > 0
    assert remote.search(stack.queries, mode="flat").bill.usages.processor.requests == 0


@pytest.mark.parametrize("url", ["lambda://", "lambda://a/b", "s3://a"])
def test_urls_that_name_no_stack(url):
    with pytest.raises(vsearch.InputError):
        open_remote(url)


def test_open_takes_stacks(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("VSEARCH_FAAS_STATE", "/nowhere/state.json")
    monkeypatch.delenv("AWS_ENDPOINT_URL_LAMBDA", raising=False)
    assert repr(vsearch.open("lambda://stack", region="eu-west-1")) == "<vsearch.RemoteIndex lambda://stack>"
    with pytest.raises(vsearch.InputError, match="vsearch faas up"):
        vsearch.open("local-faas://stack")
    with pytest.raises(vsearch.InputError, match="no such option"):
        vsearch.open("lambda://stack", anonymous=True)
