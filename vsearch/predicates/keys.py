"""Values as int64 keys whose order is the values' order, and literals as cuts between keys.

=========== ==========================================================================
int64       the value
uint64      the value minus 2**63
float64     the bits, made sortable; -0.0 is 0.0, every NaN is one key above infinity
bool        0 or 1
timestamp   microseconds since 1970-01-01 UTC
date        days since 1970-01-01
=========== ==========================================================================

A string's key is its position in a segment's sorted dictionary (`vsearch.predicates.dictionary`).
"""

from __future__ import annotations

import math
import struct
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch.errors import PredicateError
from vsearch.predicates.literals import (
    MICROSECONDS_PER_DAY,
    Date,
    Literal,
    Number,
    Timestamp,
    describe,
    parse_date,
    parse_timestamp,
)
from vsearch.predicates.schema import Attribute, AttributeType

if TYPE_CHECKING:
    import pyarrow as pa

LOWEST = -(2**63)
TOP = 2**63
_EXACT_IN_FLOAT = 2**53
_NAN_KEY = 0x7FF8_0000_0000_0000
_NUMERIC = (AttributeType.INT64, AttributeType.UINT64, AttributeType.FLOAT64)


def cuts(attribute: Attribute, value: Literal) -> tuple[int, int]:
    """Where a value stands among the keys of a column.

    Returns
    -------
    not_below, above : int
        The least key of a value that is >= the literal, and > the literal; -2**63 to 2**63. They differ only where
        a column's value can equal the literal.

    Raises
    ------
    PredicateError
        The literal's type does not compare with the column's.
    """
    kind = attribute.type
    if kind in _NUMERIC and isinstance(value, int | float | Number) and not isinstance(value, bool):
        if kind is AttributeType.FLOAT64:
            key = float_key(float(value.text if isinstance(value, Number) else value))
            return key, key + 1
        offset = 2**63 if kind is AttributeType.UINT64 else 0
        not_below, above = _integer_cuts(value, LOWEST + offset, TOP + offset)
        return _clip(not_below - offset), _clip(above - offset)
    if kind is AttributeType.BOOL and isinstance(value, bool):
        return int(value), int(value) + 1
    if kind is AttributeType.TIMESTAMP and isinstance(value, Timestamp | Date | str):
        moment = _microseconds(attribute, value)
        return _clip(moment), _clip(moment + 1)
    if kind is AttributeType.DATE and isinstance(value, Timestamp | Date | str):
        if isinstance(value, Timestamp):
            return -(-value.microseconds // MICROSECONDS_PER_DAY), value.microseconds // MICROSECONDS_PER_DAY + 1
        days = (_reading(attribute, parse_date, value) if isinstance(value, str) else value).days
        return days, days + 1
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
        Any but strings and lists of strings.
    values : (rows,)
        int64, uint64, float64, bool or uint8, microseconds as int64, days as int32 or int64.
    """
    if kind is AttributeType.FLOAT64:
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
    elif kind in (AttributeType.TIMESTAMP, AttributeType.BOOL):
        array = array.cast(pa.int64())
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if array.null_count:
        array = pc.fill_null(array, 0)
    return keys_from_values(kind, array.to_numpy(zero_copy_only=False)), valid


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
        f"the column {attribute.name!r} is {attribute.type} and does not compare with {describe(value)}{hint}"
    )


def _integer_cuts(value: float | Number, lowest: int, top: int) -> tuple[int, int]:
    """Least whole numbers >= and > the value, in [lowest, top]."""
    if isinstance(value, int):
        return value, value + 1
    if isinstance(value, Number):
        exact = Decimal(value.text)
        return int(exact.to_integral_value(ROUND_CEILING)), int(exact.to_integral_value(ROUND_FLOOR)) + 1
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


def _microseconds(attribute: Attribute, value: Timestamp | Date | str) -> int:
    if isinstance(value, Date):
        return value.days * MICROSECONDS_PER_DAY
    return int((_reading(attribute, parse_timestamp, value) if isinstance(value, str) else value).microseconds)


def _reading(attribute: Attribute, parser: Any, text: str) -> Any:
    try:
        return parser(text)
    except PredicateError as error:
        raise PredicateError(f"the column {attribute.name!r} is {attribute.type}: {error}") from None


def _storage_type(kind: AttributeType, given: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return {
        AttributeType.INT64: pa.int64(),
        AttributeType.UINT64: pa.uint64(),
        AttributeType.FLOAT64: pa.float64(),
        AttributeType.BOOL: pa.bool_(),
        AttributeType.TIMESTAMP: pa.timestamp("us", getattr(given, "tz", None)),
        AttributeType.DATE: pa.date32(),
    }[kind]
