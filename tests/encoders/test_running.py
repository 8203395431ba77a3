"""The kernel matches the forward pass in NumPy, and a text's vector is bitwise identical in any batch."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import TEXTS, tensors, write_model
from vsearch.encoders import CompressedEncoder, compress
from vsearch.errors import InputError

LONG = ["fast editor " * count for count in (1, 3, 8, 40)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> CompressedEncoder:
    return compress(write_model(tmp_path_factory.mktemp("model")), TEXTS * 3)


def twin(encoder: CompressedEncoder, texts: list[str]) -> np.ndarray:
    """Vectors of the forward pass in NumPy."""
    sizes = encoder.model.architecture
    return encoder.model.forward([encoder.model.tokenizer.encode(text, sizes.length) for text in texts])


def test_the_kernel_is_the_forward_pass(encoder: CompressedEncoder) -> None:
    texts = [*TEXTS, *LONG]
    np.testing.assert_allclose(encoder.encode(texts), twin(encoder, texts), atol=3e-4)
    near = (encoder.encode(texts) * twin(encoder, texts)).sum(axis=1)
    assert near.min() > 0.999995


@pytest.mark.parametrize(
    ("shape", "options"),
    [({"width": 40, "inner": 72}, {"pooling": "cls"}), ({"width": 128, "inner": 200, "layers": 1}, {"dense": 24})],
)
def test_other_sizes(tmp_path: Path, shape: dict[str, int], options: dict[str, object]) -> None:
    made = compress(write_model(tmp_path, tensors(**shape), **options), TEXTS * 3)  # type: ignore[arg-type]
    np.testing.assert_allclose(made.encode(TEXTS), twin(made, TEXTS), atol=1e-3)


def test_a_text_has_the_same_bits_in_any_batch_and_thread(encoder: CompressedEncoder) -> None:
    texts = [*TEXTS, *LONG] * 5
    together = encoder.encode(texts)
    np.testing.assert_array_equal(encoder.encode(texts[::-1])[::-1], together)
    with ThreadPoolExecutor(4) as pool:
        alone = np.concatenate(list(pool.map(encoder.encode, texts)))
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("factor", [1e-20, 1e20])
def test_norms_that_float32_cannot_square(tmp_path: Path, factor: float) -> None:
    weights = tensors()
    expected = compress(write_model(tmp_path / "usual", weights), TEXTS * 3).encode(TEXTS)
    for name in ("weight", "bias"):
        weights[f"encoder.layer.1.output.LayerNorm.{name}"] *= factor
    made = compress(write_model(tmp_path / "other", weights), TEXTS * 3)
    np.testing.assert_allclose(made.encode(TEXTS), expected, atol=1e-3)


@pytest.mark.parametrize(
    "repeat", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))], ids=["copied", "pickled"]
)
def test_an_encoder_that_was_used_goes_to_another_process(encoder: CompressedEncoder, repeat) -> None:
    expected = encoder.encode([*TEXTS, *LONG])
    np.testing.assert_array_equal(repeat(encoder).encode([*TEXTS, *LONG]), expected)


def test_results_stay_when_the_thread_runs_other_texts(tmp_path: Path) -> None:
    """Scratch arrays of a thread are no results; what a text leaves in them does not reach the next one."""
    made = compress(write_model(tmp_path, pooling="cls", normalized=False), TEXTS * 3)
    lone = [made.encode(text) for text in (*TEXTS, *LONG)]
    vectors, tokens = [made.encode(text) for text in TEXTS], made.encode_tokens(TEXTS)
    kept = copy.deepcopy((vectors, tokens.vectors, tokens.saliency))
    scratch = made.model.runner._threads.scratch
    for array in scratch._arrays.values():
        array.view(np.uint8)[...] = 255  # NaN
    np.testing.assert_array_equal(np.concatenate([made.encode(text) for text in (*TEXTS, *LONG)]), np.concatenate(lone))
    for before, after in zip(kept, (vectors, tokens.vectors, tokens.saliency), strict=True):
        for left, right in zip(before, after, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("product", ["attention", "up"])
def test_a_part_of_the_numbers_overflows(encoder: CompressedEncoder, product: str) -> None:
    """Of one head, or of some columns between the feed-forward layers: the others do not hide it."""
    layer = encoder.model.layers[0]
    linear = layer.product(product)
    bias, width = linear.bias.copy(), encoder.model.architecture.width
    bias[:16] = -3e38 if product == "attention" else -np.inf
    if product == "attention":
        bias[width : width + 16 : 2] = 3e38
    changed = replace(layer, **{product: replace(linear, bias=bias)})
    model = replace(encoder.model, layers=(changed, *encoder.model.layers[1:]))
    for embed in (model.embed, model.forward):
        with pytest.raises(InputError, match="too large"):
            embed([model.tokenizer.encode("the red house", 32)])
