"""Searching words in a built index, beside a plain BM25."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, WORDS, make_rows, table, terms, vectors
from tests.text.reference import Reference, same
from vsearch import InputError
from vsearch.text import matching, opening, weighing
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.opening import open_text

QUERIES = ["ak", "bk ak", "al am an jt", "jt js ir", " ".join(WORDS), "zz", "title:ak body:bk ak"]


@pytest.fixture(scope="module")
def reference(rows):
    return Reference(rows, terms, WEIGHTS)


def scores_of(reference, query):
    """The scores of plain words, some in one column."""
    scores = {}
    for word in query.split():
        name, colon, term = word.rpartition(":")
        for column in [name] if colon else reference.weights:
            for row, gain in reference.gains(column, term).items():
                scores[row] = scores.get(row, 0.0) + gain
    return scores


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("k", [1, 10, 2000])
def test_scores_are_those_of_bm25(index, reference, query, k):
    same(index.search_text(query, k), scores_of(reference, query), k)


@pytest.mark.parametrize("below", [0, 1, 30, 450])
def test_filters_are_exact(index, reference, below):
    for query in QUERIES:
        scores = {row: score for row, score in scores_of(reference, query).items() if row < below}
        same(index.search_text(query, 10, where=f"number < {below}"), scores, 10)


def test_queries_in_a_batch_give_what_they_give_alone(index):
    together = index.search_text(QUERIES, 7, columns=["number", "title"])
    for place, query in enumerate(QUERIES):
        alone = index.search_text(query, 7)
        np.testing.assert_array_equal(together.ids[place], alone.ids[0])
        np.testing.assert_array_equal(together.scores[place], alone.scores[0])
    assert together.columns.column("number").to_pylist() == [
        None if i < 0 else i for i in together.ids.ravel().tolist()
    ]


def test_required_and_excluded_words(index, reference):
    scores = {
        row: score
        for row, score in reference.scores(["ak", "bk"]).items()
        if row in reference.having("bk") and row not in reference.having("al")
    }
    assert 10 < len(scores) < 500
    same(index.search_text("ak +bk -al", 900), scores, 900)
    titled = {row for row, texts in reference.counts["title"].items() if texts["ak"]}
    same(index.search_text("bk +title:ak", 900), {
        row: gain + reference.scores(["bk"]).get(row, 0.0)
        for row, gain in reference.gains("title", "ak").items() if row in titled
    }, 900)  # fmt: skip


def test_prefixes(index, reference):
    begins = lambda term: term.startswith("j")  # noqa: E731
    same(index.search_text("j* ak", 900), reference.scores([begins, "ak"]), 900)
    without = {row: score for row, score in reference.scores(["ak"]).items() if row not in reference.having(begins)}
    same(index.search_text("ak -j*", 900), without, 900)
    assert index.search_text("q*", 5).ids.tolist() == [[-1] * 5]


def test_equal_texts_are_ordered_by_row_and_pages_fit_together():
    texts = ["same words here", "other"] * 60
    index = vsearch.build(vectors(120), "memory://text/equal", pa.table({"body": texts}), text="body", partitions=1)
    hits = index.search_text("words", 60)
    assert hits.ids[0].tolist() == list(range(0, 120, 2))
    assert len(set(hits.scores[0].tolist())) == 1
    paged = [index.search_text("words", 7, offset=offset).ids[0].tolist() for offset in range(0, 70, 7)]
    assert [row for page in paged for row in page if row >= 0] == list(range(0, 120, 2))


def test_no_score_is_zero_and_a_word_of_every_row_finds_every_row():
    texts = ["the " * 9 + f"x{i}" for i in range(300)]
    index = vsearch.build(vectors(300), "memory://text/common", pa.table({"body": texts}), text={"body": 1e-6})
    hits = index.search_text("the", 400)
    assert (hits.ids[0][:300] >= 0).all()
    assert (hits.scores[0][:300] > 0).all()
    assert np.isnan(hits.scores[0][300:]).all()


def test_settings_of_a_column_are_kept():
    rows = make_rows(200, 5)
    column = vsearch.TextColumn(3.0, "english", stop_words=["ak"], k1=0.4, b=0.1)
    vsearch.build(vectors(200), "memory://text/settings", table(rows), text={"body": column})
    index = vsearch.open("memory://text/settings")
    assert index.info()["text"] == {
        "body": {"weight": 3.0, "k1": 0.4, "b": 0.1, "language": "english", "fold": True, "stop_words": 1}
    }
    reference = Reference(rows, Analyzer(Settings("english", ("ak",))).terms, {"body": 3.0}, k1=0.4, b=0.1)
    same(index.search_text("ak bk jt", 100), reference.scores(["bk", "jt"]), 100)


@pytest.mark.parametrize("ids", [None, [f"id-{i}" for i in range(50)]])
def test_indexes_without_any_text_answer_with_nothing(ids):
    none = pa.table({"body": pa.nulls(50, pa.string())})
    index = vsearch.build(vectors(50), f"memory://text/none-{ids is None}", none, ids, text="body")
    hits = index.search_text(["ak", "a*", "+ak -bk", ""], 3)
    assert np.isnan(hits.scores).all()
    index.append(vectors(1), pa.table({"body": ["ak"]}), None if ids is None else ["new"])
    assert index.search_text("ak", 3).ids[0][0] == (50 if ids is None else "new")


def test_wrong_uses_say_what_is_wrong(index, tmp_path):
    plain = vsearch.build(vectors(40), "memory://text/plain", pa.table({"n": range(40)}))
    assert not plain.has_text
    assert index.has_text
    with pytest.raises(InputError, match="has no text columns"):
        plain.search_text("x")
    for text, reason in [
        ("absent", "must be an attribute"),
        ("number", "must hold strings"),
        ({"body": 0}, "weight of a text column"),
        ({"body": True}, "weight of a text column"),
        ({"body": float("nan")}, "weight of a text column"),
        ({"body": 1e-310}, "weight of a text column"),
        ([], "1 to 64 columns"),
        (7, "must be a column name"),
        ({3: 1.0}, "must be a string"),
    ]:
        with pytest.raises(InputError, match=reason):
            vsearch.build(vectors(900), tmp_path / "index", table(make_rows(900, 1)), text=text)
    with pytest.raises(InputError, match="the attributes are: none"):
        vsearch.build(vectors(10), tmp_path / "index", text="body")
    assert not list(tmp_path.glob("index/segments/*"))
    for queries in (b"x", ["x", 3], None, {"x": 1}):
        with pytest.raises(InputError, match=r"must be a (string|dict with keys)"):
            index.search_text(queries)
    for options in (
        {"k": 0},
        {"k": 10_001},
        {"offset": -1},
        {"columns": ["absent"]},
        {"timeout": 0},
        {"where": "absent = 1"},
    ):
        with pytest.raises(InputError):
            index.search_text("ak", **options)
    for options in ({"language": "klingon"}, {"k1": -1}, {"b": 2}, {"stop_words": "the"}, {"fold": 1}, {"language": 3}):
        with pytest.raises(InputError):
            vsearch.TextColumn(**options)


def test_a_search_ends_at_its_deadline(index):
    with pytest.raises(vsearch.SearchTimeoutError):
        index.search_text([" ".join(WORDS)] * 10_000, timeout=0.05)


def test_the_largest_queries_are_answered(index):
    words = [f"{word}{i}" for i in range(50) for word in WORDS]
    assert (index.search_text(" ".join(words), 10).ids == -1).all()
    assert index.search_text("ak " * 5000, 3).ids.tolist() == index.search_text("ak", 3).ids.tolist()
    assert (index.search_text(" ".join(f"title:{word}*" for word in WORDS[:60]), 10).ids >= 0).all()


def test_prefixes_of_too_many_words_are_refused(index, reference, monkeypatch):
    begins = lambda term: term.startswith("a")  # noqa: E731
    words = sum(postings.terms for column in open_text(index.snapshot) for postings in column.runs)
    monkeypatch.setattr(matching, "MARKED", 3)
    same(index.search_text("a*", 900), reference.scores([begins]), 900)
    monkeypatch.setattr(weighing, "MOST_EXPANDED", words // 10 - 1)
    for query in ("a*", "ak -a*", "+a*"):
        with pytest.raises(InputError, match=r"'a' alone matches \d+; use longer prefixes"):
            index.search_text(query)


def test_half_characters_are_read_as_spaces(index):
    for query, spaced in (
        ("\ud800", ""),
        ("ak\ud800*", "ak"),
        ("title:\udfffak*", "title:ak*"),
        ("+\ud800ak*", "+ak*"),
        ("ak \ud800x*", "ak x*"),
    ):
        assert index.search_text(query, 3).ids.tolist() == index.search_text(spaced, 3).ids.tolist()


def test_what_is_kept_of_queries_is_bounded(index, reference, monkeypatch):
    monkeypatch.setattr(opening, "MOST_KNOWN", 5)
    for _ in range(2):
        same(index.search_text(" ".join([*WORDS, "never"]), 10), reference.scores(WORDS), 10)
    assert all(len(column._numbers) <= 5 for column in open_text(index.snapshot))


def test_the_words_of_a_batch_of_many_scripts_are_found():
    texts = [
        "東京タワーの夜",
        "Ünïcode naïve Café",
        "हिन्दी में लिखें",
        "مَرْحَبًا بالعالم",
        "emoji 😀 only",
        "",
        None,
        "Ω mega",
    ]
    index = vsearch.build(vectors(8), "memory://text/scripts", pa.table({"body": texts}), text="body", partitions=1)
    for query, row in [("東京", 0), ("タワー", 0), ("CAFE", 1), ("हिन्दी", 2), ("مرحبا", 3), ("😀", 4), ("ω", 7)]:
        assert index.search_text(query, 3).ids.tolist() == [[row, -1, -1]]
