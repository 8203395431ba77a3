"""BERT: what a model consists of, and how texts run through it with NumPy, whatever its weights are stored as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from vsearch.encoders.functions import attend, gelu, layer_norm, pool
from vsearch.metrics import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.wordpiece import WordPiece

PRODUCTS = ("attention", "joined", "up", "down")
"""The products of a layer: query, key and value in one; attention's output; the two of the feed-forward part."""


class Product(Protocol):
    """A matrix and a bias."""

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Products float32 (t, out) with inputs float32 (t, in)."""
        ...


class Table(Protocol):
    """The embeddings of tokens."""

    def take(self, ids: Sequence[int], width: int) -> NDArray[np.float32]:
        """Embeddings float32 (t, width) of tokens."""
        ...


P = TypeVar("P", bound=Product)
Call = Callable[[int, str, "NDArray[np.float32]"], "NDArray[np.float32]"]


class Linear(NamedTuple):
    """A product in float32: ``weight @ x + bias``, (out, in) and (out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows @ self.weight.T + self.bias


class FloatTable(NamedTuple):
    """Token embeddings float32 (tokens, width)."""

    rows: NDArray[np.float32]

    def take(self, ids: Sequence[int], width: int) -> NDArray[np.float32]:
        return self.rows[ids, :width]


class Norm(NamedTuple):
    """A layer normalization's weight and bias, float32 (width,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layer(Generic[P]):
    """A transformer layer: its four products, and the normalizations after attention and after the feed-forward part."""

    attention: P
    joined: P
    up: P
    down: P
    attention_norm: Norm
    output_norm: Norm

    def product(self, name: str) -> P:
        """A product by its name."""
        found: P = getattr(self, name)
        return found


@dataclass(frozen=True, eq=False)
class Bert(Generic[P]):
    """A BERT encoder.

    Attributes
    ----------
    table : Table
        Embeddings of the tokens.
    positions : float32 (length, width)
        Embeddings of the positions, that of the first token type added.
    embedding_norm : Norm
    layers : tuple of Layer
    dense : tuple of Linear
        Modules after pooling; the architecture names their activations.
    """

    architecture: Architecture
    tokenizer: WordPiece
    table: Table
    positions: NDArray[np.float32]
    embedding_norm: Norm
    layers: tuple[Layer[P], ...]
    dense: tuple[Linear, ...]

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Vectors float32 (m, dimensions) of texts by their tokens' ids, each computed alone."""
        vectors = [self.forward([ids]) for ids in texts]
        return np.concatenate(vectors) if vectors else np.empty((0, self.architecture.dimensions), np.float32)

    def forward(self, texts: Sequence[list[int]], product: Call | None = None) -> NDArray[np.float32]:
        """Run texts through the model together: products of all tokens at once, attention in each text.

        Parameters
        ----------
        texts : sequence of list of int
            At least one, each of its tokens' ids.
        product : callable, optional
            Stands in for the products of the layers: takes a layer's number, a product's name and rows.

        Returns
        -------
        float32 (m, dimensions)
        """
        sizes, call = self.architecture, product or self._apply
        bounds = np.cumsum([len(ids) for ids in texts])[:-1]
        embedded = [self.table.take(ids, sizes.width) + self.positions[: len(ids)] for ids in texts]
        rows = layer_norm(np.concatenate(embedded), *self.embedding_norm, sizes.epsilon)
        for number, layer in enumerate(self.layers):
            attended = [attend(text, sizes.heads) for text in np.split(call(number, "attention", rows), bounds)]
            rows = rows + call(number, "joined", np.concatenate(attended))
            rows = layer_norm(rows, *layer.attention_norm, sizes.epsilon)
            rows = rows + call(number, "down", gelu(call(number, "up", rows)))
            rows = layer_norm(rows, *layer.output_norm, sizes.epsilon)
        return self.finish(np.stack([pool(text, sizes.pooling) for text in np.split(rows, bounds)]))

    def finish(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pooled vectors float32 (m, width) through the dense modules, scaled as the model asks."""
        for module, (_, activation) in zip(self.dense, self.architecture.dense, strict=True):
            vectors = module.apply(vectors)
            vectors = np.tanh(vectors) if activation == "tanh" else vectors
        return normalise(vectors) if self.architecture.normalized else vectors

    def _apply(self, layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.layers[layer].product(name).apply(rows)
