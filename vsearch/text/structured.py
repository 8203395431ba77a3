"""Text queries as programs write them: dicts of clauses, with the same meaning as the syntax of strings."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vsearch.errors import InputError
from vsearch.text.analyzer import LONGEST_TERM
from vsearch.text.query import (
    LONGEST_QUERY,
    Clauses,
    Query,
    Searched,
    Term,
    check_length,
    phrase_option,
    prefix_options,
    warn_of_asterisks,
)

TextQuery = str | Mapping[str, Any]
"""A query in the syntax of strings, or a dict of clauses."""

SIGNS = {"must": "+", "should": "", "not": "-"}
KINDS = ("text", "phrase", "prefix", "tokens")
COLUMN = "column"
MARK = b"\xff"
"""First byte of a dict in messages: one that UTF-8 never has."""


def read_queries(queries: Any, argument: str = "queries") -> list[bytes]:
    """Check text queries, one or several, and return the bytes of each for messages.

    Parameters
    ----------
    argument : str
        The name of the argument, for errors.

    Raises
    ------
    InputError
        They are neither strings nor dicts of clauses, or one is too long.
    """
    listed = [queries] if isinstance(queries, str | Mapping) else queries
    if not isinstance(listed, list | tuple) or not all(isinstance(query, str | Mapping) for query in listed):
        raise InputError(f"{argument} must be a string, a dict of clauses, or a list of these, got {queries!r:.100}")
    return [_encode(query) for query in listed]


def decode_query(data: bytes) -> TextQuery:
    """Return a query of a message.

    Raises
    ------
    InputError
        The message is invalid.
    """
    try:
        if data[:1] != MARK:
            return data.decode("utf-8", "surrogatepass")
        query = json.loads(data[1:])
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"the message is inconsistent: {error}") from None
    _check(query)
    return query


def parse_structured(query: Mapping[str, Any], columns: Sequence[Searched]) -> Query:
    """Parse a dict of clauses.

    Raises
    ------
    InputError
        As for `query.parse`, or a clause names a column that is not a text column.
    """
    collected = Clauses()
    for sign, kind, value, name in _clauses(query):
        chosen: Collection[int] = range(len(columns))
        if name is not None:
            chosen = [number for number, column in enumerate(columns) if column.name == name]
            if not chosen:
                known = ", ".join(column.name for column in columns)
                raise InputError(f"column of a clause must be one of the text columns {known}, got {name!r:.100}")
        options: list[list[Term]] = []
        for number in chosen:
            column = columns[number]
            if kind == "tokens":
                options.append([Term(number, token[:LONGEST_TERM]) for token in value])
            elif kind == "phrase":
                options.append(phrase_option(number, column, value))
            elif kind == "prefix":
                options += prefix_options(number, column, value)
            else:
                options.append([Term(number, term) for term in column.analyzer.terms(value)])
        collected.add(sign, options)
    return collected.query()


def _encode(query: TextQuery) -> bytes:
    if isinstance(query, str):
        check_length(query)
        if "*" in query:
            warn_of_asterisks(query)
        return query.encode("utf-8", "surrogatepass")
    plain = _check(query)
    encoded = json.dumps(plain, separators=(",", ":"))
    if len(encoded) > LONGEST_QUERY:
        raise InputError(f"a text query must have at most {LONGEST_QUERY:,} characters, got {len(encoded):,}")
    return MARK + encoded.encode()


def _check(query: Any) -> dict[str, Any]:
    """Check a dict of clauses, and return it with plain dicts and lists.

    Raises
    ------
    InputError
        A clause has unknown keys, or a value of the wrong type.
    """
    keys = (*SIGNS, *KINDS, COLUMN)
    if not isinstance(query, Mapping) or not all(key in keys for key in query):
        raise InputError(f"a text query must be a dict with keys among {', '.join(keys)}, got {query!r:.100}")
    plain: dict[str, Any] = _clause({key: query[key] for key in query if key not in SIGNS}, several=True)
    if COLUMN in plain and len(plain) == 1:
        raise InputError("column must be in a clause with text, phrase, prefix or tokens, got one without them")
    for group in SIGNS:
        if group in query:
            clauses = query[group]
            if isinstance(clauses, str | Mapping):
                clauses = [clauses]
            if not isinstance(clauses, list | tuple):
                raise InputError(f"{group} must be a clause or a list of clauses, got {clauses!r:.100}")
            plain[group] = [clause if isinstance(clause, str) else _clause(clause) for clause in clauses]
    return plain


def _clause(clause: Any, *, several: bool = False) -> dict[str, Any]:
    """Check a clause: one of `KINDS`, or with `several` any number of them, and optionally a column."""
    known = isinstance(clause, Mapping) and all(key in (*KINDS, COLUMN) for key in clause)
    kinds = [key for key in KINDS if key in clause] if known else []
    if not known or (not several and len(kinds) != 1):
        raise InputError(
            f"a clause must be a string, or a dict with one of {', '.join(KINDS)}, and optionally {COLUMN}, got {clause!r:.100}"
        )
    plain = dict(clause)
    for key, value in clause.items():
        if key == "tokens":
            if not isinstance(value, list | tuple) or not all(isinstance(token, str) and token for token in value):
                raise InputError(f"tokens must be a list of strings that are not empty, got {value!r:.100}")
            plain[key] = list(value)
        elif not isinstance(value, str):
            raise InputError(f"{key} must be a string, got {value!r:.100}")
    return plain


def _clauses(query: Mapping[str, Any]) -> list[tuple[str, str, Any, str | None]]:
    """Return the clauses of a checked query: sign, kind, value and column. Those outside the groups have no sign."""
    clauses = [("", kind, query[kind], query.get(COLUMN)) for kind in KINDS if kind in query]
    for group, sign in SIGNS.items():
        for clause in query.get(group, ()):
            if isinstance(clause, str):
                clauses.append((sign, "text", clause, None))
            else:
                clauses += [(sign, kind, clause[kind], clause.get(COLUMN)) for kind in KINDS if kind in clause]
    return clauses
