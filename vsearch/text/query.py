"""The syntax of text queries: words, +must, -not, prefix*, column:word, and "one word" in quotes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vsearch.errors import InputError

if TYPE_CHECKING:
    from vsearch.text.analyzer import Analyzer

MOST_WORDS = 10_000
"""Terms of a query, over all columns."""

MOST_PREFIXES = 64
"""Prefixes of a query, over all columns."""

MOST_EXPANDED = 100_000
"""Terms that the prefixes of a query stand for, over all columns and runs."""

LONGEST_QUERY = 1_000_000
"""Characters."""

_TOO_MANY = f"a text query may have {MOST_WORDS:,} words over all columns; shorten it"

_CLAUSE = re.compile(r'([+-]?)((?:[^\s":]+:)?"[^"]*"|\S+)')


#: Anything but words; most queries have nothing else.
_SYNTAX = re.compile(r'["*:]|(?:^|\s)[+-]')


class Term(NamedTuple):
    """A term of a column, or all its terms that begin with a prefix."""

    column: int
    text: str
    prefix: bool = False


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes
    ----------
    counts : Counter of Term
        What is scored, and how often the query has it. A row matches if it has any.
    must, must_not : list of lists of lists of Term
        Conditions: a row meets one if, for any of the inner lists, it has all terms. All of `must` are met, none of `must_not`.
    """

    counts: Counter[Term] = field(default_factory=Counter)
    must: list[list[list[Term]]] = field(default_factory=list)
    must_not: list[list[list[Term]]] = field(default_factory=list)


def parse(text: str, names: Sequence[str], analyzers: Sequence[Analyzer]) -> Query:
    """Parse a query.

    Parameters
    ----------
    text : str
    names : sequence of str
        Names of the text columns.
    analyzers : sequence of Analyzer
        One for each.

    Raises
    ------
    InputError
        The query is too long, has a phrase, or only excludes words.
    """
    if not isinstance(text, str):
        raise InputError(f"a text query must be a string, got {type(text).__name__}")
    if len(text) > LONGEST_QUERY:
        raise InputError(f"a text query may have {LONGEST_QUERY:,} characters, this one has {len(text):,}")
    if not _SYNTAX.search(text):
        terms = [Term(column, term) for column, analyzer in enumerate(analyzers) for term in analyzer.terms(text)]
        if len(terms) > MOST_WORDS:
            raise InputError(_TOO_MANY)
        return Query(Counter(terms))
    numbers = {name: number for number, name in enumerate(names)}
    query, excludes, total = Query(), False, 0
    clauses = _CLAUSE.findall(text)
    if len(clauses) > MOST_WORDS:
        raise InputError(f"a text query may have {MOST_WORDS:,} words, this one has {len(clauses):,}; shorten it")
    for sign, clause in clauses:
        options = [option for option in _options(clause, numbers, analyzers) if option]
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
        raise InputError("a text query must have a word to look for, this one only excludes words")
    needed = {term for options in query.must_not for option in options for term in option} | set(query.counts)
    if sum(term.prefix for term in needed) > MOST_PREFIXES:
        raise InputError(f"a text query may have {MOST_PREFIXES} prefixes over all columns; leave some out")
    return query


def _options(clause: str, numbers: Mapping[str, int], analyzers: Sequence[Analyzer]) -> list[list[Term]]:
    """Return the terms of a clause, for each column that it is about."""
    name, colon, rest = clause.partition(":")
    chosen = range(len(analyzers))
    if colon and name in numbers:
        chosen, clause = range(numbers[name], numbers[name] + 1), rest
    if len(clause) > 1 and clause[0] == clause[-1] == '"':
        clause = clause[1:-1]
        if any(len(analyzers[column].terms(clause)) > 1 for column in chosen):
            raise InputError(
                f'phrases are not supported, since positions of words are not stored: remove the quotes of "{clause:.100}"'
            )
    options = []
    for column in chosen:
        prefix = analyzers[column].prefix(clause[:-1]) if clause.endswith("*") else ""
        if prefix:
            options.append([Term(column, prefix, prefix=True)])
        else:
            options.append([Term(column, term) for term in analyzers[column].terms(clause)])
    return options
