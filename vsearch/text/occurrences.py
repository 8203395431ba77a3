"""The terms of many texts as numbers, with Python work per distinct chunk only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.text.analyzer import SEPARATOR, Analyzer

BATCH_CHARACTERS = 1 << 22
"""Number of characters that are split into chunks at a time."""


@dataclass(frozen=True, eq=False)
class Occurrences:
    """The terms of some texts.

    Attributes
    ----------
    terms : list of str
        Distinct terms, in any order.
    rows, numbers : int64 (n,), int32 (n,)
        Text number and term number of every occurrence, by ascending text.
    positions : int64 (n,)
        Positions in the texts; empty if they were not requested. Those of a term in a text ascend.
    """

    terms: list[str]
    rows: NDArray[np.int64]
    numbers: NDArray[np.int32]
    positions: NDArray[np.int64]


class _Chunks(dict[str, int]):
    """Maps chunks to numbers and terms; a chunk is analyzed when it is first looked up."""

    def __init__(self, analyzer: Analyzer, *, positions: bool) -> None:
        self.analyzer, self.positioned = analyzer, positions
        self.numbers: dict[str, int] = {}  # of terms
        self.terms: list[int] = []
        self.positions: list[int] = []
        self.ends, self.widths = [0], [0]
        self[SEPARATOR] = 0

    def __missing__(self, chunk: str) -> int:
        numbers = self.numbers
        if self.positioned:
            terms, positions, width = self.analyzer.analyze_places(chunk)
            self.positions += positions
            self.widths.append(width)
        else:
            terms = self.analyzer.analyze(chunk)
        self.terms += [numbers.setdefault(term, len(numbers)) for term in terms]
        number = self[chunk] = len(self.ends)
        self.ends.append(len(self.terms))
        return number


def occurrences(texts: Iterable[str | None], analyzer: Analyzer, *, positions: bool = False) -> Occurrences:
    """Return the terms of texts, if requested with their positions; None has no terms."""
    chunks = _Chunks(analyzer, positions=positions)
    rows, numbers, first = [np.empty(0, np.int64)], [np.empty(0, np.int32)], 0
    placed = [np.empty(0, np.int64)]
    for batch in _batches(texts):
        chunk: NDArray[Any] = np.fromiter(map(chunks.__getitem__, analyzer.chunks(batch)), np.int64)
        separates = chunk == 0
        text = np.cumsum(separates)
        ends, terms = np.array(chunks.ends), np.array(chunks.terms, np.int32)
        inside = ~separates
        numbered, of_text = chunk[inside], text[inside]
        starts, counts = ends[numbered - 1], ends[numbered] - ends[numbered - 1]
        before = np.cumsum(counts) - counts
        places = np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
        rows.append(np.repeat(first + of_text, counts))
        numbers.append(terms[places])
        if positions:
            widths = np.array(chunks.widths)[chunk]
            passed = np.cumsum(widths) - widths
            begins = np.concatenate(([0], passed[separates]))  # of each text
            placed.append(
                np.repeat((passed - begins[text])[inside], counts) + np.array(chunks.positions, np.int64)[places]
            )
        first += len(batch)
    return Occurrences(list(chunks.numbers), np.concatenate(rows), np.concatenate(numbers), np.concatenate(placed))


def _batches(texts: Iterable[str | None]) -> Iterable[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text or "")
        size += len(batch[-1])
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
