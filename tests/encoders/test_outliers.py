"""Models with channels that are far larger than all others: plain quantization breaks, outlier columns preserve the vectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.encoders.models import TEXTS, sentences, tensors, write_model
from tests.encoders.test_compress import rewrite
from vsearch.encoders import CompressedEncoder, compress, load, quantizing
from vsearch.encoders.entries import ENTRY
from vsearch.encoders.writing import model_parts, to_files
from vsearch.errors import CorruptIndexError

CALIBRATION = sentences(64, 9)
WIDTH, CHANNEL, UNIT, SHIFT = 128, 3, 7, 5000


def shifted(weights: dict[str, np.ndarray], by: float) -> dict[str, np.ndarray]:
    """The same function with a channel of all hidden states, and a unit of the feed-forward layers, larger by a number.

    Biases undo it wherever it is read, as large models use such channels for constants.
    """
    made = {name: array.copy() for name, array in weights.items()}
    for layer in range(2):
        at = f"encoder.layer.{layer}."
        before = f"encoder.layer.{layer - 1}.output" if layer else "embeddings"
        made[f"{before}.LayerNorm.bias"][CHANNEL] += by
        for name in ("attention.self.query", "attention.self.key", "attention.self.value"):
            made[f"{at}{name}.bias"] -= by * made[f"{at}{name}.weight"][:, CHANNEL]
        made[f"{at}attention.output.dense.bias"][CHANNEL] -= by
        made[f"{at}attention.output.LayerNorm.bias"][CHANNEL] += by
        made[f"{at}intermediate.dense.bias"] -= by * made[f"{at}intermediate.dense.weight"][:, CHANNEL]
        made[f"{at}output.dense.bias"][CHANNEL] -= by
        made[f"{at}intermediate.dense.bias"][UNIT] += by
        made[f"{at}output.dense.bias"] -= by * made[f"{at}output.dense.weight"][:, UNIT]
    return made


@pytest.fixture(scope="module")
def usual() -> dict[str, np.ndarray]:
    weights = tensors(width=WIDTH)
    for layer in range(2):
        weights[f"encoder.layer.{layer}.intermediate.dense.bias"][UNIT] += 30  # where GELU is the identity
    return weights


@pytest.fixture(scope="module")
def expected(usual: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return load(write_model(tmp_path_factory.mktemp("usual"), usual)).encode(TEXTS)


@pytest.fixture(scope="module")
def folder(usual: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("shifted"), shifted(usual, SHIFT))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> CompressedEncoder:
    return compress(folder, CALIBRATION)


def least_cosine(encoder: CompressedEncoder, expected: np.ndarray) -> float:
    return float((encoder.encode(TEXTS) * expected).sum(axis=1).min())


def test_plain_quantization_breaks_and_ours_does_not(
    folder: Path, encoder: CompressedEncoder, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (load(folder).encode(TEXTS) * expected).sum(axis=1).min() > 0.99999
    assert least_cosine(encoder, expected) > 0.9995
    assert encoder.report.columns_apart == 6  # one of each product, except the attention outputs
    for layer in encoder.model.layers:
        assert [None if one.apart is None else one.apart.columns.tolist() for one in layer.products()] == [
            [CHANNEL],
            None,
            [CHANNEL],
            [UNIT],
        ]
    monkeypatch.setattr(quantizing, "LARGEST_INPUT_ERROR", np.inf)
    scaled = compress(folder, CALIBRATION)
    assert scaled.report.columns_apart == 0
    assert least_cosine(scaled, expected) < 0.99
    monkeypatch.setattr(quantizing, "channel_scales", lambda inputs, _: np.ones_like(inputs))
    assert least_cosine(compress(folder, CALIBRATION), expected) < 0.85


@pytest.mark.parametrize("bits", [4, {"weights": "auto", "table": 8}])
def test_columns_apart_with_fewer_bits(
    usual: dict[str, np.ndarray], folder: Path, expected: np.ndarray, tmp_path: Path, bits: int | dict
) -> None:
    quality = 0.97 if isinstance(bits, dict) else None
    made = compress(folder, CALIBRATION, bits=bits, quality=quality)
    assert made.report.columns_apart == 6
    assert least_cosine(made, expected) > 0.93
    made.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).encode(TEXTS), made.encode(TEXTS))


def test_usual_models_have_none(usual: dict[str, np.ndarray], tmp_path: Path) -> None:
    assert compress(write_model(tmp_path / "a", usual), CALIBRATION).report.columns_apart == 0
    assert compress(write_model(tmp_path / "b"), CALIBRATION).report.columns_apart == 0


def test_files_and_the_kernel(encoder: CompressedEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, CompressedEncoder)
    assert again.report == encoder.report
    assert msgspec.json.decode((tmp_path / ENTRY).read_bytes())["format"] == 2
    vectors = again.encode([*TEXTS, *CALIBRATION])
    np.testing.assert_array_equal(vectors, encoder.encode([*TEXTS, *CALIBRATION]))
    tokenizer, length = encoder.model.tokenizer, encoder.model.architecture.length
    twin = encoder.model.forward([tokenizer.encode(text, length) for text in TEXTS])
    np.testing.assert_allclose(vectors[: len(TEXTS)], twin, atol=1e-3)
    with ThreadPoolExecutor(4) as pool:
        alone = np.concatenate(list(pool.map(again.encode, [*TEXTS, *CALIBRATION])))
    np.testing.assert_array_equal(alone, vectors)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("columns", np.array([WIDTH], np.int32), "ascending numbers from 0 to 127"),
        ("columns", np.array([-1], np.int32), "ascending numbers"),
        ("columns", np.array([], np.int32), "must be float32"),
        ("columns", np.array([3, 3], np.int32), "must be float32"),
        ("columns", np.array([3], np.int64), "must be int32"),
        ("columns", np.array([[3]], np.int32), "must be int32"),
        ("weights", np.full((1, 3 * WIDTH), np.nan, np.float32), "must be finite"),
        ("weights", np.zeros((1, 5), np.float32), "must be float32"),
    ],
)
def test_damaged_columns_apart(encoder: CompressedEncoder, name: str, array: np.ndarray, reason: str) -> None:
    from vsearch.encoders.loading import from_files

    facts = facts_of(encoder)
    parts = model_parts(encoder.model)
    parts["weights"][f"0.attention.apart_{name}"] = array
    with pytest.raises(CorruptIndexError, match=reason):
        from_files(rewrite(encoder, parts, facts), "encoder")
    parts = model_parts(encoder.model)
    parts["weights"]["0.attention.apart_columns"] = np.array([9, 3], np.int32)
    parts["weights"]["0.attention.apart_weights"] = np.zeros((2, 3 * WIDTH), np.float32)
    with pytest.raises(CorruptIndexError, match="1 to 128 ascending"):
        from_files(rewrite(encoder, parts, facts), "encoder")


def facts_of(encoder: CompressedEncoder) -> dict:
    """The facts that the encoder writes."""
    from vsearch.storage.files.bundle import open_bundle
    from vsearch.storage.stores.held import HeldBytes

    files = to_files(encoder.model, encoder.report)
    store = HeldBytes()
    store.hold("encoder.arrow", files["encoder.arrow"])
    from vsearch.encoders.entries import Entry

    return dict(open_bundle(store, msgspec.json.decode(files[ENTRY].tobytes(), type=Entry).data).facts)
