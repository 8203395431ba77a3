"""LIKE against regular expressions, binary search against NumPy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.kernels.filters import like as kernels
from vsearch.predicates import pattern as tokens

ALPHABET = st.sampled_from("abé日\U0001f600")


def join(texts):
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    offsets.setflags(write=False)
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)


def matches(texts, pattern):
    parts = {"%": [kernels.ANY_TEXT], "_": [kernels.ANY_CHARACTER]}
    compiled = [token for character in pattern for token in parts.get(character, character.encode())]
    found = np.empty(len(texts), np.bool_)
    kernels.like(*join(texts), np.array(compiled, np.int16), found)
    return found.tolist()


def twin(text, pattern):
    expression = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@pytest.mark.slow
@settings(max_examples=1000)
@given(
    texts=st.lists(st.text(ALPHABET, max_size=8), min_size=1, max_size=5),
    pattern=st.text(st.sampled_from("ab日%_"), max_size=7),
)
def test_like(texts, pattern):
    assert matches(texts, pattern) == [twin(text, pattern) for text in texts]


def test_like_of_nothing():
    assert matches(["", "a"], "") == [True, False]
    assert matches([], "%") == []


def test_like_does_not_explode():
    text, pattern = "a" * 5_000 + "b", "%a" * 200 + "%c"
    assert matches([text], pattern) == [False]


def test_the_binder_uses_the_same_tokens():
    assert (tokens.ANY_CHARACTER, tokens.ANY_TEXT) == (kernels.ANY_CHARACTER, kernels.ANY_TEXT)


@given(
    strings=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=30),
    needles=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=10),
)
def test_search(strings, needles):
    ordered = sorted(set(strings), key=str.encode)
    positions = np.empty(len(needles), np.int64)
    kernels.search(*join(ordered), *join(needles), positions)
    assert positions.tolist() == [sum(text.encode() < needle.encode() for text in ordered) for needle in needles]
