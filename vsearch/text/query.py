"""The syntax of text queries: words, "phrases", +must, -not, prefix*, and column:word."""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vsearch.checks import caller_level
from vsearch.errors import InputError, VsearchWarning

if TYPE_CHECKING:
    from vsearch.text.analyzer import QueryAnalyzer

MOST_WORDS = 10_000
"""Maximum number of terms of a query, over all columns."""

MOST_PREFIXES = 64
"""Maximum number of prefixes of a query, over all columns."""

MOST_EXPANDED = 100_000
"""Maximum number of terms that the prefixes of a query match, over all columns and runs."""

LONGEST_QUERY = 1_000_000
"""Maximum number of characters of a query."""

_TOO_MANY = f"a text query must have at most {MOST_WORDS:,} words over all columns; shorten it"

MOST_WARNINGS = 10
"""Maximum number of warnings about a query."""

CLOSING = ",.;:!?)]}'\"”’»"
"""Characters after a word that belong neither to it nor to the syntax."""

_CLAUSE = re.compile(r'([+-]?)((?:[^\s":]+:)?"[^"]*"|\S+)')


#: An asterisk that may have been meant as a wildcard.
_INSIDE = re.compile(r"(?<!\*)\*(?=\w)")

#: Matches any syntax other than plain words, which most queries do without.
_SYNTAX = re.compile(r'["*:]|(?:^|\s)[+-]')


class Term(NamedTuple):
    """A term of a column, all terms with a prefix, or a phrase: terms at relative positions (`phrase`; `text` is empty)."""

    column: int
    text: str
    prefix: bool = False
    phrase: tuple[tuple[str, int], ...] = ()

    @property
    def texts(self) -> list[str]:
        """The term, or those of the phrase."""
        return [text for text, _ in self.phrase] if self.phrase else [self.text]


class Searched(NamedTuple):
    """A text column as the parser needs it."""

    name: str
    analyzer: QueryAnalyzer
    phrases: bool = False


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


def is_plain(text: str) -> bool:
    """Whether a query consists of words only."""
    return _SYNTAX.search(text) is None


def parse(text: str, columns: Sequence[Searched], others: Collection[str] = ()) -> Query:
    """Parse a query.

    Parameters
    ----------
    text : str
    columns : sequence of Searched
        The text columns.
    others : collection of str
        Names of the other attributes.

    Raises
    ------
    InputError
        The query is too long, has a phrase for a column without positions, names an attribute that is not a text column, is only an asterisk, or only
        excludes words.
    """
    if not isinstance(text, str):
        raise InputError(f"a text query must be a string, got {type(text).__name__}")
    check_length(text)
    if is_plain(text):
        terms = [Term(number, term) for number, column in enumerate(columns) for term in column.analyzer.terms(text)]
        if len(terms) > MOST_WORDS:
            raise InputError(_TOO_MANY)
        return Query(Counter(terms))
    if text.strip() == "*":
        raise InputError(
            "an asterisk must follow the beginning of a word, got only an asterisk; to list all rows, use rows()"
        )
    numbers = {column.name: number for number, column in enumerate(columns)}
    clauses, collected = _CLAUSE.findall(text), Clauses()
    if len(clauses) > MOST_WORDS:
        raise InputError(f"a text query must have at most {MOST_WORDS:,} words, got {len(clauses):,}")
    for sign, clause in clauses:
        collected.add(sign, _options(clause, numbers, columns, others))
    return collected.query()


class Clauses:
    """Collects the clauses of a query, within the limits of queries."""

    def __init__(self) -> None:
        self._query, self._total = Query(), 0

    def add(self, sign: str, options: list[list[Term]]) -> None:
        """Add a clause: its meaning in each column, with the sign ``+``, ``-`` or none.

        Raises
        ------
        InputError
            There are too many words.
        """
        options = [option for option in options if option]
        if not options:
            return
        self._total += sum(len(term.texts) for option in options for term in option)
        if self._total > MOST_WORDS:
            raise InputError(_TOO_MANY)
        if sign == "-":
            self._query.must_not.append(options)
            return
        self._query.counts.update(term for option in options for term in option)
        if sign == "+":
            self._query.must.append(options)

    def query(self) -> Query:
        """Return the query.

        Raises
        ------
        InputError
            It only excludes words, or has too many prefixes.
        """
        query = self._query
        if query.must_not and not query.counts:
            raise InputError("a text query must have a word to look for, got one that only excludes words")
        needed = {term for options in query.must_not for option in options for term in option} | set(query.counts)
        if sum(term.prefix for term in needed) > MOST_PREFIXES:
            raise InputError(
                f"a text query must have at most {MOST_PREFIXES} prefixes over all columns; leave some out"
            )
        return query


def warn_of_asterisks(text: str) -> None:
    """Warn about an asterisk that may be meant as a wildcard, in the caller's process: functions cannot warn users."""
    inside = _INSIDE.search(text)
    if inside is not None:
        before, after = (
            text[: inside.start()].rsplit(" ", maxsplit=1)[-1],
            text[inside.start() :].split(" ", maxsplit=1)[0],
        )
        warnings.warn(
            f"an asterisk marks a prefix only at the end of a word; the others in {before + after!r:.100} are treated as spaces",
            VsearchWarning,
            stacklevel=caller_level(),
        )


def check_length(text: str) -> None:
    """Raise InputError for a query that is too long."""
    if len(text) > LONGEST_QUERY:
        raise InputError(f"a text query must have at most {LONGEST_QUERY:,} characters, got {len(text):,}")


def _options(
    clause: str, numbers: Mapping[str, int], columns: Sequence[Searched], others: Collection[str]
) -> list[list[Term]]:
    """Return the terms of a clause for each column that it refers to."""
    name, colon, text = clause.partition(":")
    chosen = range(len(columns))
    if colon and text and (column := _column(name, numbers, others)) is not None:
        chosen, clause = range(column, column + 1), text
    if len(clause) > 1 and clause[0] == clause[-1] == '"':
        clause = clause[1:-1]
        if any(len(columns[number].analyzer.terms(clause)) > 1 for number in chosen):
            return [phrase_option(number, columns[number], clause) for number in chosen]
    stripped = clause.rstrip(CLOSING)
    begun = stripped[:-1] if stripped.endswith("*") else None
    if begun is None:
        return [[Term(number, term) for term in columns[number].analyzer.terms(clause)] for number in chosen]
    return [option for number in chosen for option in prefix_options(number, columns[number], begun)]


def prefix_options(number: int, column: Searched, text: str) -> list[list[Term]]:
    """Return the meaning of the beginning of a word in a column."""
    beginning = column.analyzer.beginning(text)
    terms = [Term(number, term) for term in beginning.terms]
    options = [[*terms, Term(number, beginning.prefix, prefix=True)] if beginning.prefix else terms]
    if beginning.others:
        options.append([*terms, *(Term(number, term) for term in beginning.others)])
    return options


def phrase_option(number: int, column: Searched, text: str) -> list[Term]:
    """Return the meaning of a text in quotes in a column: a phrase, one term, or nothing.

    Raises
    ------
    InputError
        It is a phrase with a prefix, or the column has no positions.
    """
    if text.rstrip(CLOSING).endswith("*"):
        raise InputError(f'a phrase must have whole words, got the prefix at the end of "{text:.100}"')
    terms, positions, _ = column.analyzer.places(text)
    if len(terms) < 2:
        return [Term(number, term) for term in terms]
    if not column.phrases:
        raise InputError(
            f'the phrase "{text:.100}" requires the positions of words, which the text column {column.name!r} does not store: remove '
            "the quotes, or use drop_text, and add_text with TextColumn(phrases=True)"
        )
    return [
        Term(number, "", phrase=tuple((term, at - positions[0]) for term, at in zip(terms, positions, strict=True)))
    ]


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
            f"{known!r} in {name + ':':.100} is not a text column; the text columns are: {', '.join(numbers)}. Filter it with where=, "
            "or write a space after the colon to search for the word"
        )
    return None


def unknown_columns(text: str, names: Collection[str], others: Collection[str]) -> list[str]:
    """Return warnings about words before a colon that resemble the name of a text column but are not one.

    Parameters
    ----------
    names, others : collection of str
        Names of the text columns, and of all attributes.
    """
    warned: dict[str, str] = {}
    for _, clause in _CLAUSE.findall(text) if ":" in text else ():
        name, colon, rest = clause.partition(":")
        if not (colon and rest) or name.lower() in {known.lower() for known in (*others, *names)}:
            continue
        folded = {known.lower(): known for known in names}
        near = difflib.get_close_matches(name.lower(), folded, 1, 0.8)
        if near:
            warned[name] = (
                f"there is no text column {name!r:.100}, so {name + ':':.100} is read as a word; did you mean {folded[near[0]]}:?"
            )
        if len(warned) == MOST_WARNINGS:
            break
    return list(warned.values())
