"""``python -m bench.simulation``: searches of 10^8 to 10^10 rows, simulated from measured parts, and what builds of them would take.

The planner runs for real, on made statistics. Everything else is a discrete-event simulation with the processor seconds of the real
roles; what is assumed is printed. ``--check`` compares the simulation with a stack of 16 processors and 20 allocators on the local FaaS.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import vsearch
from bench import report
from bench.simulation_costs import Measured, measure_costs
from bench.simulation_events import Costs, Network, Run, Shape, Simulation
from bench.simulation_planning import DIMENSIONS, Planning, made_index, measure_planning, sample_index
from bench.synthetic import clustered
from vsearch.building.partitioning import assign
from vsearch.fanout.platforms.aws_lambda import PRICES

RESULTS = Path(__file__).with_name("RESULTS.md")
MEMORY = 1769
ROW_SECONDS = 2.5e-9
"""Seconds of a scan per row, as measured on wordnet (RESULTS.md)."""
ROW_BYTES = 12 + 96 + 8
"""Bytes per row: 1-bit codes, int8 rerank codes, factors and ids."""
REQUESTS = 400
WARMING = 10
"""Requests before those that count."""
BATCHES, BATCH_WARMING = 6, 3
"""Least number of requests of many queries, and those before: one makes up to 10^5 calls, whose times spread little together."""
LARGE_SHARDS, LARGE_BATCHES = 1_000, 3
"""Shards from which requests of many queries are fewer, since each takes 5 to 15 seconds to simulate."""


@dataclass(frozen=True)
class Scale:
    """An index that nobody has built here."""

    rows: int
    partitions: int
    shards: int


SCALES = (Scale(10**8, 100_000, 100), Scale(10**9, 1_000_000, 1_000), Scale(10**10, 1_000_000, 4_000))


@dataclass(frozen=True)
class Outcome:
    """Latencies in seconds and dollars per million queries of many simulated requests."""

    queries: int
    hedge: float | None
    warm: int
    p50: float
    p99: float
    dollars: float
    hedged: float


def say(what: str) -> None:
    """Print what is done next, with the processor time so far."""
    print(f"{time.process_time():7.0f} s  {what}", file=sys.stderr, flush=True)


def costs_of(measured: Measured, planning: Planning) -> Costs:
    """The costs of an index of this size: its planning, and the rows of the partitions that a call visits."""
    rows = planning.rows / planning.partitions
    scanned = planning.visits / planning.calls * measured.visited * rows * ROW_SECONDS
    return replace(measured.costs, plan=planning.seconds, scan=measured.costs.scan + scanned)


def simulate(costs: Costs, shape: Shape, network: Network, *, hedge: float | None, warm: int, requests: int) -> Outcome:
    """Run requests one after another; cold starts are those of requests that need more environments than any before."""
    simulation = Simulation(costs, network, hedge=hedge, warm=warm)
    for _ in range(WARMING if shape.queries == 1 else BATCH_WARMING):
        simulation.run(shape)
    runs = [simulation.run(shape) for _ in range(requests)]
    seconds = [run.seconds for run in runs]
    dollars = sum(map(price, runs)) / (requests * shape.queries) * 1e6
    calls = sum(run.invocations["processor"] for run in runs)
    hedged = sum(run.hedged for run in runs) / calls
    return Outcome(
        shape.queries,
        hedge,
        warm,
        float(np.percentile(seconds, 50)),
        float(np.percentile(seconds, 99)),
        dollars,
        hedged,
    )


def price(run: Run) -> float:
    """Dollars of a simulated request, at list prices."""
    prices = PRICES["arm64"]
    seconds = sum(run.billed.values())
    return sum(run.invocations.values()) * prices.invocation + seconds * MEMORY / 1024 * prices.gigabyte_second


def main() -> None:
    """Measure, simulate, and replace the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=10**10, help="skip larger indexes")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--check", action="store_true", help="only compare with the local FaaS")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vsearch-bench" / "simulation")
    args = parser.parse_args()
    if args.check:
        from bench.simulation_check import check

        text = check(args.work, say)
        report.replace(RESULTS, "simulation check", text)
        print(text)
        return
    say("costs of the parts")
    network, measured, sample, parts, text = Network(), measure_costs(), sample_index(), measure_build(), ""
    plannings: list[Planning] = []
    lines: list[list[object]] = []
    for scale in SCALES:
        if scale.rows > args.largest:
            continue
        say(f"planning of {scale.rows:.0e} rows in {scale.partitions} partitions")
        planning = measure_planning(made_index(sample, scale.rows, scale.partitions, scale.shards))
        plannings.append(planning)
        costs = costs_of(measured, planning)
        for queries, allocators in ((1, 0), (1_000, 84)):
            shape = Shape(queries, allocators, 4, scale.shards, planning.calls)
            for hedge, warm in ((None, 1), (0.1, 1), (0.1, 2)):
                requests = args.requests if queries == 1 else max(BATCHES, args.requests // 20)
                if queries > 1 and scale.shards >= LARGE_SHARDS:
                    if warm > 1:
                        continue  # a batch takes seconds, so few of its calls are repeated
                    requests = LARGE_BATCHES
                say(f"{requests} requests of {queries} queries, hedged after {hedge} s, {warm} warm")
                result = simulate(costs, shape, network, hedge=hedge, warm=warm, requests=requests)
                how = "no" if hedge is None else f"after {1e3 * hedge:.0f} ms"
                lines.append(
                    [
                        f"{scale.rows:.0e}",
                        queries,
                        how,
                        warm,
                        1e3 * result.p50,
                        1e3 * result.p99,
                        result.dollars,
                        result.hedged,
                    ]
                )
        text = section(network, measured, plannings, lines, parts)
        report.replace(RESULTS, "simulation", text)  # a run that is cut off leaves the smaller indexes
    print(text)


def section(
    network: Network,
    measured: Measured,
    plannings: list[Planning],
    lines: list[list[object]],
    parts: tuple[float, float],
) -> str:
    """The section of the results for the indexes so far; `parts` are those of `measure_build`."""
    header = [
        "rows", "queries per request", "hedged", "warm environments", "p50, ms", "p99, ms", "$ per million queries", "share hedged",
    ]  # fmt: skip
    return "\n\n".join(
        [
            "## Simulation: 10^8 to 10^10 rows",
            "\n".join(_assumptions(network, measured)),
            "Planning, measured:",
            planning_table(plannings),
            "Searches, simulated:",
            report.table(header, lines),
            "Builds, from measured parts:",
            build_table(plannings, parts),
        ]
    )


def planning_table(plannings: list[Planning]) -> str:
    """The planner on made statistics."""
    return report.table(
        ["rows", "partitions", "shards", "planning, ms a query", "without regions", "regions scored", "tables, MB", "shards called", "partitions sent", "bytes sent", "MB per shard"],
        [
            [
                f"{p.rows:.0e}", p.partitions, p.shards, 1e3 * p.seconds, 1e3 * p.flat_seconds, f"{p.near_regions} of {p.regions}",
                p.resident / 1e6, p.calls, p.visits, p.request_bytes,
                p.rows / p.shards * ROW_BYTES / 1e6,
            ]
            for p in plannings
        ],
    )  # fmt: skip


def build_table(plannings: list[Planning], parts: tuple[float, float], workers: tuple[int, ...] = (16, 128)) -> str:
    """Hours and dollars of builds: rows are compared with all centroids, and encoded."""
    assigned, encoded = parts
    lines = []
    for p in plannings:
        seconds = p.rows * (assigned * p.partitions + encoded)
        for count in workers:
            hours = seconds / count / 3600
            lines.append([f"{p.rows:.0e}", p.partitions, count, hours, seconds / 3600 * CORE_HOUR])
    return report.table(["rows", "partitions", "workers", "hours", "dollars"], lines)


CORE_HOUR = 0.0385
"""Dollars per hour of a core with 2 GB: c7g.large on demand, us-east-1, halved (list price, 2026)."""


def measure_build(sizes: tuple[int, int] = (40_000, 120_000), partitions: int = 8_192) -> tuple[float, float]:
    """Processor seconds per row and centroid of an assignment, and per row of the rest of a build without training and tuning."""
    base, _ = clustered(sizes[1], 1, DIMENSIONS, centers=4096)
    begun = time.process_time()
    assign(base[:8_192], base[-partitions:])
    assigned = (time.process_time() - begun) / (8_192 * partitions)
    totals = []
    for rows in sizes:  # training and tuning take as long for both
        begun = time.process_time()
        vsearch.build(base[:rows], "memory://simulation/build", partitions=256, overwrite=True)
        totals.append(time.process_time() - begun)
    slope = (totals[1] - totals[0]) / (sizes[1] - sizes[0])
    return assigned, max(0.0, slope - 256 * assigned)


def _assumptions(network: Network, measured: Measured) -> list[str]:
    costs = measured.costs
    return [
        f"- machine of the measured parts: {report.machine()}; load average {os.getloadavg()[0]:.1f}; one thread",
        f"- data: made statistics, {DIMENSIONS} dimensions, clustered like `bench.million`; radii, row counts and settings of a tuned index of 40,000 rows",
        (
            f"- measured, in microseconds of processor time: coordinator {1e6 * costs.coordinate:.0f} a request, a call {1e6 * costs.call:.0f} for the "
            f"caller and {1e6 * costs.process:.0f} for the processor, a query in a processor {1e6 * costs.scan:.0f} and {1e9 * ROW_SECONDS:.1f} ns a row; "
            f"{100 * measured.visited:.0f} % of the planned partitions are visited"
        ),
        (
            f"- assumed: an invocation takes {1e3 * network.hop:.0f} ms in the median (lognormal, sigma {network.spread}); {100 * network.straggling:.1f} % of "
            f"invocations straggle by an exponential time of mean {1e3 * network.pause:.0f} ms; a cold start takes {1e3 * network.cold:.0f} ms; one vCPU per function, "
            f"{MEMORY} MB, arm64 list prices of AWS Lambda in us-east-1; storage requests and transfers not included"
        ),
        f"- date: {report.today()}",
    ]


if __name__ == "__main__":
    main()
