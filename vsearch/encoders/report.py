"""What was measured of a compressed encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from vsearch.encoders.bert import Bert, Linear
    from vsearch.encoders.running import QuantizedBert

WORST = 1.0
"""Percentile of cosines that stands for the worst."""


@dataclass(frozen=True)
class EncoderReport:
    """What was measured when an encoder was compressed.

    Attributes
    ----------
    weight_bits, table_bits : int
        Bits of a number on disk.
    bytes : dict of str to int
        On disk, by part.
    cosine, worst_cosine : float
        Of the vectors to those of the float model: mean, and 1 % are below.
    texts : int
        How many texts were measured.
    """

    weight_bits: int
    table_bits: int
    bytes: dict[str, int]
    cosine: float
    worst_cosine: float
    texts: int

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
        texts: Sequence[list[int]],
        weight_bits: int,
        bytes_: dict[str, int],
    ) -> EncoderReport:
        """Compare a compressed model with the one it was made from, on texts given by their tokens' ids; `bytes_` are those of its parts."""
        expected, vectors = (run.forward(texts).astype(np.float64) for run in (model, compressed))
        norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(vectors, axis=1)
        cosines = (expected * vectors).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
        return cls(
            weight_bits,
            compressed.table.bits,
            bytes_,
            round(float(cosines.mean()), 5),
            round(float(np.percentile(cosines, WORST)), 5),
            len(texts),
        )
