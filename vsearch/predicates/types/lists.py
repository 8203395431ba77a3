"""List types, whose elements have keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.predicates.literals import Double, Literal, Number
from vsearch.predicates.schema import Attribute
from vsearch.predicates.types.arrays import ordered_keys
from vsearch.predicates.types.numbers import fixed_binary
from vsearch.predicates.types.record import AttributeRecord, ElementKeys, OrderedKeys

if TYPE_CHECKING:
    import pyarrow as pa

NO_ELEMENT = b""


def list_of(item: AttributeRecord) -> AttributeRecord:
    """Return the record of lists of a type that has ordered keys or is text."""

    def accepts(arrow: Any) -> bool:
        from pyarrow import types

        if not (types.is_list(arrow) or types.is_large_list(arrow) or types.is_fixed_size_list(arrow)):
            return False
        element = arrow.value_type
        return item.accepts(element.value_type if types.is_dictionary(element) else element)

    def stored(arrow: Any) -> pa.DataType:
        import pyarrow as pa

        return pa.list_(item.stored(arrow.value_type))

    def key(attribute: Attribute, value: Literal) -> bytes | None:
        keys, item_attribute = item.keys, Attribute(attribute.name, item.name)
        if not isinstance(keys, OrderedKeys):
            return value.encode() if isinstance(value, str) else None
        if keys.integral:
            number = value.value if isinstance(value, Double) else value
            if isinstance(number, float) and number.is_integer():
                value = Number(str(int(number)))  # a single key, even if several integers equal this double
        cuts = keys.cuts(item_attribute, value)
        if cuts is None:
            return None
        not_below, above = cuts
        return (not_below + 2**63).to_bytes(8, "big") if not_below < above else NO_ELEMENT

    def from_arrow(array: Any) -> pa.Array:
        if not isinstance(item.keys, OrderedKeys):
            return array
        keys, valid = ordered_keys(item.keys, array)
        unsigned = (keys.view(np.uint64) ^ np.uint64(2**63)).astype(">u8")
        return fixed_binary(unsigned.view(np.uint8).reshape(-1, 8), None if valid.all() else valid)

    keys = ElementKeys(item, key, from_arrow)
    return AttributeRecord(f"list<{item.name}>", "", accepts, stored, keys, column=f"list<{item.column or item.name}>")
