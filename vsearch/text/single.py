"""Look up the words of one query without signs, the most common kind, with little Python.

The results are those of `vsearch.text.search.rank_words`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vsearch.storage.snapshots.text_entries import text_columns
from vsearch.text.analyzer import LONGEST_CODE
from vsearch.text.opening import open_text
from vsearch.text.query import is_plain
from vsearch.text.terms import MOST_LISTS, OpenTerms, SingleTerms, opened_terms, search_terms, weight_of, with_weight
from vsearch.text.weighted import RANGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.predicates import Where
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot

LONGEST = 4096
"""Maximum number of characters of a query."""


def search_words(
    snapshot: Snapshot, text: str, k: int, where: Where, begun: float
) -> tuple[NDArray[Any], NDArray[np.float32], SearchStats] | None:
    """Search for the words of one query; see `vsearch.text.terms.search_terms`. Returns None like `place_words`."""
    terms = place_words(snapshot, text)
    return None if terms is None else search_terms(snapshot, terms, k, where, begun)


def place_words(snapshot: Snapshot, text: str) -> SingleTerms | None:
    """Look up the words of a query.

    Returns None for anything unusual, such as signs, many words, and postings that are not in memory. The caller then uses
    `vsearch.legs.hybrid.search_leg`, which accepts it or says what is wrong.
    """
    if len(text) > LONGEST:
        return None
    opened: OpenTerms | None = snapshot.derived.get(__name__) or opened_terms(
        snapshot, __name__, lambda: _open(snapshot)
    )
    if opened is None:
        return None
    known, rows = opened.known, list[bytes]()
    if text.isascii() and text.replace(" ", "").isalpha():  # words that all analyzers split in the same way
        for word in text.split(" "):
            of_word = known.get(word)
            rows += _look_up(opened, snapshot, word) if of_word is None else of_word
    elif is_plain(text):
        for number, column in enumerate(opened.columns):
            for term in column.analyzer().terms(text):
                of_term = known.get((number, term))
                rows += _look_up_term(opened, snapshot, number, term) if of_term is None else of_term
    else:
        return None
    if len(rows) > 1 and len(set(rows)) < len(rows):
        rows = _joined(rows)
    return SingleTerms(opened, rows) if 0 < len(rows) <= MOST_LISTS else None


def _open(snapshot: Snapshot) -> OpenTerms | None:
    if not text_columns(snapshot.manifest.text):
        return None
    return OpenTerms.of(snapshot, open_text(snapshot), RANGE)


def _look_up(opened: OpenTerms, snapshot: Snapshot, word: str) -> tuple[bytes, ...]:
    """Return the terms of a word in all columns."""
    rows: list[bytes] = []
    for number, column in enumerate(opened.columns):
        for term in column.analyzer().terms(word):
            rows += _look_up_term(opened, snapshot, number, term)
    return opened.keep(word, tuple(rows)) if len(word) <= LONGEST_CODE else tuple(rows)


def _look_up_term(opened: OpenTerms, snapshot: Snapshot, number: int, term: str) -> tuple[bytes, ...]:
    """Return a term of a column; nothing if no live row has it."""
    weight = opened.columns[number].weight(term, snapshot.shards)
    return opened.keep((number, term), (opened.row(number, term, weight),) if weight else ())


def _joined(rows: Sequence[bytes]) -> list[bytes]:
    """Return distinct terms, with their weights times their numbers of occurrences."""
    counts = Counter(rows)
    return [row if count == 1 else with_weight(row, count * weight_of(row)) for row, count in counts.items()]
