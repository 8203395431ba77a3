"""Recall of default builds where settings may stop too early: queries unlike any row, and filters that exclude nearby rows.

``python -m bench.foreign FOLDER`` builds three indexes with default options (tight clusters, noisy copies of a few of the
folder's rows, the folder itself) and measures recall@10 against the float vectors, partitions visited and the speed of single
queries. It only uses the package's public interface, so an older checkout can be measured with it as well: ``--label before``
stores its rows under that name.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import vsearch
from bench import report
from bench.data import Floats, load, sample
from bench.measure import threads

K = 10
QUERIES = 100
CLUSTERS = 200
Where = Any  # as accepted by `search`


@dataclass(frozen=True, eq=False)
class Collection:
    """Rows float32 (n, d) of norm 1, their attributes, and held-out queries (m, d).

    `group` int64 (n,), (m,) is the cluster of each row and query; filters exclude the queries' own clusters.
    """

    name: str
    rows: Floats
    attributes: pa.Table
    queries: Floats
    row_groups: np.ndarray
    query_groups: np.ndarray


@dataclass(frozen=True, eq=False)
class Case:
    """Queries with a filter, and the matching rows, bool (n,)."""

    name: str
    queries: Floats
    where: Where
    passing: np.ndarray


def normalized(vectors: np.ndarray) -> Floats:
    """Scale rows to norm 1."""
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def tight_clusters(rows: int = 50_000, dimensions: int = 64) -> Collection:
    """Rows around 200 centers."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((CLUSTERS, dimensions))
    groups = random.integers(0, CLUSTERS, rows + 2_000)
    vectors = normalized(centers[groups] + 0.4 * random.standard_normal((len(groups), dimensions)))
    return _collection("clusters", vectors, groups, rows, random)


def noisy_copies(vectors: Floats, copies: int = 250) -> Collection:
    """Copies of 200 rows, each with independent noise."""
    random = np.random.default_rng(0)
    chosen = np.asarray(vectors[np.sort(random.choice(len(vectors), CLUSTERS, replace=False))], np.float32)
    groups = random.permutation(np.repeat(np.arange(CLUSTERS), copies + 10))
    points = normalized(chosen[groups] + 0.02 * random.standard_normal((len(groups), chosen.shape[1])))
    return _collection("copies", points, groups, CLUSTERS * copies, random)


def _collection(name: str, vectors: Floats, groups: np.ndarray, rows: int, random: np.random.Generator) -> Collection:
    attributes = pa.table({"cluster": groups[:rows], "u": random.random(rows)})
    return Collection(name, vectors[:rows], attributes, vectors[rows:], groups[:rows], groups[rows:])


def cases(data: Collection) -> Iterator[Case]:
    """The cases for a clustered collection."""
    all_rows, random = np.ones(len(data.rows), np.bool_), np.random.default_rng(1)
    directions = normalized(random.standard_normal((QUERIES, data.rows.shape[1])))
    group_id = int(data.query_groups[0])
    near = data.queries[data.query_groups == group_id][:QUERIES]
    means = np.stack([data.rows[data.row_groups == group].mean(axis=0) for group in range(CLUSTERS)])
    far = np.argsort(means @ means[group_id])[: CLUSTERS // 10]
    u = data.attributes.column("u").to_numpy()
    yield Case("held-out rows", data.queries[:QUERIES], None, all_rows)
    yield Case("directions of no row", directions, None, all_rows)
    yield Case("mirrored rows", -data.queries[:QUERIES], None, all_rows)
    yield Case("own cluster", near, f"cluster = {group_id}", data.row_groups == group_id)
    yield Case("all but the own cluster", near, f"cluster <> {group_id}", data.row_groups != group_id)
    yield Case("the farthest tenth", near, vsearch.col("cluster").is_in(far.tolist()), np.isin(data.row_groups, far))
    yield Case("10 % at random", data.queries[:QUERIES], "u < 0.1", u < 0.1)
    yield Case("0.1 % at random", data.queries[:QUERIES], "u < 0.001", u < 0.001)


def folder_cases(rows: Floats, attributes: pa.Table, queries: Floats) -> Iterator[Case]:
    """The cases for WordNet glosses."""
    every, random = np.ones(len(rows), np.bool_), np.random.default_rng(1)
    queries = queries[:QUERIES]
    yield Case("held-out queries", queries, None, every)
    yield Case("directions of no row", normalized(random.standard_normal((QUERIES, rows.shape[1]))), None, every)
    yield Case("mirrored queries", -queries, None, every)
    for name, value in (("pos", "verb"), ("lexname", "noun.plant"), ("lexname", "verb.consumption")):
        passing = np.array(attributes.column(name).to_pylist()) == value
        yield Case(f"{name} = '{value}'", queries, f"{name} = '{value}'", passing)


def true_neighbors(rows: Floats, case: Case) -> np.ndarray:
    """The best matching rows, int64 (m, K)."""
    places = np.flatnonzero(case.passing)
    scores = case.queries @ rows[places].T
    return places[np.argsort(-scores, axis=1, kind="stable")[:, :K]]


def measure(index: vsearch.Index, rows: Floats, case: Case) -> dict[str, float]:
    """Recall@10, partitions visited, and processor microseconds per single query."""
    truth = true_neighbors(rows, case)
    hits = index.search(case.queries, k=K, where=case.where)
    shares = [
        len(set(ids) & set(true)) / len(true) for ids, true in zip(hits.ids.tolist(), truth.tolist(), strict=True)
    ]
    times = []
    for _ in range(5):
        begun = time.process_time()
        for query in case.queries:
            index.search(query, k=K, where=case.where)
        times.append((time.process_time() - begun) / len(case.queries))
    return {
        "recall": float(np.mean(shares)),
        "partitions": hits.stats.partitions_visited / len(case.queries),
        "microseconds": 1e6 * float(np.median(times)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="bench.foreign", description=__doc__)
    options.add_argument("folder", nargs="?", type=Path, help="with base.npy, queries.npy and attributes.parquet")
    options.add_argument("--label", default="now", help="name of the columns for this checkout")
    options.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "vsearch-foreign.json")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = options.parse_args(arguments)
    folder = args.folder or sample()
    data = load(folder, k=K)
    attributes = pq.read_table(folder / "attributes.parquet")
    base = normalized(np.asarray(data.base, np.float32))
    clustered = [tight_clusters(), noisy_copies(base)]
    results: dict[str, dict[str, dict[str, float]]] = json.loads(args.kept.read_text()) if args.kept.exists() else {}
    results[args.label] = {}
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch, threads(1):
        for collection in clustered:
            index = vsearch.build(collection.rows, f"{scratch}/{collection.name}", attributes=collection.attributes)
            for case in cases(collection):
                results[args.label][f"{collection.name}: {case.name}"] = measure(index, collection.rows, case)
        index = vsearch.build(base, f"{scratch}/folder", attributes=attributes)
        for case in folder_cases(base, attributes, data.queries):
            results[args.label][f"{data.name}: {case.name}"] = measure(index, base, case)
    args.kept.write_text(json.dumps(results))
    header = ["data and case", *(f"{label}: {what}" for label in results for what in ("recall@10", "partitions", "us"))]
    rows = []
    for name in results[args.label]:
        cells: list[object] = [name]
        for measured in results.values():
            cell = measured.get(name)
            cells += (
                [None] * 3 if cell is None else [report.share(cell["recall"]), cell["partitions"], cell["microseconds"]]
            )
        rows.append(cells)
    parameters = {
        "build": "default options (settings tuned to 0.97 on rows of the index)",
        "us": "processor time of a single query, one thread, median of 5",
        "versions": report.versions(["vsearch"]),
    }
    text = [report.table(header, rows)]
    report.replace(
        args.results,
        "foreign",
        report.section("Queries and filters of no kind that was tuned on", data, text, parameters),
    )
    print(text[0])


if __name__ == "__main__":
    main()
