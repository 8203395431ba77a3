"""Columns of tokens: lists of strings that are searched as they are."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import vectors
from tests.text.reference import Reference, same
from vsearch import InputError

TOKENS = ["Ab", "ab", "a b", "x,y", "C++", "ünï", "\x00", "+p", "é", "e"]
COLUMN = {"tags": vsearch.TextColumn(tokens=True, phrases=True)}


def make_lists(n, seed):
    rng = random.Random(seed)
    return [None if rng.random() < 0.1 else rng.choices([*TOKENS, None, ""], k=rng.randint(0, 8)) for _ in range(n)]


def table(lists, first=0):
    return pa.table({"tags": pa.array(lists, pa.list_(pa.string())), "number": np.arange(first, first + len(lists))})


def reference(lists):
    rows = {row: {"body": [token for token in tokens or [] if token]} for row, tokens in enumerate(lists)}
    return Reference(rows, lambda tokens: tokens or [])


@pytest.fixture(scope="module")
def lists():
    return make_lists(500, 3)


@pytest.fixture(scope="module")
def index(lists):
    return vsearch.build(vectors(500), "memory://text/tokens", table(lists), text=COLUMN, shards=2, partitions=4)


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_found_as_they_are(index, lists, token):
    same(index.search_text({"tokens": [token]}, 500), reference(lists).scores([token]), 500)


def test_queries_are_split_at_spaces_only(index, lists):
    same(index.search_text("Ab x,y ünï", 500), reference(lists).scores(["Ab", "x,y", "ünï"]), 500)
    hits = index.search_text('"ab e"', 500)
    having = {
        row for row, tokens in enumerate(lists)
        if any((tokens or [])[at : at + 2] == ["ab", "e"] for at in range(len(tokens or [])))
    }  # fmt: skip
    assert {int(row) for row in hits.ids[0] if row != -1} == having
    assert len(having) > 5
    assert (index.search_text("+C* -Ab", 3).ids >= 0).any()


def test_changed_indexes_find_what_new_ones_find(lists):
    index = vsearch.build(vectors(300), "memory://text/tokens-live", table(lists[:300]), text=COLUMN, partitions=4)
    index.append(vectors(200, 1), table(lists[300:], 300))
    index.delete(list(range(0, 500, 4)))
    left = [tokens if row % 4 else None for row, tokens in enumerate(lists)]
    for _ in range(2):
        same(index.search_text({"tokens": ["Ab", "e"]}, 500), reference(left).scores(["Ab", "e"]), 500)
        index.optimize(force=True)
    index.drop_text("tags")
    index.add_text("tags", vsearch.TextColumn(tokens=True))
    same(index.search_text({"tokens": ["Ab", "e"]}, 500), reference(left).scores(["Ab", "e"]), 500)


def test_long_tokens_count_by_their_beginning():
    long = "x" * 5000
    index = vsearch.build(vectors(2), "memory://text/tokens-long", table([[long], ["x" * 127]]), text=COLUMN)
    assert index.search_text({"tokens": [long]}, 2).ids[0].tolist() == [0, -1]
    assert index.search_text(long, 2).ids[0].tolist() == [0, -1]


def test_wrong_types_and_settings_say_what_is_wrong(lists):
    with pytest.raises(InputError, match=r"must hold strings, or be a TextColumn\(tokens=True\), got list<string>"):
        vsearch.build(vectors(500), "memory://text/tokens-wrong", table(lists), text="tags")
    with pytest.raises(InputError, match="must hold lists of strings, since it has tokens, got int64"):
        vsearch.build(
            vectors(500), "memory://text/tokens-wrong", table(lists), text={"number": vsearch.TextColumn(tokens=True)}
        )
    for options in ({"language": "english"}, {"stop_words": True}, {"fold": False}):
        with pytest.raises(InputError, match="must be left out"):
            vsearch.TextColumn(tokens=True, **options)
    with pytest.raises(InputError, match="tokens of a text column must be True or False"):
        vsearch.TextColumn(tokens=1)
