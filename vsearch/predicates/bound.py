"""Bound predicates: typed leaves under AND and OR.

A leaf states which values match; NULL never does, except in `NullTest`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Literal as OneOf

import numpy as np
import numpy.typing as npt

from vsearch.forking import cached_property
from vsearch.predicates.expressions import Fold
from vsearch.predicates.types.record import TOP

IntIntervals = tuple[tuple[int, int | None], ...]
ByteIntervals = tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True)
class Everything:
    """Every row, or none."""

    value: bool


@dataclass(frozen=True)
class NullTest:
    """Rows where the column is NULL or, if `null` is False, is not NULL."""

    column: str
    null: bool


@dataclass(frozen=True)
class KeyRange:
    """Rows whose key is in one of the intervals (numbers, bools, timestamps, dates)."""

    column: str
    intervals: IntIntervals

    @cached_property
    def lows(self) -> npt.NDArray[np.int64]:
        """First key of each interval, int64 (intervals,), ascending."""
        return np.array([low for low, _ in self.intervals], np.int64)

    @cached_property
    def highs(self) -> npt.NDArray[np.int64]:
        """Last key of each interval, int64 (intervals,), ascending."""
        return np.array([(TOP if high is None else high) - 1 for _, high in self.intervals], np.int64)

    def matches(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which keys are inside an interval, bool (keys,)."""
        at = np.searchsorted(self.highs, keys)
        contained = at < len(self.lows)
        contained[contained] = self.lows[at[contained]] <= keys[contained]
        return contained


@dataclass(frozen=True)
class StringRange:
    """Rows whose string, folded by `fold`, or decimal has a key in one of the intervals, in byte order."""

    column: str
    intervals: ByteIntervals
    fold: Fold = ""


@dataclass(frozen=True)
class Pattern:
    """Rows whose string, folded by `fold`, matches the LIKE pattern or, if `matching` is False, does not."""

    column: str
    tokens: tuple[int, ...]
    matching: bool
    fold: Fold = ""


@dataclass(frozen=True)
class EmptyList:
    """Rows whose list is empty or, if `empty` is False, has elements."""

    column: str
    empty: bool


@dataclass(frozen=True)
class Membership:
    """Rows whose list contains any or all of the values or, if `matching` is False, does not.

    See `vsearch.predicates.expressions.Contains`.
    """

    column: str
    values: tuple[bytes, ...]
    mode: OneOf["any", "all", "element"]
    matching: bool
    null_value: bool = False
    flipped: bool = False
    """Select the complement, which includes rows where the list is NULL."""


@dataclass(frozen=True)
class AllOf:
    """Rows that match all terms."""

    terms: tuple[Any, ...]


@dataclass(frozen=True)
class AnyOf:
    """Rows that match at least one term."""

    terms: tuple[Any, ...]


Leaf = NullTest | KeyRange | StringRange | Pattern | EmptyList | Membership
Bound = Everything | Leaf | AllOf | AnyOf
