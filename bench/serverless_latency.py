"""Latencies of a stack: cold and warm processors, a warm fan-out, single queries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.data import Floats
from bench.serverless_stack import NAMES, Stack, process_seconds
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.roles.allocator import plan_batch
from vsearch.fanout.roles.processor import process
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire import messages
from vsearch.fanout.wire.envelope import Envelope
from vsearch.fanout.wire.messages import AllocateRequest, Options, ProcessRequest, int32s
from vsearch.fanout.wire.replies import open_reply
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.routing import ProbePlan
from vsearch.search.engine.steps import scan_shard
from vsearch.search.state.snapshot import Snapshot, open_snapshot
from vsearch.storage import open_store, read_manifest

K = 10


@dataclass(frozen=True)
class Times:
    """Seconds of several repetitions."""

    name: str
    seconds: tuple[float, ...]

    def at(self, percent: float) -> float:
        """A percentile, in milliseconds."""
        return 1e3 * float(np.percentile(self.seconds, percent))

    @property
    def best(self) -> float:
        """The minimum, in milliseconds."""
        return 1e3 * min(self.seconds)


def open_here(stack: Stack) -> Snapshot:
    """The stack's index, opened in this process."""
    store = open_store(stack.url, endpoint=stack.endpoint)
    return open_snapshot(store, read_manifest(store, None))


def requests_of(snapshot: Snapshot, query: Floats) -> list[ProcessRequest]:
    """The requests to processors for one query."""
    request = AllocateRequest(
        snapshot=snapshot.manifest.snapshot,
        count=1,
        dimensions=query.shape[-1],
        queries=query.astype("<f4").tobytes(),
        options=Options(k=K),
        allocators=1,
        branching=1,
        level=1,
    )
    return [task.request for task in plan_batch(snapshot, request, None, Deadline())]


def cold_processors(stack: Stack, snapshot: Snapshot, query: Floats, repetitions: int) -> tuple[Times, Times]:
    """Time from process start to answer of one processor, including the object store; and its processor time."""
    request = requests_of(snapshot, query)[0]
    function, payload = NAMES.processor(request.shard), wire.encode(request)
    invoker = stack.index._client.invoker  # noqa: SLF001
    walls, spent = [], []
    for _ in range(repetitions):
        stack.evict_idle()
        start = time.perf_counter()
        open_reply(Envelope(), invoker.invoke(function, payload, 120), function)
        walls.append(time.perf_counter() - start)
        (environment,) = stack.platform._functions[function].idle  # noqa: SLF001
        spent.append(process_seconds(environment.pid))
    return Times("wall", tuple(walls)), Times("processor", tuple(spent))


@dataclass(frozen=True)
class Overhead:
    """For warm processors, one query each: answer time, time inside the function, kernel time, and the difference."""

    answer: Times
    inside: Times
    kernel: Times
    over_http: Times
    over_inside: Times


def warm_overhead(stack: Stack, snapshot: Snapshot, queries: Floats, repetitions: int) -> Overhead:
    """Answer time of one warm processor minus the kernels' time for the same request in this process."""
    requests = [requests_of(snapshot, query)[0] for query in queries]
    invoker = stack.index._client.invoker  # noqa: SLF001
    for request in requests:
        function = NAMES.processor(request.shard)
        open_reply(Envelope(), invoker.invoke(function, wire.encode(request), 120), function)
        _scan(snapshot, request)
    answers, insides, kernels = [], [], []
    for i in range(repetitions):
        request = requests[i % len(requests)]
        function, payload = NAMES.processor(request.shard), wire.encode(request)
        start = time.perf_counter()
        reply = invoker.invoke(function, payload, 120)
        answers.append(time.perf_counter() - start)
        insides.append(open_reply(Envelope(), reply, function).usages.processor.seconds)
        kernels.append(min(_scan(snapshot, request) for _ in range(3)))
    http = tuple(a - b for a, b in zip(answers, kernels, strict=True))
    inside = tuple(a - b for a, b in zip(insides, kernels, strict=True))
    return Overhead(
        Times("answer", tuple(answers)),
        Times("inside", tuple(insides)),
        Times("kernel", tuple(kernels)),
        Times("answer less kernel", http),
        Times("inside less kernel", inside),
    )


def _scan(snapshot: Snapshot, request: ProcessRequest) -> float:
    """Seconds of the kernels' part of a request for one query."""
    shard = snapshot.groups[request.shard]
    visits = ProbePlan(
        int32s(request.partitions),
        messages.floats(request.bases),
        messages.floats(request.bounds),
        int(int32s(request.minimums)[0]),
    )
    query = messages.floats(request.queries)
    start = time.perf_counter()
    scan_shard(snapshot, shard, query, visits, SearchRequest(K, snapshot.settings), [None])
    return time.perf_counter() - start


@dataclass(frozen=True)
class FanOut:
    """A warm tree: times, calls per request, and processor time per role.

    Attributes
    ----------
    calls : float
        Calls of processors, by all allocators together.
    woken : int
        Distinct processors among them.
    """

    times: Times
    allocators: float
    calls: float
    woken: int
    spent: dict[str, float]


def warm_fan_out(stack: Stack, queries: Floats, repetitions: int, **options: Any) -> FanOut:
    """Repeat requests of four queries to four allocators."""
    for _ in range(4):
        stack.index.search(queries, K, **options)
    before = stack.processor_seconds()
    seconds, allocators, calls = [], 0, 0
    woken: set[int] = set()
    for _ in range(repetitions):
        start = time.perf_counter()
        hits = stack.index.search(queries, K, **options)
        seconds.append(time.perf_counter() - start)
        assert hits.bill is not None
        allocators += hits.bill.usages.allocator.invocations
        calls += hits.bill.usages.processor.invocations
        woken.update(hits.shards)
    after = stack.processor_seconds()
    spent = {role: (after[role] - before[role]) / repetitions for role in after}
    times = Times("fan-out", tuple(seconds))
    return FanOut(times, allocators / repetitions, calls / repetitions, len(woken), spent)


def choose_queries(snapshot: Snapshot, queries: Floats, processors: int, together: int = 4) -> Floats:
    """Find `together` queries that wake `processors` distinct processors in total, if possible, with few calls."""
    woken = [{request.shard for request in requests_of(snapshot, query)} for query in queries]
    chosen: list[int] = []
    asleep = set(range(processors))
    for left in range(together, 0, -1):
        share = -(-len(asleep) // left)
        remaining = [i for i in range(len(queries)) if i not in chosen]
        chosen.append(min(remaining, key=lambda i: (-min(len(woken[i] & asleep), share), len(woken[i]), i)))
        asleep -= woken[chosen[-1]]
    return queries[chosen]


def singles(stack: Stack, queries: Floats, *, cold: int, **options: Any) -> tuple[Times, Times]:
    """Single queries through the whole stack: cold ones after all functions were stopped, then warm ones."""
    frozen = []
    for i in range(cold):
        stack.evict_idle()
        start = time.perf_counter()
        stack.index.search(queries[i % len(queries)], K, **options)
        frozen.append(time.perf_counter() - start)
    for query in queries[:40]:
        stack.index.search(query, K, **options)
    warm = []
    for query in queries:
        start = time.perf_counter()
        stack.index.search(query, K, **options)
        warm.append(time.perf_counter() - start)
    return Times("cold", tuple(frozen)), Times("warm", tuple(warm))


def in_process(snapshot: Snapshot, queries: Floats) -> float:
    """Processor seconds that a processor takes for one query of a shard, in this process, warm."""
    requests = [request for query in queries for request in requests_of(snapshot, query)]
    for request in requests[:50]:
        process(snapshot, snapshot.groups[request.shard], request, Deadline())
    start = time.process_time()
    for request in requests:
        process(snapshot, snapshot.groups[request.shard], request, Deadline())
    return (time.process_time() - start) / len(requests)
