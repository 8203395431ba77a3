"""Fewer layers and fewer tokens: the right ones are kept, and the rest works as if the model had been made so."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encoders.models import TEXTS, VOCABULARY, sentences, tensors, write_model
from vsearch.encoders import CompressedEncoder, compress, load
from vsearch.encoders.float_model import read_float_model
from vsearch.encoders.pruning import choose_layers, keep_layers, keep_tokens, needed_tokens
from vsearch.encoders.quantizing import tokenize
from vsearch.encoders.report import cosines
from vsearch.encoders.wordpiece import WordPiece
from vsearch.errors import InputError, VsearchWarning

CALIBRATION = sentences(40, 9)
IDS = {token: row for row, token in enumerate(VOCABULARY)}
SPECIAL = {name: IDS[name] for name in VOCABULARY[:5]}
TOKENIZER = WordPiece(IDS, IDS["[UNK]"], IDS["[CLS]"], IDS["[SEP]"], SPECIAL)
UNBOUNDED = 10**9


def without_layers(weights: dict[str, np.ndarray], kept: list[int]) -> dict[str, np.ndarray]:
    """The tensors of some layers, renumbered."""
    made = {name: array for name, array in weights.items() if ".layer." not in name}
    for place, layer in enumerate(kept):
        at = f"encoder.layer.{layer}."
        made |= {
            f"encoder.layer.{place}.{name.removeprefix(at)}": array
            for name, array in weights.items()
            if name.startswith(at)
        }
    return made


def idle(weights: dict[str, np.ndarray], layer: int) -> None:
    """Let a layer change nearly nothing."""
    for name, array in weights.items():
        if name.startswith(f"encoder.layer.{layer}."):
            array[...] = 1 if name.endswith("LayerNorm.weight") else 0


def test_kept_layers_are_a_model_of_their_own(tmp_path: Path) -> None:
    weights = tensors(layers=3)
    source = write_model(tmp_path / "three", weights)
    made = compress(source, CALIBRATION, layers=(0, 2))
    assert made.report.layers == (0, 2)
    assert made.model.architecture.layers == 2
    own = compress(write_model(tmp_path / "two", without_layers(weights, [0, 2])), CALIBRATION)
    np.testing.assert_array_equal(made.encode(TEXTS), own.encode(TEXTS))
    near = (load(source).encode(CALIBRATION) * made.encode(CALIBRATION)).sum(axis=1)
    assert made.report.cosine == pytest.approx(near.mean(), abs=1e-4)
    assert made.report.cosine < 0.99 < own.report.cosine
    made.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert isinstance(again, CompressedEncoder)
    assert again.report == made.report


def test_layers_that_do_nothing_are_left_out(tmp_path: Path) -> None:
    weights = tensors(layers=4)
    idle(weights, 1)
    idle(weights, 2)
    assert compress(write_model(tmp_path, weights), CALIBRATION, layers=2).report.layers == (0, 3)


def test_the_layer_that_matters_least_goes(tmp_path: Path) -> None:
    model = read_float_model(write_model(tmp_path, tensors(layers=3)))
    texts = tokenize(model, CALIBRATION)
    near = {
        kept: cosines(model.forward(texts), keep_layers(model, kept).forward(texts)).mean()
        for kept in combinations(range(3), 2)
    }
    assert choose_layers(model, texts, 2) == max(near, key=lambda kept: near[kept])
    assert choose_layers(model, texts, 3) == (0, 1, 2)


@pytest.mark.parametrize("layers", [0, 3, True, "2", 1.0, [], [1, 0], [0, 0], [0, 2], [True], [-1, 0]])
def test_layers_that_there_are_not(tmp_path: Path, layers: object) -> None:
    with pytest.raises(InputError, match=r"layers must be .*, got "):
        compress(write_model(tmp_path), CALIBRATION, layers=layers)  # type: ignore[arg-type]


def pruned(count: int, folder: Path) -> WordPiece:
    return keep_tokens(read_float_model(folder), [*CALIBRATION, "the house of stone"], count).tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def test_dropped_words_are_spelled_with_kept_tokens(folder: Path) -> None:
    least = len(needed_tokens(TOKENIZER))
    tokenizer = pruned(least + 4, folder)
    assert sorted(tokenizer.vocabulary.values()) == list(range(least + 4))
    names = sorted(tokenizer.vocabulary, key=lambda token: tokenizer.vocabulary[token])
    assert names == [token for token in VOCABULARY if token in tokenizer.vocabulary]
    assert {"café", "##z", "7", "日"} <= {*names}  # é is no token within a word, so words with it stay
    assert "hello" not in names
    assert [names[row] for row in tokenizer.encode("hello é", UNBOUNDED)[1:-1]] == [
        *["h", "##e", "##l", "##l", "##o", "e"]
    ]
    for token, row in SPECIAL.items():
        assert tokenizer.special[token] == tokenizer.vocabulary[token] == row


@given(st.lists(st.text("abcdeé日 ☃", min_size=1, max_size=9), max_size=5), st.sets(st.integers(0, 30)))
def test_every_word_that_was_spelled_still_is(words: list[str], dropped: set[int]) -> None:
    pieces = ["ab", "##cd", "abc", "##de", "##é", "é", "bcde", "##bc", "日", "a日", "##d日"]
    letters = [prefix + char for char in "abcde" for prefix in ("", "##")]
    vocabulary = {token: row for row, token in enumerate(["[UNK]", "[CLS]", "[SEP]", *letters, *pieces])}
    whole = WordPiece(vocabulary, 0, 1, 2, {})
    needed = needed_tokens(whole)
    some = replace(
        whole, vocabulary={token: row for token, row in vocabulary.items() if row in needed or row not in dropped}
    )
    text = " ".join(words)
    assert 0 in whole.encode(text, UNBOUNDED) or 0 not in some.encode(text, UNBOUNDED)


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="needs tokenizers")
def test_the_library_splits_the_same(folder: Path) -> None:
    from tokenizers import BertWordPieceTokenizer

    import vsearch

    texts = vsearch.datasets.load("wordnet-10k").attributes["text"].to_pylist()[:300]
    for count in (len(needed_tokens(TOKENIZER)), len(VOCABULARY) - 9):
        tokenizer = pruned(count, folder)
        oracle = BertWordPieceTokenizer({**tokenizer.vocabulary}, lowercase=True)
        oracle.add_special_tokens(list(tokenizer.special))
        for text in [*TEXTS, *texts]:
            assert tokenizer.encode(text, UNBOUNDED) == oracle.encode(text).ids


def test_frequent_tokens_are_kept(folder: Path, tmp_path: Path) -> None:
    """Texts of kept tokens have the same vectors as before."""
    count = len(needed_tokens(TOKENIZER)) + len({word for text in CALIBRATION for word in text.split()})
    whole = compress(folder, CALIBRATION)
    with pytest.warns(VsearchWarning, match=r"0\.0% of 40 texts.*pass holdout="):
        made = compress(folder, CALIBRATION, vocabulary=count)
    assert made.report.dropped_tokens == len(VOCABULARY) - count
    assert made.report.split_texts == 0
    np.testing.assert_array_equal(made.encode(CALIBRATION), whole.encode(CALIBRATION))
    assert made.report.bytes["table"] < whole.report.bytes["table"]
    made.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).encode(TEXTS), made.encode(TEXTS))


def test_the_cost_is_measured_and_said(folder: Path) -> None:
    least = len(needed_tokens(TOKENIZER))
    with pytest.warns(VsearchWarning, match=r"which occur in 100\.0% of 40 texts.*first percentile 0\.") as caught:
        report = compress(folder, CALIBRATION, vocabulary=least, holdout=CALIBRATION).report
    assert "pass holdout=" not in str(caught[0].message)
    assert report.split_texts == 1
    assert report.worst_cosine < 0.95
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compress(folder, CALIBRATION, vocabulary=len(VOCABULARY), holdout=CALIBRATION)
        compress(folder, CALIBRATION, vocabulary=len(VOCABULARY) - 4, holdout=CALIBRATION[:9])


@pytest.mark.parametrize("count", [0, 10, len(VOCABULARY) + 1, True, 100.0])
def test_vocabularies_that_cannot_be(folder: Path, count: object) -> None:
    least = len(needed_tokens(TOKENIZER))
    with pytest.raises(InputError, match=f"from {least} .* to {len(VOCABULARY)}, got {count}"):
        compress(folder, CALIBRATION, vocabulary=count)  # type: ignore[arg-type]
