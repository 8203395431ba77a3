"""Choose the bits of each part of an encoder: those requested, or the fewest that preserve a given quality.

To measure its sensitivity, each linear layer, and the token table, is rounded to fewer bits while all others stay float. Bits are
then saved where a saved byte costs the least quality, as long as the vectors of the texts stay close to those of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from vsearch.encoders.bert import text_bounds
from vsearch.encoders.grids import BITS, Bits, is_bits
from vsearch.encoders.quantized import QuantizedLinear, TokenTable
from vsearch.encoders.quantizing import (
    TABLE,
    enough,
    product_name,
    quantize_and_embed,
    quantize_table,
    quantize_to_each,
    stored_positions,
    uniform_bits,
)
from vsearch.encoders.report import cosines
from vsearch.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Bert, Linear
    from vsearch.encoders.running import QuantizedBert

AUTO: Literal["auto"] = "auto"
QUALITY = 0.99
"""Mean cosine similarity that "auto" preserves by default."""

CHOICES: tuple[Bits, ...] = (8, 4, 3, 2)
"""Bits among which "auto" chooses."""

Sensitivity: TypeAlias = dict[str, dict[str, float]]


class Step(NamedTuple):
    """One part in fewer bits: its name and bits, and the loss of mean cosine per byte saved."""

    rate: float
    part: str
    bits: Bits


def check_bits(bits: Any, quality: Any = None) -> dict[str, Any]:
    """Return the bits of ``weights`` and ``table``, each one of `BITS` or "auto".

    Raises
    ------
    InputError
        `bits` or `quality` is invalid, or `quality` is passed without ``bits="auto"``.
    """
    by_part = bits if isinstance(bits, Mapping) else {"weights": bits, "table": bits}
    unknown = by_part.keys() - {"weights", "table"}
    if unknown:
        raise InputError(f"keys of bits must be 'weights' or 'table', got {', '.join(sorted(map(repr, unknown)))}")
    for value in by_part.values():
        if not is_bits(value) and not (isinstance(value, str) and value == AUTO):
            raise InputError(f"bits must be one of {', '.join(map(str, BITS))}, {AUTO}, got {value!r}")
    requested: dict[str, Any] = {"weights": 8, "table": 8, **by_part}
    if quality is not None:
        if isinstance(quality, bool) or not isinstance(quality, (int, float)) or not 0 < quality < 1:
            raise InputError(f"quality must be a number between 0 and 1, got {quality!r}")
        if AUTO not in requested.values():
            raise InputError("quality requires bits='auto'")
    return requested


def compress_to_quality(
    model: Bert[Linear],
    texts: list[list[int]],
    expected: NDArray[np.float32],
    requested: Mapping[str, Any],
    quality: float | None,
) -> tuple[QuantizedBert, Sensitivity]:
    """Quantize a model to the fewest bytes that preserve a mean cosine similarity.

    Parameters
    ----------
    texts : list of list of int
        Token ids of the calibration texts.
    expected : float32 (m, dimensions)
        Their vectors by the original model.
    requested : mapping of str to bits
        Of ``weights`` and ``table``; at least one is "auto".
    quality : float or None
        0.99 if None.

    Returns
    -------
    model : QuantizedBert
    sensitivity : dict of str to dict of str to float
        By part and number of bits: the mean cosine if only this part has fewer bits, and all else is float.

    Raises
    ------
    InputError
        8 bits do not preserve this quality.
    """
    least = QUALITY if quality is None else quality
    model = replace(model, positions=stored_positions(model))  # so that vectors are those of the stored model
    start = uniform_bits(model, *(8 if requested[part] == AUTO else requested[part] for part in ("weights", TABLE)))
    free = [part for part in start if requested[TABLE if part == TABLE else "weights"] == AUTO]
    candidates = _Candidates(model, texts, expected, start, free)
    path = candidates.path()

    def attempt(count: int) -> tuple[bool, QuantizedBert]:
        quantized, vectors = quantize_and_embed(model, texts, _after(start, path[:count]))
        near = float(cosines(expected, vectors).mean())
        if near < least and count == 0:
            raise InputError(
                f"quality must be at most {near:.5f}, the mean cosine before bits are reduced, got {least}"
            )
        return near >= least, quantized

    # the most steps for which separately rounded parts keep the quality, then a few attempts with jointly rounded ones
    low, high = 0, len(path)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if candidates.measure(_after(start, path[:middle])) >= least else (low, middle - 1)
    (fits, best), stride = attempt(low), 1
    while not fits:
        low, stride = max(0, low - stride), 2 * stride
        fits, best = attempt(low)
    while stride <= len(path) - low:
        fits, attempted = attempt(low + stride)
        if not fits:
            break
        low, best, stride = low + stride, attempted, 2 * stride
    return best, candidates.sensitivity


def _after(start: Mapping[str, Bits], steps: list[Step]) -> dict[str, Bits]:
    return dict(start) | {step.part: step.bits for step in steps}


class _Candidates:
    """Every part in each number of bits, rounded for the inputs that it has in the float model."""

    def __init__(
        self,
        model: Bert[Linear],
        texts: list[list[int]],
        expected: NDArray[np.float32],
        start: Mapping[str, Bits],
        free: list[str],
    ) -> None:
        self._model, self._texts = model, enough(texts)
        self._expected = expected[: len(self._texts)]
        self._products: dict[tuple[str, Bits], QuantizedLinear] = {}
        self._tables: dict[Bits, TokenTable] = {}
        self._free = free

        def call(layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
            linear, part = model.layers[layer].product(name), product_name(layer, name)
            choices = CHOICES if part in free else (start[part],)
            for bits, product in zip(choices, quantize_to_each(linear, rows, choices), strict=True):
                self._products[part, bits] = product
            return linear.apply(rows)

        rows, bounds = model.embed_rows(texts), text_bounds(texts)
        self._bounds = text_bounds(self._texts)
        count = sum(map(len, self._texts))
        self._inputs: list[
            NDArray[np.float32]
        ] = []  # of each layer, so that a change of a layer need not run those before it
        for layer in range(len(model.layers)):
            self._inputs.append(rows[:count])
            rows = model.run_layer(layer, rows, bounds, call)
        for bits in CHOICES if TABLE in free else (start[TABLE],):
            self._tables[bits] = quantize_table(model, bits)
        self.sensitivity: Sensitivity = {
            part: {str(bits): round(self.measure({part: bits}), 5) for bits in CHOICES if bits != 8} for part in free
        }

    def measure(self, chosen: Mapping[str, Bits]) -> float:
        """Return the mean cosine with some parts quantized, and all others float."""
        model, count = self._model, len(self._inputs)
        if TABLE in chosen:
            first, rows = 0, replace(model, table=self._tables[chosen[TABLE]]).embed_rows(self._texts)
        else:
            first = min((int(part.partition(".")[0]) for part in chosen), default=count - 1)
            rows = self._inputs[first]

        def call(layer: int, name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
            part = product_name(layer, name)
            if part not in chosen:
                return model.layers[layer].product(name).apply(rows)
            return replace(self._products[part, chosen[part]]).apply(rows)  # a copy, which caches its weights as floats

        for layer in range(first, count):
            rows = model.run_layer(layer, rows, self._bounds, call)
        vectors = model.pool_texts(model.normalized(rows, model.final_norm), self._bounds)
        return float(cosines(self._expected, vectors).mean())

    def path(self) -> list[Step]:
        """Return the steps to fewer bits, the cheapest first: for each part those on the convex hull of bytes and losses."""
        full_cosine = self.measure({})
        steps: list[Step] = []
        for part in self._free:
            points = [
                (float(self._bytes(part, bits)), full_cosine - self._cosine(part, bits, full_cosine), bits)
                for bits in CHOICES
            ]
            at = 0
            while at < len(points) - 1:
                rates = [
                    (max(0.0, loss - points[at][1]) / max(1.0, points[at][0] - size), -place)
                    for place, (size, loss, _) in enumerate(points)
                    if place > at
                ]
                rate, place = min(rates)
                at = -place
                steps.append(Step(rate, part, points[at][2]))
        return sorted(steps, key=lambda step: step.rate)  # stable, so steps of a part stay in order

    def _cosine(self, part: str, bits: Bits, full_cosine: float) -> float:
        return full_cosine if bits == 8 else self.sensitivity[part][str(bits)]

    def _bytes(self, part: str, bits: Bits) -> int:
        if part == TABLE:
            return self._tables[bits].codes.nbytes
        product = self._products[part, bits]
        return product.blocks.nbytes if product.packed is None else product.packed.nbytes
