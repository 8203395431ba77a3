"""Weights of terms: how rows and queries state them, and their limits.

A row states its weights as a JSON object, the form in which attributes hold maps. A term is a string; integers, such as token numbers,
are terms in decimal. A weight of 0 is the same as none. Negative weights are refused: a row matches if it has a term of the query, and
such rows could not be told from others by sums that may be negative or 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.checks import is_number
from vsearch.errors import InputError

LONGEST_TERM = 256
"""Maximum number of characters of a term."""

MOST_TERMS = 10_000
"""Maximum number of terms of a query."""

MOST_ROW_TERMS = 100_000

MOST_WEIGHT = 1e9

LEAST_WEIGHT = 1e-12
"""Smaller positive weights of queries, matrices and dicts count as this."""

_decoder = msgspec.json.Decoder(dict[str, float])
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, eq=False)
class RowWeights:
    """The weights of some rows.

    Attributes
    ----------
    terms : list of str
        Distinct terms, in any order.
    rows, numbers, weights : int64 (n,), int64 (n,), float64 (n,)
        Row, term number and weight of each, by ascending row; weights are positive.
    """

    terms: list[str]
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]
    weights: NDArray[np.float64]


def read_rows(texts: Iterable[str | None], name: str) -> RowWeights:
    """Read the weights of rows.

    Parameters
    ----------
    texts : iterable of str or None
        JSON objects; None for a row without weights.
    name : str
        Name of the attribute, for errors.

    Raises
    ------
    InputError
        A text is not a JSON object of numbers, a term is empty or too long, or a weight is negative or too large.
    """
    known: dict[str, int] = {}
    sizes: list[int] = []
    numbers: list[int] = []
    values: list[float] = []
    for row, text in enumerate(texts):
        if text is None:
            sizes.append(0)
            continue
        try:
            weights = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise InputError(
                f'row {row} of {name!r} must be a map of weights, or a JSON object such as {{"term": 0.5}}: '
                f"{str(error).removesuffix(' - at `$[...]`')}, got {text!r:.100}"
            ) from None
        if len(weights) > MOST_ROW_TERMS:
            raise InputError(
                f"row {row} of {name!r} must have at most {MOST_ROW_TERMS:,} weights, got {len(weights):,}"
            )
        sizes.append(len(weights))
        numbers += [known.setdefault(term, len(known)) for term in weights]
        values += weights.values()
    for term in known:
        if not 0 < len(term) <= LONGEST_TERM:
            raise InputError(f"terms of {name!r} must have 1 to {LONGEST_TERM} characters, got {term!r:.100}")
    rows, all_weights = np.repeat(np.arange(len(sizes)), sizes), np.array(values, np.float64)
    invalid = np.flatnonzero(~((all_weights >= 0) & (all_weights <= MOST_WEIGHT)))
    if len(invalid):
        raise InputError(
            f"weights must be numbers from 0 to {MOST_WEIGHT:g}, got {all_weights[invalid[0]]:g} in row {rows[invalid[0]]} of {name!r}"
        )
    some = all_weights > 0
    return RowWeights(list(known), rows[some], np.array(numbers, np.int64)[some], all_weights[some])


def write_row(weights: Mapping[Any, Any]) -> str:
    """Return the JSON object of the weights of a row."""
    return _encoder.encode(weights).decode()


def check_weights(weights: Mapping[Any, Any], label: str, most: int) -> dict[str, float]:
    """Check weights of terms as users pass them, and return those that are positive.

    Parameters
    ----------
    label : str
        What they are, for errors.
    most : int
        Maximum number of terms.

    Raises
    ------
    InputError
        A term or a weight is invalid, a term occurs twice, or there are more than `most`.
    """
    if len(weights) > most:
        raise InputError(f"{label} must have at most {most:,} terms, got {len(weights):,}")
    checked: dict[str, float] = {}
    for key, weight in weights.items():
        term = as_term(key, label)
        if not (is_number(weight) and 0 <= weight <= MOST_WEIGHT):
            raise InputError(
                f"{label} must have weights that are numbers from 0 to {MOST_WEIGHT:g}, got {weight!r:.100} for {term!r:.100}"
            )
        if term in checked:
            raise InputError(f"{label} must have each term once, got {term!r:.100} as a string and as an integer")
        checked[term] = float(weight)
    return {term: weight for term, weight in checked.items() if weight > 0}


def as_term(key: Any, label: str) -> str:
    """Return a key of a dict of weights as a term.

    Raises
    ------
    InputError
        The key is neither an integer nor a valid string.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return str(int(key))
    if not (isinstance(key, str) and 0 < len(key) <= LONGEST_TERM):
        raise InputError(
            f"{label} must have terms that are strings of 1 to {LONGEST_TERM} characters or integers, got {key!r:.100}"
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InputError(f"{label} must have terms of Unicode text, got {key!r:.100}") from None
    return str(key)
