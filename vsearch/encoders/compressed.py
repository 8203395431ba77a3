"""Compressed encoders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.entries import DATA, ENTRY
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.running import QuantizedBert
from vsearch.encoders.writing import to_files
from vsearch.errors import InputError


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
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        foreign = sorted(each.name for each in place.iterdir() if each.name not in (DATA, ENTRY))
        if foreign:
            raise InputError(f"{place}: an encoder must have a folder of its own, this one holds {foreign[0]!r}")
        for name, data in to_files(self.model, self.report).items():
            unfinished = place / f".{name}"
            unfinished.write_bytes(data.data)
            unfinished.replace(place / name)
