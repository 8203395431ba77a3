"""Token vectors and their saliency, from both engines, and documents made of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.encoders.models import TEXTS, sentences, write_model
from vsearch.encoders import CompressedEncoder, TextEncoder, compress, load
from vsearch.errors import InputError

LONG = ["fast editor " * count for count in (3, 8, 40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return load(write_model(tmp_path_factory.mktemp("model"), prompts={"query": "search "}))


@pytest.fixture(scope="module")
def encoder(model: TextEncoder) -> CompressedEncoder:
    return compress(model, TEXTS * 3)


def attention_of(encoder: TextEncoder, ids: list[int]) -> np.ndarray:
    """The attention weights (heads, t, t) of the last layer, each by itself, in float64."""
    model = encoder.model
    last = len(model.layers) - 1  # type: ignore[attr-defined]
    inputs: list[np.ndarray] = []

    def call(layer: int, name: str, rows: np.ndarray) -> np.ndarray:
        if (layer, name) == (last, "attention"):
            inputs.append(rows)
        return model.layers[layer].product(name).apply(rows)  # type: ignore[attr-defined]

    model.forward([ids], call)  # type: ignore[attr-defined]
    joined = model.layers[last].attention.apply(inputs[0]).astype(float)  # type: ignore[attr-defined]
    width, heads = model.architecture.width, model.architecture.heads
    shares = np.empty((heads, len(ids), len(ids)))
    for head in range(heads):
        columns = slice(head * width // heads, (head + 1) * width // heads)
        query, key = joined[:, :width][:, columns], joined[:, width : 2 * width][:, columns]
        for token in range(len(ids)):
            powers = np.exp(key @ query[token] / np.sqrt(width // heads))
            shares[head, token] = powers / powers.sum()
    return shares


@pytest.mark.parametrize("kind", ["float", "compressed"])
def test_saliency_is_the_attention_received(model: TextEncoder, encoder: CompressedEncoder, kind: str) -> None:
    chosen = model if kind == "float" else encoder
    found = chosen.encode_tokens([*TEXTS, *LONG], prompt="")
    for text, ids, saliency in zip([*TEXTS, *LONG], found.ids, found.saliency, strict=True):
        assert ids.tolist() == chosen.model.tokenizer.encode(text, chosen.model.architecture.length)
        assert saliency.dtype == np.float32
        # the twin of the compressed encoder rounds some inputs differently
        near = 1e-4 if kind == "float" else 0.06
        np.testing.assert_allclose(saliency, attention_of(chosen, ids.tolist()).mean(axis=0).sum(axis=0), atol=near)
        assert saliency.sum() == pytest.approx(len(ids), rel=1e-5)
    assert max(saliency.max() / saliency.min() for saliency in found.saliency) > 1.2


def test_the_mean_of_token_vectors_is_the_vector_of_the_text(tmp_path: Path) -> None:
    plain = load(write_model(tmp_path, normalized=False))
    for encoder in (plain, compress(plain, TEXTS)):
        tokens, vectors = encoder.encode_tokens(TEXTS), encoder.encode(TEXTS)
        for rows, vector in zip(tokens.vectors, vectors, strict=True):
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows.mean(axis=0), vector, atol=1e-5)


def test_normalization_and_prompts(model: TextEncoder, encoder: CompressedEncoder) -> None:
    for one in (model, encoder):
        found = one.encode_tokens("red house")
        np.testing.assert_allclose(np.linalg.norm(found.vectors[0], axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(found.vectors[0], one.encode_tokens("search red house", prompt="").vectors[0])
        assert [one.encode_tokens([]).vectors, one.encode_tokens([]).ids] == [[], []]
    near = [
        (ours * theirs).sum(axis=1).min()
        for ours, theirs in zip(encoder.encode_tokens(TEXTS).vectors, model.encode_tokens(TEXTS).vectors, strict=True)
    ]
    assert min(near) > 0.99
    with pytest.raises(InputError, match="must be a string"):
        encoder.encode_tokens([1])  # type: ignore[list-item]
    with pytest.raises(InputError, match="got 'passage'"):
        encoder.encode_tokens("a", prompt="passage")


def test_dense_modules_apply_to_tokens(tmp_path: Path) -> None:
    source = load(write_model(tmp_path, dense=24))
    for encoder in (source, compress(source, TEXTS)):
        assert {rows.shape[1] for rows in encoder.encode_tokens(TEXTS).vectors} == {24}


def test_token_vectors_have_the_same_bits_in_any_batch_and_thread(
    model: TextEncoder, encoder: CompressedEncoder
) -> None:
    texts = [*TEXTS, *LONG] * 2
    for one in (model, encoder):
        together = one.encode_tokens(texts)
        with ThreadPoolExecutor(4) as pool:
            alone = list(pool.map(one.encode_tokens, texts))
        for row, found in enumerate(alone):
            np.testing.assert_array_equal(found.vectors[0], together.vectors[row])
            np.testing.assert_array_equal(found.saliency[0], together.saliency[row])


def test_documents_of_token_vectors(encoder: CompressedEncoder, tmp_path: Path) -> None:
    texts = sentences(120, 6)
    tokens = encoder.encode_tokens(texts, prompt="")
    for name, options in {"all": {}, "half": {"saliency": tokens.saliency, "keep": 0.5}}.items():
        index = vsearch.build_documents(tokens.vectors, None, tmp_path / name, **options)
        queries = encoder.encode_tokens(texts[:20], prompt="").vectors
        found = [index.search_documents(query, k=1).ids[0] for query in queries]
        assert np.mean([texts[int(np.ravel(row)[0])] == text for row, text in zip(found, texts, strict=False)]) > 0.8
