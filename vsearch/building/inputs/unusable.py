"""Rows without a usable vector, with the reasons, so that they can be skipped or reported all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vsearch.building.inputs.elements import LARGEST_FLOAT, block_rows
from vsearch.errors import InputError
from vsearch.metrics import LARGEST_ELEMENT, Metric

POLICIES = ("error", "skip")
NUMBER_FAULTS = ("with NaN", "with numbers that are infinite or too large", "of zeros, which have no direction")
NAMED = 5
"""Maximum number of ids that a message names."""


@dataclass(eq=False)
class Unusable:
    """Rows of the input that have no usable vector, collected while the input is read.

    Attributes
    ----------
    width : int
        Dimensions of the vectors, once known; 0 before.
    rows : list of int64 arrays
        Row numbers, counted over all rows of the input.
    reasons : dict
        Number of rows by reason.
    item : {"row", "document"}
        The word for an item without a usable vector.
    """

    width: int = 0
    rows: list[np.ndarray] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    item: str = "row"

    def add(self, rows: np.ndarray, reason: str) -> None:
        """Add rows that have no usable vector for this reason."""
        if len(rows):
            self.rows.append(np.asarray(rows, np.int64))
            self.reasons[reason] = self.reasons.get(reason, 0) + len(rows)

    def sorted(self) -> np.ndarray:
        """All collected rows, int64 (n,), ascending."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *self.rows]))

    def describe(self, names: Iterable[object]) -> str:
        """Return a text with the number of rows, the reasons, and the ids of some."""
        named = [repr(name) for name, _ in zip(names, range(NAMED + 1), strict=False)]
        listed = ", ".join(named[:NAMED]) + (" and others" if len(named) > NAMED else "")
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        total = sum(self.reasons.values())
        subject = f"{self.item} has" if total == 1 else f"{self.item}s have"
        return f"{total} {subject} no usable vector{'s' if self.item == 'document' else ''} ({reasons}): {listed}"


def check_policy(missing: object) -> None:
    """Refuse an unknown policy for rows without a vector."""
    if missing not in POLICIES:
        msg = f"missing must be 'error' or 'skip', got {missing!r}"
        raise InputError(msg)


def note_numbers(
    source: Any, kept: np.ndarray, metric: Metric, unusable: Unusable, *, zeros: bool = True
) -> np.ndarray:
    """Collect rows with numbers that are NaN, infinite or too large for the metric; one pass over the vectors.

    Parameters
    ----------
    source : ArrayVectors
    kept : ndarray of int64 (source.rows,)
        Input row of each vector.
    unusable : Unusable
    zeros : bool
        Whether zero vectors count as unusable under cosine.

    Returns
    -------
    ndarray of int64
        Indices of the usable vectors of the source, ascending.
    """
    good = np.ones(source.rows, np.bool_)
    limit = LARGEST_FLOAT if metric == "cosine" else LARGEST_ELEMENT
    step = block_rows(source.dimensions, 4)
    for start in range(0, source.rows, step):
        stop = min(start + step, source.rows)
        block = source.read_unchecked(start, stop).astype(np.float32, copy=False)
        largest = np.abs(block).max(axis=1)  # NaN if any element is
        rows = kept[start:stop]
        faults = {
            NUMBER_FAULTS[0]: np.isnan(largest),
            NUMBER_FAULTS[1]: largest > limit,
            NUMBER_FAULTS[2]: (largest == 0) & (zeros and metric == "cosine"),
        }
        for reason, fault in faults.items():
            unusable.add(rows[fault], reason)
            good[start:stop] &= ~fault
    return np.flatnonzero(good)
