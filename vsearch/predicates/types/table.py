"""The attribute types, one record each.

============= ==========================================================================
type          keys
============= ==========================================================================
bool          0 or 1
int64         the value
uint64        the value minus 2**63
float64       the bits, made sortable; -0.0 equals 0.0, all NaNs share a key above infinity
float32, 16   the key of the value widened to float64
timestamp     microseconds since 1970-01-01 UTC
timestamp[ns] nanoseconds since 1970-01-01 UTC
date          days since 1970-01-01
============= ==========================================================================

Types that are stored in a segment's sorted dictionary (`vsearch.predicates.dictionary`) have bytes as keys: the UTF-8
of a string; the 16 bytes, big-endian, of a decimal's unscaled integer plus 2**127; the 8 bytes, big-endian, of the
int64 key of an element of a list of numbers plus 2**63.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError
from vsearch.predicates.literals import Literal, parse_date
from vsearch.predicates.schema import Attribute, AttributeType, Schema
from vsearch.predicates.types.lists import list_of
from vsearch.predicates.types.numbers import (
    bool_cuts,
    decimal_byte_cuts,
    decimal_keys,
    float_cuts,
    float_keys,
    own_keys,
    unsigned_keys,
    whole_cuts,
)
from vsearch.predicates.types.record import AttributeRecord, ByteKeys, ElementKeys, OrderedKeys
from vsearch.predicates.types.times import NANOSECONDS_PER_DAY, days, ticks, time_cuts, to_dates, to_timestamps

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST_PRECISION = 38
_SCALED = re.compile(r"(\w+)\(([0-9]{1,2}), (-?[0-9]{1,3})\)", re.ASCII)


def find_type(name: str) -> AttributeRecord:
    """Return the record of a type.

    Raises
    ------
    ValueError
        No type has this name.
    """
    record = TYPES.get(name)
    if record is None:
        raise ValueError(f"{name!r} is not an attribute type")
    return record


def attribute_of_kind(name: str, kind: str) -> Attribute:
    """Return the attribute of a name and an untrusted `Attribute.kind`.

    Raises
    ------
    ValueError
        The kind is invalid.
    """
    scaled = _SCALED.fullmatch(kind)
    record = find_type(kind if scaled is None else scaled[1])
    if record.scaled is not (scaled is not None):
        raise ValueError(kind)
    if scaled is None:
        return Attribute(name, record.name)
    precision, scale = int(scaled[2]), int(scaled[3])
    if not 1 <= precision <= _LARGEST_PRECISION:
        raise ValueError(kind)
    return Attribute(name, record.name, precision, scale)


def type_of_arrow(arrow: Any) -> AttributeRecord | None:
    """Return the record of the type that accepts an Arrow type, or a dictionary's value type; None if there is none."""
    from pyarrow import types

    if types.is_dictionary(arrow):
        arrow = arrow.value_type
    return next((record for record in TYPES.values() if record.accepts(arrow)), None)


def accepted_types(*, lists: bool = True) -> list[str]:
    """Return the names of accepted values, in the plural, such as "integers"; lists and their elements last."""
    plain = list(dict.fromkeys(record.plural for record in TYPES.values() if record.plural))
    items = [record.keys.item.plural for record in TYPES.values() if isinstance(record.keys, ElementKeys)]
    return [*plain, f"lists of {one_of(dict.fromkeys(items))}"] if lists and items else plain


def one_of(names: Iterable[str]) -> str:
    """Join names as ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def schema_from_arrow(schema: pa.Schema) -> Schema:
    """Return the attribute types of an Arrow schema.

    Raises
    ------
    InputError
        A column has a type that cannot be filtered on, or two columns have the same name.
    """
    names = schema.names
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InputError(f"the attribute column {duplicates[0]!r} appears more than once; names must be unique")
    return Schema(tuple(attribute_from_arrow(field.name, field.type) for field in schema))


def attribute_from_arrow(name: str, arrow: Any) -> Attribute:
    """Return the attribute for an Arrow type; see `schema_from_arrow`."""
    from pyarrow import types

    record = find_type(attribute_type(name, arrow))
    if not record.scaled:
        return Attribute(name, record.name)
    if types.is_dictionary(arrow):
        arrow = arrow.value_type
    return Attribute(name, record.name, arrow.precision, arrow.scale)


def attribute_type(name: str, arrow: pa.DataType) -> str:
    """Return the name of the attribute type for an Arrow type; see `schema_from_arrow`."""
    record = type_of_arrow(arrow)
    if record is None:
        accepted = accepted_types()
        raise InputError(
            f"the attribute column {name!r} has the type {arrow}, which cannot be filtered on; use {one_of(accepted)}"
        )
    return record.name


def _accepts(*checks: str) -> Callable[[Any], bool]:
    """Return a function that tests an Arrow type with any of these checks of `pyarrow.types`."""

    def accepts(arrow: Any) -> bool:
        from pyarrow import types

        return any(getattr(types, check)(arrow) for check in checks)

    return accepts


def _signed(arrow: Any) -> bool:
    from pyarrow import types

    return types.is_integer(arrow) and not types.is_uint64(arrow)


def _decimal(arrow: Any) -> bool:
    from pyarrow import types

    return types.is_decimal(arrow) and arrow.precision <= _LARGEST_PRECISION


def _timestamp(*, nanoseconds: bool) -> Callable[[Any], bool]:
    def accepts(arrow: Any) -> bool:
        from pyarrow import types

        return types.is_timestamp(arrow) and (arrow.unit == "ns") is nanoseconds

    return accepts


def _arrow(name: str, *arguments: str) -> Callable[[Any], Any]:
    """Return a function that always returns the same Arrow type, made by a function of pyarrow and its arguments."""

    def stored(_: Any) -> Any:
        import pyarrow as pa

        return getattr(pa, name)(*arguments)

    return stored


def _same_decimal(arrow: Any) -> Any:
    import pyarrow as pa

    return pa.decimal128(arrow.precision, arrow.scale)


def _cast(*names: str) -> Callable[[Any], Any]:
    """Return a function that casts an Arrow array to several types in turn, ignoring loss of precision."""

    def numbers(array: Any) -> Any:
        import pyarrow as pa

        for name in names:
            array = array.cast(getattr(pa, name)(), safe=False)
        return array

    return numbers


def _text_cuts(_: Attribute, value: Literal) -> tuple[bytes, bytes] | None:
    if not isinstance(value, str):
        return None
    text = value.encode()
    return text, text + b"\0"


def _unchanged(array: Any) -> Any:
    return array


def _float(name: AttributeType, check: str, packed: str = "") -> AttributeRecord:
    keys = OrderedKeys(float_cuts(packed), float_keys, _cast("float64"))
    return AttributeRecord(name, "floats", _accepts(check), _arrow(name.value), keys)


_BOOL = AttributeRecord(
    AttributeType.BOOL,
    "bools",
    _accepts("is_boolean"),
    _arrow("bool_"),
    OrderedKeys(bool_cuts, own_keys, _cast("bool_", "int64")),
    hint="; write true or false",
)
_INT64 = AttributeRecord(
    AttributeType.INT64,
    "integers",
    _signed,
    _arrow("int64"),
    OrderedKeys(whole_cuts(), own_keys, _cast("int64"), integral=True),
)
_UINT64 = AttributeRecord(
    AttributeType.UINT64,
    "integers",
    _accepts("is_uint64"),
    _arrow("uint64"),
    OrderedKeys(whole_cuts(2**63), unsigned_keys, _cast("uint64")),
)
_FLOAT16 = _float(AttributeType.FLOAT16, "is_float16", "<e")
_FLOAT32 = _float(AttributeType.FLOAT32, "is_float32", "<f")
_FLOAT64 = _float(AttributeType.FLOAT64, "is_float64")
_DECIMAL = AttributeRecord(
    AttributeType.DECIMAL,
    f"decimals of up to {_LARGEST_PRECISION} digits",
    _decimal,
    _same_decimal,
    ByteKeys(decimal_byte_cuts, decimal_keys),
    scaled=True,
)
_STRING = AttributeRecord(
    AttributeType.STRING,
    "strings",
    _accepts("is_string", "is_large_string", "is_string_view"),
    _arrow("string"),
    ByteKeys(_text_cuts, _unchanged),
    text=True,
    hint="; put the value in single quotes",
)
_TIMESTAMP = AttributeRecord(
    AttributeType.TIMESTAMP,
    "timestamps",
    _timestamp(nanoseconds=False),
    _arrow("timestamp", "us", "UTC"),
    OrderedKeys(time_cuts(1000, microseconds=True), own_keys, ticks("us")),
    convert=to_timestamps,
    column="timestamp[us, tz=UTC]",
)
_TIMESTAMP_NS = AttributeRecord(
    AttributeType.TIMESTAMP_NS,
    "timestamps",
    _timestamp(nanoseconds=True),
    _arrow("timestamp", "ns", "UTC"),
    OrderedKeys(time_cuts(1), own_keys, ticks("ns")),
    convert=to_timestamps,
    column="timestamp[ns, tz=UTC]",
)
_DATE = AttributeRecord(
    AttributeType.DATE,
    "dates",
    _accepts("is_date"),
    _arrow("date32"),
    OrderedKeys(time_cuts(NANOSECONDS_PER_DAY, text=parse_date), own_keys, days),
    convert=to_dates,
    column="date32",
)

TYPES: dict[str, AttributeRecord] = {
    record.name: record
    for record in (
        _BOOL,
        _INT64,
        _UINT64,
        _FLOAT16,
        _FLOAT32,
        _FLOAT64,
        _DECIMAL,
        _STRING,
        _TIMESTAMP,
        _TIMESTAMP_NS,
        _DATE,
        *(list_of(item) for item in (_STRING, _INT64, _FLOAT16, _FLOAT32, _FLOAT64)),
    )
}
"""All types by name. Each Arrow type is accepted by at most one of them."""
