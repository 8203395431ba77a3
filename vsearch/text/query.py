"""The syntax of text queries: words, +must, -not, prefix*, column:word, and "one word" in quotes."""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from vsearch.checks import caller_level
from vsearch.errors import InputError, VsearchWarning

if TYPE_CHECKING:
    from vsearch.text.analyzer import Analyzer

MOST_WORDS = 10_000
"""Terms of a query, over all columns."""

MOST_PREFIXES = 64
"""Maximum number of prefixes of a query, over all columns."""

MOST_EXPANDED = 100_000
"""Maximum number of terms that the prefixes of a query match, over all columns and runs."""

LONGEST_QUERY = 1_000_000
"""Characters."""

_TOO_MANY = f"a text query must have at most {MOST_WORDS:,} words over all columns; shorten it"

CLOSING = ",.;:!?)]}'\"”’»"
"""Characters after a word that are not part of it, nor of the syntax."""

_CLAUSE = re.compile(r'([+-]?)((?:[^\s":]+:)?"[^"]*"|\S+)')


#: An asterisk that someone may take for a wildcard.
_INSIDE = re.compile(r"(?<!\*)\*(?=\w)")

#: Anything but words; most queries have nothing else.
_SYNTAX = re.compile(r'["*:]|(?:^|\s)[+-]')


class Term(NamedTuple):
    """A term of a column, or all terms with a prefix."""

    column: int
    text: str
    prefix: bool = False


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes
    ----------
    counts : Counter of Term
        Terms to score, with their numbers of occurrences in the query. A row matches if it has any of them.
    must, must_not : list of lists of lists of Term
        Conditions. A row meets a condition if it has all terms of one of the inner lists. A hit meets all of `must` and none of
        `must_not`.
    """

    counts: Counter[Term] = field(default_factory=Counter)
    must: list[list[list[Term]]] = field(default_factory=list)
    must_not: list[list[list[Term]]] = field(default_factory=list)


def as_words(queries: Any, argument: str = "queries") -> list[str]:
    """Return text queries as a list.

    Parameters
    ----------
    argument : str
        What users call them, for the message.

    Raises
    ------
    InputError
        They are no texts, or one is too long.
    """
    texts = [queries] if isinstance(queries, str) else queries
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{argument} must be a string or a list of strings, got {queries!r:.100}")
    for text in texts:
        _check_length(text)
    return list(texts)


def parse(text: str, names: Sequence[str], analyzers: Sequence[Analyzer], others: Collection[str] = ()) -> Query:
    """Parse a query.

    Parameters
    ----------
    text : str
    names : sequence of str
        Names of the text columns.
    analyzers : sequence of Analyzer
        One per column.
    others : collection of str
        Names of the other attributes.

    Raises
    ------
    InputError
        The query is too long, has a phrase, names an attribute that is not a text column, is only an asterisk, or only
        excludes words.
    """
    if not isinstance(text, str):
        raise InputError(f"a text query must be a string, got {type(text).__name__}")
    _check_length(text)
    if not _SYNTAX.search(text):
        terms = [Term(column, term) for column, analyzer in enumerate(analyzers) for term in analyzer.terms(text)]
        if len(terms) > MOST_WORDS:
            raise InputError(_TOO_MANY)
        return Query(Counter(terms))
    if text.strip() == "*":
        raise InputError(
            "an asterisk must follow the beginning of a word, got only an asterisk; to list all rows, use rows()"
        )
    numbers = {name: number for number, name in enumerate(names)}
    query, excludes, total = Query(), False, 0
    clauses = _CLAUSE.findall(text)
    if len(clauses) > MOST_WORDS:
        raise InputError(f"a text query must have at most {MOST_WORDS:,} words, got {len(clauses):,}")
    for sign, clause in clauses:
        options = [option for option in _options(clause, numbers, analyzers, others) if option]
        if not options:
            continue
        total += sum(map(len, options))
        if total > MOST_WORDS:
            raise InputError(_TOO_MANY)
        if sign == "-":
            excludes = True
            query.must_not.append(options)
            continue
        query.counts.update(term for option in options for term in option)
        if sign == "+":
            query.must.append(options)
    if excludes and not query.counts:
        raise InputError("a text query must have a word to look for, got one that only excludes words")
    needed = {term for options in query.must_not for option in options for term in option} | set(query.counts)
    if sum(term.prefix for term in needed) > MOST_PREFIXES:
        raise InputError(f"a text query must have at most {MOST_PREFIXES} prefixes over all columns; leave some out")
    return query


def _check_length(text: str) -> None:
    if len(text) > LONGEST_QUERY:
        raise InputError(f"a text query must have at most {LONGEST_QUERY:,} characters, got {len(text):,}")


def _options(
    clause: str, numbers: Mapping[str, int], analyzers: Sequence[Analyzer], others: Collection[str]
) -> list[list[Term]]:
    """Return the terms of a clause for each column that it refers to."""
    name, colon, rest = clause.partition(":")
    chosen = range(len(analyzers))
    if colon and rest and (column := _column(name, numbers, others)) is not None:
        chosen, clause = range(column, column + 1), rest
    if len(clause) > 1 and clause[0] == clause[-1] == '"':
        clause = clause[1:-1]
        if any(len(analyzers[column].terms(clause)) > 1 for column in chosen):
            raise InputError(
                f'phrases are not supported, since positions of words are not stored: remove the quotes of "{clause:.100}"'
            )
    stripped = clause.rstrip(CLOSING)
    begun = stripped[:-1] if stripped.endswith("*") else None
    if _INSIDE.search(clause):
        warnings.warn(
            f"an asterisk marks a prefix only at the end of a word; the others in {clause!r:.100} are treated as spaces",
            VsearchWarning,
            stacklevel=caller_level(),
        )
    options = []
    for column in chosen:
        if begun is None:
            options.append([Term(column, term) for term in analyzers[column].terms(clause)])
            continue
        beginning = analyzers[column].beginning(begun)
        terms = [Term(column, term) for term in beginning.terms]
        options.append([*terms, Term(column, beginning.prefix, prefix=True)] if beginning.prefix else terms)
        if beginning.others:
            options.append([*terms, *(Term(column, term) for term in beginning.others)])
    return options


def _column(name: str, numbers: Mapping[str, int], others: Iterable[str]) -> int | None:
    """Return the text column that a name before a colon refers to; None if the colon is part of the text.

    Raises
    ------
    InputError
        The name is that of another attribute.
    """
    if name in numbers:
        return numbers[name]
    folded = {known.lower(): known for known in (*others, *numbers)}
    known = folded.get(name.lower())
    if known is not None and known in numbers:
        return numbers[known]
    if known is not None:
        raise InputError(
            f"{known!r} in {name + ':':.100} is not a text column, those are {', '.join(numbers)}; filter it with where=, or "
            "write a space after the colon to look for the word"
        )
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in numbers], 1, 0.8)
    if near:
        warnings.warn(
            f"there is no text column {name!r:.100}, so {name + ':':.100} is read as a word; did you mean {folded[near[0]]}:?",
            VsearchWarning,
            stacklevel=caller_level(),
        )
    return None
