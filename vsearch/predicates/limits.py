"""How much a predicate may say, found out before anything slow reads it; and long lists of SQL, which are taken out first.

A SQL parser takes some 50 us and 1 kB for every word. A list of literals needs no parser: it is read by one pattern, and a
short list stands for it in the text that is parsed.
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
"""Literals of a list that is taken out."""

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
        The SQL with a list of two in the place of each: its first literal, and a string that names it.

    Raises
    ------
    PredicateError
        The text is longer, or says more, than a predicate may.
    """

    def __init__(self, sql: str) -> None:
        if len(sql) > MAXIMUM_LENGTH:
            raise PredicateError(f"a WHERE string of {len(sql)} characters is too long; {MAXIMUM_LENGTH} are allowed")
        self._mark = f"list-{token_hex(16)}-"
        self._lists: list[str] = []
        self._read_so_far = 0
        self.text = _SCAN.sub(self._take, sql)
        depth = deepest = picked = 0
        before = ""
        for words, found in enumerate(_WORD.finditer(self.text), 1):
            word = found[0]
            if word in ("(", "["):
                depth += 1
                picked += word == "[" and before == "]"
                deepest = max(deepest, depth, picked)
            elif word in (")", "]"):
                depth -= 1
            before = word
            if words > MAXIMUM_WORDS:
                raise PredicateError(
                    f"the WHERE string has more than {MAXIMUM_WORDS} words and signs; use IN for long lists of values"
                )
            if deepest > MAXIMUM_NESTING:
                raise PredicateError(f"the WHERE string has parentheses nested more than {MAXIMUM_NESTING} deep")

    def _take(self, found: re.Match[str]) -> str:
        listed = found["list"]
        if listed is None:
            return found[0]
        first = _ITEM.match(listed)
        self._lists.append(listed)
        return f"{found['open']}{first[0] if first else ''}, '{self._mark}{len(self._lists) - 1}'{found['close']}"

    def put_back(self, expression: Expression) -> Expression:
        """The expression that was parsed, with all literals of the lists."""
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
        """An error about the shortened text, as one about the text that was given."""
        return type(error)(re.sub(rf"'?{self._mark}\d*'?", "...", str(error)))

    def _named(self, values: tuple[Literal, ...]) -> str | None:
        last = values[-1] if values else None
        if not isinstance(last, str) or not last.startswith(self._mark):
            return None
        return self._lists[int(last.removeprefix(self._mark))]

    def _read(self, listed: str) -> tuple[Literal, ...]:
        from sqlglot import exp

        from vsearch.predicates.sql_values import literal

        items = _ITEM.findall(listed)
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
    """Refuse a filter dict that is nested too deep or holds too many values, before these are read.

    Raises
    ------
    PredicateError
    """
    values = 0
    level: list[tuple[Any, int]] = [(where, 0)]
    while level:
        node, depth = level.pop()
        if depth > 2 * MAXIMUM_DEPTH:
            raise PredicateError(f"the filter is nested more than {MAXIMUM_DEPTH} deep")
        if isinstance(node, Mapping):
            level += [(value, depth + 1) for value in node.values()]
            values += len(node)
        elif isinstance(node, list | tuple | set | frozenset):
            values += len(node)
            if values <= MAXIMUM_VALUES:
                level += [(each, depth + 1) for each in node if isinstance(each, Mapping | list | tuple)]
        elif isinstance(node, str) and len(node) > MAXIMUM_LENGTH:
            raise PredicateError(f"a value of {len(node)} characters is too long; {MAXIMUM_LENGTH} are allowed")
        if values > MAXIMUM_VALUES:
            raise _too_many()


def _too_many() -> PredicateError:
    return PredicateError(f"the lists of the predicate hold more than {MAXIMUM_VALUES} values")
