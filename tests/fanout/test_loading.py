"""Loading by workers: rounds of requests, memory limits, and newer snapshots."""

from __future__ import annotations

import threading
import time
from uuid import uuid4

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import QUICK, Stack, make_sample
from tests.fanout.test_answers import assert_same
from tests.fanout.test_pages import remote_of
from vsearch.cache import LRUCache
from vsearch.errors import InputError, SnapshotNotFoundError
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.allocator import allocate, plan_batch
from vsearch.fanout.roles.loading import Loader, Part
from vsearch.fanout.roles.planning import PlanSettings
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Answer, Options, ProcessRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.storage import open_store
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.stores.metered import MeteredStore

QUIET = 0.15


class Watched:
    """A store that records the start and end of each request. No request ends before all concurrent ones have started."""

    def __init__(self, store):
        self._store = store
        self.requests = []
        self._ticks = 0
        self._began = 0.0
        self._lock = threading.Lock()

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if name not in ("get", "get_ranges", "read_into", "head", "list"):
            return found

        def request(*given, **named):
            begun = self._begin()
            while time.monotonic() < self._began + QUIET:
                time.sleep(QUIET / 5)
            try:
                return found(*given, **named)
            finally:
                with self._lock:
                    self.requests.append((begun, self._ticks))
                    self._ticks += 1

        return request

    def _begin(self):
        with self._lock:
            self._ticks += 1
            self._began = time.monotonic()
            return self._ticks - 1

    def rounds(self):
        """The length of the longest chain of sequential requests."""
        rounds, last = 0, -1
        for begun, ended in sorted(self.requests, key=lambda pair: pair[1]):
            if begun > last:
                rounds, last = rounds + 1, ended
        self.requests.clear()
        return rounds


PREDICATES = [None, "price < 43.21", "price < 43.21 AND year > 1999 AND word = 'w3'", "tags @> ARRAY['t1'] AND ok"]


def ask(worker, request):
    from vsearch.fanout.roles.worker import serve

    return open_reply(Envelope(), serve(worker, wire.encode(request), Deadline()), worker.function)


@pytest.mark.parametrize("where", PREDICATES)
def test_a_cold_processor_takes_two_rounds(any_stack, where):
    any_stack.reset()
    sent = []

    class Noting:
        def invoke(self, function, payload, timeout):
            if function == "t-processor-1":
                sent.append(wire.decode(payload))
            return any_stack.local.invoke(function, payload, timeout)

    any_stack.invoker = Noting()
    any_stack.search(where=where, mode="flat", exact=True)
    any_stack.search(where=where, mode="flat")
    for _ in range(3):  # on a busy machine requests that are sent together may not overlap
        watched = Watched(open_store(any_stack.url))
        worker = Worker.open("processor", watched, "t-processor-1")
        assert ask(worker, sent[0]).rows
        if (rounds := watched.rounds()) == 2:
            break
    assert rounds == 2
    for request in sent:
        ask(worker, request)
    assert watched.rounds() == 0


@pytest.mark.parametrize("where", PREDICATES)
@pytest.mark.parametrize("mode", ["flat", "alone"])
def test_a_cold_coordinator_takes_two_rounds(stack, where, mode):
    request = stack.request(where=where, mode=mode, snapshot=stack.index.info()["snapshot"])
    for _ in range(3):  # on a busy machine requests that are sent together may not overlap
        watched = Watched(open_store(stack.url))
        worker = Worker.open("coordinator", watched, "t-coordinator", invoker=stack.local, names=stack.names)
        ask(worker, request)
        if (rounds := watched.rounds()) == 2:
            break
    assert rounds == 2
    ask(worker, request)
    assert watched.rounds() == 0


def test_finding_the_newest_snapshot_is_a_round_of_its_own(stack):
    watched = Watched(open_store(stack.url))
    worker = Worker.open("coordinator", watched, "t-coordinator", invoker=stack.local, names=stack.names)
    ask(worker, stack.request(mode="flat"))
    assert watched.rounds() == 3


def test_a_memory_budget_evicts_what_was_not_used_for_longest(stack):
    store = MeteredStore(open_store(stack.url))
    number = stack.index.info()["snapshot"]
    sizes = [Loader(store, LRUCache(1 << 40)).shard(number, shard).bytes for shard in range(3)]
    budget = sizes[0] + sizes[1] + sizes[2] - 1
    retention = LRUCache(budget)
    loader = Loader(store, retention)
    for shard in (0, 1, 2):
        loader.shard(number, shard)
        assert retention.stats().bytes <= budget
    assert retention.stats().evictions >= 1
    before = store.requests
    loader.shard(number, 2)
    assert store.requests == before
    loader.shard(number, 0)
    assert store.requests > before


def test_answers_do_not_depend_on_the_memory_budget(stack):
    hits = stack.index.search(stack.queries, where="price < 43.21")
    make = stack.make

    def small(function):
        worker = make(function)
        worker.loader.retention = LRUCache(1)
        return worker

    stack.local = LocalInvoker(small)
    stack.invoker = stack.local
    for _ in range(2):
        assert_same(stack.search(where="price < 43.21", mode="flat"), hits)


def test_a_newer_snapshot_is_taken_up_without_a_cold_start(monkeypatch):
    monkeypatch.setattr("vsearch.fanout.roles.newest.FRESH", 0.0)
    vectors, attributes, queries = make_sample(900, 16, 2)
    url = "memory://fanout-newer/index"
    index = vsearch.build(vectors[:600], url, attributes[:600], shards=2, partitions=12)
    names = Names("n")

    class Same:
        def invoke(self, function, payload, timeout):
            return local.invoke(function, payload, timeout)

    local = LocalInvoker(
        lambda function: Worker.open(
            names.role(function), open_store(url), function, invoker=Same(), names=names, policy=QUICK
        )
    )

    def search(snapshot=None):
        request = messages.SearchRequest(
            count=len(queries),
            dimensions=16,
            queries=queries.tobytes(),
            options=Options(k=10),
            mode="flat",
            snapshot=snapshot,
        )
        return open_reply(Envelope(), local.invoke("n-coordinator", wire.encode(request), 60), "n-coordinator")

    first = search()
    assert_same(first, index.search(queries))
    before = index.search(queries)
    index.tune(recall=1.0, queries=queries)
    second = search()
    assert second.snapshot == first.snapshot + 1
    assert_same(second, index.search(queries))
    assert second.usages.total.cold_starts == 0
    assert second.usages.processor.requests == 2  # a manifest each: no file has changed
    assert_same(search(first.snapshot), before)
    assert search(first.snapshot).usages.total.requests == 0


def test_the_next_batch_is_planned_while_processors_work(stack, monkeypatch):
    monkeypatch.setattr("vsearch.fanout.roles.allocator.LARGEST_BATCH", 8)
    planned = []
    second = threading.Event()

    def noting(*given, **named):
        planned.append(1)
        if len(planned) > 1:
            second.set()
        return plan_batch(*given, **named)

    monkeypatch.setattr("vsearch.fanout.roles.allocator.plan_batch", noting)
    number = stack.index.info()["snapshot"]
    part = stack.local.worker("t-allocator").loader.tables(number)
    worker = stack.local.worker("t-processor-0")

    def processor(shard: int, request: ProcessRequest) -> Answer:
        assert second.wait(30), "the second batch was not planned while the first was being processed"
        whole = worker.loader.shard(number, shard)
        from vsearch.fanout.roles.processor import process

        return process(whole.snapshot, whole.snapshot.groups[0], request, Deadline())

    from vsearch.fanout.roles.allocator import Calls

    request = messages.AllocateRequest(
        snapshot=number,
        count=len(stack.queries),
        dimensions=32,
        queries=np.ascontiguousarray(stack.queries, "<f4").tobytes(),
        options=Options(k=10),
        allocators=1,
        branching=4,
        level=1,
    )
    answer = allocate(part.snapshot, request, Calls(processor, lambda _: None), Deadline())
    assert_same(answer, stack.index.search(stack.queries))
    assert len(planned) == 3


class Slow:
    """A store whose reads of new manifests block until they are released."""

    def __init__(self, store, gate, after):
        self._store, self._gate, self._after = store, gate, after

    def __getattr__(self, name):
        return getattr(self._store, name)

    def get(self, path, **ranges):
        if path > manifest_path(self._after) and path.startswith("manifest"):
            assert self._gate.wait(30)
        return self._store.get(path, **ranges)


@pytest.fixture
def growing(monkeypatch):
    """A stack of two shards, rows to append, and a gate that blocks reads of later manifests."""
    vectors, attributes, queries = make_sample(400, 16, 2)
    url = f"memory://fanout-growing-{uuid4().hex}/index"
    index = vsearch.build(vectors[:300], url, attributes[:300], shards=2, partitions=12)
    gate = threading.Event()
    monkeypatch.setattr("tests.fanout.conftest.open_store", lambda url: Slow(open_store(url), gate, 1))
    return Stack(url, index, queries), vectors[300:], attributes[300:], gate


def test_own_writes_are_read_at_once(growing):
    stack, vectors, attributes, gate = growing
    gate.set()
    remote, index = remote_of(stack), stack.index
    remote.search(stack.queries)
    commit = index.append(vectors[:20], attributes[:20])
    assert remote.search(stack.queries).snapshot == 1  # it was looked at less than a second ago
    hits = remote.search(stack.queries, at_least=commit.snapshot)
    assert hits.snapshot == commit.snapshot
    assert hits.ids.tolist() == index.search(stack.queries).ids.tolist()
    assert remote.search(stack.queries).snapshot == commit.snapshot  # it is known now
    with pytest.raises(SnapshotNotFoundError, match="snapshot 9 does not exist yet; the newest is 2"):
        remote.search(stack.queries, at_least=9)
    with pytest.raises(InputError, match="only one of snapshot and at_least is allowed, got 1 and 2"):
        remote_of(stack, snapshot=1).search(stack.queries, at_least=2)


@pytest.mark.parametrize("alone", [True, False])
def test_a_newer_snapshot_is_loaded_while_the_one_before_answers(monkeypatch, growing, alone):
    monkeypatch.setattr("vsearch.fanout.roles.newest.FRESH", 0.0)
    stack, vectors, attributes, gate = growing
    coordinator = stack.local.worker("t-coordinator")
    coordinator.plans = PlanSettings() if alone else PlanSettings(alone_bytes=0)
    remote, index = remote_of(stack), stack.index
    assert remote.search(stack.queries, freshness=60).snapshot == 1
    index.append(vectors[:20], attributes[:20])
    for _ in range(2):
        assert remote.search(stack.queries, freshness=60).snapshot == 1  # the gate is closed: nobody waits for it
    gate.set()
    until = time.monotonic() + 30
    while remote.search(stack.queries, freshness=60).snapshot == 1 and time.monotonic() < until:
        time.sleep(0.01)
    hits = remote.search(stack.queries, freshness=60)
    assert hits.snapshot == 2
    assert hits.ids.tolist() == index.search(stack.queries).ids.tolist()
    if not alone:
        held = [worker.loader.retention for worker in map(stack.local.worker, ("t-processor-0", "t-processor-1"))]
        assert all(any(part.snapshot.manifest.snapshot == 2 for part in kept.values(Part)) for kept in held)


def test_an_answer_is_no_later_than_it_may_be(monkeypatch, growing):
    monkeypatch.setattr("vsearch.fanout.roles.newest.FRESH", 0.0)
    stack, vectors, attributes, gate = growing
    gate.set()
    remote = remote_of(stack)
    remote.search(stack.queries, freshness=60)
    stack.index.append(vectors[:20], attributes[:20])
    time.sleep(0.02)
    assert remote.search(stack.queries, freshness=0.01).snapshot == 2
    stack.index.append(vectors[20:40], attributes[20:40])
    assert remote.search(stack.queries).snapshot == 3


@pytest.mark.parametrize(
    "options", [{"at_least": -1}, {"at_least": "1"}, {"at_least": True}, {"freshness": -1}, {"freshness": "1"}]
)
def test_what_is_no_snapshot_or_lateness_is_refused(stack, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be"):
        remote_of(stack).search(stack.queries, **options)
