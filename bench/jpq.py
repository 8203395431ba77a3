"""Ranking quality of trained PQ codes, by bytes per vector.

``python -m bench.jpq FOLDER`` takes a folder with ``base.npy``, ``train_queries.npy``, ``train_positives.npy``,
``validation_queries.npy`` and ``validation_positives.npy`` (positives are rows of base). Training stops early on the first half of
the validation queries; results are measured on the second half, scoring every row, with paired bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import vsearch
from bench import report
from bench.contest import console
from bench.data import Data, Floats, Rows, Truth, prepare
from bench.measure import interleave, threads, time_singles
from vsearch.jpq.quality import Quality, measure

SIZES = (48, 24, 16, 8, 96)
ABLATED = (48, 24)  # sizes for which other losses and negatives are tried as well
FINEST_OSQ = 0.25  # smallest bits per dimension of OSQ
VARIANTS: dict[str, dict[str, Any]] = {
    "centroids only": {"adapter": "none"},
    "adapter only": {"centroids": False},
    "both": {},
    "both, static negatives": {"negatives": "static"},
    "both, in-batch negatives": {"negatives": "batch"},
    "both, softmax": {"loss": "softmax"},
}
EVERYWHERE = ("centroids only", "adapter only", "both")
REASSIGNED, REFITTED = "both, re-assigned", "refitted"
DRAWS = 10_000
TIMED, REPETITIONS = 300, 9


@dataclass(frozen=True)
class Task:
    """Documents, training queries, and the two halves of the validation queries: for early stopping and for reporting."""

    name: str
    base: Floats
    queries: Floats
    positives: Rows
    chosen_by: tuple[Floats, Rows]
    reported: tuple[Floats, Rows]


@dataclass(frozen=True)
class Measured:
    """One row of the table."""

    method: str
    size: int
    partitions: int
    quality: Quality
    seconds: float | None = None
    processor_seconds: float | None = None
    epochs: int | None = None


def load(folder: Path) -> Task:
    def read(name: str) -> npt.NDArray[Any]:
        return np.load(folder / f"{name}.npy")

    validation, relevant = prepare(read("validation_queries"), "cosine"), read("validation_positives").astype(np.int64)
    half = len(validation) // 2
    return Task(
        folder.name,
        prepare(read("base"), "cosine"),
        prepare(read("train_queries"), "cosine"),
        read("train_positives").astype(np.int64),
        (validation[:half], relevant[:half]),
        (validation[half:], relevant[half:]),
    )


def of_floats(task: Task, adapter: Floats | None = None) -> Quality:
    """Quality of the uncompressed vectors."""
    queries, relevant = task.reported
    scores = (queries if adapter is None else queries @ adapter.T) @ task.base.T
    return measure(np.argsort(-scores, axis=1, kind="stable")[:, :100].astype(np.int64), relevant[:, None])


def of_index(task: Task, index: vsearch.Index, *, exact: bool = True) -> Quality:
    queries, relevant = task.reported
    return measure(index.search(queries, 100, exact=exact).ids, relevant[:, None])


class Runs:
    """Indexes and measurements in a work folder; finished ones are not repeated."""

    def __init__(self, task: Task, work: Path, count: int) -> None:
        self.task, self.work, self.threads = task, work, count
        work.mkdir(parents=True, exist_ok=True)

    def base(self, size: int, partitions: int | None) -> Path:
        """The untrained index of a size."""
        path = self.work / f"pq-{size}-{partitions or 'default'}"
        if not (path / "manifest").exists():
            shutil.rmtree(path, ignore_errors=True)
            with threads(self.threads):
                vsearch.build(self.task.base, path, quantizer=vsearch.PQ(size), partitions=partitions)
        return path

    def measured(self, method: str, size: int, partitions: int | None, run: Callable[[], dict[str, Any]]) -> Measured:
        """A measurement, from its file if it exists."""
        name = f"{method}-{size}-{partitions or 'default'}".replace(", ", "-").replace(" ", "-")
        file = self.work / f"{name}.json"
        if not file.exists():
            console.print(f"{method}, {size} bytes, partitions {partitions or 'default'}")
            file.write_text(json.dumps(run()))
        stored = json.loads(file.read_text())
        quality = Quality(*(np.array(stored.pop(part)) for part in ("mrr", "ndcg", "recall")))
        console.print(f"  {method} {size}: {quality.means()}")
        return Measured(method, size, quality=quality, **stored)

    def untrained(self, size: int, partitions: int | None) -> Measured:
        def run() -> dict[str, Any]:
            index = vsearch.open(self.base(size, partitions))
            return plain(of_index(self.task, index), index)

        return self.measured("OPQ + PQ, untrained", size, partitions, run)

    def osq(self, size: int) -> Measured | None:
        bits = 8 * size / self.task.base.shape[1]
        if bits < FINEST_OSQ:
            return None

        def run() -> dict[str, Any]:
            path = self.work / f"osq-{size}"
            index = vsearch.build(self.task.base, path, bits=bits, rerank=None, overwrite=True)
            return plain(of_index(self.task, index), index)

        return self.measured("OSQ", size, None, run)

    def trained(
        self, variant: str, size: int, partitions: int | None, *, reassign: bool = False, refit: bool = False
    ) -> Measured:
        """Train a copy of an index; reassignment without a refit resumes from the checkpoint of the training without it."""
        method = REFITTED if refit else REASSIGNED if reassign else variant

        def run() -> dict[str, Any]:
            base = self.base(size, partitions)
            path = self.path(method, size, partitions)
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(base, path)
            task = self.task
            start, processor = time.perf_counter(), time.process_time()
            with threads(self.threads):
                index = vsearch.jpq.train(
                    vsearch.open(path),
                    task.queries,
                    task.positives,
                    validation=task.chosen_by,
                    checkpoint=self.work / f"{self.path(method if refit else variant, size, partitions).name}.npz",
                    documents=task.base if reassign or refit else None,
                    refit=refit,
                    reassign=reassign,
                    **VARIANTS[variant],
                )
            facts = index.info()["training"]
            return plain(of_index(task, index), index) | {
                "seconds": time.perf_counter() - start,
                "processor_seconds": time.process_time() - processor,
                "epochs": facts["best_epoch"],
            }

        return self.measured(method, size, partitions, run)

    def path(self, variant: str, size: int, partitions: int | None) -> Path:
        return self.work / f"{variant.replace(', ', '-').replace(' ', '-')}-{size}-{partitions or 'default'}"


def plain(quality: Quality, index: vsearch.Index) -> dict[str, Any]:
    return {
        "mrr": quality.mrr.tolist(),
        "ndcg": quality.ndcg.tolist(),
        "recall": quality.recall.tolist(),
        "partitions": index.info()["partitions"],
    }


def interval(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95% bootstrap interval of the mean, resampling queries."""
    rng = np.random.default_rng(0)
    means = [float(rng.choice(differences, len(differences)).mean()) for _ in range(DRAWS)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def against(quality: Quality, other: Quality) -> str:
    """Difference of the MRR, with its interval."""
    difference = quality.mrr - other.mrr
    low, high = interval(difference)
    return f"{difference.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def query_cost(task: Task, untrained: Path, trained: Path) -> tuple[float, float, float]:
    """Processor milliseconds per query before and after training, and the ratio of the medians; interleaved."""
    queries = task.reported[0][:TIMED]
    indexes = [vsearch.open(untrained), vsearch.open(trained)]
    settings = indexes[0].snapshot.settings
    indexes[1].snapshot.settings = settings  # both visit equally far, to compare the work per row and per query

    def timed(index: vsearch.Index) -> Callable[[], float]:
        return lambda: time_singles(lambda q, k: index.search(q, k, nprobe=64).ids, queries, 10, "processor").qps

    with threads(1):
        speeds = interleave([timed(index) for index in indexes], REPETITIONS)
    before, after = (1000 / float(np.median(qps)) for qps in speeds)
    return before, after, after / before


def rows_of(measured: Sequence[Measured], floats: Quality) -> list[list[object]]:
    untrained = {(m.size, m.partitions == 1): m.quality for m in measured if m.method.startswith("OPQ")}
    rows: list[list[object]] = []
    for m in measured:
        means, start = m.quality.means(), untrained[m.size, m.partitions == 1]
        rows.append(
            [
                f"{m.size} B, {m.method}",
                m.partitions,
                report.share(means["mrr@10"]),
                report.share(means["ndcg@10"]),
                report.share(means["recall@100"]),
                f"{100 * means['mrr@10'] / floats.mrr.mean():.1f} %",
                against(m.quality, floats),
                "-" if m.quality is start else against(m.quality, start),
                m.epochs,
                m.processor_seconds,
                m.seconds,
            ]
        )
    return rows


HEADER = (
    "code",
    "partitions",
    "MRR@10",
    "nDCG@10",
    "recall@100",
    "of the floats' MRR",
    "MRR against floats",
    "MRR against untrained PQ",
    "best epoch",
    "processor s",
    "s",
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jpq", description="Ranking quality of trained PQ codes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes per vector")
    parser.add_argument(
        "--one-partition", type=int, nargs="*", default=(), help="sizes to repeat with one partition: the codes alone"
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for indexes and measurements; later runs resume"
    )
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    parser.add_argument(
        "--threads", type=int, default=1, help="of BLAS and FAISS while building and training; searches use all cores"
    )
    args = parser.parse_args(arguments)
    task = load(args.folder)
    runs = Runs(task, args.work, args.threads)
    floats = of_floats(task)
    everything: list[Measured] = []
    for size in args.sizes:
        everything += measure_size(runs, size)
        write(args.results, runs, everything, floats)
    for size in args.one_partition:
        everything += [
            runs.untrained(size, 1),
            runs.trained("both", size, 1),
            runs.trained("both", size, 1, reassign=True),
        ]
        write(args.results, runs, everything, floats)


def measure_size(runs: Runs, size: int) -> list[Measured]:
    """All rows of one size in bytes, with the default number of partitions."""
    variants = VARIANTS if size in ABLATED else EVERYWHERE
    osq = runs.osq(size)
    return [
        runs.untrained(size, None),
        *([] if osq is None else [osq]),
        *(runs.trained(variant, size, None) for variant in variants),
        runs.trained("both", size, None, reassign=True),
        runs.trained("both", size, None, reassign=True, refit=True),
    ]


def write(results: Path, runs: Runs, everything: Sequence[Measured], floats: Quality) -> None:
    """Write the section of the results and its plot, from what is available so far."""
    task = runs.task
    measured = sorted(everything, key=lambda m: (m.partitions == 1, -m.size))
    sizes = {m.size for m in measured}
    size = max(sizes & set(ABLATED) or sizes)
    trained = vsearch.open(runs.path("both", size, None))
    adapted = of_floats(task, vsearch.jpq.export_adapter(trained))
    before, after, ratio = query_cost(task, runs.base(size, None), runs.path("both", size, None))
    routed = of_index(task, trained, exact=False).means()["mrr@10"]
    lines = [
        (
            f"Float vectors: MRR@10 {floats.mrr.mean():.4f}, nDCG@10 {floats.ndcg.mean():.4f}, "
            f"recall@100 {floats.recall.mean():.4f}. With the adapter of the {size}-byte index: MRR@10 "
            f"{adapted.mrr.mean():.4f}, nDCG@10 {adapted.ndcg.mean():.4f}, recall@100 {adapted.recall.mean():.4f} "
            f"({against(adapted, floats)} against floats)."
        ),
        report.table(HEADER, rows_of(measured, floats)),
        (
            "Bytes are those of the code; its factor takes two more, of PQ and of OSQ alike. The seconds of re-assignment come "
            "on top of those of the training before it, and it stands where it ranked the first half of the validation "
            f"queries better; otherwise the codes stayed. OSQ starts at {FINEST_OSQ} bits per dimension."
        ),
        (
            f"A single query of the {size}-byte index takes {before:.3f} ms before training and {after:.3f} ms after: "
            f"ratio {ratio:.3f} (processor time, medians of {REPETITIONS} turns, one thread, 64 partitions). With the settings "
            f"that training stored, its search without `exact` has an MRR@10 of {routed:.4f}."
        ),
        f"![MRR by bytes](plots/jpq-{task.name}.png)",
    ]
    data = Data(task.name, "cosine", task.base, task.reported[0], Truth(np.empty((0, 0), np.int64), np.empty((0, 0))))
    parameters = {
        "training": f"{len(task.queries):,} queries; stopped by {len(task.chosen_by[0])} others",
        "intervals": f"paired bootstrap over {len(task.reported[0])} queries, 95 %, {DRAWS:,} draws",
        "threads": f"{runs.threads} of BLAS and FAISS while training, {os.cpu_count()} of the searches that mine",
        "versions": report.versions(["vsearch", "faiss-cpu", "numpy"]),
    }
    report.replace(results, f"jpq {task.name}", report.section("Trained PQ codes", data, lines, parameters))
    draw(results.parent / f"plots/jpq-{task.name}.png", measured, floats, adapted)


def draw(path: Path, measured: Sequence[Measured], floats: Quality, adapted: Quality) -> None:
    several = [m for m in measured if m.partitions > 1]
    sizes = sorted({m.size for m in several})
    curves = []
    for method in dict.fromkeys(m.method for m in several):
        by_size = sorted((m for m in several if m.method == method), key=lambda m: m.size)
        if len(by_size) > len(ABLATED) or len(sizes) <= len(ABLATED):
            x, y = [m.size for m in by_size], [m.quality.means()["mrr@10"] for m in by_size]
            curves.append(report.Curve(method, x, y, ours=method == REFITTED))
    for name, quality in (("float vectors", floats), ("float vectors, adapted", adapted)):
        curves.append(report.Curve(name, sizes, [float(quality.mrr.mean())] * len(sizes)))
    report.plot(path, curves, title="Ranking by PQ codes", x="bytes per code", y="MRR@10", log="x")


if __name__ == "__main__":
    main()
