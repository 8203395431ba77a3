"""Words to search for in messages: as users write them on the way to a planner, weighed on the way to processors."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np

from vsearch.fanout.wire.texts import LARGEST_TEXT, text_of

LARGEST_TERM = 1024
MOST_TERMS = 10_000
MOST_COLUMNS = 64
MOST_OPTIONS = 2 * MOST_COLUMNS  # of a condition: a prefix may stand for two things in a column, see `text.query`
MOST_QUERIES = 4096
LIGHTEST, HEAVIEST = 1e-30, 1e30
LONGEST = 1e12

Depth = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class WordTerm(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A term of a text column, or all its terms that begin with a prefix; see `vsearch.text.query.Term`."""

    column: Annotated[int, msgspec.Meta(ge=0, lt=MOST_COLUMNS)]
    text: Annotated[bytes, msgspec.Meta(max_length=LARGEST_TERM)]
    prefix: bool = False


Terms = Annotated[tuple[WordTerm, ...], msgspec.Meta(max_length=MOST_TERMS)]
Conditions = Annotated[
    tuple[Annotated[tuple[Terms, ...], msgspec.Meta(max_length=MOST_OPTIONS)], ...], msgspec.Meta(max_length=MOST_TERMS)
]


class WeighedWords(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A query with its weights; see `vsearch.text.weighing.WeightedQuery`.

    Attributes
    ----------
    weights : bytes
        float64 (terms,)
    """

    terms: Terms
    weights: bytes
    must: Conditions = ()
    must_not: Conditions = ()


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Text queries, and how their ranking is joined with that of vectors; see `vsearch.Index.search_text` and `search`.

    Attributes
    ----------
    texts : tuple of bytes
        One for each query of the message, as users write them, in UTF-8 that may have lone surrogates.
    weighed : tuple of WeighedWords
        The same in a message to a processor, in place of `texts`.
    lengths : bytes
        float64 (text columns,): mean lengths of texts, with `weighed`.
    depth : int or None
        Candidates of vectors and of words; None if there are no vectors.
    fusion, weights
        See `vsearch.text.fusing.FusionOptions`.
    """

    texts: Annotated[
        tuple[Annotated[bytes, msgspec.Meta(max_length=LARGEST_TEXT)], ...], msgspec.Meta(max_length=MOST_QUERIES)
    ] = ()
    weighed: Annotated[tuple[WeighedWords, ...], msgspec.Meta(max_length=MOST_QUERIES)] = ()
    lengths: Annotated[bytes, msgspec.Meta(max_length=8 * MOST_COLUMNS)] = b""
    depth: Depth | None = None
    fusion: Literal["rrf", "weighted"] = "rrf"
    weights: tuple[Annotated[float, msgspec.Meta(ge=0, le=1e6)], Annotated[float, msgspec.Meta(ge=0, le=1e6)]] = (
        1.0,
        1.0,
    )


def check_words(words: Words, count: int, *, weighed: bool) -> None:
    """Check that words are consistent, for a message of `count` queries.

    Raises
    ------
    ValueError
    """
    given, absent = (words.weighed, words.texts) if weighed else (words.texts, words.weighed)
    if len(given) != count or absent:
        raise ValueError(f"there must be words for {count} queries, got {len(given)}")
    for text in words.texts:
        text_of(text)  # a UnicodeDecodeError is a ValueError
    if bool(words.lengths) != bool(weighed) or len(words.lengths) % 8:
        raise ValueError("lengths must be one number per text column")
    lengths = np.frombuffer(words.lengths, "<f8")
    if not ((lengths >= 1) & (lengths <= LONGEST)).all():
        raise ValueError(f"mean lengths must be from 1 to {LONGEST:g}")
    for query in words.weighed:
        _check_query(query, len(lengths))


def _check_query(query: WeighedWords, columns: int) -> None:
    weights = np.frombuffer(query.weights, "<f8") if len(query.weights) == 8 * len(query.terms) else None
    if weights is None or not ((weights >= LIGHTEST) & (weights <= HEAVIEST)).all():
        raise ValueError(f"each term must have a weight from {LIGHTEST:g} to {HEAVIEST:g}")
    options = [option for condition in (*query.must, *query.must_not) for option in condition]
    terms = [*query.terms, *(term for option in options for term in option)]
    if len(terms) > 3 * MOST_TERMS or any(term.column >= columns for term in terms):
        raise ValueError("terms must be in one of the text columns, and not be too many")
    for term in terms:
        text_of(term.text)
