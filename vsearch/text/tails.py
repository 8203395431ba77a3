"""The terms of the texts of a tail, which every commit makes anew: only texts that the tail before did not have are analyzed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from vsearch.text.encoding import read_occurrences
from vsearch.text.occurrences import Occurrences

if TYPE_CHECKING:
    from vsearch.search.state.model import Model
    from vsearch.text.analyzer import Analyzer
    from vsearch.text.tokens import TokenAnalyzer


@dataclass(frozen=True, eq=False)
class _Analyzed:
    """The terms of texts by the hashes of these.

    Attributes
    ----------
    hashes : int64 (texts,)
        Python's, with a secret of the process, so that nobody can make two texts with the same hash.
    edges : int64 (texts + 1,)
        Occurrences of each text.
    terms : list of str
    numbers, positions : int32 (n,), int32 (n,) or empty
        See `Occurrences`.
    """

    hashes: NDArray[np.int64]
    edges: NDArray[np.int64]
    terms: list[str]
    numbers: NDArray[np.int32]
    positions: NDArray[np.int32]


_analyzed: WeakKeyDictionary[Model, dict[str, _Analyzed]] = WeakKeyDictionary()
"""The last tail of each index in memory, by its model, which snapshots share, and by the key of the column."""


def tail_occurrences(
    model: Model, key: str, texts: Iterable[Any], analyzer: Analyzer | TokenAnalyzer, *, phrases: bool
) -> Occurrences:
    """Return the terms of the texts of a tail, as `read_occurrences`, in which every term occurs.

    Parameters
    ----------
    key : str
        Key of the text column, which stands for its settings.
    """
    listed = list(texts)
    hashes = np.fromiter(
        (hash(tuple(text) if isinstance(text, list) else text) for text in listed), np.int64, len(listed)
    )
    before = _analyzed.get(model, {}).get(key)
    if before is None:
        made = read_occurrences(listed, analyzer, phrases=phrases)
    else:
        made = _extended(before, listed, hashes, analyzer, phrases=phrases)
    edges = np.concatenate([[0], np.cumsum(np.bincount(made.rows, minlength=len(listed)))])
    kept = _Analyzed(hashes, edges, made.terms, made.numbers, made.positions.astype(np.int32))
    _analyzed.setdefault(model, {})[key] = kept
    return made


def _extended(
    before: _Analyzed, texts: list[Any], hashes: NDArray[np.int64], analyzer: Analyzer | TokenAnalyzer, *, phrases: bool
) -> Occurrences:
    order = np.argsort(before.hashes)
    places = np.minimum(np.searchsorted(before.hashes, hashes, sorter=order), len(order) - 1)
    at = order[places] if len(order) else np.zeros(len(hashes), np.int64)
    known = before.hashes[at] == hashes if len(order) else np.zeros(len(hashes), np.bool_)
    old, new = np.flatnonzero(known), np.flatnonzero(~known)
    fresh = read_occurrences([texts[row] for row in new.tolist()], analyzer, phrases=phrases)
    counts = before.edges[at[old] + 1] - before.edges[at[old]]
    entries = np.repeat(before.edges[at[old]] - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    numbers = {term: number for number, term in enumerate(before.terms)}
    renumbered = np.array([numbers.setdefault(term, len(numbers)) for term in fresh.terms], np.int32)
    rows = np.concatenate([np.repeat(old, counts), new[fresh.rows]])
    by_row = np.argsort(rows, kind="stable")
    of_rows = np.concatenate([before.numbers[entries], renumbered[fresh.numbers]])[by_row]
    positions = np.empty(0, np.int64)
    if len(fresh.positions) or len(before.positions):
        positions = np.concatenate([before.positions[entries].astype(np.int64), fresh.positions])[by_row]
    occurs = np.bincount(of_rows, minlength=len(numbers)) > 0
    dense = np.cumsum(occurs, dtype=np.int32) - 1
    terms = [term for term, present in zip(numbers, occurs.tolist(), strict=True) if present]
    return Occurrences(terms, rows[by_row], dense[of_rows].astype(np.int32), positions)
