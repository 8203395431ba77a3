"""A text query with its weights, and what is known of it in the runs of a snapshot."""

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
        What a term gains at most, what a row of a prefix gains, and what a phrase gains at most, unscaled.
    must, must_not : list of lists of lists of Term
        See `Query`.
    lengths : sequence of float
        Mean length of the rows with a text, for each text column.
    marked : dict
        Rows of terms as masks, by term and number of the run; filled as they are needed.
    matched : dict
        Rows of phrases and how often they have them, likewise.
    placed : dict of int to PlacedQuery
        The query in each run, by number of the run; likewise.
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
        total = math.fsum([*self.terms.values(), *self.prefixes.values(), *self.phrases.values()])
        return 2.0 ** math.floor(math.log2(self.largest / total)) if total > 0 else 1.0
