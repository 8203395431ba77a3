"""Parse the three predicate syntaxes through one function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsearch.errors import PredicateError
from vsearch.predicates.checking import check_size, has_empty_group, validate
from vsearch.predicates.expressions import Column, Comparison, Expression

Where = str | Mapping[str, Any] | Expression | Column | None


def parse(where: Where) -> Expression | None:
    """Parse a ``where`` argument.

    Parameters
    ----------
    where : str, mapping, Expression, Column or None
        A SQL condition, a Mongo-style dict, an expression built with `col`, a bool column, or None for all rows.

    Returns
    -------
    Expression or None
        None if all rows match: for None and for an empty dict.

    Raises
    ------
    PredicateError
        The argument is not a predicate, or exceeds the size limits.
    """
    if where is None:
        return None
    if isinstance(where, Expression):
        return validate(check_size(where))
    if isinstance(where, Column):
        return Comparison(where.name, "=", True)
    if isinstance(where, str):
        from vsearch.predicates.sql import parse_sql

        return check_size(parse_sql(where))
    if isinstance(where, Mapping):
        from vsearch.predicates.limits import check_filter
        from vsearch.predicates.mongo import parse_mongo

        check_filter(where)
        return check_size(parse_mongo(where)) if where else None
    raise PredicateError(
        f"`where` must be a SQL string, a dict or an expression of vsearch.col, got {type(where).__name__}"
    )


def parse_selection(where: Where) -> Expression:
    """Parse the ``where`` of a change: unlike that of a search it has to name rows, and ``"true"`` for all of them.

    Raises
    ------
    PredicateError
        As for `parse`; or the predicate is empty, or has an empty group: often a filter whose conditions got lost.
    """
    expression = parse(where)
    if expression is None or has_empty_group(expression):
        raise PredicateError(
            f"an empty filter does not say which rows to change, got {where!r:.200}; "
            'name a condition, or pass where="true" to change all rows'
        )
    return expression
