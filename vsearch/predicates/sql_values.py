"""Parse the columns and literals of SQL conditions, and reject everything else."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from vsearch.errors import PredicateError
from vsearch.predicates.literals import (
    Double,
    Literal,
    Number,
    parse_date,
    parse_number,
    parse_timestamp,
    to_literal,
)

if TYPE_CHECKING:
    from sqlglot import exp

_CASTS = {
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NS",
    "TIMESTAMPNTZ",
    "TIMESTAMPTZ",
    "TIMESTAMPLTZ",
    "DATETIME",
    "TEXT",
    "VARCHAR",
}

_FLOATS = {"DOUBLE", "FLOAT", "REAL"}


def bare(node: exp.Expr) -> exp.Expr:
    """Strip the parentheses around a node."""
    while type(node).__name__ == "Paren":
        node = node.this
    return node


def is_column(node: exp.Expr) -> bool:
    """Return whether a node is a column, with or without parentheses."""
    return type(bare(node)).__name__ == "Column"


def column_name(node: exp.Expr) -> str:
    """Return the name of a column; ``a.b`` names the column "a.b"."""
    parts: list[Any] = getattr(bare(node), "parts", [])
    if not all(type(part).__name__ == "Identifier" and part.this for part in parts):
        raise refusal(node)
    return ".".join(part.name for part in parts)


def column_of(node: exp.Expr, parent: exp.Expr) -> str:
    """Return the name of the column that a node must be; ``parent`` is the condition to show in errors."""
    node = bare(node)
    if is_column(node):
        return column_name(node)
    if type(node).__name__ in ("Literal", "Boolean", "Null", "Neg"):
        raise PredicateError(f"{sql_text(parent)}: the left side must be a column")
    raise refusal(node)


def literals(nodes: list[exp.Expr]) -> list[Literal]:
    """Convert nodes that must be literals."""
    return [literal(node) for node in nodes]


def literal(node: exp.Expr) -> Literal:
    """Convert a node that must be a literal."""
    node = bare(node)
    kind = type(node).__name__
    if kind == "Literal":
        return to_literal(node.this) if node.is_string else parse_number(node.this)
    if kind == "Null":
        return None
    if kind == "Boolean":
        return bool(node.this)
    if kind == "Neg":
        return _negated(literal(node.this), node)
    if kind == "Cast":
        return _cast(node)
    if kind == "Column":
        raise PredicateError(
            f"{sql_text(node)} must be a value: a column cannot be compared with another column; "
            "put strings in single quotes"
        )
    raise refusal(node)


def _negated(value: Literal, node: exp.Expr) -> Literal:
    if isinstance(value, bool) or not isinstance(value, int | float | Number | Double):
        raise PredicateError(f"{sql_text(node)}: only numbers can be negated")
    if isinstance(value, Double):
        return Double(-value.value)
    if isinstance(value, Number):
        return Number(value.text[1:] if value.text.startswith("-") else "-" + value.text)
    return to_literal(-value)


def _cast(node: exp.Expr) -> Literal:
    """Convert ``DATE '...'``, ``TIMESTAMP '...'``, and casts to floats: ``0.1::DOUBLE``, ``'NaN'::DOUBLE``."""
    target = node.args["to"].this
    name = getattr(target, "name", str(target)).upper()
    value = literal(node.this)
    if name in _FLOATS and not isinstance(value, bool) and isinstance(value, str | int | float | Number | Double):
        return _float(node, value, single=name != "DOUBLE")
    if name not in _CASTS or not isinstance(value, str):
        raise PredicateError(
            f"{sql_text(node)}: the supported casts are DATE '...' and TIMESTAMP '...' of a string, "
            "and DOUBLE or FLOAT of a number"
        )
    if name == "DATE":
        return parse_date(value)
    return value if name in ("TEXT", "VARCHAR") else parse_timestamp(value)


def _float(node: exp.Expr, value: str | float | Number | Double, *, single: bool) -> Double:
    """Convert a number, or its text, to a double; rounded to float32 first if `single`."""
    text = value.text if isinstance(value, Number) else value.value if isinstance(value, Double) else value
    try:
        number = float(text)
        if single and math.isfinite(number):
            number = struct.unpack("<f", struct.pack("<f", number))[0]
    except ValueError:
        raise PredicateError(f"{sql_text(node)}: {value!r} is not a number") from None
    except OverflowError:
        raise PredicateError(
            f"{sql_text(node)}: the number is out of range for {'FLOAT' if single else 'DOUBLE'}"
        ) from None
    return Double(number)


_REFUSED = {
    "Select": "a subquery or a SELECT statement is not a predicate; pass only the condition",
    "Subquery": "a predicate cannot contain a subquery",
    "Exists": "a predicate cannot contain a subquery",
    "SimilarTo": "SIMILAR TO is not supported; use LIKE",
    "RegexpLike": "regular expressions are not supported; use LIKE",
    "Placeholder": "parameters are not supported; write the value, or use vsearch.col",
    "Parameter": "parameters are not supported; write the value, or use vsearch.col",
    "Any": "ANY is supported as value = ANY(list_column)",
    "Bracket": "subscripts of lists are not supported; use list_contains(column, value)",
    "Interval": "intervals are not supported; compute the time and write TIMESTAMP '...'",
    "Case": "CASE is not supported",
    "Literal": "a value is not a predicate; compare a column with it",
    "ByteString": "E'...' strings are not supported; write a plain '...' string",
    "National": "N'...' strings are not supported; write a plain '...' string",
}
_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "IntDiv", "Mod", "Neg", "Pow", "DPipe", "BitwiseAnd", "BitwiseOr"}


def refusal(node: exp.Expr) -> PredicateError:
    """Return the error that explains in one line why a node is not supported."""
    from sqlglot import exp

    kind = type(node).__name__
    if kind in _REFUSED:
        reason = _REFUSED[kind]
    elif kind in _ARITHMETIC:
        reason = "arithmetic is not supported; compare the column itself with a value"
    elif isinstance(node, exp.Func):
        reason = (
            "functions are not supported, except lower, upper, contains, starts_with, ends_with, coalesce, "
            "and list_contains, list_has_any, list_has_all and len on a list column"
        )
    else:
        reason = "this is not supported in a predicate"
    return PredicateError(f"{sql_text(node)}: {reason}")


def sql_text(node: exp.Expr) -> str:
    """Render a node as SQL, shortened for a message."""
    return short(node.sql(dialect="duckdb"))


def short(text: str) -> str:
    """Shorten a text for a message."""
    return text if len(text) <= 80 else text[:77] + "..."
