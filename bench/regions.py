"""``python -m bench.regions``: searches of many partitions routed by regions, beside the same searches that score all partitions."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import vsearch
from bench import report
from bench.synthetic import clustered
from vsearch.search.engine.request import SearchRequest
from vsearch.search.recall import measure_recall, run_sample
from vsearch.search.samples import Sample
from vsearch.search.state.model import prepare_queries

RESULTS = Path(__file__).with_name("RESULTS.md")
ROWS, PARTITIONS, DIMENSIONS, QUERIES, K = 200_000, 8_192, 96, 400, 10
NUMBERS = (8, 16, 24, 32, 48)
REPETITIONS = 9


def main() -> None:
    """Measure, and replace the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "vsearch-bench" / "regions")
    work = parser.parse_args().work
    lines = [line for metric in ("cosine", "l2") for line in measure(work / metric, metric)]
    facts = [
        f"- machine: {report.machine()}; load average {os.getloadavg()[0]:.1f}",
        f"- data: synthetic, clustered ({ROWS // 64} centers), {ROWS:,} x {DIMENSIONS}; {QUERIES} held-out queries, k = {K}; tuned as built",
        f"- clock: processor time, one thread, a query of a batch, medians of {REPETITIONS} batches in turns",
        f"- date: {report.today()}",
    ]
    header = ["metric", "regions scored", "recall@10", "microseconds", "relative", "partitions visited", "rows scanned"]
    text = "\n\n".join(
        [f"## Routing by regions: {PARTITIONS:,} partitions", "\n".join(facts), report.table(header, lines)]
    )
    report.replace(RESULTS, "regions", text)
    print(text)


def measure(folder: Path, metric: str) -> list[list[object]]:
    """Lines of the table for one metric."""
    base, queries = clustered(ROWS, QUERIES, DIMENSIONS, centers=ROWS // 64)
    if not folder.exists():
        vsearch.build(base, folder, partitions=PARTITIONS, metric=metric)
    snapshot = vsearch.open(folder).snapshot
    sample = Sample(prepare_queries(snapshot.model, queries), None)
    table = snapshot.model.region_table
    regions = 0 if table is None else len(table.sizes)
    tuned = snapshot.settings.near_regions
    settings = {
        number: replace(snapshot.settings, near_regions=number) for number in (None, *sorted({*NUMBERS, tuned or 8}))
    }
    exact = run_sample(snapshot, sample, SearchRequest(K, settings[None], exact=True))
    times: dict[int | None, list[float]] = {number: [] for number in settings}
    for _ in range(REPETITIONS):
        for number, chosen in settings.items():
            begun = time.process_time()
            run_sample(snapshot, sample, SearchRequest(K, chosen))
            times[number].append((time.process_time() - begun) / QUERIES)
    lines: list[list[object]] = []
    for number, chosen in settings.items():
        stats = run_sample(snapshot, sample, SearchRequest(K, chosen)).stats
        seconds = float(np.median(times[number]))
        name = "all" if number is None else f"{number} of {regions}{', tuned' if number == tuned else ''}"
        recall = measure_recall(snapshot, sample, exact, chosen)[0]
        relative = seconds / float(np.median(times[None]))
        lines.append(
            [metric, name, recall, 1e6 * seconds, relative, stats.partitions_visited / QUERIES, stats.rows_scanned / QUERIES]
        )  # fmt: skip
    return lines


if __name__ == "__main__":
    main()
