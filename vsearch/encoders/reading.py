"""Read a compressed encoder.

Everything is checked before use: the architecture determines the type and shape of every array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from math import prod
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from vsearch.encoders.architecture import LONGEST_INPUT, Architecture
from vsearch.encoders.bert import PRODUCTS, Layer, Linear, Norm
from vsearch.encoders.entries import DATA, ENTRY, FORMAT, PLAIN_FORMAT, Entry
from vsearch.encoders.grids import BITS, LARGEST_ENTRY, LARGEST_WEIGHT, TERNARY, is_bits
from vsearch.encoders.packing import TRIT_BYTES, are_trits, row_sums, up_to
from vsearch.encoders.quantized import Apart, Packed, QuantizedLinear, TokenTable
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.running import QuantizedBert
from vsearch.encoders.tensors import find_overlap
from vsearch.encoders.vocabularies import number_tokens
from vsearch.encoders.wordpiece import Normalization
from vsearch.errors import CorruptIndexError, FormatVersionError, InputError
from vsearch.kernels.encoders.fields import BLOCK, GROUP
from vsearch.storage.files.bundle import open_bundle
from vsearch.storage.stores.held import HeldBytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.grids import Bits
    from vsearch.encoders.tokenizing import Tokenizer
    from vsearch.storage.files.segment_file import SegmentFile


def read_model(
    files: Mapping[str, NDArray[np.uint8]], name: str, *, verify: bool = True
) -> tuple[QuantizedBert, EncoderReport]:
    """Read the model of an encoder from files, uint8 arrays by name, which may be memory maps.

    Parameters
    ----------
    name : str
        Name of the encoder in error messages.
    verify : bool
        False skips checksums, for files whose own checksums were compared before.

    Raises
    ------
    CorruptIndexError
        A file is missing or damaged.
    FormatVersionError
        A later version wrote the files.
    """
    try:
        entry = msgspec.json.decode(files[ENTRY].tobytes(), type=Entry)
    except KeyError:
        raise CorruptIndexError(f"{name}/{ENTRY}", "is missing; restore it from a copy") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptIndexError(f"{name}/{ENTRY}", f"is invalid ({error}); restore it from a copy") from None
    if not PLAIN_FORMAT <= entry.format <= FORMAT:
        raise FormatVersionError(
            f"{name}: the encoder has format {entry.format}, this version reads {PLAIN_FORMAT} to {FORMAT}; upgrade vsearch"
        )
    data = files.get(DATA)
    if data is None or entry.data.path != DATA or len(data) != entry.data.bytes:
        size = "none" if data is None else len(data)
        raise CorruptIndexError(
            f"{name}/{DATA}", f"must have {entry.data.bytes} bytes, got {size}; restore it from a copy"
        )
    store = HeldBytes(name)
    store.hold(DATA, data)
    bundle = open_bundle(store, entry.data, verify=verify)
    try:
        return _Reader(bundle.files, bundle.facts).model()
    except (InputError, TypeError, ValueError) as error:
        raise CorruptIndexError(f"{name}/{DATA}", f"{error}; restore it from a copy") from None


def _check_bits(value: Any) -> Bits:
    if not is_bits(value):
        raise InputError(f"bits must be one of {', '.join(map(str, BITS))}, got {value!r:.100}")
    return cast("Bits", value)


class _Reader:
    """Reads the arrays of an encoder, and checks each."""

    def __init__(self, files: Mapping[str, SegmentFile], facts: Mapping[str, Any]) -> None:
        self._files, self._facts = files, facts
        self._sizes = Architecture.from_dict(facts.get("architecture"))
        self._report = msgspec.convert(facts.get("report"), EncoderReport)
        names = [f"{layer}.{name}" for layer in range(self._sizes.layers) for name in PRODUCTS]
        bits: Mapping[str, Any] = self._report.product_bits or dict.fromkeys(names, self._report.weight_bits)
        missing = [name for name in names if name not in bits]
        if missing:
            raise InputError(f"the bits of {missing[0]!r} are missing")
        self._bits = {name: _check_bits(bits[name]) for name in names}
        ranges = [
            (f"{part}/{array.name}", array.offset, array.offset + array.bytes)
            for part, file in files.items()
            for array in file.arrays.values()
        ]
        shared = find_overlap(ranges)
        if shared is not None:
            raise InputError(f"arrays must not share bytes, got {shared[0]!r:.100} and {shared[1]!r:.100} that do")
        for file in files.values():
            file.ensure_all()

    def model(self) -> tuple[QuantizedBert, EncoderReport]:
        sizes = self._sizes
        model = QuantizedBert(
            architecture=replace(sizes, length=min(sizes.length, LONGEST_INPUT)),
            tokenizer=self._tokenizer(),
            table=self._table(),
            positions=np.empty((0, sizes.width), np.float32) if sizes.rotary else self._positions(),
            embedding_norm=self._norm("embedding"),
            layers=self._layers(),
            dense=tuple(self._dense()),
            final_norm=self._norm("final") if sizes.rotary else None,
        )
        return model, self._report

    def _take(self, part: str, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        file = self._files.get(part)
        if file is None or name not in file.arrays:
            raise InputError(f"array {name!r} of the {part} is missing")
        array = file.array(name)
        if array.dtype != dtype or array.shape != shape:
            expected = f"{np.dtype(dtype).name} {shape}"
            raise InputError(f"array {name!r} of the {part} must be {expected}, got {array.dtype.name} {array.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"array {name!r} of the {part} must be finite")
        return array

    def _floats(self, name: str, shape: tuple[int, ...], part: str = "floats") -> NDArray[np.float32]:
        return self._take(part, name, np.float32, shape)

    def _positions(self) -> NDArray[np.float32]:
        positions = self._take("floats", "positions", np.float16, (self._sizes.length, self._sizes.width))
        return positions[:LONGEST_INPUT].astype(np.float32)

    def _norm(self, name: str) -> Norm:
        shape = (self._sizes.width,)
        return Norm(self._floats(f"{name}.norm.weight", shape), self._floats(f"{name}.norm.bias", shape))

    def _packed(self, part: str, before: str, bits: Bits, rows: int, columns: int) -> Packed:
        groups = up_to(columns, GROUP) // GROUP
        if bits == TERNARY:
            trits = self._take(part, f"{before}trits", np.uint8, (rows, groups * TRIT_BYTES))
            scales = self._take(part, f"{before}group_scales", np.uint8, (rows, groups))
            if not are_trits(trits) or scales.max(initial=0) > LARGEST_ENTRY:
                raise InputError(f"codes or scales of {before or part!r} are out of range")
            return Packed.of_trits(trits, scales)
        return Packed(
            bits,
            self._take(part, f"{before}planes", np.uint32, (rows, groups * bits)),
            self._take(part, f"{before}group_scales", np.uint8, (rows, groups)),
            self._take(part, f"{before}group_offsets", np.int8, (rows, groups)),
        )

    def _layers(self) -> tuple[Layer[QuantizedLinear], ...]:
        width, inner = self._sizes.width, self._sizes.inner
        shapes = {
            "attention": (3 * width, width),
            "joined": (width, width),
            "up": (2 * inner if self._sizes.rotary else inner, width),
            "down": (width, inner),
        }
        packed = {
            name: self._packed("weights", f"{name}.", bits, *shapes[name.partition(".")[2]])
            for name, bits in self._bits.items()
            if bits != 8
        }
        # one array has huge pages, and so thousands of page faults fewer than one per product
        zeros = np.zeros(sum(map(prod, (one.blocks_shape for one in packed.values()))), np.int8)
        layers = []
        for number in range(self._sizes.layers):
            products = []
            for name in PRODUCTS:
                at = f"{number}.{name}"
                one = packed.get(at)
                size = 0 if one is None else prod(one.blocks_shape)
                products.append(self._product(f"{at}.", *shapes[name], one, zeros[:size]))
                zeros = zeros[size:]
            layers.append(self._layer(number, *products))
        return tuple(layers)

    def _layer(
        self,
        number: int,
        attention: QuantizedLinear,
        joined: QuantizedLinear,
        up: QuantizedLinear,
        down: QuantizedLinear,
    ) -> Layer[QuantizedLinear]:
        name = f"{number}.attention"
        absent = self._sizes.rotary and f"{name}.norm.weight" not in self._files["floats"].arrays
        norm = None if absent else self._norm(name)
        return Layer(attention, joined, up, down, norm, self._norm(f"{number}.output"))

    def _product(
        self, at: str, rows: int, columns: int, packed: Packed | None, zeros: NDArray[np.int8]
    ) -> QuantizedLinear:
        if packed is None:
            shape = (up_to(rows, BLOCK) // BLOCK, up_to(columns, GROUP) * BLOCK)
            blocks = self._take("weights", f"{at}blocks", np.int8, shape)
        else:
            blocks = packed.blocks(columns, zeros.reshape(packed.blocks_shape))
        fits = packed is not None and packed.fits(LARGEST_WEIGHT)  # sooner known than from all weights
        if not fits and (blocks.max() > LARGEST_WEIGHT or blocks.min() < -LARGEST_WEIGHT):
            raise InputError(f"weights of {at[:-1]!r} must be from -{LARGEST_WEIGHT} to {LARGEST_WEIGHT}")
        return QuantizedLinear(
            blocks,
            steps=self._floats(f"{at}steps", (rows,), "weights"),
            bias=self._floats(f"{at}bias", (rows,), "weights"),
            sums=row_sums(blocks, rows),
            scales=self._floats(f"{at}scales", (columns,), "weights"),
            packed=packed,
            apart=self._read_outliers(at, rows, columns),
        )

    def _read_outliers(self, at: str, rows: int, columns: int) -> Apart | None:
        name, file = f"{at}apart_columns", self._files["weights"]
        if name not in file.arrays:
            return None
        count = file.arrays[name].shape[0]
        apart = Apart(
            self._take("weights", name, np.int32, (count,)),
            self._floats(f"{at}apart_weights", (count, rows), "weights"),
        )
        most = min(self._sizes.width, self._sizes.inner)  # what kernels have scratch for
        ascending = (np.diff(apart.columns) > 0).all()
        if not 0 < count <= most or not ascending or apart.columns[0] < 0 or apart.columns[-1] >= columns:
            raise InputError(f"array {name!r} must have 1 to {most} ascending numbers from 0 to {columns - 1}")
        return apart

    def _table(self) -> TokenTable:
        tokens, width, bits = self._sizes.tokens, self._sizes.width, _check_bits(self._report.table_bits)
        codes: NDArray[np.int8] | Packed
        if bits == 8:
            codes = self._take("table", "codes", np.int8, (tokens, width))
        else:
            codes = self._packed("table", "", bits, tokens, width)
        return TokenTable(self._floats("steps", (tokens,), "table"), codes)

    def _dense(self) -> Iterator[Linear]:
        width = self._sizes.width
        for number, (out, _) in enumerate(self._sizes.dense):
            at = f"dense.{number}."
            yield Linear(self._floats(f"{at}weight", (out, width)), self._floats(f"{at}bias", (out,)))
            width = out

    def _tokenizer(self) -> Tokenizer:
        facts = self._facts.get("tokenizer")
        if isinstance(facts, dict) and facts.get("kind") == "unigram":
            names = self._token_names()
            file = self._files["vocabulary"]
            size = file.arrays["characters"].shape[0] if "characters" in file.arrays else 0
            scores = self._take("vocabulary", "scores", np.float64, (len(names),))
            if len(names) > self._sizes.tokens:
                raise InputError(f"the vocabulary must have at most {self._sizes.tokens} tokens, got {len(names)}")
            from vsearch.encoders.unigram_files import unigram_of  # imported late: most vocabularies are WordPiece

            return unigram_of(facts, names, scores, self._take("vocabulary", "characters", np.uint8, (size,)))
        if isinstance(facts, dict) and facts.get("kind") == "bpe":
            arrays = self._files["vocabulary"].arrays if "vocabulary" in self._files else {}
            count = arrays["merges"].shape[0] if "merges" in arrays else 0
            merges = self._take("vocabulary", "merges", np.uint32, (count, 2))
            from vsearch.encoders.bpe_files import byte_pairs_of

            return byte_pairs_of(facts, self._token_names(), merges, self._sizes.tokens)
        names = [entry.name for entry in fields(Normalization)]
        if not isinstance(facts, dict) or not all(isinstance(facts.get(name), bool) for name in names):
            raise InputError("the description of the tokenizer is missing or incomplete")
        prefix, longest = facts.get("prefix"), facts.get("longest_word")
        if not isinstance(prefix, str) or type(longest) is not int or not 1 <= longest <= 1000:
            raise InputError(
                f"the tokenizer must have a string prefix and a longest_word from 1 to 1000, got {prefix!r:.100} and {longest!r:.100}"
            )
        return number_tokens(
            "vocabulary",
            self._token_names(),
            self._sizes.tokens,
            Normalization(**{name: facts[name] for name in names}),
            prefix=prefix,
            longest_word=longest,
        )

    def _token_names(self) -> list[str]:
        """Return the tokens by id."""
        file = self._files.get("vocabulary")
        size = file.arrays["text"].shape[0] if file is not None and "text" in file.arrays else 0
        names: list[str] = self._take("vocabulary", "text", np.uint8, (size,)).tobytes().decode().split("\n")
        return names
