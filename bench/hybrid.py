"""``python -m bench.hybrid FOLDER``: ranking by words, by vectors, and by both.

FOLDER contains ``base.npy``, ``texts.parquet`` (``text``), ``attributes.parquet`` (``synopsis``), ``validation_queries.npy`` and
``validation_positives.npy``: the vectors of queries, and the row that each belongs to, whose synopsis is the text of the query, and the first
two words of it the text of a short one. Prints MRR@10 and nDCG@10 with intervals of 95 % (bootstrap over the queries), bytes, and processor
time per query on one thread: medians, where all searches get each query in turn, once after the previous query. Pin it to a core with
taskset.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import vsearch
from bench.contest import console

K = 10
DEPTH = 100
"""Candidates of each part."""

DRAWS = 2000
WARM = 200
"""Queries before those that are measured."""


def measured(returned: NDArray[np.int64], positives: NDArray[np.int64]) -> dict[str, tuple[float, float, float]]:
    """MRR@10 and nDCG@10, each with the ends of its interval."""
    hit = returned == positives[:, None]
    ranks = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)
    values = {
        "MRR@10": np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0),
        "nDCG@10": np.where(ranks > 0, 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0),
    }
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(ranks), (DRAWS, len(ranks)))
    intervals = {name: np.quantile(measures[drawn].mean(axis=1), [0.025, 0.975]) for name, measures in values.items()}
    return {name: (float(measures.mean()), *map(float, intervals[name])) for name, measures in values.items()}


def run(name: str, search: Callable[[int], Any], positives: NDArray[np.int64]) -> None:
    """Print the quality of a search, one query at a time."""
    returned = np.stack([search(query).ids[0] for query in range(len(positives))])
    summary = ", ".join(
        f"{what} {mean:.3f} ({low:.3f} to {high:.3f})"
        for what, (mean, low, high) in measured(returned, positives).items()
    )
    console.print(f"{name}: {summary}")


def run_times(kind: str, index: vsearch.Index, points: NDArray[np.float32], texts: list[str]) -> None:
    """Print the times of vectors, words and both, and how many times the sum of its parts both take."""
    searches: dict[str, Callable[[int], Any]] = {
        "vectors k=10": lambda query: index.search(points[query], K),
        "words k=10": lambda query: index.search_text(texts[query], K),
        f"vectors k={DEPTH}": lambda query: index.search(points[query], DEPTH),
        f"words k={DEPTH}": lambda query: index.search_text(texts[query], DEPTH),
        "both, rrf": lambda query: index.search(points[query], K, text=texts[query]),
        "both, weighted": lambda query: index.search(points[query], K, text=texts[query], fusion="weighted"),
    }
    times = {name: np.empty(len(texts)) for name in searches}
    for query in range(-WARM, len(texts)):
        names = list(searches)
        random.Random(query).shuffle(names)
        for name in names:
            searches[name](query - 1)  # as if there were no others: a workspace adapts to another k
            begun = time.thread_time()
            searches[name](query)
            times[name][query] = time.thread_time() - begun  # those of the warm-up are overwritten
    console.print(f"{kind}: {', '.join(f'{name} {np.median(spent) * 1e6:.0f} us' for name, spent in times.items())}")
    for depth in (K, DEPTH):
        ratios = times["both, rrf"] / (times[f"vectors k={depth}"] + times[f"words k={depth}"])
        console.print(f"{kind}: both, rrf takes {np.median(ratios):.2f} times vectors and words with k={depth}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hybrid", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    texts = pq.read_table(folder / "texts.parquet", columns=["text"])
    synopses = pq.read_table(folder / "attributes.parquet", columns=["synopsis"]).column("synopsis").to_pylist()
    points = np.load(folder / "validation_queries.npy").astype(np.float32)
    positives = np.load(folder / "validation_positives.npy").astype(np.int64)
    words = [
        (synopses[row] or "").replace('"', " ").replace(" -", " ").replace(" +", " ") for row in positives.tolist()
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for label, column in {
            "whole words": vsearch.TextColumn(),
            "English stems": vsearch.TextColumn(language="english", stop_words=True),
        }.items():
            begun = time.process_time()
            index = vsearch.build(
                np.load(folder / "base.npy"),
                Path(scratch) / label,
                pa.table({"text": texts["text"]}),
                text={"text": column},
            )
            size = index.info()["bytes_per_vector_by_part"]["text"]
            console.print(f"{label}: build {time.process_time() - begun:.1f} s, postings {size:.1f} bytes per row")
            run("words", lambda query: index.search_text(words[query], K), positives)  # noqa: B023
            run("vectors", lambda query: index.search(points[query], K), positives)  # noqa: B023
            for fusion in ("rrf", "weighted"):
                search = lambda query: index.search(points[query], K, text=words[query], fusion=fusion)  # noqa: E731, B023
                run(f"both, {fusion}", search, positives)
            run_times(label, index, points, words)
            run_times(f"{label}, two words", index, points, [" ".join(re.findall(r"\w+", text)[:2]) for text in words])


if __name__ == "__main__":
    main()
