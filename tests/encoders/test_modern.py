"""ModernBERT: its forward pass is that of its library, and its models are compressed and saved."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.encoders.byte_pairs import CONFIG, INNER, LAYERS, NAMES, modern_tensors, write_modern
from tests.encoders.models import encode_safetensors, sentences
from vsearch.encoders import CompressedEncoder, compress, load
from vsearch.encoders.loading import from_files
from vsearch.encoders.writing import to_files
from vsearch.errors import InputError

TEXTS = [
    "the red house of a river",
    "Searching caf\u00e9s",
    "",
    "\u65e5\u672c \u2603 x",
    "the fast " * 100,
    "a [MASK] b  c",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_modern(tmp_path_factory.mktemp("modern"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> CompressedEncoder:
    return compress(folder, sentences(40, 9), holdout=TEXTS)


def forward(encoder: CompressedEncoder, texts: list[str]) -> np.ndarray:
    model = encoder.model
    return model.forward([model.tokenizer.encode(text, model.architecture.length) for text in texts])


@pytest.mark.slow  # imports transformers
@pytest.mark.skipif(find_spec("transformers") is None or find_spec("torch") is None, reason="needs transformers")
@pytest.mark.parametrize("biased", [False, True])
def test_the_library_agrees(folder: Path, tmp_path: Path, biased: bool) -> None:
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    torch.manual_seed(0)
    sizes = {name: value for name, value in CONFIG.items() if name != "model_type"}
    biases = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias"), biased)
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)
    oracle = ModernBertModel(ModernBertConfig(**sizes, **biases, **tokens, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, weights in oracle.named_parameters():
            weights.normal_(1 if "norm.w" in name else 0, 0.2)
    write_modern(tmp_path)
    oracle.save_pretrained(tmp_path)
    model = load(tmp_path).model
    for count in (1, 3, 17, 80):
        ids = np.random.default_rng(count).integers(0, len(NAMES), count).tolist()
        with torch.no_grad():
            expected = oracle(torch.tensor([ids]), output_attentions=True)
        vectors, saliency = model.embed_tokens(ids)
        hidden = expected.last_hidden_state[0].numpy()
        hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, hidden, atol=2e-5)
        np.testing.assert_allclose(saliency, expected.attentions[-1][0].mean(dim=0).sum(dim=0).numpy(), atol=1e-4)


def test_layers_attend_near_or_far(folder: Path) -> None:
    model = load(folder).model
    assert model.architecture.rotary == tuple(
        (160000.0, 0) if layer % 3 == 0 else (10000.0, 5) for layer in range(LAYERS)
    )


@pytest.mark.parametrize(
    ("changes", "rotary"),
    [
        ({"layer_types": ["sliding_attention"] * LAYERS}, ((10000.0, 5),) * LAYERS),
        ({"local_rope_theta": None, "global_attn_every_n_layers": 1}, ((160000.0, 0),) * LAYERS),
        ({"local_rope_theta": None, "layer_types": ["sliding_attention"] * LAYERS}, ((160000.0, 5),) * LAYERS),
        (
            {
                "layer_types": ["full_attention"] * LAYERS,
                "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 500}},
            },
            ((500.0, 0),) * LAYERS,
        ),
    ],
)
def test_older_and_newer_configurations(
    tmp_path: Path, changes: dict[str, Any], rotary: tuple[tuple[float, int], ...]
) -> None:
    assert load(write_modern(tmp_path, **changes)).model.architecture.rotary == rotary


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_activation": "silu"}, "hidden_activation"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": "full_attention"}, "layer_types"),
        ({"local_attention": 1}, "local_attention"),
        ({"local_attention": "10"}, "local_attention"),
        ({"global_attn_every_n_layers": 0}, "global_attn_every_n_layers"),
        ({"global_rope_theta": "x"}, "base of rotary"),
        ({"global_rope_theta": -1.0}, "base of rotary"),
        ({"global_rope_theta": 10**400}, "base of rotary"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 10**400}}}, "base of rotary"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 5.0}},
            "full_attention and sliding_attention, got 'rope_type'",
        ),
        ({"rope_parameters": []}, None),
        ({"rope_parameters": [1]}, "rope_parameters"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type"),
        ({"rope_parameters": {"full_attention": 7}}, "rope_type"),
        ({"num_hidden_layers": 90}, "missing"),
        ({"num_attention_heads": 64}, "even width"),
        ({"intermediate_size": INNER + 1}, "must have the shape"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
        ({"vocab_size": 1_900_000}, "must have the shape"),
        ({"norm_eps": 0.0}, "epsilon"),
    ],
)
def test_configurations_that_lie_are_refused(tmp_path: Path, changes: dict[str, Any], message: str | None) -> None:
    written = write_modern(tmp_path, **changes)
    if message is None:
        load(written)
        return
    with pytest.raises(InputError, match=message):
        load(written)


def test_the_kernel_is_the_forward_pass(encoder: CompressedEncoder) -> None:
    texts = [*TEXTS, "the fast editor " * 9, "river"]
    # below 1 where an input was so near the edge of a code that it was rounded the other way
    near = (encoder.encode(texts) * forward(encoder, texts)).sum(axis=1)
    assert near.min() > 0.999
    assert np.median(near) > 0.99999
    together = encoder.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.encode(text)[0], vector)


@pytest.mark.parametrize("bits", [8, 4, "ternary"])
def test_models_are_compressed_and_saved(folder: Path, encoder: CompressedEncoder, tmp_path: Path, bits: Any) -> None:
    made = encoder if bits == 8 else compress(folder, sentences(40, 9), bits=bits)
    if bits == 8:
        assert made.report.cosine > 0.99
    made.save(tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.encode(TEXTS), made.encode(TEXTS))
    one, other = again.encode_tokens(TEXTS), made.encode_tokens(TEXTS)
    for vectors, expected, saliency in zip(one.vectors, other.vectors, one.saliency, strict=True):
        np.testing.assert_array_equal(vectors, expected)
        assert saliency.sum() == pytest.approx(len(vectors), rel=1e-3)


def test_layers_keep_their_kind_of_attention(folder: Path) -> None:
    made = compress(folder, sentences(20, 9), layers=(1, 3))
    assert made.model.architecture.rotary == ((10000.0, 5), (160000.0, 0))
    assert (made.encode(TEXTS) * forward(made, TEXTS)).sum(axis=1).min() > 0.999
    chosen = compress(folder, sentences(20, 9), layers=3, bits="auto", quality=0.2)
    assert len(chosen.model.layers) == 3


def test_pruned_vocabularies_need_word_pieces(folder: Path) -> None:
    with pytest.raises(InputError, match="WordPiece"):
        compress(folder, TEXTS, vocabulary=100)


def test_earlier_versions_refuse_the_files(encoder: CompressedEncoder) -> None:
    files = to_files(encoder.model, encoder.report)
    assert json.loads(files["encoder.json"].tobytes())["format"] == 3
    np.testing.assert_array_equal(from_files(files, "encoder").encode(TEXTS), encoder.encode(TEXTS))


def test_tensors_of_a_language_model_have_a_prefix(folder: Path, tmp_path: Path) -> None:
    write_modern(tmp_path)
    tensors = {f"model.{name}": array for name, array in modern_tensors().items()}
    (tmp_path / "model.safetensors").write_bytes(encode_safetensors(tensors))
    np.testing.assert_array_equal(load(tmp_path).encode(TEXTS), load(folder).encode(TEXTS))


@pytest.mark.slow  # imports transformers
@pytest.mark.skipif(find_spec("transformers") is None or find_spec("torch") is None, reason="needs transformers")
def test_roberta_is_that_of_its_library(tmp_path: Path) -> None:
    """BERT with byte-level BPE, whose positions start behind that of padding."""
    import torch
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = RobertaConfig(**sizes, vocab_size=len(NAMES), max_position_embeddings=42, type_vocab_size=1)
    oracle = RobertaModel(config, add_pooling_layer=False).eval()
    write_modern(tmp_path)
    oracle.save_pretrained(tmp_path)
    model = load(tmp_path).model
    assert model.architecture.positions == 40
    ids = model.tokenizer.encode("the red house of a river", 40)
    with torch.no_grad():
        expected = oracle(torch.tensor([ids])).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(model.embed([ids])[0], expected / np.linalg.norm(expected), atol=1e-5)
