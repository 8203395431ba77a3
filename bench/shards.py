"""``python -m bench.shards FOLDER``: single queries in one shard and in several, and batches compared with single queries.

Builds the rows once per number of shards, or uses the indexes that are in ``--work`` already. All are searched with the
settings of the first, in turns: processor time of the calling thread for single queries, and of all threads for batches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
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

K = 10
SHARDS = (1, 8)
BATCHES = (16, 64, 256)
AT_ONCE = 20  # single queries of one index before those of the next


def opened(data: Data, work: Path, shards: int) -> Any:
    """The index of all rows in a number of shards, read into memory."""
    folder = work / f"{data.name}-{data.rows}-{shards}"
    if not folder.exists():
        console.print(f"building {folder}")
        vsearch.build(np.asarray(data.base), folder, metric=data.metric, shards=shards)
    index = vsearch.open(folder)
    index.search(data.queries[:1], exact=True)
    return index


def time_singles(index: Any, queries: Floats) -> float:
    """Microseconds of a query, searched alone."""
    begun = time.thread_time()
    for query in queries:
        index.search(query, K)
    return (time.thread_time() - begun) / len(queries) * 1e6


def time_batches(index: Any, queries: Floats, size: int) -> float:
    """Microseconds of a query, searched together with others, over all threads."""
    begun = time.process_time()
    for start in range(0, len(queries), size):
        index.search(queries[start : start + size], K)
    return (time.process_time() - begun) / len(queries) * 1e6


def compare(indexes: dict[int, Any], data: Data, repetitions: int) -> list[list[object]]:
    """Rows of the table: what every index does and takes."""
    queries = data.queries
    parts = [queries[start : start + AT_ONCE] for start in range(0, len(queries), AT_ONCE)]
    names, tasks = [], []
    for shards, index in indexes.items():
        names += [(shards, 1)] * len(parts)
        tasks += [partial(time_singles, index, part) for part in parts]
        for size in (size for size in BATCHES if size <= len(queries)):
            full_batches = queries[: len(queries) // size * size]
            names.append((shards, size))
            tasks.append(partial(time_batches, index, full_batches, size))
    times_of: dict[tuple[int, int], list[list[float]]] = {}
    for name, times in zip(names, interleave(tasks, repetitions), strict=True):
        times_of.setdefault(name, []).append(times)
    first = next(iter(indexes))
    unit = np.mean([median(times) for times in times_of[first, 1]])
    rows: list[list[object]] = []
    for (shards, size), times in times_of.items():
        hits = indexes[shards].search(queries, K)
        counts = [hits.stats.rows_scanned / len(queries), hits.stats.rows_reranked / len(queries)]
        middle = float(np.mean([median(round_times) for round_times in times]))
        least = float(np.mean([min(round_times) for round_times in times]))
        reached = report.share(recall(data, hits.ids))
        rows.append([shards, size, reached, *counts, middle, least, f"{middle / unit:.2f}"])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.shards", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="base.npy and queries.npy; the shipped sample by default")
    parser.add_argument("--work", type=Path, required=True, help="folder for the indexes")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--note", default="", help="a sentence about the machine, for the table")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = parser.parse_args(arguments)
    data = load(args.folder or sample(), rows=args.rows, queries=args.queries, k=K)
    indexes = {shards: opened(data, args.work, shards) for shards in SHARDS}
    settings = indexes[SHARDS[0]].snapshot.settings
    for index in indexes.values():
        index.snapshot.settings = settings
    with threads(1):
        rows = compare(indexes, data, args.repetitions)
    header = ["shards", "queries a call", "recall@10", "rows scanned", "reranked", "us a query", "least us", "times"]
    text = [report.table(header, rows), args.note]
    parameters = {
        "clock": "processor time: of the calling thread for one query a call, of all threads for more",
        "repetitions": f"{args.repetitions}, in turns; medians, and the least, of {AT_ONCE} queries or a call; means of these",
        "settings": f"those that the build in one shard found, {settings}",
        "versions": report.versions(["vsearch", "numpy", "numba"]),
    }
    report.replace(args.results, f"shards {data.name}", report.section("Shards and batches", data, text, parameters))
    print(text[0])


if __name__ == "__main__":
    main()
