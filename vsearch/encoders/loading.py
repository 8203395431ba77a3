"""Load an encoder from a folder.

Compressed encoders are found without pathlib, whose import takes milliseconds.
"""

# ruff: noqa: PTH113, PTH202

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

from vsearch.encoders.encoder import TextEncoder
from vsearch.encoders.entries import DATA, ENTRY, is_compressed
from vsearch.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.encoders.compressed import CompressedEncoder


def load(folder: str | PathLike[str]) -> TextEncoder:
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
    if os.path.isfile(f"{os.fspath(folder)}/{ENTRY}"):
        return _read_folder(os.fspath(folder))
    from pathlib import Path  # imported late: compressed encoders do not need these

    from vsearch.encoders.float_model import read_float_model

    return TextEncoder(read_float_model(Path(folder)))


def load_with_files(encoder: TextEncoder | str | PathLike[str]) -> tuple[TextEncoder, dict[str, NDArray[np.uint8]]]:
    """Load an encoder, with the files from which `read_files` reads it again on another machine.

    Parameters
    ----------
    encoder : path or CompressedEncoder

    Returns
    -------
    encoder : TextEncoder
    files : dict of str to uint8 arrays
        By name; may be memory maps.

    Raises
    ------
    InputError
        It is an encoder in memory that is not compressed, of which there are no files; or see `load`.
    """
    from pathlib import Path

    import numpy as np

    from vsearch.encoders.compressed import CompressedEncoder
    from vsearch.encoders.float_model import read_float_model
    from vsearch.encoders.folders import ModelFiles
    from vsearch.encoders.writing import to_files

    if not isinstance(encoder, TextEncoder) and not (Path(encoder) / ENTRY).is_file():
        read = ModelFiles(Path(encoder))
        opened = TextEncoder(read_float_model(read))
        return opened, {name: np.memmap(Path(encoder) / name, np.uint8, "r") for name in sorted(read.used)}
    opened = encoder if isinstance(encoder, TextEncoder) else load(encoder)
    if not isinstance(opened, CompressedEncoder):
        raise InputError(
            "the encoder must be a folder or compressed, so that other processes can read it, got a "
            f"{type(opened).__name__} of float weights; pass its folder, or compress it with vsearch.encoders.compress"
        )
    return opened, to_files(opened.model, opened.report)


def read_files(files: Mapping[str, NDArray[np.uint8]]) -> TextEncoder:
    """Read an encoder from the files of `load_with_files`."""
    if is_compressed(files):
        return from_files(files, "encoder")
    from vsearch.encoders.float_model import read_float_model

    return TextEncoder(read_float_model({name: data.tobytes() for name, data in files.items()}))


def from_files(files: Mapping[str, NDArray[np.uint8]], name: str) -> CompressedEncoder:
    """Read a compressed encoder from files; see `vsearch.encoders.reading.read_model`."""
    from vsearch.encoders.compressed import CompressedEncoder
    from vsearch.encoders.reading import read_model

    return CompressedEncoder(*read_model(files, name))


def _read_folder(folder: str) -> CompressedEncoder:
    """Read the encoder in a folder; the larger file is memory-mapped."""
    import numpy as np

    path = f"{folder}/{DATA}"
    files = {ENTRY: np.fromfile(f"{folder}/{ENTRY}", np.uint8)}
    if os.path.isfile(path) and os.path.getsize(path):
        files[DATA] = np.asarray(np.memmap(path, np.uint8, "r"))
    return from_files(files, folder)
