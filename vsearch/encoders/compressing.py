"""Compress an encoder without training: each linear layer is rounded when the calibration texts reach it.

Its calibration inputs therefore include the errors of all layers before it.
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
"""Maximum number of tokens of the calibration texts; a few hundred short texts are enough."""

EXPONENT = 0.5
"""Exponent of the channel scales, which move part of the range of the inputs into the weights (SmoothQuant)."""


def compress(
    model: Any, texts: Sequence[str], *, bits: int | Mapping[str, int] = 8, holdout: Sequence[str] | None = None
) -> CompressedEncoder:
    """Compress a text encoder to a few bits per weight, without training.

    Parameters
    ----------
    model : path, TextEncoder or SentenceTransformer
        A folder as in `load`, or the result of `load`; a SentenceTransformer is saved to a temporary folder.
    texts : sequence of str
        Calibration texts that resemble queries; 256 are enough. The model's prompt for queries is prepended.
    bits : {8, 4, 3, 2} or mapping
        Bits per weight on disk, or separately for the linear layers and the token table, as in
        ``{"weights": 4, "table": 8}``. All products use 7-bit weights, so fewer bits make files smaller, not encoding faster.
    holdout : sequence of str, optional
        Texts for the report; by default, the calibration texts.

    Returns
    -------
    CompressedEncoder

    Raises
    ------
    InputError
        The model is not supported, or an argument is invalid.
    """
    weight_bits, table_bits = check_bits(bits)
    calibration = check_texts(texts)
    measured = calibration if holdout is None else check_texts(holdout)
    if not calibration or not measured:
        raise InputError("texts and holdout must contain at least one text each")
    source = _read(model)
    table = quantize_table(source, table_bits)
    compressed = _quantize(source, table, _tokenize(source, calibration), weight_bits)
    held = _tokenize(source, measured)
    report = EncoderReport.measure(source, compressed, held, weight_bits, part_bytes(compressed))
    return CompressedEncoder(compressed, report)


def check_bits(bits: Any) -> tuple[int, int]:
    """Return the bits of the weights of linear layers, and of the token table."""
    by_part = bits if isinstance(bits, Mapping) else {"weights": bits, "table": bits}
    unknown = by_part.keys() - {"weights", "table"}
    if unknown:
        raise InputError(f"keys of bits must be 'weights' or 'table', got {', '.join(sorted(map(repr, unknown)))}")
    for value in by_part.values():
        if isinstance(value, bool) or value not in BITS:
            raise InputError(f"bits must be one of {', '.join(map(str, BITS))}, got {value!r}")
    return by_part.get("weights", 8), by_part.get("table", 8)


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
    """Return the token ids of the first text, and of further texts up to `MOST_TOKENS`."""
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
    """Run texts through the model, and round each linear layer for its inputs."""
    products: dict[tuple[int, str], QuantizedLinear] = {}

    def call(layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        product = quantize_product(model.layers[layer].product(name), rows, bits)
        products[layer, name] = product
        return product.apply(rows)

    replace(model, table=table).forward(texts, call)
    layers = []
    for number, layer in enumerate(model.layers):
        attention, joined, up, down = (products[number, name] for name in PRODUCTS)
        layers.append(Layer(attention, joined, up, down, layer.attention_norm, layer.output_norm))
    positions = model.positions.astype(np.float16).astype(np.float32)  # as stored
    return QuantizedBert(
        model.architecture, model.tokenizer, table, positions, model.embedding_norm, tuple(layers), model.dense
    )


def quantize_product(linear: Linear, inputs: NDArray[np.float32], bits: int) -> QuantizedLinear:
    """Round a linear layer so that its outputs for inputs float32 (t, columns) change least."""
    rows, columns = linear.weight.shape
    channels = channel_scales(np.abs(inputs).max(axis=0), np.abs(linear.weight).max(axis=0))
    weights = np.zeros((rows, up_to(columns, GROUP)), np.float32)
    weights[:, :columns] = linear.weight * channels
    scaled = np.zeros((len(inputs), weights.shape[1]), np.float32)
    scaled[:, :columns] = inputs / channels
    rounded = round_jointly(weights, (scaled.T @ scaled).astype(np.float64), bits, LARGEST_WEIGHT)
    return QuantizedLinear.of(rounded, bits, linear.bias, (1 / channels).astype(np.float32))


def channel_scales(inputs: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factors of each column's weights, by which its inputs are divided, from their largest magnitudes."""
    known = (inputs > 0) & (weights > 0)
    ratio = np.divide(inputs**EXPONENT, weights ** (1 - EXPONENT), out=np.ones_like(inputs), where=known)
    return ratio.astype(np.float32)


def quantize_table(model: Bert[Linear], bits: int) -> TokenTable:
    """Round the token embeddings."""
    sizes = model.architecture
    rows = model.table.take(range(sizes.tokens), sizes.width)
    if bits < 8 and sizes.width % GROUP:
        rows = np.pad(rows, ((0, 0), (0, -sizes.width % GROUP)))
    return TokenTable.of(round_plainly(rows, bits, LARGEST_ENTRY), bits)
