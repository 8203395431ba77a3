"""Skip and count documents that have no usable vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.elements import stored_dtype
from vsearch.building.inputs.rows import KeptVectors
from vsearch.building.inputs.unusable import Unusable, note_numbers
from vsearch.building.inputs.vectors import VectorSource, open_vectors
from vsearch.errors import InputError
from vsearch.multivector.sources import EMPTY, FLAWED, Documents, Found, check_offsets, matrices, open_saliency


@dataclass(frozen=True, eq=False)
class Opened:
    """Input documents, and the usable ones among them.

    Attributes
    ----------
    documents : Documents
        The usable documents.
    offsets : int64 (input documents + 1,)
        Offsets of the vectors of all input documents.
    kept : int64 (documents,)
        Positions of the usable documents in the input, ascending.
    unusable : Unusable
        The other documents.
    """

    documents: Documents
    offsets: NDArray[np.int64]
    kept: NDArray[np.int64]
    unusable: Unusable

    def saliency(self, weights_input: object | None) -> NDArray[np.floating[Any]] | None:
        """Return the saliency of the vectors of usable documents, from that of all vectors; see `open_saliency`."""
        weights = open_saliency(weights_input, self.offsets)
        if weights is None or len(self.kept) == len(self.offsets) - 1:
            return weights
        return weights[_rows_of(self.offsets, self.kept)[0]]


def _rows_of(offsets: NDArray[np.int64], documents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the concatenated vector positions of some documents, and the documents' offsets among these."""
    lengths = offsets[documents + 1] - offsets[documents]
    new_offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(offsets[documents] - new_offsets[:-1], lengths) + np.arange(new_offsets[-1]), new_offsets


class _ByDocument(Unusable):
    """Counts documents instead of rows, each document once."""

    def add(self, rows: NDArray[Any], reason: str) -> None:
        super().add(np.setdiff1d(rows, self.sorted()), reason)


def open_usable(vectors: object, offsets: object | None, scratch: str | Path) -> Opened:
    """As `open_documents`, but skip and count documents without vectors or with an unusable vector.

    Raises
    ------
    InputError
        Offsets descend, the input does not consist of documents, or no document is usable.
    """
    if offsets is None:
        opened, unusable = open_lists(vectors, scratch)
    else:
        unusable, flaws = _ByDocument(item="document"), Unusable()
        source = open_vectors(vectors, Path(scratch), unusable=flaws)
        skipped = flaws.sorted()
        input_offsets = check_offsets(offsets, source.rows + len(skipped), empty=True)
        flawed = np.searchsorted(input_offsets, skipped, side="right") - 1
        unusable.add(np.flatnonzero(np.diff(input_offsets) == 0), EMPTY)
        unusable.add(np.unique(flawed), FLAWED)
        counts = np.diff(input_offsets) - np.bincount(flawed, minlength=len(input_offsets) - 1)
        opened = _without_unusable(source, input_offsets, counts, unusable)
    if opened is None:
        raise none_left(unusable.describe(unusable.sorted().tolist()))
    return opened


def open_lists(
    vectors: object, scratch: str | Path, width: int = 0, dtype: np.dtype[Any] | None = None
) -> tuple[Opened | None, Unusable]:
    """As `open_usable` without offsets, for documents that may be part of a larger input.

    Parameters
    ----------
    width, dtype
        Dimensions and element type of the documents before these, if there are any.

    Returns
    -------
    opened : Opened or None
        None if no document is usable.
    unusable : Unusable
    """
    unusable, lengths = _ByDocument(item="document", width=width), list[int]()
    usable = _usable(matrices(vectors, skip=True), lengths, unusable, dtype)
    first = next(usable, None)
    if first is None:
        return None, unusable
    source = open_vectors(chain([first], usable), Path(scratch), unusable=Unusable())
    input_offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    counts = np.diff(input_offsets)
    counts[unusable.sorted()] = 0
    return _without_unusable(source, input_offsets, counts, unusable), unusable


def _without_unusable(
    source: VectorSource, offsets: NDArray[np.int64], counts: NDArray[np.int64], unusable: Unusable
) -> Opened | None:
    """Leave out documents with unusable numbers as well; `counts` has the vectors of each document that the source has."""
    note_numbers(source, np.repeat(np.arange(len(counts)), counts), "ip", unusable)
    kept = np.setdiff1d(np.arange(len(counts)), unusable.sorted())
    if not len(kept):
        return None
    source_offsets = np.concatenate([[0], np.cumsum(counts)])
    if len(kept) == len(counts):
        return Opened(Documents(source, source_offsets), offsets, kept, unusable)
    rows, document_offsets = _rows_of(source_offsets, kept)
    return Opened(Documents(KeptVectors(source, rows), document_offsets), offsets, kept, unusable)


def none_left(described: str) -> InputError:
    """Return the error of an input whose documents are all unusable."""
    return InputError(f"documents: {described}; none are left")


def _usable(
    documents: Iterator[Found], lengths: list[int], unusable: Unusable, dtype: np.dtype[Any] | None
) -> Iterator[NDArray[Any]]:
    """Yield the matrices with the dimensions of the first; record all lengths, and the unusable documents."""
    for number, document in enumerate(documents):
        reason = document if isinstance(document, str) else None
        if not isinstance(document, str):
            if document.size == 0:
                reason = EMPTY
            elif unusable.width not in (0, document.shape[1]):
                reason = f"not of {unusable.width} dimensions"
        lengths.append(0 if reason == EMPTY or isinstance(document, str) else len(document))
        if reason is not None or isinstance(document, str):
            unusable.add(np.array([number]), str(reason))
            continue
        unusable.width, kind = document.shape[1], stored_dtype(document.dtype, f"document {number}")
        dtype = kind if dtype is None else dtype
        yield document.astype(dtype) if kind != dtype else document
