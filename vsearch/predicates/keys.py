"""Values as int64 keys whose order is the values' order, and literals as cuts between keys.

============= ==========================================================================
int64         the value
uint64        the value minus 2**63
float64       the bits, made sortable; -0.0 is 0.0, every NaN is one key above infinity
float32, 16   as the float64 that they widen to
bool          0 or 1
timestamp     microseconds since 1970-01-01 UTC
timestamp[ns] nanoseconds since 1970-01-01 UTC
date          days since 1970-01-01
============= ==========================================================================

What has its place in a segment's sorted dictionary (`vsearch.predicates.dictionary`) has bytes for a key: a string its UTF-8,
a decimal the 16 bytes, greatest first, of the whole number that it is of its last place, plus 2**127; an element of a list
of numbers the 8 bytes of its int64 key plus 2**63.
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch.errors import PredicateError
from vsearch.predicates.literals import (
    MICROSECONDS_PER_DAY,
    Date,
    Double,
    Literal,
    Number,
    Timestamp,
    describe,
    parse_date,
    parse_period,
    parse_timestamp,
)
from vsearch.predicates.schema import ITEM_TYPES, Attribute, AttributeType

if TYPE_CHECKING:
    import pyarrow as pa

LOWEST = -(2**63)
TOP = 2**63
NO_ELEMENT = b""
_EXACT_IN_FLOAT = 2**53
_NAN_KEY = 0x7FF8_0000_0000_0000
_DECIMAL_TOP = 10**38
_PACKED = {AttributeType.FLOAT16: "<e", AttributeType.FLOAT32: "<f"}
_FLOATS = (AttributeType.FLOAT64, *_PACKED)
_NUMERIC = (AttributeType.INT64, AttributeType.UINT64, AttributeType.DECIMAL, *_FLOATS)
_NANOSECONDS_PER_DAY = 1000 * MICROSECONDS_PER_DAY
_NANOSECONDS_PER_UNIT = {
    AttributeType.TIMESTAMP: 1000,
    AttributeType.TIMESTAMP_NS: 1,
    AttributeType.DATE: _NANOSECONDS_PER_DAY,
}


def byte_cuts(attribute: Attribute, value: Literal) -> tuple[bytes, bytes]:
    """As `cuts`, of a column that has bytes for keys: strings and decimals."""
    if attribute.type is AttributeType.DECIMAL:
        not_below, above = cuts(attribute, value)
        return _decimal_key(not_below), _decimal_key(above)
    if not isinstance(value, str):
        raise mismatch(attribute, value)
    text = value.encode()
    return text, text + b"\0"


def element_key(attribute: Attribute, value: Literal) -> bytes:
    """The key of the list elements that equal a value; of numbers `NO_ELEMENT` where none can."""
    item = ITEM_TYPES[attribute.type]
    if item is AttributeType.STRING and isinstance(value, str):
        return value.encode()
    if item is AttributeType.STRING or isinstance(value, bool | str | Timestamp | Date):
        what = "strings" if item is AttributeType.STRING else f"numbers ({attribute.kind})"
        raise PredicateError(f"the column {attribute.label!r} is a list of {what} and cannot hold {describe(value)}")
    number = value.value if isinstance(value, Double) else value
    if item is AttributeType.INT64 and isinstance(number, float) and number.is_integer():
        value = Number(str(int(number)))  # one element, also where several would be the same double
    not_below, above = cuts(Attribute(attribute.name, item), value)
    return (not_below + 2**63).to_bytes(8, "big") if not_below < above else NO_ELEMENT


def _decimal_key(whole: int) -> bytes:
    return (whole + 2**127).to_bytes(16, "big")


def cuts(attribute: Attribute, value: Literal) -> tuple[int, int]:
    """Where a value stands among the keys of a column; of decimals among the whole numbers that they are of their last place.

    Returns
    -------
    not_below, above : int
        The least key of a value that is >= the literal, and > the literal; -2**63 to 2**63, of decimals -10**38 to 10**38.
        They differ only where a column's value can equal the literal.

    Raises
    ------
    PredicateError
        The literal's type does not compare with the column's.
    """
    kind = attribute.type
    if kind in _NUMERIC and isinstance(value, int | float | Number | Double) and not isinstance(value, bool):
        if kind in _FLOATS:
            return _float_cuts(kind, value)
        if kind is AttributeType.DECIMAL:
            return _decimal_cuts(value, attribute.scale)
        offset = 2**63 if kind is AttributeType.UINT64 else 0
        not_below, above = _integer_cuts(value, LOWEST + offset, TOP + offset)
        return _clip(not_below - offset), _clip(above - offset)
    if kind is AttributeType.BOOL and isinstance(value, bool):
        return int(value), int(value) + 1
    if kind in _NANOSECONDS_PER_UNIT and isinstance(value, Timestamp | Date | str):
        unit = _NANOSECONDS_PER_UNIT[kind]
        first, beyond = _moments(attribute, value)
        return _clip(-(-first // unit)), _clip(-(-beyond // unit))
    raise mismatch(attribute, value)


def float_key(value: float) -> int:
    """The key of one float."""
    if value != value:  # noqa: PLR0124
        return _NAN_KEY
    bits: int = struct.unpack("<q", struct.pack("<d", value + 0.0))[0]
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def keys_from_values(kind: AttributeType, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Keys of the raw values of an Arrow buffer.

    Parameters
    ----------
    kind : AttributeType
        Any but strings, decimals and lists.
    values : (rows,)
        int64, uint64, floats of any size, bool or uint8, microseconds or nanoseconds as int64, days as int32 or int64.
    """
    if kind in _FLOATS:
        floats = np.asarray(values, np.float64) + 0.0
        bits = floats.view(np.int64)
        keys = bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)
        keys[np.isnan(floats)] = _NAN_KEY
        return keys
    if kind is AttributeType.UINT64:
        return (np.asarray(values, np.uint64) ^ np.uint64(2**63)).view(np.int64)
    return np.ascontiguousarray(values, np.int64)


def keys_from_arrow(
    kind: AttributeType, array: pa.Array | pa.ChunkedArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Keys of an Arrow column of numbers, bools, timestamps or dates.

    Returns
    -------
    keys : int64 (rows,)
        0 where NULL.
    valid : bool (rows,)
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.cast(_storage_type(kind, array.type), safe=False)
    if kind is AttributeType.DATE:
        array = array.cast(pa.int32())
    elif kind in (AttributeType.TIMESTAMP, AttributeType.TIMESTAMP_NS, AttributeType.BOOL):
        array = array.cast(pa.int64())
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if array.null_count:
        array = pc.fill_null(array, 0)
    return keys_from_values(kind, array.to_numpy(zero_copy_only=False)), valid


def decimal_keys(array: pa.Array) -> pa.Array:
    """The keys of an Arrow array of decimals of up to 38 digits, as large_binary."""
    import pyarrow as pa

    array = array.cast(pa.decimal128(array.type.precision, array.type.scale))
    data = array.buffers()[1]
    whole = (
        np.frombuffer(data, np.uint8)[16 * array.offset :][: 16 * len(array)] if len(array) else np.empty(0, np.uint8)
    )
    keys = np.ascontiguousarray(whole.reshape(-1, 16)[:, ::-1])
    keys[:, 0] ^= 0x80
    return _fixed_binary(keys, None if not array.null_count else array.is_valid())


def number_keys(kind: AttributeType, array: pa.Array) -> pa.Array:
    """The keys of the elements of lists of numbers, as large_binary."""
    keys, valid = keys_from_arrow(kind, array)
    unsigned = (keys.view(np.uint64) ^ np.uint64(2**63)).astype(">u8")
    return _fixed_binary(unsigned.view(np.uint8).reshape(-1, 8), None if valid.all() else valid)


def _fixed_binary(keys: npt.NDArray[np.uint8], valid: Any) -> pa.Array:
    import pyarrow as pa

    count, width = keys.shape
    bits = None
    if valid is not None:
        flags = valid if isinstance(valid, np.ndarray) else valid.to_numpy(zero_copy_only=False)
        bits = pa.py_buffer(np.packbits(flags, bitorder="little").tobytes())
    offsets = np.arange(0, width * count + 1, width, dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), count, [bits, pa.py_buffer(offsets), pa.py_buffer(keys)])


def mismatch(attribute: Attribute, value: Literal) -> PredicateError:
    """The error for a literal whose type does not compare with the column's."""
    hint = ""
    if attribute.type is AttributeType.STRING:
        hint = "; put the value in single quotes"
    elif attribute.type is AttributeType.BOOL:
        hint = "; write true or false"
    elif value is True:
        hint = "; a column alone is a predicate only where it is bool"
    return PredicateError(
        f"the column {attribute.label!r} is {attribute.kind} and does not compare with {describe(value)}{hint}"
    )


def _float_cuts(kind: AttributeType, value: float | Number | Double) -> tuple[int, int]:
    """The value as the column's own type has it: rounded to the nearest, except that a double is compared as it is."""
    if isinstance(value, Double):
        key = float_key(value.value)
        return key, key + 1
    number = float(value.text if isinstance(value, Number) else value)
    nearest = number if kind is AttributeType.FLOAT64 else _nearest(_PACKED[kind], number, value)
    key = float_key(nearest)
    if math.isinf(nearest) and not (isinstance(value, float) and math.isinf(value)):
        # beyond all finite numbers, and yet not infinite
        return (key, key) if nearest > 0 else (key + 1, key + 1)
    return key, key + 1


def _nearest(packed: str, number: float, value: float | Number) -> float:
    """The float16 or float32 that is nearest to a value, of which `number` is the nearest float64."""
    try:
        (nearest,) = struct.unpack(packed, struct.pack(packed, number))
    except OverflowError:
        nearest = math.copysign(math.inf, number)
    if isinstance(value, float) or math.isinf(nearest):
        return float(nearest)
    # rounded twice, it may have missed the nearest: exactly between two, where the value is not
    exact, tie = Fraction(value.text if isinstance(value, Number) else value), Fraction(number)
    if exact == tie:
        return float(nearest)
    (bits,) = struct.unpack("<H" if packed == "<e" else "<I", struct.pack(packed, nearest))
    around = [nearest]
    for other in (bits - 1, bits + 1):
        if other >= 0:
            (neighbour,) = struct.unpack(packed, struct.pack("<H" if packed == "<e" else "<I", other))
            around += [neighbour] if math.isfinite(neighbour) else []
    return float(min(around, key=lambda each: abs(Fraction(each) - exact)))


def _decimal_cuts(value: float | Number | Double, scale: int) -> tuple[int, int]:
    """Least multiples of 10**-scale that are >= and > the value, as whole numbers of these."""
    number: Any = value.value if isinstance(value, Double) else value
    if isinstance(number, float) and not math.isfinite(number):
        edge = -_DECIMAL_TOP if number == -math.inf else _DECIMAL_TOP
        return edge, edge
    ten = Fraction(10) ** scale
    if isinstance(value, Double):  # SQL compares a decimal with a double as doubles
        return _least(-_DECIMAL_TOP, _DECIMAL_TOP, lambda whole: float(whole / ten) >= number), _least(
            -_DECIMAL_TOP, _DECIMAL_TOP, lambda whole: float(whole / ten) > number
        )
    exact = Fraction(value.text if isinstance(value, Number) else repr(value)) * ten
    not_below, above = math.ceil(exact), math.floor(exact) + 1
    return tuple(min(max(whole, -_DECIMAL_TOP), _DECIMAL_TOP) for whole in (not_below, above))  # type: ignore[return-value]


def _integer_cuts(value: float | Number | Double, lowest: int, top: int) -> tuple[int, int]:
    """Least whole numbers >= and > the value, in [lowest, top]."""
    if isinstance(value, int):
        return value, value + 1
    if isinstance(value, Number):
        exact = Fraction(value.text)
        return math.ceil(exact), math.floor(exact) + 1
    if isinstance(value, Double):
        value = value.value
    if abs(value) < _EXACT_IN_FLOAT:
        return math.ceil(value), math.floor(value) + 1
    if value != value or value == math.inf:  # noqa: PLR0124  NaN is above all numbers
        return top, top
    if value == -math.inf:
        return lowest, lowest
    # SQL compares an integer with a double as doubles, so several integers may equal this one.
    return _least(lowest, top, lambda whole: float(whole) >= value), _least(
        lowest, top, lambda whole: float(whole) > value
    )


def _least(low: int, high: int, holds: Any) -> int:
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _clip(key: int) -> int:
    return min(max(key, LOWEST), TOP)


def _moments(attribute: Attribute, value: Any) -> tuple[int, int]:
    """The nanoseconds at which a value begins, and ends: a day or a moment after; a month or a year that is named by itself."""
    if isinstance(value, str):
        period = _reading(attribute, parse_period, value)
        if period is not None:
            return period[0].days * _NANOSECONDS_PER_DAY, period[1].days * _NANOSECONDS_PER_DAY
        value = _reading(attribute, parse_date if attribute.type is AttributeType.DATE else parse_timestamp, value)
        if attribute.type is AttributeType.TIMESTAMP and isinstance(value, Timestamp):
            value = Timestamp(value.microseconds)  # text becomes what the column can hold
    if isinstance(value, Date):
        first = value.days * _NANOSECONDS_PER_DAY
    else:
        first = value.microseconds * 1000 + value.nanoseconds
    return first, first + 1


def _reading(attribute: Attribute, parser: Any, text: str) -> Any:
    try:
        return parser(text)
    except PredicateError as error:
        raise PredicateError(f"the column {attribute.label!r} is {attribute.type}: {error}") from None


def _storage_type(kind: AttributeType, given: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return {
        AttributeType.INT64: pa.int64(),
        AttributeType.UINT64: pa.uint64(),
        AttributeType.FLOAT64: pa.float64(),
        AttributeType.FLOAT32: pa.float64(),
        AttributeType.FLOAT16: pa.float64(),
        AttributeType.BOOL: pa.bool_(),
        AttributeType.TIMESTAMP: pa.timestamp("us", getattr(given, "tz", None)),
        AttributeType.TIMESTAMP_NS: pa.timestamp("ns", getattr(given, "tz", None)),
        AttributeType.DATE: pa.date32(),
    }[kind]
