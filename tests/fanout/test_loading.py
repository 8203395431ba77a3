"""What workers load: in how many rounds of requests, within which memory, and when a newer snapshot comes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import vsearch
from tests.fanout.conftest import QUICK, make_sample
from tests.fanout.test_answers import assert_same
from vsearch.cache import LRUCache
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.allocator import allocate, plan_batch
from vsearch.fanout.roles.loading import Loader
from vsearch.fanout.roles.worker import Worker
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import Answer, Options, ProcessRequest
from vsearch.fanout.wire.replies import open_reply
from vsearch.storage import open_store
from vsearch.storage.stores.metered import MeteredStore

QUIET = 0.15


class Watched:
    """A store that notes when each request begins and ends. None ends before all that can begin have begun."""

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
        """The most requests of which each began only after the one before had ended."""
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
    monkeypatch.setattr("vsearch.fanout.roles.loading.FRESH", 0.0)
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

        return process(whole.snapshot, whole.snapshot.shards[0], request, Deadline())

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
