"""Parse Mongo-style filter dicts to expressions.

The syntax is Mongo's, the semantics are SQL's: ``$ne``, ``$nin`` and ``$not`` do not match rows where the column is
NULL.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from vsearch.errors import PredicateError
from vsearch.predicates.checking import MAXIMUM_DEPTH
from vsearch.predicates.expressions import (
    And,
    Comparison,
    Expression,
    In,
    IsEmpty,
    IsNull,
    Not,
    Operator,
    Or,
    contains,
    to_like,
    to_part,
    to_values,
)
from vsearch.predicates.literals import to_literal


def parse_mongo(where: Mapping[str, Any]) -> Expression:
    """Translate a filter dict.

    Parameters
    ----------
    where : mapping
        ``{"price": {"$lt": 10}, "tags": "new"}``; several keys are joined by AND. Operators: ``$eq $ne $gt $gte $lt
        $lte $in $nin $exists $like $ilike $contains $startsWith $endsWith $any $all $size $not`` on a column, ``$and
        $or $nor $not`` above columns. On a list column, ``$eq`` and a plain value test for membership; an empty list
        and ``{"$size": 0}`` test whether the column is empty. ``$contains`` tests for a substring or a list element.

    Raises
    ------
    PredicateError
        An operator is unknown, or its operand has the wrong type.
    """
    return _filter(where, 0)


def _filter(where: object, depth: int) -> Expression:
    if not isinstance(where, Mapping):
        raise PredicateError(f"a filter must be a dict of columns and conditions, got {where!r}")
    if depth > MAXIMUM_DEPTH:
        raise PredicateError(f"the filter is nested more than {MAXIMUM_DEPTH} levels deep")
    return _all([_entry(key, value, depth) for key, value in where.items()])


def _entry(key: object, value: object, depth: int) -> Expression:
    if not isinstance(key, str) or not key:
        raise PredicateError(f"the keys of a filter must be column names or operators, got {key!r}")
    if key in ("$and", "$or", "$nor"):
        if not isinstance(value, list | tuple) or not value:
            raise PredicateError(f"{key} needs a non-empty list of filters, got {value!r}")
        terms: tuple[Any, ...] = tuple(_filter(term, depth + 1) for term in value)
        if key == "$and":
            return _all(list(terms))
        return ~Or(terms) if key == "$nor" else Or(terms)
    if key == "$not":
        return ~_filter(value, depth + 1)
    if key.startswith("$"):
        raise _unknown(key, ("$and", "$or", "$nor", "$not"), "above columns")
    return _conditions(key, value, depth)


def _conditions(column: str, value: object, depth: int) -> Expression:
    if depth > MAXIMUM_DEPTH:
        raise PredicateError(f"the filter is nested more than {MAXIMUM_DEPTH} levels deep")
    if not isinstance(value, Mapping):
        return _compare(column, "=", value)
    if not value:
        raise PredicateError(f"the condition on {column!r} is empty; write {{{column!r}: {{'$eq': value}}}}")
    terms: list[Expression] = []
    for operator, operand in value.items():
        if operator == "$not":
            terms.append(~_conditions(column, operand, depth + 1))
        elif operator in _OPERATORS:
            terms.append(_OPERATORS[operator](column, operand))
        else:
            raise _unknown(operator, (*_OPERATORS, "$not"), f"on the column {column!r}")
    return _all(terms)


def _compare(column: str, operator: Operator, value: object) -> Expression:
    if value is None:
        raise PredicateError(
            f"{column!r} {operator} None is never true in SQL; write {{{column!r}: {{'$exists': False}}}} to find NULL"
        )
    if isinstance(value, list | tuple) and not value and operator in ("=", "!="):
        return IsEmpty(column) if operator == "=" else ~IsEmpty(column)
    if isinstance(value, list | tuple | set):
        raise PredicateError(f"{column!r} cannot be compared with the list {value!r}; use $in, $any or $all")
    return Comparison(column, operator, to_literal(value))


def _comparison(operator: Operator) -> Callable[[str, Any], Expression]:
    return lambda column, value: _compare(column, operator, value)


def _exists(column: str, value: object) -> Expression:
    if not isinstance(value, bool):
        raise PredicateError(f"$exists on {column!r} must be True or False, got {value!r}")
    return ~IsNull(column) if value else IsNull(column)


def _size(column: str, value: object) -> Expression:
    if isinstance(value, bool) or value != 0:
        raise PredicateError(f"$size on {column!r} must be 0 (the list is empty), got {value!r}")
    return IsEmpty(column)


_OPERATORS: dict[str, Callable[[str, Any], Expression]] = {
    "$eq": _comparison("="),
    "$ne": _comparison("!="),
    "$gt": _comparison(">"),
    "$gte": _comparison(">="),
    "$lt": _comparison("<"),
    "$lte": _comparison("<="),
    "$in": lambda column, values: In(column, to_values(values)),
    "$nin": lambda column, values: Not(In(column, to_values(values))),
    "$exists": _exists,
    "$like": to_like,
    "$ilike": lambda column, pattern: to_like(column, pattern, ilike=True),
    "$contains": lambda column, value: to_part(column, value, "anywhere"),
    "$startsWith": lambda column, value: to_part(column, value, "start"),
    "$endsWith": lambda column, value: to_part(column, value, "end"),
    "$size": _size,
    "$any": contains,
    "$all": lambda column, values: contains(column, values, "all"),
}


def _all(terms: list[Expression]) -> Expression:
    if len(terms) == 1:
        return terms[0]
    parts: list[Any] = []
    for term in terms:
        parts.extend(term.terms if isinstance(term, And) else (term,))
    return And(tuple(parts))


def _unknown(operator: object, known: tuple[str, ...], place: str) -> PredicateError:
    if operator == "$regex":
        return PredicateError(
            f"'$regex' is not an operator {place}; use $like, $ilike, $contains, $startsWith or $endsWith"
        )
    near = difflib.get_close_matches(str(operator), known, 1)
    hint = f"did you mean {near[0]}?" if near else f"the operators are {' '.join(known)}"
    return PredicateError(f"{operator!r} is not an operator {place}; {hint}")
