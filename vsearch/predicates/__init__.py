"""Filter predicates: three syntaxes, one expression tree, exact results from one byte per row.

========================== ========================================= ===================================
SQL string                 Mongo-style dict                          `col` expression
========================== ========================================= ===================================
``x = 1``, ``x <> 1``      ``{"x": 1}``, ``{"x": {"$ne": 1}}``       ``col("x") == 1``, ``col("x") != 1``
``x < 1``, ``x >= 1``      ``{"x": {"$lt": 1}}``, ``$lte $gt $gte``  ``col("x") < 1``
``x BETWEEN 1 AND 5``      ``{"x": {"$gte": 1, "$lte": 5}}``         ``col("x").between(1, 5)``
``x IN (1, 2)``            ``{"x": {"$in": [1, 2]}}``, ``$nin``      ``col("x").is_in([1, 2])``, ``not_in``
``x LIKE 'a%'``            ``{"x": {"$like": "a%"}}``                ``col("x").like("a%")``
``x ILIKE 'A%'``           ``{"x": {"$ilike": "A%"}}``               ``col("x").ilike("A%")``
``lower(x) = 'a'``                                                   ``col("x").lower() == "a"``
``contains(x, 'a')``       ``{"x": {"$contains": "a"}}``             ``col("x").contains("a")``
``starts_with(x, 'a')``    ``{"x": {"$startsWith": "a"}}``           ``col("x").starts_with("a")``
``ends_with(x, 'a')``      ``{"x": {"$endsWith": "a"}}``             ``col("x").ends_with("a")``
``x IS NULL``              ``{"x": {"$exists": False}}``             ``col("x").is_null()``, ``is_not_null``
``active``                 ``{"active": True}``                      ``col("active")``
``list_contains(t, 'a')``  ``{"t": "a"}``                            ``col("t").contains("a")``
``list_has_any(t, [...])`` ``{"t": {"$any": [...]}}``                ``col("t").contains_any([...])``
``list_has_all(t, [...])`` ``{"t": {"$all": [...]}}``                ``col("t").contains_all([...])``
``t = []``, ``len(t) = 0`` ``{"t": []}``, ``{"t": {"$size": 0}}``     ``col("t").is_empty()``
``AND``, ``OR``, ``NOT``   ``$and``, ``$or``, ``$nor``, ``$not``     ``&``, ``|``, ``~``
========================== ========================================= ===================================

SQL also supports ``NOT BETWEEN``, ``NOT IN``, ``NOT LIKE``, ``ESCAPE``, ``IS [NOT] DISTINCT FROM``, ``COALESCE(x, 3) >
2``, ``IS [NOT] TRUE``, ``FALSE`` and ``UNKNOWN`` after any condition, ``upper(x)``, ``prefix``, ``suffix``, ``^@``,
``'a' = ANY(t)``, ``t && [...]``, ``t @> [...]``, ``DATE '...'`` and ``TIMESTAMP '...'``.

**All three syntaxes have SQL semantics, as in DuckDB.** A comparison with NULL is neither true nor false, and only rows
for which the whole predicate is true match: ``x <> 1``, ``$ne``, ``$nin`` and ``~`` do not match rows where x is NULL,
and ``x NOT IN (1, NULL)`` matches nothing. NaN equals itself and is greater than every number. Strings compare by their
UTF-8 bytes. LIKE has no escape character unless ESCAPE names one. Times without an offset are UTC. Where DuckDB would
cast one type to another (a string to a number, a bool to an integer), a type mismatch is an error here.

From a ``where`` to rows::

    parse(where)                 SQL string, dict or col() -> Expression
    bind(expression, schema)     -> typed leaves under AND and OR
    encode_column(...)           at build: Arrow column -> cells or postings
    evaluate(bound, ...)         -> RowMask: yes, maybe
    recheck(mask, ...)           resolves the maybe rows from the exact columns

Names are imported lazily: a worker that only evaluates predicates never loads a SQL parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch._lazy import lazy_names

if TYPE_CHECKING:
    from vsearch.predicates.binding import bind, columns_of
    from vsearch.predicates.bound import Bound
    from vsearch.predicates.checking import decode, encode
    from vsearch.predicates.columns import CellColumn, ColumnHeader, EncodedColumn, PostingColumn, decode_column
    from vsearch.predicates.encoding import encode_column
    from vsearch.predicates.evaluation import RowMask, evaluate, recheck
    from vsearch.predicates.explain import to_sql
    from vsearch.predicates.expressions import Column, Expression, col
    from vsearch.predicates.keys import keys_from_arrow, keys_from_values
    from vsearch.predicates.parsing import Where, parse
    from vsearch.predicates.schema import Attribute, AttributeType, Schema
    from vsearch.predicates.types.table import attribute_type, schema_from_arrow

__all__ = [
    "Attribute",
    "AttributeType",
    "Bound",
    "CellColumn",
    "Column",
    "ColumnHeader",
    "EncodedColumn",
    "Expression",
    "PostingColumn",
    "RowMask",
    "Schema",
    "Where",
    "attribute_type",
    "bind",
    "col",
    "columns_of",
    "decode",
    "decode_column",
    "encode",
    "encode_column",
    "evaluate",
    "keys_from_arrow",
    "keys_from_values",
    "parse",
    "recheck",
    "schema_from_arrow",
    "to_sql",
]


__getattr__ = lazy_names(
    __name__,
    {
        "vsearch.predicates.binding": ("bind", "columns_of"),
        "vsearch.predicates.bound": ("Bound",),
        "vsearch.predicates.checking": ("decode", "encode"),
        "vsearch.predicates.columns": ("CellColumn", "ColumnHeader", "EncodedColumn", "PostingColumn", "decode_column"),
        "vsearch.predicates.encoding": ("encode_column",),
        "vsearch.predicates.evaluation": ("RowMask", "evaluate", "recheck"),
        "vsearch.predicates.explain": ("to_sql",),
        "vsearch.predicates.expressions": ("Column", "Expression", "col"),
        "vsearch.predicates.keys": ("keys_from_arrow", "keys_from_values"),
        "vsearch.predicates.parsing": ("Where", "parse"),
        "vsearch.predicates.schema": ("Attribute", "AttributeType", "Schema"),
        "vsearch.predicates.types.table": ("attribute_type", "schema_from_arrow"),
    },
)
