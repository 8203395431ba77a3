"""What stands for the column in a SQL condition: the column itself, lower() and upper() of it, COALESCE, the length of a list."""

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
    """A column, in upper or lower case where `fold` says so; `default`, in a tuple, is what stands for NULL."""

    column: str
    fold: Fold = ""
    default: tuple[Literal] | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the column itself."""
        return not self.fold and self.default is None

    def wrap(self, term: Comparison | In | Like | Part) -> Expression:
        """A condition on the column, with the default in the place of NULL."""
        return term if self.default is None else Coalesce(term, self.default[0])


def target_of(node: exp.Expr) -> Target | None:
    """Read what a comparison may have for its column; None where it is something else."""
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
            raise PredicateError(f"{sql_text(node)}: COALESCE takes a column and one value")
        return Target(inner.column, inner.fold, (literal(node.expressions[0]),))
    return None


def list_length(node: exp.Expr) -> str | None:
    """The column whose length a node is; None where it is something else."""
    node = bare(node)
    kind = type(node).__name__
    if kind in ("Length", "ArraySize"):
        inner, rest = node.this, [] if node.args.get("expression") is None else [node.expression]
    elif kind == "Anonymous" and str(node.this).upper() in _LENGTHS and node.expressions:
        inner, rest = node.expressions[0], list(node.expressions[1:])
    else:
        return None
    if not is_column(inner) or [literal(each) for each in rest] not in ([], [1]):
        return None
    return column_name(inner)


def length_test(column: str, operator: Operator, value: Literal, node: exp.Expr) -> Expression:
    """The test of a length that tells empty lists from others, and nothing more."""
    if value is None:
        return Comparison(column, "=", None)
    refused = PredicateError(
        f"{sql_text(node)}: of the length of a list only = 0, > 0 and the like can be asked: whether it is empty"
    )
    if isinstance(value, Number):
        number: Any = Fraction(value.text)
    else:
        number = value.value if isinstance(value, Double) else value
    if isinstance(number, bool) or not isinstance(number, int | float | Fraction) or operator not in _HOLDS:
        raise refused
    none, one, many = (_HOLDS[operator](length, number) for length in (0, 1, _MANY))
    if one is not many or (operator in ("=", "!=") and number == int(number) and number >= 1):
        raise refused
    empty = IsEmpty(column)
    if none is one:
        both = empty | ~empty  # unknown where the list is NULL
        return both if one else ~both
    return empty if none else ~empty
