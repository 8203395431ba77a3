"""Rows without a usable vector: which they are and why, so that they can be skipped or all be named at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vsearch.building.inputs.elements import LARGEST_FLOAT, block_rows
from vsearch.errors import InputError
from vsearch.metrics import LARGEST_ELEMENT, Metric

POLICIES = ("error", "skip")
NAMED = 5
"""How many ids a message names."""


@dataclass(eq=False)
class Unusable:
    """Rows of the input that have no usable vector, gathered while it is read.

    Attributes
    ----------
    width : int
        Dimensions of the vectors, once one is known; 0 before.
    rows : list of int64 arrays
        Rows of the input, counted with all that are in it.
    reasons : dict
        How many rows for each reason.
    what : {"row", "document"}
        What has no usable vector.
    """

    width: int = 0
    rows: list[np.ndarray] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    what: str = "row"

    def add(self, rows: np.ndarray, reason: str) -> None:
        """Note rows."""
        if len(rows):
            self.rows.append(np.asarray(rows, np.int64))
            self.reasons[reason] = self.reasons.get(reason, 0) + len(rows)

    def sorted(self) -> np.ndarray:
        """All rows noted, int64 (n,), ascending."""
        return np.sort(np.concatenate([np.empty(0, np.int64), *self.rows]))

    def describe(self, names: Iterable[object]) -> str:
        """Say how many, why, and the ids of some."""
        named = [repr(name) for name, _ in zip(names, range(NAMED + 1), strict=False)]
        listed = ", ".join(named[:NAMED]) + (" and others" if len(named) > NAMED else "")
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        total = sum(self.reasons.values())
        many = f"{self.what} has" if total == 1 else f"{self.what}s have"
        return f"{total} {many} no usable vector{'s' if self.what == 'document' else ''} ({reasons}): {listed}"


def check_policy(missing: object) -> None:
    """Refuse what is no policy for rows without a vector."""
    if missing not in POLICIES:
        msg = f"missing must be 'error' or 'skip', got {missing!r}"
        raise InputError(msg)


def note_numbers(
    source: Any, kept: np.ndarray, metric: Metric, unusable: Unusable, *, zeros: bool = True
) -> np.ndarray:
    """Note rows with numbers that are NaN, infinite or too large for the metric; one pass over the vectors.

    Parameters
    ----------
    source : ArrayVectors
    kept : ndarray of int64 (source.rows,)
        Row of the input that each vector is.
    unusable : Unusable
    zeros : bool
        Note rows of zeros under cosine, too.

    Returns
    -------
    ndarray of int64
        Which vectors of the source are usable, ascending.
    """
    good = np.ones(source.rows, np.bool_)
    limit = LARGEST_FLOAT if metric == "cosine" else LARGEST_ELEMENT
    step = block_rows(source.dimensions, 4)
    for start in range(0, source.rows, step):
        stop = min(start + step, source.rows)
        block = source.read_unchecked(start, stop).astype(np.float32, copy=False)
        largest = np.abs(block).max(axis=1)  # NaN where one is NaN
        rows = kept[start:stop]
        faults = {
            "with NaN": np.isnan(largest),
            "with numbers that are infinite or too large": largest > limit,
            "of zeros, which have no direction": (largest == 0) & (zeros and metric == "cosine"),
        }
        for reason, fault in faults.items():
            unusable.add(rows[fault], reason)
            good[start:stop] &= ~fault
    return np.flatnonzero(good)
