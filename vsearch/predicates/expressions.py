"""Predicates as data: a small tree of frozen structs, and `col` to build one in Python.

All syntaxes have SQL semantics: a comparison with NULL is neither true nor false, nor is its ``NOT``, and a row matches
only if the whole predicate is true. So ``col("x") != 3`` does not match rows where ``x`` is NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sized
from itertools import islice
from typing import Annotated, Any, NoReturn
from typing import Literal as OneOf

import msgspec

from vsearch.errors import PredicateError
from vsearch.predicates.literals import Literal, to_literal

MAXIMUM_VALUES = 100_000
MAXIMUM_PATTERN = 10_000

Operator = OneOf["=", "!=", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"]
Fold = OneOf["", "lower", "upper"]
Place = OneOf["anywhere", "start", "end"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Values = Annotated[tuple[Literal, ...], msgspec.Meta(max_length=MAXIMUM_VALUES)]


class Expression(msgspec.Struct, frozen=True, tag_field="kind"):
    """Base class of the nodes of a predicate. Combine with ``&`` (and), ``|`` (or), ``~`` (not)."""

    def __and__(self, other: Expression | Column) -> And:
        return And((*_terms(self, And), *_terms(_operand(other), And)))

    def __or__(self, other: Expression | Column) -> Or:
        return Or((*_terms(self, Or), *_terms(_operand(other), Or)))

    def __invert__(self) -> Not:
        return Not(self)  # type: ignore[arg-type]

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        refuse_bool()


class Comparison(Expression, frozen=True, tag="comparison"):
    """``column operator value``; `fold` compares ``lower(column)`` or ``upper(column)`` instead."""

    column: Name
    operator: Operator
    value: Literal
    fold: Fold = ""


class In(Expression, frozen=True, tag="in"):
    """``column IN (values)``; false if ``values`` is empty."""

    column: Name
    values: Values
    fold: Fold = ""


class Like(Expression, frozen=True, tag="like"):
    """``column LIKE pattern``: ``%`` matches any text, ``_`` one code point; there is no default ``escape``."""

    column: Name
    pattern: Annotated[str, msgspec.Meta(max_length=MAXIMUM_PATTERN)] | None
    escape: Annotated[str, msgspec.Meta(max_length=1)] = ""
    fold: Fold = ""


class Part(Expression, frozen=True, tag="part"):
    """The column's text starts with, ends with or contains a text; or a list contains a value as an element."""

    column: Name
    value: Literal
    place: Place
    fold: Fold = ""


class IsEmpty(Expression, frozen=True, tag="empty"):
    """The list is empty; neither true nor false if it is NULL."""

    column: Name


class IsNull(Expression, frozen=True, tag="null"):
    """``column IS NULL``."""

    column: Name


class Contains(Expression, frozen=True, tag="contains"):
    """A list column contains any or all of the values.

    NULL elements and NULL values never match. ``mode="element"`` is ``value = ANY(column)``, which SQL defines
    differently: neither true nor false where the list has a NULL element and no match, and false where the list is
    NULL.
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


class Is(Expression, frozen=True, tag="is"):
    """``term IS TRUE``, ``IS FALSE``, or for None ``IS UNKNOWN``: always true or false."""

    term: Node
    value: bool | None


class Coalesce(Expression, frozen=True, tag="coalesce"):
    """A condition on one column with `value` in place of NULL: ``COALESCE(column, value) = 3``."""

    term: Comparison | In | Like | Part
    value: Literal


class And(Expression, frozen=True, tag="and"):
    """The conjunction of the terms; true if there are none."""

    terms: tuple[Node, ...]


class Or(Expression, frozen=True, tag="or"):
    """The disjunction of the terms; false if there are none."""

    terms: tuple[Node, ...]


Node = Comparison | In | Like | Part | IsNull | IsEmpty | Contains | Constant | Is | Coalesce | Not | And | Or


class Column:
    """A column by name, from which expressions are built: ``(col("price") < 10) & col("tags").contains("new")``.

    A bool column is accepted wherever an expression is expected.
    """

    __slots__ = ("_fold", "name")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, fold: Fold = "") -> None:
        if not name or not isinstance(name, str):
            raise PredicateError(f"a column name must be a non-empty string, got {name!r}")
        self.name = name
        self._fold: Fold = fold

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
        """``IN``: equal to one of the values. None is SQL's NULL and never matches."""
        return In(self.name, to_values(values), self._fold)

    def not_in(self, values: Iterable[object]) -> Not:
        """``NOT IN``: never true if None is among the values, as in SQL."""
        return Not(self.is_in(values))

    def between(self, low: object, high: object) -> And:
        """``BETWEEN``: from low to high, inclusive."""
        return And((self._compare(">=", low), self._compare("<=", high)))

    def like(self, pattern: str, escape: str = "") -> Like:
        """``LIKE``: ``%`` matches any text, ``_`` one code point, a character after ``escape`` itself."""
        return to_like(self.name, pattern, escape, self._fold)

    def ilike(self, pattern: str) -> Like:
        """``ILIKE``: case-insensitive `like`."""
        return to_like(self.name, pattern, "", "lower", ilike=True)

    def lower(self) -> Column:
        """``lower(column)``: the text in lower case, mapped code point by code point; compared like a column."""
        return Column(self.name, "lower")

    def upper(self) -> Column:
        """``upper(column)``: the text in upper case; see `lower`."""
        return Column(self.name, "upper")

    def starts_with(self, text: str) -> Part | Comparison:
        """``starts_with``: the column's text starts with this text."""
        return to_part(self.name, text, "start", self._fold)

    def ends_with(self, text: str) -> Part | Comparison:
        """``ends_with``: the column's text ends with this text."""
        return to_part(self.name, text, "end", self._fold)

    def is_empty(self) -> IsEmpty:
        """``column = []``: the list is empty."""
        return IsEmpty(self.name)

    def is_null(self) -> IsNull:
        """``IS NULL``."""
        return IsNull(self.name)

    def is_not_null(self) -> Not:
        """``IS NOT NULL``."""
        return Not(IsNull(self.name))

    def contains(self, value: object) -> Part | Comparison:
        """``contains``: the list contains this value, or the text contains this text."""
        return to_part(self.name, value, "anywhere", self._fold)

    def contains_any(self, values: Iterable[object]) -> Contains:
        """``list_has_any``: the list contains at least one of the values."""
        return contains(self.name, values)

    def contains_all(self, values: Iterable[object]) -> Contains:
        """``list_has_all``: the list contains all of the values."""
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
        return Comparison(self.name, operator, to_literal(value), self._fold)


def col(name: str) -> Column:
    """Return a column by name, from which expressions are built.

    Examples
    --------
    >>> (col("price") < 10) & col("tags").contains("new")
    And(terms=(Comparison(column='price', operator='<', value=10, fold=''), Part(column='tags', value='new',
    place='anywhere', fold='')))
    """
    return Column(name)


def to_values(values: Iterable[object]) -> tuple[Literal, ...]:
    """Convert the values of a list to literals.

    Raises
    ------
    PredicateError
        The argument is a single string or not iterable, or has more than 100,000 values.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise PredicateError(f"expected a list of values, got {values!r}")
    if isinstance(values, Sized) and len(values) > MAXIMUM_VALUES:
        raise PredicateError(
            f"a list of {len(values)} values is too long for a predicate; at most {MAXIMUM_VALUES} are allowed"
        )
    literals = tuple(to_literal(value) for value in islice(values, MAXIMUM_VALUES + 1))
    if len(literals) > MAXIMUM_VALUES:
        raise PredicateError(f"a list of more than {MAXIMUM_VALUES} values is too long for a predicate")
    return literals


def to_part(column: str, value: object, place: Place, fold: Fold = "") -> Part | Comparison:
    """Build the test for a substring or a list element; for NULL it is neither true nor false."""
    literal = to_literal(value)
    return Comparison(column, "=", None) if literal is None else Part(column, literal, place, fold)


def to_like(column: str, pattern: object, escape: object = "", fold: Fold = "", *, ilike: bool = False) -> Like:
    """Build a LIKE and check its pattern and escape character; ILIKE is LIKE with column and pattern in lower case."""
    if not isinstance(pattern, str):
        raise PredicateError(f"the pattern of LIKE on {column!r} must be a string, got {pattern!r}")
    if not isinstance(escape, str) or len(escape.encode("utf-8", "replace")) > 1:
        raise PredicateError(f"ESCAPE must be one ASCII character or empty, got {escape!r}")
    if len(pattern) > MAXIMUM_PATTERN:
        raise PredicateError(
            f"a LIKE pattern of {len(pattern)} characters is too long; at most {MAXIMUM_PATTERN} are allowed"
        )
    pattern = str(to_literal(pattern))
    if not ilike:
        return Like(column, pattern, escape, fold)
    if escape.isalpha():
        raise PredicateError(f"ESCAPE of ILIKE must not be a letter, got {escape!r}")
    from vsearch.predicates.folding import folded

    return Like(column, folded(pattern, "lower"), escape, "lower")


def contains(column: str, values: Iterable[object], mode: OneOf["any", "all", "element"] = "any") -> Contains:
    """Build a list membership test."""
    return Contains(column, to_values(values), mode)


def contains_one(column: str, value: object) -> Contains | Comparison:
    """Build a membership test for one value; for NULL, unlike for a list of NULL, it is neither true nor false."""
    return Comparison(column, "=", None) if value is None else contains(column, [value])


def refuse_bool() -> NoReturn:
    """Raise an error that explains how to combine predicates in Python."""
    raise PredicateError(
        "a predicate has no truth value in Python: join with & and | and ~ instead of and, or, not, put every "
        'comparison in parentheses, and write a < col("x") < b as (col("x") > a) & (col("x") < b)'
    )


def _operand(value: object) -> Expression:
    if isinstance(value, Expression):
        return value
    if isinstance(value, Column):
        return Comparison(value.name, "=", True)
    raise PredicateError(
        f"{value!r} is not a predicate; put each comparison in parentheses: (col('a') < 1) & (col('b') > 2)"
    )


def _terms(expression: Expression, kind: type[And | Or]) -> tuple[Any, ...]:
    return expression.terms if isinstance(expression, kind) else (expression,)
