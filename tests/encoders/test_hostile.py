"""Texts and files that are meant to do harm: bounded memory, and errors that say what is wrong, for every kind of tokenizer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders.byte_pairs import write_modern
from tests.encoders.models import sentences, write_model
from tests.encoders.test_compress import rewrite
from tests.encoders.test_outliers import facts_of
from tests.encoders.test_unigram import write_xlm
from vsearch.encoders import CompressedEncoder, TextEncoder, compress, load
from vsearch.encoders.functions import attend, attention_received
from vsearch.encoders.loading import from_files
from vsearch.encoders.queries import LONGEST, encode_queries
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
MEGABYTES = 48
"""What a text of a million characters may take: a few copies of it, of 4 bytes per character."""


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
        assert len(encoder.model.tokenizer.encode(TEXTS[name][:300_000], 8192)) <= 8192


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
        ("vocabulary", "merges", lambda array: array + np.uint32(10**6), "what merges join"),
        ("vocabulary", "merges", lambda array: array[:, ::-1].copy(), "what they make"),
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
