"""Compress an encoder without training: fewer layers, fewer tokens, and fewer bits per weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.bert import Bert
from vsearch.encoders.choosing_bits import AUTO, check_bits, compress_to_quality
from vsearch.encoders.compressed import CompressedEncoder
from vsearch.encoders.encoder import TextEncoder, check_texts
from vsearch.encoders.float_model import read_float_model
from vsearch.encoders.pruning import choose_layers, keep_layers, keep_tokens
from vsearch.encoders.quantizing import quantize, select_texts, tokenize, uniform_bits
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.running import QuantizedBert
from vsearch.encoders.writing import part_bytes
from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.encoders.bert import Linear


def compress(
    model: Any,
    texts: Sequence[str],
    *,
    bits: int | str | Mapping[str, int | str] = 8,
    quality: float | None = None,
    layers: int | Sequence[int] | None = None,
    vocabulary: int | None = None,
    holdout: Sequence[str] | None = None,
) -> CompressedEncoder:
    """Compress a text encoder to a few bits per weight, without training.

    Parameters
    ----------
    model : path, TextEncoder or SentenceTransformer
        A folder as in `load`, or the result of `load`; a SentenceTransformer is saved to a temporary folder.
    texts : sequence of str
        Calibration texts that resemble queries; 256 are enough. The model's prompt for queries is prepended.
    bits : {8, 4, 3, 2, "ternary", "auto"} or mapping
        Bits per weight on disk, or separately for the linear layers and the token table, as in
        ``{"weights": 4, "table": 8}``. All products use 7-bit weights, so fewer bits make files smaller, not encoding faster.
        "auto" chooses 8, 4, 3 or 2 bits for each linear layer and the table. "ternary" is experimental: without training,
        vectors differ strongly from those of the model.
    quality : float, optional
        Mean cosine similarity to the model on the calibration texts that ``bits="auto"`` preserves with as few bytes as
        possible; 0.99 by default.
    layers : int or sequence of int, optional
        The transformer layers to keep: their numbers from 0, or how many. A number of layers is chosen on `texts`. Without
        training, similarity drops considerably.
    vocabulary : int, optional
        Number of tokens to keep: special tokens, all single characters, and those that are most frequent in all of `texts`. Words
        with other tokens are split into more of these.
    holdout : sequence of str, optional
        Texts for the report; by default, the calibration texts.

    Returns
    -------
    CompressedEncoder

    Raises
    ------
    InputError
        The model is not supported, an argument is invalid, or 8 bits do not preserve the quality.

    Warns
    -----
    VsearchWarning
        Dropping tokens changes the vectors of some texts considerably, or this was not measured on other texts (`holdout`).
    """
    requested_bits = check_bits(bits, quality)
    calibration = check_texts(texts)
    held_out = calibration if holdout is None else check_texts(holdout)
    if not calibration or not held_out:
        raise InputError("texts and holdout must contain at least one text each")
    source = read_source(model)
    measured = select_texts(source, calibration)
    reduced: Bert[Linear] = source
    kept: tuple[int, ...] = ()
    if layers is not None:
        kept = choose_layers(source, tokenize(source, measured), layers)
        reduced = keep_layers(source, kept)
    if vocabulary is not None:
        reduced = keep_tokens(reduced, calibration, vocabulary)
    tokens = tokenize(reduced, measured)
    sensitivity: dict[str, dict[str, float]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # weights that are too large are refused once texts are encoded
        if AUTO in requested_bits.values():
            expected = source.forward(tokenize(source, measured))
            compressed, sensitivity = compress_to_quality(reduced, tokens, expected, requested_bits, quality)
        else:
            compressed = quantize(
                reduced, tokens, uniform_bits(reduced, requested_bits["weights"], requested_bits["table"])
            )
        report = EncoderReport.measure(
            source, compressed, select_texts(source, held_out), part_bytes(compressed), kept, sensitivity
        )
    if vocabulary is not None:
        report.warn_of_dropped_tokens(measured_apart=holdout is not None)
    return CompressedEncoder(compressed, report)


def read_source(model: Any) -> Bert[Linear]:
    """Return the float model in a folder, an encoder or a SentenceTransformer.

    Raises
    ------
    InputError
        `model` is none of these, or cannot be read.
    """
    if isinstance(model, (str, Path)):
        return read_float_model(model)
    if isinstance(model, TextEncoder) and isinstance(model.model, Bert) and not isinstance(model.model, QuantizedBert):
        return model.model
    if not callable(getattr(model, "save", None)):
        raise InputError(f"model must be a folder or a SentenceTransformer, got {type(model).__name__}")
    with TemporaryDirectory(prefix="vsearch-encoder-") as folder:
        model.save(folder, create_model_card=False)
        return read_float_model(folder)
