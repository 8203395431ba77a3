"""``python -m bench.spilling FOLDER``: searches of the same recall with and without copies of rows in second partitions.

Builds the rows with and without ``spill=True``, or uses the indexes that are in ``--work`` already. The settings of both are
tuned to each recall by half of the queries, and measured on the other half, in turns: processor time of the calling thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import vsearch
from bench import report
from bench.contest import console
from bench.data import Data, Floats, load, recall, sample
from bench.measure import interleave, threads
from vsearch.search.samples import Sample
from vsearch.search.state.model import SearchSettings, prepare_queries
from vsearch.search.tuning import tune

K = 10
LEVELS = (0.95, 0.98, 0.99)
AT_ONCE = 20  # single queries of one index before those of the next


@dataclass(frozen=True, eq=False)
class Contestant:
    """An index with settings for one recall."""

    spilled: bool
    level: float
    index: Any
    settings: SearchSettings

    def time(self, queries: Floats) -> float:
        """Microseconds of a query, searched alone."""
        self.index.snapshot.settings = self.settings
        begun = time.thread_time()
        for query in queries:
            self.index.search(query, K)
        return (time.thread_time() - begun) / len(queries) * 1e6


def opened(data: Data, work: Path, partitions: int | None, *, spill: bool) -> tuple[Any, float | None]:
    """The index, read into memory, and the seconds of processor time of its build, unless it was there."""
    folder = work / f"{data.name}-{data.rows}-{partitions or 'default'}{'-spilled' if spill else ''}"
    seconds = None
    if not folder.exists():
        console.print(f"building {folder}")
        begun = time.process_time()
        vsearch.build(np.asarray(data.base), folder, metric=data.metric, partitions=partitions, spill=spill)
        seconds = time.process_time() - begun
    index = vsearch.open(folder)
    index.search(data.queries[:1], exact=True)
    index.snapshot.table.ensure(np.arange(index.snapshot.manifest.partitions, dtype=np.int32))
    return index, seconds


def contestants(index: Any, queries: Floats, *, spilled: bool) -> list[Contestant]:
    """The index with settings tuned to each recall by some queries."""
    snapshot = index.snapshot
    drawn = Sample(prepare_queries(snapshot.model, queries), None)
    return [Contestant(spilled, level, index, tune(snapshot, drawn, level, K)[0]) for level in LEVELS]


def compare(entries: Sequence[Contestant], data: Data, queries: Floats, repetitions: int) -> list[list[object]]:
    """Rows of the table: what every contestant does and takes."""
    half = len(data.queries) - len(queries)
    parts = [queries[start : start + AT_ONCE] for start in range(0, len(queries), AT_ONCE)]
    tasks = [partial(entry.time, part) for part in parts for entry in entries]
    times = interleave(tasks, repetitions)
    times_taken = [
        np.mean([median(times[at]) for at in range(place, len(tasks), len(entries))]) for place in range(len(entries))
    ]
    rows: list[list[object]] = []
    for place, entry in enumerate(entries):
        entry.index.snapshot.settings = entry.settings
        hits = [entry.index.search(query, K) for query in queries]
        ids = np.full((len(data.queries), K), -1, np.int64)
        ids[half:] = np.concatenate([one.ids for one in hits])
        reached = recall(data, ids) * len(data.queries) / len(queries)
        counts = [
            np.mean([getattr(one.stats, name) for one in hits])
            for name in ("partitions_visited", "rows_scanned", "rows_reranked")
        ]
        uncopied = next(
            t for t, other in zip(times_taken, entries, strict=True) if other.level == entry.level and not other.spilled
        )
        rows.append(
            [
                f"{entry.level:.2f}",
                "yes" if entry.spilled else "no",
                report.share(reached),
                entry.index.info()["bytes_per_vector"],
                *counts,
                f"{times_taken[place] / uncopied:.2f}",
            ]
        )
    return sorted(rows, key=lambda row: (str(row[0]), str(row[1])))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.spilling", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="base.npy and queries.npy; the shipped sample by default")
    parser.add_argument("--work", type=Path, required=True, help="folder for the indexes")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--partitions", type=int)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--note", default="", help="a sentence about the machine, for the table")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    data = load(args.folder or sample(), rows=args.rows, queries=args.queries, k=K)
    half = len(data.queries) // 2
    entries, seconds = [], []
    with threads(1):
        for spill in (False, True):
            index, spent = opened(data, args.work, args.partitions, spill=spill)
            entries += contestants(index, data.queries[:half], spilled=spill)
            seconds.append(spent)
        rows = compare(entries, data, data.queries[half:], args.repetitions)
    partitions = entries[0].index.info()["partitions"]
    uncopied, copied = seconds
    built = (
        [f"The build with copies took {copied / uncopied:.2f} times the processor time."] if uncopied and copied else []
    )
    header = ["tuned to", "copies", "recall@10", "bytes a vector", "partitions", "rows scanned", "reranked", "times"]
    text = [report.table(header, rows), *built, args.note]
    parameters = {
        "partitions": f"{partitions:,}",
        "clock": "processor time of the calling thread, one query a call, relative to no copies tuned to the same recall",
        "repetitions": f"{args.repetitions}, in turns; medians of {AT_ONCE} queries; means of these",
        "settings": f"tuned to each recall by the first {half} queries, measured on the other {len(data.queries) - half}",
        "versions": report.versions(["vsearch", "numpy", "numba"]),
    }
    key = f"spilling {data.name} {args.partitions or 'default'}"
    report.replace(args.results, key, report.section("Copies in second partitions", data, text, parameters))
    print(text[0], *built, sep="\n")


if __name__ == "__main__":
    main()
