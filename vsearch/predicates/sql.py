"""Parse SQL WHERE strings, with sqlglot, to expressions; only the nodes listed here are accepted, none is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vsearch.errors import PredicateError
from vsearch.predicates.constants import compare_constants
from vsearch.predicates.expressions import (
    And,
    Comparison,
    Constant,
    Contains,
    Expression,
    In,
    Is,
    IsEmpty,
    IsNull,
    Operator,
    Or,
    Place,
    contains,
    contains_one,
    to_like,
    to_part,
    to_values,
)
from vsearch.predicates.folding import folded
from vsearch.predicates.limits import LongLists
from vsearch.predicates.sql_targets import Target, length_test, list_length, target_of
from vsearch.predicates.sql_values import (
    bare,
    column_name,
    column_of,
    is_column,
    literal,
    literals,
    refusal,
    short,
    sql_text,
)

if TYPE_CHECKING:
    from sqlglot import exp

_COMPARISONS: dict[str, Operator] = {
    "EQ": "=",
    "NEQ": "!=",
    "LT": "<",
    "LTE": "<=",
    "GT": ">",
    "GTE": ">=",
    "NullSafeEQ": "is not distinct from",
    "NullSafeNEQ": "is distinct from",
}
_MIRRORED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FUNCTIONS = {
    "LIST_HAS_ANY": "any",
    "ARRAY_HAS_ANY": "any",
    "LIST_HAS_ALL": "all",
    "ARRAY_HAS_ALL": "all",
    "LIST_HAS": "one",
    "LIST_CONTAINS": "one",
    "ARRAY_HAS": "one",
    "ARRAY_CONTAINS": "one",
}
_PLACES: dict[str, Place] = {"PREFIX": "start", "SUFFIX": "end", "CONTAINS": "anywhere"}
_STATEMENTS = {"SELECT", "INSERT", "UPDATE", "DELETE", "DROP", "CREATE", "ALTER", "WITH", "FROM", "ATTACH", "COPY"}
_SEVERAL = "the WHERE string has several statements; it must be one condition, without ';'"


def parse_sql(where: str) -> Expression:
    """Parse a WHERE condition with DuckDB's syntax and semantics.

    Parameters
    ----------
    where : str
        The condition alone, without the word WHERE: ``price < 10 AND list_contains(tags, 'new')``.

    Raises
    ------
    PredicateError
        The SQL is malformed, or more than a predicate on the columns of one row: it has a subquery, a function,
        arithmetic, a comparison of two columns, or more than one statement.
    """
    lists = LongLists(where)
    try:
        return lists.put_back(_predicate(_read(lists.text)))
    except RecursionError:
        raise PredicateError("the predicate is nested too deeply") from None
    except PredicateError as error:
        raise lists.explained(error) from None


def _read(where: str) -> exp.Expr:
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ParseError, SqlglotError

    try:
        conditions = Dialect.get_or_raise("duckdb").parse_into(exp.Condition, where)
    except ParseError as error:
        raise PredicateError(_explain_parse_error(where, error.errors)) from None
    except SqlglotError:
        raise PredicateError(f"{short(where)} is not valid SQL: a quotation mark or a comment is not closed") from None
    except RecursionError:
        raise PredicateError("the predicate is nested too deeply") from None
    nonempty = [condition for condition in conditions if condition is not None]
    if not nonempty:
        raise PredicateError("the WHERE string is empty; omit `where` to search all rows")
    if len(nonempty) > 1:
        raise PredicateError(_SEVERAL)
    return nonempty[0]


def _explain_parse_error(where: str, errors: list[dict[str, Any]]) -> str:
    word = where.split(None, 1)[0].upper() if where.split() else ""
    if word == "WHERE":
        return "omit the word WHERE and pass only the condition"
    if word in _STATEMENTS:
        return f"{short(where)}: this is a statement, not a condition; pass only the condition"
    first = errors[0] if errors else {}
    if str(first.get("start_context", "")).rstrip().endswith(";"):
        return _SEVERAL
    place = (
        f" near {first['highlight']!r} (line {first['line']}, column {first['col']})" if first.get("highlight") else ""
    )
    return f"{short(where)} is not a SQL condition{place}"


def _predicate(node: exp.Expr) -> Expression:
    kind = type(node).__name__
    if kind in _COMPARISONS:
        return _comparison(node, _COMPARISONS[kind])
    handler = _PREDICATES.get(kind)
    if handler is None:
        raise refusal(node)
    return handler(node)


def _connective(node: exp.Expr) -> Expression:
    """Flatten ``a AND b AND c``, which the parser returns as a left-deep chain, without recursing along the chain."""
    kind = type(node)
    terms = []
    while isinstance(node, kind):
        terms.append(node.expression)
        node = node.this
    terms.append(node)
    parts: list[Any] = []
    connective = And if kind.__name__ == "And" else Or
    for term in reversed(terms):
        part = _predicate(term)
        parts.extend(part.terms if isinstance(part, connective) else (part,))
    return connective(tuple(parts))


def _negation(node: exp.Expr) -> Expression:
    return ~_predicate(node.this)


def _comparison(node: exp.Expr, operator: Operator) -> Expression:
    left, right = bare(node.this), bare(node.expression)
    for side, other, swap in ((right, left, False), (left, right, True)):
        quantifier = _quantifier(side)
        if quantifier is not None:
            return _quantified(quantifier, side, other, operator)
        if is_column(side):
            continue
        oriented = _MIRRORED.get(operator, operator) if swap else operator
        list_column = list_length(other)
        if list_column is not None:
            return length_test(list_column, oriented, literal(side), node)
        target = target_of(other)
        if target is None:
            continue
        if _is_empty_list(side):
            return _empty_test(target, oriented, node)
        return target.wrap(Comparison(target.column, oriented, literal(side), target.fold))
    if is_column(left):
        raise PredicateError(f"{sql_text(node)}: a column must be compared with a value, not with another column")
    return compare_constants(literal(left), operator, literal(right))


def _is_empty_list(node: exp.Expr) -> bool:
    node = bare(node.this) if type(node).__name__ == "Cast" else node
    return type(node).__name__ == "Array" and not node.expressions


def _empty_test(target: Target, operator: Operator, node: exp.Expr) -> Expression:
    if operator not in ("=", "!=") or not target.plain:
        raise PredicateError(f"{sql_text(node)}: only = and <> apply to an empty list")
    return IsEmpty(target.column) if operator == "=" else ~IsEmpty(target.column)


def _quantifier(node: exp.Expr) -> str | None:
    if type(node).__name__ in ("Any", "All"):
        return type(node).__name__.upper()
    if type(node).__name__ == "Anonymous" and str(node.this).upper() in ("ANY", "ALL"):
        return str(node.this).upper()
    return None


def _quantified(quantifier: str, side: exp.Expr, other: exp.Expr, operator: Operator) -> Expression:
    """``value = ANY(column)`` and its negation ``value <> ALL(column)``."""
    column = bare(side.expressions[0] if type(side).__name__ == "Anonymous" else side.this)
    if not is_column(column):
        raise PredicateError(
            f"{sql_text(side)}: the argument of {quantifier} must be a list column; write x IN (...) for values"
        )
    if (quantifier, operator) not in (("ANY", "="), ("ALL", "!=")):
        raise PredicateError(
            f"{operator} {quantifier}(...) is not supported; use value = ANY(column) or value <> ALL(column)"
        )
    member = contains(column_name(column), [literal(other)], "element")
    return member if quantifier == "ANY" else ~member


def _between(node: exp.Expr) -> Expression:
    if node.args.get("symmetric"):
        raise PredicateError("BETWEEN SYMMETRIC is not supported; write BETWEEN with the smaller value first")
    list_column = list_length(node.this)
    low, high = literal(node.args["low"]), literal(node.args["high"])
    if list_column is not None:
        return length_test(list_column, ">=", low, node) & length_test(list_column, "<=", high, node)
    target = _target(node.this, node)
    terms: tuple[Any, ...] = (
        target.wrap(Comparison(target.column, ">=", low, target.fold)),
        target.wrap(Comparison(target.column, "<=", high, target.fold)),
    )
    return And(terms)


def _target(node: exp.Expr, parent: exp.Expr) -> Target:
    return target_of(node) or Target(column_of(node, parent))


def _in(node: exp.Expr) -> Expression:
    if node.args.get("query") is not None or node.args.get("unnest") is not None:
        raise PredicateError("IN (SELECT ...) is not supported: a predicate cannot contain a subquery")
    field = node.args.get("field")
    if field is not None:
        if not is_column(field):
            raise refusal(field)
        return contains_one(column_name(field), literal(node.this))
    if not node.expressions:
        raise PredicateError(f"{sql_text(node)}: IN needs a list of values in parentheses")
    target = _target(node.this, node)
    return target.wrap(In(target.column, to_values(literals(node.expressions)), target.fold))


def _like(node: exp.Expr, escape: str = "") -> Expression:
    pattern = literal(node.expression)
    target = _target(node.this, node)
    if pattern is None:
        return Comparison(target.column, "=", None)
    ilike = type(node).__name__ == "ILike"
    if ilike and target.fold == "upper":
        target = Target(target.column, "", target.default)  # to ILIKE, lower(upper(x)) is equivalent to lower(x)
    if ilike and target.default is not None and isinstance(target.default[0], str):
        target = Target(target.column, "", (folded(target.default[0], "lower"),))
    like = target.wrap(to_like(target.column, pattern, escape, target.fold, ilike=ilike))
    return ~like if node.args.get("negate") else like


def _escape(node: exp.Expr) -> Expression:
    inner = node.this
    if type(inner).__name__ not in ("Like", "ILike"):
        raise refusal(inner)
    escape = literal(node.expression)
    return _like(inner, escape if isinstance(escape, str) else str(escape))


def _is(node: exp.Expr) -> Expression:
    value = literal(node.expression)
    if value is not None and not isinstance(value, bool):
        raise PredicateError(
            f"{sql_text(node)}: IS must be followed by NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM; use = for values"
        )
    target = target_of(node.this)
    if target is not None and value is None and target.default is None:
        return IsNull(target.column)
    if target is not None and value is not None and target.plain:
        return Comparison(target.column, "is not distinct from", value)
    return Is(_predicate(bare(node.this)), value)  # type: ignore[arg-type]


def _contains_one(node: exp.Expr) -> Expression:
    return contains_one(column_of(node.this, node), literal(node.expression))


def _contains_list(mode: str) -> Callable[[exp.Expr], Expression]:
    def handle(node: exp.Expr) -> Expression:
        left, right = bare(node.this), bare(node.expression)
        if mode == "any" and not is_column(left):
            left, right = right, left
        return _list_test(left, right, mode, node)

    return handle


def _contained(node: exp.Expr) -> Expression:
    return _list_test(bare(node.expression), bare(node.this), "all", node)


def _list_test(column: exp.Expr, values: exp.Expr, mode: str, node: exp.Expr) -> Expression:
    if type(bare(values)).__name__ == "Null":
        return Comparison(column_of(column, node), "=", None)
    if type(values).__name__ != "Array":
        raise PredicateError(
            f"{sql_text(node)}: a list column must be compared with a list of values, such as ['a', 'b']"
        )
    return Contains(column_of(column, node), to_values(literals(values.expressions)), "all" if mode == "all" else "any")


def _part(place: Place) -> Callable[[exp.Expr], Expression]:
    return lambda node: _part_of(node.this, node.expression, place, node)


def _part_of(column: exp.Expr, value: exp.Expr, place: Place, node: exp.Expr) -> Expression:
    target = _target(column, node)
    return target.wrap(to_part(target.column, literal(value), place, target.fold))


def _coalesce(node: exp.Expr) -> Expression:
    target = _target(node, node)
    return target.wrap(Comparison(target.column, "=", True))


def _function(node: exp.Expr) -> Expression:
    name = str(node.this).upper()
    if name in _PLACES and len(node.expressions) == 2:
        return _part_of(node.expressions[0], node.expressions[1], _PLACES[name], node)
    mode = _FUNCTIONS.get(name)
    if mode is None or len(node.expressions) != 2:
        raise refusal(node)
    column, value = (bare(argument) for argument in node.expressions)
    if mode == "one":
        return contains_one(column_of(column, node), literal(value))
    return _list_test(column, value, mode, node)


def _constant(node: exp.Expr) -> Expression:
    return Constant(None if type(node).__name__ == "Null" else bool(node.this))


def _bare_column(node: exp.Expr) -> Expression:
    return Comparison(column_name(node), "=", True)


_PREDICATES: dict[str, Callable[[Any], Expression]] = {
    "And": _connective,
    "Or": _connective,
    "Not": _negation,
    "Paren": lambda node: _predicate(node.this),
    "Between": _between,
    "In": _in,
    "Like": _like,
    "ILike": _like,
    "Contains": _part("anywhere"),
    "StartsWith": _part("start"),
    "EndsWith": _part("end"),
    "Coalesce": _coalesce,
    "Escape": _escape,
    "Is": _is,
    "ArrayContains": _contains_one,
    "ArrayOverlaps": _contains_list("any"),
    "ArrayContainsAll": _contains_list("all"),
    "ArrayContainedBy": _contained,
    "Anonymous": _function,
    "Boolean": _constant,
    "Null": _constant,
    "Column": _bare_column,
}
