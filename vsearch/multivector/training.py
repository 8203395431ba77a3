"""Options of an index of documents, and the training of its codec and encoding on samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.elements import check_bounded
from vsearch.errors import InputError
from vsearch.multivector.codec import TokenCodec, check_token_codec, train_token_codec
from vsearch.multivector.fde import FixedEncoding, train_fde
from vsearch.multivector.tuning import draw_queries

SAMPLE_DOCUMENTS = 4096
SAMPLE_BYTES = 256 << 20
SAMPLE_PER_CENTROID = 64
BUCKETS = 32
KINDS = ("fde", "lists")
STORED = {None: None, "float16": np.float16, "float32": np.float32}


@dataclass(frozen=True)
class DocumentOptions:
    """Options of `vsearch.build_documents`; see there."""

    keep: float = 1.0
    pool: float | None = None
    codebook: int = 256
    residual_bits: int = 2
    binary: bool = False
    candidates: str = "fde"
    dimensions: int = 1024
    bits: float = 1.0
    store: str | None = None
    shards: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_token_codec(self.codebook, self.residual_bits, binary=self.binary)
        if self.candidates not in KINDS:
            msg = f"candidates must be one of {', '.join(KINDS)}, got {self.candidates!r}"
            raise InputError(msg)
        if self.store not in STORED:
            msg = f"store must be 'float16', 'float32' or None, got {self.store!r}"
            raise InputError(msg)
        dimensions = self.dimensions
        if (
            isinstance(dimensions, bool)
            or not isinstance(dimensions, (int, np.integer))
            or not 1 <= dimensions <= 65536
        ):
            msg = f"dimensions must be an integer from 1 to 65536 (of the encodings), got {dimensions!r}"
            raise InputError(msg)


def choose_samples(
    offsets: NDArray[np.int64], dimensions: int, options: DocumentOptions
) -> tuple[NDArray[np.int64], NDArray[np.int64], np.random.Generator]:
    """Choose what an index is trained on.

    Parameters
    ----------
    offsets : int64 (documents + 1,)
    dimensions : int
        Of the vectors.

    Returns
    -------
    vectors, documents : int64 arrays, ascending
        Vectors for the token codec, and documents for the encoding, limited by `SAMPLE_DOCUMENTS` and `SAMPLE_BYTES`.
    rng : Generator
        For `train_encoding`.
    """
    rng = np.random.default_rng(options.seed)
    rows = int(offsets[-1])
    count = max(65536, SAMPLE_PER_CENTROID * options.codebook)
    count = min(rows, count, max(4096, SAMPLE_BYTES // (4 * dimensions)))
    chosen = np.arange(rows) if count == rows else np.sort(rng.choice(rows, count, replace=False))
    documents = len(offsets) - 1
    per_document = max(float(np.diff(offsets).mean()), BUCKETS) * 4 * dimensions
    count = int(min(documents, SAMPLE_DOCUMENTS, max(16, SAMPLE_BYTES // per_document)))
    if count == documents:
        return chosen, np.arange(count), rng
    return chosen, np.sort(rng.choice(documents, count, replace=False)), rng


def train_vectors(sample: NDArray[np.float32], chosen: NDArray[np.int64], options: DocumentOptions) -> TokenCodec:
    """Train the codec of the vectors on those chosen, float32 (n, d).

    Raises
    ------
    InputError
        Numbers are too large for inner products.
    """
    check_bounded(sample, "ip", chosen)
    codebook, bits = options.codebook, options.residual_bits
    return train_token_codec(sample, codebook, bits, binary=options.binary, seed=options.seed)


def train_encoding(
    vectors: NDArray[np.float32], offsets: NDArray[np.int64], options: DocumentOptions, rng: np.random.Generator
) -> tuple[FixedEncoding, NDArray[np.float32]]:
    """Train the encoding of documents on some of them; also return encoded queries, float32 (m, D), for tuning."""
    use_lists = options.candidates == "lists"
    width = min(options.dimensions, vectors.shape[1]) if use_lists else options.dimensions
    fde = train_fde(vectors, offsets, width, 0 if use_lists else BUCKETS, options.seed)
    return fde, draw_queries(fde, vectors, offsets, rng)
