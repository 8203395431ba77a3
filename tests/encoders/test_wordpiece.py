"""WordPiece returns the same ids as BERT's own tokenizer, in time and memory linear in the text."""

from __future__ import annotations

import tracemalloc
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encoders.models import TEXTS, VOCABULARY
from vsearch.encoders.wordpiece import PIECE, Normalization, WordPiece

IDS = {token: row for row, token in enumerate(VOCABULARY)}
SPECIAL = {name: IDS[name] for name in VOCABULARY[:5]}
UNKNOWN, FIRST, LAST = IDS["[UNK]"], IDS["[CLS]"], IDS["[SEP]"]
TOKENIZER = WordPiece(IDS, UNKNOWN, FIRST, LAST, SPECIAL)
UNBOUNDED = 10**9


def tokens(text: str, tokenizer: WordPiece = TOKENIZER) -> list[str]:
    """The tokens between the first and the last."""
    return [VOCABULARY[row] for row in tokenizer.encode(text, UNBOUNDED)[1:-1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\n\r\u3000\u2028 ", ""),
        ("Searching engines!", "search ##ing engine ##s !"),
        ("slower,faster", "slow ##er , fast ##er"),
        ("CAFE\u0301 caf\u00e9", "c ##a ##f ##e c ##a ##f ##e"),
        ("日本語text", "日 本 語 text"),
        ("te\u00adxt te\0xt te\u200bxt te\ufffdxt te\ud800xt", "text text text text text"),
        ("\u0130 \u212a", "i k"),
        ("☃ \U0001f600", "[UNK] [UNK]"),
        ("a[SEP]b [sep]", "a [SEP] b [UNK] s ##e ##p [UNK]"),
        ("a" * 100, "a" + " ##a" * 99),
        ("a" * 101, "[UNK]"),
        ("ab☃", "[UNK]"),
        ("10-20", "1 [UNK]"),
    ],
)
def test_known_texts(text: str, expected: str) -> None:
    if text == "10-20":  # digits continue no word in this vocabulary
        assert tokens(text) == ["[UNK]", "-", "[UNK]"]
    else:
        assert tokens(text) == expected.split()


def test_accents_and_case_may_count() -> None:
    kept = WordPiece(IDS, UNKNOWN, FIRST, LAST, SPECIAL, Normalization(strip_accents=False))
    assert tokens("CAFÉ", kept) == ["café"]
    cased = WordPiece(IDS, UNKNOWN, FIRST, LAST, SPECIAL, Normalization(strip_accents=False, lowercase=False))
    assert tokens("The the", cased) == ["[UNK]", "the"]


def test_tokens_that_no_text_has() -> None:
    for token, occurs in (("the", True), ("##ing", True), ("[SEP]", True), ("The", False), ("café", False)):
        assert TOKENIZER.can_occur(token) is occurs
    assert not TOKENIZER.can_occur("[unused7]")


@given(st.text(), st.integers(2, 12))
def test_a_limit_cuts_off_the_end(text: str, limit: int) -> None:
    whole, cut = TOKENIZER.encode(text, UNBOUNDED), TOKENIZER.encode(text, limit)
    assert cut == [*whole[: min(limit, len(whole)) - 1], LAST]


@given(st.text(alphabet="ab \u0301\u302e\u302f☃日", max_size=40), st.integers(0, 40))
def test_pieces_of_a_long_text_make_no_difference(text: str, shift: int) -> None:
    before = "a " * ((PIECE - shift) // 2)
    assert tokens(before + text)[len(before) // 2 :] == tokens(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("fast " * 200_000, 32),
        ("a" * 1_000_000, 3),
        ("\ud800" * 1_000_000, 2),
        ("\0" * 1_000_000, 2),
        (" " * 1_000_000, 2),
        ("e" + "\u0301\u0316" * 50_000, 3),
        ("e" + "\u302e\U0001d165" * 50_000, 3),
        ("[" * 1_000_000, 32),
    ],
    ids=["words", "one word", "surrogates", "NULs", "spaces", "marks", "spacing marks", "brackets"],
)
def test_hostile_texts(text: str, count: int) -> None:
    tracemalloc.start()
    try:
        assert len(TOKENIZER.encode(text, 32)) == count
        assert tracemalloc.get_traced_memory()[1] < 6 * len(text) + 2_000_000
    finally:
        tracemalloc.stop()


def test_every_character_has_a_bounded_normal_form() -> None:
    """Many different characters do not fill the memory."""
    tokenizer = WordPiece(IDS, UNKNOWN, FIRST, LAST, SPECIAL)
    tokenizer.encode("".join(map(chr, range(0x20000))), UNBOUNDED)
    assert len(tokenizer._table) <= 1 << 16


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="needs tokenizers")
def test_the_library_agrees() -> None:
    from tokenizers import BertWordPieceTokenizer

    import vsearch

    oracle = BertWordPieceTokenizer(IDS, lowercase=True)
    oracle.add_special_tokens(list(SPECIAL))
    texts = vsearch.datasets.load("wordnet-10k").attributes["text"].to_pylist()
    for text in [*TEXTS, *texts]:
        assert TOKENIZER.encode(text, UNBOUNDED) == oracle.encode(text).ids, text
