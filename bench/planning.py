"""What planning a query costs in high dimensions, stage by stage.

``python -m bench.planning`` builds indexes of synthetic clustered vectors, once as always and once with a matrix as rotation, and
times the stages of a plan in native code. They depend on the numbers of dimensions and of partitions, not on that of rows, so
a few rows do. Between plans four megabytes are read, as a search would read codes, so that matrices are not in the cache of
the second level. Times are medians of wall time on one thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ["VSEARCH_JIT"] = "1"  # the stages are parts of kernels, which a library does not export

import numba
import numpy as np

import vsearch
from bench import report
from bench.synthetic import clustered
from vsearch.building.training import BuildOptions
from vsearch.kernels.query.plan import plan_rerank, plan_tables, plan_visits
from vsearch.kernels.query.projection import project
from vsearch.kernels.query.views import call_at, model_at
from vsearch.quantizers import osq_records
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.steps import begin
from vsearch.testing.building import build_untuned

RESULTS = Path(__file__).with_name("RESULTS.md")
DIMENSIONS = (768, 1536, 3072)
ROWS, PARTITIONS, QUERIES, K = 8192, 1000, 200, 10
EVICTED = 4 << 20  # bytes read between plans

Stage = Callable[[int, int], None]


@numba.njit(error_model="numpy")
def rotate(model: int, call: int) -> None:
    """Normalize and rotate, and weigh for reranking, which takes no time."""
    plan_rerank(model_at(model), call_at(call))


@numba.njit(error_model="numpy")
def take_coordinates(model: int, call: int) -> None:
    """Only with a projection."""
    project(model_at(model), call_at(call), np.float32(1.0))


@numba.njit(error_model="numpy")
def choose_partitions(model: int, call: int) -> None:
    """Rotate, take coordinates, score and order the nearest partitions."""
    plan_visits(model_at(model), call_at(call))


@numba.njit(error_model="numpy")
def make_tables(model: int, call: int) -> None:
    plan_tables(model_at(model), call_at(call))


@numba.njit(error_model="numpy")
def do_nothing(model: int, call: int) -> None:
    """Measure what a call costs."""


@numba.njit
def evict(values: Any) -> int:
    total = 0
    for i in range(0, values.shape[0], 8):
        total += values[i]
    return total


def stage_times(index: vsearch.Index, queries: np.ndarray[Any, np.dtype[np.float32]]) -> dict[str, float]:
    """Median microseconds of each stage."""
    snapshot = index.snapshot
    workspace, unread = snapshot.workspace(), np.zeros(EVICTED // 8, np.int64)
    begin(workspace, SearchRequest(K, snapshot.settings), None)
    addresses = snapshot.native.address, workspace.fields.address
    projected = snapshot.model.projected is not None
    stages: list[Stage] = [
        do_nothing,
        rotate,
        *([take_coordinates] if projected else []),
        choose_partitions,
        make_tables,
    ]
    times: dict[Stage, list[float]] = {stage: [] for stage in stages}
    for query in (queries[0], *queries):  # the first compiles
        for stage in stages:
            workspace.use_query(query, prepared=False)
            if stage in (take_coordinates, make_tables):
                choose_partitions(*addresses)
            evict(unread)
            started = time.perf_counter_ns()
            stage(*addresses)
            times[stage].append((time.perf_counter_ns() - started) / 1e3)
    medians = {stage: float(np.median(spent[1:])) for stage, spent in times.items()}
    spent = {stage: medians[stage] - medians[do_nothing] for stage in stages}
    coordinates = spent.get(take_coordinates, 0.0)
    return {
        "rotation": spent[rotate],
        "coordinates": coordinates,
        "partitions": spent[choose_partitions] - spent[rotate] - coordinates,
        "tables": spent[make_tables],
        "all": spent[choose_partitions] + spent[make_tables],
    }


def measure(dimensions: int, scratch: Path) -> list[list[object]]:
    """Lines of the table for one number of dimensions."""
    base, queries = clustered(ROWS, QUERIES, dimensions, centers=ROWS // 8)
    lines: list[list[object]] = []
    specification = osq_records.OSQSpecification
    for name, matrix_dimensions in (("matrix", dimensions), ("signs", 0)):
        osq_records.OSQSpecification = partial(specification, matrix_dimensions=matrix_dimensions)  # type: ignore[assignment,misc]
        index = build_untuned(str(scratch / f"{dimensions}-{name}"), base, BuildOptions(partitions=PARTITIONS))
        model, codec = index.snapshot.model, index.snapshot.model.projected
        directions = None if codec is None else len(codec.routing) + len(codec.projection)
        size = float(index.info()["bytes_per_vector_by_part"]["model"]) * ROWS / 1e6
        lines.append([dimensions, name, len(model.centroids), directions, *stage_times(index, queries).values(), size])
    osq_records.OSQSpecification = specification  # type: ignore[misc]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and replace the section of the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dimensions", nargs="+", type=int, default=DIMENSIONS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        lines = [line for dimensions in args.dimensions for line in measure(dimensions, Path(scratch))]
    facts = [
        f"- machine: {report.machine()}; load average {os.getloadavg()[0]:.1f}",
        f"- data: synthetic, clustered, {ROWS:,} rows, one center for 8 of them, cosine; {QUERIES} held-out queries; 1 bit, rerank int8, untuned",
        f"- clock: medians of wall time, one thread; {EVICTED >> 20} MB are read between plans",
        f"- date: {report.today()}",
    ]
    header = ["dimensions", "rotation by", "partitions", "directions", "rotation us", "coordinates us", "partitions us", "tables us", "plan us", "model MB"]  # fmt: skip
    text = "\n\n".join(["## Planning in high dimensions", "\n".join(facts), report.table(header, lines)])
    report.replace(args.results, "planning", text)
    print(text)


if __name__ == "__main__":
    main()
