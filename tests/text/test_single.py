"""A search for one plain query, which takes a way of its own, finds the same as a search for several."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import WEIGHTS, WORDS, make_rows, table, vectors
from vsearch.text import single


def queries(seed, count=40):
    rng = random.Random(seed)
    words = [*WORDS, "zz", "Ak", "über", "x2.org"]
    return [" ".join(rng.choices(words, k=rng.choice([1, 2, 2, 3, 8]))) for _ in range(count)]


def same(index, asked, ks=(1, 4, 10, 1500), where=None):
    """Compare; the list of a query takes the general way. Return how many took the other."""
    taken = 0
    for query in asked:
        for k in ks:
            alone, listed = index.search_text(query, k, where), index.search_text([query], k, where)
            assert alone.ids.tolist() == listed.ids.tolist(), query
            assert alone.ids.dtype == listed.ids.dtype
            np.testing.assert_array_equal(alone.scores, listed.scores)
            assert alone.stats.rows_scanned == listed.stats.rows_scanned
            assert alone.stats.rows_masked == listed.stats.rows_masked
            assert alone.stats.queries == 1
        taken += single.search_words(index._current(), query, 3, where, 0.0) is not None
    return taken


def answer(index, asked):
    """The ids that are found, or the error."""
    try:
        return index.search_text(asked, 5).ids.tolist()
    except vsearch.InputError as error:
        return str(error)


@pytest.fixture
def folder(tmp_path, rows):
    return vsearch.build(vectors(len(rows)), tmp_path / "index", table(rows), text=WEIGHTS, shards=2, partitions=6)


def test_it_finds_the_same(folder):
    asked = queries(1)
    assert same(folder, asked) >= 35  # not those without any known word
    assert same(vsearch.open(folder.snapshot.store.url), queries(2)) >= 35


def test_it_finds_the_same_after_changes(folder):
    index = folder
    index.delete(list(range(0, 900, 4)))
    assert same(index, queries(3, 15)) >= 12
    index.append(vectors(50, 1), table(make_rows(50, 7)))
    assert same(index, queries(4, 15)) >= 12
    index.optimize(force=True)
    index.delete(list(range(1, 300, 3)))
    index.append(vectors(5, 2), pa.table({"title": ["new word"] * 5, "body": [None] * 5, "number": range(5)}))
    assert same(index, [*queries(5, 15), "new", "new word ak"]) >= 14


@pytest.mark.parametrize(
    "where", ["number < 450", "number < 40", "number in (7, 300, 899)", "number < 0", "number >= 0"]
)
def test_it_finds_the_same_with_a_filter(folder, where):
    assert same(folder, queries(9, 12), where=where) >= 9
    folder.delete(list(range(0, 900, 7)))
    folder.append(vectors(60, 1), table(make_rows(60, 7)))
    assert same(folder, queries(10, 12), where=where) >= 9


@pytest.mark.parametrize("query", ["ak", "-ak", "ak*"])
def test_a_wrong_filter_is_refused(folder, query):
    with pytest.raises(vsearch.PredicateError, match="nothing"):
        folder.search_text(query, where="nothing = 1")


def test_of_equal_scores_the_lower_row_comes_first(tmp_path):
    """Texts of which each occurs often: the rows of a window are pushed in the order in which lists have them."""
    rng = random.Random(3)
    texts = [rng.choice(["ak", "bk", "ak bk", "bk ak", "ak ak bk", "ck", ""]) for _ in range(5000)]
    index = vsearch.build(
        vectors(len(texts)),
        tmp_path / "equal",
        pa.table({"text": texts, "number": range(len(texts))}),
        text="text",
        shards=2,
        partitions=4,
    )
    for where in (None, "number < 2500", "number between 2000 and 2040"):
        same(index, ["ak bk", "ak", "ck bk", "ck ak bk"], (1, 7, 60, 900), where)


def test_large_ids_and_ids_of_many_runs(tmp_path):
    rows = make_rows(300, 2)
    index = vsearch.build(
        vectors(300), tmp_path / "ids", table(rows), np.arange(300) * 10**13, text=WEIGHTS, shards=3, partitions=6
    )
    assert same(index, queries(11, 10)) >= 8
    index.append(vectors(20, 1), table(make_rows(20, 8)), np.arange(20) + 5)
    index.delete([0, 10**13, 5])
    assert same(index, queries(12, 10)) >= 8


def test_ids_may_be_strings(tmp_path, rows):
    ids = [f"row {number}" for number in range(len(rows))]
    index = vsearch.build(vectors(len(rows)), tmp_path / "strings", table(rows), ids, text=WEIGHTS, partitions=6)
    assert same(index, queries(6, 10)) >= 8


def test_threads_and_indexes_do_not_mix(folder, tmp_path):
    """One thread searches two indexes in turn: its arrays hold nothing of the other."""
    other = make_rows(300, 11)
    second = vsearch.build(
        vectors(300), tmp_path / "second", table(other), text={"body": vsearch.TextColumn(k1=0.4, b=0.2)}, partitions=2
    )
    for query in queries(7, 12):
        same(folder, [query], (3,))
        same(second, [query], (3,))


@pytest.mark.parametrize(
    "query", ["", "  ", "-ak", "+ak bk", "ak*", '"ak bk"', "body:ak", "qq zz", "ak " * 3000, "ak\x00bk", "..."]
)
def test_other_queries_take_the_general_way_or_mean_the_same(folder, query):
    general, alone = (answer(folder, asked) for asked in ([query], query))
    assert alone == general


@pytest.mark.parametrize("k", [0, -1, 10_001, 2.5, "3", True])
def test_a_wrong_k_is_refused(folder, k):
    with pytest.raises(vsearch.InputError, match="k must be"):
        folder.search_text("ak", k)


def test_an_index_without_words_says_so(tmp_path):
    index = vsearch.build(vectors(20), tmp_path / "none", partitions=2)
    with pytest.raises(vsearch.InputError, match="no text columns"):
        index.search_text("ak")


def test_many_words(folder):
    asked = [" ".join(WORDS), " ".join(WORDS[:64]), " ".join([*WORDS[:32], *WORDS[:32]])]
    same(folder, asked)


def test_few_known_words_are_kept(folder, monkeypatch):
    assert same(folder, ["ak"]) == 1
    opened = folder.snapshot.derived[single.__name__]
    monkeypatch.setattr(opened, "most_known", 3)
    same(folder, queries(8, 10))
    assert len(opened.known) <= 3
