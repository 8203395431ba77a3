"""The syntax of text queries, and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import InputError
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.query import MOST_PREFIXES, MOST_WORDS, Term, parse

NAMES = ["title", "body"]
ANALYZERS = [Analyzer(Settings("english", ("the",))), Analyzer(Settings())]


def read(text):
    return parse(text, NAMES, ANALYZERS)


def test_words_are_looked_for_in_every_column_by_its_own_rules():
    assert read("running The").counts == {
        Term(0, "run"): 1,
        Term(1, "running"): 1,
        Term(1, "the"): 1,
    }


def test_a_column_can_be_named():
    assert read("title:Cats body:cats").counts == {Term(0, "cat"): 1, Term(1, "cats"): 1}


def test_a_colon_after_another_name_is_part_of_the_text():
    assert set(read("other:x").counts) == {Term(0, "other"), Term(0, "x"), Term(1, "other"), Term(1, "x")}


def test_signs():
    query = read("a +body:b -body:c-d -body:e1-f")
    assert query.must == [[[Term(1, "b")]]]
    assert query.must_not == [[[Term(1, "c"), Term(1, "d")]], [[Term(1, "e1-f"), Term(1, "e1"), Term(1, "f")]]]
    assert set(query.counts) == {Term(0, "a"), Term(1, "a"), Term(1, "b")}


def test_words_that_are_repeated_count_again():
    assert read("body:a body:a").counts == {Term(1, "a"): 2}


def test_prefixes_are_folded_and_not_stemmed():
    assert read("body:Élan* title:runn*").counts == {Term(1, "elan", prefix=True): 1, Term(0, "runn", prefix=True): 1}
    assert read("*").counts == {}


def test_one_word_in_quotes_is_that_word_and_several_are_refused():
    assert read('body:"Word"').counts == {Term(1, "word"): 1}
    for phrase in ('"two words"', '+"two words"', 'title:"two words"', '"well-known"'):
        with pytest.raises(InputError, match="phrases are not supported"):
            read(phrase)


def test_a_query_without_words_has_no_terms():
    assert read("").counts == read(" ... - + ").counts == read("title:the").counts == {}


def test_a_query_must_look_for_something():
    with pytest.raises(InputError, match="only excludes words"):
        read("-a -b")


def test_hostile_queries_are_refused():
    with pytest.raises(InputError, match=r"10,000 words"):
        read("word " * (MOST_WORDS + 1))
    with pytest.raises(InputError, match=r"10,000 words, this one has 500,000"):
        read('""' * 500_000)
    with pytest.raises(InputError, match=r"64 prefixes"):
        read(" ".join(f"body:{i}*" for i in range(MOST_PREFIXES + 1)))
    with pytest.raises(InputError, match=r"1,000,000 characters"):
        read("x" * 1_000_001)
    with pytest.raises(InputError, match="must be a string"):
        read(b"x")


@given(st.lists(st.text(st.sampled_from("aB1._é東-x\ud800"), max_size=8), max_size=6))
def test_plain_words_are_read_like_clauses(words):
    plain = " ".join(word for word in words if not word.startswith("-"))
    assert read(plain) == read(plain + ' ""')


@given(st.text(st.sampled_from('ab:"*+- \x00é東-title'), max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        query = read(text)
    except InputError:
        return
    assert all(term.text for term in query.counts)
