"""A discrete-event simulation of a stack: the tree of allocators, processors with warm and cold environments, stragglers, hedged calls.

Events are run by simpy. Functions and the tree are divided by the code that divides them in a stack (`vsearch.fanout.calls.tree`).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from vsearch.fanout.calls.hedging import Hedging
from vsearch.fanout.calls.retries import RetryPolicy
from vsearch.fanout.calls.tree import Subtree, children, children_of_root, split


@dataclass(frozen=True)
class Costs:
    """Processor seconds of the parts of a search.

    Attributes
    ----------
    coordinate : float
        The coordinator, per request.
    plan : float
        An allocator, per query.
    call : float
        A caller, per call: to encode the request, and to check and merge the reply.
    process : float
        A processor, per call.
    scan : float
        A processor, per query and call.
    invoke, refuse : float
        The client, the platform and the runtime, per invocation and per throttled one; 0 where others pay for these.
    """

    coordinate: float
    plan: float
    call: float
    process: float
    scan: float
    invoke: float = 0.0
    refuse: float = 0.0


@dataclass(frozen=True)
class Network:
    """How long an invocation takes besides the work, and how often it straggles.

    Attributes
    ----------
    hop, spread : float
        Median seconds of an invocation, and the deviation of its logarithm.
    straggling, pause : float
        Share of calls that straggle, and the mean of the exponential time that these take longer.
    cold : float
        Seconds of a cold start.
    """

    hop: float = 0.005
    spread: float = 0.35
    straggling: float = 0.005
    pause: float = 0.25
    cold: float = 0.6


@dataclass(frozen=True)
class Shape:
    """A request: queries, the tree that answers them, and the shards that a query wakes."""

    queries: int
    allocators: int
    branching: int
    shards: int
    calls_per_query: float
    batch: int = 256


@dataclass
class Run:
    """The outcome of a request: seconds until the answer, invocations, and seconds of functions by role."""

    seconds: float = 0.0
    invocations: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("coordinator", "allocator", "processor"), 0)
    )
    billed: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("coordinator", "allocator", "processor"), 0.0)
    )
    hedged: int = 0
    cold: int = 0
    throttled: int = 0
    worked: float = 0.0


class Simulation:
    """Runs requests one after another against a stack whose environments stay warm.

    Parameters
    ----------
    cores : int or None
        Cores that all functions share, as on one machine; None if each function has its own.
    warm : int
        Warm environments of each processor at the start.
    hedge : float or None
        Seconds after which a call of a processor is repeated.
    concurrency : int or None
        Environments that a processor may have; further calls are throttled, and repeated by the rules of callers.
    others : float
        Number of other processes that compute on the shared cores all the time; a fraction computes for this share of it. They keep a
        core for their slice, but are not given one that a function waits for: schedulers prefer processes that have slept.
    """

    def __init__(
        self,
        costs: Costs,
        network: Network,
        *,
        cores: int | None = None,
        warm: int = 1,
        hedge: float | None = None,
        concurrency: int | None = None,
        others: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.costs, self.network, self.hedge, self.warm = costs, network, hedge, warm
        self.hedging = Hedging(hedge or math.inf)
        self._random = np.random.default_rng(seed)
        self._cores = cores
        self._idle: dict[int, int] = {}
        self._concurrency, self._busy = concurrency, dict[int, int]()
        self._others = others

    def run(self, shape: Shape) -> Run:
        """Run one request."""
        run, environment = Run(), simpy.Environment()
        cores = None if self._cores is None else simpy.PriorityResource(environment, self._cores)
        request = _Request(self, environment, cores, shape, run)
        for number in range(math.ceil(self._others)):
            environment.process(request.other(min(1.0, self._others - number)))
        environment.run(environment.process(request.coordinator()))
        run.seconds = environment.now
        request.done = True
        environment.run()  # calls that nobody waits for any more are billed too
        return run

    def delay(self) -> float:
        """Draw the seconds of an invocation besides its work."""
        network = self.network
        seconds = network.hop * math.exp(network.spread * self._random.standard_normal())
        if self._random.random() < network.straggling:
            seconds += self._random.exponential(network.pause)
        return seconds

    def draw(self, count: int, among: int) -> list[int]:
        """Draw distinct shards."""
        return self._random.choice(among, size=min(count, among), replace=False).tolist()  # type: ignore[no-any-return]

    def enter(self, shard: int) -> bool:
        """Count a call of a processor; False if it is throttled."""
        busy = self._busy.get(shard, 0)
        if self._concurrency is not None and busy >= self._concurrency:
            return False
        self._busy[shard] = busy + 1
        return True

    def leave(self, shard: int) -> None:
        """Count a call less."""
        self._busy[shard] -= 1

    def wait(self, attempt: int) -> float:
        """Draw the seconds after which a throttled call is repeated."""
        return POLICY.wait(attempt, self._random.random)

    def take(self, shard: int) -> bool:
        """Take a warm environment of a processor; False if a cold one starts."""
        idle = self._idle.setdefault(shard, self.warm)
        self._idle[shard] = max(0, idle - 1)
        return idle > 0

    def give_back(self, shard: int) -> None:
        """Keep the environment of a processor warm."""
        self._idle[shard] += 1


POLICY = RetryPolicy()
SLICE = 0.002
"""Seconds for which a process keeps a shared core."""

Events = Generator[Any, Any, Any]


@dataclass
class _Request:
    simulation: Simulation
    environment: simpy.Environment
    cores: simpy.PriorityResource | None
    shape: Shape
    run: Run
    done: bool = False

    def other(self, share: float) -> Events:
        """Compute beside the request, for a share of the time."""
        while self.cores is not None and not self.done:
            with self.cores.request(priority=1) as core:
                yield core
                yield self.environment.timeout(SLICE)
            yield self.environment.timeout(SLICE * (1 - share) / share)

    def coordinator(self) -> Events:
        yield from self.invoke()
        begun = self.environment.now
        yield from self.work(self.simulation.costs.coordinate)
        shape = self.shape
        if shape.allocators:
            shares = np.cumsum([0, *split(shape.queries, shape.allocators)])
            started = [
                self.environment.process(self.allocator(child, shares))
                for child in children_of_root(shape.allocators, shape.branching)
            ]
            yield self.environment.all_of(started)
            yield from self.work(len(started) * self.simulation.costs.call)
        else:
            yield from self.answer(shape.queries)
        self.bill("coordinator", begun)

    def allocator(self, node: Subtree, shares: Any) -> Events:
        yield from self.invoke()
        begun = self.environment.now
        started = [
            self.environment.process(self.allocator(child, shares)) for child in children(node, self.shape.branching)
        ]
        yield from self.work(len(started) * self.simulation.costs.call)
        yield from self.answer(int(shares[node.first + 1] - shares[node.first]))
        if started:
            yield self.environment.all_of(started)
        self.bill("allocator", begun)

    def answer(self, queries: int) -> Events:
        """Plan the queries batch by batch, and wait for the processors; the next batch is planned meanwhile."""
        waiting: list[Any] = []
        for first in range(0, queries, self.shape.batch):
            count = min(self.shape.batch, queries - first)
            yield from self.work(count * self.simulation.costs.plan)
            calls = self.calls(count)
            yield from self.work(len(calls) * self.simulation.costs.call)
            if waiting:
                yield self.environment.all_of(waiting)
            waiting = [self.environment.process(self.call(shard, query_count)) for shard, query_count in calls]
        if waiting:
            yield self.environment.all_of(waiting)

    def calls(self, queries: int) -> list[tuple[int, int]]:
        """Draw the shards of a batch, and the number of queries that each gets."""
        per_query = self.shape.calls_per_query
        full_calls = math.floor(per_query)
        per_shard: dict[int, int] = {}
        for number in range(queries):
            count = full_calls + ((number + 1) * (per_query - full_calls) % 1 < per_query - full_calls)
            for shard in self.simulation.draw(max(1, count), self.shape.shards):
                per_shard[shard] = per_shard.get(shard, 0) + 1
        return sorted(per_shard.items())

    def call(self, shard: int, queries: int) -> Events:
        """Call a processor, and again after a while; the first reply counts."""
        first = self.environment.process(self.processor(shard, queries))
        self.simulation.hedging.count_call()
        if self.simulation.hedge is None:
            yield first
            return
        yield first | self.environment.timeout(self.simulation.hedge)
        if not first.triggered and self.simulation.hedging.take():
            self.run.hedged += 1
            yield first | self.environment.process(self.processor(shard, queries))
        elif not first.triggered:
            yield first

    def processor(self, shard: int, queries: int) -> Events:
        attempt = 1
        while not self.simulation.enter(shard):
            self.run.throttled += 1
            yield from self.work(self.simulation.costs.refuse)
            yield self.environment.timeout(self.simulation.wait(attempt))
            attempt += 1
        warm = self.simulation.take(shard)
        self.run.cold += not warm
        yield from self.invoke()
        begun = self.environment.now
        if not warm:
            yield self.environment.timeout(self.simulation.network.cold)
        costs = self.simulation.costs
        yield from self.work(costs.process + queries * costs.scan)
        self.simulation.give_back(shard)
        self.simulation.leave(shard)
        self.bill("processor", begun)

    def invoke(self) -> Events:
        """Wait until a function has its request."""
        yield self.environment.timeout(self.simulation.delay())
        yield from self.work(self.simulation.costs.invoke)

    def work(self, seconds: float) -> Events:
        """Use a processor for so long."""
        self.run.worked += seconds
        if self.cores is None:
            yield self.environment.timeout(seconds)
            return
        while seconds > 0:
            with self.cores.request(priority=0) as core:
                yield core
                part = min(SLICE, seconds)
                yield self.environment.timeout(part)
                seconds -= part

    def bill(self, role: str, begun: float) -> None:
        self.run.invocations[role] += 1
        self.run.billed[role] += self.environment.now - begun
