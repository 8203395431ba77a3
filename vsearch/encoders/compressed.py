"""Compressed encoders: what they are, and what was measured of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.encoders.bert import Bert
from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.quantized import QuantizedLinear, TokenTable
from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.encoders.bert import Linear

WORST = 1.0
"""Percentile of cosines that stands for the worst."""


@dataclass(frozen=True, eq=False)
class QuantizedBert(Bert[QuantizedLinear]):
    """BERT with products in small integers, and a token table in few bits."""

    table: TokenTable


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
        cls, model: Bert[Linear], compressed: QuantizedBert, texts: Sequence[list[int]], weight_bits: int
    ) -> EncoderReport:
        """Compare a compressed model with the one it was made from, on texts given by their tokens' ids."""
        from vsearch.encoders.container import part_bytes

        expected, vectors = (run.forward(texts).astype(np.float64) for run in (model, compressed))
        norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(vectors, axis=1)
        cosines = (expected * vectors).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
        return cls(
            weight_bits,
            compressed.table.bits,
            part_bytes(compressed),
            round(float(cosines.mean()), 5),
            round(float(np.percentile(cosines, WORST)), 5),
            len(texts),
        )


@dataclass(frozen=True, eq=False)
class CompressedEncoder(TextEncoder):
    """A text encoder with few bits per weight.

    Attributes
    ----------
    model : QuantizedBert
    report : EncoderReport
        Sizes, and nearness to the model that it was made from.
    """

    model: QuantizedBert
    report: EncoderReport

    def save(self, folder: str | Path) -> None:
        """Write it to a folder, which `load` opens; an encoder that is there already is replaced.

        Raises
        ------
        InputError
            The folder holds other files.
        """
        from vsearch.encoders.container import DATA, ENTRY, to_files

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        foreign = sorted(each.name for each in place.iterdir() if each.name not in (DATA, ENTRY))
        if foreign:
            raise InputError(f"{place}: an encoder must have a folder of its own, this one holds {foreign[0]!r}")
        for name, data in to_files(self).items():
            unfinished = place / f".{name}"
            unfinished.write_bytes(data.data)
            unfinished.replace(place / name)
