"""Quality of the estimators alone: all codes scanned, nothing reranked.

``python -m bench.recall FOLDER`` reports, by bytes per vector, recall@10 and the fraction of the true top 10 among the best 50 and
the best 100.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import report
from bench.contest import Entry, Field, assemble, console, parser
from bench.data import Data, load, recall, sample
from bench.measure import threads

K = 10
DEPTHS = (10, 50, 100)
BYTES, RECALL = 2, 4  # columns of the table


@dataclass(frozen=True)
class Quality:
    """One code: the fraction of the true top 10 among its best 10, 50 and 100."""

    entry: Entry
    shares: tuple[float, ...]

    @property
    def code_bytes(self) -> float:
        return float(getattr(self.entry.index, "code_bytes", self.entry.index.bytes_per_vector))


def measure(field: Field, data: Data, search_threads: int) -> list[Quality]:
    """Scan everything once with every code."""
    qualities = []
    for entry in field.entries:
        with threads(search_threads):
            search = entry.index.configure(entry.index.settings()[0])
            ids = search(data.queries, DEPTHS[-1])
        shares = tuple(recall(data, ids[:, :depth]) for depth in DEPTHS)
        console.print(f"{entry.name}: " + " ".join(map(report.share, shares)))
        qualities.append(Quality(entry, shares))
    return sorted(qualities, key=lambda q: (q.code_bytes, -q.shares[0]))


def family(name: str) -> str:
    """Contestants of one family share a curve: the name without its size."""
    stem, _, _ = name.partition("-osq-lloyd")
    if stem != name:
        return "vsearch-osq-lloyd"
    stem = name.rstrip("0123456789.x").rstrip("-")
    return stem + name[-2:] if name[-2:] in ("x4", "x8") else stem


def draw(path: Path, rows: Sequence[Sequence[str]], data: Data) -> None:
    """Draw one curve per family, from the cells of the table."""
    curves = []
    for name in sorted({family(row[0]) for row in rows}):
        members = [row for row in rows if family(row[0]) == name]
        x, y = [_number(row[BYTES]) for row in members], [_number(row[RECALL]) for row in members]
        curves.append(report.Curve(name, x, y, ours=name == "vsearch-osq"))
    title = f"{data.name}, {data.rows:,} x {data.dimensions}: estimators alone"
    report.plot(path, curves, title=title, x="bytes per vector (code and factors)", y="recall@10", log="x")


def _number(cell: str) -> float:
    return float(cell.replace(",", ""))


def cells(qualities: Sequence[Quality]) -> list[list[str]]:
    """Rows of the table."""
    rows: list[list[object]] = [
        [q.entry.name, q.entry.index.description, q.code_bytes, q.entry.index.bytes_per_vector]
        + [report.share(s) for s in q.shares]
        for q in qualities
    ]
    return [[report.cell(value) for value in row] for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("recall", "Recall of the codes alone, at equal bytes.", queries=1000)
    options.add_argument("--add", action="store_true", help="keep the rows of contestants that are not measured now")
    args = options.parse_args(arguments)
    data = load(args.folder or sample(), rows=args.rows, queries=args.queries, metric=args.metric, k=K)
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        field = assemble("recall", data, Path(scratch), build_threads=args.build_threads, only=args.only)
        qualities = measure(field, data, args.build_threads)
    key, rows = f"recall {data.name}", cells(qualities)
    if args.add:
        measured = {row[0] for row in rows}
        rows += [row for row in report.rows(args.results, key) if row[0] not in measured]
        rows.sort(key=lambda row: (_number(row[BYTES]), -_number(row[RECALL])))
    header = ["contestant", "what", "code bytes", "bytes in all", "recall@10"]
    header += [f"top 10 in best {depth}" for depth in DEPTHS[1:]]
    plot = f"plots/recall-{data.name}.png"
    text = [report.table(header, rows), report.absences(field.absences), f"![recall by bytes]({plot})"]
    parameters = {
        "threads": args.build_threads,
        "versions": report.versions(["faiss-cpu", "turbovec", "vsearch"]),
    }
    report.replace(args.results, key, report.section("Codes alone", data, text, parameters))
    draw(args.results.parent / plot, rows, data)
    print("\n".join(text[:2]))


if __name__ == "__main__":
    main()
