"""Recall against speed: vsearch and its peers in one process, on one thread.

``python -m bench.search FOLDER`` sweeps every contestant over its settings, keeps the fastest that reach each of several recalls, and
times these in interleaved repetitions. ``--made 100000x1536`` searches synthetic clustered vectors instead of a folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import report
from bench.contest import Entry, Field, assemble, console, parser
from bench.data import Data, exact, load, recall, sample
from bench.measure import Timing, fastest_reaching, front, interleave, median_timing, threads, time_batch, time_singles
from bench.peers.protocol import Setting
from bench.synthetic import clustered

K = 10
MADE_QUERIES = 500
LEVELS = (0.90, 0.95, 0.98, 0.99)
SCREENED = (0.7, 0.8, 0.85, *LEVELS, 0.995, 0.999)


@dataclass(frozen=True)
class Point:
    """One contestant at one setting; timings are medians over the repetitions."""

    entry: Entry
    setting: Setting
    recall: float
    single: Timing
    batch: Timing


def make(shape: str, queries: int, metric: str, k: int) -> Data:
    """Synthetic data of a shape such as "100000x1536"."""
    rows, dimensions = (int(number) for number in shape.split("x"))
    base, held_out = clustered(rows, queries, dimensions, centers=max(64, rows // 8))
    return Data(f"made-{shape}", metric, base, held_out, exact(base, held_out, k, metric))


def screen(entry: Entry, data: Data, timed: int, clock: str) -> list[tuple[Setting, float]]:
    """Settings worth careful timing, with their recall, after one quick pass over all of them."""
    settings = list(entry.index.settings())
    recalls, speeds = [], []
    for setting in settings:
        search = entry.index.configure(setting)
        recalls.append(recall(data, search(data.queries, data.k)))
        speeds.append(time_singles(search, data.queries[:timed], data.k, clock).qps)
    selected = fastest_reaching(recalls, speeds, SCREENED)
    console.print(f"[cyan]swept[/] {entry.name}: {len(selected)} of {len(settings)} settings are worth timing")
    return [(settings[i], recalls[i]) for i in selected]


def measure(field: Field, data: Data, *, timed: int, repetitions: int, clock: str) -> list[Point]:
    """Sweep and time all contestants on one thread."""
    with threads(1):
        pairs = [
            (entry, *screened) for entry in field.entries for screened in screen(entry, data, max(1, timed // 5), clock)
        ]
        singles = data.queries[:timed]

        def timings_of(entry: Entry, setting: Setting) -> tuple[Timing, Timing]:
            search = entry.index.configure(setting)
            return time_singles(search, singles, data.k, clock), time_batch(search, data.queries, data.k, clock)

        timings = interleave(
            [partial(timings_of, entry, setting) for entry, setting, _ in pairs],
            repetitions,
            lambda done: console.print(f"repetition {done + 1} of {repetitions}"),
        )
    return [
        Point(
            entry,
            setting,
            reached,
            median_timing([t[0] for t in timing]),
            median_timing([t[1] for t in timing]),
        )
        for (entry, setting, reached), timing in zip(pairs, timings, strict=True)
    ]


def best(points: Sequence[Point], entry: Entry, level: float) -> Point | None:
    """The fastest setting of a contestant that reaches a recall."""
    reaching = [p for p in points if p.entry is entry and p.recall >= level]
    return max(reaching, key=lambda p: p.single.qps, default=None)


def summary(field: Field, points: Sequence[Point]) -> str:
    header = ["contestant", "bytes/vector", "+ raw", "build s", "build peak MB"]
    header += [f"QPS at {level:.2f}" for level in LEVELS] + [f"batch at {LEVELS[1]:.2f}", "best recall"]
    rows = []
    for entry in field.entries:
        fastest = [best(points, entry, level) for level in LEVELS]
        middle = fastest[1]
        rows.append(
            [
                entry.index.description,
                entry.index.bytes_per_vector,
                entry.index.raw_bytes_per_vector,
                entry.build_seconds,
                entry.peak_bytes / 1e6,
                *(None if p is None else p.single.qps for p in fastest),
                None if middle is None else middle.batch.qps,
                report.share(max(p.recall for p in points if p.entry is entry)),
            ]
        )
    return report.table(header, rows)


def details(points: Sequence[Point], k: int) -> str:
    header = ["contestant", "setting", f"recall@{k}", "QPS", "cores", "batch QPS", "cores"]
    rows = [
        [
            p.entry.name,
            p.setting.label,
            report.share(p.recall),
            *(p.single.qps, p.single.cores, p.batch.qps, p.batch.cores),
        ]
        for p in sorted(points, key=lambda p: (p.entry.name, p.recall))
    ]
    body = report.table(header, rows)
    return f"<details><summary>All settings that were timed</summary>\n\n{body}\n</details>"


def draw(path: Path, field: Field, points: Sequence[Point], data: Data) -> None:
    curves = []
    for entry in field.entries:
        shown_points = [p for p in points if p.entry is entry]
        shown_points = [
            shown_points[i] for i in front([p.recall for p in shown_points], [p.single.qps for p in shown_points])
        ]
        size = entry.index.bytes_per_vector + entry.index.raw_bytes_per_vector
        curves.append(
            report.Curve(
                f"{entry.index.description} ({size:,.0f} B)",
                [p.recall for p in shown_points],
                [p.single.qps for p in shown_points],
                ours=entry.contestant.package == "vsearch",
            )
        )
    title = f"{data.name}, {data.rows:,} x {data.dimensions}: single queries, one thread"
    report.plot(path, curves, title=title, x=f"recall@{data.k}", y="queries per second", log="y", x_limits=(0.8, 1.0))


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("search", "Recall against speed on one thread.")
    options.add_argument("--timed", type=int, default=500, help="queries for single-query timings")
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--k", type=int, default=K, help="neighbors per query")
    options.add_argument("--made", metavar="ROWSxDIMENSIONS", help="synthetic clustered vectors, one center for 8 rows")
    args = options.parse_args(arguments)
    if args.made:
        data = make(args.made, args.queries or MADE_QUERIES, args.metric, args.k)
    else:
        data = load(args.folder or sample(), rows=args.rows, queries=args.queries, metric=args.metric, k=args.k)
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        field = assemble("search", data, Path(scratch), build_threads=args.build_threads, only=args.only)
        points = measure(field, data, timed=args.timed, repetitions=args.repetitions, clock=args.clock)
    name = data.name if args.k == K else f"{data.name}-{args.k}"
    plot = f"plots/search-{name}.png"
    text = [
        summary(field, points),
        report.absences(field.absences),
        f"![recall against speed]({plot})",
        details(points, data.k),
    ]
    parameters = {
        "threads": f"searches 1, builds {args.build_threads} (turbovec 1)",
        "clock": args.clock,
        "repetitions": f"{args.repetitions}, interleaved; medians; {args.timed} single queries each",
        "versions": report.versions(field.packages),
    }
    title = "Search" if args.k == K else f"Search for {args.k} neighbors"
    report.replace(args.results, f"search {name}", report.section(title, data, text, parameters))
    draw(args.results.parent / plot, field, points, data)
    print("\n".join(text[:2]))


if __name__ == "__main__":
    main()
