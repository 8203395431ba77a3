"""Size limits, validation and serialization of expressions."""

from __future__ import annotations

from typing import Any

import msgspec

from vsearch.errors import PredicateError
from vsearch.predicates.expressions import (
    MAXIMUM_VALUES,
    And,
    Coalesce,
    Contains,
    Expression,
    In,
    Is,
    Like,
    Node,
    Not,
    Or,
    to_like,
)

MAXIMUM_NODES = 1_000
MAXIMUM_DEPTH = 100


def check_size(expression: Expression) -> Expression:
    """Reject an expression that is too large or too deeply nested to be handled safely.

    Raises
    ------
    PredicateError
        More than 1,000 nodes, nested deeper than 100, or more than 100,000 values in its lists.
    """
    nodes = values = depth = 0
    level: list[tuple[Expression, int]] = [(expression, 1)]
    while level:
        nodes += sum(weight for _, weight in level)
        depth += 1
        if nodes > MAXIMUM_NODES:
            raise PredicateError(f"the predicate has more than {MAXIMUM_NODES} parts; use IN for long lists of values")
        if depth > MAXIMUM_DEPTH:
            raise PredicateError(f"the predicate is nested more than {MAXIMUM_DEPTH} levels deep")
        values += sum(len(node.values) * weight for node, weight in level if isinstance(node, In | Contains))
        if values > MAXIMUM_VALUES:
            raise PredicateError(f"the lists of the predicate hold more than {MAXIMUM_VALUES} values")
        # IS UNKNOWN binds its term twice, for true and for false
        level = [
            (child, 2 * weight if isinstance(node, Is) and node.value is None else weight)
            for node, weight in level
            for child in children(node)
        ]
    return expression


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the direct children of a node; none for a leaf."""
    if isinstance(expression, And | Or):
        return expression.terms
    return (expression.term,) if isinstance(expression, Not | Is | Coalesce) else ()


def has_empty_group(expression: Expression) -> bool:
    """Whether an AND or OR has no terms, as an empty dict within a filter."""
    level = [expression]
    while level:
        if any(isinstance(node, And | Or) and not node.terms for node in level):
            return True
        level = [child for node in level for child in children(node)]
    return False


def encode(expression: Expression) -> bytes:
    """Serialize an expression as msgpack."""
    return msgspec.msgpack.encode(expression)


def decode(data: bytes) -> Expression:
    """Deserialize an expression from untrusted msgpack.

    Raises
    ------
    PredicateError
        The bytes are not an expression, or one beyond the limits of `check_size`.
    """
    try:
        expression: Any = msgspec.msgpack.decode(data, type=Node)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PredicateError(f"cannot decode the predicate: {error}") from None
    check_size(expression)
    return validate(expression)


def validate(expression: Expression) -> Expression:
    """Check the LIKE patterns of an expression that was not built by `col` or a parser."""
    level = [expression]
    while level:
        for node in level:
            if isinstance(node, Like) and node.pattern is not None:
                to_like(node.column, node.pattern, node.escape, node.fold)
        level = [child for node in level for child in children(node)]
    return expression
