"""The Arrow types in which attributes are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.predicates.schema import Attribute


def arrow_of(attribute: Attribute) -> pa.DataType:
    """The Arrow type of an attribute's exact column, as a build stores it."""
    import pyarrow as pa

    from vsearch.predicates.types.table import find_type

    record = find_type(attribute.type)
    like = pa.decimal128(attribute.precision, attribute.scale) if record.scaled else pa.list_(pa.null())
    return record.stored(like)


def column_of(attribute: Attribute) -> str:
    """What manifests and messages call `arrow_of`, which takes an Arrow library."""
    from vsearch.predicates.types.table import find_type

    record = find_type(attribute.type)
    if record.scaled:
        return f"decimal128({attribute.precision}, {attribute.scale})"
    return record.column or str(record.name)
