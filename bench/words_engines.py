"""Engines that search for words, as `bench.words` compares them: each at the settings that its authors recommend for speed, on one thread."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import vsearch

K = 10
K1, B = 1.2, 0.75
PARTS = 1000
"""A filter is a number of thousandths of the rows: those whose attribute `part` is lower."""


class Query(NamedTuple):
    """A query: its text of plain words, the words, and the filter, a number of thousandths; None for all rows."""

    text: str
    words: Sequence[str]
    below: int | None


@dataclass(frozen=True)
class Engine:
    """An engine with the collection in it.

    Attributes
    ----------
    search : callable
        Takes a `Query`.
    rows : callable
        Takes what `search` returns; the rows that were found, best first.
    seconds, size : float
        Processor time of the build, and bytes per row.
    """

    search: Callable[[Query], Any]
    rows: Callable[[Any], list[int]]
    seconds: float
    size: float


def words_of(text: str) -> list[str]:
    """The words of a text, for engines that take words."""
    return re.findall(r"\w+", text.lower())


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def ours(texts: Sequence[str], parts: NDArray[np.int64], folder: Path) -> Engine:
    """Build ours; an index has vectors, whose time, without texts, is not counted."""
    vectors = np.random.default_rng(0).standard_normal((len(texts), 8)).astype(np.float32)
    spent = []
    for text in (None, {"text": vsearch.TextColumn(k1=K1, b=B)}):
        begun = time.process_time()
        table = pa.table({"text": texts, "part": parts})
        index = vsearch.build(vectors, folder / f"ours-{text is None}", table, text=text)
        spent.append(time.process_time() - begun)
    wheres = {below: None if below is None else f"part < {below}" for below in (None, *range(PARTS))}

    def search(query: Query) -> Any:
        return index.search_text(query.text, K, wheres[query.below])

    size = index.info()["bytes_per_vector_by_part"]["text"]
    return Engine(search, lambda hits: hits.ids[0].tolist(), spent[1] - spent[0], size)


def tantivy(texts: Sequence[str], parts: NDArray[np.int64], folder: Path) -> Engine:
    """Build with term frequencies and without positions, in one segment; filters are ranges of a fast field."""
    import tantivy as engine

    schema = engine.SchemaBuilder()
    schema.add_text_field("text", tokenizer_name="default", index_option="freq")
    schema.add_integer_field("id", stored=True)
    schema.add_integer_field("part", fast=True, indexed=True)
    place, begun = folder / "tantivy", time.process_time()
    place.mkdir()
    index = engine.Index(schema.build(), path=str(place))
    writer = index.writer(1_000_000_000, 1)
    for number, text in enumerate(texts):
        writer.add_document(engine.Document(text=text, id=number, part=int(parts[number])))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    seconds = time.process_time() - begun
    searcher, occur, query_of, number_type = index.searcher(), engine.Occur, engine.Query, engine.FieldType.Integer

    def search(query: Query) -> Any:
        terms = [(occur.Should, query_of.term_query(index.schema, "text", word, "freq")) for word in query.words]
        asked = query_of.boolean_query(terms)
        if query.below is not None:
            range_query = query_of.range_query(index.schema, "part", number_type, 0, query.below, True, False)
            asked = query_of.boolean_query(
                [
                    (occur.Must, asked),
                    (occur.Must, query_of.const_score_query(range_query, 0.0)),
                ]
            )
        return searcher.search(asked, K, count=False)

    def rows(result: Any) -> list[int]:
        return [searcher.doc(address).to_dict()["id"][0] for _, address in result.hits]

    return Engine(search, rows, seconds, _bytes(place) / len(texts))


def bm25s(texts: Sequence[str], parts: NDArray[np.int64], folder: Path, backend: str = "numba") -> Engine:
    """Build; filters are weights of rows, which are made once."""
    import bm25s as engine

    begun = time.process_time()
    index = engine.BM25(method="lucene", k1=K1, b=B, backend=backend)
    index.index([words_of(text) for text in texts], show_progress=False)
    seconds = time.process_time() - begun
    index.save(str(folder / f"bm25s-{backend}"))
    masks: dict[int | None, NDArray[np.float32] | None] = {None: None}
    options = {"k": K, "show_progress": False, "n_threads": 0, "backend_selection": backend}

    def search(query: Query) -> Any:
        if query.below not in masks:
            masks[query.below] = (parts < query.below).astype(np.float32)
        return index.retrieve([list(query.words)], weight_mask=masks[query.below], **options)

    def rows(result: Any) -> list[int]:
        found = zip(result.documents[0].tolist(), result.scores[0].tolist(), strict=True)
        return [row for row, score in found if score > 0]

    return Engine(search, rows, seconds, _bytes(folder / f"bm25s-{backend}") / len(texts))


def lancedb(texts: Sequence[str], parts: NDArray[np.int64], folder: Path) -> Engine:
    """Build without positions, stems and stop words; filters before the search, with an index of their attribute."""
    import lancedb as engine

    begun = time.process_time()
    database = engine.connect(str(folder / "lancedb"))
    table = database.create_table("texts", pa.table({"id": range(len(texts)), "text": texts, "part": parts}))
    before = _bytes(folder / "lancedb")
    table.create_fts_index("text", use_tantivy=False, with_position=False, stem=False, remove_stop_words=False)
    seconds, size = time.process_time() - begun, _bytes(folder / "lancedb") - before
    table.create_scalar_index("part")

    def search(query: Query) -> Any:
        asked = table.search(query.text, query_type="fts").select(["id", "_score"]).limit(K)
        if query.below is not None:
            asked = asked.where(f"part < {query.below}", prefilter=True)
        return asked.to_arrow()

    return Engine(search, lambda result: result["id"].to_pylist(), seconds, size / len(texts))


def duckdb(texts: Sequence[str], parts: NDArray[np.int64], folder: Path) -> Engine:
    """Build the index of the extension `fts`, if it can be downloaded."""
    import duckdb as engine

    begun = time.process_time()
    database = engine.connect(str(folder / "duckdb"))
    database.execute("set threads = 1; install fts; load fts")
    table = pa.table({"id": range(len(texts)), "text": texts, "part": parts})  # noqa: F841  read by the statement
    database.execute("create table texts as select * from table")
    database.execute("pragma create_fts_index('texts', 'id', 'text', stemmer = 'none', stopwords = 'none')")
    seconds = time.process_time() - begun
    statement = (
        "select id, fts_main_texts.match_bm25(id, ?) as score from texts where score is not null and part < ? "
        "order by score desc limit 10"
    )

    def search(query: Query) -> Any:
        return database.execute(statement, [query.text, PARTS if query.below is None else query.below]).fetchall()

    return Engine(search, lambda rows: [row[0] for row in rows], seconds, _bytes(folder / "duckdb") / len(texts))


ENGINES = {
    "vsearch": ours,
    "tantivy": tantivy,
    "bm25s (numba)": bm25s,
    "bm25s (numpy)": lambda texts, parts, folder: bm25s(texts, parts, folder, "numpy"),
    "LanceDB": lancedb,
    "DuckDB": duckdb,
}
