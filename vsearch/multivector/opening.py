"""Open the document part of a snapshot: codec, encoding and, per shard, the codes of the documents' vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError, InputError
from vsearch.kernels.multivector.hamming import PADDING
from vsearch.multivector.codec import TokenCodec, TokenCodes, load_token_codec
from vsearch.multivector.fde import FixedEncoding, load_fde
from vsearch.search.state.document_codes import STORED, read_documents, take_numbers
from vsearch.search.state.model import Model
from vsearch.search.state.shard import Shard
from vsearch.search.state.snapshot import Snapshot
from vsearch.storage import DocumentsEntry, SegmentFile, ensure_together
from vsearch.storage.snapshots import kinds
from vsearch.storage.snapshots.kinds import ModelPart


@dataclass(frozen=True, eq=False)
class DocumentShard:
    """Codes of a shard's documents, in the order of its rows, as views whose contents are valid only after `ensure`.

    Attributes
    ----------
    offsets : int64 (rows + 1,)
        Document r has the vectors ``offsets[r]:offsets[r + 1]``.
    scales : float32 (rows,)
        Scale of the factors of each document.
    codes : uint8 or uint16 (vectors,)
        Centroids; empty in binary mode.
    packed : uint8 (bytes,)
        Packed numbers of centroids, in binary mode.
    residuals : uint8 (vectors * bytes,)
        Residual codes, transposed per document; empty without residual bits.
    factors : uint16 (vectors,)
        Bits of float16 numbers.
    exact : float16 or float32 (vectors, d), or None
    positions : uint8, uint16 or uint32 (vectors,), or None
        Position of each vector in its input document.
    list_offsets, list_documents : int64 (centroids + 1,), uint32 (entries,), or None
    checked : bool (rows,)
        Documents whose codes were checked to be valid centroid numbers.
    """

    shard: Shard
    offsets: NDArray[np.int64]
    scales: NDArray[np.float32]
    codes: NDArray[Any]
    packed: NDArray[np.uint8]
    residuals: NDArray[np.uint8]
    factors: NDArray[np.uint16]
    exact: NDArray[Any] | None
    positions: NDArray[Any] | None
    list_offsets: NDArray[np.int64] | None
    list_documents: NDArray[np.uint32] | None
    checked: NDArray[np.bool_]

    def ensure(self, kind: str, name: str, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Fetch and verify rows of an array; almost free once the whole file is fetched."""
        file = self.shard.files[kind]
        if not file.complete:
            file.ensure(name, starts, stops)

    def ensure_numbers(self, starts: NDArray[np.int64], stops: NDArray[np.int64], bits: int) -> None:
        """As `ensure`, for the packed numbers of vectors ``starts:stops``, with the padding to read the last one."""
        self.ensure(kinds.PATCH_NUMBERS, "packed", starts * bits // 8, -(-stops * bits // 8) + PADDING)


@dataclass(frozen=True, eq=False)
class DocumentIndex:
    """The document part of an open snapshot, for searches.

    Attributes
    ----------
    entry : DocumentsEntry
        The manifest entry of the documents.
    """

    token_codec: TokenCodec
    fde: FixedEncoding
    entry: DocumentsEntry
    shards: tuple[DocumentShard, ...]

    @property
    def dimensions(self) -> int:
        """Dimensions of the documents' vectors."""
        return self.token_codec.dimensions


_opened: WeakKeyDictionary[Snapshot, DocumentIndex] = WeakKeyDictionary()
_codecs: WeakKeyDictionary[Model, tuple[TokenCodec, FixedEncoding]] = WeakKeyDictionary()


def open_documents(snapshot: Snapshot) -> DocumentIndex:
    """Open the document part of a snapshot, once. Reads the codec and the number of vectors of each document.

    Raises
    ------
    InputError
        The index has single vectors, not documents.
    CorruptIndexError
        The document part is invalid.
    """
    index = _opened.get(snapshot)
    if index is None:
        entry = _entry(snapshot)
        token_codec, fde = codecs_of(snapshot)
        shards = tuple(_open_run(run, token_codec, entry) for run in snapshot.shards)
        index = _opened.setdefault(snapshot, DocumentIndex(token_codec, fde, entry, shards))
    return index


def encoding_of(snapshot: Snapshot) -> FixedEncoding:
    """Return the encoding of documents and queries, without opening shards. Raises like `open_documents`."""
    return codecs_of(snapshot)[1]


def _entry(snapshot: Snapshot) -> DocumentsEntry:
    if snapshot.manifest.documents is None:
        msg = "this index has single vectors, not documents: use search, or build it with build_documents"
        raise InputError(msg)
    return snapshot.manifest.documents


def codecs_of(snapshot: Snapshot) -> tuple[TokenCodec, FixedEncoding]:
    """Return the codec of vectors and the encoding of documents, read once per model. Raises like `open_documents`."""
    codecs = _codecs.get(snapshot.model)
    return _codecs.setdefault(snapshot.model, _read_codec(snapshot)) if codecs is None else codecs


def _read_codec(snapshot: Snapshot) -> tuple[TokenCodec, FixedEncoding]:
    entry = _entry(snapshot)
    model = ModelPart.DOCUMENTS.files(snapshot.manifest.model)
    files = [SegmentFile(snapshot.store, file, None, snapshot.manifest.snapshot) for file in model.values()]
    ensure_together([(file, name, None, None) for file in files for name in file.arrays])
    arrays = {name: file.array(name) for file in files for name in file.arrays}
    try:
        token_codec, fde = load_token_codec(entry.patches, arrays), load_fde(arrays)
        valid = token_codec.dimensions == entry.dimensions == fde.bases.shape[1]
        valid = valid and fde.dimensions == snapshot.manifest.dimensions
        valid = valid and entry.store in STORED
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptIndexError("model", f"cannot load the codec of the documents: {error!r}") from error
    if not valid:
        raise CorruptIndexError("model", "the codec of the documents does not match the manifest; restore the manifest")
    return token_codec, fde


def _open_run(run: Shard, token_codec: TokenCodec, entry: DocumentsEntry) -> DocumentShard:
    """Open the documents of a run, once for all snapshots that share it."""
    opened = run.read.derived.get(__name__)
    if opened is None:
        opened = run.read.derived.setdefault(__name__, _open_shard(run, token_codec, entry))
    return replace(cast("DocumentShard", opened), shard=run)


def _open_shard(shard: Shard, token_codec: TokenCodec, entry: DocumentsEntry) -> DocumentShard:
    def take(kind: str, name: str, dtype: Any, *shape: int) -> NDArray[Any]:
        if kind not in shard.files:
            raise CorruptIndexError("manifest", f"shard {shard.number} has no file of kind {kind!r}")
        array = shard.files[kind].array(name)
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            expected = f"{np.dtype(dtype)} {shape}"
            raise CorruptIndexError(
                shard.files[kind].path, f"{name} is {array.dtype} {array.shape}, expected {expected}"
            )
        return array

    counts = take(kinds.DOCUMENTS, "vectors", np.uint32, shard.rows)
    scales = take(kinds.DOCUMENTS, "factor_scale", np.float32, shard.rows)
    shard.files[kinds.DOCUMENTS].ensure_all()
    if (counts == 0).any() or not np.isfinite(scales).all():
        raise CorruptIndexError(
            shard.files[kinds.DOCUMENTS].path, "a document has no vectors, or a scale that is not finite"
        )
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    total = int(offsets[-1])
    empty: NDArray[np.uint8] = np.empty(0, np.uint8)
    codes, packed = np.empty(0, token_codec.code_dtype), empty
    if token_codec.numbers is None:
        codes = take(kinds.PATCH_CODES, "code", token_codec.code_dtype, total)
    else:
        packed = take(kinds.PATCH_NUMBERS, "packed", np.uint8, -(-total * token_codec.number_bits // 8) + PADDING)
    residuals, factors = empty, np.empty(0, np.uint16)
    if token_codec.residual is not None:
        residuals = take(kinds.PATCH_RESIDUALS, "residual", np.uint8, total, token_codec.residual_bytes).reshape(-1)
        factors = take(kinds.PATCH_FACTORS, "factor", np.float16, total).view(np.uint16)
    exact = positions = list_offsets = list_documents = None
    if entry.store is not None:
        exact = take(kinds.PATCH_EXACT, "exact", entry.store, total, token_codec.dimensions)
    if entry.positions:
        positions = (
            shard.files[kinds.PATCH_POSITIONS].array("position") if kinds.PATCH_POSITIONS in shard.files else empty
        )
        if positions.shape != (total,) or positions.dtype.kind != "u":
            raise CorruptIndexError("manifest", f"shard {shard.number} does not have a position for each vector")
    if entry.candidates == "lists" and kinds.LISTS not in shard.files and kinds.LIST_LENGTHS not in shard.files:
        list_offsets, list_documents = _make_lists(shard, token_codec, entry)
    elif entry.candidates == "lists":
        lengths = take(kinds.LIST_LENGTHS, "documents", np.uint32, len(token_codec.codebook))
        shard.files[kinds.LIST_LENGTHS].ensure_all()
        list_offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        list_documents = take(kinds.LISTS, "document", np.uint32, int(list_offsets[-1]))
        shard.files[kinds.LISTS].ensure_all()
        if list_documents.max(initial=0) >= shard.rows:
            raise CorruptIndexError(shard.files[kinds.LISTS].path, "a list contains a document that does not exist")
    return DocumentShard(
        shard,
        offsets,
        scales,
        codes,
        packed,
        residuals,
        factors,
        exact,
        positions,
        list_offsets,
        list_documents,
        checked=np.full(shard.rows, len(token_codec.codebook) == 1 << (8 * codes.itemsize)),
    )


def _make_lists(
    run: Shard, token_codec: TokenCodec, entry: DocumentsEntry
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Make the inverted lists of a run that stores none: offsets and documents of each centroid. Reads all its codes."""
    documents = read_documents(run.files, run.rows, entry)
    centroids = centroids_of(token_codec, documents.codes)
    if centroids.max(initial=0) >= len(token_codec.codebook):
        raise CorruptIndexError(run.files[kinds.PATCH_CODES].path, "a code is not the number of a centroid")
    counts, listed = list_documents_of(centroids, documents.lengths, len(token_codec.codebook))
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]), listed


def list_documents_of(
    centroids: NDArray[np.int64], lengths: NDArray[np.uint32], codebook: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return inverted lists of documents: how many each centroid has, and which, ascending.

    Parameters
    ----------
    centroids : int64 (vectors,)
        Document by document; `lengths`, uint32 (documents,), is the number of each document.
    codebook : int
        Number of centroids.
    """
    documents = max(1, len(lengths))
    pairs = np.unique(centroids * documents + np.repeat(np.arange(len(lengths)), lengths))
    counts = np.bincount(pairs // documents, minlength=codebook)
    return counts.astype(np.uint32), (pairs % documents).astype(np.uint32)


def centroids_of(token_codec: TokenCodec, codes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the centroids of codes, which are their numbers in binary mode."""
    if token_codec.numbers is None:
        return codes.astype(np.int64)
    inverse = np.zeros(1 << token_codec.number_bits, np.int64)
    inverse[token_codec.numbers] = np.arange(len(token_codec.numbers))
    return np.asarray(inverse[codes])


def ensure_codes(index: DocumentIndex, documents: DocumentShard, rows: NDArray[np.int64]) -> None:
    """Fetch and verify the codes of documents, and check that they are valid centroid numbers, as kernels do not."""
    starts, stops = documents.offsets[rows], documents.offsets[rows + 1]
    documents.ensure(kinds.PATCH_CODES, "code", starts, stops)
    unchecked = ~documents.checked[rows]
    if not unchecked.any():
        return
    limit = len(index.token_codec.codebook)
    for start, stop in zip(starts[unchecked].tolist(), stops[unchecked].tolist(), strict=True):
        if documents.codes[start:stop].max() >= limit:
            raise CorruptIndexError(
                documents.shard.files[kinds.PATCH_CODES].path, f"a code is not the number of one of {limit} centroids"
            )
    documents.checked[rows] = True


def decode_documents(
    index: DocumentIndex, documents: DocumentShard, rows: NDArray[np.int64], *, exact: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the concatenated vectors, float32, of documents of a shard, decoded or `exact`, and their offsets."""
    starts, stops = documents.offsets[rows], documents.offsets[rows + 1]
    offsets = np.concatenate([[0], np.cumsum(stops - starts)])
    places = np.repeat(starts - offsets[:-1], stops - starts) + np.arange(offsets[-1])
    if exact:
        if documents.exact is None:
            msg = "this index stores no vectors for exact=True; build it with store='float16'"
            raise InputError(msg)
        documents.ensure(kinds.PATCH_EXACT, "exact", starts, stops)
        return documents.exact[places].astype(np.float32), offsets
    token_codec = index.token_codec
    if token_codec.numbers is not None:
        documents.ensure_numbers(starts, stops, token_codec.number_bits)
        numbers = take_numbers(documents.packed, token_codec.number_bits, places)
        return token_codec.decode(TokenCodes(centroids_of(token_codec, numbers), None, None)), offsets
    ensure_codes(index, documents, rows)
    centroids = documents.codes[places].astype(np.int64)
    if token_codec.residual is None:
        return token_codec.decode(TokenCodes(centroids, None, None)), offsets
    documents.ensure(kinds.PATCH_RESIDUALS, "residual", starts, stops)
    documents.ensure(kinds.PATCH_FACTORS, "factor", starts, stops)
    width = token_codec.residual_bytes
    residuals = np.empty((int(offsets[-1]), width), np.uint8)
    for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        rectangle = documents.residuals[start * width : stop * width].reshape(width, stop - start)
        residuals[offsets[number] : offsets[number + 1]] = rectangle.T
    factors = documents.factors[places].view(np.float16).astype(np.float32)
    return token_codec.decode(
        TokenCodes(centroids, residuals, factors * np.repeat(documents.scales[rows], stops - starts))
    ), offsets
