"""Small encoders in the folder format of sentence-transformers, written without that library."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEADS, INNER, LAYERS, POSITIONS = 64, 4, 128, 2, 40
WORDS = """
the a of to and in is for with vector search engine editor text graphics fast slow small large ##s ##ing ##ed ##er
red green blue house tree river stone café naive é ß ü 日 本 語 . , ! ? - ' hello world
"""
LETTERS = [prefix + chr(code) for code in range(ord("a"), ord("z") + 1) for prefix in ("", "##")]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys([*WORDS.split(), *LETTERS, *"0123456789"])]
TEXTS = [
    "a fast editor for vector graphics",
    "Searching the river, and the stones!",
    "",
    "日本語 Naïve CAFÉ",
    "hello " * 100,
    "unknowable ☃ [SEP] world",
]

COMMON = [
    "the",
    "fast",
    "slow",
    "small",
    "large",
    "red",
    "green",
    "blue",
    "house",
    "tree",
    "river",
    "stone",
    "search",
    "engine",
    "editor",
    "text",
    "graphics",
    "vector",
]


def sentences(count: int, lengths: int) -> list[str]:
    """Synthetic texts of 3 and more words, in a number of lengths."""
    return [" ".join(np.random.default_rng(row).choice(COMMON, 3 + row % lengths)) for row in range(count)]


def tensors(seed: int = 0, width: int = WIDTH, layers: int = LAYERS, inner: int = INNER) -> dict[str, np.ndarray]:
    """Random weights under the names of BERT."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 0.1) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": draw(len(VOCABULARY), width, scale=1),
        "embeddings.position_embeddings.weight": draw(POSITIONS, width),
        "embeddings.token_type_embeddings.weight": draw(2, width),
        "embeddings.LayerNorm.weight": 1 + draw(width),
        "embeddings.LayerNorm.bias": draw(width),
    }
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        products = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        products["attention.output.dense"] = (width, width)
        products |= {"intermediate.dense": (inner, width), "output.dense": (width, inner)}
        for name, shape in products.items():
            made[f"{at}{name}.weight"], made[f"{at}{name}.bias"] = draw(*shape, scale=0.2), draw(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            made[f"{at}{name}.weight"], made[f"{at}{name}.bias"] = 1 + draw(width), draw(width)
    return made


def encode_safetensors(arrays: dict[str, np.ndarray], dtype: str = "F32") -> bytes:
    """A safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts, at = [], 0
    for name, array in arrays.items():
        if dtype == "BF16":
            data = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            data = array.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    described = json.dumps(header).encode()
    return struct.pack("<Q", len(described)) + described + b"".join(parts)


def write_model(
    folder: Path,
    weights: dict[str, np.ndarray] | None = None,
    *,
    pooling: str = "mean",
    dense: int | None = None,
    normalized: bool = True,
    dtype: str = "F32",
    config: dict[str, Any] | None = None,
    prompts: dict[str, str] | None = None,
) -> Path:
    """Write a model; returns its folder."""
    weights = tensors() if weights is None else weights
    width = weights["embeddings.LayerNorm.bias"].size
    modules = ["Transformer", "Pooling", *["Dense"] * (dense is not None), *["Normalize"] * normalized]
    paths = [f"{row}_{kind}" if row else "" for row, kind in enumerate(modules)]
    kinds = [f"sentence_transformers.models.{kind}" for kind in modules]
    described = [
        {"idx": row, "path": path, "type": kind} for row, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    files: dict[str, Any] = {
        "modules.json": described,
        "config.json": {
            "model_type": "bert",
            "hidden_size": width,
            "num_hidden_layers": len({name.split(".")[2] for name in weights if ".layer." in name}),
            "num_attention_heads": HEADS,
            "intermediate_size": weights["encoder.layer.0.intermediate.dense.bias"].size,
            "max_position_embeddings": POSITIONS,
            "vocab_size": len(VOCABULARY),
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
        }
        | (config or {}),
        "sentence_bert_config.json": {"max_seq_length": 32},
        "tokenizer_config.json": {"do_lower_case": True},
        "1_Pooling/config.json": {
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_cls_token": pooling == "cls",
        },
    }
    if prompts is not None:
        files["config_sentence_transformers.json"] = {"prompts": prompts}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(encode_safetensors(weights, dtype))
    if dense is not None:
        rng = np.random.default_rng(9)
        (folder / "2_Dense").mkdir(exist_ok=True)
        said = {"in_features": width, "out_features": dense, "bias": True}
        said["activation_function"] = "torch.nn.modules.activation.Tanh"
        (folder / "2_Dense/config.json").write_text(json.dumps(said))
        linear = {"linear.weight": rng.standard_normal((dense, width)) * 0.2, "linear.bias": rng.standard_normal(dense)}
        (folder / "2_Dense/model.safetensors").write_bytes(encode_safetensors(linear))
    return folder
