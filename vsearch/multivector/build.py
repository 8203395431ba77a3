"""Build a document index: reduce, train, encode each document as one vector, and build an ordinary index of these.

The document part, which MaxSim reads, is written shard by shard next to the ordinary files, in the order of the shard's
rows, and committed with them. Memory is bounded by the samples and one batch of documents; larger data is spooled to
scratch files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.rows import InputArguments, id_values, split_table
from vsearch.building.inputs.unusable import Unusable
from vsearch.building.pipeline import Progress, build_index
from vsearch.building.shards import WriteArrays
from vsearch.building.training import BuildOptions
from vsearch.errors import IndexExistsError
from vsearch.multivector.codec import TokenCodec
from vsearch.multivector.fde import FixedEncoding
from vsearch.multivector.opening import centroids_of, list_documents_of
from vsearch.multivector.reduction import check_reduction, reduce_documents
from vsearch.multivector.sources import Documents, documents_column, open_documents, open_saliency
from vsearch.multivector.training import STORED, DocumentOptions, choose_samples, train_encoding, train_vectors
from vsearch.multivector.usable import open_usable
from vsearch.search.state.document_codes import DocumentCodes, pack
from vsearch.storage import DocumentsEntry, Manifest, Store, snapshot_numbers
from vsearch.storage.snapshots import kinds
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_VECTORS = 16384
SHARD_BYTES = 1 << 30

FILE_KINDS = frozenset(
    (
        kinds.DOCUMENTS,
        kinds.PATCH_NUMBERS,
        kinds.PATCH_CODES,
        kinds.PATCH_RESIDUALS,
        kinds.PATCH_FACTORS,
        kinds.PATCH_EXACT,
        kinds.PATCH_POSITIONS,
        kinds.LIST_LENGTHS,
        kinds.LISTS,
    )
)
"""Kinds of the additional files of a shard of documents."""


@dataclass(frozen=True, eq=False)
class DocumentPart:
    """The document part of an index, written next to its ordinary files; `build_index` calls these methods.

    Attributes
    ----------
    documents : Documents
        The reduced documents.
    positions : int32 (vectors,) or None
        Position of each vector in its input document.
    input_vectors : int
        Number of vectors before the reduction.
    token_codec : TokenCodec
    fde : FixedEncoding
    options : DocumentOptions
    scratch : Path
        Folder for temporary files.
    largest_position : int
        Of all documents of the index.
    """

    name: ClassVar[str] = "documents"
    kinds: ClassVar[frozenset[str]] = FILE_KINDS

    documents: Documents
    positions: NDArray[np.int32] | None
    input_vectors: int
    token_codec: TokenCodec
    fde: FixedEncoding
    options: DocumentOptions
    scratch: Path
    largest_position: int = 0

    def model(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the model."""
        return {**self.token_codec.arrays(), **self.fde.arrays()}

    def entry(self) -> DocumentsEntry:
        """Return the manifest entry of the document part."""
        vectors = int(self.documents.offsets[-1])
        positions = self.positions is not None
        return documents_entry(self.options, self.token_codec, vectors, self.input_vectors, positions=positions)

    def check(self, attributes: pa.Schema | None) -> None:
        """Accept any attributes."""

    def write_shard(self, rows: NDArray[np.int64], arrays: WriteArrays, attributes: pa.Table | None) -> None:  # noqa: ARG002
        """Encode the documents of a shard, in the order of `rows`, and pass the arrays of its files to `arrays`."""
        lengths = self.documents.offsets[rows + 1] - self.documents.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        total, token_codec, options = int(offsets[-1]), self.token_codec, self.options
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:

            def spool(name: str, dtype: Any, *shape: int) -> NDArray[Any]:
                return np.memmap(Path(folder) / name, dtype, "w+", shape=shape)

            codes = spool("codes", token_codec.code_dtype, total)
            residual = token_codec.residual is not None
            residuals = spool("residuals", np.uint8, total, token_codec.residual_bytes) if residual else None
            factors = spool("factors", np.float16, total if residual else 0)
            scales = np.ones(len(rows), np.float32)
            exact = spool("exact", STORED[options.store], total, token_codec.dimensions) if options.store else None
            for start, stop in batches(offsets):
                vectors, document_offsets = self.documents.take(rows[start:stop])
                encoded = encode_documents(token_codec, vectors, document_offsets)
                low, high = int(offsets[start]), int(offsets[stop])
                codes[low:high], scales[start:stop] = encoded.codes, encoded.scales
                if exact is not None:
                    exact[low:high] = vectors
                if residuals is not None and encoded.residuals is not None and encoded.factors is not None:
                    residuals[low:high], factors[low:high] = encoded.residuals, encoded.factors
            arrays(kinds.DOCUMENTS, {"vectors": lengths.astype(np.uint32), "factor_scale": scales})
            if token_codec.numbers is not None:
                arrays(kinds.PATCH_NUMBERS, {"packed": pack(np.asarray(codes, np.uint16), token_codec.number_bits)})
            else:
                arrays(kinds.PATCH_CODES, {"code": codes})
            if residuals is not None:
                arrays(kinds.PATCH_RESIDUALS, {"residual": residuals})
                arrays(kinds.PATCH_FACTORS, {"factor": factors})
            if exact is not None:
                arrays(kinds.PATCH_EXACT, {"exact": exact})
            if self.positions is not None:
                arrays(
                    kinds.PATCH_POSITIONS, {"position": self._take_positions(self.positions, rows, lengths, offsets)}
                )
            if options.candidates == "lists":
                self._write_lists(codes, offsets, arrays)

    def _take_positions(
        self,
        positions: NDArray[np.int32],
        rows: NDArray[np.int64],
        lengths: NDArray[np.int64],
        offsets: NDArray[np.int64],
    ) -> NDArray[Any]:
        first = self.documents.offsets[rows] - offsets[:-1]
        places = positions[np.repeat(first, lengths) + np.arange(int(offsets[-1]))]
        largest = self.largest_position
        return places.astype(np.uint8 if largest < 256 else np.uint16 if largest < 65536 else np.uint32)

    def _write_lists(self, codes: NDArray[Any], offsets: NDArray[np.int64], arrays: WriteArrays) -> None:
        """Write the inverted lists: the documents of each centroid, ascending."""
        centroids = centroids_of(self.token_codec, codes)
        counts, listed = list_documents_of(
            centroids, np.diff(offsets).astype(np.uint32), len(self.token_codec.codebook)
        )
        arrays(kinds.LIST_LENGTHS, {"documents": counts})
        arrays(kinds.LISTS, {"document": listed})


def build_document_index(
    store: Store,
    vectors: object,
    offsets: object | None,
    *,
    saliency: object | None,
    arguments: InputArguments,
    options: DocumentOptions,
    overwrite: bool,
    tune_defaults: Callable[[Manifest, NDArray[np.float32]], Manifest],
    progress: Progress,
) -> Manifest:
    """Build a document index and commit it; see `vsearch.build_documents`.

    Parameters
    ----------
    tune_defaults : callable
        Takes the uncommitted manifest and some encoded queries, float32 (m, D), and returns the manifest with settings.

    Raises
    ------
    IndexExistsError
        The store has an index and `overwrite` is False.
    InputError
        The options or the documents are invalid.
    """
    if not overwrite and snapshot_numbers(store):
        msg = f"{store.url} already contains an index; pass overwrite=True to replace it, or choose another location"
        raise IndexExistsError(msg)
    check_reduction(options.keep, options.pool, saliency=saliency is not None)
    with scratch_folder() as folder:
        scratch = Path(folder)
        opened, weights, arguments, noted = open_document_inputs(vectors, offsets, saliency, arguments, scratch)
        documents, positions = reduce_documents(
            opened, weights, options.keep, options.pool, scratch, lambda done, total: progress("reduce", done, total)
        )
        progress("train token codec", 0, 1)
        chosen, chosen_documents, rng = choose_samples(documents.offsets, documents.vectors.dimensions, options)
        token_codec = train_vectors(np.ascontiguousarray(documents.vectors.take(chosen), np.float32), chosen, options)
        progress("train token codec", 1, 1)
        fde, queries = train_encoding(*documents.take(chosen_documents), options, rng)

        def encoded() -> Iterator[NDArray[np.float32]]:
            for start, stop in batches(documents.offsets):
                yield fde.encode_documents(*documents.read(start, stop))
                progress("encode documents", stop, len(documents))

        largest = 0 if positions is None else int(positions.max())
        part = DocumentPart(documents, positions, int(opened.offsets[-1]), token_codec, fde, options, scratch, largest)
        shards = document_shards(options, token_codec, int(documents.offsets[-1]), len(documents))
        return build_index(
            store,
            encoded(),
            arguments=arguments,
            options=BuildOptions("ip", "osq", options.bits, None, None, shards, options.seed),
            overwrite=overwrite,
            tune_defaults=lambda manifest: tune_defaults(manifest, queries),
            progress=progress,
            parts=(part,),
            noted=noted,
        )


def open_document_inputs(
    vectors: object, offsets: object | None, saliency: object | None, arguments: InputArguments, scratch: Path
) -> tuple[Documents, NDArray[np.floating[Any]] | None, InputArguments, Unusable | None]:
    """Open documents and their saliency; also return the other inputs, and the documents that are skipped, if any."""
    if offsets is None:
        vectors, arguments = _split(vectors, arguments, scratch)
    if arguments.missing == "skip":
        usable = open_usable(vectors, offsets, scratch)
        return usable.documents, usable.saliency(saliency), arguments, usable.unusable
    opened = open_documents(vectors, offsets, scratch)
    return opened, open_saliency(saliency, opened.offsets), arguments, None


def _split(vectors: object, arguments: InputArguments, scratch: Path) -> tuple[object, InputArguments]:
    """Split a table into its documents and the other columns, as attributes and ids."""
    table, column, attributes = split_table(vectors, arguments.vectors, arguments.attributes, documents_column, scratch)
    if table is None or column is None:
        return vectors, arguments
    ids = arguments.id if arguments.id is not None else arguments.ids
    if isinstance(ids, str) and ids in table.schema.names:
        ids = id_values(ids, None, table)
    return table.select([column]), replace(arguments, attributes=attributes, ids=ids, id=None, vectors=None)


def batches(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of documents with about `BATCH_VECTORS` vectors in total, at least one document each."""
    start, documents = 0, len(offsets) - 1
    while start < documents:
        stop = int(np.searchsorted(offsets, offsets[start] + BATCH_VECTORS, side="right")) - 1
        stop = min(max(stop, start + 1), documents)
        yield start, stop
        start = stop


def encode_documents(
    token_codec: TokenCodec, vectors: NDArray[np.float32], offsets: NDArray[np.int64]
) -> DocumentCodes:
    """Encode consecutive documents: vectors float32 (n, d), offsets int64 (documents + 1,)."""
    encoded, lengths = token_codec.encode(vectors), np.diff(offsets)
    scales = np.ones(len(lengths), np.float32)
    residuals = factors = None
    if encoded.residuals is not None and encoded.factors is not None:
        scales = np.maximum.reduceat(encoded.factors, offsets[:-1])
        scales[scales == 0] = 1.0
        factors = (encoded.factors / np.repeat(scales, lengths)).astype(np.float16)
        residuals = transpose_documents(encoded.residuals, offsets)
    binary = token_codec.numbers is not None
    codes = encoded.centroids if token_codec.numbers is None else token_codec.numbers[encoded.centroids]
    return DocumentCodes(
        lengths=lengths.astype(np.uint32),
        scales=scales,
        codes=codes.astype(np.uint16 if binary else token_codec.code_dtype),
        bits=token_codec.number_bits if binary else 0,
        residuals=residuals,
        factors=factors,
    )


def transpose_documents(codes: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Transpose the residual codes (n, bytes) of each document, so that byte j of all its vectors is contiguous."""
    out = np.empty(codes.size, np.uint8)
    width = codes.shape[1]
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        out[start * width : stop * width] = codes[start:stop].T.reshape(-1)
    return out.reshape(codes.shape)


def documents_entry(
    options: DocumentOptions, token_codec: TokenCodec, vectors: int, input_vectors: int, *, positions: bool
) -> DocumentsEntry:
    """Return the manifest entry of the documents of an index, which have so many vectors."""
    return DocumentsEntry(
        patches=token_codec.configuration(),
        dimensions=token_codec.dimensions,
        vectors=vectors,
        vectors_given=input_vectors,
        keep=float(options.keep),
        pool=None if options.pool is None else float(options.pool),
        candidates=options.candidates,
        positions=positions,
        store=options.store,
    )


def document_shards(options: DocumentOptions, token_codec: TokenCodec, vectors: int, documents: int) -> int:
    """Return the requested number of shards, or the number for document parts of about a gigabyte."""
    if options.shards is not None:
        return options.shards
    stored = {None: 0, "float16": 2, "float32": 4}[options.store] * token_codec.dimensions
    residual = token_codec.residual_bytes + 2 * (token_codec.residual is not None)
    total = vectors * (token_codec.code_dtype.itemsize + residual + stored)
    return min(max(1, -(-total // SHARD_BYTES)), documents)
