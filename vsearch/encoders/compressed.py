"""Compressed encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.entries import DATA, ENTRY
from vsearch.encoders.report import EncoderReport
from vsearch.encoders.running import QuantizedBert
from vsearch.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False, repr=False)
class CompressedEncoder(TextEncoder):
    """A text encoder with few bits per weight.

    Attributes
    ----------
    model : QuantizedBert
    report : EncoderReport
        Sizes, and similarity to the original model.
    """

    model: QuantizedBert
    report: EncoderReport

    def save(self, folder: str | Path) -> None:
        """Save the encoder to a folder, for `load`; replaces an encoder in the same folder.

        Raises
        ------
        InputError
            The folder contains other files.
        """
        from pathlib import Path  # imported late: encoding does not need these

        from vsearch.encoders.writing import to_files

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        foreign = sorted(path.name for path in target.iterdir() if path.name not in (DATA, ENTRY))
        if foreign:
            raise InputError(f"{target} must be empty or contain only an encoder, got {foreign[0]!r}")
        for name, data in to_files(self.model, self.report).items():
            temporary = target / f".{name}"
            temporary.write_bytes(data.data)
            temporary.replace(target / name)
