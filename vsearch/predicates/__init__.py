"""Filter predicates: three spellings, one tree of data, exact answers from one byte per row.

::

    parse(where)                 SQL string, dict or col() -> Expression
    bind(expression, schema)     -> typed leaves under AND and OR
    encode_column(...)           at build: Arrow column -> cells or postings
    prune(bound, ...)            which partitions can match
    evaluate(bound, ...)         -> RowMask: yes, maybe
    recheck(mask, ...)           the maybe rows, from the exact columns

Names are loaded when they are first used: a worker that only evaluates never loads a SQL parser.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsearch.predicates.binding import Bound, bind, columns_of
    from vsearch.predicates.columns import CellColumn, ColumnHeader, EncodedColumn, PostingColumn, decode_column
    from vsearch.predicates.encoding import encode_column
    from vsearch.predicates.evaluation import RowMask, evaluate, recheck
    from vsearch.predicates.explain import to_sql
    from vsearch.predicates.expressions import Column, Expression, col, decode, encode
    from vsearch.predicates.keys import keys_from_arrow, keys_from_values
    from vsearch.predicates.parsing import Where, parse
    from vsearch.predicates.pruning import partition_presence, prune
    from vsearch.predicates.schema import Attribute, AttributeType, Schema, attribute_type, schema_from_arrow

_HOMES = {
    "binding": ("Bound", "bind", "columns_of"),
    "columns": ("CellColumn", "ColumnHeader", "EncodedColumn", "PostingColumn", "decode_column"),
    "encoding": ("encode_column",),
    "evaluation": ("RowMask", "evaluate", "recheck"),
    "explain": ("to_sql",),
    "expressions": ("Column", "Expression", "col", "decode", "encode"),
    "keys": ("keys_from_arrow", "keys_from_values"),
    "parsing": ("Where", "parse"),
    "pruning": ("partition_presence", "prune"),
    "schema": ("Attribute", "AttributeType", "Schema", "attribute_type", "schema_from_arrow"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

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
    "partition_presence",
    "prune",
    "recheck",
    "schema_from_arrow",
    "to_sql",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
