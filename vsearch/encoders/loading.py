"""Load an encoder from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.entries import DATA, ENTRY
from vsearch.encoders.float_model import read_float_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.encoders.compressed import CompressedEncoder


def load(folder: str | Path) -> TextEncoder:
    """Load a text encoder.

    Parameters
    ----------
    folder : path
        A folder saved by `CompressedEncoder.save`, or by sentence-transformers: a BERT encoder with a WordPiece vocabulary, an
        XLM-R encoder with a Unigram vocabulary, or a ModernBERT or RoBERTa encoder with a byte-level BPE vocabulary, and safetensors
        weights, which runs in float32 with NumPy. No code of the model is run, and nothing is unpickled.

    Returns
    -------
    TextEncoder
        A `CompressedEncoder` if it was compressed.

    Raises
    ------
    InputError
        A file of the model is missing or damaged, or the kind of model is not supported.
    CorruptIndexError
        A file of a compressed encoder is missing or damaged.
    """
    if (Path(folder) / ENTRY).is_file():
        return _read_folder(Path(folder))
    return TextEncoder(read_float_model(folder))


def from_files(files: Mapping[str, NDArray[np.uint8]], name: str) -> CompressedEncoder:
    """Read a compressed encoder from files; see `vsearch.encoders.reading.read_model`."""
    from vsearch.encoders.compressed import CompressedEncoder
    from vsearch.encoders.reading import read_model

    return CompressedEncoder(*read_model(files, name))


def _read_folder(folder: Path) -> CompressedEncoder:
    """Read the encoder in a folder; the larger file is memory-mapped."""
    import numpy as np

    data = (
        np.memmap(folder / DATA, np.uint8, "r")
        if (folder / DATA).is_file() and (folder / DATA).stat().st_size
        else None
    )
    files = {ENTRY: np.frombuffer((folder / ENTRY).read_bytes(), np.uint8)}
    return from_files(files if data is None else files | {DATA: np.asarray(data)}, str(folder))
