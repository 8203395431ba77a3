"""Write the golden indexes of the current formats: small indexes that every later version must still read.

``python index/make_golden.py index/golden`` writes ``format-<n>/<name>/``, those of format 2 by changing built indexes, and
in each index an ``expected.json`` with queries and the answers at the time. A golden index is never rewritten.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import vsearch
from vsearch.live import plan
from vsearch.storage import FORMAT
from vsearch.storage.snapshots.manifest import BUILT_FORMAT

ROWS, DIMENSIONS, QUERIES, K = 240, 20, 6, 5
FILTERS = [
    None,
    "number < 40 AND kind IN ('a', 'c')",
    "list_contains(tags, 'red') OR price IS NULL",
    "NOT flag AND day >= DATE '2024-03-01'",
    "name LIKE 'n_1%' AND moment < TIMESTAMP '2024-06-01 00:00:00'",
]
INDEXES: dict[str, dict[str, Any]] = {
    "cosine-osq-int8": {"metric": "cosine", "bits": 1.0, "rerank": "int8", "shards": 2, "partitions": 6},
    "l2-osq-staged-float16": {"metric": "l2", "bits": 3.0, "rerank": "float16", "partitions": 4},
    "ip-osq-estimates": {"metric": "ip", "bits": 4.0, "rerank": None, "partitions": 3},
    "cosine-osq-projected": {
        "metric": "cosine",
        "quantizer": "osq-projected",
        "bits": 1.0,
        "shards": 2,
        "partitions": 6,
    },
    "l2-osq-lloyd-float32": {
        "metric": "l2",
        "quantizer": "osq-lloyd",
        "bits": 2.0,
        "rerank": "float32",
        "partitions": 3,
    },
    "cosine-pq-trained": {"metric": "cosine", "quantizer": vsearch.PQ(5, 16), "shards": 2, "partitions": 4},
    "l2-pq-bytes": {"metric": "l2", "quantizer": vsearch.PQ(4, 256), "partitions": 2},
    "l2-osq-copies": {"metric": "l2", "bits": 2.0, "rerank": "int8", "shards": 2, "partitions": 8, "spill": True},
    "cosine-osq-chunks": {"metric": "cosine", "bits": 1.0, "partitions": 8, "spill": True},
}
DOCUMENTS, PATCH_DIMENSIONS = 48, 8
DOCUMENT_FILTERS = [None, "number < 20 AND kind = 'a'"]
DOCUMENT_INDEXES: dict[str, dict[str, Any]] = {
    "documents-fde-residuals": {"codebook": 24, "residual_bits": 2, "dimensions": 32, "store": "float16"},
    "documents-lists-binary": {"codebook": 16, "residual_bits": 0, "binary": True, "candidates": "lists"},
}


def attributes(rng: np.random.Generator) -> pa.Table:
    """One column of every type, most with NULLs."""
    numbers = rng.integers(0, 100, ROWS)

    def with_nulls(values: list[Any]) -> list[Any]:
        return [None if i % 11 == 3 else value for i, value in enumerate(values)]

    return pa.table(
        {
            "number": pa.array(with_nulls(numbers.tolist()), pa.int64()),
            "price": pa.array(with_nulls((rng.standard_normal(ROWS) * 10).tolist()), pa.float64()),
            "flag": pa.array(with_nulls((numbers % 2 == 0).tolist()), pa.bool_()),
            "kind": pa.array(with_nulls([str("abcd"[n % 4]) for n in numbers]), pa.string()),
            "name": pa.array([f"n{n % 10}{i}" for i, n in enumerate(numbers)], pa.string()),
            "day": pa.array(with_nulls([date(2024, 1 + n % 12, 1 + n % 28) for n in numbers]), pa.date32()),
            "moment": pa.array(
                with_nulls([datetime(2024, 1 + int(n) % 12, 2, 3, 4, 5, tzinfo=UTC) for n in numbers]),
                pa.timestamp("us", "UTC"),
            ),
            "tags": pa.array(with_nulls([["red", "blue"][: int(n) % 3] for n in numbers]), pa.list_(pa.string())),
        }
    )


def write_vectors(folder: Path) -> None:
    """Write the golden indexes of single vectors that do not exist yet below a folder."""
    for name, options in INDEXES.items():
        target = folder / name
        if target.exists():
            continue
        rng = np.random.default_rng(20)
        vectors = (rng.standard_normal((ROWS, DIMENSIONS)) * np.linspace(2, 0.2, DIMENSIONS) + 0.5).astype(np.float32)
        queries = rng.standard_normal((QUERIES, DIMENSIONS)).astype(np.float32)
        ids = [f"id-{i}" for i in range(ROWS)] if options["metric"] == "ip" else None
        index = vsearch.build(vectors, target, attributes(rng), ids, seed=7, **options)
        if name.endswith("trained"):
            index = vsearch.jpq.train(index, vectors[:160] ** 3, np.arange(160), epochs=2, batch=32, depth=20, seed=7)
        answers = [answer(index.search(queries, K, where, exact=True), where=where) for where in FILTERS]
        rows = index.get(index.search(queries[0], 3).ids[0]).to_pylist()
        write_expected(
            target, {"options": options, "k": K, "queries": queries.tolist(), "answers": answers, "rows": rows}
        )


def write_documents(folder: Path) -> None:
    """Write the golden indexes of multi-vector documents that do not exist yet below a folder."""
    for name, options in DOCUMENT_INDEXES.items():
        target = folder / name
        if target.exists():
            continue
        rng = np.random.default_rng(21)
        offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 9, DOCUMENTS))])
        vectors = rng.standard_normal((offsets[-1], PATCH_DIMENSIONS)).astype(np.float32)
        numbers = [None if i % 11 == 3 else i for i in range(DOCUMENTS)]
        table = pa.table({"number": pa.array(numbers, pa.int64()), "kind": ["ab"[i % 2] for i in range(DOCUMENTS)]})
        index = vsearch.build_documents(vectors, offsets, target, attributes=table, seed=7, **options)
        queries = [rng.standard_normal((n, PATCH_DIMENSIONS)).round(3) for n in (1, 3, 6)]
        answers = []
        for where in DOCUMENT_FILTERS:
            for exact in (False, True)[: 1 + ("store" in options)]:
                hits = index.search_documents(queries, K, where, candidates="all", exact=exact)
                answers.append(answer(hits, where=where, exact=exact))
        rows = index.get(index.search_documents(queries[0], 3).ids[0]).to_pylist()
        expected = {"options": options, "k": K, "queries": [query.tolist() for query in queries]}
        write_expected(target, {**expected, "answers": answers, "rows": rows})


def write_changed_documents(folder: Path) -> None:
    """Write a golden index of documents that was changed below a folder, if it is not there."""
    target = folder / "documents-changed"
    if target.exists():
        return
    options = {"codebook": 16, "dimensions": 24, "store": "float16", "pool": 2.0, "shards": 2}
    rng = np.random.default_rng(25)
    documents = [
        rng.standard_normal((n, PATCH_DIMENSIONS)).astype(np.float32) for n in rng.integers(1, 9, DOCUMENTS + 20)
    ]
    table = pa.table({"number": pa.array(range(DOCUMENTS + 20), pa.int64()), "kind": ["ab"[i % 2] for i in range(68)]})
    index = vsearch.build_documents(
        documents[:DOCUMENTS], None, target, attributes=table[:DOCUMENTS], seed=7, **options
    )
    index.delete(ids=[3, 5, 8])
    index.append(documents[DOCUMENTS : DOCUMENTS + 10], table[DOCUMENTS : DOCUMENTS + 10])
    index.optimize(force=True, retune=False)
    index.upsert(documents[DOCUMENTS + 10 :], table[DOCUMENTS + 10 :], np.arange(10))
    index.update({"kind": "a"}, where="number > 60")
    index.delete(ids=[0])
    vsearch.prune(target, keep=1, grace=0, older_than=0)
    index = vsearch.open(target)
    queries = [rng.standard_normal((n, PATCH_DIMENSIONS)).round(3) for n in (1, 3, 6)]
    answers = [
        answer(index.search_documents(queries, K, where, candidates="all", exact=exact), where=where, exact=exact)
        for where in DOCUMENT_FILTERS
        for exact in (False, True)
    ]
    rows = index.get(index.search_documents(queries[0], 3).ids[0]).to_pylist()
    expected = {"options": options, "k": K, "queries": [query.tolist() for query in queries]}
    write_expected(target, {**expected, "answers": answers, "rows": rows})


WEIGHTS = pa.map_(pa.string(), pa.float64())
SHARES = np.array([8, 5, 5, 4, 4, 3, 2, 2, 2, 4, 2, 1]) / 42
WORD_QUERIES: list[Any] = [
    "river",
    "Café -lake",
    "+stone river",
    "sto*",
    '"old river"',
    "title:old 東京",
    "C++ x2.org/a1",
    {"tokens": ["New York"], "column": "tags"},
    {"must": [{"phrase": "stone bridge"}], "not": ["old"]},
]
WEIGHT_QUERIES: list[dict[str, float]] = [
    {"t1": 1.0, "t5": 0.5},
    {"t3": 2.0, "t40": 1.25, "unknown": 9.0},
    {"t2": 0.001},
]


def write_words(folder: Path) -> None:
    """Write a golden index with words and sparse weights, changed, below a folder, if it is not there."""
    target = folder / "words-changed"
    if target.exists():
        return
    rng = np.random.default_rng(26)
    words = [
        "river",
        "old",
        "stone",
        "bridge",
        "café",
        "lake",
        "C++",
        "x2.org/a1",
        "東京タワー",
        "the",
        "stories",
        "Ωmega",
    ]

    def texts(count: int, most: int) -> list[str | None]:
        sizes = rng.integers(-1, most, count).tolist()
        return [None if size < 0 else " ".join(rng.choice(words, size, p=SHARES).tolist()) for size in sizes]

    def rows(count: int) -> tuple[Any, ...]:
        weights = [
            {f"t{term}": int(rng.integers(1, 256)) / 64 for term in np.unique(rng.zipf(1.5, size).clip(1, 40)).tolist()}
            for size in rng.integers(0, 8, count).tolist()
        ]
        tags = [rng.choice(["New York", "new", "york"], int(size)).tolist() for size in rng.integers(0, 3, count)]
        table = pa.table({"title": texts(count, 4), "body": texts(count, 12), "tags": tags})
        table = table.append_column("weights", pa.array([list(row.items()) for row in weights], WEIGHTS))
        return rng.standard_normal((count, 4)).astype(np.float32), table

    columns = {
        "title": vsearch.TextColumn(weight=2.0, phrases=True),
        "body": vsearch.TextColumn(stop_words=True, phrases=True, k1=0.9, b=0.4),
        "tags": vsearch.TextColumn(tokens=True, phrases=True),
    }
    points, attributes_of_rows = rows(50)
    index = vsearch.build(
        points, target, attributes_of_rows, text=columns, sparse="weights", seed=7, partitions=4, shards=1
    )
    index.delete(ids=[3, 8, 21])
    index.append(*rows(12))
    plan.TAIL_ROWS, usual = 1, plan.TAIL_ROWS  # lowered so that few rows become a young run
    index.optimize(retune=False)
    plan.TAIL_ROWS = usual
    index.append(*rows(6))
    index.delete(ids=[30, 45, 54])
    vsearch.prune(target, keep=1, grace=0, older_than=0)
    index = vsearch.open(target)
    expected = {
        "k": K,
        "words": [answer(index.search_text(query, K), query=query) for query in WORD_QUERIES],
        "weights": [answer(index.search_sparse(query, K), query=query) for query in WEIGHT_QUERIES],
    }
    write_expected(target, expected)


def answer(hits: vsearch.Hits, **request: Any) -> dict[str, Any]:
    """The request, the number of matching rows, and the hits."""
    return {**request, "matching": hits.stats.rows_masked, "ids": hits.ids.tolist(), "scores": hits.scores.tolist()}


CHANGED_ROWS = 120
CHANGED_FILTERS = [
    None,
    "number < 50 AND kind IN ('a', 'c')",
    "tone = 'warm' OR cost IS NULL",
    "list_contains(marks, 'red')",
]
CHANGED_INDEXES: dict[str, dict[str, Any]] = {
    "cosine-int8-deltas": {"metric": "cosine", "shards": 2, "partitions": 4},
    "l2-float32-young": {"metric": "l2", "bits": 2.0, "rerank": "float32", "shards": 2, "partitions": 4},
    "ip-int8-strings": {"metric": "ip", "bits": 3.0, "rerank": "int8", "partitions": 2},
    "l2-estimates-base": {"metric": "l2", "bits": 4.0, "rerank": None, "partitions": 3},
    "cosine-begun": {},
    "cosine-int8-split": {"metric": "cosine", "shards": 2, "partitions": 12},
    "cosine-copies-young": {"metric": "cosine", "shards": 2, "partitions": 8, "spill": True},
    "cosine-osq-chunks": {"metric": "cosine", "bits": 1.0, "partitions": 8, "spill": True},
}
"""In order: deltas on the files of a build; a merged base and a young run; upserts by string id; a base without rerank codes;
an index that was created empty; split partitions, with a delta that was encoded before the split;
and copies of rows in second partitions, in a base and a young run, and removed rows of theirs."""


def write_changed(folder: Path) -> None:
    """Write the golden indexes with changes that do not exist yet below a folder."""
    for name, options in CHANGED_INDEXES.items():
        target = folder / name
        if target.exists():
            continue
        rng = np.random.default_rng(22)
        vectors = (rng.standard_normal((2 * CHANGED_ROWS, DIMENSIONS)) + 0.5).astype(np.float32)
        queries = rng.standard_normal((QUERIES, DIMENSIONS)).astype(np.float32)
        ids = {"l2": np.arange(2 * CHANGED_ROWS) * 3 - 50, "ip": np.array([f"id-{i}" for i in range(2 * CHANGED_ROWS)])}
        index = change(target, name, options, vectors, ids.get(name.split("-")[0]))
        index.tag("golden")
        vsearch.prune(target, keep=1, grace=0, older_than=0)
        index = vsearch.open(target)
        answers = [answer(index.search(queries, K, where, exact=True), where=where) for where in CHANGED_FILTERS]
        all_ids = index.search(queries[0], len(index), exact=True).ids[0].tolist()
        rows = index.get(all_ids[::9]).to_pylist()
        expected = {"options": options, "k": K, "queries": queries.tolist(), "answers": answers, "rows": rows}
        write_expected(target, {**expected, "live": sorted(all_ids), "tags": index.tags()})


def change(
    target: Path, name: str, options: dict[str, Any], vectors: np.ndarray, ids: np.ndarray | None
) -> vsearch.Index:
    """Build an index from the first half of the rows, or create it empty, and apply changes of every kind."""
    table = changed_attributes(len(vectors))

    def rows(first: int, last: int) -> tuple[Any, ...]:
        return vectors[first:last], table.slice(first, last - first), None if ids is None else ids[first:last]

    n = CHANGED_ROWS
    if options:
        first, columns, first_ids = rows(0, n)
        index = vsearch.build(first, target, columns, first_ids, seed=7, **options)
    else:
        index = vsearch.create(target, DIMENSIONS, attributes=table.schema)
        index.append(*rows(0, n))
    index.append(*rows(n, n + 30), token="first load")  # noqa: S106
    index.delete(where="number BETWEEN 40 AND 59")
    if ids is not None:
        moved = vectors[10:30] + 1
        index.upsert(moved, table.slice(20, 20), ids[10:30])
    index.update({"kind": "a", "marks": ["red"]}, where="number > 90")
    if name.endswith(("base", "young")):
        index.optimize(force=True, retune=False)
    index.rename_column("price", "cost")
    index.drop_column("flag")
    index.add_column("tone", "string")
    index.append(*_named(rows(n + 30, n + 60)))
    if name.endswith("young"):
        index.delete(where="number < 5")
        plan.TAIL_ROWS, usual = 1, plan.TAIL_ROWS  # lowered so that few rows become a young run
        index.optimize(retune=False)
        plan.TAIL_ROWS = usual
        index.append(*_named(rows(n + 60, n + 70)))
    index.update({"tone": "warm"}, where="number IN (7, 17, 27, 37)")
    index.delete(where="kind = 'd' AND number > 60")
    if name.endswith("split"):
        late = vsearch.open(target)
        crowd = vectors[0] + 0.1 * np.random.default_rng(24).standard_normal((200, DIMENSIONS), np.float32)
        index.append(crowd, {"number": np.arange(200)})
        index.optimize(force=True, retune=False)
        late.append(vectors[[0, n + 60, n + 61]])
        index = late
    return index


def _named(rows: tuple[Any, ...]) -> tuple[Any, ...]:
    """Rows with the attributes that the index has at that point."""
    vectors, table, ids = rows
    return vectors, table.drop_columns("flag").rename_columns({"price": "cost"}), ids


def changed_attributes(count: int) -> pa.Table:
    """Columns of several types, with NULLs."""
    numbers = np.random.default_rng(23).integers(0, 100, count)
    return pa.table(
        {
            "number": pa.array([None if i % 13 == 5 else int(n) for i, n in enumerate(numbers)], pa.int64()),
            "price": pa.array([None if i % 7 == 2 else n / 8 for i, n in enumerate(numbers)], pa.float64()),
            "flag": pa.array((numbers % 2 == 0).tolist(), pa.bool_()),
            "kind": pa.array([None if i % 17 == 4 else "abcd"[n % 4] for i, n in enumerate(numbers)], pa.string()),
            "marks": pa.array([["red", "blue"][: n % 3] for n in numbers], pa.list_(pa.string())),
        }
    )


def write_expected(target: Path, expected: dict[str, Any]) -> None:
    """Write the expected answers into the index."""
    text = json.dumps(expected, indent=None, default=str).replace("NaN", "null")
    (target / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    write_vectors(place / f"format-{BUILT_FORMAT}")
    write_documents(place / f"format-{BUILT_FORMAT}")
    write_changed(place / f"format-{FORMAT}")
    write_changed_documents(place / f"format-{FORMAT}")
    write_words(place / f"format-{FORMAT}")
