"""Opening an encoder from a folder."""

from __future__ import annotations

from pathlib import Path

from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.float_model import read_float_model


def load(folder: str | Path) -> TextEncoder:
    """Open a text encoder.

    Parameters
    ----------
    folder : path
        What sentence-transformers saved: a BERT encoder with its WordPiece vocabulary and safetensors weights. It runs in
        float32 with NumPy. No code of it is run, and nothing is unpickled.

    Returns
    -------
    TextEncoder

    Raises
    ------
    InputError
        A file is missing or damaged, or the model is of a kind that is not supported; the message names it.
    """
    return TextEncoder(read_float_model(folder))
