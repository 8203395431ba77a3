"""Quantize an encoder: each linear layer is rounded when the calibration texts reach it.

Its calibration inputs therefore include the errors of all layers before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.bert import PRODUCTS, Layer
from vsearch.encoders.grids import LARGEST_ENTRY, LARGEST_WEIGHT, Bits, error_factor, round_jointly, round_plainly
from vsearch.encoders.packing import up_to
from vsearch.encoders.quantized import Apart, QuantizedLinear, TokenTable, quantize_rows
from vsearch.encoders.running import QuantizedBert
from vsearch.kernels.encoders.fields import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Bert, Linear

MOST_TOKENS = 16_384
"""Maximum number of tokens of the calibration texts; a few hundred short texts are enough."""

ENOUGH_TOKENS = 2048
"""Number of tokens of the texts on which alternatives are compared."""

EXPONENT = 0.5
"""Exponent of the channel scales, which move part of the range of the inputs into the weights (SmoothQuant)."""

SHARE_APART = 0.01
"""Fraction of the columns of a linear layer that may stay float."""

LARGEST_INPUT_ERROR = 0.04
"""Change of the outputs by rounding the inputs, relative to how much the outputs of tokens differ, from which outlier columns stay
float. It is 0.01 to 0.02 if no column is much larger than the others."""

SOME_INPUTS = 1024
"""Number of tokens on which this change is measured."""

TABLE = "table"
"""Name of the token table among the parts with their own number of bits."""


def product_name(layer: int, name: str) -> str:
    """Return the name of a linear layer among the parts with their own number of bits."""
    return f"{layer}.{name}"


def uniform_bits(model: Bert[Any], weights: Bits, table: Bits) -> dict[str, Bits]:
    """Return the bits of each linear layer and the table."""
    names = [product_name(layer, name) for layer in range(len(model.layers)) for name in PRODUCTS]
    return dict.fromkeys(names, weights) | {TABLE: table}


def select_texts(model: Bert[Any], texts: Sequence[str]) -> list[str]:
    """Return the first text, and further texts up to `MOST_TOKENS`."""
    chosen: list[str] = []
    count = 0
    for text in texts:
        count += len(tokenize(model, [text])[0])
        if chosen and count > MOST_TOKENS:
            break
        chosen.append(text)
    return chosen


def tokenize(model: Bert[Any], texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of texts with the prompt for queries."""
    architecture, before = model.architecture, model.architecture.find_prompt(None)
    return [model.tokenizer.encode(before + text, architecture.length) for text in texts]


def enough(texts: list[list[int]]) -> list[list[int]]:
    """Return the first texts with at least `ENOUGH_TOKENS` tokens, or all."""
    return texts[: 1 + int(np.searchsorted(np.cumsum([len(ids) for ids in texts]), ENOUGH_TOKENS))]


def quantize(model: Bert[Linear], texts: list[list[int]], bits: Mapping[str, Bits]) -> QuantizedBert:
    """Run texts through the model, and round each linear layer for its inputs to the bits of its name."""
    return quantize_and_embed(model, texts, bits)[0]


def quantize_and_embed(
    model: Bert[Linear], texts: list[list[int]], bits: Mapping[str, Bits]
) -> tuple[QuantizedBert, NDArray[np.float32]]:
    """Quantize as `quantize`; also return the vectors of the texts, float32 (m, dimensions), by the quantized layers."""
    products: dict[str, QuantizedLinear] = {}
    table = quantize_table(model, bits[TABLE])

    def call(layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        at = product_name(layer, name)
        products[at] = quantize_product(model.layers[layer].product(name), rows, bits[at])
        return replace(products[at]).apply(rows)

    vectors = replace(model, table=table).forward(texts, call)
    return assemble(model, table, products), vectors


def stored_positions(model: Bert[Any]) -> NDArray[np.float32]:
    """Return the position embeddings as they will be stored, in float16."""
    return model.positions.astype(np.float16).astype(np.float32)


def assemble(model: Bert[Linear], table: TokenTable, products: Mapping[str, QuantizedLinear]) -> QuantizedBert:
    """Return a model with quantized linear layers and a quantized table, the rest as stored."""
    layers = []
    for number, layer in enumerate(model.layers):
        attention, joined, up, down = (products[product_name(number, name)] for name in PRODUCTS)
        layers.append(Layer(attention, joined, up, down, layer.attention_norm, layer.output_norm))
    return QuantizedBert(
        model.architecture,
        model.tokenizer,
        table,
        stored_positions(model),
        model.embedding_norm,
        tuple(layers),
        model.dense,
        model.final_norm,
    )


def quantize_product(linear: Linear, inputs: NDArray[np.float32], bits: Bits) -> QuantizedLinear:
    """Round a linear layer so that its outputs for inputs float32 (t, columns) change least."""
    return next(quantize_to_each(linear, inputs, [bits]))


def quantize_to_each(linear: Linear, inputs: NDArray[np.float32], choices: Iterable[Bits]) -> Iterator[QuantizedLinear]:
    """Round a linear layer as `quantize_product` to each of several numbers of bits, which share all work on the inputs."""
    rows, columns = linear.weight.shape
    channels = channel_scales(np.abs(inputs).max(axis=0), np.abs(linear.weight).max(axis=0))
    apart = columns_apart(linear, inputs, channels)
    scales = (1 / channels).astype(np.float32)
    scales[apart] = 0
    weights = np.zeros((rows, up_to(columns, GROUP)), np.float32)
    weights[:, :columns] = linear.weight * channels
    weights[:, apart] = 0
    scaled = np.zeros((len(inputs), weights.shape[1]), np.float32)
    scaled[:, :columns] = inputs * scales
    factor = error_factor((scaled.T @ scaled).astype(np.float64))
    outliers = Apart(apart.astype(np.int32), np.ascontiguousarray(linear.weight.T[apart])) if apart.size else None
    for bits in choices:
        rounded = round_jointly(weights, factor, bits, LARGEST_WEIGHT)
        yield QuantizedLinear.of(rounded, bits, linear.bias, scales, outliers)


def columns_apart(linear: Linear, inputs: NDArray[np.float32], channels: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the outlier columns, which are not quantized: none, unless rounding the inputs changes the outputs too much.

    If it does, they are the hundredth of the columns with the largest inputs divided by `channels`, provided that the outputs then
    change at most half as much.
    """

    def error(scales: NDArray[np.float32]) -> float:
        codes, low, step = quantize_rows(sample, scales)
        rounded = (low[:, None] + step[:, None] * codes.astype(np.float32)) * channels
        difference = np.where(scales > 0, sample - rounded, 0) @ linear.weight.T
        return float(np.linalg.norm(difference) / max(np.linalg.norm(outputs), np.finfo(np.float32).tiny))

    sample = inputs[:: max(1, len(inputs) // SOME_INPUTS)]
    outputs = sample @ linear.weight.T
    outputs = outputs - outputs.mean(axis=0)  # what all tokens have in common says nothing about them
    scales = (1 / channels).astype(np.float32)
    none = np.empty(0, np.intp)
    before = error(scales)
    if before <= LARGEST_INPUT_ERROR:
        return none
    count = max(1, round(len(channels) * SHARE_APART))
    largest = np.sort(np.argsort(-np.abs(sample / channels).max(axis=0), kind="stable")[:count])
    scales[largest] = 0
    return largest if error(scales) <= before / 2 else none


def channel_scales(inputs: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factors of each column's weights, by which its inputs are divided, from their largest magnitudes."""
    known = (inputs > 0) & (weights > 0)
    ratio = np.divide(inputs**EXPONENT, weights ** (1 - EXPONENT), out=np.ones_like(inputs), where=known)
    return ratio.astype(np.float32)


def quantize_table(model: Bert[Linear], bits: Bits) -> TokenTable:
    """Round the token embeddings."""
    sizes = model.architecture
    rows = model.table.take(range(sizes.tokens), sizes.width)
    if bits != 8 and sizes.width % GROUP:
        rows = np.pad(rows, ((0, 0), (0, -sizes.width % GROUP)))
    return TokenTable.of(round_plainly(rows, bits, LARGEST_ENTRY), bits)
