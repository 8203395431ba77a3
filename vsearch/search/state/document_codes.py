"""Codes of multi-vector documents, document by document: the form in which they move between segments, like `row_codes`.

The scale of a document's codes belongs to the document, so codes are copied without change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.storage.snapshots import kinds

if TYPE_CHECKING:
    from vsearch.storage import DocumentsEntry, SegmentFile

_Column = tuple["SegmentFile", str, NDArray[Any]]

STORED = (None, "float16", "float32")
"""Types of stored vectors."""

PLACES = (np.uint8, np.uint16, np.uint32)
"""Types of positions; a segment uses the smallest that fits."""


@dataclass(frozen=True, eq=False)
class DocumentCodes:
    """Codes of n multi-vector documents, in order (see index/FORMAT.md, Documents).

    Attributes
    ----------
    lengths, scales : uint32 (n,), float32 (n,)
        Number of vectors of each document, and the scale of its factors.
    codes : uint8 or uint16 (vectors,)
        Centroids; in binary mode, uint16 numbers of centroids.
    bits : int
        Bits of a number in binary mode; 0 otherwise.
    residuals, factors : uint8 (vectors, bytes), float16 (vectors,); or None
        The residual codes of each document are transposed.
    exact : float16 or float32 (vectors, d), or None
    positions : uint32 (vectors,), or None
    """

    lengths: NDArray[np.uint32]
    scales: NDArray[np.float32]
    codes: NDArray[Any]
    bits: int = 0
    residuals: NDArray[np.uint8] | None = None
    factors: NDArray[np.float16] | None = None
    exact: NDArray[Any] | None = None
    positions: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, order: NDArray[np.integer[Any]]) -> DocumentCodes:
        """Return selected documents, in the given order."""
        places = places_of(_offsets(self.lengths), order)
        columns: dict[str, Any] = {name: column[places] for name, column in _columns(self).items()}
        return replace(self, lengths=self.lengths[order], scales=self.scales[order], **columns)

    def parts(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the arrays of a segment, by file kind."""
        parts: dict[str, dict[str, NDArray[Any]]] = {
            kinds.DOCUMENTS: {"vectors": self.lengths, "factor_scale": self.scales}
        }
        if self.bits:
            parts[kinds.PATCH_NUMBERS] = {"packed": pack(self.codes, self.bits)}
        else:
            parts[kinds.PATCH_CODES] = {"code": self.codes}
        if self.residuals is not None and self.factors is not None:
            parts[kinds.PATCH_RESIDUALS] = {"residual": self.residuals}
            parts[kinds.PATCH_FACTORS] = {"factor": self.factors}
        if self.exact is not None:
            parts[kinds.PATCH_EXACT] = {"exact": self.exact}
        if self.positions is not None:
            largest = int(self.positions.max(initial=0))
            kind = next(kind for kind in PLACES if largest <= np.iinfo(kind).max)
            parts[kinds.PATCH_POSITIONS] = {"position": self.positions.astype(kind)}
        return parts


def _columns(documents: DocumentCodes) -> dict[str, NDArray[Any]]:
    """Return the columns that have one entry per vector."""
    columns = {name: getattr(documents, name) for name in ("codes", "residuals", "factors", "exact", "positions")}
    return {name: column for name, column in columns.items() if column is not None}


def concatenate_documents(parts: Sequence[DocumentCodes | None]) -> DocumentCodes | None:
    """Concatenate the documents of several parts of an index; None if it has no documents."""
    nonempty = [part for part in parts if part is not None]
    if len(nonempty) < 2:
        return nonempty[0] if nonempty else None
    columns = [_columns(part) for part in nonempty]
    for more in columns[1:]:
        for name, column in more.items():
            first = columns[0].get(name)
            if first is None or first.shape[1:] != column.shape[1:]:
                raise CorruptIndexError(
                    "manifest", f"segments of documents contain {name} of different widths; restore them"
                )
    joined: dict[str, Any] = {name: np.concatenate([more[name] for more in columns]) for name in columns[0]}
    lengths = np.concatenate([part.lengths for part in nonempty])
    return replace(nonempty[0], lengths=lengths, scales=np.concatenate([part.scales for part in nonempty]), **joined)


def document_lengths(files: Mapping[str, SegmentFile], count: int) -> NDArray[np.uint32]:
    """Read, verify and return the number of vectors of each document of a segment, uint32 (count,).

    Raises
    ------
    CorruptIndexError
        The number of documents is not `count`, or a document has no vectors.
    """
    lengths = _part(files, kinds.DOCUMENTS, "vectors", (count,), np.uint32)
    files[kinds.DOCUMENTS].ensure_all()
    if (lengths == 0).any():
        raise CorruptIndexError(files[kinds.DOCUMENTS].path, "a document has no vectors; restore the file")
    return lengths


def read_documents(
    files: Mapping[str, SegmentFile], count: int, entry: DocumentsEntry, rows: NDArray[np.int64] | None = None
) -> DocumentCodes:
    """Read, verify and return some documents, or all, of a segment of `count` documents.

    Raises
    ------
    CorruptIndexError
        The segment does not match the manifest.
    """
    if entry.store not in STORED:
        raise CorruptIndexError("manifest", f"vectors of documents are stored as {entry.store!r}; restore the manifest")
    lengths = document_lengths(files, count)
    scales = _part(files, kinds.DOCUMENTS, "factor_scale", (count,), np.float32)
    offsets = _offsets(lengths)
    rows = np.arange(count) if rows is None else rows
    starts, stops, total = offsets[rows], offsets[rows + 1], int(offsets[-1])

    # Shapes are checked before offsets are computed from the lengths, which may be arbitrary.
    def part(kind: str, name: str, dtype: Any = None, inner: tuple[int | None, ...] = ()) -> _Column:
        array = _part(files, kind, name, (total, *inner), dtype)
        return files[kind], name, array

    bits, coded = number_bits(entry), entry.patches.residual is not None
    columns: dict[str, _Column] = {}
    if bits:
        from vsearch.kernels.multivector.hamming import PADDING

        packed = _part(files, kinds.PATCH_NUMBERS, "packed", (-(-total * bits // 8) + PADDING,), np.uint8)
        files[kinds.PATCH_NUMBERS].ensure("packed", starts * bits // 8, -(-stops * bits // 8) + PADDING)
    else:
        columns["codes"] = part(kinds.PATCH_CODES, "code", np.uint8 if entry.patches.centroids <= 256 else np.uint16)
    if coded:
        columns["residuals"] = part(kinds.PATCH_RESIDUALS, "residual", np.uint8, (None,))
        columns["factors"] = part(kinds.PATCH_FACTORS, "factor", np.float16)
    if entry.store is not None:
        columns["exact"] = part(kinds.PATCH_EXACT, "exact", entry.store, (entry.dimensions,))
    if entry.positions:
        columns["positions"] = part(kinds.PATCH_POSITIONS, "position")
        if columns["positions"][2].dtype.kind != "u":
            raise CorruptIndexError(files[kinds.PATCH_POSITIONS].path, "positions are not integers; restore the file")
    places = places_of(offsets, rows)
    selected: dict[str, NDArray[Any]] = {}
    for column, (file, name, array) in columns.items():
        file.ensure(name, starts, stops)
        selected[column] = array[places]
    if bits:
        selected["codes"] = take_numbers(packed, bits, places).astype(np.uint16)
    if "positions" in selected:
        selected["positions"] = selected["positions"].astype(np.uint32)
    return DocumentCodes(lengths=lengths[rows], scales=scales[rows], bits=bits, **selected)


def _part(
    files: Mapping[str, SegmentFile], kind: str, name: str, shape: tuple[int | None, ...], dtype: Any = None
) -> NDArray[Any]:
    """An array of a segment, not yet read. It may have any length along an axis that is None, and any type by default."""
    if kind not in files:
        raise CorruptIndexError("manifest", f"a segment of documents has no {kind!r}; restore the manifest")
    array = files[kind].array(name)
    fits = len(array.shape) == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if not fits or (dtype is not None and array.dtype != np.dtype(dtype)):
        expected = f"{'' if dtype is None else np.dtype(dtype)} {shape}".strip()
        raise CorruptIndexError(files[kind].path, f"{name} is {array.dtype} {array.shape}, expected {expected}")
    return array


def number_bits(entry: DocumentsEntry) -> int:
    """Return the number of bits of a centroid's number in binary mode; 0 otherwise."""
    return max(1, int(entry.patches.centroids - 1).bit_length()) if entry.patches.binary else 0


def places_of(offsets: NDArray[np.int64], rows: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the positions of the vectors of documents, document by document: int64 (vectors,)."""
    lengths = offsets[rows + 1] - offsets[rows]
    starts = np.cumsum(lengths) - lengths
    return np.repeat(offsets[rows] - starts, lengths) + np.arange(int(lengths.sum()))


def pack(numbers: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Pack numbers of `bits` bits, followed by the padding that readers need."""
    from vsearch.kernels.multivector.hamming import PADDING, pack_numbers

    packed = np.zeros(-(-len(numbers) * bits // 8) + PADDING, np.uint8)
    pack_numbers(numbers, bits, packed)
    return packed


def take_numbers(packed: NDArray[np.uint8], bits: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unpack numbers of `bits` bits (1 to 16) at positions of a packed stream: int64 (places,)."""
    at = places * bits
    first = at >> 3
    word = packed[first] | packed[first + 1].astype(np.int64) << 8 | packed[first + 2].astype(np.int64) << 16
    return (word >> (at & 7)) & ((1 << bits) - 1)


def _offsets(lengths: NDArray[np.uint32]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
