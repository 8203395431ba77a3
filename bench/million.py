"""Recall against speed on a million rows, where graphs gain: at which recall do the curves cross?

``python -m bench.million`` generates a million clustered vectors with a decaying spectrum (synthetic, for lack of a real dataset of
that size), and sweeps vsearch, FAISS, ScaNN and graphs like ``bench.search``. With ``--work KEPT``, measurements are kept in that
folder, and ``--only NAME`` measures the named contestants again and takes the others from there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench import report
from bench.contest import Entry, assemble, console
from bench.data import CACHE, Data, load
from bench.measure import CLOCKS, front
from bench.peers import SETS
from bench.search import LEVELS, K, Point, measure
from bench.synthetic import clustered

CENTERS = 4096
GRID = tuple(round(0.80 + 0.005 * i, 3) for i in range(40))
MEASURED = "million.json"


@dataclass(frozen=True)
class Curve:
    """Stored results of one contestant: sizes, build time, and for every setting recall, QPS and batch QPS."""

    name: str
    description: str
    ours: bool
    bytes_per_vector: float
    raw_bytes_per_vector: float
    build_seconds: float
    labels: list[str]
    recalls: list[float]
    speeds: list[float]
    batch_speeds: list[float]
    date: str

    @classmethod
    def of(cls, entry: Entry, points: Sequence[Point]) -> Curve:
        by_recall = sorted((p for p in points if p.entry is entry), key=lambda p: p.recall)
        return cls(
            entry.name,
            entry.index.description,
            entry.contestant.package == "vsearch",
            entry.index.bytes_per_vector,
            entry.index.raw_bytes_per_vector,
            entry.build_seconds,
            [p.setting.label for p in by_recall],
            [p.recall for p in by_recall],
            [p.single.qps for p in by_recall],
            [p.batch.qps for p in by_recall],
            report.today(),
        )

    def speed_at(self, recall: float) -> float | None:
        """The most queries per second among the settings that reach a recall."""
        return max((s for r, s in zip(self.recalls, self.speeds, strict=True) if r >= recall), default=None)


def make_data(rows: int, queries: int, dimensions: int) -> Path:
    """A folder with the synthetic vectors, cached in the temporary folder for the next run."""
    folder = CACHE / f"clustered-{rows}x{dimensions}"
    if not (folder / "queries.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        base, drawn = clustered(rows, queries, dimensions, centers=CENTERS)
        np.save(folder / "base.npy", base)
        np.save(folder / "queries.npy", drawn)
    return folder


def faster_from(ours: Curve, theirs: Curve) -> list[float]:
    """Recalls of `GRID`, among those that both reach, at which we are at least as fast."""
    recalls = []
    for recall in GRID:
        our_speed, other = ours.speed_at(recall), theirs.speed_at(recall)
        if our_speed is not None and other is not None and our_speed >= other:
            recalls.append(recall)
    return recalls


def crossing(ours: Curve, theirs: Curve) -> str:
    """Describe where our curve crosses theirs."""
    common = [r for r in GRID if ours.speed_at(r) is not None and theirs.speed_at(r) is not None]
    won = faster_from(ours, theirs)
    if not common:
        return "no recall is reached by both"
    if not won:
        return f"slower at every recall from {common[0]:g} to {common[-1]:g}"
    if len(won) == len(common):
        return f"faster at every recall from {common[0]:g} to {common[-1]:g}"
    edges = [r for r, after in itertools.pairwise(common) if (r in won) != (after in won)]
    first = "faster" if common[0] in won else "slower"
    return f"{first} at {common[0]:g}; the curves cross after {', '.join(f'{r:g}' for r in edges)}"


def summary(curves: Sequence[Curve]) -> str:
    header = ["contestant", "bytes/vector", "+ raw", "build s", *(f"QPS at {level:.2f}" for level in LEVELS)]
    rows = [
        [c.description, c.bytes_per_vector, c.raw_bytes_per_vector, c.build_seconds]
        + [c.speed_at(level) for level in LEVELS]
        + [report.share(max(c.recalls)), c.date]
        for c in curves
    ]
    return report.table([*header, "best recall", "measured"], rows)


def crossings(curves: Sequence[Curve]) -> str:
    lines = []
    for ours in (c for c in curves if c.ours):
        lines += [f"- {ours.description} against {c.description}: {crossing(ours, c)}" for c in curves if not c.ours]
    return "Where the curves cross, single queries:\n\n" + "\n".join(lines) if lines else ""


def details(curves: Sequence[Curve]) -> str:
    rows = [
        [c.name, label, report.share(recall), speed, batch]
        for c in curves
        for label, recall, speed, batch in zip(c.labels, c.recalls, c.speeds, c.batch_speeds, strict=True)
    ]
    body = report.table(["contestant", "setting", "recall@10", "QPS", "batch QPS"], rows)
    return f"<details><summary>All settings that were timed</summary>\n\n{body}\n</details>"


def draw(path: Path, curves: Sequence[Curve], data: Data) -> None:
    drawn = []
    for c in curves:
        front_points = front(c.recalls, c.speeds)
        size = c.bytes_per_vector + c.raw_bytes_per_vector
        drawn.append(
            report.Curve(
                f"{c.description} ({size:,.0f} B)",
                [c.recalls[i] for i in front_points],
                [c.speeds[i] for i in front_points],
                ours=c.ours,
            )
        )
    title = f"{data.rows:,} x {data.dimensions}, clustered (synthetic): single queries, one thread"
    report.plot(path, drawn, title=title, x="recall@10", y="queries per second", log="y", x_limits=(0.8, 1.0))


def kept_curves(work: Path | None) -> dict[str, Curve]:
    """Measurements of earlier runs by name, for contestants that still take part."""
    path = None if work is None else work / MEASURED
    if path is None or not path.exists():
        return {}
    taking_part = {contestant.name for contestant in SETS["million"]()}
    return {record["name"]: Curve(**record) for record in json.loads(path.read_text()) if record["name"] in taking_part}


def run(args: argparse.Namespace, data: Data) -> None:
    """Build and measure the requested contestants, store the results and write them with those stored before."""
    curves = kept_curves(args.work)
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        field = assemble("million", data, Path(scratch), build_threads=args.build_threads, only=args.only)
        points = measure(field, data, timed=args.timed, repetitions=args.repetitions, clock=args.clock)
    curves |= {entry.name: Curve.of(entry, points) for entry in field.entries}
    if args.work is not None:
        (args.work / MEASURED).write_text(json.dumps([asdict(curve) for curve in curves.values()], indent=1))
    write(args, data, list(curves.values()), field.absences)


def write(args: argparse.Namespace, data: Data, curves: Sequence[Curve], absences: dict[str, str]) -> None:
    curves = sorted(curves, key=lambda c: (not c.ours, c.name))
    plot = "plots/million.png"
    text = [
        summary(curves),
        crossings(curves),
        report.absences(absences),
        f"![recall against speed]({plot})",
        details(curves),
    ]
    parameters = {
        "vectors": f"synthetic: {CENTERS} centers around coarser ones, deviations of the dimensions fall as 1 / sqrt(i + 1)",
        "threads": f"searches 1, builds {args.build_threads}",
        "clock": args.clock,
        "repetitions": f"{args.repetitions}, interleaved; medians; {args.timed} single queries each",
        "versions": report.versions(["vsearch", "faiss-cpu", "scann", "scalable-vs", "hnswlib"]),
    }
    if len({c.date for c in curves}) > 1 or args.only:
        parameters["runs"] = "not all contestants were measured in one run; the last column says when"
    report.replace(args.results, "million", report.section("A million rows", data, text, parameters))
    draw(args.results.parent / plot, curves, data)
    print("\n".join(text[:3]))


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(
        prog="python -m bench.million", description="Recall against speed, a million rows."
    )
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--dimensions", type=int, default=96)
    options.add_argument("--queries", type=int, default=1000)
    options.add_argument("--timed", type=int, default=200, help="queries for single-query timings")
    options.add_argument("--repetitions", type=int, default=3)
    options.add_argument("--clock", choices=CLOCKS, default="wall", help="clock for speeds")
    options.add_argument("--only", nargs="+", default=(), metavar="NAME", help="contestants by name prefix")
    options.add_argument("--build-threads", type=int, default=os.cpu_count() or 1)
    options.add_argument("--work", type=Path, help="folder for measurements, for runs with --only")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    args = options.parse_args(arguments)
    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
    data = load(make_data(args.rows, args.queries, args.dimensions), queries=args.queries, k=K)
    console.print(f"{data.rows:,} x {data.dimensions} vectors are ready")
    run(args, data)


if __name__ == "__main__":
    main()
