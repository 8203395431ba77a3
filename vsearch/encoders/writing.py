"""Write a compressed encoder: its arrays in one Arrow file with checksums, and a JSON file with the location of its header."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.encoders.architecture import is_unicode
from vsearch.encoders.bert import PRODUCTS
from vsearch.encoders.bpe import BytePairs
from vsearch.encoders.bpe_files import byte_pair_facts
from vsearch.encoders.entries import DATA, ENTRY, FORMAT, MIXED_FORMAT, PLAIN_FORMAT, Entry
from vsearch.encoders.grids import TERNARY
from vsearch.encoders.packing import pack_trits, unpack_planes
from vsearch.encoders.quantized import Packed
from vsearch.encoders.unigram import Unigram
from vsearch.encoders.unigram_files import unigram_arrays, unigram_facts
from vsearch.encoders.wordpiece import WordPiece
from vsearch.storage.files.bundle_writing import write_bundle
from vsearch.storage.stores.held import HeldBytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Norm
    from vsearch.encoders.quantized import QuantizedLinear
    from vsearch.encoders.report import EncoderReport
    from vsearch.encoders.running import QuantizedBert
    from vsearch.encoders.tokenizing import Tokenizer

    Arrays = dict[str, NDArray[Any]]


def model_parts(model: QuantizedBert) -> dict[str, Arrays]:
    """Return the arrays of a model by part: weights, table, vocabulary, and float arrays."""
    weights: Arrays = {}
    arrays: Arrays = _norm_arrays("embedding", model.embedding_norm) | _norm_arrays("final", model.final_norm)
    if not model.architecture.rotary:
        arrays["positions"] = model.positions.astype(np.float16)
    for number, layer in enumerate(model.layers):
        for name in PRODUCTS:
            product = layer.product(name)
            weights |= {f"{number}.{name}.{key}": array for key, array in _product_arrays(product).items()}
        arrays |= _norm_arrays(f"{number}.attention", layer.attention_norm)
        arrays |= _norm_arrays(f"{number}.output", layer.output_norm)
    for number, module in enumerate(model.dense):
        arrays |= {f"dense.{number}.weight": module.weight, f"dense.{number}.bias": module.bias}
    table = model.table
    codes = _packed_arrays(table.codes) if isinstance(table.codes, Packed) else {"codes": table.codes}
    return {
        "weights": weights,
        "table": {"steps": table.steps, **codes},
        "vocabulary": {"text": _vocabulary_text(model.tokenizer), **_tokenizer_arrays(model.tokenizer)},
        "floats": arrays,
    }


def part_bytes(model: QuantizedBert) -> dict[str, int]:
    """Return the bytes of a model's arrays by part."""
    return {part: sum(array.nbytes for array in arrays.values()) for part, arrays in model_parts(model).items()}


def _product_arrays(product: QuantizedLinear) -> Arrays:
    arrays: Arrays = {name: getattr(product, name) for name in ("steps", "bias", "scales")}
    if product.apart is not None:
        arrays |= {"apart_columns": product.apart.columns, "apart_weights": product.apart.weights}
    return arrays | ({"blocks": product.blocks} if product.packed is None else _packed_arrays(product.packed))


def _packed_arrays(packed: Packed) -> Arrays:
    if packed.ternary:
        return {"trits": pack_trits(unpack_planes(packed.planes, packed.width)), "group_scales": packed.scales}
    return {"planes": packed.planes, "group_scales": packed.scales, "group_offsets": packed.offsets}


def _norm_arrays(name: str, norm: Norm | None) -> Arrays:
    return {} if norm is None else {f"{name}.norm.weight": norm.weight, f"{name}.norm.bias": norm.bias}


def _tokenizer_arrays(tokenizer: Tokenizer) -> Arrays:
    if isinstance(tokenizer, Unigram):
        return unigram_arrays(tokenizer)
    return {"merges": tokenizer.merges} if isinstance(tokenizer, BytePairs) else {}


def _vocabulary_text(tokenizer: Tokenizer) -> NDArray[np.uint8]:
    """Return the tokens by id, one per line. Tokens with line breaks or lone surrogates never occur, so their lines are empty."""
    lines = [""] * (max(tokenizer.vocabulary.values()) + 1)
    for token, row in tokenizer.vocabulary.items():
        if "\n" not in token and is_unicode(token):
            lines[row] = token
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def _tokenizer_facts(tokenizer: Tokenizer) -> dict[str, Any]:
    if isinstance(tokenizer, Unigram):
        return unigram_facts(tokenizer)
    if isinstance(tokenizer, BytePairs):
        return byte_pair_facts(tokenizer)
    if not isinstance(tokenizer, WordPiece):
        raise TypeError(f"tokenizers of the type {type(tokenizer).__name__} cannot be saved")
    rules = asdict(tokenizer.normalization)
    return {"prefix": tokenizer.prefix, "longest_word": tokenizer.longest_word, **rules}


def format_of(model: QuantizedBert) -> int:
    """Return the lowest format in which a model can be written."""
    if model.architecture.rotary or isinstance(model.tokenizer, BytePairs):
        return FORMAT
    bits = set(model.product_bits.values())
    plain = len(bits) == 1 and TERNARY not in bits | {model.table.bits} and not model.columns_apart
    return PLAIN_FORMAT if plain and isinstance(model.tokenizer, WordPiece) else MIXED_FORMAT


def to_files(model: QuantizedBert, report: EncoderReport) -> dict[str, NDArray[np.uint8]]:
    """Return the files of an encoder by name, as uint8 arrays."""
    facts = {
        "architecture": model.architecture.to_dict(),
        "tokenizer": _tokenizer_facts(model.tokenizer),
        "report": asdict(report),
    }
    store = HeldBytes("encoder://")
    entry = write_bundle(store, DATA, model_parts(model), facts)
    described = msgspec.json.format(msgspec.json.encode(Entry(format_of(model), entry)), indent=1)
    data = store.memory_map(DATA)
    return {
        DATA: np.frombuffer(store.get(DATA), np.uint8) if data is None else data,
        ENTRY: np.frombuffer(described, np.uint8),
    }
