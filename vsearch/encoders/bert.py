"""BERT and ModernBERT in NumPy, independent of how weights are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from vsearch.encoders.functions import attend, attention_received, gelu, layer_norm, pool, rotate
from vsearch.errors import InputError
from vsearch.metrics import normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.architecture import Architecture
    from vsearch.encoders.tokenizing import Tokenizer

PRODUCTS = ("attention", "joined", "up", "down")
"""The linear layers of a transformer layer: query, key and value together; attention output; the two feed-forward layers."""


class Product(Protocol):
    """A linear layer: a matrix and a bias."""

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return outputs float32 (t, out) for inputs float32 (t, in)."""
        ...


class Table(Protocol):
    """Token embeddings."""

    def take(self, ids: Sequence[int], width: int) -> NDArray[np.float32]:
        """Return the embeddings float32 (t, width) of tokens."""
        ...


def text_bounds(texts: Sequence[list[int]]) -> NDArray[np.intp]:
    """Return the positions, among the tokens of all texts, at which all texts but the last end."""
    return np.cumsum([len(ids) for ids in texts])[:-1]


P = TypeVar("P", bound=Product)
Call = Callable[[int, str, "NDArray[np.float32]"], "NDArray[np.float32]"]


class Linear(NamedTuple):
    """A linear layer in float32: ``weight @ x + bias``, (out, in) and (out,)."""

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
    """Weight and bias of a layer normalization, float32 (width,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class Layer(Generic[P]):
    """A transformer layer: four linear layers, and two normalizations.

    In BERT, these follow attention and the feed-forward layers; in ModernBERT, they precede them. Its first layer has none before
    attention. Its `up` returns values and then the gates by which they are multiplied: twice as many outputs as `down` has inputs.
    """

    attention: P
    joined: P
    up: P
    down: P
    attention_norm: Norm | None
    output_norm: Norm

    def product(self, name: str) -> P:
        """Return a linear layer by name."""
        product: P = getattr(self, name)
        return product

    def products(self) -> list[P]:
        """Return all linear layers, in the order of `PRODUCTS`."""
        return [self.product(name) for name in PRODUCTS]


@dataclass(frozen=True, eq=False, repr=False)
class Bert(Generic[P]):
    """A BERT or ModernBERT encoder.

    Attributes
    ----------
    table : Table
        Token embeddings.
    positions : float32 (length, width)
        Position embeddings, plus the embedding of the first token type. ModernBERT has none: (0, width).
    embedding_norm : Norm
    layers : tuple of Layer
    dense : tuple of Linear
        Dense modules after pooling, whose activations are in the architecture.
    final_norm : Norm or None
        Of the outputs of the last layer, in ModernBERT.
    """

    architecture: Architecture
    tokenizer: Tokenizer
    table: Table
    positions: NDArray[np.float32]
    embedding_norm: Norm
    layers: tuple[Layer[P], ...]
    dense: tuple[Linear, ...]
    final_norm: Norm | None = None

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Return vectors float32 (m, dimensions) of texts, given as token ids; each is computed separately."""
        vectors = [self.forward([ids]) for ids in texts]
        return np.concatenate(vectors) if vectors else np.empty((0, self.architecture.dimensions), np.float32)

    def forward(self, texts: Sequence[list[int]], product: Call | None = None) -> NDArray[np.float32]:
        """Run texts through the model as a batch: linear layers on all tokens at once, attention per text.

        Parameters
        ----------
        texts : sequence of list of int
            Token ids of at least one text.
        product : callable, optional
            Replaces the linear layers: takes a layer number, the name of a linear layer, and its inputs.

        Returns
        -------
        float32 (m, dimensions)
        """
        bounds = text_bounds(texts)
        with np.errstate(over="ignore", invalid="ignore"):  # `finish` refuses what is not finite
            return self.pool_texts(self.run_layers(texts, product or self._apply), bounds)

    def run_layers(self, texts: Sequence[list[int]], call: Call) -> NDArray[np.float32]:
        """Return the outputs float32 (t, width) of the last layer for all tokens of texts; `call` runs linear layers."""
        rows, bounds = self.embed_rows(texts), text_bounds(texts)
        for number in range(len(self.layers)):
            rows = self.run_layer(number, rows, bounds, call)
        return self.normalized(rows, self.final_norm)

    def embed_rows(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Return the inputs float32 (t, width) of the first layer for all tokens of texts."""
        return self.normalized(np.concatenate([self.look_up(ids) for ids in texts]), self.embedding_norm)

    def run_layer(
        self, number: int, rows: NDArray[np.float32], bounds: NDArray[np.intp], call: Call
    ) -> NDArray[np.float32]:
        """Run a layer on its inputs float32 (t, width), the tokens of texts that end at `bounds`."""
        return (self._run_rotary if self.architecture.rotary else self._run_absolute)(number, rows, bounds, call)

    def pool_texts(self, rows: NDArray[np.float32], bounds: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors float32 (m, dimensions) of texts from the outputs of `run_layers`."""
        return self.finish(np.stack([pool(text, self.architecture.pooling) for text in np.split(rows, bounds)]))

    def look_up(self, ids: list[int]) -> NDArray[np.float32]:
        """Return the embeddings float32 (t, width) of the tokens of a text, with those of their positions."""
        rows = self.table.take(ids, self.architecture.width)
        return rows if self.architecture.rotary else rows + self.positions[: len(ids)]

    def normalized(self, rows: NDArray[np.float32], norm: Norm | None) -> NDArray[np.float32]:
        """Return rows after a normalization; the same rows if there is none."""
        return rows if norm is None else layer_norm(rows, *norm, self.architecture.epsilon)

    def _run_absolute(
        self, number: int, rows: NDArray[np.float32], bounds: NDArray[np.intp], call: Call
    ) -> NDArray[np.float32]:
        """Run a layer of BERT."""
        layer, heads = self.layers[number], self.architecture.heads
        attended = [attend(text, heads) for text in np.split(call(number, "attention", rows), bounds)]
        rows = self.normalized(rows + call(number, "joined", np.concatenate(attended)), layer.attention_norm)
        return self.normalized(rows + call(number, "down", gelu(call(number, "up", rows))), layer.output_norm)

    def _run_rotary(
        self, number: int, rows: NDArray[np.float32], bounds: NDArray[np.intp], call: Call
    ) -> NDArray[np.float32]:
        """Run a layer of ModernBERT."""
        layer, sizes = self.layers[number], self.architecture
        base, distance = sizes.rotary[number]
        joined = np.split(call(number, "attention", self.normalized(rows, layer.attention_norm)), bounds)
        attended = [attend(rotate(text, sizes.heads, base), sizes.heads, distance) for text in joined]
        rows = rows + call(number, "joined", np.concatenate(attended))
        wide = call(number, "up", self.normalized(rows, layer.output_norm))
        return rows + call(number, "down", gelu(wide[:, : sizes.inner]) * wide[:, sizes.inner :])

    def embed_tokens(self, ids: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors float32 (t, dimensions) of the tokens of a text, and their saliency float32 (t,).

        The saliency is the attention that a token receives from all tokens in the last layer, averaged over the heads.
        """
        sizes, last = self.architecture, len(self.layers) - 1
        joined: list[NDArray[np.float32]] = []

        def call(layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
            outputs = self._apply(layer, name, rows)
            if (layer, name) == (last, PRODUCTS[0]):
                joined.append(outputs)
            return outputs

        with np.errstate(over="ignore", invalid="ignore"):
            rows = self.run_layers([ids], call)
        if not sizes.rotary:
            return self.finish_tokens(rows), attention_received(joined[0], sizes.heads)
        base, distance = sizes.rotary[last]
        turned = rotate(joined[0], sizes.heads, base)
        return self.finish_tokens(rows), attention_received(turned, sizes.heads, distance)

    def finish_tokens(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the dense modules and the normalization to each of a text's tokens, so that none depends on the others."""
        return np.concatenate([self.finish(row[None]) for row in rows])

    def finish(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the dense modules and the normalization to pooled vectors float32 (m, width)."""
        for module, (_, activation) in zip(self.dense, self.architecture.dense, strict=True):
            vectors = module.apply(vectors)
            vectors = np.tanh(vectors) if activation == "tanh" else vectors
        if not np.isfinite(vectors).all():
            raise InputError("the encoder has weights that are too large: the vector of a text is beyond float32")
        return normalize(vectors) if self.architecture.normalized else vectors

    def _apply(self, layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.layers[layer].product(name).apply(rows)
