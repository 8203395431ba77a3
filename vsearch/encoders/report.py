"""The report of a compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.encoders.bert import Bert, Linear
    from vsearch.encoders.running import QuantizedBert

WORST = 1.0
"""Percentile of the cosines that is reported as the worst."""


def cosines(expected: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine similarities float64 (m,) of pairs of vectors (m, d); 0 if one of them is zero."""
    one, other = expected.astype(np.float64), vectors.astype(np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products: NDArray[np.float64] = (one * other).sum(axis=1)
    return products / np.maximum(norms, np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class EncoderReport:
    """The size of a compressed encoder, and its similarity to the original.

    Attributes
    ----------
    weight_bits, table_bits : int
        Bits per number on disk.
    bytes : dict of str to int
        Bytes on disk, by part.
    cosine, worst_cosine : float
        Mean and first percentile of the cosine similarities to the vectors of the float model.
    texts : int
        Number of texts that were measured.
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
        """Compare a compressed model with the original on texts, given as token ids; `bytes_` are the sizes of its parts."""
        near = cosines(model.forward(texts), compressed.forward(texts))
        return cls(
            weight_bits,
            compressed.table.bits,
            bytes_,
            round(float(near.mean()), 5),
            round(float(np.percentile(near, WORST)), 5),
            len(texts),
        )
