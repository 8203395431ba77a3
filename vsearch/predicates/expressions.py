"""Predicates as data: a small tree of frozen structs, and `col` to write one in Python.

The meaning is SQL's, whatever the spelling: a comparison with NULL is neither true nor false, ``NOT`` of that is still
neither, and a row is found only where the whole predicate is true. So ``col("x") != 3`` does not find rows where ``x`` is NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from itertools import islice
from typing import Annotated, Any, NoReturn
from typing import Literal as OneOf

import msgspec

from vsearch.errors import PredicateError
from vsearch.predicates.literals import Literal, to_literal

MAXIMUM_NODES = 1_000
MAXIMUM_DEPTH = 100
MAXIMUM_VALUES = 100_000
MAXIMUM_PATTERN = 10_000

Operator = OneOf["=", "!=", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Values = Annotated[tuple[Literal, ...], msgspec.Meta(max_length=MAXIMUM_VALUES)]


class Expression(msgspec.Struct, frozen=True, tag_field="kind"):
    """Any node of a predicate. Combine with ``&`` (and), ``|`` (or), ``~`` (not)."""

    def __and__(self, other: Expression | Column) -> And:
        return And((*_terms(self, And), *_terms(_operand(other), And)))

    def __or__(self, other: Expression | Column) -> Or:
        return Or((*_terms(self, Or), *_terms(_operand(other), Or)))

    def __invert__(self) -> Not:
        return Not(self)  # type: ignore[arg-type]

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        refuse_bool()


class Comparison(Expression, frozen=True, tag="comparison"):
    """``column operator value``."""

    column: Name
    operator: Operator
    value: Literal


class In(Expression, frozen=True, tag="in"):
    """``column IN (values)``; false where ``values`` is empty."""

    column: Name
    values: Values


class Like(Expression, frozen=True, tag="like"):
    """``column LIKE pattern``: ``%`` is any text, ``_`` one code point; nothing escapes them unless ``escape`` is given."""

    column: Name
    pattern: Annotated[str, msgspec.Meta(max_length=MAXIMUM_PATTERN)] | None
    escape: Annotated[str, msgspec.Meta(max_length=1)] = ""


class IsNull(Expression, frozen=True, tag="null"):
    """``column IS NULL``."""

    column: Name


class Contains(Expression, frozen=True, tag="contains"):
    """A list column holds any or all of the values.

    NULL elements and NULL values never match. ``mode="element"`` is ``value = ANY(column)``, which SQL defines otherwise:
    neither true nor false where the list has a NULL element and no match, and false where the list is NULL.
    """

    column: Name
    values: Values
    mode: OneOf["any", "all", "element"] = "any"


class Constant(Expression, frozen=True, tag="constant"):
    """``TRUE``, ``FALSE`` or ``NULL``."""

    value: bool | None


class Not(Expression, frozen=True, tag="not"):
    """``NOT term``."""

    term: Node


class And(Expression, frozen=True, tag="and"):
    """All terms, joined by ``AND``; true where there is none."""

    terms: tuple[Node, ...]


class Or(Expression, frozen=True, tag="or"):
    """All terms, joined by ``OR``; false where there is none."""

    terms: tuple[Node, ...]


Node = Comparison | In | Like | IsNull | Contains | Constant | Not | And | Or


class Column:
    """A column by name, to build an expression from: ``(col("price") < 10) & col("tags").contains("new")``.

    A column of bools may itself stand where an expression is expected.
    """

    __slots__ = ("name",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        if not name or not isinstance(name, str):
            raise PredicateError(f"a column is named by a string, not by {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"col({self.name!r})"

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        refuse_bool()

    def __eq__(self, value: object) -> Comparison:  # type: ignore[override]
        return self._compare("=", value)

    def __ne__(self, value: object) -> Comparison:  # type: ignore[override]
        return self._compare("!=", value)

    def __lt__(self, value: object) -> Comparison:
        return self._compare("<", value)

    def __le__(self, value: object) -> Comparison:
        return self._compare("<=", value)

    def __gt__(self, value: object) -> Comparison:
        return self._compare(">", value)

    def __ge__(self, value: object) -> Comparison:
        return self._compare(">=", value)

    def __and__(self, other: Expression | Column) -> And:
        return _operand(self) & other

    def __or__(self, other: Expression | Column) -> Or:
        return _operand(self) | other

    def __invert__(self) -> Not:
        return ~_operand(self)

    def is_in(self, values: Iterable[object]) -> In:
        """``IN``: equal to one of the values. None among them is SQL's NULL and never matches."""
        return In(self.name, to_values(values))

    def not_in(self, values: Iterable[object]) -> Not:
        """``NOT IN``: never true where None is among the values, as in SQL."""
        return Not(self.is_in(values))

    def between(self, low: object, high: object) -> And:
        """``BETWEEN``: from low to high, both included."""
        return And((Comparison(self.name, ">=", to_literal(low)), Comparison(self.name, "<=", to_literal(high))))

    def like(self, pattern: str, escape: str = "") -> Like:
        """``LIKE``: ``%`` stands for any text, ``_`` for one code point, the character after ``escape`` for itself."""
        return to_like(self.name, pattern, escape)

    def is_null(self) -> IsNull:
        """``IS NULL``."""
        return IsNull(self.name)

    def is_not_null(self) -> Not:
        """``IS NOT NULL``."""
        return Not(IsNull(self.name))

    def contains(self, value: object) -> Contains | Comparison:
        """The list holds this value (``list_contains``)."""
        return contains_one(self.name, value)

    def contains_any(self, values: Iterable[object]) -> Contains:
        """The list holds at least one of the values (``list_has_any``)."""
        return contains(self.name, values)

    def contains_all(self, values: Iterable[object]) -> Contains:
        """The list holds every one of the values (``list_has_all``)."""
        return contains(self.name, values, "all")

    def _compare(self, operator: Operator, value: object) -> Comparison:
        if value is None:
            raise PredicateError(
                f"{self!r} {operator} None is never true in SQL; use {self!r}.is_null() or {self!r}.is_not_null()"
            )
        if isinstance(value, Column):
            raise PredicateError(
                f"{self!r} {operator} {value!r}: a column is compared with a value, not with another column"
            )
        return Comparison(self.name, operator, to_literal(value))


def col(name: str) -> Column:
    """Name a column to build an expression from.

    Examples
    --------
    >>> (col("price") < 10) & col("tags").contains("new")
    And(terms=(Comparison(column='price', operator='<', value=10), Contains(column='tags', values=('new',), mode='any')))
    """
    return Column(name)


def to_values(values: Iterable[object]) -> tuple[Literal, ...]:
    """Turn the values of a list into literals.

    Raises
    ------
    PredicateError
        It is a single string or no iterable, or holds more than 100,000 values.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise PredicateError(f"a list of values is expected, not {values!r}")
    if isinstance(values, Sized) and len(values) > MAXIMUM_VALUES:
        raise PredicateError(
            f"a list of {len(values)} values is too long for a predicate; {MAXIMUM_VALUES} are allowed"
        )
    literals = tuple(to_literal(value) for value in islice(values, MAXIMUM_VALUES + 1))
    if len(literals) > MAXIMUM_VALUES:
        raise PredicateError(f"a list of more than {MAXIMUM_VALUES} values is too long for a predicate")
    return literals


def to_like(column: str, pattern: object, escape: object = "") -> Like:
    """Build a LIKE, its pattern and escape character checked."""
    if not isinstance(pattern, str):
        raise PredicateError(f"LIKE on {column!r} needs a string as its pattern, not {pattern!r}")
    if not isinstance(escape, str) or len(escape.encode("utf-8", "replace")) > 1:
        raise PredicateError(f"ESCAPE needs one ASCII character, or none, not {escape!r}")
    if len(pattern) > MAXIMUM_PATTERN:
        raise PredicateError(f"a LIKE pattern of {len(pattern)} characters is too long; {MAXIMUM_PATTERN} are allowed")
    return Like(column, str(to_literal(pattern)), escape)


def contains(column: str, values: Iterable[object], mode: OneOf["any", "all", "element"] = "any") -> Contains:
    """Build a list membership test."""
    return Contains(column, to_values(values), mode)


def contains_one(column: str, value: object) -> Contains | Comparison:
    """Build the test for one value; for NULL it is neither true nor false, unlike for a list of NULL."""
    return Comparison(column, "=", None) if value is None else contains(column, [value])


def check_size(expression: Expression) -> Expression:
    """Refuse an expression that is too large or too deep to be handled safely.

    Raises
    ------
    PredicateError
        More than 1,000 nodes, nested deeper than 100, or more than 100,000 values in its lists.
    """
    nodes = values = depth = 0
    level: list[Expression] = [expression]
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAXIMUM_NODES:
            raise PredicateError(f"the predicate has more than {MAXIMUM_NODES} parts; use IN for long lists of values")
        if depth > MAXIMUM_DEPTH:
            raise PredicateError(f"the predicate is nested more than {MAXIMUM_DEPTH} deep")
        values += sum(len(node.values) for node in level if isinstance(node, In | Contains))
        if values > MAXIMUM_VALUES:
            raise PredicateError(f"the lists of the predicate hold more than {MAXIMUM_VALUES} values")
        level = [child for node in level for child in children(node)]
    return expression


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct parts of a node; nothing for a leaf."""
    if isinstance(expression, And | Or):
        return expression.terms
    return (expression.term,) if isinstance(expression, Not) else ()


def encode(expression: Expression) -> bytes:
    """Write an expression as msgpack."""
    return msgspec.msgpack.encode(expression)


def decode(data: bytes) -> Expression:
    """Read an expression from msgpack that may come from anywhere.

    Raises
    ------
    PredicateError
        The bytes are no expression, or one beyond the bounds of `check_size`.
    """
    try:
        expression: Any = msgspec.msgpack.decode(data, type=Node)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PredicateError(f"these bytes are no predicate: {error}") from None
    check_size(expression)
    return validate(expression)


def validate(expression: Expression) -> Expression:
    """Check the texts of an expression that was not built by `col` or a parser."""
    level = [expression]
    while level:
        for node in level:
            if isinstance(node, Like) and node.pattern is not None:
                to_like(node.column, node.pattern, node.escape)
        level = [child for node in level for child in children(node)]
    return expression


def refuse_bool() -> NoReturn:
    """Explain why a predicate has no truth value in Python."""
    raise PredicateError(
        "a predicate is neither true nor false in Python: join with & and | and ~ instead of and, or, not, put every "
        'comparison in parentheses, and write a < col("x") < b as (col("x") > a) & (col("x") < b)'
    )


def _operand(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, Column):
        return Comparison(value.name, "=", True)
    raise PredicateError(
        f"{value!r} is no predicate; put each comparison in parentheses: (col('a') < 1) & (col('b') > 2)"
    )


def _terms(expression: Expression, kind: type[And | Or]) -> tuple[Any, ...]:
    return expression.terms if isinstance(expression, kind) else (expression,)
