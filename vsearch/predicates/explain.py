"""Render expressions as normalized SQL that `parse` and DuckDB accept."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from vsearch.predicates.expressions import (
    And,
    Coalesce,
    Comparison,
    Constant,
    Contains,
    Expression,
    In,
    Is,
    IsEmpty,
    IsNull,
    Like,
    Not,
    Or,
    Part,
)
from vsearch.predicates.literals import Date, Double, Literal, Number, Timestamp, date_text, timestamp_text

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LEAF, _NOT, _AND, _OR = 4, 3, 2, 1
_RESERVED = """
all analyse analyze and any array as asc asof at between both by case cast check collate column constraint create cross
current_catalog current_date current_role current_time current_timestamp current_user date default deferrable desc
describe distinct do else end except exists extract false fetch filter for foreign from full glob grant group having
ilike in initially inner intersect interval into is isnull join lambda lateral leading left like limit localtime
localtimestamp map natural not notnull null offset on only or order outer over pivot placing positional primary qualify
references returning right row select semi anti session_user show similar some struct summarize symmetric table then
time timestamp to trailing true try_cast union unique unnest unpivot user using values variadic when where window with
"""
_QUOTED_NAMES = frozenset(_RESERVED.split())


def to_sql(expression: Expression | None, longest: int | None = None) -> str:
    """Render an expression as a SQL condition.

    Parameters
    ----------
    expression : Expression or None
        None matches all rows and renders as ``TRUE``.
    longest : int, optional
        Abbreviate lists of more than this many values with ``...``; the text can then no longer be parsed.
    """
    return "TRUE" if expression is None else _render(expression, _OR, longest)


def sql_name(name: str) -> str:
    """Return a column name, in double quotes if needed."""
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in _QUOTED_NAMES:
        return name
    return '"' + name.replace('"', '""') + '"'


def sql_literal(value: Literal) -> str:
    """Render a literal as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, Timestamp):
        return f"TIMESTAMP{'_NS' if value.nanoseconds else ''} '{timestamp_text(value)}'"
    if isinstance(value, Date):
        return f"DATE '{date_text(value)}'"
    if isinstance(value, Number):
        return value.text
    if isinstance(value, Double):
        text = repr(value.value)
        return (text if "e" in text else f"{text}e0") if math.isfinite(value.value) else f"'{text}'::DOUBLE"
    if isinstance(value, float):
        if math.isfinite(value):
            # In SQL a number with an exponent is a double, without one a decimal; integers compare differently with
            # each.
            text = repr(value)
            if value.is_integer():
                return text if "e" in text else f"{text}e0"
            return format(Decimal(text), "f")
        return f"'{value}'::DOUBLE"
    return str(value)


def _render(node: Expression, above: int, longest: int | None) -> str:
    binding, text = _text(node, longest)
    return text if binding >= above else f"({text})"


def _text(node: Expression, longest: int | None) -> tuple[int, str]:
    """Return the binding strength of the text, and the text."""
    if isinstance(node, And | Or):
        if not node.terms:
            return _LEAF, "TRUE" if isinstance(node, And) else "FALSE"
        binding, word = (_AND, " AND ") if isinstance(node, And) else (_OR, " OR ")
        if len(node.terms) == 1:
            return _text(node.terms[0], longest)
        return binding, word.join(_render(term, binding + 1, longest) for term in node.terms)
    if isinstance(node, Not):
        return _negated(node.term, longest)
    if isinstance(node, Is):
        return _LEAF, _is(node, "", longest)
    return _LEAF, _leaf(node, "", longest)


def _is(node: Is, negation: str, longest: int | None) -> str:
    return f"({_text(node.term, longest)[1]}) IS {negation}{sql_literal(node.value)}"


def _negated(term: Expression, longest: int | None) -> tuple[int, str]:
    if isinstance(term, IsNull | Like) or (isinstance(term, In) and term.values):
        return _LEAF, _leaf(term, "NOT ", longest)
    if isinstance(term, Is):
        return _LEAF, _is(term, "NOT ", longest)
    return _NOT, f"NOT {_render(term, _LEAF, longest)}"


def _leaf(node: Expression, negation: str, longest: int | None) -> str:
    if isinstance(node, Constant):
        return sql_literal(node.value)
    default = ""
    if isinstance(node, Coalesce):
        default = sql_literal(node.value)
        node = node.term
    if not isinstance(node, Comparison | In | Like | Part | IsNull | IsEmpty | Contains):
        raise TypeError(f"{node!r} is not a node of a predicate")
    column = sql_name(node.column)
    if isinstance(node, Comparison | In | Like | Part) and node.fold:
        column = f"{node.fold}({column})"
    if default:
        column = f"COALESCE({column}, {default})"
    if isinstance(node, Part):
        name = {"anywhere": "contains", "start": "starts_with", "end": "ends_with"}[node.place]
        return f"{name}({column}, {sql_literal(node.value)})"
    if isinstance(node, IsEmpty):
        return f"{column} = []"
    if isinstance(node, Comparison):
        return f"{column} {node.operator.upper()} {sql_literal(node.value)}"
    if isinstance(node, In):
        return f"{column} {negation}IN ({_list(node.values, longest)})" if node.values else "FALSE"
    if isinstance(node, IsNull):
        return f"{column} IS {negation}NULL"
    if isinstance(node, Like):
        escape = f" ESCAPE {sql_literal(node.escape)}" if node.escape else ""
        return f"{column} {negation}LIKE {sql_literal(node.pattern)}{escape}"
    if node.mode == "element":
        return "(" + " OR ".join(f"{sql_literal(value)} = ANY({column})" for value in node.values) + ")"
    if len(node.values) == 1 and node.values[0] is not None:
        return f"list_contains({column}, {sql_literal(node.values[0])})"
    return f"list_has_{node.mode}({column}, [{_list(node.values, longest)}])"


def _list(values: tuple[Literal, ...], longest: int | None) -> str:
    if longest is not None and len(values) > longest:
        return ", ".join(sql_literal(value) for value in values[:longest]) + f", ... {len(values) - longest} more"
    return ", ".join(sql_literal(value) for value in values)
