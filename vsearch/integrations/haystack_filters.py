"""Haystack's filters as predicates, with exactly its semantics.

Comparisons of numbers become comparisons, and everything else `IN`: the distinct values of the attribute that Haystack's own function
lets pass. Values that do not fit the type of their attribute are compared one by one; the attribute `MISFITS` names their fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from haystack import Document
from haystack.errors import FilterError
from haystack.utils.filters import COMPARISON_OPERATORS, document_matches_filter

from vsearch.integrations.documents import row_id_of
from vsearch.integrations.haystack_documents import MISFITS, to_document
from vsearch.predicates import col
from vsearch.predicates.expressions import And, Constant, Is, Or

if TYPE_CHECKING:
    from vsearch.integrations.documents import DocumentIndex

LOGIC = ("AND", "OR", "NOT")
NUMBERS = ("int64", "float64")


def to_expression(filters: dict[str, Any], documents: DocumentIndex) -> Any:
    """Translate filters for an index.

    Raises
    ------
    FilterError
        They are malformed, or values cannot be compared.
    """
    if not isinstance(filters, dict):
        raise FilterError(f"filters must be a dict, got {filters!r:.100}")
    if "field" in filters:
        return _to_comparison(filters, documents)
    for key in ("operator", "conditions"):
        if key not in filters:
            raise FilterError(f"{key!r} key missing in {filters}")
    operator = filters["operator"]
    if operator not in LOGIC:
        raise FilterError(f"unknown logical operator {operator!r}; it must be one of {', '.join(LOGIC)}")
    terms = tuple(to_expression(condition, documents) for condition in filters["conditions"])
    if operator == "OR":
        return Or(terms)
    return And(terms) if operator == "AND" else ~Is(And(terms), value=True)


def _to_comparison(condition: dict[str, Any], documents: DocumentIndex) -> Any:
    for key in ("operator", "value"):
        if key not in condition:
            raise FilterError(f"{key!r} key missing in {condition}")
    if condition["operator"] not in COMPARISON_OPERATORS:
        raise FilterError(
            f"unknown comparison operator {condition['operator']!r}; it must be one of {', '.join(COMPARISON_OPERATORS)}"
        )
    field, types = condition["field"], documents.types
    if field in {"id", "content", "blob", "score", "embedding", "sparse_embedding"}:
        return _to_rows(condition, documents, None)
    name = field.removeprefix("meta.").split(".")[0]
    nested = "." in field.removeprefix("meta.")
    missing = document_matches_filter(condition, Document(content=""))
    regular: Any = Constant(value=missing)
    if name in types and not nested:
        column = col(name)
        regular = _to_values(condition, documents, name, types[name])
        regular = regular | column.is_null() if missing else regular & column.is_not_null()
    if name not in _misfits(documents):
        return regular
    misfit = col(MISFITS).contains(name)
    return (regular & ~misfit) | _to_rows(condition, documents, misfit)


def _to_values(condition: dict[str, Any], documents: DocumentIndex, name: str, kind: str) -> Any:
    """Return which values of an attribute pass."""
    column, operator, value = col(name), condition["operator"], condition["value"]
    if kind in NUMBERS and type(value) in {int, float}:
        compared = {
            "==": lambda: column == value,
            "!=": lambda: column != value,
            ">": lambda: column > value,
            ">=": lambda: column >= value,
            "<": lambda: column < value,
            "<=": lambda: column <= value,
        }
        if operator in compared:
            return compared[operator]()
    condition = {**condition, "field": f"meta.{name}"}
    values = documents.index.facet(name)["value"].to_pylist()
    passing = [
        item
        for item in values
        if item is not None and document_matches_filter(condition, Document(content="", meta={name: item}))
    ]
    return column.is_in(passing) if passing else Constant(value=False)


def _to_rows(condition: dict[str, Any], documents: DocumentIndex, where: Any) -> Any:
    """Compare the documents that pass `where` one by one."""
    passing = [
        stored.id
        for stored in documents.list_documents(where)
        if document_matches_filter(condition, to_document(stored))
    ]
    row_id = col(row_id_of(documents.types))
    return row_id.is_in(documents.as_ids(passing)) if passing else Constant(value=False)


def _misfits(documents: DocumentIndex) -> set[str]:
    return set(documents.index.facet(MISFITS)["value"].to_pylist()) if MISFITS in documents.types else set()
