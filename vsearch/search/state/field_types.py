"""The Arrow types in which attributes are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vsearch.errors import CorruptIndexError

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.predicates.schema import Attribute


def arrow_of(attribute: Attribute) -> pa.DataType:
    """Return the Arrow type in which an attribute's exact column is stored."""
    import pyarrow as pa

    from vsearch.predicates.types.table import find_type

    record = find_type(attribute.type)
    like = pa.decimal128(attribute.precision, attribute.scale) if record.scaled else pa.list_(pa.null())
    return record.stored(like)


def column_of(attribute: Attribute) -> str:
    """Return the name of `arrow_of` in manifests and messages, without pyarrow."""
    from vsearch.predicates.types.table import find_type

    record = find_type(attribute.type)
    if record.scaled:
        return f"decimal128({attribute.precision}, {attribute.scale})"
    return record.column or str(record.name)


def as_type(column: pa.ChunkedArray | pa.Array, kind: pa.DataType, path: str) -> pa.ChunkedArray | pa.Array:
    """A stored column as the type that its field has.

    Raises
    ------
    CorruptIndexError
        It is stored as another type.
    """
    import pyarrow as pa

    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except pa.ArrowException as error:
        reason = f"a column is stored as {column.type}, which cannot be {kind} ({str(error).splitlines()[0]})"
        raise CorruptIndexError(path, f"{reason}; restore the file") from None
