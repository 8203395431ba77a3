"""XLM-R: its Unigram tokenizer returns the ids of the library, and its models are read, compressed and saved."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.encoders.models import POSITIONS, sentences, tensors, write_model
from tests.encoders.test_compress import rewrite
from tests.encoders.test_outliers import facts_of
from tests.encoders.unigrams import SPECIAL, describe_unigram
from vsearch.encoders import CompressedEncoder, compress, load
from vsearch.encoders.loading import from_files
from vsearch.encoders.pruning import needed_pieces
from vsearch.encoders.unigram import Unigram
from vsearch.encoders.unigram_files import read_unigram
from vsearch.encoders.writing import model_parts
from vsearch.errors import CorruptIndexError, InputError, VsearchWarning

UNBOUNDED = 10**9
DESCRIBED = describe_unigram()
NAMES = [name for name, _ in DESCRIBED["model"]["vocab"]]
TOKENIZER = read_unigram("tokenizer.json", DESCRIBED, len(NAMES))
CONFIG = {
    "model_type": "xlm-roberta",
    "vocab_size": len(NAMES),
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-5,
}
TEXTS = [
    "the red house of a river",
    "Searching caf\u00e9s",
    "",
    "\u65e5\u672c \u2603 x",
    "the " * 100,
    "a <mask> b </s>",
    "\ufb01 \u00bd e\u0301",
]


def tokens(text: str) -> list[str]:
    return [NAMES[row] for row in TOKENIZER.encode(text, UNBOUNDED)[1:-1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\u3000\u2028 ", ""),
        ("the\u00a0red", "\u2581the \u2581red"),
        ("xyzt", "\u2581 <unk> t"),
        ("a<mask>a", "\u2581a <mask> \u2581a"),
        ("\u00ada", "\u2581a"),
    ],
)
def test_known_texts(text: str, expected: str) -> None:
    assert tokens(text) == expected.split(" ") if expected else tokens(text) == []


@given(st.text("ab \u2581the\u0301\u65e5", max_size=40), st.integers(2, 12))
def test_a_limit_cuts_off_the_end(text: str, limit: int) -> None:
    whole, cut = TOKENIZER.encode(text, UNBOUNDED), TOKENIZER.encode(text, limit)
    assert cut == [*whole[: min(limit, len(whole)) - 1], TOKENIZER.last]


@given(st.text("abe \u2581helo\u65e5\u2603", max_size=9))
def test_words_have_the_best_sum_of_scores(word: str) -> None:
    """Of all ways to split a word, each character without a token being unknown."""
    scores, worst = TOKENIZER.scores, float(TOKENIZER.scores.min()) - 10

    def best(rest: str) -> float:
        if not rest:
            return 0.0
        sums = [
            scores[TOKENIZER.vocabulary[rest[:stop]]] + best(rest[stop:])
            for stop in range(1, len(rest) + 1)
            if rest[:stop] in TOKENIZER.vocabulary
        ]
        return max(sums) if rest[0] in TOKENIZER.vocabulary else max([worst + best(rest[1:]), *sums])

    if "\u2603" not in word and word:  # adjacent unknown characters are one token
        ids = TOKENIZER._split(word)
        total = sum(worst if row == TOKENIZER.unknown else scores[row] for row in ids)
        assert total == pytest.approx(best(word)) or ids.count(TOKENIZER.unknown) < sum(
            c not in TOKENIZER.vocabulary for c in word
        )


@pytest.mark.parametrize(
    "text",
    ["the " * 50_000, "a" * 200_000, "\u0301" * 200_000, "\0" * 200_000, "\ud800" * 100_000, " " * 200_000],
)
def test_hostile_texts(text: str) -> None:
    assert len(TOKENIZER.encode(text, 32)) <= 32  # takes hours if it is quadratic


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="needs tokenizers")
def test_the_library_agrees() -> None:
    from tokenizers import Tokenizer

    oracle = Tokenizer.from_str(json.dumps(DESCRIBED))
    rng = np.random.default_rng(0)
    pool = [
        *"abe thls.\t\r\n/1\u00bd\u2460\u0301\u0300\u0903\u200d\u200c\ufeff\u3000\u2581\ufb01\uff21\u00e9\u65e5\u672c\u0600\u0e33\x1c\0"
    ]
    pool += ["the", "red", "<mask>", "</s>", "\U0001f3fb", "\r\n"]
    made = ["".join(rng.choice(pool, rng.integers(0, 14))) for _ in range(3000)]
    every = ["a" + chr(code) + "\u0301b" for code in range(0x3100) if not 0xD800 <= code < 0xE000]
    for text in [*TEXTS, *made, *every]:
        assert TOKENIZER.encode(text, UNBOUNDED) == oracle.encode(text).ids, ascii(text)


def write_xlm(folder: Path, **changes: Any) -> Path:
    weights = tensors()
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][: len(NAMES)]
    weights["embeddings.token_type_embeddings.weight"] = weights["embeddings.token_type_embeddings.weight"][:1]
    source = write_model(folder, weights, config=CONFIG | changes)
    (source / "vocab.txt").unlink()
    (source / "tokenizer.json").write_text(json.dumps(DESCRIBED))
    return source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xlm(tmp_path_factory.mktemp("xlm"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> CompressedEncoder:
    return compress(folder, sentences(40, 9), holdout=TEXTS)


def test_models_are_compressed_and_saved(folder: Path, encoder: CompressedEncoder, tmp_path: Path) -> None:
    expected = load(folder)
    assert expected.model.architecture.positions == POSITIONS - 2
    assert (expected.encode(TEXTS) * encoder.encode(TEXTS)).sum(axis=1).min() > 0.99
    encoder.save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert again.encode_tokens(TEXTS).ids[0].tolist() == TOKENIZER.encode(TEXTS[0], 32)


def test_vocabularies_are_pruned(folder: Path, encoder: CompressedEncoder, tmp_path: Path) -> None:
    needed = needed_pieces(TOKENIZER)
    kept = ["the red house of a river"] * 9
    count = len(needed.union(TOKENIZER.encode(kept[0], UNBOUNDED)))
    assert len(needed) < count < len(NAMES)
    with pytest.warns(VsearchWarning, match="tokens were dropped"):
        made = compress(folder, kept, vocabulary=count)
    pruned = made.model.tokenizer
    assert isinstance(pruned, Unigram)
    assert len(pruned.vocabulary) == len(pruned.scores) == count
    assert made.report.dropped_tokens == len(NAMES) - count
    for text in [*TEXTS, "searching rivers"]:  # each is still the same text, in no fewer tokens
        names = {row: name for name, row in pruned.vocabulary.items()}
        ids = pruned.encode(text, UNBOUNDED)
        assert "".join(names[row] for row in ids) == "".join(NAMES[row] for row in TOKENIZER.encode(text, UNBOUNDED))
        assert len(ids) >= len(TOKENIZER.encode(text, UNBOUNDED))
        for row in ids:
            assert pruned.scores[row] == TOKENIZER.scores[NAMES.index(names[row])]
    assert (made.encode(kept[0]) * encoder.encode(kept[0])).sum() > 0.99
    made.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).encode(TEXTS), made.encode(TEXTS))
    with pytest.raises(InputError, match=f"from {len(needed)} "):
        compress(folder, TEXTS, vocabulary=len(needed) - 1)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
def test_vectors_are_those_of_transformers(folder: Path) -> None:
    import torch
    from transformers import XLMRobertaModel

    model = XLMRobertaModel.from_pretrained(folder, add_pooling_layer=False).eval()
    encoder = load(folder)
    for text in TEXTS:
        ids = encoder.model.tokenizer.encode(text, 32)
        with torch.no_grad():
            rows = model(torch.tensor([ids])).last_hidden_state[0].numpy()
        vector = rows.mean(axis=0)
        np.testing.assert_allclose(encoder.encode(text)[0], vector / np.linalg.norm(vector), atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "must be Precompiled, got 'Lowercase'"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "%"}}, "precompiled_charsmap is not valid"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "cannot have a trie"),
        ({"normalizer": {"type": "Precompiled"}}, "precompiled_charsmap is not valid"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "Sequence of WhitespaceSplit and Metaspace"),
        ({"post_processor": None}, "one special token before"),
        ({"added_tokens": [{"id": 1, "content": "the"}]}, "must be in the vocabulary, got 'the'"),
        ({"added_tokens": 7}, "must be in the vocabulary"),
        ({"model": {"type": "Unigram", "vocab": [["a", 1]]}}, "must contain '<s>'"),
        ({"model": {"type": "Unigram", "vocab": [["a", "1"]]}}, "must be numbers"),
        ({"model": {"type": "Unigram", "vocab": [["a", 10**400]]}}, "must be numbers"),
        ({"normalizer": {"type": "Sequence", "normalizers": 7}}, "must be Precompiled, got None"),
        ({"model": {"type": "Unigram", "vocab": [["a"]]}}, "must be pairs"),
        ({"model": {"type": "Unigram", "vocab": []}}, "from 1 to"),
        ({"model": DESCRIBED["model"] | {"unk_id": 999}}, "the unknown token must be"),
        ({"model": DESCRIBED["model"] | {"byte_fallback": True}}, "byte_fallback"),
        ({"model": DESCRIBED["model"] | {"vocab": [[name, float("nan")] for name in NAMES]}}, "finite score"),
        (
            {"model": DESCRIBED["model"] | {"vocab": [[name, 0] for name in [*NAMES[:-1], "a"]]}},
            "must be in the voc|twice",
        ),
    ],
)
def test_tokenizers_that_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_unigram("tokenizer.json", describe_unigram(**changes), len(NAMES))


def test_damaged_files(encoder: CompressedEncoder) -> None:
    for fact, value, reason in [
        ("unknown", len(NAMES), "unknown token must be"),
        ("first", "a", "first token must be"),
        ("special", [-1], "special tokens must be ids"),
        ("special", None, "special tokens must be ids"),
    ]:
        facts = facts_of(encoder)
        facts["tokenizer"] = facts["tokenizer"] | {fact: value}
        with pytest.raises(CorruptIndexError, match=reason):
            from_files(rewrite(encoder, model_parts(encoder.model), facts), "encoder")
    for name, array, reason in [
        ("scores", TOKENIZER.scores * np.nan, "must be finite"),
        ("scores", TOKENIZER.scores[1:], "must be float64"),
        ("characters", np.full(9, 255, np.uint8), "cannot have a trie"),
        ("text", np.frombuffer(b"a\nb", np.uint8), "must be float64"),
    ]:
        parts = model_parts(encoder.model)
        parts["vocabulary"][name] = array
        with pytest.raises(CorruptIndexError, match=reason):
            from_files(rewrite(encoder, parts, facts_of(encoder)), "encoder")
    assert SPECIAL[3] == NAMES[TOKENIZER.unknown]
