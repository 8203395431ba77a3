"""The kernel matches the forward pass in NumPy, and a text's vector is bitwise identical in any batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import TEXTS, tensors, write_model
from vsearch.encoders import CompressedEncoder, compress

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
