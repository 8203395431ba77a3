"""Opening an encoder from a folder."""

from __future__ import annotations

from pathlib import Path

from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.float_model import read_float_model

COMPRESSED = "encoder.json"


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
    if (Path(folder) / COMPRESSED).is_file():
        from vsearch.encoders.reading import read_folder

        return read_folder(Path(folder))
    return TextEncoder(read_float_model(folder))
