"""A changing index: the cost of appends, deletions, merges and competing writers, and their effect on searches.

``python -m bench.live FOLDER`` measures each part against its target; ``--parts append,delete`` measures only some,
whose lines replace the previous ones. Without a folder it uses the sample, which has few rows: choose suitable
``--appends`` and ``--batch``. Targets for a million rows are measured on synthetic rows (``--large``).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import report
from bench.contest import console
from bench.data import sample
from bench.live_data import Result, Row, Setup, read
from bench.live_lancedb import beside
from bench.live_merging import histories, merge, shape
from bench.live_reading import TOGETHER, cost, recalls, refresh
from bench.live_stack import stack
from bench.live_writing import append, delete, disk, writers

PARTS: dict[str, Callable[[Setup], Result]] = {
    "append": append,
    "delete": delete,
    "cost": cost,
    "recall": recalls,
    "refresh": refresh,
    "stack": stack,
    "shape": shape,
    "merge": merge,
    "writers": writers,
    "histories": histories,
    "disk": disk,
    "lancedb": beside,
}
HEADER = ["part", "what", "asked", "measured", "", "how", "date"]


def write(arguments: argparse.Namespace, setup: Setup, name: str, result: Result) -> None:
    """Write a part's results, replacing its previous ones."""
    data = setup.collection.data
    parameters = {
        "threads": "searches 1, BLAS and OpenMP 1",
        "clock": "processor time of all threads; where it says s, of the clock on the wall",
        "vsearch": "osq 1 bit, rerank int8, default settings",
        "versions": report.versions(["vsearch", "numpy", "pyarrow"]),
    }
    if result.rows:
        key = f"live {data.name}"
        kept = [line for line in report.rows(arguments.results, key) if line[0] != name]
        lines = [*kept, *([*row.cells, report.today()] for row in result.rows)]
        order = list(PARTS)
        lines.sort(key=lambda line: order.index(line[0]) if line[0] in order else len(order))
        body = report.table(HEADER, lines)
        report.replace(arguments.results, key, report.section("An index that changes", data, [body], parameters))
    for title, text in result.sections.items():
        facts = parameters | {
            "repetitions": f"{arguments.repetitions}, in turns of {TOGETHER} queries (LanceDB: of all); medians; {arguments.timed} single queries each"
        }
        report.replace(arguments.results, f"live {name} {data.name}", report.section(title, data, text, facts))


def shown(rows: Sequence[Row]) -> str:
    return report.table(HEADER[:-1], [row.cells for row in rows])


def shape_of(text: str) -> tuple[int, int]:
    """Parse ROWSxDIMENSIONS."""
    rows, dimensions = text.split("x")
    return int(rows), int(dimensions)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.live", description="An index that changes.")
    options.add_argument("folder", type=Path, nargs="?", help="holds base.npy and queries.npy; without: the sample")
    options.add_argument("--parts", default=",".join(PARTS), help="names with commas between them")
    options.add_argument("--rows", type=int, help="only ROWS rows, at equal distances")
    options.add_argument("--queries", type=int, default=1000, help="only the first QUERIES")
    options.add_argument("--large", type=shape_of, default=(1_000_000, 384), metavar="ROWSxDIMENSIONS")
    options.add_argument("--appends", type=int, default=100)
    options.add_argument("--batch", type=int, default=100, help="rows of an append")
    options.add_argument("--batches", type=int, nargs="*", default=[1, 300], help="other batches to search after")
    options.add_argument("--timed", type=int, default=500, help="queries of a single-query timing")
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--commits", type=int, default=200, help="of each of the competing writers")
    options.add_argument("--minutes", type=float, default=15, help="of the histories")
    options.add_argument("--seed", type=int, default=0, help="of the histories")
    options.add_argument("--work", type=Path, help="keeps the large index, for runs of other parts")
    options.add_argument("--results", type=Path, default=Path(__file__).parent / "RESULTS.md")
    settings = options.parse_args(arguments)
    names = settings.parts.split(",")
    for name in names:
        if name not in PARTS:
            options.error(f"--parts takes {', '.join(PARTS)}, got {name!r}")
    collection = read(settings.folder or sample(), settings.rows, settings.queries)
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-", dir=settings.work) as scratch:
        kept = Path(settings.work or scratch)
        setup = Setup(
            collection=collection,
            large=settings.large,
            appends=settings.appends,
            batch=settings.batch,
            batches=tuple(settings.batches),
            timed=settings.timed,
            repetitions=settings.repetitions,
            commits=settings.commits,
            minutes=settings.minutes,
            seed=settings.seed,
            scratch=Path(scratch),
            kept=kept,
            plots=settings.results.parent,
        )
        for name in names:
            console.print(f"[cyan]{name}[/]")
            result = PARTS[name](setup)
            write(settings, setup, name, result)
            print(
                shown(result.rows) if result.rows else "\n\n".join(t for text in result.sections.values() for t in text)
            )


if __name__ == "__main__":
    main()
