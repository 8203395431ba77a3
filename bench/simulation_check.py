"""The simulation compared with a stack of 16 processors and 20 allocators on the local FaaS, where all functions share this machine's cores.

Where a function waits for a core, the simulated one does: what an invocation costs besides the function's own work (the client, the
platform and the runtime) is processor time as well. Other programs that compute get what is left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

import vsearch
from bench import report
from bench.data import Floats
from bench.serverless_stack import NAMES, Stack, deployed, object_store, package
from bench.simulation_costs import SHARDS, measure_costs
from bench.simulation_events import Costs, Network, Shape, Simulation
from bench.simulation_planning import DIMENSIONS, SAMPLE, K, MadeIndex, measure_planning, real_index
from bench.synthetic import clustered
from vsearch.errors import VsearchError
from vsearch.fanout.calls.retries import Deadline
from vsearch.fanout.platforms.network import LambdaInvoker
from vsearch.fanout.roles.allocator import ShardTask, plan_batch
from vsearch.fanout.wire import codec as wire
from vsearch.fanout.wire.messages import AllocateRequest, Options
from vsearch.storage import open_store

ALLOCATORS, BRANCHING = 20, 4
QUERIES = (20, 40, 80)
REPETITIONS = 12
CONCURRENCY = 4
"""Environments of a processor: all of them together fit into the memory of this machine."""
SINGLE = 400
"""Single invocations."""
SAMPLES = 25
"""Looks at the other processes."""
SIMULATED = 25
"""Simulated requests."""


@dataclass(frozen=True)
class Measurement:
    """Seconds of a request (median), processor seconds, calls of processors, and other processes that computed (means)."""

    seconds: float
    work: float
    calls: float
    others: float


def check(work: Path, say: Callable[[str], None]) -> str:
    """Measure and simulate the same requests; returns the section of the results."""
    work.mkdir(parents=True, exist_ok=True)
    base, queries = clustered(SAMPLE, max(QUERIES), DIMENSIONS, centers=SAMPLE // 64)
    index = work / "index"
    if not index.exists():
        vsearch.build(base, str(index), metric="cosine", shards=SHARDS)
    say("costs of the parts")
    made = real_index(open_store(str(index)).url, queries[:64])
    measured, planning = measure_costs(), measure_planning(made)
    costs = replace(measured.costs, plan=planning.seconds)
    lines: list[list[object]] = []
    with (
        object_store(work / "s3") as endpoint,
        deployed(work, index, package(work), endpoint, concurrency=CONCURRENCY) as stack,
    ):
        for count in (1, 2, 5, 10, *QUERIES, *QUERIES):  # environments start a few at a time
            say(f"a first request of {count} queries")
            try:
                ask(stack, queries[:count])
            except VsearchError as error:
                say(f"not complete yet: {error}"[:200])
        say("single invocations")
        hop, overhead = measure_hop(stack, tasks_of(made, queries[:40]), costs)
        costs = replace(costs, invoke=overhead, refuse=overhead / 2)
        network = Network(hop=max(1e-4, hop - overhead), spread=0.2, straggling=0.0, pause=0.0, cold=0.0)
        for count in QUERIES:
            say(f"requests of {count} queries")
            real = measure(stack, queries[:count])
            per_query = len(tasks_of(made, queries[:count])) / count
            seconds, calls, throttled, work_seconds = simulate(costs, network, count, per_query, real.others)
            lines.append(
                [
                    count, 1e3 * real.seconds, 1e3 * seconds, seconds / real.seconds, 1e3 * real.work, 1e3 * work_seconds, work_seconds / real.work,
                    real.calls, calls, throttled, real.others,
                ]
            )  # fmt: skip
    facts = [
        f"- machine: {report.machine()}; load average at the end {os.getloadavg()[0]:.1f}",
        f"- data: {SAMPLE:,} x {DIMENSIONS} synthetic, {SHARDS} shards, a tree of {ALLOCATORS} allocators, branching {BRANCHING}, at most {CONCURRENCY} environments of a processor, everything warm",
        f"- an invocation besides the function's work, measured: {1e3 * hop:.1f} ms, of which {1e3 * overhead:.1f} ms are processor time of the client, the platform and the runtime; a throttled call is taken to cost half of that",
        f"- others: other threads that computed on the {len(os.sched_getaffinity(0))} cores shortly before, on average, weighted by their priority; as many compute on the simulated cores whenever no function waits for one, since schedulers prefer processes that have slept",
        f"- repetitions: medians of {REPETITIONS} requests, and of {SIMULATED} simulated ones",
        f"- date: {report.today()}",
    ]
    header = [
        "queries", "measured, ms", "simulated, ms", "ratio", "processor time, ms", "simulated", "ratio", "calls of processors", "simulated",
        "throttled, simulated", "others",
    ]  # fmt: skip
    return "\n\n".join(["## Simulation: compared with the local FaaS", "\n".join(facts), report.table(header, lines)])


def simulate(
    costs: Costs, network: Network, count: int, calls_per_query: float, others: float
) -> tuple[float, float, float, float]:
    """Seconds (median), calls of processors, throttled calls and processor seconds (means) of simulated requests."""
    cores = len(os.sched_getaffinity(0))
    simulation = Simulation(costs, network, cores=cores, warm=64, concurrency=CONCURRENCY, others=others, seed=count)
    shape = Shape(count, min(ALLOCATORS, count), BRANCHING, SHARDS, calls_per_query)
    runs = [simulation.run(shape) for _ in range(SIMULATED)]
    return (
        float(np.median([run.seconds for run in runs])),
        float(np.mean([run.invocations["processor"] for run in runs])),
        float(np.mean([run.throttled for run in runs])),
        float(np.mean([run.worked for run in runs])),
    )


def ask(stack: Stack, queries: Floats) -> vsearch.RemoteHits:
    """Search by a tree."""
    return stack.index.search(queries, K, mode="tree", allocators=ALLOCATORS, branching=BRANCHING)


def measure(stack: Stack, queries: Floats) -> Measurement:
    """Measure requests, and in turns the cores that are left for them."""
    seconds, calls, others = [], [], []
    work = 0.0
    for number in range(REPETITIONS):
        if number % 3 == 0:
            others.append(runnable_others())
        before = spent(stack)
        begun = time.perf_counter()
        hits = ask(stack, queries)
        seconds.append(time.perf_counter() - begun)
        work += spent(stack) - before
        assert hits.bill is not None
        calls.append(hits.bill.usages.processor.invocations)
    return Measurement(float(np.median(seconds)), work / REPETITIONS, float(np.mean(calls)), float(np.mean(others)))


def spent(stack: Stack) -> float:
    """Processor seconds of this process, with client and platform, and of the functions."""
    return time.process_time() + sum(stack.processor_seconds().values())


def runnable_others() -> float:
    """Other threads that compute now, on average; those of lower priority count for as much less as the scheduler gives them."""
    weights = []
    for _ in range(SAMPLES):
        weight = 0.0
        for path in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it ended
                continue
            if fields[0] == "R" and path.parts[2] != str(os.getpid()):
                weight += 1.25 ** -int(fields[16])
        weights.append(weight)
        time.sleep(0.02)
    return float(np.mean(weights))


def measure_hop(stack: Stack, tasks: list[ShardTask], costs: Costs) -> tuple[float, float]:
    """Seconds of an invocation besides the function's own time (median), and processor seconds besides its work (mean).

    Functions are called in turns, so that none finds its data in the caches of a core, as in a search.
    """
    calls = [(NAMES.processor(task.request.shard), wire.encode(task.request)) for task in tasks]
    invoker = LambdaInvoker(endpoint=stack.platform.variables["AWS_ENDPOINT_URL_LAMBDA"])
    waits = []
    for name, payload in calls:
        invoker.invoke(name, payload, None)
    before = spent(stack)
    for number in range(SINGLE):
        begun = time.perf_counter()
        invoker.invoke(*calls[number % len(calls)], None)
        waits.append(time.perf_counter() - begun)
    own = costs.process + costs.scan
    return float(np.median(waits)) - own, max(0.0, (spent(stack) - before) / SINGLE - own)


def tasks_of(made: MadeIndex, queries: Floats) -> list[ShardTask]:
    """The requests to processors of queries that are planned one by one."""
    request = AllocateRequest(
        snapshot=made.snapshot.manifest.snapshot, count=1, dimensions=DIMENSIONS, queries=b"", options=Options(k=K),
        allocators=1, branching=1, level=1,
    )  # fmt: skip
    planned = [msgspec.structs.replace(request, queries=query.tobytes()) for query in queries]
    return [task for one in planned for task in plan_batch(made.snapshot, one, None, Deadline())]
