"""Which rows have words, under filters, beside DuckDB and a plain loop; and texts at the limits."""

from __future__ import annotations

import random

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, make_rows, table, terms, vectors
from tests.text.reference import Reference, same

N = 800


@pytest.fixture(scope="module")
def filtered():
    rows = make_rows(N, 31)
    rng = random.Random(4)
    groups = [rng.choice(["x", "y", None]) for _ in range(N)]
    attributes = table(rows).append_column("group", pa.array(groups, pa.string()))
    index = vsearch.build(
        vectors(N, 6), "memory://text/duckdb", attributes, text=WEIGHTS, shards=2, partitions=6, rerank=None
    )
    index.delete(where="number >= 100 AND number < 160")
    return index, rows, attributes


@pytest.mark.parametrize(
    "where",
    [
        "number < 400",
        "number IN (3, 5, 170, 400, 777)",
        "\"group\" = 'x' AND number > 250",
        '"group" IS NULL OR number < 10',
        "body LIKE '%ak%'",
        "NOT (number BETWEEN 10 AND 790)",
        "number < 0",
    ],
)
@pytest.mark.parametrize("query", ["ak", "ak jt bm", "+ak bk", "ak -bk", "title:al"])
def test_filters_are_exact(filtered, where, query):
    index, rows, attributes = filtered  # noqa: RUF059  DuckDB reads the local variable
    passing = {
        number
        for (number,) in duckdb.sql(
            f"SELECT number FROM attributes WHERE ({where}) AND NOT (number >= 100 AND number < 160)"
        ).fetchall()
    }
    live = {row: texts for row, texts in rows.items() if not 100 <= row < 160}
    reference = Reference(live, terms, WEIGHTS)
    scores: dict[int, float] = {}
    for word in query.replace("+", "").split():
        if word.startswith("-"):
            continue
        name, _, term = word.rpartition(":")
        for column in [name] if name else WEIGHTS:
            for row, gain in reference.gains(column, term).items():
                scores[row] = scores.get(row, 0.0) + gain
    kept = passing & set(scores)
    if "+ak" in query:
        kept &= reference.having("ak")
    if "-bk" in query:
        kept -= reference.having("bk")
    for k in (3, N):
        same(index.search_text(query, k, where), {row: scores[row] for row in kept}, k)


def test_a_text_of_ten_megabytes():
    """It counts as one long text; its words are found, also the last, and other rows score as beside any long text."""
    long = "filler " * 1_400_000 + "needle"
    assert len(long) > 9_800_000
    texts = [long, "needle in a haystack", "filler", None, "a needle and another needle"]
    index = vsearch.build(
        vectors(5), "memory://text/long", pa.table({"body": texts}), text={"body": vsearch.TextColumn(phrases=True)}
    )
    hits = index.search_text("needle", 5)
    assert hits.ids[0, :3].tolist() == [4, 1, 0]
    same(hits, Reference({row: {"body": text} for row, text in enumerate(texts)}, terms).scores(["needle"]), 5)
    assert index.search_text('"filler needle"', 5).ids[0].tolist() == [0, -1, -1, -1, -1]


def test_a_term_in_every_row():
    texts = [f"all w{row % 7}" for row in range(3000)]
    index = vsearch.build(vectors(3000), "memory://text/every", pa.table({"body": texts}), text="body", partitions=4)
    reference = Reference({row: {"body": text} for row, text in enumerate(texts)}, terms)
    same(index.search_text("all", 3000), reference.scores(["all"]), 3000)
    hits = index.search_text("all w3", 10)
    same(hits, reference.scores(["all", "w3"]), 10)
    assert (hits.ids[0] % 7 == 3).all()
    assert (index.search_text("w3 -all", 10).ids == -1).all()


@pytest.mark.parametrize(
    ("metric", "rerank", "spill"),
    [
        *(
            (metric, rerank, False)
            for metric in ("cosine", "ip", "l2")
            for rerank in (None, "int8", "float16", "float32")
        ),
        *((metric, "int8", True) for metric in ("cosine", "l2")),
    ],
)
def test_rows_of_one_part_get_the_other_scores_that_a_search_gives(metric, rerank, spill):
    """In all runs of a changed index: whatever found a row, its scores are those of exhaustive searches."""
    rows = make_rows(600, 12)
    index = vsearch.build(
        vectors(400, 3), f"memory://text/rescored-{metric}-{rerank}-{spill}", table({row: rows[row] for row in range(400)}),
        text=WEIGHTS, shards=2, partitions=6, rerank=rerank, metric=metric, spill=spill,
    )  # fmt: skip
    index.append(vectors(120, 4), table({row: rows[row] for row in range(400, 520)}))
    index.optimize(force=True)
    index.append(vectors(80, 5), table({row: rows[row] for row in range(520, 600)}))
    index.delete(list(range(0, 600, 11)))
    point = vectors(1, 99)
    near, words = index.search(point, 600, exact=True), index.search_text("bk cl* jt", 600)
    by_vector = dict(zip(near.ids[0].tolist(), near.scores[0].tolist(), strict=True))
    by_words = dict(zip(words.ids[0].tolist(), words.scores[0].tolist(), strict=True))
    hits = index.search(point, 40, text="bk cl* jt", depth=40)
    assert (hits.text_ranks == 0).any() or (hits.vector_ranks > 40).any()
    for row, score, worded in zip(hits.ids[0].tolist(), hits.vector_scores[0], hits.text_scores[0], strict=True):
        assert score == pytest.approx(by_vector[row], rel=1e-6, abs=1e-6)
        assert worded == np.float32(by_words.get(row, 0.0))
