"""``python -m bench.serverless FOLDER``: times and costs of a stack of functions on this machine."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from bench import report
from bench.data import Floats
from bench.serverless_cost import Cost, Measured, measure, price
from bench.serverless_data import STAND_INS, StandIn, make
from bench.serverless_latency import (
    FanOut,
    Overhead,
    Times,
    choose_queries,
    cold_processors,
    open_here,
    singles,
    warm_fan_out,
    warm_overhead,
)
from bench.serverless_stack import deployed, object_store, package

RESULTS = Path(__file__).with_name("RESULTS.md")
PLOTS = Path(__file__).with_name("plots")
MEMORY = 1769
LARGE = STAND_INS[-1]
RECALL = 0.97
FAN_QUERIES = 4


def main() -> None:
    """Run the requested parts; each replaces its own section of the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with base.npy, queries.npy and attributes.parquet")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vsearch-bench" / "serverless")
    parser.add_argument("--parts", nargs="+", default=["times", "cost"], choices=["times", "cost"])
    parser.add_argument("--repetitions", type=int, default=12)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    zipped = package(args.work)
    with object_store(args.work / "s3") as endpoint:
        if "times" in args.parts:
            write_times(args.folder, args.work, zipped, endpoint, args.repetitions)
        if "cost" in args.parts:
            write_costs(args.work, zipped, endpoint)


def build(folder: Path, work: Path, shards: int, metric: str) -> Path:
    """The index of a dataset, built once and tuned to the target recall."""
    import vsearch

    index = work / "index"
    if not index.exists():
        table = parquet.read_table(folder / "attributes.parquet")
        columns = [name for name in table.column_names if name != "id"]
        base = np.load(folder / "base.npy", mmap_mode="r")
        vsearch.build(base, str(index), table.select(columns), metric=metric, bits=1.0, rerank="int8", shards=shards)
    opened = vsearch.open(str(index))
    if metric == "l2" and (opened.info()["settings"]["recall"] or 0) < RECALL:
        tuning = opened.tune(recall=RECALL, k=10)
        if not tuning.reached:  # costs and times would be those of other searches
            raise RuntimeError(f"{index}: tuning for recall {RECALL} reached only {tuning.recall:.4f}")
    return index


def stand_in_index(stand_in: StandIn, work: Path) -> tuple[Path, Path]:
    """Folder and index of a stand-in, created once."""
    folder = work / stand_in.folder
    make(folder, stand_in.measured, stand_in.dimensions)
    return folder, build(folder, folder, stand_in.shards, "l2")


def write_times(folder: Path, work: Path, zipped: Path, endpoint: str, repetitions: int) -> None:
    """Cold and warm times on the dataset in 8 shards, and the fan-out on the large stand-in in 16."""
    queries: Floats = np.load(folder / "queries.npy").astype(np.float32)
    index = build(folder, work / folder.name, 8, "cosine")
    with deployed(work, index, zipped, endpoint, MEMORY) as stack:
        snapshot = open_here(stack)
        cold, cold_cpu = cold_processors(stack, snapshot, queries[0], repetitions)
        overhead = warm_overhead(stack, snapshot, queries[:40], 200)
        cold_one, warm_one = singles(stack, queries[:300], cold=repetitions, mode="flat")
        alone_cold, alone_warm = singles(stack, queries[:300], cold=repetitions, mode="alone")
    large_folder, large_index = stand_in_index(LARGE, work)
    large_queries: Floats = np.load(large_folder / "queries.npy")
    with deployed(work, large_index, zipped, endpoint, MEMORY) as stack:
        snapshot = open_here(stack)
        chosen = choose_queries(snapshot, large_queries[:200], LARGE.shards, FAN_QUERIES)
        fan = warm_fan_out(stack, chosen, 60, allocators=4, branching=4)
        large_cold, large_warm = singles(stack, large_queries[:300], cold=max(3, repetitions // 4), mode="flat")
    latencies = {
        f"{folder.name}, 8 shards, flat": (cold_one, warm_one),
        f"{folder.name}, coordinator alone": (alone_cold, alone_warm),
        f"{LARGE.measured:,} x {LARGE.dimensions} synthetic, 16 shards, flat": (large_cold, large_warm),
    }
    recall = float(snapshot.settings.recall or 0.0)
    text = times_text(cold, cold_cpu, overhead, fan, latencies, recall)
    report.replace(RESULTS, "serverless times", text)


def times_text(
    cold: Times,
    cold_cpu: Times,
    overhead: Overhead,
    fan: FanOut,
    latencies: dict[str, tuple[Times, Times]],
    recall: float,
) -> str:
    """The section on times; `recall` is that of the large stand-in's index."""
    hop = overhead.over_http.best
    path = fan.spent["coordinator"] + fan.spent["allocator"] / 4 + fan.spent["processor"] / max(1.0, fan.calls)
    paper = 1e3 * path + 3 * hop
    called = f"{fan.calls:.0f} calls of {fan.woken} different processors"
    rows = [
        ["cold processor, process start to answer", "600", *_timed(cold), cold_cpu.at(50)],
        ["warm processor: answer less kernel", "4", *_timed(overhead.over_http), None],
        ["the same, inside the function only", "-", *_timed(overhead.over_inside), None],
        ["kernel, of one query in one shard", "-", *_timed(overhead.kernel), None],
        [
            f"warm fan-out of {FAN_QUERIES} queries: {fan.allocators:.0f} allocators, {called}",
            "100",
            *_timed(fan.times),
            1e3 * sum(fan.spent.values()),
        ],
        ["the same on paper, unlimited cores", "-", None, paper, None, None],
    ]
    table = report.table(["ms", "target", "repetitions", "best", "median", "processor time"], rows)
    single = report.table(
        ["single queries, ms", "repetitions", "best", "p50", "p95", "p99"],
        [
            [f"{name}, {kind}", str(len(times.seconds)), times.best, times.at(50), times.at(95), times.at(99)]
            for name, kinds in latencies.items()
            for kind, times in zip(("cold", "warm"), kinds, strict=True)
        ],
    )
    facts = [
        (
            f"- machine: {report.machine()}; {len(os.sched_getaffinity(0))} cores for the S3 server, the FaaS, all functions and "
            f"the client together; load average of the last 15 minutes at the end: {os.getloadavg()[2]:.1f}, so the best of the "
            "repetitions and the processor time say more than the medians"
        ),
        f"- local FaaS: one process of awslambdaric per environment, {MEMORY} MB each; SeaweedFS for S3; no latency added",
        (
            "- on paper: the coordinator's, one allocator's and one processor's share of the processor time, one after the other, "
            f"and three invocations of {hop:.1f} ms (the best time of a warm processor less its kernel)"
        ),
        f"- recall@10 of the {LARGE.measured:,} x {LARGE.dimensions} index as tuned, against exhaustive search: {recall:.4f}",
        f"- date: {report.today()}",
    ]
    return "\n\n".join(["## Serverless: times", "\n".join(facts), table, single])


def _timed(times: Times) -> list[Any]:
    """Repetitions, best and median."""
    return [str(len(times.seconds)), times.best, times.at(50)]


def write_costs(work: Path, zipped: Path, endpoint: str) -> None:
    """Dollars per million queries for every stand-in."""
    lines: list[tuple[StandIn, Measured, Cost, Cost]] = []
    measured: dict[str, Measured] = {}
    for stand_in in STAND_INS:
        if stand_in.folder not in measured:
            folder, index = stand_in_index(stand_in, work)
            queries: Floats = np.load(folder / "queries.npy")
            with deployed(work, index, zipped, endpoint, MEMORY) as stack:
                measured[stand_in.folder] = measure(stack, folder, queries, (1, 2, 3), 120)
        values = measured[stand_in.folder]
        lines.append((stand_in, values, price(stand_in, values, MEMORY), price(stand_in, values, MEMORY, "arm64")))
        report.replace(RESULTS, "serverless cost", costs_text(lines))
    plot(lines)


def costs_text(lines: list[tuple[StandIn, Measured, Cost, Cost]]) -> str:
    """The section on costs."""
    costs = report.table(
        [
            "synthetic stand-in of",
            "rows",
            "shards",
            "recall@10 at the measured rows",
            "SQUASH, published",
            "target",
            "batches of 1,000",
            "singly",
            "batches, arm64 price",
        ],
        [
            [
                f"{s.name}, {s.dimensions}-d",
                f"{s.rows:,}",
                cost.shards,
                report.share(m.recall),
                f"${s.published:.0f}",
                f"${s.published / 2:g}",
                f"${cost.batches:.3f}",
                f"${cost.singly:.2f}",
                f"${arm.batches:.3f}",
            ]
            for s, m, cost, arm in lines
        ],
    )
    parts = report.table(
        [
            "measured",
            "rows",
            "shards",
            "matching rows",
            "batch: processor ms/query",
            "coordinator",
            "single: processors ms",
            "coordinator",
            "woken",
            "billed here, batches",
            "singly",
        ],
        [
            [
                f"{s.measured:,} x {s.dimensions}",
                f"{s.measured:,}",
                s.shards,
                f"{m.selectivity / s.measured:.1%}",
                1e3 * m.batch["processor"],
                1e3 * m.batch["coordinator"],
                1e3 * m.single["processor"],
                1e3 * m.single["coordinator"],
                m.woken,
                f"${m.batch_bill:.2f}",
                f"${m.single_bill:.2f}",
            ]
            for s, m, _, _ in {s.folder: (s, m, a, b) for s, m, a, b in lines}.values()
        ],
    )
    facts = [
        f"- machine: {report.machine()}",
        (
            "- data: made up, in the shapes of the public sets and not the sets themselves: clustered Gaussians whose variances fall "
            "as 1 / j; four uniform attributes, a range on each, 8 % of the rows pass them all. Every batch of 1,000 and "
            "every single query has ranges of its own, so no mask is remembered"
        ),
        "- recall: at the measured rows, not the published ones: filtered answers against exact neighbors among the matching raw vectors, 200 queries for each of 3 predicates",
        (
            f"- time: processor time of the functions' processes on the local FaaS, warm, 1 bit codes with int8 rerank. {MEMORY} MB "
            "are one virtual processor on AWS, which is taken to be as fast as one of this machine's"
        ),
        (
            "- priced: what is measured, scaled linearly from the measured rows to the published ones (a search's work grows more "
            "slowly than that), in as many shards as were measured, or one to a million rows where those are more; every query wakes every shard; the coordinator also pays for waiting for "
            "the processors and 5 ms for each round of invocations; durations rounded up to the millisecond; us-east-1, 2026-09, no free "
            "tier, no cold starts, storage not counted"
        ),
        "- a cold processor costs its processor time once (about 0.2 s, see the times): less than $0.00001",
        "- billed here: dollars per million at the measured size by the clock of this machine, which others were using",
        f"- SQUASH: its cheapest published points, each batch of queries over 10 to 20 allocators; date: {report.today()}",
    ]
    return "\n\n".join(
        [
            "## Serverless: cost of a million filtered queries",
            "\n".join(facts),
            costs,
            parts,
            "![cost](plots/serverless-cost.png)",
        ]
    )


def plot(lines: list[tuple[StandIn, Measured, Cost, Cost]]) -> None:
    """Draw bars of dollars next to the published ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.4), constrained_layout=True)
    places = np.arange(len(lines))
    bars = {
        "SQUASH, published": [s.published for s, _, _, _ in lines],
        "vsearch, singly": [cost.singly for _, _, cost, _ in lines],
        "vsearch, batches of 1,000": [cost.batches for _, _, cost, _ in lines],
    }
    for i, ((name, values), color) in enumerate(zip(bars.items(), ("0.65", "C0", "black"), strict=True)):
        drawn = axes.bar(places + 0.27 * (i - 1), values, 0.25, label=name, color=color)
        axes.bar_label(drawn, [f"${value:.2g}" for value in values], fontsize=8, padding=2)
    axes.set(
        yscale="log",
        ylabel="dollars per million queries",
        title="Filtered queries, 8 % of the rows match, k = 10: SQUASH as published; vsearch from processor time\n"
        "measured on synthetic stand-ins, scaled linearly to the published rows and priced",
    )
    axes.set_xticks(
        places, [f"{s.name}\n{s.rows:,} x {s.dimensions}\n({s.measured:,} measured)" for s, _, _, _ in lines]
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend()
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / "serverless-cost.png", dpi=110)


if __name__ == "__main__":
    main()
