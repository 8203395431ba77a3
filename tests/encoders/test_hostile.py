"""Texts and files that are meant to do harm: bounded memory, and errors that say what is wrong, for every kind of tokenizer."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders.byte_pairs import describe_byte_pairs, write_modern
from tests.encoders.models import VOCABULARY, sentences, tensors, write_model
from tests.encoders.test_compress import rewrite
from tests.encoders.test_outliers import facts_of
from tests.encoders.test_unigram import write_xlm
from tests.encoders.unigrams import describe_unigram
from vsearch.encoders import CompressedEncoder, TextEncoder, compress, load
from vsearch.encoders.functions import attend, attention_received
from vsearch.encoders.loading import from_files
from vsearch.encoders.queries import LONGEST, encode_queries
from vsearch.encoders.tensors import find_overlap
from vsearch.encoders.writing import model_parts, to_files
from vsearch.errors import CorruptIndexError, InputError

WRITERS: dict[str, Callable[[Path], Path]] = {"wordpiece": write_model, "unigram": write_xlm, "bpe": write_modern}
TEXTS = {
    "megabyte": "the red house of a river " * 42_000,
    "one letter": "a" * 1_000_000,
    "one ideograph": "\u65e5" * 1_000_000,
    "surrogates": "\ud800" * 100_000,
    "surrogate pairs": "\udc00\ud800" * 50_000,
    "NULs": "\0" * 100_000,
    "combining marks": "e" + "\u0301" * 100_000,
    "marks out of order": "e" + "\u0301\u0323" * 50_000,
    "marks that decompose": "\u0344" * 100_000,
    "Hangul": "\u1100\u1161\u11a8" * 30_000,
    "private use": "\U0010ffff" * 100_000,
    "spaces": " " * 1_000_000,
    "punctuation": "!" * 1_000_000,
    "special tokens": "[MASK] <mask> " * 50_000,
}
MEGABYTES = 16
"""What a text of 100,000 characters may take: a few copies of it, of 4 bytes per character, and the words of models."""


@contextmanager
def bounded(megabytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes << 20, f"{peak:,} bytes"


@pytest.fixture(scope="module", params=WRITERS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return load(WRITERS[request.param](tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> CompressedEncoder:
    return compress(write_modern(tmp_path_factory.mktemp("modern")), sentences(20, 9))


@pytest.mark.parametrize("name", TEXTS)
def test_texts(encoder: TextEncoder, name: str) -> None:
    """Takes minutes if the time grows with the square of the length."""
    model, text = encoder.model, TEXTS[name][: len(TEXTS[name]) // 4]
    ids = model.tokenizer.encode(text, model.architecture.length)
    assert 2 <= len(ids) <= model.architecture.length
    assert np.isfinite(encoder.encode(text)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_texts_for_models_that_read_much(encoder: TextEncoder, name: str) -> None:
    with bounded(MEGABYTES):
        assert len(encoder.model.tokenizer.encode(TEXTS[name][:100_000], 8192)) <= 8192


@pytest.mark.parametrize("distance", [0, 64])
def test_attention_of_long_texts_is_computed_in_parts(distance: int) -> None:
    """All shares of attention at once would take 268 MB."""
    rows = np.random.default_rng(0).standard_normal((4096, 3 * 16)).astype(np.float32)
    with bounded(96):
        attend(rows, 4, distance)
    with bounded(96):
        assert attention_received(rows, 4, distance).sum() == pytest.approx(4096, rel=1e-3)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("cut", [0, 7, 100, 5000])
def test_weights_that_end_early(tmp_path: Path, kind: str, cut: int) -> None:
    folder = WRITERS[kind](tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:cut])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load(folder)


@pytest.mark.parametrize("kind", WRITERS)
def test_weights_that_are_no_numbers(tmp_path: Path, kind: str) -> None:
    folder = WRITERS[kind](tmp_path)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="NaN"):
        load(folder)


def test_every_damaged_byte_is_noticed(compressed: CompressedEncoder) -> None:
    files = to_files(compressed.model, compressed.report)
    data = files["encoder.arrow"]
    rng = np.random.default_rng(0)
    expected = compressed.encode("the red house")
    for place in rng.integers(0, len(data), 60):
        damaged = data.copy()
        damaged[place] ^= np.uint8(1 << rng.integers(8))
        try:
            read = from_files(files | {"encoder.arrow": damaged}, "encoder")
        except CorruptIndexError:
            continue
        np.testing.assert_array_equal(read.encode("the red house"), expected)  # in padding


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("architecture", "rotary"), [], "'positions' of the floats is missing"),
        (("architecture", "rotary"), [[10000.0, 5]], "for each of 5 layers"),
        (("architecture", "rotary"), [[10000.0, 5, 1]] * 5, "pairs"),
        (("architecture", "rotary"), [["x", 5]] * 5, "base of rotary"),
        (("architecture", "rotary"), [[float("1e300"), 5]] * 5, "base of rotary"),
        (("architecture", "rotary"), [[10000.0, -5]] * 5, "distance of attention"),
        (("architecture", "rotary"), [[10000.0, 10**9]] * 5, "distance of attention"),
        (("architecture", "heads"), 64, "even width"),
        (("architecture", "inner"), 10**6, "inner"),
        (("architecture", "tokens"), 300, "ids of tokens|must be"),
        (("tokenizer", "first"), 10**9, "first token"),
        (("tokenizer", "composed"), 1, "true or false"),
        (("tokenizer", "special"), [-1], "special tokens must be ids"),
        (("tokenizer", "added"), None, "added tokens must be ids"),
        (("tokenizer", "kind"), "unigram", "unknown|scores|special"),
    ],
)
def test_facts_that_lie(compressed: CompressedEncoder, where: tuple[str, str], value: Any, reason: str) -> None:
    facts = facts_of(compressed)
    facts[where[0]] = facts[where[0]] | {where[1]: value}
    with pytest.raises(CorruptIndexError, match=reason):
        from_files(rewrite(compressed, model_parts(compressed.model), facts), "encoder")


@pytest.mark.parametrize(
    ("part", "name", "change", "reason"),
    [
        ("vocabulary", "merges", lambda array: array + np.uint32(10**6), "inputs and results of merges"),
        ("vocabulary", "merges", lambda array: array[:, ::-1].copy(), "results of merges"),
        ("vocabulary", "merges", lambda array: array.astype(np.int32), "must be uint32"),
        ("vocabulary", "merges", None, "is missing"),
        ("vocabulary", "text", lambda array: array[: len(array) // 2], "special tokens must be ids"),
        ("floats", "final.norm.weight", None, "missing"),
        ("floats", "final.norm.weight", lambda array: array * np.nan, "finite"),
        ("weights", "0.up.steps", lambda array: array[:5], "must be float32"),
    ],
)
def test_arrays_that_do_not_fit(
    compressed: CompressedEncoder, part: str, name: str, change: Callable[[Any], Any] | None, reason: str
) -> None:
    parts = {key: dict(arrays) for key, arrays in model_parts(compressed.model).items()}
    if change is None:
        del parts[part][name]
    else:
        parts[part][name] = change(parts[part][name])
    with pytest.raises(CorruptIndexError, match=reason):
        from_files(rewrite(compressed, parts, facts_of(compressed)), "encoder")


def test_deadlines_are_checked_between_long_texts() -> None:
    seen: list[int] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        seen.append(len(texts))
        return np.zeros((len(texts), 2), np.float32)

    texts = ["short"] * 40 + ["a" * 10_000] * 3 + ["short"]
    assert encode_queries(encode, texts).shape == (44, 2)
    assert seen == [32, 10, 2]
    assert encode_queries(encode, ["a" * LONGEST] * 3).shape == (3, 2)
    assert seen[3:] == [1, 1, 1]


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def describe_words(vocabulary: list[str], **options: Any) -> dict[str, Any]:
    """The tokenizer.json of a WordPiece tokenizer."""
    return {
        "model": {"type": "WordPiece", "vocab": {token: row for row, token in enumerate(vocabulary)}} | options,
        "normalizer": {"type": "BertNormalizer"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    }


def with_long_piece() -> dict[str, Any]:
    described = describe_unigram()
    described["model"]["vocab"][-2][0] = "b" * 20_000
    return described


def with_many_added() -> dict[str, Any]:
    described = describe_byte_pairs()
    token = described["added_tokens"][0]
    described["added_tokens"] += [token | {"id": row, "content": f"<<<<{row}"} for row in range(1100)]
    return described


@pytest.mark.parametrize(
    ("kind", "described", "reason"),
    [
        ("unigram", with_long_piece(), "at most 128 characters"),
        ("wordpiece", describe_words([*VOCABULARY[:-1], "b" * 129]), "at most 128 characters"),
        ("wordpiece", describe_words(VOCABULARY, continuing_subword_prefix="#" * 10_000), "at most 128 characters"),
        ("bpe", with_many_added(), "at most 1024 added tokens|different integers"),
    ],
)
def test_tokenizers_that_would_take_hours(tmp_path: Path, kind: str, described: Any, reason: str) -> None:
    folder = WRITERS[kind](tmp_path)
    (folder / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=reason):
        load(folder)


def test_long_words_that_nearly_match(tmp_path: Path) -> None:
    """Takes minutes if every part of a word is looked up, however long the longest token is."""
    folder = write_model(tmp_path)
    described = describe_words(VOCABULARY, max_input_chars_per_word=1000)
    (folder / "tokenizer.json").write_text(json.dumps(described))
    tokenizer = load(folder).model.tokenizer
    unknown = VOCABULARY.index("[UNK]")
    assert tokenizer.encode(("a" * 998 + "\u2603 ") * 500, 502)[1:-1] == [unknown] * 500
    assert len(tokenizer.encode("a" * 998, 2000)) == 1000


def test_tensors_that_share_bytes(tmp_path: Path) -> None:
    """A model of a few kilobytes could claim any number of layers."""
    folder = write_model(tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    layer = {name: entry for name, entry in header.items() if ".layer.0." in name}
    for number in range(2, 96):
        header |= {name.replace(".0.", f".{number}.", 1): entry for name, entry in layer.items()}
    described = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(described)) + described + data[8 + size :])
    change_json(folder / "config.json", num_hidden_layers=96)
    with pytest.raises(InputError, match="must not share bytes"):
        load(folder)


def test_ranges_that_overlap() -> None:
    assert find_overlap([]) is None
    assert find_overlap([("b", 4, 8), ("a", 0, 4), ("empty", 4, 4), ("also empty", 4, 4)]) is None
    assert find_overlap([("b", 3, 8), ("a", 0, 4)]) == ("a", "b")
    assert find_overlap([("outer", 0, 9), ("empty", 4, 4), ("inner", 5, 6)]) == ("outer", "inner")
    assert find_overlap([("a", 0, 4), ("b", 0, 4)]) == ("a", "b")


@pytest.mark.parametrize("kind", WRITERS)
def test_configurations_that_are_too_large(tmp_path: Path, kind: str) -> None:
    folder = WRITERS[kind](tmp_path)
    (folder / "config.json").write_text("[" + "[]," * 400_000 + "[]]")
    with bounded(4), pytest.raises(InputError, match=r"config\.json must have at most 1048576 bytes, got 1200004"):
        load(folder)


@pytest.mark.parametrize(
    ("prompts", "reason"),
    [
        ({"query": " " * 10_001}, "at most 10000 characters"),
        ({"query": "\ud800"}, "lone surrogates"),
        ({str(row): "" for row in range(1001)}, "at most 1000 prompts"),
    ],
)
def test_prompts(tmp_path: Path, prompts: dict[str, str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load(write_model(tmp_path, prompts=prompts))


def test_a_dense_module_that_is_repeated(tmp_path: Path) -> None:
    folder = write_model(tmp_path, dense=64)
    modules = json.loads((folder / "modules.json").read_text())
    modules[2:2] = [modules[2]] * 3000
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="its own path, got '2_Dense' twice"):
        load(folder)


def test_texts_are_cut_however_much_a_model_claims_to_read(tmp_path: Path) -> None:
    folder = write_modern(tmp_path, max_position_embeddings=65_536)
    change_json(folder / "sentence_bert_config.json", max_seq_length=65_536)
    encoder = compress(folder, sentences(20, 9))
    assert encoder.model.architecture.length == 8192
    facts = facts_of(encoder)
    facts["architecture"] |= {"length": 65_536}  # as earlier versions wrote
    read = from_files(rewrite(encoder, model_parts(encoder.model), facts), "encoder")
    assert read.model.architecture.length == 8192


@pytest.mark.parametrize("name", ["encoder.layer.0.intermediate.dense.weight", "embeddings.word_embeddings.weight"])
def test_weights_whose_products_overflow(tmp_path: Path, name: str) -> None:
    weights = tensors()
    weights[name][:] = 3e38
    folder = write_model(tmp_path, weights)
    for run in (load(folder).encode, lambda text: compress(folder, [text])):
        with pytest.raises(InputError, match="too large"):
            run("the red house")
