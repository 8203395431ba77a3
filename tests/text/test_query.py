"""The syntax of text queries, and its limits."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import InputError, VsearchWarning
from vsearch.text.analyzer import Analyzer, Settings
from vsearch.text.query import MOST_PREFIXES, MOST_WORDS, Searched, Term, parse, unknown_columns
from vsearch.text.structured import read_queries

NAMES = ["title", "body"]
ANALYZERS = [Analyzer(Settings("english", ("the",))), Analyzer(Settings())]
COLUMNS = [Searched(*column) for column in zip(NAMES, ANALYZERS, strict=True)]
PHRASES = [column._replace(phrases=True) for column in COLUMNS]


def read(text, columns=COLUMNS):
    return parse(text, columns)


def phrase(column, *terms):
    """A phrase, from its words or pairs of a word and its position."""
    placed = [(term, at) if isinstance(term, str) else term for at, term in enumerate(terms)]
    return Term(column, "", phrase=tuple(placed))


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
    with pytest.raises(InputError, match="must follow the beginning of a word"):
        read(" * ")


SHAPES = [
    "well-known", "don't", "http://example.com/path", "me@host.org", "a.b-c", "東京都庁", "東", "東京", "ab東京都", "東京都ab", "ภาษาไทย",
    "한국어", "w5.2", "2024-05-06", "snake_case_name", "3.14", "1,000", "x" * 300, "9" * 300, "C++", "é" * 3, "STRASSE", "(well", "**bold**",
    "a,b", "ﬁne", "x2.org/a1", "foo++", "🎉🎉", "v-2", "registry.io/a_b:1",
]  # fmt: skip


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("analyzer", [Analyzer(Settings()), Analyzer(Settings(fold=False))], ids=["folded", "as is"])
def test_a_text_is_found_by_each_of_its_beginnings(text, analyzer):
    """All terms that a beginning needs are terms of the text, or begin one."""
    found = analyzer.terms(text)
    for end in range(1, len(text) + 1):
        beginning = analyzer.beginning(text[:end])
        assert all(term in found for term in beginning.terms), text[:end]
        assert not beginning.prefix or any(term.startswith(beginning.prefix) for term in found), text[:end]
        assert beginning.prefix or beginning.terms or not analyzer.terms(text[:end])


@given(st.text(st.sampled_from("aB1.,_+#-' é東京\u0e20\u0e32x"), max_size=12), st.integers(0, 12))
def test_texts_are_found_by_their_beginnings(text, end):
    analyzer = Analyzer(Settings())
    found, beginning = set(analyzer.terms(text)), analyzer.beginning(text[:end])
    if not text[:end].endswith(("+", "#")):  # "c#1" has no "c#"
        assert found.issuperset(beginning.terms)
        assert not beginning.prefix or (
            any(term.startswith(beginning.prefix) for term in found)
            or (beginning.others and found.issuperset(beginning.others))
        )


def test_what_beginnings_mean():
    assert read("body:well-kn*").counts == {Term(1, "well"): 1, Term(1, "kn", prefix=True): 1}
    assert read("+body:w5.*").must == [[[Term(1, "w5.", prefix=True)], [Term(1, "w5")]]]
    assert read("+body:東京都*").must == [[[Term(1, "東京"), Term(1, "京都", prefix=True)]]]
    assert read('body:"well*"').counts == read("body:well*,").counts == {Term(1, "well", prefix=True): 1}


def test_a_beginning_that_its_stem_is_shorter_than():
    assert read("+title:running*").must == [[[Term(0, "running", prefix=True)], [Term(0, "run")]]]
    assert read("title:runn*").counts == {Term(0, "runn", prefix=True): 1}


@pytest.mark.parametrize(
    ("text", "shown"), [("so*g", "so*g"), ("*song", "*song"), ("body:*song x", "body:*song"), ("a* b*c", "b*c")]
)
def test_an_asterisk_that_is_no_prefix_is_warned_about(text, shown):
    with pytest.warns(VsearchWarning, match=rf"only at the end of a word; the others in '{re.escape(shown)}'"):
        read_queries(text)
    read(text)


@pytest.mark.parametrize("text", ["**bold** text", "5 * 3", "* item", "a** b", "x*, y*"])
def test_other_asterisks_are_texts(text):
    read_queries(text)
    read(text)


def test_columns_that_are_not_there():
    assert read("TITLE:cats").counts == {Term(0, "cat"): 1}
    with pytest.raises(InputError, match=r"'Price' in price: is not a text column; the text columns are: title, body"):
        parse("price:10", COLUMNS, ["Price"])
    assert parse("price: 10", COLUMNS, ["price"]).counts[Term(1, "price")] == 1
    assert read("titel:x").counts[Term(1, "titel")] == 1
    warning = "there is no text column 'titel', so titel: is read as a word; did you mean title:?"
    assert unknown_columns("titel:x +titel:y", ["title", "body"], ["price"]) == [warning]
    for text in ("titel: x", "titel", "Title:x", "price:3", "http://x.org 12:30 note:x", ":x", ""):
        assert unknown_columns(text, ["title", "body"], ["price"]) == []
    assert len(unknown_columns(" ".join(f"title{i}:x" for i in range(50)), ["title"], [])) == 10
    assert read("http://x.org 12:30 note:x").counts[Term(1, "note")] == 1


def test_one_word_in_quotes_is_that_word():
    for columns in (COLUMNS, PHRASES):
        assert read('body:"Word"', columns).counts == {Term(1, "word"): 1}
        assert read('title:"the Cats"', columns).counts == {Term(0, "cat"): 1}


@pytest.mark.parametrize("text", ['"two words"', '+"two words"', '-"two words" x', 'title:"two words"', '"well-known"'])
def test_phrases_are_refused_without_positions(text):
    with pytest.raises(
        InputError, match=r"requires the positions of words, which the text column 'title' does not store"
    ):
        read(text)
    read(text, PHRASES)


def test_columns_without_positions_are_named():
    some = [COLUMNS[0], PHRASES[1]]
    assert read('body:"two words"', some).counts == {phrase(1, "two", "words"): 1}
    with pytest.raises(InputError, match="text column 'title'"):
        read('"two words"', some)


def test_phrases_have_the_positions_of_their_texts():
    query = read('"state of the arts" +body:"a a" -title:"dogs cat"', PHRASES)
    assert query.counts == {
        phrase(0, "state", "of", ("art", 3)): 1,
        phrase(1, "state", "of", "the", "arts"): 1,
        phrase(1, "a", "a"): 1,
    }
    assert query.must == [[[phrase(1, "a", "a")]]]
    assert query.must_not == [[[phrase(0, "dog", "cat")]]]
    assert read('body:"libc6-dev x"', PHRASES).counts == {
        phrase(1, ("libc6-dev", 0), ("libc6", 0), ("dev", 1), ("x", 2)): 1
    }
    assert read('title:"the cat sat"', PHRASES).counts == {phrase(0, "cat", "sat"): 1}
    assert read('body:"東京都"', PHRASES).counts == {phrase(1, "東京", "京都"): 1}


def test_prefixes_in_phrases_are_refused():
    with pytest.raises(InputError, match="whole words"):
        read('"two wor*"', PHRASES)


def test_a_query_without_words_has_no_terms():
    assert read("").counts == read(" ... - + ").counts == read("title:the").counts == {}


def test_a_query_must_look_for_something():
    with pytest.raises(InputError, match="only excludes words"):
        read("-a -b")


def test_hostile_queries_are_refused():
    with pytest.raises(InputError, match=r"10,000 words"):
        read("word " * (MOST_WORDS + 1))
    with pytest.raises(InputError, match=r"10,000 words"):
        read('"' + "word " * (MOST_WORDS + 1) + '"', PHRASES)
    with pytest.raises(InputError, match=r"10,000 words, got 500,000"):
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VsearchWarning)
            query = read(text, PHRASES)
    except InputError:
        return
    assert all(text for term in query.counts for text in term.texts)
