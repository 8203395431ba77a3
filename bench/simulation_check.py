"""The simulation compared with a stack of 16 processors and 20 allocators on the local FaaS, where all functions share this machine's cores."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import vsearch
from bench import report
from bench.data import Floats
from bench.serverless_stack import Stack, deployed, object_store, package
from bench.simulation_costs import SHARDS, measure_costs
from bench.simulation_events import Network, Shape, Simulation
from bench.simulation_planning import DIMENSIONS, SAMPLE, K, measure_planning, real_index
from bench.synthetic import clustered
from vsearch.storage import open_store

ALLOCATORS, BRANCHING = 20, 4
QUERIES = (20, 80, 320)
REPETITIONS = 25


def check(work: Path) -> str:
    """Measure and simulate the same requests; returns the section of the results."""
    work.mkdir(parents=True, exist_ok=True)
    base, queries = clustered(SAMPLE, max(QUERIES), DIMENSIONS, centers=SAMPLE // 64)
    index = work / "index"
    if not index.exists():
        vsearch.build(base, str(index), metric="cosine", shards=SHARDS)
    measured, planning = measure_costs(), measure_planning(real_index(open_store(str(index)).url, queries[:64]))
    costs = replace(measured.costs, plan=planning.seconds)
    cores = len(os.sched_getaffinity(0))
    lines: list[list[object]] = []
    with object_store(work / "s3") as endpoint, deployed(work, index, package(work), endpoint) as stack:
        for count in QUERIES:
            stack.index.search(queries[:count], K, mode="tree", allocators=ALLOCATORS, branching=BRANCHING)
        hop = measure_hop(stack, queries[0])
        network = Network(hop=hop, spread=0.2, straggling=0.0, pause=0.0, cold=0.0)
        for count in QUERIES:
            real = measure(stack, queries[:count])
            shape = Shape(count, min(ALLOCATORS, count), BRANCHING, SHARDS, planning.calls)
            simulation = Simulation(costs, network, cores=cores, warm=64, seed=count)
            runs = [simulation.run(shape) for _ in range(REPETITIONS)]
            simulated = float(np.median([run.seconds for run in runs]))
            calls = float(np.mean([run.invocations["processor"] for run in runs]))
            lines.append([count, 1e3 * real[0], 1e3 * simulated, simulated / real[0], real[1], calls])
    facts = [
        f"- machine: {report.machine()}; load average at the end {os.getloadavg()[0]:.1f}",
        f"- data: {SAMPLE:,} x {DIMENSIONS} synthetic, {SHARDS} shards, a tree of {ALLOCATORS} allocators, branching {BRANCHING}, everything warm",
        f"- an invocation besides the function, measured: {1e3 * hop:.1f} ms; functions share {cores} cores, here and in the simulation",
        f"- date: {report.today()}",
    ]
    header = ["queries", "measured, ms", "simulated, ms", "ratio", "calls of processors, measured", "simulated"]
    return "\n\n".join(["## Simulation: compared with the local FaaS", "\n".join(facts), report.table(header, lines)])


def measure(stack: Stack, queries: Floats) -> tuple[float, float]:
    """Median seconds of a request, and the calls of processors that it makes."""
    seconds, calls = [], []
    for _ in range(REPETITIONS):
        begun = time.perf_counter()
        hits = stack.index.search(queries, K, mode="tree", allocators=ALLOCATORS, branching=BRANCHING)
        seconds.append(time.perf_counter() - begun)
        assert hits.bill is not None
        calls.append(hits.bill.usages.processor.invocations)
    return float(np.median(seconds)), float(np.mean(calls))


def measure_hop(stack: Stack, query: Floats) -> float:
    """Seconds that a caller waits for an invocation besides the function's own time, in the median."""
    waits = []
    for _ in range(60):
        begun = time.perf_counter()
        hits = stack.index.search(query, K, mode="alone")
        waited = time.perf_counter() - begun
        assert hits.bill is not None
        waits.append(waited - hits.bill.usages.coordinator.seconds)
    return float(np.median(waits[10:]))
