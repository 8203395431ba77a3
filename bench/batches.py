"""``python -m bench.batches FOLDER``: batches of queries beside single queries, and beside other engines at the same recall.

Builds the rows with and without copies, or uses the indexes that are in ``--work`` already. Settings are tuned to each recall by half
of the queries, and those of other engines chosen by them; all is measured on the other half, in turns. The second table times the
native calls of single queries, stage by stage.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench import report
from bench.contest import Entry, Field, assemble
from bench.data import Data, Floats, Rows, load, recall, sample
from bench.measure import interleave, threads, time_batch
from bench.spilling import LEVELS, contestants, opened
from vsearch.kernels.query.api import finish, list_rest, plan_nearest, scan_nearest, scan_rest
from vsearch.kernels.query.fields import CallField
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.steps import begin_all

K = 10
SIZES = (1, 16, 64)
PART = 64  # queries between which contestants alternate
PEERS = ("faiss-ivfpq-4d-sq8", "svs-float16")
STAGES = ("rotate, route, tables", "nearest partitions", "list the rest", "the rest", "sort")


@dataclass(frozen=True, eq=False)
class Runner:
    """A contestant with settings for one recall; `use` sets these and returns its search, `set_threads` the number of threads."""

    name: str
    level: float
    use: Callable[[], Callable[[Floats], Rows]]
    set_threads: Callable[[int], object]

    def time(self, queries: Floats, size: int) -> float:
        """Microseconds of processor time a query, in calls of `size` queries."""
        search = self.use()
        batches = [queries[start : start + size] for start in range(0, len(queries), size)]
        begun = time.process_time()
        for batch in batches:
            search(batch)
        return (time.process_time() - begun) / len(queries) * 1e6

    def time_threads(self, queries: Floats, count: int) -> float:
        """Microseconds a query of all queries in one call on several threads, by the clock on the wall."""
        search = self.use()
        self.set_threads(count)
        begun = time.perf_counter()
        search(queries)
        seconds = time.perf_counter() - begun
        self.set_threads(1)
        return seconds / len(queries) * 1e6


def ours(index: Any, queries: Floats, *, spilled: bool) -> list[Runner]:
    """The index, tuned to each recall by some queries."""

    def use(settings: Any) -> Callable[[Floats], Rows]:
        index.snapshot.settings = settings

        def search(batch: Floats) -> Rows:
            ids: Rows = index.search(batch[0] if len(batch) == 1 else batch, K).ids
            return ids

        return search

    name = "vsearch, copies" if spilled else "vsearch"
    tuned = contestants(index, queries, spilled=spilled)
    return [Runner(name, one.level, partial(use, one.settings), lambda _: None) for one in tuned]


def theirs(field: Field, data: Data, tuning: slice) -> list[Runner]:
    """Other engines with the fastest setting that reaches each recall on some queries."""
    runners = []
    for entry in field.entries:
        measured = []
        for setting in entry.index.settings():
            search = entry.index.configure(setting)
            reached = recall_of(data, tuning, search(data.queries[tuning], K))
            measured.append((time_batch(search, data.queries[tuning], K, "processor").qps, reached, setting))
        for level in LEVELS:
            reaching = [one for one in measured if one[1] >= level]
            if reaching:
                setting = max(reaching, key=lambda one: one[0])[2]
                runners.append(Runner(entry.name, level, partial(_use, entry, setting), partial(_set_threads, entry)))
    return runners


def _use(entry: Entry, setting: Any) -> Callable[[Floats], Rows]:
    search = entry.index.configure(setting)
    return lambda queries: search(queries, K)


def _set_threads(entry: Entry, count: int) -> None:
    graph = getattr(entry.index, "graph", None)
    if graph is not None:
        graph.num_threads = count
    else:
        import faiss

        faiss.omp_set_num_threads(count)


def recall_of(data: Data, queries: slice, ids: Rows) -> float:
    """Recall of some of the queries."""
    all_ids = np.full((len(data.queries), K), -1, np.int64)
    all_ids[queries] = ids
    return recall(data, all_ids) * len(data.queries) / len(ids)


def compare(runners: Sequence[Runner], data: Data, measured: slice, repetitions: int) -> list[list[object]]:
    """Rows of the first table."""
    queries, cores = data.queries[measured], os.cpu_count() or 1
    parts = [queries[start : start + PART] for start in range(0, len(queries) - PART + 1, PART)] or [queries]
    names: list[tuple[int, str]] = []
    tasks: list[Callable[[], float]] = []
    for place, runner in enumerate(runners):
        for size in SIZES:
            names += [(place, str(size))] * len(parts)
            tasks += [partial(runner.time, part, size) for part in parts]
        names += [(place, "all"), (place, "threads")]
        tasks += [partial(runner.time, queries, len(queries)), partial(runner.time_threads, queries, cores)]
    times: dict[tuple[int, str], list[list[float]]] = {}
    for name, taken in zip(names, interleave(tasks, repetitions), strict=True):
        times.setdefault(name, []).append(taken)
    rows: list[list[object]] = []
    for place, runner in enumerate(runners):
        least = {
            name: float(np.mean([min(one) for one in taken])) for (at, name), taken in times.items() if at == place
        }
        middle = [median(median(one) for one in times[place, name]) for name in ("1", "64", "all")]
        found = runner.use()(queries)
        rows.append(
            [
                runner.name,
                f"{runner.level:.2f}",
                report.share(recall_of(data, measured, found)),
                *(least[str(size)] for size in SIZES),
                least["all"],
                f"{least['64'] / least['1']:.2f}",
                f"{least['all'] / least['1']:.2f}",
                f"{middle[1] / middle[0]:.2f}",
                least["threads"],
            ]
        )
    return sorted(rows, key=lambda row: (str(row[1]), str(row[0])))


def profile(index: Any, settings: Any, queries: Floats, repetitions: int) -> list[float]:
    """Microseconds of each stage of a query, without the time of a native call that does nothing."""
    snapshot = index.snapshot
    snapshot.settings = settings
    workspace = snapshot.workspace()
    begin_all(snapshot, workspace, SearchRequest(K, settings), None)
    model, runs, call, values = (
        snapshot.native.address,
        workspace.runs.address,
        workspace.fields.address,
        workspace.values,
    )
    least = np.full((len(queries), len(STAGES) + 1), np.inf)
    for _ in range(repetitions):
        for number, query in enumerate(queries):
            workspace.use_query(query, prepared=False)
            workspace.empty()
            marks = [time.perf_counter()]
            plan_nearest(model, call)
            marks.append(time.perf_counter())
            values[CallField.FIRST_VISIT] = values[CallField.SETTLED] = 0
            values[CallField.LAST_VISIT] = values[CallField.VISITS]
            marks.append(time.perf_counter())
            for stage in (scan_nearest, list_rest, scan_rest):
                stage(model, runs, call)
                marks.append(time.perf_counter())
            finish(call)
            marks.append(time.perf_counter())
            finish(call)
            marks.append(time.perf_counter())
            spent = np.delete(np.diff(marks), 1)
            least[number] = np.minimum(least[number], spent)
    means = least.mean(axis=0) * 1e6
    return [float(max(spent - means[-1], 0.0)) for spent in means[:-1]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="base.npy and queries.npy; the shipped sample by default")
    parser.add_argument("--work", type=Path, required=True, help="folder for the indexes")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--peers", nargs="*", default=PEERS, help="other engines, by their names in bench.search")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--note", default="", help="a sentence about the machine, for the table")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    data = load(args.folder or sample(), rows=args.rows, queries=args.queries, k=K)
    half = len(data.queries) // 2
    tuning, measured = slice(0, half), slice(half, len(data.queries))
    runners, stages, field = [], [], Field()
    with threads(1), tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        for spilled in (False, True):
            index, _ = opened(data, args.work, None, spill=spilled)
            runners += ours(index, data.queries[tuning], spilled=spilled)
            for one in contestants(index, data.queries[tuning], spilled=spilled):
                spent = profile(index, one.settings, data.queries[measured][:200], args.repetitions)
                stages.append([f"{one.level:.2f}", "yes" if spilled else "no", *spent, sum(spent)])
        if args.peers:
            field = assemble("search", data, Path(scratch), build_threads=os.cpu_count() or 1, only=args.peers)
            runners += theirs(field, data, tuning)
        rows = compare(runners, data, measured, args.repetitions)
    cores, count = os.cpu_count() or 1, len(data.queries) - half
    header = ["contestant", "tuned to", "recall@10", *(f"{size} a call" for size in SIZES), f"{count:,} a call"]
    header += ["64 / 1", f"{count:,} / 1", "64 / 1, medians", f"{count:,} on {cores} threads"]
    text = [
        report.table(header, rows),
        "Single queries of vsearch, stage by stage, microseconds:",
        report.table(["tuned to", "copies", *STAGES, "sum"], stages),
        report.absences(field.absences),
        args.note,
    ]
    parameters = {
        "clock": f"microseconds of processor time a query, of all threads; on {cores} threads: on the wall",
        "repetitions": f"{args.repetitions}, in turns, {PART} queries at a time; the least, and ratios of these and of medians",
        "settings": f"tuned to each recall, or chosen, by the first {half} queries, measured on the other {count}",
        "versions": report.versions(["vsearch", "numpy", "numba", *field.packages]),
    }
    report.replace(args.results, f"batches {data.name}", report.section("Batches of queries", data, text, parameters))
    print(*text, sep="\n")


if __name__ == "__main__":
    main()
