"""Comparisons of two constants, such as ``1 = 1``, which query builders write for a condition that is always true."""

from __future__ import annotations

import math
import operator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from vsearch.errors import PredicateError
from vsearch.predicates.expressions import Constant
from vsearch.predicates.literals import Date, Double, Literal, Number, Timestamp, describe

if TYPE_CHECKING:
    from vsearch.predicates.expressions import Operator

_COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "is distinct from": operator.ne,
    "is not distinct from": operator.eq,
}


def compare_constants(left: Literal, comparison: Operator, right: Literal) -> Constant:
    """Return what DuckDB's comparison of two constants of one type yields: true, false, or NULL if one of them is NULL.

    Raises
    ------
    PredicateError
        The types differ, so the result would depend on a cast.
    """
    if left is None or right is None:
        if comparison in ("is distinct from", "is not distinct from"):
            return Constant((left is right) == (comparison == "is not distinct from"))
        return Constant(None)
    (left_type, left_key), (right_type, right_key) = _ordered(left), _ordered(right)
    if left_type != right_type:
        raise PredicateError(
            f"constants can only be compared with constants of the same type, got {describe(left)} and {describe(right)}"
        )
    return Constant(bool(_COMPARE[comparison](left_key, right_key)))


def _ordered(value: Literal) -> tuple[str, Any]:
    """Return the type of a constant, and a key in the order of SQL: texts by code point, NaN above all doubles."""
    if isinstance(value, bool | str):
        return type(value).__name__, value
    if isinstance(value, Double):
        return "double", (True, 0.0) if math.isnan(value.value) else (False, value.value)
    if isinstance(value, Date):
        return "date", value.days
    if isinstance(value, Timestamp):
        return "timestamp", (value.microseconds, value.nanoseconds)
    return "decimal", Decimal(value.text if isinstance(value, Number) else repr(value))
