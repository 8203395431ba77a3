"""Documents of which some have no usable vectors: those are left out, and counted."""

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
    """Documents as they were given, and those of them that are usable.

    Attributes
    ----------
    documents : Documents
        The usable ones.
    offsets : int64 (documents given + 1,)
        Of all vectors that were given.
    kept : int64 (documents,)
        Which of those given the usable ones are, ascending.
    unusable : Unusable
        The others.
    """

    documents: Documents
    offsets: NDArray[np.int64]
    kept: NDArray[np.int64]
    unusable: Unusable

    def saliency(self, given: object | None) -> NDArray[np.floating[Any]] | None:
        """Saliency of every vector of the usable documents, from one that was given for all; see `open_saliency`."""
        weights = open_saliency(given, self.offsets)
        if weights is None or len(self.kept) == len(self.offsets) - 1:
            return weights
        return weights[_inside(self.offsets, self.kept)[0]]


def _inside(offsets: NDArray[np.int64], documents: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which vectors some documents have, one after the other, and the documents' offsets among these."""
    lengths = offsets[documents + 1] - offsets[documents]
    own = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(offsets[documents] - own[:-1], lengths) + np.arange(own[-1]), own


class _ByDocument(Unusable):
    """Notes documents, each once, where rows of the same number are noted."""

    def add(self, rows: NDArray[Any], reason: str) -> None:
        super().add(np.setdiff1d(rows, self.sorted()), reason)


def open_usable(vectors: object, offsets: object | None, scratch: str | Path) -> Opened:
    """`open_documents`, but those without vectors, or with one that is not usable, are noted and left out.

    Raises
    ------
    InputError
        Offsets that descend, something that is no document at all, or none are usable.
    """
    scratch, unusable, flaws = Path(scratch), _ByDocument(what="document"), Unusable()
    lengths: list[int] = []
    if offsets is None:
        usable = _usable(matrices(vectors, skip=True), lengths, unusable)
        first = next(usable, None)
        if first is None:
            raise _none_left(unusable)
        source = open_vectors(chain([first], usable), scratch, unusable=flaws)
        given = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        held = np.diff(given)
        held[unusable.sorted()] = 0
    else:
        source = open_vectors(vectors, scratch, unusable=flaws)
        gone = flaws.sorted()
        given = check_offsets(offsets, source.rows + len(gone), empty=True)
        spoiled = np.searchsorted(given, gone, side="right") - 1
        unusable.add(np.flatnonzero(np.diff(given) == 0), EMPTY)
        unusable.add(np.unique(spoiled), FLAWED)
        held = np.diff(given) - np.bincount(spoiled, minlength=len(given) - 1)
    note_numbers(source, np.repeat(np.arange(len(held)), held), "ip", unusable)
    kept = np.setdiff1d(np.arange(len(held)), unusable.sorted())
    if not len(kept):
        raise _none_left(unusable)
    own = np.concatenate([[0], np.cumsum(held)])
    if len(kept) == len(held):
        return Opened(Documents(source, own), given, kept, unusable)
    rows, inside = _inside(own, kept)
    return Opened(Documents(KeptVectors(source, rows), inside), given, kept, unusable)


def _none_left(unusable: Unusable) -> InputError:
    return InputError(f"documents: {unusable.describe(unusable.sorted().tolist())}; none are left")


def _usable(found: Iterator[Found], lengths: list[int], unusable: Unusable) -> Iterator[NDArray[Any]]:
    """Pass on the matrices that are as wide as the first, noting the lengths of all documents and which have none such."""
    dtype: np.dtype[Any] | None = None
    for number, document in enumerate(found):
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
