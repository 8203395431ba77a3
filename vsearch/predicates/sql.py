"""A SQL WHERE string -> an expression. sqlglot reads the SQL; only what is named here passes, nothing is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vsearch.errors import PredicateError
from vsearch.predicates.expressions import (
    And,
    Comparison,
    Constant,
    Contains,
    Expression,
    In,
    IsNull,
    Operator,
    Or,
    contains,
    contains_one,
    to_like,
    to_values,
)
from vsearch.predicates.literals import (
    Literal,
    Number,
    parse_date,
    parse_number,
    parse_timestamp,
    to_literal,
)

if TYPE_CHECKING:
    from sqlglot import exp

MAXIMUM_LENGTH = 8 << 20
MAXIMUM_NESTING = 200

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
_STATEMENTS = {"SELECT", "INSERT", "UPDATE", "DELETE", "DROP", "CREATE", "ALTER", "WITH", "FROM", "ATTACH", "COPY"}
_SEVERAL = "the WHERE string holds several statements; give one condition, without ';'"
_CASTS = {"DATE", "TIMESTAMP", "TIMESTAMPNTZ", "TIMESTAMPTZ", "TIMESTAMPLTZ", "DATETIME", "DOUBLE", "TEXT", "VARCHAR"}


def parse_sql(where: str) -> Expression:
    """Parse a WHERE condition as DuckDB would.

    Parameters
    ----------
    where : str
        The condition alone, without the word WHERE: ``price < 10 AND list_contains(tags, 'new')``.

    Raises
    ------
    PredicateError
        The SQL is malformed, or says more than a predicate on the columns of one row: a subquery, a function, arithmetic,
        a comparison of two columns, more than one statement.
    """
    tree = _read(where)
    try:
        return _predicate(tree)
    except RecursionError:
        raise PredicateError("the predicate is nested too deep") from None


def _read(where: str) -> exp.Expr:
    if len(where) > MAXIMUM_LENGTH:
        raise PredicateError(f"a WHERE string of {len(where)} characters is too long; {MAXIMUM_LENGTH} are allowed")
    _check_nesting(where)
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import ParseError, SqlglotError

    try:
        conditions = Dialect.get_or_raise("duckdb").parse_into(exp.Condition, where)
    except ParseError as error:
        raise PredicateError(_explain_parse_error(where, error.errors)) from None
    except SqlglotError:
        raise PredicateError(f"{_short(where)} is no SQL: a quotation mark or a comment is not closed") from None
    except RecursionError:
        raise PredicateError("the predicate is nested too deep") from None
    found = [condition for condition in conditions if condition is not None]
    if not found:
        raise PredicateError("the WHERE string is empty; leave `where` out to search all rows")
    if len(found) > 1:
        raise PredicateError(_SEVERAL)
    return found[0]


def _check_nesting(where: str) -> None:
    """Refuse deep parentheses before a recursive parser meets them; those inside of strings count too, which does no harm."""
    depth = deepest = 0
    for character in where:
        if character in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]":
            depth -= 1
    if deepest > MAXIMUM_NESTING:
        raise PredicateError(f"the WHERE string has parentheses nested more than {MAXIMUM_NESTING} deep")


def _explain_parse_error(where: str, errors: list[dict[str, Any]]) -> str:
    word = where.split(None, 1)[0].upper() if where.split() else ""
    if word == "WHERE":
        return "give the condition alone, without the word WHERE"
    if word in _STATEMENTS:
        return f"{_short(where)}: this is a statement, not a condition; give the condition alone"
    first = errors[0] if errors else {}
    if str(first.get("start_context", "")).rstrip().endswith(";"):
        return _SEVERAL
    place = (
        f" near {first['highlight']!r} (line {first['line']}, column {first['col']})" if first.get("highlight") else ""
    )
    return f"{_short(where)} is no SQL condition{place}"


def _predicate(node: exp.Expr) -> Expression:
    kind = type(node).__name__
    if kind in _COMPARISONS:
        return _comparison(node, _COMPARISONS[kind])
    handler = _PREDICATES.get(kind)
    if handler is None:
        raise _refusal(node)
    return handler(node)


def _connective(node: exp.Expr) -> Expression:
    """Flatten ``a AND b AND c``, which the parser leaves as a left-deep chain, without recursing along the chain."""
    kind = type(node)
    terms = []
    while isinstance(node, kind):
        terms.append(node.expression)
        node = node.this
    terms.append(node)
    parts: list[Any] = []
    made = And if kind.__name__ == "And" else Or
    for term in reversed(terms):
        part = _predicate(term)
        parts.extend(part.terms if isinstance(part, made) else (part,))
    return made(tuple(parts))


def _negation(node: exp.Expr) -> Expression:
    return ~_predicate(node.this)


def _comparison(node: exp.Expr, operator: Operator) -> Expression:
    left, right = _bare(node.this), _bare(node.expression)
    for side, other, swap in ((right, left, False), (left, right, True)):
        quantifier = _quantifier(side)
        if quantifier is not None:
            return _quantified(quantifier, side, other, operator)
        if _is_column(other) and not _is_column(side):
            return Comparison(_name(other), _MIRRORED.get(operator, operator) if swap else operator, _literal(side))
    if _is_column(left):
        raise PredicateError(f"{_sql(node)}: a column is compared with a value, not with another column")
    _literal(left)
    _literal(right)
    raise PredicateError(f"{_sql(node)}: no column is named; a column is compared with a value")


def _quantifier(node: exp.Expr) -> str | None:
    if type(node).__name__ in ("Any", "All"):
        return type(node).__name__.upper()
    if type(node).__name__ == "Anonymous" and str(node.this).upper() in ("ANY", "ALL"):
        return str(node.this).upper()
    return None


def _quantified(quantifier: str, side: exp.Expr, other: exp.Expr, operator: Operator) -> Expression:
    """``value = ANY(column)`` and its negation ``value <> ALL(column)``."""
    column = _bare(side.expressions[0] if type(side).__name__ == "Anonymous" else side.this)
    if not _is_column(column):
        raise PredicateError(
            f"{_sql(side)}: {quantifier} needs a list column in its parentheses; write x IN (...) for values"
        )
    if (quantifier, operator) not in (("ANY", "="), ("ALL", "!=")):
        raise PredicateError(
            f"{operator} {quantifier}(...) is not supported; use value = ANY(column) or value <> ALL(column)"
        )
    member = contains(_name(column), [_literal(other)], "element")
    return member if quantifier == "ANY" else ~member


def _between(node: exp.Expr) -> Expression:
    if node.args.get("symmetric"):
        raise PredicateError("BETWEEN SYMMETRIC is not supported; write BETWEEN with the smaller value first")
    column = _column(node.this, node)
    low, high = _literal(node.args["low"]), _literal(node.args["high"])
    return And((Comparison(column, ">=", low), Comparison(column, "<=", high)))


def _in(node: exp.Expr) -> Expression:
    if node.args.get("query") is not None or node.args.get("unnest") is not None:
        raise PredicateError("IN (SELECT ...) is not supported: a predicate cannot hold a subquery")
    target = node.args.get("field")
    if target is not None:
        if not _is_column(target):
            raise _refusal(target)
        return contains_one(_name(target), _literal(node.this))
    if not node.expressions:
        raise PredicateError(f"{_sql(node)}: IN needs a list of values in parentheses")
    return In(_column(node.this, node), to_values(_literals(node.expressions)))


def _like(node: exp.Expr, escape: str = "") -> Expression:
    pattern = _literal(node.expression)
    column = _column(node.this, node)
    if pattern is None:
        return Comparison(column, "=", None)
    like = to_like(column, pattern, escape)
    return ~like if node.args.get("negate") else like


def _escape(node: exp.Expr) -> Expression:
    inner = node.this
    if type(inner).__name__ != "Like":
        raise _refusal(inner)
    escape = _literal(node.expression)
    return _like(inner, escape if isinstance(escape, str) else str(escape))


def _is(node: exp.Expr) -> Expression:
    value = _literal(node.expression)
    column = _column(node.this, node)
    if value is None:
        return IsNull(column)
    if isinstance(value, bool):
        return Comparison(column, "is not distinct from", value)
    raise PredicateError(f"{_sql(node)}: IS is followed by NULL, TRUE, FALSE or DISTINCT FROM; use = for other values")


def _contains_one(node: exp.Expr) -> Expression:
    return contains_one(_column(node.this, node), _literal(node.expression))


def _contains_list(mode: str) -> Callable[[exp.Expr], Expression]:
    def handle(node: exp.Expr) -> Expression:
        left, right = _bare(node.this), _bare(node.expression)
        if mode == "any" and not _is_column(left):
            left, right = right, left
        return _list_test(left, right, mode, node)

    return handle


def _contained(node: exp.Expr) -> Expression:
    return _list_test(_bare(node.expression), _bare(node.this), "all", node)


def _list_test(column: exp.Expr, values: exp.Expr, mode: str, node: exp.Expr) -> Expression:
    if type(_bare(values)).__name__ == "Null":
        return Comparison(_column(column, node), "=", None)
    if type(values).__name__ != "Array":
        raise PredicateError(f"{_sql(node)}: a list column is compared with a list of values, such as ['a', 'b']")
    return Contains(_column(column, node), to_values(_literals(values.expressions)), "all" if mode == "all" else "any")


def _function(node: exp.Expr) -> Expression:
    mode = _FUNCTIONS.get(str(node.this).upper())
    if mode is None or len(node.expressions) != 2:
        raise _refusal(node)
    column, value = (_bare(argument) for argument in node.expressions)
    if mode == "one":
        return contains_one(_column(column, node), _literal(value))
    return _list_test(column, value, mode, node)


def _constant(node: exp.Expr) -> Expression:
    return Constant(None if type(node).__name__ == "Null" else bool(node.this))


def _bare_column(node: exp.Expr) -> Expression:
    return Comparison(_name(node), "=", True)


_PREDICATES: dict[str, Callable[[Any], Expression]] = {
    "And": _connective,
    "Or": _connective,
    "Not": _negation,
    "Paren": lambda node: _predicate(node.this),
    "Between": _between,
    "In": _in,
    "Like": _like,
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


def _bare(node: exp.Expr) -> exp.Expr:
    while type(node).__name__ == "Paren":
        node = node.this
    return node


def _is_column(node: exp.Expr) -> bool:
    return type(_bare(node)).__name__ == "Column"


def _name(node: exp.Expr) -> str:
    """The name of a column; ``a.b`` names the column "a.b"."""
    parts: list[Any] = getattr(_bare(node), "parts", [])
    if not all(type(part).__name__ == "Identifier" and part.this for part in parts):
        raise _refusal(node)
    return ".".join(part.name for part in parts)


def _column(node: exp.Expr, whole: exp.Expr) -> str:
    node = _bare(node)
    if _is_column(node):
        return _name(node)
    if type(node).__name__ in ("Literal", "Boolean", "Null", "Neg"):
        raise PredicateError(f"{_sql(whole)}: a column belongs on the left side")
    raise _refusal(node)


def _literals(nodes: list[exp.Expr]) -> list[Literal]:
    return [_literal(node) for node in nodes]


def _literal(node: exp.Expr) -> Literal:
    node = _bare(node)
    kind = type(node).__name__
    if kind == "Literal":
        return to_literal(node.this) if node.is_string else parse_number(node.this)
    if kind == "Null":
        return None
    if kind == "Boolean":
        return bool(node.this)
    if kind == "Neg":
        return _negated(_literal(node.this), node)
    if kind == "Cast":
        return _cast(node)
    if kind == "Column":
        raise PredicateError(
            f"{_sql(node)} stands where a value is expected: a column is compared with a value, not with another column; "
            "strings take single quotes"
        )
    raise _refusal(node)


def _negated(value: Literal, node: exp.Expr) -> Literal:
    if isinstance(value, bool) or not isinstance(value, int | float | Number):
        raise PredicateError(f"{_sql(node)}: only numbers take a minus sign")
    if isinstance(value, Number):
        return Number(value.text[1:] if value.text.startswith("-") else "-" + value.text)
    return to_literal(-value)


def _cast(node: exp.Expr) -> Literal:
    """``DATE '...'``, ``TIMESTAMP '...'``, and the spellings of special floats: ``'NaN'::DOUBLE``."""
    target = node.args["to"].this
    name = getattr(target, "name", str(target)).upper()
    value = _literal(node.this)
    if name not in _CASTS or not isinstance(value, str):
        raise PredicateError(f"{_sql(node)}: only DATE '...' and TIMESTAMP '...' of a string are supported as casts")
    if name == "DATE":
        return parse_date(value)
    if name in ("TEXT", "VARCHAR"):
        return value
    if name != "DOUBLE":
        return parse_timestamp(value)
    try:
        return float(value)
    except ValueError:
        raise PredicateError(f"{_sql(node)}: {value!r} is no number") from None


_REFUSED = {
    "Select": "a subquery or a whole SELECT is no predicate; give the condition alone",
    "Subquery": "a predicate cannot hold a subquery",
    "Exists": "a predicate cannot hold a subquery",
    "ILike": "ILIKE is not supported; store the text in lower case and use LIKE",
    "SimilarTo": "SIMILAR TO is not supported; use LIKE",
    "RegexpLike": "regular expressions are not supported; use LIKE",
    "Placeholder": "parameters are not filled in here; write the value, or use vsearch.col",
    "Parameter": "parameters are not filled in here; write the value, or use vsearch.col",
    "Any": "ANY is supported as value = ANY(list_column)",
    "Bracket": "elements of a list cannot be picked; use list_contains(column, value)",
    "Interval": "intervals are not supported; compute the moment and write TIMESTAMP '...'",
    "Case": "CASE is not supported",
    "Literal": "a value alone is no predicate; compare a column with it",
    "ByteString": "E'...' strings are not supported; write a plain '...' string",
    "National": "N'...' strings are not supported; write a plain '...' string",
}
_ARITHMETIC = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "IntDiv",
    "Mod",
    "Neg",
    "Pow",
    "DPipe",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
}


def _refusal(node: exp.Expr) -> PredicateError:
    """Say in one line why this SQL is no predicate."""
    from sqlglot import exp

    kind = type(node).__name__
    if kind in _REFUSED:
        reason = _REFUSED[kind]
    elif kind in _ARITHMETIC:
        reason = "arithmetic is not supported; compare the column itself with a value"
    elif isinstance(node, exp.Func):
        reason = "functions are not supported, except list_contains, list_has_any and list_has_all on a list column"
    else:
        reason = "this is not supported in a predicate"
    return PredicateError(f"{_sql(node)}: {reason}")


def _sql(node: exp.Expr) -> str:
    return _short(node.sql(dialect="duckdb"))


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
