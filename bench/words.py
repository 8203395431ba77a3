"""``python -m bench.words FOLDER``: searches for words compared with tantivy and bm25s, on one thread.

FOLDER contains ``texts.parquet`` (``text``), ``attributes.parquet`` (``synopsis``) and ``validation_positives.npy``: the rows whose synopses
are the queries, and the first two words of each the short queries. All engines get each query in turn, in one process, so that they
share what else the machine does; the times are processor time, medians over the queries of the best of three.
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

import vsearch
from bench.contest import console

K = 10
Search = Callable[[str], Any]


def words_of(text: str) -> list[str]:
    """The words of a query, for engines without our syntax."""
    return re.findall(r"\w+", text.lower())


def ours(texts: list[str], folder: Path, *, phrases: bool) -> tuple[Search, float]:
    """Our search, and bytes per row."""
    rng = np.random.default_rng(0)
    index = vsearch.build(
        rng.standard_normal((len(texts), 8)).astype(np.float32),
        folder / f"ours-{phrases}",
        pa.table({"text": texts}),
        text={"text": vsearch.TextColumn(phrases=phrases)},
    )
    size = index.info()["bytes_per_vector_by_part"]["text"]
    return lambda query: index.search_text(" ".join(words_of(query)), K), size


def tantivy(texts: list[str], folder: Path) -> tuple[Search, float]:
    """The search of tantivy, with term frequencies and without positions."""
    import tantivy as engine

    schema = engine.SchemaBuilder()
    schema.add_text_field("text", tokenizer_name="default", index_option="freq")
    schema.add_integer_field("id", stored=True)
    place = folder / "tantivy"
    place.mkdir()
    index = engine.Index(schema.build(), path=str(place))
    writer = index.writer(200_000_000, 1)
    for number, text in enumerate(texts):
        writer.add_document(engine.Document(text=text, id=number))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher, should, query_of = index.searcher(), engine.Occur.Should, engine.Query

    def search(query: str) -> Any:
        terms = [(should, query_of.term_query(index.schema, "text", word, "freq")) for word in words_of(query)]
        return searcher.search(query_of.boolean_query(terms), K, count=False)

    return search, sum(file.stat().st_size for file in place.iterdir()) / len(texts)


def bm25s(texts: list[str], folder: Path) -> tuple[Search, float]:
    """The search of bm25s."""
    import bm25s as engine

    index = engine.BM25(method="lucene", k1=1.2, b=0.75)
    index.index([words_of(text) for text in texts], show_progress=False)
    index.save(str(folder / "bm25s"))
    size = sum(file.stat().st_size for file in (folder / "bm25s").iterdir()) / len(texts)
    return lambda query: index.retrieve([words_of(query)], k=K, show_progress=False, n_threads=0), size


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.words", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, default=300)
    arguments = parser.parse_args()
    texts = [text or "" for text in pq.read_table(arguments.folder / "texts.parquet")["text"].to_pylist()]
    synopses = pq.read_table(arguments.folder / "attributes.parquet", columns=["synopsis"])["synopsis"].to_pylist()
    positives = np.load(arguments.folder / "validation_positives.npy")[: arguments.queries].tolist()
    long = [synopses[row] for row in positives if synopses[row]]
    short = [" ".join(words_of(query)[:2]) for query in long]
    with tempfile.TemporaryDirectory() as scratch:
        engines: dict[str, Search] = {}
        for name, make in {
            "vsearch": lambda: ours(texts, Path(scratch), phrases=False),
            "vsearch, phrases": lambda: ours(texts, Path(scratch), phrases=True),
            "tantivy": lambda: tantivy(texts, Path(scratch)),
            "bm25s": lambda: bm25s(texts, Path(scratch)),
        }.items():
            begun = time.process_time()
            engines[name], size = make()
            console.print(f"{name}: build {time.process_time() - begun:.1f} s, {size:.0f} bytes per row")
        for kind, queries in {"long": long, "short": short}.items():
            times: dict[str, list[float]] = {name: [] for name in engines}
            for query in queries:
                names = list(engines)
                random.Random(query).shuffle(names)
                for name in names:
                    times[name].append(min(_timed(engines[name], query) for _ in range(3)))
            summary = ", ".join(f"{name} {np.median(spent) * 1e6:.0f} us" for name, spent in times.items())
            console.print(f"{kind} queries: {summary}")


def _timed(search: Search, query: str) -> float:
    begun = time.process_time()
    search(query)
    return time.process_time() - begun


if __name__ == "__main__":
    main()
