"""The report of a compression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.grids import TERNARY
from vsearch.encoders.packing import TRIT_BYTES
from vsearch.errors import VsearchWarning
from vsearch.kernels.encoders.fields import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Bert, Linear
    from vsearch.encoders.running import QuantizedBert

WORST = 1.0
"""Percentile of the cosines that is reported as the worst."""

SAFE_WORST = 0.95
"""If tokens were dropped, a lower cosine at this percentile causes a warning."""


def cosines(expected: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarities float64 (m,) of pairs of vectors (m, d); 0 if one of them is zero."""
    exact, estimated = expected.astype(np.float64), vectors.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(estimated, axis=1)
    products: NDArray[np.float64] = (exact * estimated).sum(axis=1)
    return products / np.maximum(norms, np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class EncoderReport:
    """The size of a compressed encoder, and its similarity to the original.

    Attributes
    ----------
    weight_bits : int, float or "ternary"
        Bits per weight of the linear layers on disk; their mean, if they differ.
    table_bits : int or "ternary"
        Bits per number of the token table.
    bytes : dict of str to int
        Bytes on disk, by part.
    cosine, worst_cosine : float
        Mean and first percentile of the cosine similarities to the vectors of the float model, with all its layers and tokens.
    texts : int
        Number of texts that were measured.
    product_bits : dict of str to int or "ternary"
        Bits of each linear layer, like ``0.attention``.
    sensitivity : dict of str to dict of str to float
        With ``bits="auto"``: the mean cosine on the calibration texts if only one linear layer or the table is rounded, by name and
        number of bits.
    layers : tuple of int
        Numbers of the kept layers, if some were left out.
    dropped_tokens : int
        Number of tokens that were left out of the vocabulary.
    columns_apart : int
        Number of outlier columns of linear layers, which are not quantized because their inputs are far larger than all others.
    split_texts : float
        Fraction of the measured texts with dropped tokens.
    preset : str
        Preset with which the encoder was trained; empty if it was not.
    steps : int
        Number of training steps.
    """

    weight_bits: int | float | str
    table_bits: int | str
    bytes: dict[str, int]
    cosine: float
    worst_cosine: float
    texts: int
    product_bits: dict[str, int | str] = field(default_factory=dict)
    sensitivity: dict[str, dict[str, float]] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    columns_apart: int = 0
    dropped_tokens: int = 0
    split_texts: float = 0.0
    preset: str = ""
    steps: int = 0

    @property
    def total_bytes(self) -> int:
        return sum(self.bytes.values())

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total_bytes": self.total_bytes}

    @classmethod
    def measure(
        cls,
        model: Bert[Linear],
        compressed: QuantizedBert,
        texts: Sequence[str],
        sizes: dict[str, int],
        layers: tuple[int, ...] = (),
        sensitivity: dict[str, dict[str, float]] | None = None,
    ) -> EncoderReport:
        """Compare a compressed model, with parts of these sizes in bytes, with the original on texts."""
        from vsearch.encoders.quantizing import tokenize  # imported late: an encoder that is read was measured before

        ids = tokenize(model, texts)
        near = cosines(model.forward(ids), compressed.forward(tokenize(compressed, texts)))
        kept = compressed.tokenizer.vocabulary
        dropped = {number for token, number in model.tokenizer.vocabulary.items() if token not in kept}
        split = [not dropped.isdisjoint(text) for text in ids]
        products = compressed.product_bits
        return cls(
            weight_bits=_mean_bits(compressed),
            table_bits=compressed.table.bits,
            bytes=sizes,
            cosine=round(float(near.mean()), 5),
            worst_cosine=round(float(np.percentile(near, WORST)), 5),
            texts=len(texts),
            product_bits={**products},
            sensitivity=sensitivity or {},
            layers=layers,
            columns_apart=compressed.columns_apart,
            dropped_tokens=len(dropped),
            split_texts=round(float(np.mean(split)), 5),
        )

    def warn_of_dropped_tokens(self, *, measured_apart: bool) -> None:
        """Warn if dropped tokens change some vectors considerably, or if this was not measured on separate texts."""
        if measured_apart and self.worst_cosine >= SAFE_WORST:
            return
        cost = (
            f"{self.dropped_tokens} tokens were dropped, which occur in {self.split_texts:.1%} of {self.texts} texts; "
            f"cosine to the model: mean {self.cosine}, first percentile {self.worst_cosine}"
        )
        advice = (
            ""
            if measured_apart
            else "; texts with other words may lose more: pass holdout=, with texts that are not in texts"
        )
        warnings.warn(cost + advice, VsearchWarning, stacklevel=3)


def _mean_bits(model: QuantizedBert) -> int | float | str:
    """Return the bits of all linear layers, or their mean."""
    bits = model.product_bits
    if len(set(bits.values())) == 1:
        return next(iter(bits.values()))
    sizes = [product.steps.size * product.scales.size for layer in model.layers for product in layer.products()]
    bits_per_weight = [8 * TRIT_BYTES / GROUP if value == TERNARY else float(value) for value in bits.values()]
    return round(float(np.average(bits_per_weight, weights=sizes)), 3)
