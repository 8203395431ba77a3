"""Byte-level BPE: the same ids as from the library, in bounded time."""

from __future__ import annotations

import json
import unicodedata
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import vsearch
from tests.encoders.byte_pairs import MERGES, NAMES, describe_byte_pairs
from tests.encoders.unigrams import describe_unigram
from vsearch.encoders.bpe import byte_characters
from vsearch.encoders.bpe_files import read_byte_pairs
from vsearch.encoders.unigram_files import read_unigram
from vsearch.errors import InputError

UNBOUNDED = 10**9
DESCRIBED = describe_byte_pairs()
TOKENIZER = read_byte_pairs("tokenizer.json", DESCRIBED, len(NAMES))
SHOWN = {char: byte for byte, char in enumerate(byte_characters())}
HOSTILE = ["a" * 10**6, "\u0301" * 10**5, "\u0323\u0301" * 10**5, "\0" * 10**6, "\ud800" * 10**6, " " * 10**6]
HOSTILE += ["the " * 250_000, "'" * 10**6, "\u65e5" * 10**6, " [MASK]" * 10**5, "\r\n" * 10**5]


def tokens(text: str) -> list[str]:
    return [NAMES[row] for row in TOKENIZER.encode(text, UNBOUNDED)[1:-1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a", ["a"]),
        ("a  [MASK]b", ["a", "[MASK]", "b"]),
        ("a|||IP|||      b", ["a", "|||IP|||", "      ", "b"]),
        ("\u00e9", ["\u00c3", "\u00a9"]),
        ("e\u0301", ["\u00c3", "\u00a9"]),
        ("e\u0301x", ["e\u0301x"]),
        ("\u00e9x", ["e\u0301x"]),
        ("\t the", ["\u0109", "\u0120the"]),
        ("q'sq", ["q", "'", "s", "q"]),
    ],
)
def test_known_texts(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(st.text(max_size=40).filter(lambda text: not any(name in text for name in NAMES if len(name) > 4)))
def test_tokens_spell_the_normalized_text(text: str) -> None:
    normal = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())
    assume("\u00e9x" not in normal)
    spelled = b"".join(
        token.encode() if token.isspace() else bytes(SHOWN[char] for char in token) for token in tokens(text)
    )
    assert spelled.decode() == normal


@given(st.text("athe r\u0301\u65e5'", max_size=40), st.integers(2, 12))
def test_a_limit_cuts_off_the_end(text: str, limit: int) -> None:
    whole, cut = TOKENIZER.encode(text, UNBOUNDED), TOKENIZER.encode(text, limit)
    assert cut == [*whole[: min(limit, len(whole)) - 1], TOKENIZER.last]


@given(st.text("thereadgil", min_size=1, max_size=30))
def test_merges_are_made_in_order(word: str) -> None:
    """One merge at a time, at every place, as in the definition."""
    parts = list(word)
    ranks = {tuple(pair): rank for rank, pair in enumerate(MERGES)}
    while True:
        found = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not found:
            break
        place = min(found)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    assert [NAMES[row] for row in TOKENIZER._merge(word)] == parts


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:2]))
@pytest.mark.parametrize("limit", [32, 8192])
def test_hostile_texts(text: str, limit: int) -> None:
    assert len(TOKENIZER.encode(text, limit)) <= limit  # takes hours if it is quadratic


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer"),
        ({"pre_tokenizer": {"type": "ByteLevel", "use_regex": False}}, "use_regex"),
        ({"post_processor": None}, "post_processor"),
        ({"added_tokens": [{"id": 1, "content": "x", "rstrip": True}]}, "rstrip"),
        ({"added_tokens": [*DESCRIBED["added_tokens"], {"id": 10**6, "content": "x"}]}, "ids of tokens"),
        ({"added_tokens": []}, "must contain"),
        ({"added_tokens": [{"id": "1", "content": "x"}]}, "integer id"),
        ({"model": DESCRIBED["model"] | {"dropout": 0.5}}, "dropout"),
        ({"model": DESCRIBED["model"] | {"vocab": []}}, "vocabulary"),
        ({"model": DESCRIBED["model"] | {"vocab": {"a": 0}}}, "merges"),
        ({"model": DESCRIBED["model"] | {"vocab": {"a": 0}, "merges": []}}, "each byte"),
        ({"model": DESCRIBED["model"] | {"merges": [["a", "~"]]}}, "must be tokens"),
        ({"model": DESCRIBED["model"] | {"merges": ["abc"]}}, "pairs"),
        ({"model": DESCRIBED["model"] | {"merges": [["a", "nothing"]]}}, "pairs of tokens of the vocabulary"),
        ({"model": DESCRIBED["model"] | {"merges": 5}}, "list of pairs"),
        ({"model": DESCRIBED["model"] | {"merges": True}}, "list of pairs"),
        ({"model": DESCRIBED["model"] | {"merges": {"a b": 0}}}, "list of pairs"),
        (
            {
                "model": DESCRIBED["model"]
                | {"vocab": DESCRIBED["model"]["vocab"] | {"a": 2**40}, "merges": [["a", "b"]]}
            },
            "ids are from 0",
        ),
    ],
)
def test_what_is_not_supported_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_byte_pairs("tokenizer.json", DESCRIBED | changes, len(NAMES))


@pytest.mark.parametrize("read", [read_byte_pairs, read_unigram])
def test_normalizers_as_deep_as_json(read: Any) -> None:
    """Whoever calls itself for each level runs out of the stack."""
    nested: Any = {"type": "Strange"}
    for _ in range(5000):
        nested = {"type": "Sequence", "normalizers": [nested]}
    described = DESCRIBED if read is read_byte_pairs else describe_unigram()
    with pytest.raises(InputError, match="'Strange'"):
        read("tokenizer.json", described | {"normalizer": nested}, 10_000)


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="needs tokenizers")
@pytest.mark.parametrize("changes", [{}, {"normalizer": None}, {"spaced": True}, {"whole": True}])
def test_the_library_agrees(changes: dict[str, Any]) -> None:
    from tokenizers import Tokenizer

    described = describe_byte_pairs()
    if "normalizer" in changes:
        described["normalizer"] = None
    described["pre_tokenizer"] |= {"add_prefix_space": "spaced" in changes}
    described["model"] |= {"ignore_merges": "whole" in changes}
    ours, oracle = read_byte_pairs("", described, len(NAMES)), Tokenizer.from_str(json.dumps(described))
    rng = np.random.default_rng(0)
    pool = [
        *"abe thlsrv.\t\r\n/1\u00bd\u2460\u0301\u0300\u0903\u200d\ufeff\u3000\u00e9\u65e5\u672c\u0600\x1c\x85\0'\u00c5"
    ]
    pool += [
        "the",
        " red",
        "[MASK]",
        "[CLS]",
        "  ",
        "       ",
        "|||IP|||",
        "'s",
        "'re",
        "\U0001f3fb",
        "\r\n",
        "e\u0301x",
    ]
    made = ["".join(rng.choice(pool, rng.integers(0, 14))) for _ in range(2000)]
    sample = vsearch.datasets.load("wordnet-10k").attributes["text"].to_pylist()[::20]
    every = ["a" + chr(code) + "1 " + chr(code) for code in range(0x3100) if not 0xD800 <= code < 0xE000]
    for text in [*made, *every, *sample]:
        assert ours.encode(text, UNBOUNDED) == oracle.encode(text).ids, ascii(text)
