"""The words of a tail: a commit makes it anew, and only texts that are new are analyzed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WORDS, make_rows, table, vectors
from vsearch.text import tails


@pytest.fixture
def analyzed(monkeypatch):
    """The numbers of texts that were analyzed."""
    counts, read = [], tails.read_occurrences

    def count(texts, *arguments, **options):
        counts.append(len(texts))
        return read(texts, *arguments, **options)

    monkeypatch.setattr(tails, "read_occurrences", count)
    return counts


@pytest.mark.parametrize("phrases", [False, True])
def test_only_new_texts_are_analyzed(analyzed, phrases):
    rows = make_rows(400, 5)
    settings = {"body": vsearch.TextColumn(phrases=phrases)}
    url = f"memory://tails/{phrases}"
    index = vsearch.build(
        vectors(200), url, table({row: rows[row] for row in range(200)}), text=settings, partitions=4, overwrite=True
    )
    queries = [*WORDS[:6], "ak bk", *(['"ak bk"', '"ak ak"'] if phrases else [])]

    def append(first, stop):
        index.append(vectors(stop - first, stop), table({row: rows[row] for row in range(first, stop)}))

    def check():
        for query in queries:
            again = vsearch.open(url).search_text(query, 400)  # which analyzes all texts of the tail
            hits = index.search_text(query, 400)
            assert hits.ids.tolist() == again.ids.tolist()
            np.testing.assert_array_equal(hits.scores, again.scores)

    append(200, 300)
    index.search_text("ak")
    assert analyzed == [100]
    append(300, 301)
    index.search_text("ak")
    assert analyzed == [100, 1]
    check()
    analyzed.clear()
    index.delete([250, 260, 300])  # some words are in no row any more
    index.search_text("ak")
    index.update({"body": pa.array(["brand new words", None])}, ids=[251, 252])
    index.search_text("ak")
    append(301, 310)
    index.search_text("ak")
    assert sum(analyzed) <= 12
    check()
    assert index.search_text("brand").ids[0, 0] == 251


def test_tokens_and_equal_texts(analyzed):
    index = vsearch.create(
        "memory://tails/tokens", 8, attributes={"tags": pa.list_(pa.string()), "body": str},
        text={"tags": vsearch.TextColumn(tokens=True), "body": vsearch.TextColumn()},
    )  # fmt: skip
    same = {"tags": [["a", "b"], None, [], ["a", None]] * 5, "body": ["a", None, "", "b a"] * 5}
    index.append(vectors(20), same)
    index.search_text("a")
    index.append(vectors(20, 1), same)
    assert (index.search_text("a", 100).ids[0] >= 0).sum() == 20
    assert analyzed == [20, 20, 0, 0]
    again = vsearch.open("memory://tails/tokens").search_text("a", 100)
    np.testing.assert_array_equal(index.search_text("a", 100).scores, again.scores)
