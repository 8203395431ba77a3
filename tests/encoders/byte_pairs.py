"""Small byte-level BPE tokenizers in the format of the library `tokenizers`, and ModernBERT, written without their libraries."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tests.encoders.models import COMMON, encode_safetensors, write_model
from vsearch.encoders.bpe import byte_characters

WIDTH, HEADS, INNER, LAYERS = 64, 4, 48, 5
SPECIAL = ["[CLS]", "[SEP]", "[PAD]", "[MASK]"]
ADDED = ["      ", "  ", "|||IP|||", "e\u0301x"]


def train(words: list[str], count: int) -> list[list[str]]:
    """The merges of the most frequent pairs of tokens, one by one."""
    split = [["\u0120", *word] for word in words]
    merges: list[list[str]] = []
    while len(merges) < count:
        pairs = Counter(pair for tokens in split for pair in pairwise(tokens))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(list(best))
        for tokens in split:
            for place in range(len(tokens) - 2, -1, -1):
                if (tokens[place], tokens[place + 1]) == best:
                    tokens[place : place + 2] = ["".join(best)]
    return merges


MERGES = train([*COMMON, "the", "re", "\u00c3\u00a9"], 60)
NAMES = ["<|pad|>", *byte_characters(), *("".join(pair) for pair in MERGES), *SPECIAL, *ADDED]


def describe_byte_pairs(**changes: Any) -> dict[str, Any]:
    """The contents of tokenizer.json."""
    flags = {"single_word": False, "rstrip": False}
    added = [
        {"id": NAMES.index(name), "content": name, "lstrip": name == "[MASK]", "normalized": name in ADDED}
        | {"special": name in SPECIAL}
        | flags
        for name in [*SPECIAL, *ADDED]
    ]
    ends = [{"SpecialToken": {"id": name, "type_id": 0}} for name in SPECIAL[:2]]
    whole, other = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    known = {name: {"id": name, "ids": [NAMES.index(name)], "tokens": [name]} for name in SPECIAL[:2]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [ends[0], whole, ends[1]],
            "pair": [ends[0], whole, ends[1], other],
            "special_tokens": known,
        },
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {name: row for row, name in enumerate(NAMES) if name not in (*SPECIAL, *ADDED)},
            "merges": MERGES,
        },
    } | changes


CONFIG = {
    "model_type": "modernbert",
    "vocab_size": len(NAMES),
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 96,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
    "global_attn_every_n_layers": 3,
    "local_attention": 10,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
}


def modern_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights under the names of ModernBERT."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 0.2) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    made = {"embeddings.tok_embeddings.weight": draw(len(NAMES), WIDTH, scale=1)}
    norms = ["embeddings.norm", "final_norm"]
    for layer in range(LAYERS):
        at = f"layers.{layer}."
        shapes = {"attn.Wqkv": (3 * WIDTH, WIDTH), "attn.Wo": (WIDTH, WIDTH)}
        shapes |= {"mlp.Wi": (2 * INNER, WIDTH), "mlp.Wo": (WIDTH, INNER)}
        made |= {f"{at}{name}.weight": draw(*shape) for name, shape in shapes.items()}
        norms += [f"{at}mlp_norm", *([f"{at}attn_norm"] if layer else [])]
    return made | {f"{name}.weight": 1 + draw(WIDTH) for name in norms}


def write_modern(folder: Path, **changes: Any) -> Path:
    """Write a ModernBERT model; returns its folder."""
    write_model(folder, pooling="cls")
    (folder / "vocab.txt").unlink()
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 80}))
    (folder / "tokenizer.json").write_text(json.dumps(describe_byte_pairs()))
    (folder / "model.safetensors").write_bytes(encode_safetensors(modern_tensors()))
    return folder
