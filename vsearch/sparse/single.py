"""Look up the weights of one query, with little Python.

The results are those of `vsearch.sparse.leg.SparseLeg.scan`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vsearch.sparse.entries import NAME
from vsearch.sparse.levels import SATURATION, SUM
from vsearch.sparse.postings import open_sparse
from vsearch.sparse.weights import LEAST_WEIGHT, LONGEST_TERM, MOST_WEIGHT
from vsearch.storage.snapshots.leg_entries import leg_entries
from vsearch.text.terms import MOST_LISTS, OpenTerms, SingleTerms, opened_terms, search_terms, with_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.predicates import Where
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot


def search_weights(
    snapshot: Snapshot, query: object, k: int, where: Where, begun: float
) -> tuple[NDArray[Any], NDArray[np.float32], SearchStats] | None:
    """Search by the weights of one query; see `vsearch.text.terms.search_terms`. Returns None like `place_weights`."""
    terms = place_weights(snapshot, query)
    return None if terms is None else search_terms(snapshot, terms, k, where, begun)


def place_weights(snapshot: Snapshot, query: object) -> SingleTerms | None:
    """Look up the weights of a query.

    Returns None for anything unusual, such as terms that are integers, weights of 0, many terms, and postings that are not in memory. The
    caller then uses `vsearch.legs.hybrid.search_leg`, which accepts it or says what is wrong.
    """
    if type(query) is not dict or not 0 < len(query) <= MOST_LISTS:
        return None
    opened: OpenTerms | None = snapshot.derived.get(__name__) or opened_terms(
        snapshot, __name__, lambda: _open(snapshot)
    )
    if opened is None:
        return None
    known, unit, rows = opened.known, opened.unit, list[bytes]()
    for term, weight in query.items():
        kind = type(weight)
        if type(term) is not str or not ((kind is float or kind is int) and LEAST_WEIGHT <= weight <= MOST_WEIGHT):
            return None
        of_term = known.get(term)
        if of_term is None:
            if not 0 < len(term) <= LONGEST_TERM or not _is_text(term):
                return None
            of_term = _look_up(opened, term)
        if of_term:
            rows.append(with_weight(of_term[0], weight * unit))
    return SingleTerms(opened, rows) if rows else None


def _open(snapshot: Snapshot) -> OpenTerms | None:
    if NAME not in leg_entries(snapshot.manifest):
        return None
    column, entry = open_sparse(snapshot)
    return OpenTerms.of(snapshot, (column,), SUM, entry.step * SATURATION)


def _look_up(opened: OpenTerms, term: str) -> tuple[bytes, ...]:
    """Return a term with the weight 1; nothing if no row has it."""
    (column,) = opened.columns
    occurs = any(number >= 0 for number in column.numbers(term))
    return opened.keep(term, (opened.row(0, term, 1.0),) if occurs else ())


def _is_text(term: str) -> bool:
    """Whether a term is valid Unicode."""
    try:
        term.encode()
    except UnicodeEncodeError:
        return False
    return True
