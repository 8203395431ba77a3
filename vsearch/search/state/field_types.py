"""The Arrow types in which attributes are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.predicates.schema import Attribute, AttributeType

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_of(attribute: Attribute) -> pa.DataType:
    """The Arrow type of an attribute's exact column, as a build stores it (see `building.inputs.attribute_types`)."""
    import pyarrow as pa

    kind = attribute.type
    if kind is AttributeType.DECIMAL:
        return pa.decimal128(attribute.precision, attribute.scale)
    plain = {
        AttributeType.BOOL: pa.bool_(),
        AttributeType.TIMESTAMP: pa.timestamp("us", "UTC"),
        AttributeType.TIMESTAMP_NS: pa.timestamp("ns", "UTC"),
        AttributeType.DATE: pa.date32(),
    }
    if kind in plain:
        return plain[kind]
    name = str(kind)
    if name.startswith("list<"):
        return pa.list_(_named(name[5:-1]))
    return _named(name)


def _named(name: str) -> pa.DataType:
    import pyarrow as pa

    return {
        "string": pa.string(),
        "int64": pa.int64(),
        "uint64": pa.uint64(),
        "float16": pa.float16(),
        "float32": pa.float32(),
        "float64": pa.float64(),
    }[name]
