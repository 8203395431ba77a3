"""Text queries as dicts: the same plans as strings, and errors that say what is allowed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.text.conftest import vectors
from vsearch import InputError
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.query import MOST_PREFIXES, MOST_WORDS, Searched, Term, parse
from vsearch.text.structured import decode_query, parse_structured, read_queries

COLUMNS = [
    Searched("title", Analyzer(Settings("english", ("the",))), phrases=True),
    Searched("body", Analyzer(Settings()), phrases=True),
]


def read(query):
    """Parse a dict as it arrives in a message."""
    (sent,) = read_queries(query)
    return parse_structured(decode_query(sent), COLUMNS)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"text": "a running b1-c"}, "a running b1-c"),
        ({"should": ["a", "b"]}, "a b"),
        ({"should": "a", "must": {"text": "b", "column": "body"}, "not": ["c-d"]}, "+body:b a -c-d"),
        ({"must": ["well-known"]}, "+well-known"),
        ({"phrase": "two words"}, '"two words"'),
        ({"must": [{"phrase": "two words", "column": "title"}]}, '+title:"two words"'),
        ({"text": "x", "not": [{"phrase": "two words"}]}, 'x -"two words"'),
        ({"prefix": "runn"}, "runn*"),
        ({"should": [{"prefix": "running", "column": "title"}, {"prefix": "well-kn", "column": "body"}]}, "title:running* body:well-kn*"),
        ({"must": ["a", "a"]}, "+a +a"),
        ({"text": "x", "column": "body"}, "body:x"),
        ({"text": ""}, ""),
        ({}, ""),
        ({"text": "\ud800 x"}, "\ud800 x"),
    ],
)  # fmt: skip
def test_dicts_mean_what_strings_mean(query, text):
    assert read(query) == parse(text, COLUMNS)


def test_syntax_in_a_dict_is_text():
    assert read({"text": "+a -b c* title:d"}) == parse("a b c title: d", COLUMNS)


def test_tokens_are_not_analyzed():
    query = read({"must": [{"tokens": ["Running", "the", "x y"], "column": "title"}]})
    assert query.must == [[[Term(0, "Running"), Term(0, "the"), Term(0, "x y")]]]
    assert read({"tokens": ["A"]}).counts == {Term(0, "A"): 1, Term(1, "A"): 1}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"any": ["a"]}, "keys among must, should, not, text, phrase, prefix, tokens, column, got"),
        ({"must": 3}, "must must be a clause or a list of clauses, got 3"),
        ({"must": [3]}, "a clause must be a string, or a dict with one of text, phrase, prefix, tokens"),
        ({"must": [{"text": "a", "phrase": "b c"}]}, "a clause must be"),
        ({"must": [{"column": "body"}]}, "a clause must be"),
        ({"must": [{"text": "a", "boost": 2}]}, "a clause must be"),
        ({"phrase": ["a"]}, "phrase must be a string, got"),
        ({"tokens": "a"}, "tokens must be a list of strings"),
        ({"tokens": [""]}, "tokens must be a list of strings that are not empty"),
        ({"tokens": [1]}, "tokens must be"),
        ({"column": "body"}, "column must be in a clause"),
        ({"text": "a", "column": "nothing"}, "one of the text columns title, body, got 'nothing'"),
        ({"text": "a", "column": 3}, "column must be a string"),
        ({"not": ["a"]}, "only excludes words"),
        ({"phrase": "two wor*"}, "whole words"),
        ({"text": "a " * (MOST_WORDS + 1)}, "10,000 words"),
        ({"should": [{"prefix": f"p{i}", "column": "body"} for i in range(MOST_PREFIXES + 1)]}, "64 prefixes"),
        ({"text": "x" * 1_000_001}, "1,000,000 characters"),
        ([{"text": "a"}, 3], "a string, a dict of clauses, or a list of these"),
        (None, "a string, a dict of clauses, or a list of these"),
    ],
)
def test_wrong_dicts_say_what_is_wrong(query, reason):
    with pytest.raises(InputError, match=reason):
        read(query)


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xff3", b"\xff[]", b'\xff{"a":1}', b'\xff{"must":[[]]}', b"\xff" + b"[" * 100_000, b"\xfe"]
)
def test_forged_messages_are_refused(data):
    with pytest.raises(InputError):
        decode_query(data)


def test_searches():
    texts = ["new york city", "york new", "New old york", "city"]
    index = vsearch.build(
        vectors(4),
        "memory://text/structured",
        pa.table({"body": texts}),
        text={"body": vsearch.TextColumn(phrases=True)},
    )
    queries = [
        {"must": [{"phrase": "new york"}]},
        '+"new york"',
        {"text": "york", "not": ["city"]},
        {"tokens": ["New"]},
    ]
    hits = index.search_text(queries, 4)
    found = [sorted(row for row in ids if row != -1) for ids in hits.ids.tolist()]
    assert found == [[0], [0], [1, 2], []]
    np.testing.assert_array_equal(hits.scores[0], hits.scores[1])
    both = index.search(vectors(1, 3), 4, text={"must": [{"phrase": "new york"}]})
    assert (both.text_scores[0] > 0).tolist() == (both.ids[0] == 0).tolist()
