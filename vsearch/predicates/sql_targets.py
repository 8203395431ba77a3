"""Column expressions of SQL conditions: a column, its lower() and upper(), COALESCE, and the length of a list."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from vsearch.errors import PredicateError
from vsearch.predicates.expressions import Coalesce, Comparison, Expression, Fold, In, IsEmpty, Like, Operator, Part
from vsearch.predicates.literals import Double, Literal, Number
from vsearch.predicates.sql_values import bare, column_name, is_column, literal, sql_text

if TYPE_CHECKING:
    from sqlglot import exp

_FOLDS: dict[str, Fold] = {"Lower": "lower", "Upper": "upper"}
_LENGTHS = ("LIST_COUNT", "CARDINALITY", "LEN", "LENGTH", "ARRAY_LENGTH")
_HOLDS: dict[Operator, Any] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_MANY = 2**62


@dataclass(frozen=True)
class Target:
    """A column, folded to lower or upper case if `fold` is set; `default`, in a tuple, replaces NULL."""

    column: str
    fold: Fold = ""
    default: tuple[Literal] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the column itself."""
        return not self.fold and self.default is None

    def wrap(self, term: Comparison | In | Like | Part) -> Expression:
        """Return a condition on the column, with the default in place of NULL."""
        return term if self.default is None else Coalesce(term, self.default[0])


def target_of(node: exp.Expr) -> Target | None:
    """Parse a column, its fold or COALESCE; return None for anything else."""
    node = bare(node)
    kind = type(node).__name__
    if is_column(node):
        return Target(column_name(node))
    if kind in _FOLDS:
        inner = target_of(node.this)
        return Target(inner.column, _FOLDS[kind]) if inner is not None and inner.plain else None
    if kind == "Coalesce":
        inner = target_of(node.this)
        if inner is None or inner.default is not None:
            return None
        if len(node.expressions) != 1 or is_column(node.expressions[0]):
            raise PredicateError(f"{sql_text(node)}: COALESCE must have two arguments, a column and a value")
        return Target(inner.column, inner.fold, (literal(node.expressions[0]),))
    return None


def list_length(node: exp.Expr) -> str | None:
    """Return the column whose length a node computes, or None if it is something else."""
    node = bare(node)
    kind = type(node).__name__
    if kind in ("Length", "ArraySize"):
        inner, rest = node.this, [] if node.args.get("expression") is None else [node.expression]
    elif kind == "Anonymous" and str(node.this).upper() in _LENGTHS and node.expressions:
        inner, rest = node.expressions[0], list(node.expressions[1:])
    else:
        return None
    if not is_column(inner) or [literal(argument) for argument in rest] not in ([], [1]):
        return None
    return column_name(inner)


def length_test(column: str, operator: Operator, value: Literal, node: exp.Expr) -> Expression:
    """Build the test of a list's length, which may only distinguish empty from non-empty lists."""
    if value is None:
        return Comparison(column, "=", None)
    refused = PredicateError(
        f"{sql_text(node)}: the length of a list can only be tested for empty or not, such as = 0 or > 0"
    )
    if isinstance(value, Number):
        number: Any = Fraction(value.text)
    else:
        number = value.value if isinstance(value, Double) else value
    if isinstance(number, bool) or not isinstance(number, int | float | Fraction) or operator not in _HOLDS:
        raise refused
    at_zero, at_one, at_many = (_HOLDS[operator](length, number) for length in (0, 1, _MANY))
    if at_one is not at_many or (operator in ("=", "!=") and number == int(number) and number >= 1):
        raise refused
    empty = IsEmpty(column)
    if at_zero is at_one:
        always = empty | ~empty  # unknown where the list is NULL
        return always if at_one else ~always
    return empty if at_zero else ~empty
