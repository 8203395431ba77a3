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
from vsearch.building.inputs.vectors import open_vectors
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
    scratch, unusable, flaws = Path(scratch), _ByDocument(item="document"), Unusable()
    lengths: list[int] = []
    if offsets is None:
        usable = _usable(matrices(vectors, skip=True), lengths, unusable)
        first = next(usable, None)
        if first is None:
            raise _none_left(unusable)
        source = open_vectors(chain([first], usable), scratch, unusable=flaws)
        input_offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        counts = np.diff(input_offsets)
        counts[unusable.sorted()] = 0
    else:
        source = open_vectors(vectors, scratch, unusable=flaws)
        skipped = flaws.sorted()
        input_offsets = check_offsets(offsets, source.rows + len(skipped), empty=True)
        flawed = np.searchsorted(input_offsets, skipped, side="right") - 1
        unusable.add(np.flatnonzero(np.diff(input_offsets) == 0), EMPTY)
        unusable.add(np.unique(flawed), FLAWED)
        counts = np.diff(input_offsets) - np.bincount(flawed, minlength=len(input_offsets) - 1)
    note_numbers(source, np.repeat(np.arange(len(counts)), counts), "ip", unusable)
    kept = np.setdiff1d(np.arange(len(counts)), unusable.sorted())
    if not len(kept):
        raise _none_left(unusable)
    source_offsets = np.concatenate([[0], np.cumsum(counts)])
    if len(kept) == len(counts):
        return Opened(Documents(source, source_offsets), input_offsets, kept, unusable)
    rows, document_offsets = _rows_of(source_offsets, kept)
    return Opened(Documents(KeptVectors(source, rows), document_offsets), input_offsets, kept, unusable)


def _none_left(unusable: Unusable) -> InputError:
    return InputError(f"documents: {unusable.describe(unusable.sorted().tolist())}; none are left")


def _usable(documents: Iterator[Found], lengths: list[int], unusable: Unusable) -> Iterator[NDArray[Any]]:
    """Yield the matrices with the dimensions of the first; record all lengths, and the unusable documents."""
    dtype: np.dtype[Any] | None = None
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
