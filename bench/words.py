"""``python -m bench.words FOLDER``: searches for words compared with other engines, on one thread.

FOLDER contains ``texts.parquet`` (``text``), and either ``attributes.parquet`` (``synopsis``) and ``validation_positives.npy``, the rows whose
synopses are the queries, or ``queries.parquet`` (``qtext``). ``--made ROWS`` searches random texts instead, of words that are as frequent as
those of a language. The first two words of each query are a short one. All engines get each query in turn, in one process, so that they
share what else the machine does; the times are processor time, medians over the queries of the least of three. Pin it to a core with taskset.
Replaces its section of ``RESULTS.md``.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench import report
from bench.contest import console
from bench.words_engines import ENGINES, PARTS, Engine, Query, words_of

RESULTS = Path(__file__).parent / "RESULTS.md"
FILTERS: dict[str, int | None] = {"all rows": None, "50 %": 500, "5 %": 50, "0.5 %": 5}
REPETITIONS = 3
SLOW_SECONDS = 0.01
"""Engines that take longer get a tenth of the queries, once."""


def collection(folder: Path) -> tuple[list[str], list[str]]:
    """Texts, and queries in words."""
    texts = [text or "" for text in pq.read_table(folder / "texts.parquet", columns=["text"])["text"].to_pylist()]
    if (folder / "queries.parquet").exists():
        return texts, pq.read_table(folder / "queries.parquet", columns=["qtext"])["qtext"].to_pylist()
    synopses = pq.read_table(folder / "attributes.parquet", columns=["synopsis"])["synopsis"].to_pylist()
    return texts, [synopses[row] for row in np.load(folder / "validation_positives.npy").tolist() if synopses[row]]


def made(rows: int) -> tuple[list[str], list[str]]:
    """Texts of 5 to 35 of 200,000 words, the n-th with a share of about 1 / n, and 8 words of other texts as queries."""
    rng = np.random.default_rng(0)
    share = 1 / (np.arange(200_000) + 2.7)
    words = np.array([_word(number) for number in range(200_000)], object)
    lengths = rng.integers(5, 36, rows + 500)
    drawn = words[rng.choice(200_000, int(lengths.sum()), p=share / share.sum())]
    stops = np.cumsum(lengths)
    texts = [" ".join(drawn[stop - length : stop]) for stop, length in zip(stops, lengths, strict=True)]
    return texts[:rows], [" ".join(text.split()[:8]) for text in texts[rows:]]


def _word(number: int) -> str:
    """A word of letters."""
    word = ""
    while True:
        number, letter = divmod(number, 26)
        word += chr(ord("a") + letter)
        if not number:
            return word + "x"


def queries_of(texts: Sequence[str], count: int) -> dict[str, list[Query]]:
    """Long and short queries with every filter."""
    rng, kinds = random.Random(0), {}
    chosen = [words for words in map(words_of, texts) if len(words) >= 3][:count]
    rng.shuffle(chosen)
    for kind, cut in (("long", None), ("short", 2)):
        for name, below in FILTERS.items():
            kinds[f"{kind}, {name}"] = [Query(" ".join(words[:cut]), words[:cut], below) for words in chosen]
    return kinds


def measure(engines: dict[str, Engine], queries: Sequence[Query]) -> tuple[dict[str, float], dict[str, float]]:
    """Median times in microseconds, and the share of the first engine's rows that are among another's."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    same: dict[str, list[float]] = {name: [] for name in engines}
    slow: set[str] = set()
    for number, query in enumerate(queries):
        names = [name for name in engines if name not in slow or number % 10 == 0]
        random.Random(number).shuffle(names)
        rows = {}
        for name in names:
            least = float("inf")
            for _ in range(1 if name in slow else REPETITIONS):
                begun = time.process_time()
                result = engines[name].search(query)
                least = min(least, time.process_time() - begun)
            times[name].append(least)
            rows[name] = engines[name].rows(result)
            if least > SLOW_SECONDS:
                slow.add(name)
        first = set(next(iter(rows[name] for name in engines)))
        for name in names:
            if first:
                same[name].append(len(first.intersection(rows[name])) / len(first))
    return (
        {name: float(np.median(spent)) * 1e6 for name, spent in times.items()},
        {name: float(np.mean(shares)) for name, shares in same.items()},
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.words", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--made", type=int)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(ENGINES))
    arguments = parser.parse_args()
    name = f"made {arguments.made:,}" if arguments.made else arguments.folder.name
    texts, asked = made(arguments.made) if arguments.made else collection(arguments.folder)
    parts = np.random.default_rng(1).integers(0, PARTS, len(texts))
    engines: dict[str, Engine] = {}
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for engine in arguments.only:
            try:
                engines[engine] = ENGINES[engine](texts, parts, Path(scratch))
            except Exception as error:
                absent[engine] = str(error).split(". For more")[0].splitlines()[0][:200]
                continue
            console.print(f"{engine}: build {engines[engine].seconds:.1f} s, {engines[engine].size:.0f} bytes per row")
        times, same = {}, {}
        for kind, queries in queries_of(asked, arguments.queries).items():
            times[kind], same[kind] = measure(engines, queries)
            console.print(f"{kind}: {', '.join(f'{engine} {spent:.0f} us' for engine, spent in times[kind].items())}")
    plain = [kind for kind in times if kind.endswith("all rows")]
    rows = [
        [
            engine,
            built.seconds,
            built.size,
            *(times[kind][engine] for kind in times),
            float(np.mean([same[kind][engine] for kind in plain])),
        ]
        for engine, built in engines.items()
    ]
    words = np.mean([len(words_of(text)) for text in texts])
    lengths = np.mean([len(query.words) for query in queries_of(asked, arguments.queries)["long, all rows"]])
    text = "\n\n".join(
        [
            f"## Words beside other engines: {name}",
            "\n".join(
                [
                    f"- data: {len(texts):,} texts of {words:.1f} words on average; {arguments.queries} queries of {lengths:.1f} words, and their first two; k=10",
                    f"- machine: {report.machine()}",
                    "- clock: processor time of the process, pinned to a core; queries one by one, all engines in turns, the least of 3; medians",
                    f"- versions: {report.versions(['vsearch', 'tantivy', 'bm25s', 'lancedb', 'duckdb', 'numpy'])}",
                    f"- date: {report.today()}",
                ]
            ),
            "Microseconds a query (a million divided by them is queries per second), by the rows that a filter leaves:",
            report.table(["engine", "build s", "bytes per row", *times, "same rows"], rows).strip(),
            "The last column is the share of the rows that vsearch finds which the engine finds too. Builds are of the words alone. "
            + report.absences(absent),
        ]
    )
    report.replace(RESULTS, f"words {name}", text)


if __name__ == "__main__":
    main()
