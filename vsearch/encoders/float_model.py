"""BERT in float32 with NumPy: slow, plain, and what compressed encoders are made from and measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vsearch.encoders.folders import (
    ModelFiles,
    Modules,
    dense_input,
    has_bias,
    read_architecture,
    read_tokenizer,
)
from vsearch.encoders.functions import attend, gelu, layer_norm, pool
from vsearch.errors import InputError
from vsearch.metrics import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.tensors import Tensors
    from vsearch.encoders.wordpiece import WordPiece

PRODUCTS = ("attention", "joined", "up", "down")
"""The products of a layer: query, key and value in one; attention's output; the two of the feed-forward part."""


class Linear(NamedTuple):
    """A product: ``weight @ x + bias``, float32 (out, in) and (out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows @ self.weight.T + self.bias


class Norm(NamedTuple):
    """A layer normalization's weight and bias, float32 (width,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class Layer(NamedTuple):
    """A transformer layer: its four products and the normalizations after attention and after the feed-forward part."""

    attention: Linear
    joined: Linear
    up: Linear
    down: Linear
    attention_norm: Norm
    output_norm: Norm


Product = Callable[[int, str, "NDArray[np.float32]"], "NDArray[np.float32]"]


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A BERT encoder.

    Attributes
    ----------
    tokens, positions : float32 (tokens, width), (length, width)
        Embeddings; positions have the embedding of the first token type added.
    embedding_norm : Norm
    layers : tuple of Layer
    dense : tuple of Linear
        Modules after pooling; the architecture names their activations.
    """

    architecture: Architecture
    tokenizer: WordPiece
    tokens: NDArray[np.float32]
    positions: NDArray[np.float32]
    embedding_norm: Norm
    layers: tuple[Layer, ...]
    dense: tuple[Linear, ...]

    def apply(self, layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """A product of a layer, of the rows of one text."""
        product: Linear = getattr(self.layers[layer], name)
        return product.apply(rows)

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Vectors float32 (m, dimensions) of texts by their tokens' ids, each computed alone."""
        vectors = [forward(self, [self.tokens[ids]], self.apply) for ids in texts]
        return np.concatenate(vectors) if vectors else np.empty((0, self.architecture.dimensions), np.float32)


def forward(model: FloatModel, embedded: list[NDArray[np.float32]], product: Product) -> NDArray[np.float32]:
    """Run texts through a model: products of all tokens at once, attention in each text.

    Parameters
    ----------
    model : FloatModel
    embedded : list of float32 (t, width)
        The token embeddings of each text.
    product : callable
        Takes a layer's number, the name of one of its products and rows, and multiplies them.

    Returns
    -------
    float32 (m, dimensions)
    """
    sizes = model.architecture
    bounds = np.cumsum([len(text) for text in embedded])[:-1]
    rows = np.concatenate([text + model.positions[: len(text)] for text in embedded])
    rows = layer_norm(rows, *model.embedding_norm, sizes.epsilon)
    for number, layer in enumerate(model.layers):
        attended = [attend(text, sizes.heads) for text in np.split(product(number, "attention", rows), bounds)]
        rows = layer_norm(
            rows + product(number, "joined", np.concatenate(attended)), *layer.attention_norm, sizes.epsilon
        )
        inner = gelu(product(number, "up", rows))
        rows = layer_norm(rows + product(number, "down", inner), *layer.output_norm, sizes.epsilon)
    return finish(model.dense, sizes, np.stack([pool(text, sizes.pooling) for text in np.split(rows, bounds)]))


def finish(dense: tuple[Linear, ...], sizes: Architecture, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pooled vectors float32 (m, width) through the dense modules, scaled as the model asks."""
    for module, (_, activation) in zip(dense, sizes.dense, strict=True):
        vectors = module.apply(vectors)
        vectors = np.tanh(vectors) if activation == "tanh" else vectors
    return normalise(vectors) if sizes.normalized else vectors


def read_float_model(source: str | Path | Mapping[str, bytes]) -> FloatModel:
    """Read a model that sentence-transformers saved.

    Parameters
    ----------
    source : path or mapping of str to bytes
        A folder, or its files.

    Raises
    ------
    InputError
        A file is missing or damaged, or the model is of a kind that is not supported; the message names it.
    """
    files = ModelFiles(source)
    modules = Modules(files)
    sizes = read_architecture(files, modules)
    tensors = files.tensors(modules.transformer)
    width, inner = sizes.width, sizes.inner
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors.entries else ""
    take = _Taker(tensors, prefix)

    def layer(number: int) -> Layer:
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
    positions = take.tensor("embeddings.position_embeddings.weight", (sizes.positions, width))[: sizes.length]
    first_type = take.tensor("embeddings.token_type_embeddings.weight", (kinds, width))[:1]
    if not len(first_type):
        raise InputError(f"{tensors.path}: there must be an embedding of the first token type")
    return FloatModel(
        architecture=sizes,
        tokenizer=read_tokenizer(files, modules, sizes.tokens),
        tokens=take.tensor("embeddings.word_embeddings.weight", (sizes.tokens, width)),
        positions=positions + first_type,
        embedding_norm=take.norm("embeddings.LayerNorm", width),
        layers=tuple(map(layer, range(sizes.layers))),
        dense=tuple(_read_dense(files, modules, sizes)),
    )


class _Taker:
    """Tensors of a transformer by what they are called within it."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return self._tensors.take(self._prefix + name, shape)

    def linear(self, name: str, out: int, width: int) -> Linear:
        return Linear(self.tensor(f"{name}.weight", (out, width)), self.tensor(f"{name}.bias", (out,)))

    def norm(self, name: str, width: int) -> Norm:
        # models that were converted from TensorFlow say gamma and beta
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
