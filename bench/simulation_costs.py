"""Processor seconds of the parts of a search, measured on a real index whose functions run in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

import vsearch
from bench.data import Floats
from bench.simulation_events import Costs
from bench.simulation_planning import DIMENSIONS, SAMPLE, K, measure_planning, real_index
from bench.synthetic import clustered
from vsearch.fanout.calls.invoker import Names
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.in_process import LocalInvoker
from vsearch.fanout.roles.worker import Worker, serve
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import Options, SearchRequest, int32s
from vsearch.storage import open_store

SHARDS = 16
NAMES = Names("sim")
ROUNDS = 5


@dataclass(frozen=True)
class Measured:
    """Measured costs, and what they depend on.

    Attributes
    ----------
    costs : Costs
        Of an index of `SAMPLE` rows in 16 shards.
    visited : float
        Share of the planned partitions that processors visit before they stop.
    """

    costs: Costs
    visited: float


class Recorder:
    """Runs functions in this process, and keeps the messages and replies of each."""

    def __init__(self, url: str) -> None:
        self.calls: list[tuple[str, bytes, bytes]] = []
        self.replay = False
        self.functions = LocalInvoker(
            lambda function: Worker.open(NAMES.role(function), open_store(url), function, invoker=self, names=NAMES)
        )

    def invoke(self, function: str, payload: bytes, timeout: float | None) -> bytes:
        """Run a function, or return its recorded reply."""
        if self.replay:
            message = wire.decode(payload)
            key = _what(payload)
            reply = next(reply for name, sent, reply in self.calls if name == function and _what(sent) == key)
            return wire.encode(msgspec.structs.replace(wire.decode(reply), id=message.id))
        reply = self.functions.invoke(function, payload, timeout)
        self.calls.append((function, payload, reply))
        return reply


def _what(payload: bytes) -> bytes:
    """The queries of a message, which tell calls of one function apart."""
    return bytes(wire.decode(payload).queries)


def measure_costs() -> Measured:
    """Measure each role with the replies of the functions that it calls at hand."""
    base, queries = clustered(SAMPLE, 64, DIMENSIONS, centers=SAMPLE // 64)
    url = "memory://simulation/sixteen"
    vsearch.build(base, url, metric="cosine", shards=SHARDS)
    recorder = Recorder(url)
    single, batch = _ask(recorder, queries[:1]), _ask(recorder, queries)
    single_costs, batch_costs = _processors(recorder, single), _processors(recorder, batch)
    scan = max(
        0.0, (batch_costs.seconds - single_costs.seconds) / max(1e-9, batch_costs.queries - single_costs.queries)
    )
    process = max(0.0, single_costs.seconds - scan * single_costs.queries)
    recorder.replay = True
    plan = measure_planning(real_index(url, queries)).seconds
    calls = sum(NAMES.role(name) == "processor" for name, _, _ in batch)
    call = max(0.0, _seconds(recorder, "allocator", batch) - len(queries) * plan) / calls
    coordinator = max(0.0, _seconds(recorder, "coordinator", batch) - call)
    return Measured(Costs(coordinator, plan, call, process, scan), batch_costs.visited)


@dataclass(frozen=True)
class Processors:
    """Means per call: seconds, queries; and the share of the planned partitions that were visited."""

    seconds: float
    queries: float
    visited: float


def _processors(recorder: Recorder, calls: list[tuple[str, bytes, bytes]]) -> Processors:
    scans = [call for call in calls if NAMES.role(call[0]) == "processor"]
    seconds = _median(lambda: [_serve(recorder, name, payload) for name, payload, _ in scans])
    requests = [wire.decode(payload) for _, payload, _ in scans]
    planned = sum(int(int32s(request.visits).sum()) for request in requests)
    visited = sum(wire.decode(reply).counters.partitions_visited for _, _, reply in scans)
    return Processors(seconds / len(scans), sum(request.count for request in requests) / len(scans), visited / planned)


def _ask(recorder: Recorder, queries: Floats) -> list[tuple[str, bytes, bytes]]:
    """Answer queries by one allocator; returns all calls, the client's last."""
    recorder.calls.clear()
    request = SearchRequest(
        count=len(queries),
        dimensions=DIMENSIONS,
        queries=queries.tobytes(),
        options=Options(k=K),
        mode="tree",
        allocators=1,
    )
    recorder.invoke(NAMES.coordinator, wire.encode(request), None)
    return list(recorder.calls)


def _seconds(recorder: Recorder, role: str, calls: list[tuple[str, bytes, bytes]]) -> float:
    recorder.calls[:] = calls
    role_calls = [(name, payload) for name, payload, _ in calls if NAMES.role(name) == role]
    return _median(lambda: [_serve(recorder, *call) for call in role_calls])


def _serve(recorder: Recorder, function: str, payload: bytes) -> bytes:
    return serve(recorder.functions.worker(function), payload, Deadline())


def _median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS + 1):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return float(np.median(times[1:]))
