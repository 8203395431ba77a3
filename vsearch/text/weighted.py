"""A text query with its weights, and its terms in the runs of a snapshot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.forking import cached_property
from vsearch.text.query import Term

if TYPE_CHECKING:
    from vsearch.text.scanning import PlacedQuery

RANGE = 2.0**48
"""Sum of the weights of a query as integers: scores are exact to about 1e-12 of the largest, and sums fit in 64 bits."""

Conditions = list[list[list[Term]]]


@dataclass(frozen=True, eq=False)
class WeightedQuery:
    """A query with its weights.

    Attributes
    ----------
    terms, prefixes, phrases : dict of Term to float
        Maximum score of a term, score of a row with a prefix, and maximum score of a phrase, unscaled.
    must, must_not : list of lists of lists of Term
        See `Query`.
    lengths : sequence of float
        Mean length of the rows with a text, for each text column.
    marked : dict
        Rows of terms as masks, by term and number of the run; filled on demand.
    matched : dict
        Rows of phrases and their counts, filled in the same way.
    placed : dict of int to PlacedQuery
        The query in each run, by number of the run; filled in the same way.
    largest : float
        Sum of the weights as integers.
    """

    terms: dict[Term, float]
    prefixes: dict[Term, float]
    must: Conditions
    must_not: Conditions
    lengths: Sequence[float]
    phrases: dict[Term, float] = field(default_factory=dict)
    marked: dict[tuple[Term, int], NDArray[np.uint64]] = field(default_factory=dict)
    matched: dict[tuple[Term, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)
    placed: dict[int, PlacedQuery] = field(default_factory=dict)
    largest: float = RANGE

    @cached_property
    def scale(self) -> float:
        """Integers per unit of score: a power of two."""
        total = 0.0
        for weight in sorted([*self.terms.values(), *self.prefixes.values(), *self.phrases.values()], reverse=True):
            total += weight  # as the kernels add them, so that the scale is the same
        return math.ldexp(1.0, math.frexp(self.largest / total)[1] - 1) if total > 0 else 1.0
