"""Read ModernBERT from the files of its library: the layers' attention from the configuration, and the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.architecture import LARGEST_BASE, check_size
from vsearch.encoders.bert import Bert, FloatTable, Layer, Linear, Norm
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.tensors import Tensors
    from vsearch.encoders.tokenizing import Tokenizer

FULL, SLIDING = "full_attention", "sliding_attention"
BASES = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}
"""For each kind of attention: where older configurations have the base of its rotary positions, and its default."""


def read_rotary(path: str, config: Mapping[str, Any], layers: int) -> tuple[tuple[float, int], ...]:
    """Return the base of the rotary positions and the distance of attention of each layer; see `Architecture`.

    Parameters
    ----------
    path : str
        Name of the configuration in error messages.
    config : mapping
        Its contents.
    layers : int

    Raises
    ------
    InputError
        A setting is missing, invalid or not supported.
    """
    kinds = config.get("layer_types")
    if kinds is None:
        every = check_size(
            f"{path}: global_attn_every_n_layers", config.get("global_attn_every_n_layers", 3), layers + 1
        )
        kinds = [SLIDING if number % every else FULL for number in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not all(kind in (FULL, SLIDING) for kind in kinds):
        raise InputError(f"{path}: layer_types must name {FULL} or {SLIDING} for each of {layers} layers")
    window = check_size(f"{path}: local_attention", config.get("local_attention", 128), 1 << 16)
    if window < 2:
        raise InputError(f"{path}: local_attention must be at least 2, got {window}")
    bases = {kind: _read_base(path, config, kind) for kind in set(kinds)}
    return tuple((bases[kind], window // 2 if kind == SLIDING else 0) for kind in kinds)


def _read_base(path: str, config: Mapping[str, Any], kind: str) -> float:
    parameters = config.get("rope_parameters") or {}
    if not isinstance(parameters, dict):
        raise InputError(f"{path}: rope_parameters must be an object, got {type(parameters).__name__}")
    if unknown := next((name for name in parameters if name not in BASES), None):
        raise InputError(f"{path}: rope_parameters must be of {FULL} and {SLIDING}, got {unknown!r:.100}")
    described = parameters.get(kind)
    if described is None:
        name, default = BASES[kind]
        base = config.get(name)
        if base is None:  # local attention defaults to the base of global attention
            base = config.get(BASES[FULL][0], default) if name in config else default
    else:
        scaling = described.get("rope_type", "default") if isinstance(described, dict) else None
        if scaling != "default":
            raise InputError(f"{path}: rope_type must be 'default', got {scaling!r:.100}")
        base = described.get("rope_theta", BASES[kind][1])
    if isinstance(base, bool) or not isinstance(base, (int, float)) or not 1 <= base <= LARGEST_BASE:
        raise InputError(
            f"{path}: the base of rotary positions must be a number from 1 to {LARGEST_BASE:g}, got {base!r:.100}"
        )
    return float(base)


def read_modern_model(
    sizes: Architecture, tensors: Tensors, tokenizer: Tokenizer, dense: tuple[Linear, ...]
) -> Bert[Linear]:
    """Read the weights of ModernBERT.

    Raises
    ------
    InputError
        A tensor is missing or has another shape.
    """
    prefix = "model." if "model.embeddings.tok_embeddings.weight" in tensors.entries else ""
    width, inner = sizes.width, sizes.inner

    def bias(name: str, out: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        at = f"{prefix}{name}.bias"
        return tensors.take(at, (out,)) if at in tensors.entries else np.zeros(out, np.float32)

    def linear(name: str, out: int, columns: int) -> Linear:
        return Linear(tensors.take(f"{prefix}{name}.weight", (out, columns)), bias(name, out))

    def norm(name: str) -> Norm:
        return Norm(tensors.take(f"{prefix}{name}.weight", (width,)), bias(name, width))

    def layer(number: int) -> Layer[Linear]:
        at = f"layers.{number}."
        return Layer(
            linear(f"{at}attn.Wqkv", 3 * width, width),
            linear(f"{at}attn.Wo", width, width),
            linear(f"{at}mlp.Wi", 2 * inner, width),
            linear(f"{at}mlp.Wo", width, inner),
            norm(f"{at}attn_norm") if number else None,
            norm(f"{at}mlp_norm"),
        )

    return Bert(
        architecture=sizes,
        tokenizer=tokenizer,
        table=FloatTable(tensors.take(f"{prefix}embeddings.tok_embeddings.weight", (sizes.tokens, width))),
        positions=np.empty((0, width), np.float32),
        embedding_norm=norm("embeddings.norm"),
        layers=tuple(map(layer, range(sizes.layers))),
        dense=dense,
        final_norm=norm("final_norm"),
    )
