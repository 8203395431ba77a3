"""Queries by weights: dicts from terms to weights, or the rows of a CSR matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from vsearch.errors import InputError
from vsearch.sparse.entries import SparseEntry
from vsearch.sparse.levels import SATURATION, SUM
from vsearch.sparse.matrices import is_matrix, matrix_rows
from vsearch.sparse.weights import LEAST_WEIGHT, LONGEST_TERM, MOST_TERMS, MOST_WEIGHT, check_weights
from vsearch.text.opening import OpenColumn
from vsearch.text.query import Term
from vsearch.text.weighted import WeightedQuery

_decoder = msgspec.msgpack.Decoder(
    Annotated[
        dict[
            Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TERM)],
            Annotated[float, msgspec.Meta(ge=LEAST_WEIGHT, le=MOST_WEIGHT)],
        ],
        msgspec.Meta(min_length=1, max_length=MOST_TERMS),
    ]
)


@dataclass(frozen=True, eq=False)
class PlannedWeights:
    """A query: its weights as in messages, and as a query of the text column that stands for the weights."""

    encoded: bytes
    weighted: WeightedQuery


def read_queries(queries: Any, argument: str) -> list[bytes]:
    """Check queries, one or several, and return each as it is sent in messages.

    Raises
    ------
    InputError
        A query is not a mapping from terms to weights, has no positive weight, or has too many terms.
    """
    if is_matrix(queries):
        rows = list(matrix_rows(queries, argument))
    else:
        listed = [queries] if isinstance(queries, Mapping) else queries
        if not isinstance(listed, list | tuple) or not all(isinstance(query, Mapping) for query in listed):
            raise InputError(
                f"{argument} must be a dict from terms to weights, a list of these, or a CSR matrix, got {queries!r:.100}"
            )
        rows = [check_weights(query, argument, MOST_TERMS) for query in listed]
    for weights in rows:
        if not weights:
            raise InputError(f"{argument} must have a term with a positive weight, got a query without one")
        if len(weights) > MOST_TERMS:
            raise InputError(f"{argument} must have at most {MOST_TERMS:,} terms, got {len(weights):,}")
    return [
        msgspec.msgpack.encode({term: max(weight, LEAST_WEIGHT) for term, weight in weights.items()})
        for weights in rows
    ]


def plan_query(data: bytes, column: OpenColumn, entry: SparseEntry) -> PlannedWeights:
    """Plan a query from a message. Terms that no row has are left out.

    Raises
    ------
    InputError
        The message is invalid.
    """
    try:
        weights = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InputError(f"the message is inconsistent: {error}") from None
    per_step = entry.step * SATURATION
    terms = {
        Term(0, term): weight * per_step
        for term, weight in weights.items()
        if any(number >= 0 for number in column.numbers(term))
    }
    return PlannedWeights(data, WeightedQuery(terms, {}, [], [], [1.0], largest=SUM))
