"""A BERT or ModernBERT encoder with quantized linear layers, which one native call runs on a text."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vsearch.encoders.bert import PRODUCTS, Bert, Norm
from vsearch.encoders.functions import pool, rotation
from vsearch.encoders.packing import up_to
from vsearch.encoders.quantized import QuantizedLinear, TokenTable
from vsearch.forking import cached_property
from vsearch.kernels.encoders.fields import (
    ATTENDING,
    BLOCK,
    GROUP,
    LANES,
    TOKENS,
    LayerField,
    LayersField,
    ProductField,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.grids import Bits

TOKEN_BYTES = 160
"""Bytes in memory of a token of the vocabulary: a string and its entry in a dictionary."""


KEPT_TOKENS = 64
"""Scratch arrays for texts of up to so many tokens are kept by each thread."""

_TOKENS, _COLUMNS, _IDS = int(LayersField.TOKENS), int(LayersField.COLUMNS), int(LayersField.IDS)

LEAST_SQUARE, LARGEST_SQUARE = 1e-24, 1e30
"""Squared norms of vectors that float32 computes without overflow or loss of digits."""


class Outputs(NamedTuple):
    """What a model computes for a text.

    Attributes
    ----------
    tokens : float32 (t, width)
        Outputs of the last layer.
    received : float32 (t,)
        The attention that each token receives from all tokens in the last layer, summed over the heads.
    vector : float32 (width,)
        The pooled tokens.
    """

    tokens: NDArray[np.float32]
    received: NDArray[np.float32]
    vector: NDArray[np.float32]


class Scratch:
    """The arrays in which one thread runs texts of at most so many tokens, and the block of `LayersField` that lists them.

    Attributes
    ----------
    rows, received, vector : float32 (tokens, width), (tokens rounded up,), (width,)
        See `LayersField`.
    ids : int32 (tokens,)
    numbers : memoryview
        The block, read and written as Python integers; the caller sets TOKENS, COLUMNS and IDS.
    address, ids_address : int
        Of the block, and of the ids.
    """

    def __init__(self, fields: dict[LayersField, int], width: int, inner: int, heads: int, tokens: int) -> None:
        columns = up_to(tokens, LANES)
        self.rows, self.received = np.empty((tokens, width), np.float32), np.empty(columns, np.float32)
        self.ids, self.vector = np.zeros(tokens, np.int32), np.empty(width, np.float32)
        sizes = {LayersField.WIDTH: width, LayersField.INNER_WIDTH: inner, LayersField.HEAD_WIDTH: width // heads}
        sizes |= {LayersField.WIDE_WIDTH: 3 * width, LayersField.CODES_WIDTH: up_to(width, GROUP)}
        sizes |= {LayersField.INNER_CODES_WIDTH: up_to(inner, GROUP), LayersField.SCALED_WIDTH: max(width, inner)}
        self._arrays: dict[LayersField, NDArray[Any]] = {
            LayersField.ROWS: self.rows,
            LayersField.RECEIVED: self.received,
            LayersField.ATTENDED: np.empty((tokens, width), np.float32),
            LayersField.WIDE: np.empty((tokens, 3 * width), np.float32),
            LayersField.INNER: np.empty((tokens, inner), np.float32),
            LayersField.CODES: np.empty((tokens, up_to(width, GROUP)), np.uint8),
            LayersField.INNER_CODES: np.empty((tokens, up_to(inner, GROUP)), np.uint8),
            LayersField.KEYS: np.empty((width // heads, columns), np.float32),
            LayersField.SCORES: np.empty((ATTENDING, columns), np.float32),
            LayersField.FACTORS: np.empty((tokens, 2), np.float32),
            LayersField.BOUNDS: np.empty((2, LANES), np.float32),
            LayersField.SUMS: np.empty((TOKENS, BLOCK), np.int32),
            LayersField.SCALED: np.empty(max(width, inner), np.float32),
            LayersField.IDS: self.ids,
            LayersField.VECTOR: self.vector,
        }
        addresses = {field: array.ctypes.data for field, array in self._arrays.items()}
        values = fields | sizes | addresses
        self._block = np.array([values.get(field, 0) for field in LayersField], np.int64)
        self.numbers, self.address, self.ids_address = self._block.data, self._block.ctypes.data, self.ids.ctypes.data


class Runner:
    """The layers of a model in the form of kernel arguments: addresses of arrays, which it keeps alive."""

    def __init__(self, model: QuantizedBert) -> None:
        sizes = model.architecture
        self._heads, self._inner, self._width = sizes.heads, sizes.inner, sizes.width
        self._epsilon = np.float32(sizes.epsilon)
        self._referenced: list[NDArray[Any]] = []
        none = Norm(*np.zeros((2, sizes.width), np.float32))
        norms = [model.embedding_norm]
        for layer in model.layers:
            norms += [layer.attention_norm or none, layer.output_norm]
        norms += [model.final_norm] if model.final_norm is not None else []
        self._norms = np.array(norms, np.float32)
        self._layers = len(model.layers)
        self._rotary = sizes.rotary
        self._normed = [layer.attention_norm is not None for layer in model.layers]
        blocks = [self._pack(layer.product(name)) for layer in model.layers for name in PRODUCTS]
        self._products = np.array(blocks, np.int64)
        self._epsilons = np.array([sizes.epsilon], np.float32)
        self._fields = {
            LayersField.LAYERS: self._layers,
            LayersField.HEADS: self._heads,
            LayersField.PRODUCTS: self._products.ctypes.data,
            LayersField.EPSILON: self._epsilons.ctypes.data,
            LayersField.NORMS: self._norms.ctypes.data,
            LayersField.NORM_COUNT: len(self._norms),
        }
        codes = model.table.codes
        self._table_rows = self._longest = 0  # of a table that the kernel reads
        if isinstance(codes, np.ndarray) and not sizes.rotary:
            self._table = (
                np.ascontiguousarray(codes[:, : sizes.width], np.int8),
                np.ascontiguousarray(model.table.steps, np.float32),
                np.ascontiguousarray(model.positions, np.float32),
            )
            self._table_rows, self._longest = len(codes), len(model.positions)
            self._fields |= {
                LayersField.TABLE_TOKENS: len(codes),
                LayersField.TABLE_CODES: self._table[0].ctypes.data,
                LayersField.TABLE_STEPS: self._table[1].ctypes.data,
                LayersField.POSITIONS: self._table[2].ctypes.data,
                LayersField.POSITION_COUNT: len(model.positions),
            }
        self._fields[LayersField.MEAN] = sizes.pooling != "cls"
        self._pooling = sizes.pooling
        self._threads = threading.local()

    def _pack(self, product: QuantizedLinear) -> list[int]:
        """Pack a linear layer as a block of `ProductField`."""
        arrays: dict[ProductField, NDArray[Any]] = {
            ProductField.WEIGHTS: np.ascontiguousarray(product.blocks),
            ProductField.STEPS: np.ascontiguousarray(product.steps, np.float32),
            ProductField.BIAS: np.ascontiguousarray(product.bias, np.float32),
            ProductField.SUMS: np.ascontiguousarray(product.sums, np.int32),
            ProductField.SCALES: np.ascontiguousarray(product.scales, np.float32),
        }
        apart = product.apart
        if apart is not None:
            arrays[ProductField.APART_COLUMNS] = np.ascontiguousarray(apart.columns, np.int32)
            arrays[ProductField.APART_WEIGHTS] = np.ascontiguousarray(apart.weights, np.float32)
        self._referenced += arrays.values()
        numbers = {ProductField.ROWS: len(product.steps), ProductField.COLUMNS: len(product.scales)}
        numbers |= {ProductField.BLOCKS: product.blocks.shape[0], ProductField.BLOCK_BYTES: product.blocks.shape[1]}
        numbers[ProductField.APART] = 0 if apart is None else len(apart.columns)
        numbers |= {field: array.ctypes.data for field, array in arrays.items()}
        return [numbers.get(field, 0) for field in ProductField]

    def run(self, ids: list[int], look_up: Callable[[list[int]], NDArray[np.float32]]) -> Outputs:
        """Run all layers on the tokens of a text, of which there is at least one.

        `look_up` returns their embeddings float32 (t, width), for tables that the kernel does not read. The result is valid until the next call in the same thread.
        """
        if self._rotary:
            return self._run_rotary(look_up(ids))
        from vsearch.kernels.encoders.api import run_layers

        count = len(ids)
        scratch = self._scratch(count)
        numbers = scratch.numbers
        if count <= self._longest and min(ids) >= 0 and max(ids) < self._table_rows:
            scratch.ids[:count] = ids
            numbers[_IDS] = scratch.ids_address
        else:
            scratch.rows[:count] = look_up(ids)
            numbers[_IDS] = 0
        numbers[_TOKENS], numbers[_COLUMNS] = count, up_to(count, LANES)
        run_layers(scratch.address)
        return Outputs(scratch.rows[:count], scratch.received[:count], scratch.vector)

    def _scratch(self, count: int) -> Scratch:
        """Return the arrays for texts of so many tokens: those of the calling thread, or new ones for a long text."""
        if count > KEPT_TOKENS:
            return Scratch(self._fields, self._width, self._inner, self._heads, count)
        try:
            scratch: Scratch = self._threads.scratch
        except AttributeError:
            scratch = self._threads.scratch = Scratch(self._fields, self._width, self._inner, self._heads, KEPT_TOKENS)
        return scratch

    def _run_rotary(self, rows: NDArray[np.float32]) -> Outputs:
        from vsearch.kernels.encoders.api import run_rotary_layers

        tokens, width = rows.shape
        columns, outputs = up_to(tokens, LANES), rows.copy()
        scores = np.empty((ATTENDING + 1, columns), np.float32)
        settings, turns = self._settings(tokens, width // self._heads // 2)
        run_rotary_layers(
            settings,
            self._epsilon,
            self._norms,
            turns,
            outputs,
            np.empty((tokens, width), np.float32),
            np.empty((tokens, 3 * width), np.float32),
            np.empty((tokens, self._inner), np.float32),
            np.empty((tokens + 1, max(width, 2 * self._inner)), np.float32),
            np.empty((tokens, up_to(width, GROUP)), np.uint8),
            np.empty((tokens, up_to(self._inner, GROUP)), np.uint8),
            np.empty((width // self._heads, columns), np.float32),
            scores,
            np.empty((2 + tokens, LANES), np.float32),
            np.empty((TOKENS, BLOCK), np.int32),
        )
        return Outputs(outputs, scores[ATTENDING, :tokens], pool(outputs, self._pooling))

    def _settings(self, tokens: int, pairs: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the `LayerField` of each layer, and the tables of angles, for a number of tokens."""
        bases = sorted({base for base, _ in self._rotary})
        settings = np.empty((self._layers, len(LayerField)), np.int64)
        layer_stride = len(PRODUCTS) * self._products.strides[0]
        settings[:, LayerField.PRODUCTS] = self._products.ctypes.data + layer_stride * np.arange(self._layers)
        settings[:, LayerField.HEADS] = self._heads
        settings[:, LayerField.BASE] = [bases.index(base) for base, _ in self._rotary]
        settings[:, LayerField.DISTANCE] = [distance or tokens for _, distance in self._rotary]
        settings[:, LayerField.NORMED] = self._normed
        return settings, np.concatenate([rotation(tokens, pairs, base) for base in bases])


@dataclass(frozen=True, eq=False, repr=False)
class QuantizedBert(Bert[QuantizedLinear]):
    """BERT or ModernBERT with quantized linear layers and a quantized token table."""

    table: TokenTable

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the runner, which holds addresses and is made again on first use."""
        return {name: value for name, value in vars(self).items() if name != "runner"}

    @cached_property
    def runner(self) -> Runner:
        """The layers as kernel arguments."""
        return Runner(self)

    @property
    def product_bits(self) -> dict[str, Bits]:
        """Bits per weight of each linear layer, by names like ``0.attention``."""
        return {
            f"{number}.{name}": layer.product(name).bits
            for number, layer in enumerate(self.layers)
            for name in PRODUCTS
        }

    @property
    def columns_apart(self) -> int:
        """Number of outlier columns of linear layers, which are not quantized."""
        parts = [product.apart for layer in self.layers for product in layer.products()]
        return sum(len(apart.columns) for apart in parts if apart is not None)

    @property
    def own_bytes(self) -> int:
        """Memory that it takes in bytes besides its files, of which it holds views."""
        products = [product for layer in self.layers for product in layer.products()]
        expanded = sum(product.blocks.nbytes for product in products if product.packed is not None)
        packed = [product.packed for product in products] + [self.table.packed]
        expanded += sum(linear.planes.nbytes for linear in packed if linear is not None and linear.ternary)
        return expanded + self.positions.nbytes + TOKEN_BYTES * len(self.tokenizer.vocabulary)

    def embed(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Return vectors float32 (m, dimensions) of texts, given as token ids; each is computed separately by the kernel."""
        sizes = self.architecture
        vectors = np.empty((len(texts), sizes.dimensions), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # `finish` refuses what is not finite
            for row, ids in enumerate(texts):
                vector = self.runner.run(ids, self.look_up).vector
                square = float(vector.dot(vector)) if sizes.normalized and not self.dense else 0.0
                if LEAST_SQUARE < square < LARGEST_SQUARE:  # a shorter way to what `finish` does
                    np.multiply(vector, 1 / math.sqrt(square), out=vectors[row])
                else:
                    vectors[row] = self.finish(vector[None])[0]
        return vectors

    def embed_tokens(self, ids: list[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors float32 (t, dimensions) of the tokens of a text, and their saliency float32 (t,)."""
        outputs = self.runner.run(ids, self.look_up)
        return self.finish_tokens(outputs.tokens), outputs.received / np.float32(self.architecture.heads)
