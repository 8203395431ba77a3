"""Size limits of predicates, checked before anything slow reads them, and extraction of long lists from SQL.

A SQL parser takes some 50 us and 1 kB per word. A list of literals needs no parser: it is matched by a regular
expression and replaced by a short placeholder list in the text to parse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

import msgspec

from vsearch.errors import PredicateError
from vsearch.predicates.checking import MAXIMUM_DEPTH, children
from vsearch.predicates.expressions import MAXIMUM_VALUES, Coalesce, Contains, Expression, In, Is, Not
from vsearch.predicates.literals import Literal

MAXIMUM_LENGTH = 4 << 20
MAXIMUM_WORDS = 20_000
MAXIMUM_NESTING = 200
LONG = 8
"""Minimum number of literals of a list that is extracted."""

_LITERAL = r"(?>(?:-\s*+)?+\d++(?:\.\d++)?+(?:[eE][+-]?+\d++)?+(?!\w)|'(?:[^'\\]|'')*+')"
_TEXT = r"""'(?:[^']|'')*+'|"(?:[^"]|"")*+"|--[^\n]*+|/\*(?s:.)*?\*/"""
_SCAN = re.compile(
    rf"(?P<open>[(\[])\s*+(?P<list>{_LITERAL}(?:\s*+,\s*+{_LITERAL}){{{LONG - 1},}}+)\s*+(?P<close>[)\]])|(?:{_TEXT})"
)
_ITEM = re.compile(_LITERAL)
_WORD = re.compile(rf"{_TEXT}|\w++|[^\w\s]")


class LongLists:
    """The long lists of literals of one SQL text.

    Attributes
    ----------
    text : str
        The SQL with each long list replaced by a list of two: its first literal, and a string that identifies it.

    Raises
    ------
    PredicateError
        The text exceeds the limits on characters, words or nesting.
    """

    def __init__(self, sql: str) -> None:
        if len(sql) > MAXIMUM_LENGTH:
            raise PredicateError(
                f"a WHERE string of {len(sql)} characters is too long; at most {MAXIMUM_LENGTH} are allowed"
            )
        self._mark = f"list-{token_hex(16)}-"
        self._lists: list[str] = []
        self._read_so_far = 0
        self.text = _SCAN.sub(self._take, sql)
        depth = deepest = subscripts = 0
        previous = ""
        for words, match in enumerate(_WORD.finditer(self.text), 1):
            word = match[0]
            if word in ("(", "["):
                depth += 1
                subscripts += word == "[" and previous == "]"
                deepest = max(deepest, depth, subscripts)
            elif word in (")", "]"):
                depth -= 1
            previous = word
            if words > MAXIMUM_WORDS:
                raise PredicateError(
                    f"the WHERE string has more than {MAXIMUM_WORDS} words and symbols; use IN for long lists of values"
                )
            if deepest > MAXIMUM_NESTING:
                raise PredicateError(f"the WHERE string has parentheses nested more than {MAXIMUM_NESTING} levels deep")

    def _take(self, match: re.Match[str]) -> str:
        literals = match["list"]
        if literals is None:
            return match[0]
        first = _ITEM.match(literals)
        self._lists.append(literals)
        return f"{match['open']}{first[0] if first else ''}, '{self._mark}{len(self._lists) - 1}'{match['close']}"

    def put_back(self, expression: Expression) -> Expression:
        """Replace the placeholders in a parsed expression with the literals of their lists."""
        if not self._lists:
            return expression
        if isinstance(expression, In | Contains) and self._named(expression.values) is not None:
            return msgspec.structs.replace(expression, values=self._read(self._named(expression.values) or ""))
        if isinstance(expression, Not | Is | Coalesce):
            return msgspec.structs.replace(expression, term=self.put_back(expression.term))
        if not children(expression):
            return expression
        terms = tuple(self.put_back(term) for term in children(expression))
        return msgspec.structs.replace(expression, terms=terms)

    def explained(self, error: PredicateError) -> PredicateError:
        """Return an error about the shortened text with placeholders replaced by ``...``."""
        return type(error)(re.sub(rf"'?{self._mark}\d*'?", "...", str(error)))

    def _named(self, values: tuple[Literal, ...]) -> str | None:
        last = values[-1] if values else None
        if not isinstance(last, str) or not last.startswith(self._mark):
            return None
        return self._lists[int(last.removeprefix(self._mark))]

    def _read(self, literals: str) -> tuple[Literal, ...]:
        from sqlglot import exp

        from vsearch.predicates.sql_values import literal

        items = _ITEM.findall(literals)
        self._read_so_far += len(items)
        if self._read_so_far > MAXIMUM_VALUES:
            raise _too_many()
        values: list[Literal] = []
        for item in items:
            if item[0] == "'":
                node: Any = exp.Literal.string(item[1:-1].replace("''", "'"))
            elif item[0] == "-":
                node = exp.Neg(this=exp.Literal.number(item[1:].strip()))
            else:
                node = exp.Literal.number(item)
            values.append(literal(node))
        return tuple(values)


def check_filter(where: Mapping[str, Any]) -> None:
    """Reject a filter dict that is nested too deeply or has too many values, before its values are converted.

    Raises
    ------
    PredicateError
        A limit is exceeded.
    """
    values = 0
    level: list[tuple[Any, int]] = [(where, 0)]
    while level:
        node, depth = level.pop()
        if depth > 2 * MAXIMUM_DEPTH:
            raise PredicateError(f"the filter is nested more than {MAXIMUM_DEPTH} levels deep")
        if isinstance(node, Mapping):
            level += [(value, depth + 1) for value in node.values()]
            values += len(node)
        elif isinstance(node, list | tuple | set | frozenset):
            values += len(node)
            if values <= MAXIMUM_VALUES:
                level += [(item, depth + 1) for item in node if isinstance(item, Mapping | list | tuple)]
        elif isinstance(node, str) and len(node) > MAXIMUM_LENGTH:
            raise PredicateError(f"a value of {len(node)} characters is too long; at most {MAXIMUM_LENGTH} are allowed")
        if values > MAXIMUM_VALUES:
            raise _too_many()


def _too_many() -> PredicateError:
    return PredicateError(f"the lists of the predicate hold more than {MAXIMUM_VALUES} values")
