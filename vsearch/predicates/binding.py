"""Bind an expression to a schema: typed leaves under AND and OR, with every NOT pushed down to the leaves.

A leaf states which values match; NULL never does, except in `NullTest`. This implements SQL's three-valued logic: a row
matches where the predicate is true, and without a NOT above it, "unknown" can be treated as "not true" under AND and
OR.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from typing import Literal as OneOf

from vsearch.errors import PredicateError
from vsearch.predicates import intervals
from vsearch.predicates.bound import (
    AllOf,
    AnyOf,
    Bound,
    ByteIntervals,
    EmptyList,
    Everything,
    IntIntervals,
    KeyRange,
    Membership,
    NullTest,
    Pattern,
    StringRange,
)
from vsearch.predicates.checking import check_size
from vsearch.predicates.expressions import (
    And,
    Coalesce,
    Comparison,
    Constant,
    Contains,
    Expression,
    Fold,
    In,
    Is,
    IsEmpty,
    IsNull,
    Like,
    Not,
    Operator,
    Or,
    Part,
)
from vsearch.predicates.keys import byte_cuts, cuts, element_key
from vsearch.predicates.literals import Literal, describe
from vsearch.predicates.pattern import ANY_TEXT, compile_pattern, literal_prefix
from vsearch.predicates.schema import Attribute, Schema
from vsearch.predicates.types.record import LOWEST, TOP, ByteKeys, ElementKeys, OrderedKeys
from vsearch.predicates.types.table import find_type


def bind(expression: Expression | None, schema: Schema) -> Bound:
    """Resolve a predicate against the columns of an index.

    Parameters
    ----------
    expression : Expression or None
        From `parse`; None matches every row.
    schema : Schema
        The attribute columns.

    Raises
    ------
    PredicateError
        A column is unknown, or a value cannot be compared with its column.
    """
    if expression is None:
        return Everything(True)
    check_size(expression)
    return _bind(expression, schema, True)


def columns_of(bound: Bound) -> tuple[str, ...]:
    """Return the columns that a bound predicate reads, without duplicates, in order of appearance."""
    if isinstance(bound, Everything):
        return ()
    if isinstance(bound, AllOf | AnyOf):
        return tuple(dict.fromkeys(name for term in bound.terms for name in columns_of(term)))
    return (bound.column,)


def _bind(node: Expression, schema: Schema, truth: bool) -> Bound:
    """Bind the rows for which ``node`` is true or, if ``truth`` is False, false."""
    if isinstance(node, Not):
        return _bind(node.term, schema, not truth)
    if isinstance(node, And | Or):
        terms = [_bind(term, schema, truth) for term in node.terms]
        return _all_of(terms) if isinstance(node, And) is truth else _any_of(terms)
    if isinstance(node, Constant):
        return Everything(node.value is truth)
    if isinstance(node, IsNull):
        return NullTest(schema.find(node.column).name, truth)
    if isinstance(node, Comparison):
        return _comparison(node, schema.find(node.column), truth)
    if isinstance(node, In):
        return _in(node, schema.find(node.column), truth)
    if isinstance(node, Like):
        return _like(node, schema.find(node.column), truth)
    if isinstance(node, Contains):
        return _contains(node, schema.find(node.column), truth)
    if isinstance(node, Part):
        return _part(node, schema.find(node.column), truth)
    if isinstance(node, IsEmpty):
        return _is_empty(schema.find(node.column), truth)
    if isinstance(node, Is):
        return _is(node, schema, truth)
    if isinstance(node, Coalesce):
        return _coalesce(node, schema, truth)
    raise PredicateError(f"{node!r} is not a predicate")


def _is(node: Is, schema: Schema, truth: bool) -> Bound:
    if node.value is not None:
        rows = _bind(node.term, schema, node.value)
        return rows if truth else complement(rows)
    true, false = _bind(node.term, schema, True), _bind(node.term, schema, False)
    if truth:
        return _all_of([complement(true), complement(false)])
    return _any_of([true, false])


def complement(bound: Bound) -> Bound:
    """Return the predicate for all other rows, including those where a column is NULL."""
    if isinstance(bound, Everything):
        return Everything(not bound.value)
    if isinstance(bound, AllOf | AnyOf):
        others = [complement(term) for term in bound.terms]
        return _any_of(others) if isinstance(bound, AllOf) else _all_of(others)
    if isinstance(bound, NullTest):
        return replace(bound, null=not bound.null)
    if isinstance(bound, Membership):
        return replace(bound, flipped=not bound.flipped)
    other: Bound
    if isinstance(bound, KeyRange):
        other = _keys(bound.column, intervals.complement(bound.intervals, LOWEST))
    elif isinstance(bound, StringRange):
        other = _strings(bound.column, intervals.complement(bound.intervals, b""), bound.fold)
    elif isinstance(bound, EmptyList):
        other = replace(bound, empty=not bound.empty)
    else:
        other = replace(bound, matching=not bound.matching)
    return _any_of([other, NullTest(bound.column, True)])


def _coalesce(node: Coalesce, schema: Schema, truth: bool) -> Bound:
    attribute = schema.find(node.term.column)
    if _is_list(attribute):
        raise PredicateError(f"COALESCE({attribute.label}, ...) does not apply to a list column; add IS NULL instead")
    rows = _bind(node.term, schema, truth)
    if node.value is None:
        return rows
    if not _holds(rows, attribute, node.value):
        # IS DISTINCT FROM is true for NULL itself
        return rows if isinstance(rows, KeyRange | StringRange) else _all_of([rows, NullTest(attribute.name, False)])
    return _any_of([rows, NullTest(attribute.name, True)])


def _holds(bound: Bound, attribute: Attribute, value: Literal) -> bool:
    """Whether a row with this value would match; ``bound`` reads no other column."""
    if isinstance(bound, Everything):
        return bound.value
    if isinstance(bound, AllOf | AnyOf):
        results = [_holds(term, attribute, value) for term in bound.terms]
        return all(results) if isinstance(bound, AllOf) else any(results)
    find_cuts: Any = byte_cuts if _by_bytes(attribute) else cuts
    low, above = find_cuts(attribute, value)
    if low == above:
        raise PredicateError(
            f"COALESCE({attribute.label}, ...): the default must be a value that the column can hold "
            f"({attribute.kind}), got {describe(value)}"
        )
    if isinstance(bound, NullTest):
        return not bound.null
    if isinstance(bound, KeyRange | StringRange):
        return any(first <= low and (last is None or low < last) for first, last in bound.intervals)
    if isinstance(bound, Pattern):
        from vsearch.predicates.dictionary import Dictionary, join

        return bool(Dictionary(*join([low])).like(bound.tokens)[0]) is bound.matching
    raise PredicateError(
        "COALESCE is allowed only on the left of a comparison, IN, LIKE, contains, starts_with or ends_with"
    )


def _by_bytes(attribute: Attribute) -> bool:
    return isinstance(find_type(attribute.type).keys, ByteKeys)


def _is_list(attribute: Attribute) -> bool:
    return isinstance(find_type(attribute.type).keys, ElementKeys)


def _is_text(attribute: Attribute) -> bool:
    return find_type(attribute.type).text


def _comparison(node: Comparison, attribute: Attribute, truth: bool) -> Bound:
    if node.operator in ("is distinct from", "is not distinct from"):
        is_equal = (node.operator == "is not distinct from") is truth
        if node.value is None:
            return NullTest(attribute.name, is_equal)
        equal = _compare(attribute, "=" if is_equal else "!=", node.value, node.fold)
        return equal if is_equal else _any_of([equal, NullTest(attribute.name, True)])
    if node.value is None:
        return Everything(False)
    operator = node.operator if truth else _OPPOSITE[node.operator]
    return _compare(attribute, operator, node.value, node.fold)


_OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def _check_fold(attribute: Attribute, fold: Fold) -> None:
    if fold and not _is_text(attribute):
        raise PredicateError(f"{fold}({attribute.label}): the column is {attribute.kind}; {fold} applies to strings")


def _compare(attribute: Attribute, operator: Operator, value: Literal, fold: Fold) -> Bound:
    _check_fold(attribute, fold)
    if _is_list(attribute):
        if operator not in ("=", "!="):
            raise PredicateError(
                f"the column {attribute.label!r} is a list, to which {operator} does not apply; test its elements"
            )
        return _membership(attribute, (value,), "any", operator == "=")
    if _by_bytes(attribute):
        return _strings(attribute.name, _select(operator, *byte_cuts(attribute, value), b""), fold)
    return _keys(attribute.name, _select(operator, *cuts(attribute, value), LOWEST))


def _select(operator: Operator, not_below: Any, above: Any, bottom: Any) -> Any:
    """Return the intervals of an operator, given the first keys >= and > its value."""
    equal = intervals.union([(not_below, above)])
    if operator == "=":
        return equal
    if operator == "!=":
        return intervals.complement(equal, bottom)
    if operator in ("<", "<="):
        return intervals.union([(bottom, not_below if operator == "<" else above)])
    return ((above if operator == ">" else not_below, None),)


def _in(node: In, attribute: Attribute, truth: bool) -> Bound:
    _check_fold(attribute, node.fold)
    values = [value for value in node.values if value is not None]
    if not node.values:
        return Everything(not truth)
    if _is_list(attribute):
        if len(values) < len(node.values) and not truth:
            return Everything(False)
        return _membership(attribute, tuple(values), "any", truth)
    by_bytes = _by_bytes(attribute)
    find_cuts: Any = byte_cuts if by_bytes else cuts
    keys = find_type(attribute.type).keys
    keys_are_values = isinstance(keys, OrderedKeys) and keys.integral
    if keys_are_values and all(type(value) is int and LOWEST <= value < TOP for value in values):
        integers: set[Any] = set(values)  # fast path for long lists of ids
        chosen: Any = intervals.union((value, value + 1) for value in integers)
    else:
        chosen = intervals.union({find_cuts(attribute, value) for value in values})
    if not truth:
        chosen = intervals.complement(chosen, b"" if by_bytes else LOWEST)
    if len(values) < len(node.values) and not truth:
        return Everything(False)
    return _strings(attribute.name, chosen, node.fold) if by_bytes else _keys(attribute.name, chosen)


def _like(node: Like, attribute: Attribute, truth: bool) -> Bound:
    if not _is_text(attribute):
        raise PredicateError(f"the column {attribute.label!r} is {attribute.kind}; LIKE applies to strings")
    if node.pattern is None:
        return Everything(False)
    return _pattern(attribute, compile_pattern(node.pattern, node.escape), node.fold, truth)


def _part(node: Part, attribute: Attribute, truth: bool) -> Bound:
    if _is_list(attribute) and node.place == "anywhere" and not node.fold:
        return _membership(attribute, (node.value,), "any", truth)
    name = {"anywhere": "contains", "start": "starts_with", "end": "ends_with"}[node.place]
    if not _is_text(attribute):
        lists = " and lists" if node.place == "anywhere" else ""
        raise PredicateError(f"the column {attribute.label!r} is {attribute.kind}; {name} applies to strings{lists}")
    if not isinstance(node.value, str):
        raise PredicateError(f"{name}({attribute.label}, ...) needs a string, got {describe(node.value)}")
    open_start = (ANY_TEXT,) if node.place != "start" and node.value else ()
    open_end = (ANY_TEXT,) if node.place != "end" or not node.value else ()
    return _pattern(attribute, (*open_start, *node.value.encode(), *open_end), node.fold, truth)


def _is_empty(attribute: Attribute, truth: bool) -> Bound:
    if not _is_list(attribute):
        raise PredicateError(
            f"the column {attribute.label!r} is {attribute.kind}; only a list can be empty or have a length"
        )
    return EmptyList(attribute.name, truth)


def _pattern(attribute: Attribute, tokens: tuple[int, ...], fold: Fold, truth: bool) -> Bound:
    prefix, suffix = literal_prefix(tokens)
    if suffix == "other":
        return Pattern(attribute.name, tokens, truth, fold)
    if suffix == "nothing":
        chosen: ByteIntervals = ((prefix, prefix + b"\0"),)
    else:
        # UTF-8 never contains the byte 0xFF, so the last byte can always be incremented.
        chosen = ((prefix, prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else None),)
    return _strings(attribute.name, chosen if truth else intervals.complement(chosen, b""), fold)


def _contains(node: Contains, attribute: Attribute, truth: bool) -> Bound:
    if not _is_list(attribute):
        raise PredicateError(f"the column {attribute.label!r} is {attribute.kind}, not a list; use = or IN")
    return _membership(attribute, node.values, node.mode, truth)


def _membership(
    attribute: Attribute, values: tuple[Literal, ...], mode: OneOf["any", "all", "element"], truth: bool
) -> Bound:
    keys = tuple(sorted({element_key(attribute, value) for value in values if value is not None}))
    return Membership(attribute.name, keys, mode, truth, mode == "element" and None in values)


def _keys(column: str, chosen: IntIntervals) -> Bound:
    chosen = tuple((low, None if high is None or high >= TOP else high) for low, high in chosen if low < TOP)
    if not chosen:
        return Everything(False)
    return NullTest(column, False) if chosen == ((LOWEST, None),) else KeyRange(column, chosen)


def _strings(column: str, chosen: ByteIntervals, fold: Fold = "") -> Bound:
    if not chosen:
        return Everything(False)
    return NullTest(column, False) if chosen == ((b"", None),) else StringRange(column, chosen, fold)


def _all_of(terms: Iterable[Bound]) -> Bound:
    return _combine(terms, AllOf, neutral=True)


def _any_of(terms: Iterable[Bound]) -> Bound:
    return _combine(terms, AnyOf, neutral=False)


def _combine(terms: Iterable[Bound], kind: type[AllOf | AnyOf], neutral: bool) -> Bound:
    """Join terms: drop constants, flatten nested joins of the same kind, merge ranges of the same column."""
    ranges: dict[tuple[type, str, str], Bound] = {}
    others: dict[Bound, None] = {}
    for term in _flatten(terms, kind):
        if isinstance(term, Everything):
            if term.value is not neutral:
                return term
        elif isinstance(term, KeyRange | StringRange):
            place = (type(term), term.column, term.fold if isinstance(term, StringRange) else "")
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
        return left  # already reduced to no rows, or to all rows that are not NULL
    merged: Any = (
        intervals.intersection(left.intervals, right.intervals)
        if kind is AllOf
        else intervals.union((*left.intervals, *right.intervals))
    )
    return _keys(left.column, merged) if isinstance(left, KeyRange) else _strings(left.column, merged, left.fold)
