"""Opening an encoder from a folder."""

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
    """Open a text encoder.

    Parameters
    ----------
    folder : path
        What `CompressedEncoder.save` wrote, or what sentence-transformers saved: a BERT encoder with its WordPiece vocabulary
        and safetensors weights, which runs in float32 with NumPy. No code of a model is run, and nothing is unpickled.

    Returns
    -------
    TextEncoder
        A `CompressedEncoder` for the first.

    Raises
    ------
    InputError
        A file of the model is missing or damaged, or the model is of a kind that is not supported; the message names it.
    CorruptIndexError
        A file of a compressed encoder is missing or damaged.
    """
    if (Path(folder) / ENTRY).is_file():
        return _read_folder(Path(folder))
    return TextEncoder(read_float_model(folder))


def from_files(files: Mapping[str, NDArray[np.uint8]], name: str) -> CompressedEncoder:
    """The compressed encoder in some files; see `vsearch.encoders.reading.read_model`."""
    from vsearch.encoders.compressed import CompressedEncoder
    from vsearch.encoders.reading import read_model

    return CompressedEncoder(*read_model(files, name))


def _read_folder(folder: Path) -> CompressedEncoder:
    """The encoder in a folder; its larger file is mapped."""
    import numpy as np

    data = (
        np.memmap(folder / DATA, np.uint8, "r")
        if (folder / DATA).is_file() and (folder / DATA).stat().st_size
        else None
    )
    files = {ENTRY: np.frombuffer((folder / ENTRY).read_bytes(), np.uint8)}
    return from_files(files if data is None else files | {DATA: np.asarray(data)}, str(folder))
