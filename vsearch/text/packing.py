"""Weighed text queries in messages: msgpack structs, which are checked before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from vsearch.errors import InputError
from vsearch.text.query import Term
from vsearch.text.weighted import WeightedQuery

LARGEST_TERM = 1024
MOST_TERMS = 10_000
MOST_COLUMNS = 64
MOST_POSITIONS = 1_000_000  # characters of a query
MOST_OPTIONS = 2 * MOST_COLUMNS  # of a condition: a prefix may stand for two things in a column, see `text.query`
LIGHTEST, HEAVIEST = 1e-30, 1e30
LONGEST = 1e12


Spelled = Annotated[bytes, msgspec.Meta(max_length=LARGEST_TERM)]
Position = Annotated[int, msgspec.Meta(ge=0, le=MOST_POSITIONS)]


class PackedTerm(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A term of a text column, all its terms that begin with a prefix, or a phrase; see `vsearch.text.query.Term`."""

    column: Annotated[int, msgspec.Meta(ge=0, lt=MOST_COLUMNS)]
    text: Spelled
    prefix: bool = False
    phrase: Annotated[tuple[tuple[Spelled, Position], ...], msgspec.Meta(max_length=MOST_TERMS)] = ()


Terms = Annotated[tuple[PackedTerm, ...], msgspec.Meta(max_length=MOST_TERMS)]
Conditions = Annotated[
    tuple[Annotated[tuple[Terms, ...], msgspec.Meta(max_length=MOST_OPTIONS)], ...], msgspec.Meta(max_length=MOST_TERMS)
]


class PackedQuery(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A query with its weights; see `vsearch.text.weighted.WeightedQuery`.

    Attributes
    ----------
    weights : bytes
        float64 (terms,)
    """

    terms: Terms
    weights: bytes
    must: Conditions = ()
    must_not: Conditions = ()


_decoder = msgspec.msgpack.Decoder(PackedQuery)


def pack_query(query: WeightedQuery) -> bytes:
    """Pack a weighted query for a message."""
    weights = {**query.terms, **query.prefixes, **query.phrases}

    def conditions(unpacked: list[list[list[Term]]]) -> tuple[tuple[tuple[PackedTerm, ...], ...], ...]:
        return tuple(tuple(tuple(map(_pack, option)) for option in options) for options in unpacked)

    return msgspec.msgpack.encode(
        PackedQuery(
            tuple(map(_pack, weights)),
            np.array(list(weights.values()), "<f8").tobytes(),
            conditions(query.must),
            conditions(query.must_not),
        )
    )


def unpack_query(data: bytes, lengths: Sequence[float]) -> WeightedQuery:
    """Return the weighted query of a message.

    Parameters
    ----------
    lengths : sequence of float
        Mean length of the rows with a text, for each text column.

    Raises
    ------
    InputError
        The message is invalid.
    """
    try:
        query = _decoder.decode(data)
        weights = dict(zip(map(_unpack, query.terms), _read_weights(query, len(lengths)), strict=True))
        return WeightedQuery(
            {term: weight for term, weight in weights.items() if not (term.prefix or term.phrase)},
            {term: weight for term, weight in weights.items() if term.prefix},
            _unpack_conditions(query.must),
            _unpack_conditions(query.must_not),
            lengths,
            {term: weight for term, weight in weights.items() if term.phrase},
        )
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"the message is inconsistent: {error}") from None


def unpack_lengths(data: bytes, columns: int) -> list[float]:
    """Return the mean lengths of the texts of a message, one for each text column.

    Raises
    ------
    InputError
        The message is invalid.
    """
    if len(data) != 8 * columns:
        raise InputError(f"there must be a mean length for each of {columns} text columns")
    lengths = np.frombuffer(data, "<f8")
    if not ((lengths >= 1) & (lengths <= LONGEST)).all():
        raise InputError(f"mean lengths must be from 1 to {LONGEST:g}")
    return lengths.tolist()


def _unpack_conditions(packed: tuple[tuple[tuple[PackedTerm, ...], ...], ...]) -> list[list[list[Term]]]:
    return [[list(map(_unpack, option)) for option in options] for options in packed]


def _read_weights(query: PackedQuery, columns: int) -> list[float]:
    weights = np.frombuffer(query.weights, "<f8") if len(query.weights) == 8 * len(query.terms) else None
    if weights is None or not ((weights >= LIGHTEST) & (weights <= HEAVIEST)).all():
        raise ValueError(f"each term must have a weight from {LIGHTEST:g} to {HEAVIEST:g}")
    options = [option for condition in (*query.must, *query.must_not) for option in condition]
    terms = [*query.terms, *(term for option in options for term in option)]
    if sum(max(len(term.phrase), 1) for term in terms) > 3 * MOST_TERMS or any(
        term.column >= columns for term in terms
    ):
        raise ValueError("terms must be in one of the text columns, and not be too many")
    if any(term.phrase and (term.text or term.prefix) for term in terms):
        raise ValueError("a phrase must not be a term or prefix as well")
    return weights.tolist()


def _pack(term: Term) -> PackedTerm:
    phrase = tuple((text.encode("utf-8", "surrogatepass"), position) for text, position in term.phrase)
    return PackedTerm(term.column, term.text.encode("utf-8", "surrogatepass"), term.prefix, phrase)


def _unpack(term: PackedTerm) -> Term:
    phrase = tuple((text.decode("utf-8", "surrogatepass"), position) for text, position in term.phrase)
    return Term(term.column, term.text.decode("utf-8", "surrogatepass"), term.prefix, phrase)
