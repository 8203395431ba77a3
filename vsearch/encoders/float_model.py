"""Read models saved by sentence-transformers as BERT or ModernBERT in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vsearch.encoders.bert import Bert, FloatTable, Layer, Linear, Norm
from vsearch.encoders.folders import (
    ModelFiles,
    Modules,
    dense_input,
    first_position,
    has_bias,
    read_architecture,
    read_tokenizer,
)
from vsearch.encoders.modern_files import read_modern_model
from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.tensors import Tensors


def read_float_model(source: str | Path | Mapping[str, bytes] | ModelFiles) -> Bert[Linear]:
    """Read a model saved by sentence-transformers.

    Parameters
    ----------
    source : path, mapping of str to bytes, or ModelFiles
        A folder, or its files.

    Raises
    ------
    InputError
        A file is missing or damaged, or the kind of model is not supported.
    """
    files = source if isinstance(source, ModelFiles) else ModelFiles(source)
    modules = Modules(files)
    sizes = read_architecture(files, modules)
    tensors = files.tensors(modules.transformer)
    tokenizer, dense = read_tokenizer(files, modules, sizes.tokens), tuple(_read_dense(files, modules, sizes))
    if sizes.rotary:
        return read_modern_model(sizes, tensors, tokenizer, dense)
    width, inner = sizes.width, sizes.inner
    names = ("bert.", "roberta.")
    prefix = next((name for name in names if f"{name}embeddings.word_embeddings.weight" in tensors.entries), "")
    take = _Taker(tensors, prefix)

    def layer(number: int) -> Layer[Linear]:
        at = f"encoder.layer.{number}."
        parts = [take.linear(f"{at}attention.self.{part}", width, width) for part in ("query", "key", "value")]
        return Layer(
            Linear(np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts])),
            take.linear(f"{at}attention.output.dense", width, width),
            take.linear(f"{at}intermediate.dense", inner, width),
            take.linear(f"{at}output.dense", width, inner),
            take.norm(f"{at}attention.output.LayerNorm", width),
            take.norm(f"{at}output.LayerNorm", width),
        )

    types = tensors.entries.get(f"{prefix}embeddings.token_type_embeddings.weight")
    kinds = types.shape[0] if types is not None and types.shape else 1
    first = first_position(files, modules)
    positions = take.tensor("embeddings.position_embeddings.weight", (first + sizes.positions, width))
    positions = positions[first : first + sizes.length]
    first_type = take.tensor("embeddings.token_type_embeddings.weight", (kinds, width))[:1]
    if not len(first_type):
        raise InputError(f"{tensors.path}: the embedding of the first token type is missing")
    return Bert(
        architecture=sizes,
        tokenizer=tokenizer,
        table=FloatTable(take.tensor("embeddings.word_embeddings.weight", (sizes.tokens, width))),
        positions=positions + first_type,
        embedding_norm=take.norm("embeddings.LayerNorm", width),
        layers=tuple(map(layer, range(sizes.layers))),
        dense=dense,
    )


class _Taker:
    """Reads tensors of a transformer by their names within it."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return self._tensors.take(self._prefix + name, shape)

    def linear(self, name: str, out: int, width: int) -> Linear:
        return Linear(self.tensor(f"{name}.weight", (out, width)), self.tensor(f"{name}.bias", (out,)))

    def norm(self, name: str, width: int) -> Norm:
        # models converted from TensorFlow use gamma and beta
        old = f"{self._prefix}{name}.gamma" in self._tensors.entries
        names = ("gamma", "beta") if old else ("weight", "bias")
        return Norm(*(self.tensor(f"{name}.{part}", (width,)) for part in names))


def _read_dense(files: ModelFiles, modules: Modules, sizes: Architecture) -> Iterator[Linear]:
    width = sizes.width
    for folder, (out, _) in zip(modules.dense, sizes.dense, strict=True):
        if dense_input(files, folder) != width:
            raise InputError(f"{files.name}/{folder}: in_features must be {width}, got {dense_input(files, folder)}")
        tensors = files.tensors(folder)
        weight = tensors.take("linear.weight", (out, width))
        bias = tensors.take("linear.bias", (out,)) if has_bias(files, folder) else np.zeros(out, np.float32)
        yield Linear(weight, bias)
        width = out
