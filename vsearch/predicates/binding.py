"""Expression + schema -> what is asked of the columns: typed leaves under AND and OR, no NOT left.

NOT is pushed down to the leaves. A leaf then says which values match; NULL is never among them, except for `NullTest`.
That is SQL's three-valued logic: a row is found where the predicate is true, and "unknown" counts as "not true" through
AND and OR alike, once no NOT stands above it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from typing import Literal as OneOf

import numpy as np
import numpy.typing as npt

from vsearch.errors import PredicateError
from vsearch.predicates import intervals
from vsearch.predicates.expressions import (
    And,
    Comparison,
    Constant,
    Contains,
    Expression,
    In,
    IsNull,
    Like,
    Not,
    Operator,
    Or,
    check_size,
)
from vsearch.predicates.keys import LOWEST, TOP, byte_cuts, cuts, element_key
from vsearch.predicates.literals import Literal
from vsearch.predicates.pattern import compile_pattern, literal_prefix
from vsearch.predicates.schema import BYTE_KEYED, ITEM_TYPES, Attribute, AttributeType, Schema

IntIntervals = tuple[tuple[int, int | None], ...]
ByteIntervals = tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True)
class Everything:
    """Every row, or none."""

    value: bool


@dataclass(frozen=True)
class NullTest:
    """Rows where the column is NULL, or where it is not."""

    column: str
    null: bool


@dataclass(frozen=True)
class KeyRange:
    """Rows whose key is in one of the intervals (numbers, bools, timestamps, dates)."""

    column: str
    intervals: IntIntervals

    @cached_property
    def lows(self) -> npt.NDArray[np.int64]:
        """First key of each interval, int64 (intervals,), ascending."""
        return np.array([low for low, _ in self.intervals], np.int64)

    @cached_property
    def highs(self) -> npt.NDArray[np.int64]:
        """Last key of each interval, int64 (intervals,), ascending."""
        return np.array([(TOP if high is None else high) - 1 for _, high in self.intervals], np.int64)

    def matches(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which keys are inside, bool (keys,)."""
        at = np.searchsorted(self.highs, keys)
        inside = at < len(self.lows)
        inside[inside] = self.lows[at[inside]] <= keys[inside]
        return inside


@dataclass(frozen=True)
class StringRange:
    """Rows whose string or decimal is in one of the intervals, in byte order of its key."""

    column: str
    intervals: ByteIntervals


@dataclass(frozen=True)
class Pattern:
    """Rows whose string is like the pattern, or is not."""

    column: str
    tokens: tuple[int, ...]
    matching: bool


@dataclass(frozen=True)
class Membership:
    """Rows whose list holds any or all of the values, or does not; see `vsearch.predicates.expressions.Contains`."""

    column: str
    values: tuple[bytes, ...]
    mode: OneOf["any", "all", "element"]
    matching: bool
    null_value: bool = False


@dataclass(frozen=True)
class AllOf:
    """Rows that match all terms."""

    terms: tuple[Any, ...]


@dataclass(frozen=True)
class AnyOf:
    """Rows that match at least one term."""

    terms: tuple[Any, ...]


Leaf = NullTest | KeyRange | StringRange | Pattern | Membership
Bound = Everything | Leaf | AllOf | AnyOf


def bind(expression: Expression | None, schema: Schema) -> Bound:
    """Resolve a predicate against the columns of an index.

    Parameters
    ----------
    expression : Expression or None
        What `parse` returned; None matches every row.
    schema : Schema
        The attribute columns.

    Raises
    ------
    PredicateError
        A column is unknown, or a value does not compare with its column.
    """
    if expression is None:
        return Everything(True)
    check_size(expression)
    return _bind(expression, schema, True)


def columns_of(bound: Bound) -> tuple[str, ...]:
    """The columns that a bound predicate reads, each once, in order of appearance."""
    if isinstance(bound, Everything):
        return ()
    if isinstance(bound, AllOf | AnyOf):
        return tuple(dict.fromkeys(name for term in bound.terms for name in columns_of(term)))
    return (bound.column,)


def _bind(node: Expression, schema: Schema, wanted: bool) -> Bound:
    """The rows where ``node`` is true (``wanted``) or false (not ``wanted``)."""
    if isinstance(node, Not):
        return _bind(node.term, schema, not wanted)
    if isinstance(node, And | Or):
        terms = [_bind(term, schema, wanted) for term in node.terms]
        return _all_of(terms) if isinstance(node, And) is wanted else _any_of(terms)
    if isinstance(node, Constant):
        return Everything(node.value is wanted)
    if isinstance(node, IsNull):
        return NullTest(schema.find(node.column).name, wanted)
    if isinstance(node, Comparison):
        return _comparison(node, schema.find(node.column), wanted)
    if isinstance(node, In):
        return _in(node, schema.find(node.column), wanted)
    if isinstance(node, Like):
        return _like(node, schema.find(node.column), wanted)
    if isinstance(node, Contains):
        return _contains(node, schema.find(node.column), wanted)
    raise PredicateError(f"{node!r} is no predicate")


def _comparison(node: Comparison, attribute: Attribute, wanted: bool) -> Bound:
    if node.operator in ("is distinct from", "is not distinct from"):
        same = (node.operator == "is not distinct from") is wanted
        if node.value is None:
            return NullTest(attribute.name, same)
        equal = _compare(attribute, "=" if same else "!=", node.value)
        return equal if same else _any_of([equal, NullTest(attribute.name, True)])
    if node.value is None:
        return Everything(False)
    operator = node.operator if wanted else _OPPOSITE[node.operator]
    return _compare(attribute, operator, node.value)


_OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def _compare(attribute: Attribute, operator: Operator, value: Literal) -> Bound:
    if attribute.type in ITEM_TYPES:
        if operator not in ("=", "!="):
            raise PredicateError(
                f"the column {attribute.label!r} is a list; {operator} does not apply, ask for its elements"
            )
        return _membership(attribute, (value,), "any", operator == "=")
    if attribute.type in BYTE_KEYED:
        return _strings(attribute.name, _select(operator, *byte_cuts(attribute, value), b""))
    return _keys(attribute.name, _select(operator, *cuts(attribute, value), LOWEST))


def _select(operator: Operator, not_below: Any, above: Any, bottom: Any) -> Any:
    """The intervals of an operator, given the first keys >= and > its value."""
    equal = intervals.union([(not_below, above)])
    if operator == "=":
        return equal
    if operator == "!=":
        return intervals.complement(equal, bottom)
    if operator in ("<", "<="):
        return intervals.union([(bottom, not_below if operator == "<" else above)])
    return ((above if operator == ">" else not_below, None),)


def _in(node: In, attribute: Attribute, wanted: bool) -> Bound:
    values = [value for value in node.values if value is not None]
    if not node.values:
        return Everything(not wanted)
    if attribute.type in ITEM_TYPES:
        if len(values) < len(node.values) and not wanted:
            return Everything(False)
        return _membership(attribute, tuple(values), "any", wanted)
    by_bytes = attribute.type in BYTE_KEYED
    find: Any = byte_cuts if by_bytes else cuts
    chosen: Any = intervals.union({find(attribute, value) for value in values})
    if not wanted:
        chosen = intervals.complement(chosen, b"" if by_bytes else LOWEST)
    if len(values) < len(node.values) and not wanted:
        return Everything(False)
    return _strings(attribute.name, chosen) if by_bytes else _keys(attribute.name, chosen)


def _like(node: Like, attribute: Attribute, wanted: bool) -> Bound:
    if attribute.type is not AttributeType.STRING:
        raise PredicateError(f"the column {attribute.label!r} is {attribute.kind}; LIKE applies to strings")
    if node.pattern is None:
        return Everything(False)
    tokens = compile_pattern(node.pattern, node.escape)
    prefix, rest = literal_prefix(tokens)
    if rest == "other":
        return Pattern(attribute.name, tokens, wanted)
    if rest == "nothing":
        chosen: ByteIntervals = ((prefix, prefix + b"\0"),)
    else:
        # No UTF-8 text has a byte 0xFF, so the last byte can always be raised by one.
        chosen = ((prefix, prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else None),)
    return _strings(attribute.name, chosen if wanted else intervals.complement(chosen, b""))


def _contains(node: Contains, attribute: Attribute, wanted: bool) -> Bound:
    if attribute.type not in ITEM_TYPES:
        raise PredicateError(f"the column {attribute.label!r} is {attribute.kind}, not a list; use = or IN")
    return _membership(attribute, node.values, node.mode, wanted)


def _membership(
    attribute: Attribute, values: tuple[Literal, ...], mode: OneOf["any", "all", "element"], wanted: bool
) -> Bound:
    keys = tuple(sorted({element_key(attribute, value) for value in values if value is not None}))
    return Membership(attribute.name, keys, mode, wanted, mode == "element" and None in values)


def _keys(column: str, chosen: IntIntervals) -> Bound:
    chosen = tuple((low, None if high is None or high >= TOP else high) for low, high in chosen if low < TOP)
    if not chosen:
        return Everything(False)
    return NullTest(column, False) if chosen == ((LOWEST, None),) else KeyRange(column, chosen)


def _strings(column: str, chosen: ByteIntervals) -> Bound:
    if not chosen:
        return Everything(False)
    return NullTest(column, False) if chosen == ((b"", None),) else StringRange(column, chosen)


def _all_of(terms: Iterable[Bound]) -> Bound:
    return _combine(terms, AllOf, neutral=True)


def _any_of(terms: Iterable[Bound]) -> Bound:
    return _combine(terms, AnyOf, neutral=False)


def _combine(terms: Iterable[Bound], kind: type[AllOf | AnyOf], neutral: bool) -> Bound:
    """Join terms: constants vanish, nested joins of the same kind open up, ranges of one column become one."""
    ranges: dict[tuple[type, str], Bound] = {}
    others: dict[Bound, None] = {}
    for term in _flatten(terms, kind):
        if isinstance(term, Everything):
            if term.value is not neutral:
                return term
        elif isinstance(term, KeyRange | StringRange):
            place = (type(term), term.column)
            ranges[place] = _merge(ranges[place], term, kind) if place in ranges else term
        else:
            others[term] = None
    parts: list[Bound] = []
    for part in (*ranges.values(), *others):
        if not isinstance(part, Everything):
            parts.append(part)
        elif part.value is not neutral:
            return part
    if not parts:
        return Everything(neutral)
    return parts[0] if len(parts) == 1 else kind(tuple(dict.fromkeys(parts)))


def _flatten(terms: Iterable[Bound], kind: type[AllOf | AnyOf]) -> Iterable[Bound]:
    for term in terms:
        if isinstance(term, kind):
            yield from term.terms
        else:
            yield term


def _merge(left: Any, right: Any, kind: type[AllOf | AnyOf]) -> Bound:
    if not isinstance(left, KeyRange | StringRange):
        return left  # already no row at all, or every row that is not NULL
    merged: Any = (
        intervals.intersection(left.intervals, right.intervals)
        if kind is AllOf
        else intervals.union((*left.intervals, *right.intervals))
    )
    return _keys(left.column, merged) if isinstance(left, KeyRange) else _strings(left.column, merged)
