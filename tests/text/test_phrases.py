"""Phrases in quotes: which rows have them, how they score, in every kind of index."""

from __future__ import annotations

import math
import random

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import vectors
from vsearch.text.analyzer import Analyzer, Settings

COLUMN = {"body": vsearch.TextColumn(phrases=True)}
WORDS = ["a", "b", "c", "d", "e"]


def make_texts(n, seed, longest=12):
    """Texts of few words, so that every phrase occurs, repeats and overlaps itself; some are empty or missing."""
    rng = random.Random(seed)
    return [None if rng.random() < 0.05 else " ".join(rng.choices(WORDS, k=rng.randint(0, longest))) for _ in range(n)]


def repeats(text, words):
    """How often a text has a phrase."""
    found = (text or "").split()
    return sum(found[at : at + len(words)] == words for at in range(len(found)))


def build(texts, name, **options):
    table = pa.table({"body": pa.array(texts, pa.string()), "number": np.arange(len(texts))})
    return vsearch.build(
        vectors(len(texts)), f"memory://text/phrases-{name}", table, text=COLUMN, partitions=4, **options
    )


def scores(texts, words):
    """BM25 of a phrase as Lucene has it: the sum of the idf of its words, and how often a row has it."""
    lengths = [len((text or "").split()) for text in texts]
    live = sum(length > 0 for length in lengths)
    mean = sum(lengths) / live
    having = [sum(word in (text or "").split() for text in texts) for word in words]
    weight = sum(math.log(1 + (live - n + 0.5) / (n + 0.5)) for n in having)
    found = {}
    for row, text in enumerate(texts):
        count = repeats(text, words)
        if count:
            found[row] = weight * count / (count + 1.2 * (0.25 + 0.75 * lengths[row] / mean))
    return found


def ids(hits):
    return {int(row) for row in hits.ids[0] if row != -1}


@pytest.fixture(scope="module")
def texts():
    return make_texts(700, 0)


@pytest.fixture(scope="module")
def index(texts):
    return build(texts, "shared", shards=2)


@pytest.mark.parametrize(
    "phrase", ["a b", "b a", "a a", "a a a", "a b a b", "c d e a b", "e e e e e e", "a zz", "zz zz"]
)
def test_rows_and_scores(index, texts, phrase):
    expected = scores(texts, phrase.split())
    hits = index.search_text(f'"{phrase}"', k=700)
    assert ids(hits) == set(expected)
    for row, score in zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True):
        assert row == -1 or score == pytest.approx(expected[row], rel=1e-5)


def test_conditions(index, texts):
    having = {row for row, text in enumerate(texts) if repeats(text, ["a", "b"])}
    other = {row for row, text in enumerate(texts) if "c" in (text or "").split()}
    assert ids(index.search_text('+"a b" c', 700)) == having
    assert ids(index.search_text('c -"a b"', 700)) == other - having
    assert ids(index.search_text('body:"a b" c', 700)) == having | other
    assert ids(index.search_text('+"a b" +"c d"', 700)) == having & {
        row for row, text in enumerate(texts) if repeats(text, ["c", "d"])
    }
    assert ids(index.search_text('"a b"', 700, where="number < 100")) == {row for row in having if row < 100}


def test_with_vectors(index, texts):
    expected = scores(texts, ["a", "b"])
    hits = index.search(vectors(1, 5), 50, text='+"a b"', depth=60)
    assert (hits.text_scores > 0).any()
    for row, score in zip(hits.ids[0].tolist(), hits.text_scores[0].tolist(), strict=True):
        assert score == pytest.approx(expected.get(row, 0.0), rel=1e-5)


def test_changed_indexes_find_what_new_ones_find(texts):
    index = build(texts[:300], "live")
    index.append(
        vectors(200, 1), pa.table({"body": pa.array(texts[300:500], pa.string()), "number": np.arange(300, 500)})
    )
    index.delete(list(range(0, 500, 3)))
    left = [text if row % 3 else None for row, text in enumerate(texts[:500])]
    expected = scores(left, ["a", "b"])
    assert ids(index.search_text('"a b"', 500)) == set(expected)
    index.optimize(force=True)
    hits = index.search_text('"a b"', 500)
    assert {row: pytest.approx(score, rel=1e-5) for row, score in expected.items()} == {
        int(row): float(score) for row, score in zip(hits.ids[0], hits.scores[0], strict=True) if row != -1
    }
    index.drop_text("body")
    index.add_text("body")
    with pytest.raises(vsearch.InputError, match="requires the positions of words"):
        index.search_text('"a b"')
    index.drop_text("body")
    index.add_text("body", vsearch.TextColumn(phrases=True))
    assert ids(index.search_text('"a b"', 500)) == set(expected)


def test_stop_words_leave_gaps_and_codes_stand_for_their_parts():
    texts = [
        "bank of america",
        "bank america",
        "bank the america",
        "use libc6-dev now",
        "use libc6 dev now",
        "out-of-date x",
        "out of date y",
    ]
    table = pa.table({"body": texts})
    column = vsearch.TextColumn(stop_words=["of", "the"], phrases=True)
    index = vsearch.build(vectors(len(texts)), "memory://text/phrases-gaps", table, text={"body": column}, partitions=1)
    for phrase, rows in {
        "bank of america": {0, 2},
        "bank america": {1},
        "use libc6": {3, 4},
        "use libc6-dev": {3},
        "dev now": {3, 4},
        "libc6 dev": {3, 4},
        "out of date": {5, 6},
        "out-of-date": {5, 6},
    }.items():
        assert ids(index.search_text(f'"{phrase}"')) == rows, phrase


def test_positions_in_a_long_text():
    long = " ".join(["x y"] * 100_000 + ["y x"] + ["z"] * 70_000 + ["y x x"])
    index = build([long, "x y", None, "y z"], "long")
    assert ids(index.search_text('"y y x z"')) == {0}
    assert ids(index.search_text('"z y x x"')) == {0}
    assert ids(index.search_text('"x x y"')) == set()


@pytest.mark.parametrize("seed", range(6))
def test_places_of_texts_are_those_of_the_words(seed):
    analyzer = Analyzer(Settings(stop_words=("a",)))
    rng = random.Random(seed)
    pieces = ["a", "b", "c1-d", "東京都庁", "3.14", "C++", "x_y", "naïve", "😀", "well-known", "...", "a-b"]
    text = " ".join(rng.choices(pieces, k=12))
    terms, positions, width = analyzer.places(text)
    assert terms == analyzer.terms(text)
    assert positions == sorted(positions)
    assert width >= (positions[-1] + 1 if positions else 0)
