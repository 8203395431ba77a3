"""Compressing an encoder without training: each product is rounded when the calibration texts first reach it.

So the inputs that it is rounded for have the errors of all products before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.bert import PRODUCTS, Bert, Layer
from vsearch.encoders.compressed import CompressedEncoder
from vsearch.encoders.encoder import TextEncoder, check_texts
from vsearch.encoders.float_model import read_float_model
from vsearch.encoders.grids import (
    BITS,
    LARGEST_ENTRY,
    LARGEST_WEIGHT,
    round_jointly,
    round_plainly,
)
from vsearch.encoders.packing import up_to
from vsearch.encoders.quantized import QuantizedLinear, TokenTable
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.running import QuantizedBert
from vsearch.encoders.writing import part_bytes
from vsearch.errors import InputError
from vsearch.kernels.encoders.fields import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Linear

MOST_TOKENS = 16_384
"""Tokens of the calibration texts, at most; a few hundred short texts tell all that is needed."""

EXPONENT = 0.5
"""How much of the range of inputs the channel scales move into the weights (SmoothQuant)."""


def compress(
    model: Any, texts: Sequence[str], *, bits: int | Mapping[str, int] = 8, holdout: Sequence[str] | None = None
) -> CompressedEncoder:
    """Compress a text encoder to a few bits per weight, without training.

    Parameters
    ----------
    model : path, TextEncoder or SentenceTransformer
        A folder as for `load`, or what `load` made of it; a SentenceTransformer is saved to a temporary one.
    texts : sequence of str
        Calibration texts, like the queries to come: 256 are enough. The model's prompt for queries is put before them.
    bits : {8, 4, 3, 2} or mapping
        Bits of a weight on disk; with ``{"weights": 4, "table": 8}`` those of the products and of the token table. Weights
        are computed with in 7 bits whatever their number on disk: fewer make the file smaller, not faster.
    holdout : sequence of str, optional
        Texts that the report is measured on; the calibration texts by default.

    Returns
    -------
    CompressedEncoder

    Raises
    ------
    InputError
        The model is not supported, or an argument is not valid.
    """
    weight_bits, table_bits = check_bits(bits)
    calibration = check_texts(texts)
    measured = calibration if holdout is None else check_texts(holdout)
    if not calibration or not measured:
        raise InputError("texts and holdout must have at least one text each")
    source = _read(model)
    table = quantize_table(source, table_bits)
    compressed = _quantize(source, table, _tokenize(source, calibration), weight_bits)
    held = _tokenize(source, measured)
    report = EncoderReport.measure(source, compressed, held, weight_bits, part_bytes(compressed))
    return CompressedEncoder(compressed, report)


def check_bits(bits: Any) -> tuple[int, int]:
    """Bits of the weights of products, and of the token table."""
    given = bits if isinstance(bits, Mapping) else {"weights": bits, "table": bits}
    unknown = given.keys() - {"weights", "table"}
    if unknown:
        raise InputError(f"bits must be of 'weights' and 'table', got {', '.join(sorted(map(repr, unknown)))}")
    for value in given.values():
        if isinstance(value, bool) or value not in BITS:
            raise InputError(f"bits must be one of {', '.join(map(str, BITS))}, got {value!r}")
    return given.get("weights", 8), given.get("table", 8)


def _read(model: Any) -> Bert[Linear]:
    if isinstance(model, (str, Path)):
        return read_float_model(model)
    if isinstance(model, TextEncoder) and isinstance(model.model, Bert) and not isinstance(model.model, QuantizedBert):
        return model.model
    if not callable(getattr(model, "save", None)):
        raise InputError(f"model must be a folder or a SentenceTransformer, got {type(model).__name__}")
    with TemporaryDirectory(prefix="vsearch-encoder-") as folder:
        model.save(folder, create_model_card=False)
        return read_float_model(folder)


def _tokenize(model: Bert[Linear], texts: Sequence[str]) -> list[list[int]]:
    """The texts' tokens: of the first text, and of as many more as stay within `MOST_TOKENS`."""
    architecture, before = model.architecture, model.architecture.find_prompt(None)
    chosen: list[list[int]] = []
    count = 0
    for text in texts:
        ids = model.tokenizer.encode(before + text, architecture.length)
        count += len(ids)
        if chosen and count > MOST_TOKENS:
            break
        chosen.append(ids)
    return chosen


def _quantize(model: Bert[Linear], table: TokenTable, texts: list[list[int]], bits: int) -> QuantizedBert:
    """Run texts through the model and round each product for what reaches it."""
    made: dict[tuple[int, str], QuantizedLinear] = {}

    def call(layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        product = quantize_product(model.layers[layer].product(name), rows, bits)
        made[layer, name] = product
        return product.apply(rows)

    replace(model, table=table).forward(texts, call)
    layers = []
    for number, layer in enumerate(model.layers):
        attention, joined, up, down = (made[number, name] for name in PRODUCTS)
        layers.append(Layer(attention, joined, up, down, layer.attention_norm, layer.output_norm))
    positions = model.positions.astype(np.float16).astype(np.float32)  # as they are on disk
    return QuantizedBert(
        model.architecture, model.tokenizer, table, positions, model.embedding_norm, tuple(layers), model.dense
    )


def quantize_product(linear: Linear, inputs: NDArray[np.float32], bits: int) -> QuantizedLinear:
    """Round a product so that it stays the same for inputs float32 (t, columns) like these."""
    rows, columns = linear.weight.shape
    channels = channel_scales(np.abs(inputs).max(axis=0), np.abs(linear.weight).max(axis=0))
    weights = np.zeros((rows, up_to(columns, GROUP)), np.float32)
    weights[:, :columns] = linear.weight * channels
    scaled = np.zeros((len(inputs), weights.shape[1]), np.float32)
    scaled[:, :columns] = inputs / channels
    rounded = round_jointly(weights, (scaled.T @ scaled).astype(np.float64), bits, LARGEST_WEIGHT)
    return QuantizedLinear.of(rounded, bits, linear.bias, (1 / channels).astype(np.float32))


def channel_scales(inputs: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each column's weights are multiplied with, and its inputs divided by, by their greatest magnitudes (columns,)."""
    known = (inputs > 0) & (weights > 0)
    ratio = np.divide(inputs**EXPONENT, weights ** (1 - EXPONENT), out=np.ones_like(inputs), where=known)
    return ratio.astype(np.float32)


def quantize_table(model: Bert[Linear], bits: int) -> TokenTable:
    """Round the embeddings of tokens."""
    sizes = model.architecture
    rows = model.table.take(range(sizes.tokens), sizes.width)
    if bits < 8 and sizes.width % GROUP:
        rows = np.pad(rows, ((0, 0), (0, -sizes.width % GROUP)))
    return TokenTable.of(round_plainly(rows, bits, LARGEST_ENTRY), bits)
