"""The attribute columns of an index: their names and types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from vsearch.errors import InputError, PredicateError

if TYPE_CHECKING:
    import pyarrow as pa


class AttributeType(StrEnum):
    """The types an attribute column can have."""

    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    BOOL = "bool"
    STRING = "string"
    TIMESTAMP = "timestamp"
    TIMESTAMP_NS = "timestamp[ns]"
    DATE = "date"
    STRINGS = "list<string>"
    INTEGERS = "list<int64>"
    HALVES = "list<float16>"
    SINGLES = "list<float32>"
    DOUBLES = "list<float64>"


ITEM_TYPES = {
    AttributeType.STRINGS: AttributeType.STRING,
    AttributeType.INTEGERS: AttributeType.INT64,
    AttributeType.HALVES: AttributeType.FLOAT16,
    AttributeType.SINGLES: AttributeType.FLOAT32,
    AttributeType.DOUBLES: AttributeType.FLOAT64,
}
"""The types of lists, and of their elements."""

BYTE_KEYED = (AttributeType.STRING, AttributeType.DECIMAL)
"""Types whose keys are bytes in a dictionary; see `vsearch.predicates.keys`."""

ROW_ID = "id\0"
"""What a bound predicate calls the ids of the rows: no attribute can be meant by it."""

_ROW_ID_NAMES = ("id", "_id")

_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}), (-?[0-9]{1,3})\)", re.ASCII)
_LARGEST_PRECISION = 38


class Attribute(msgspec.Struct, frozen=True):
    """One attribute column; `precision` and `scale` are of decimals, whose values are whole numbers / 10**scale."""

    name: str
    type: AttributeType
    precision: int = 0
    scale: int = 0

    @classmethod
    def of_kind(cls, name: str, kind: str) -> Attribute:
        """The attribute of a name and what `kind` said, which may come from anywhere.

        Raises
        ------
        ValueError
            The kind is none.
        """
        decimal = _DECIMAL.fullmatch(kind)
        if decimal is None:
            found = AttributeType(kind)
            if found is AttributeType.DECIMAL:
                raise ValueError(kind)
            return cls(name, found)
        precision, scale = int(decimal[1]), int(decimal[2])
        if not 1 <= precision <= _LARGEST_PRECISION:
            raise ValueError(kind)
        return cls(name, AttributeType.DECIMAL, precision, scale)

    @property
    def label(self) -> str:
        """The name as users know it."""
        return "id" if self.name == ROW_ID else self.name

    @property
    def kind(self) -> str:
        """The type as text, with what decimals have besides: ``decimal(10, 2)``."""
        if self.type is AttributeType.DECIMAL:
            return f"decimal({self.precision}, {self.scale})"
        return str(self.type)


class Schema(msgspec.Struct, frozen=True):
    """The attribute columns, in order. Names differ from each other.

    `row_id` is the type of the rows' ids, which predicates call ``id`` unless an attribute has that name, and ``_id`` likewise;
    None where there are none to ask for.
    """

    attributes: tuple[Attribute, ...]
    row_id: AttributeType | None = None

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.attributes)

    def __len__(self) -> int:
        return len(self.attributes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(attribute.name for attribute in self.attributes)

    def find(self, name: str) -> Attribute:
        """Look a column up by name; as in SQL, letter case counts only where two columns differ by nothing else.

        Raises
        ------
        PredicateError
            No column has this name.
        """
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        alike = [attribute for attribute in self.attributes if attribute.name.lower() == name.lower()]
        if len(alike) == 1:
            return alike[0]
        if self.row_id is not None and name.lower() in _ROW_ID_NAMES:
            return Attribute(ROW_ID, self.row_id)
        raise PredicateError(f"no attribute column is named {name!r}; {self._hint(name)}")

    def _hint(self, name: str) -> str:
        if not self.attributes:
            return "this index was built without attributes" + (
                ", only `id` can be asked for" if self.row_id is not None else ""
            )
        import difflib

        folded = {known.lower(): known for known in self.names}
        near = difflib.get_close_matches(name.lower(), folded, 1) or difflib.get_close_matches(
            name.lower().rpartition(".")[2], folded, 1
        )
        if near:
            return f"did you mean {folded[near[0]]!r}?"
        shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
        return f"there are {shown}"


def schema_from_arrow(schema: pa.Schema) -> Schema:
    """The attribute types of an Arrow schema.

    Raises
    ------
    InputError
        A column has a type that cannot be filtered on, or two columns share a name.
    """
    names = schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the attribute column {twice[0]!r} appears more than once; names must differ")
    return Schema(tuple(attribute_from_arrow(field.name, field.type) for field in schema))


def attribute_from_arrow(name: str, arrow: pa.DataType) -> Attribute:
    """The attribute that holds an Arrow type; see `schema_from_arrow`."""
    from pyarrow import types

    kind = attribute_type(name, arrow)
    if types.is_dictionary(arrow):
        arrow = arrow.value_type
    if kind is AttributeType.DECIMAL:
        return Attribute(name, kind, arrow.precision, arrow.scale)
    return Attribute(name, kind)


def attribute_type(name: str, arrow: pa.DataType) -> AttributeType:
    """The attribute type that holds an Arrow type; see `schema_from_arrow`."""
    from pyarrow import types

    if types.is_dictionary(arrow):
        arrow = arrow.value_type
    if types.is_list(arrow) or types.is_large_list(arrow) or types.is_fixed_size_list(arrow):
        element = arrow.value_type.value_type if types.is_dictionary(arrow.value_type) else arrow.value_type
        if _is_text(element):
            return AttributeType.STRINGS
        if types.is_integer(element) and not types.is_uint64(element):
            return AttributeType.INTEGERS
        if types.is_floating(element):
            return AttributeType(f"list<float{element.bit_width}>")
    elif types.is_uint64(arrow):
        return AttributeType.UINT64
    elif types.is_integer(arrow):
        return AttributeType.INT64
    elif types.is_floating(arrow):
        return AttributeType(f"float{arrow.bit_width}")
    elif types.is_decimal(arrow) and arrow.precision <= _LARGEST_PRECISION:
        return AttributeType.DECIMAL
    elif types.is_boolean(arrow):
        return AttributeType.BOOL
    elif _is_text(arrow):
        return AttributeType.STRING
    elif types.is_timestamp(arrow):
        return AttributeType.TIMESTAMP_NS if arrow.unit == "ns" else AttributeType.TIMESTAMP
    elif types.is_date(arrow):
        return AttributeType.DATE
    raise InputError(
        f"the attribute column {name!r} has the type {arrow}, which cannot be filtered on; use integers, floats, "
        "decimals of up to 38 digits, bools, strings, timestamps, dates, or lists of strings, integers or floats"
    )


def _is_text(arrow: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow)
