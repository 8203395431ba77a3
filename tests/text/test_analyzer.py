"""Texts of many scripts are cut into terms, the same alone and in batches."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import MissingDependencyError
from vsearch.text.analyzer import LONGEST_TERM, MOST_MARKS, Analyzer, Settings, normalized
from vsearch.text.occurrences import occurrences

PLAIN = Analyzer(Settings())

CASES = {
    "Hello, World! it's": "hello world it s",
    "3.14 and 1,000 or 1, 2": "3.14 and 1,000 or 1 2",
    "libc6-dev": "libc6-dev libc6 dev",
    "ISO-8859-1": "iso-8859-1 iso 8859 1",
    "foo_bar and/or well-known": "foo_bar foo bar and or well known",
    "C++, C# and issue#": "c++ c# and issue",
    "Ünïcode Straße İstanbul": "unicode strasse istanbul",
    "ΑΘΉΝΑ": "αθηνα",
    "Ёлка": "елка",
    "e\u0301t\u00e9": "ete",
    "東京タワー": "東京 京タ タワ ワー",
    "東京2024 水": "東京 2024 水",
    "한국어": "한국 국어",
    "हिन्दी में": "हिन्दी में",
    "தமிழ்": "தமிழ்",
    "สวัสดี": "สว วั ัส สด ดี",
    "مَرْحَبًا": "مرحبا",
    "שָׁלוֹם": "שלום",
    "ｆｕｌｌ ㎏ ﬁn": "full kg fin",
    "😀 hi 👍": "😀 hi 👍",
    "საქართველო Հայերեն": "საქართველო հայերեն",
    "Tiếng Việt": "tieng viet",
    "  \x00 … --- ": "",
    "": "",
}


@pytest.mark.parametrize("text", CASES)
def test_terms(text):
    assert " ".join(PLAIN.terms(text)) == CASES[text]


def test_accents_may_count():
    assert Analyzer(Settings(fold=False)).terms("Été ete") == ["été", "ete"]


def test_stems_and_stop_words():
    analyzer = Analyzer(Settings("english", ("The", "of")))
    assert analyzer.terms("The runners of THE running races, and libc6-dev") == [
        "runner", "run", "race", "and", "libc6-dev", "libc6", "dev",
    ]  # fmt: skip
    assert Analyzer(Settings("french")).terms("les chevaliers") == ["le", "chevali"]


def test_words_are_cut_and_codes_are_not_kept_whole_if_they_are_long():
    assert PLAIN.terms("x" * 300) == ["x" * LONGEST_TERM, "x" * LONGEST_TERM, "x" * (300 - 2 * LONGEST_TERM)]
    assert PLAIN.terms("-".join(["a1"] * 100)) == ["a1"] * 100


@pytest.mark.slow
def test_a_text_of_ten_megabytes():
    found = occurrences(["word 42 " * 1_250_000, None, "z"], PLAIN)
    assert Counter(found.terms) == Counter(["word", "42", "z"])
    assert len(found.rows) == 2_500_001


@pytest.mark.parametrize("marks", ["\u0301", "\u0316\u0301", "\u0e31", "\uff9e", "\U0001d165\U0001d16e"])
def test_marks_without_end_take_no_time_of_their_square(marks):
    word = "a" + marks * (100_000 // len(marks))
    alone = PLAIN.terms(f"{word} b")
    assert alone == PLAIN.terms(f"a{(marks * MOST_MARKS)[:MOST_MARKS]} b")
    assert alone[-1] == "b"
    found = occurrences([f"{word} b", "c"], PLAIN)
    assert [found.terms[number] for number in found.numbers.tolist()] == [*alone, "c"]


def test_every_character_that_normalizing_reorders_counts_as_a_mark():
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x20000)):
        first = unicodedata.normalize("NFKD", chr(code))[0]
        if unicodedata.combining(first):
            assert normalized(chr(code) * (MOST_MARKS + 5)) == normalized(chr(code) * MOST_MARKS), hex(code)


def test_a_language_that_the_installed_stemmers_lack():
    with pytest.raises(MissingDependencyError, match="no stemmer for 'klingon'"):
        Analyzer(Settings("klingon"))


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=8))
def test_a_batch_gives_the_terms_of_each_text(texts):
    found = occurrences(texts, PLAIN)
    terms = [[] for _ in texts]
    for row, number in zip(found.rows.tolist(), found.numbers.tolist(), strict=True):
        terms[row].append(found.terms[number])
    assert terms == [PLAIN.terms(text or "") for text in texts]
    assert all(0 < len(term) <= LONGEST_TERM for of_text in terms for term in of_text)
    assert all(unicodedata.is_normalized("NFC", term) for of_text in terms for term in of_text)
