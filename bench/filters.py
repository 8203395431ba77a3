"""Filters: recall against the exact filtered truth, and time, by selectivity.

``python -m bench.filters FOLDER`` needs ``attributes.parquet`` next to the vectors. A column ``uniform`` is added to it, to provide
any selectivity without correlation; values of a categorical column whose rows are near each other provide correlated predicates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from bench import report
from bench.contest import Entry, Field, assemble, console, parser
from bench.data import Data, Rows, Truth, exact, load, recall, sample, spaced
from bench.measure import fastest_reaching, interleave, threads, time_singles
from bench.peers.protocol import Predicate, Setting

K = 10
TARGET = 0.99
SELECTIVITIES = (0.5, 0.05, 0.005, 0.0001)
CORRELATED = (0.1, 0.01, 0.001)
UNIFORM = "uniform"
SWEPT = 8  # settings tried per contestant and predicate, since slow ones take seconds each


@dataclass(frozen=True)
class Case:
    """A predicate with the remaining data: its exact k best rows."""

    predicate: Predicate
    truth: Truth

    @property
    def label(self) -> str:
        return self.predicate.name


@dataclass(frozen=True)
class Answer:
    """One contestant on one predicate, at its fastest setting that reaches the target recall.

    ``wrong`` counts results that do not satisfy the predicate, ``missing`` those by which a result is shorter than
    min(k, matching rows).
    """

    entry: Entry
    case: Case
    setting: Setting
    recall: float
    wrong: int
    missing: int
    qps: float = 0.0


def attributes_of(folder: Path, rows: int) -> pa.Table:
    """The attribute table of the ``rows`` rows in use, with the column ``uniform`` in [0, 1)."""
    table = parquet.read_table(folder / "attributes.parquet")
    if rows < table.num_rows:
        table = table.take(spaced(table.num_rows, rows))
    # Evenly spaced and shuffled, so that a threshold has exactly its nominal selectivity.
    values = np.random.default_rng(0).permutation(rows) / rows
    return table.replace_schema_metadata(None).append_column(UNIFORM, pa.array(values))


def matching(attributes: pa.Table, sql: str) -> Rows:
    """Rows that satisfy a predicate, as DuckDB evaluates it."""
    import duckdb

    numbered = attributes.append_column("row_number_", pa.array(np.arange(attributes.num_rows)))
    connection = duckdb.connect()
    connection.register("numbered", numbered)
    matches = connection.execute(f"SELECT row_number_ FROM numbered WHERE {sql}").fetchnumpy()  # noqa: S608
    return np.sort(np.asarray(matches["row_number_"], dtype=np.int64))


def predicate(attributes: pa.Table, sql: str, note: str = "") -> Predicate:
    """A named predicate with its rows and the columns used in its text."""
    import sqlglot

    columns = {str(c.name) for c in sqlglot.parse_one(sql, dialect="duckdb").find_all(sqlglot.exp.Column)}
    return Predicate(f"{sql}{note}", sql, matching(attributes, sql), tuple(sorted(columns)))


def correlated(attributes: pa.Table, data: Data) -> list[str]:
    """Equality predicates near given selectivities, on the string column most correlated with the vectors.

    The correlation is how often two of a query's neighbors share a value, relative to how often two random rows do.
    """
    neighbors = data.truth.ids
    best: tuple[float, str, pa.Array, Rows] | None = None
    for name in attributes.column_names:
        column = attributes[name]
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            continue
        encoded = column.combine_chunks().dictionary_encode()
        counts = np.bincount(encoded.indices.fill_null(0).to_numpy(), minlength=len(encoded.dictionary))
        if not 2 <= len(counts) <= 256:
            continue
        codes = encoded.indices.fill_null(-1).to_numpy()[neighbors]
        together = float((codes[:, :1] == codes[:, 1:]).mean())
        by_chance = float(((counts / counts.sum()) ** 2).sum())
        if best is None or together / by_chance > best[0]:
            best = (together / by_chance, name, encoded.dictionary, counts)
    if best is None:
        return []
    _, name, values, counts = best
    chosen = {int(np.abs(np.log(np.maximum(counts, 1) / data.rows / target)).argmin()) for target in CORRELATED}
    quoted = [str(values[i].as_py()).replace("'", "''") for i in sorted(chosen, key=lambda i: -counts[i])]
    return [f"{name} = '{value}'" for value in quoted]


def cases(attributes: pa.Table, data: Data, extra: Sequence[str], *, extra_only: bool = False) -> list[Case]:
    """No filter, the uniform ones, the correlated ones and the caller's, widest first; ``alone``: only the caller's."""
    predicates = [predicate(attributes, sql) for sql in extra]
    if not extra_only:
        predicates += [predicate(attributes, f"{UNIFORM} < {s:g}") for s in SELECTIVITIES]
        predicates += [predicate(attributes, sql, " (correlated)") for sql in correlated(attributes, data)]
    filter_cases = [Case(Predicate("no filter", None, np.arange(data.rows)), data.truth)]
    for candidate in sorted(predicates, key=lambda p: -len(p.rows)):
        inside = exact(data.base[candidate.rows], data.queries, K, data.metric)
        ids = np.where(inside.ids < 0, -1, candidate.rows[inside.ids]) if len(candidate.rows) else inside.ids
        filter_cases.append(Case(candidate, Truth(ids, inside.scores)))
    return filter_cases


def judge(entry: Entry, case: Case, setting: Setting, data: Data) -> Answer:
    """Recall and faults of one contestant at one setting."""
    ids = entry.index.configure(setting, case.predicate)(data.queries, K)
    valid = np.isin(ids, case.predicate.rows) & (ids >= 0)
    expected = min(K, len(case.predicate.rows)) * len(ids)
    return Answer(
        entry=entry,
        case=case,
        setting=setting,
        recall=recall(data, np.where(valid, ids, -1), case.truth),
        wrong=int(((ids >= 0) & ~valid).sum()),
        missing=expected - int((ids >= 0).sum()),
    )


def screen(entry: Entry, case: Case, data: Data, target: float, clock: str) -> Answer:
    """The fastest setting that reaches the target, or else the one with the best recall."""
    answers, speeds = [], []
    settings = entry.index.settings()
    spread = settings[:: -max(1, len(settings) // SWEPT)][::-1]  # includes the most thorough one
    for setting in spread:
        answers.append(judge(entry, case, setting, data))
        search = entry.index.configure(setting, case.predicate)
        speeds.append(time_singles(search, data.queries[:20], K, clock).qps)
        if len(answers) > 1 and answers[-1].recall >= max(target, 0.9999):
            break  # settings go from fast to thorough, so the following ones are only slower
    fastest = fastest_reaching([a.recall for a in answers], speeds, [target], keep=1)
    return answers[fastest[0]]


def measure(
    field: Field, filter_cases: Sequence[Case], data: Data, *, target: float, repetitions: int, clock: str
) -> list[Answer]:
    """Choose a setting per contestant and predicate, then time all of them, interleaved."""
    answers = []

    def qps(answer: Answer) -> float:
        search = answer.entry.index.configure(answer.setting, answer.case.predicate)
        return time_singles(search, data.queries, K, clock).qps

    with threads(1):
        for entry in field.entries:
            answers += [screen(entry, case, data, target, clock) for case in filter_cases]
            console.print(f"[cyan]swept[/] {entry.name}")
        timings = interleave([partial(qps, answer) for answer in answers], repetitions)
    return [replace(a, qps=median(t)) for a, t in zip(answers, timings, strict=True)]


def tables(field: Field, filter_cases: Sequence[Case], answers: Sequence[Answer], rows: int) -> list[str]:
    """Speed and recall by predicate and contestant, and the faults."""
    header = ["predicate", "selectivity", *(entry.name for entry in field.entries)]
    lines = []
    for case in filter_cases:
        answers_of_case = [next(a for a in answers if a.entry is entry and a.case is case) for entry in field.entries]
        matches = f"{100 * len(case.predicate.rows) / rows:.3g} %"
        lines.append(
            [case.label, matches, *(f"{report.cell(a.qps)} ({report.share(a.recall)})" for a in answers_of_case)]
        )
    faults = [
        f"- {a.entry.name}, {a.case.label}: {a.wrong} answers violate the filter, {a.missing} are missing"
        for a in answers
        if a.wrong or a.missing
    ]
    settings = [[a.entry.name, a.case.label, a.setting.label, report.share(a.recall), a.qps] for a in answers]
    body = report.table(["contestant", "predicate", "setting", "recall@10", "QPS"], settings)
    return [
        "Queries per second on one thread (recall@10 against the exact filtered truth):",
        report.table(header, lines),
        "Faults:\n\n" + "\n".join(faults) if faults else "No answer violated a filter and none was missing.",
        f"<details><summary>Settings</summary>\n\n{body}\n</details>",
    ]


def draw(path: Path, field: Field, answers: Sequence[Answer], data: Data) -> None:
    curves = []
    for entry in field.entries:
        points = [a for a in answers if a.entry is entry and "(correlated)" not in a.case.label]
        x = [100 * len(a.case.predicate.rows) / data.rows for a in points]
        ours = entry.contestant.package == "vsearch"
        curves.append(report.Curve(entry.name, x, [a.qps for a in points], ours=ours))
    title = f"{data.name}: filtered search, one thread, recall@10 as near {TARGET} as each gets"
    report.plot(path, curves, title=title, x="selectivity, %", y="queries per second", log="xy")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("filters", "Filtered search by selectivity.", queries=200)
    options.add_argument("--where", nargs="+", default=(), metavar="SQL", help="additional predicates")
    options.add_argument("--alone", action="store_true", help="only the predicates of --where")
    options.add_argument("--name", default="", help="name of a separate section and plot")
    options.add_argument("--recall", type=float, default=TARGET, help="target recall of every contestant")
    options.add_argument("--repetitions", type=int, default=3)
    args = options.parse_args(arguments)
    folder = args.folder or sample()
    data = load(folder, rows=args.rows, queries=args.queries, metric=args.metric, k=K)
    attributes = attributes_of(folder, data.rows)
    filter_cases = cases(attributes, data, args.where, extra_only=args.alone)
    named = " ".join(filter(None, (data.name, args.name)))
    with tempfile.TemporaryDirectory(prefix="vsearch-bench-") as scratch:
        field = assemble(
            "filters",
            data,
            Path(scratch),
            build_threads=args.build_threads,
            only=args.only,
            attributes=attributes,
        )
        answers = measure(field, filter_cases, data, target=args.recall, repetitions=args.repetitions, clock=args.clock)
    plot = f"plots/filters-{named.replace(' ', '-')}.png"
    text = [
        *tables(field, filter_cases, answers, data.rows),
        report.absences(field.absences),
        f"![speed by selectivity]({plot})",
    ]
    parameters = {
        "threads": f"searches 1, builds {args.build_threads}",
        "recall aimed at": f"{args.recall}, each at its fastest setting that reaches it, else at its best recall",
        "clock": args.clock,
        "filter": "vsearch and LanceDB get the SQL text with every query; the others get the matching rows for nothing",
        "repetitions": f"{args.repetitions}, interleaved; medians",
        "versions": report.versions(field.packages),
    }
    title = f"Filters, {args.name}" if args.name else "Filters"
    report.replace(args.results, f"filters {named}", report.section(title, data, text, parameters))
    draw(args.results.parent / plot, field, answers, data)
    print("\n".join(text[:3]))


if __name__ == "__main__":
    main()
