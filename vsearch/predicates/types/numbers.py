"""Keys of integers, floats, decimals and bools, and cuts of numeric literals between them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vsearch.predicates.literals import Double, Literal, Number
from vsearch.predicates.schema import Attribute
from vsearch.predicates.types.record import LOWEST, TOP, clip

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT_IN_FLOAT = 2**53
_NAN_KEY = 0x7FF8_0000_0000_0000
_DECIMAL_TOP = 10**38

Cuts = Callable[[Attribute, Literal], tuple[int, int] | None]


def is_number(value: Literal) -> bool:
    """Return whether a literal is a number; a bool is not."""
    return isinstance(value, int | float | Number | Double) and not isinstance(value, bool)


def whole_cuts(offset: int = 0) -> Cuts:
    """Return the cuts of integers whose keys are the values minus an offset."""

    def cuts(_: Attribute, value: Any) -> tuple[int, int] | None:
        if not is_number(value):
            return None
        not_below, above = _integer_cuts(value, LOWEST + offset, TOP + offset)
        return clip(not_below - offset), clip(above - offset)

    return cuts


def float_cuts(packed: str = "") -> Cuts:
    """Return the cuts of floats; `packed` is the `struct` format of types narrower than float64."""

    def cuts(_: Attribute, value: Any) -> tuple[int, int] | None:
        return _float_cuts(packed, value) if is_number(value) else None

    return cuts


def decimal_cuts(attribute: Attribute, value: Any) -> tuple[int, int] | None:
    """Return the cuts of decimals as integers in units of 10**-scale: -10**38 to 10**38."""
    return _decimal_cuts(value, attribute.scale) if is_number(value) else None


def decimal_byte_cuts(attribute: Attribute, value: Literal) -> tuple[bytes, bytes] | None:
    """Return `decimal_cuts` as byte keys."""
    units = decimal_cuts(attribute, value)
    return None if units is None else (_decimal_key(units[0]), _decimal_key(units[1]))


def bool_cuts(_: Attribute, value: Literal) -> tuple[int, int] | None:
    """Return the cuts of bools."""
    return (int(value), int(value) + 1) if isinstance(value, bool) else None


def float_key(value: float) -> int:
    """Return the key of one float."""
    if value != value:  # noqa: PLR0124
        return _NAN_KEY
    bits: int = struct.unpack("<q", struct.pack("<d", value + 0.0))[0]
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def own_keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return integers as int64 keys, unchanged."""
    return np.ascontiguousarray(values, np.int64)


def unsigned_keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the keys of uint64 values."""
    return (np.asarray(values, np.uint64) ^ np.uint64(2**63)).view(np.int64)


def float_keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the keys of floats of any size."""
    floats = np.asarray(values, np.float64) + 0.0
    bits = floats.view(np.int64)
    keys = bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)
    keys[np.isnan(floats)] = _NAN_KEY
    return keys


def decimal_keys(array: pa.Array) -> pa.Array:
    """Return the keys of an Arrow array of decimals of up to 38 digits, as large_binary."""
    import pyarrow as pa

    array = array.cast(pa.decimal128(array.type.precision, array.type.scale))
    data = array.buffers()[1]
    unscaled = (
        np.frombuffer(data, np.uint8)[16 * array.offset :][: 16 * len(array)] if len(array) else np.empty(0, np.uint8)
    )
    keys = np.ascontiguousarray(unscaled.reshape(-1, 16)[:, ::-1])
    keys[:, 0] ^= 0x80
    return fixed_binary(keys, None if not array.null_count else array.is_valid())


def fixed_binary(keys: npt.NDArray[np.uint8], valid: Any) -> pa.Array:
    """Convert keys, uint8 (rows, bytes), to large_binary; `valid` is the validity, None if no row is NULL."""
    import pyarrow as pa

    count, width = keys.shape
    bits = None
    if valid is not None:
        flags = valid if isinstance(valid, np.ndarray) else valid.to_numpy(zero_copy_only=False)
        bits = pa.py_buffer(np.packbits(flags, bitorder="little").tobytes())
    offsets = np.arange(0, width * count + 1, width, dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), count, [bits, pa.py_buffer(offsets), pa.py_buffer(keys)])


def _decimal_key(unscaled: int) -> bytes:
    return (unscaled + 2**127).to_bytes(16, "big")


def _float_cuts(packed: str, value: float | Number | Double) -> tuple[int, int]:
    """Return the cuts of a number rounded to the column's type; a `Double` is not rounded."""
    if isinstance(value, Double):
        key = float_key(value.value)
        return key, key + 1
    number = float(value.text if isinstance(value, Number) else value)
    nearest = _nearest(packed, number, value) if packed else number
    key = float_key(nearest)
    if math.isinf(nearest) and not (isinstance(value, float) and math.isinf(value)):
        # larger than every finite number of the type, but not equal to infinity
        return (key, key) if nearest > 0 else (key + 1, key + 1)
    return key, key + 1


def _nearest(packed: str, number: float, value: float | Number) -> float:
    """Return the float16 or float32 nearest to a value whose nearest float64 is `number`."""
    try:
        (nearest,) = struct.unpack(packed, struct.pack(packed, number))
    except OverflowError:
        nearest = math.copysign(math.inf, number)
    if isinstance(value, float) or math.isinf(nearest):
        return float(nearest)
    # Double rounding can miss the nearest: the float64 may be exactly halfway between two where the value is not.
    exact, tie = Fraction(value.text if isinstance(value, Number) else value), Fraction(number)
    if exact == tie:
        return float(nearest)
    (bits,) = struct.unpack("<H" if packed == "<e" else "<I", struct.pack(packed, nearest))
    candidates = [nearest]
    for adjacent in (bits - 1, bits + 1):
        if adjacent >= 0:
            (neighbor,) = struct.unpack(packed, struct.pack("<H" if packed == "<e" else "<I", adjacent))
            candidates += [neighbor] if math.isfinite(neighbor) else []
    return float(min(candidates, key=lambda candidate: abs(Fraction(candidate) - exact)))


def _decimal_cuts(value: float | Number | Double, scale: int) -> tuple[int, int]:
    """Return the smallest multiples of 10**-scale that are >= and > the value, as integers in that unit."""
    number: Any = value.value if isinstance(value, Double) else value
    if isinstance(number, float) and not math.isfinite(number):
        edge = -_DECIMAL_TOP if number == -math.inf else _DECIMAL_TOP
        return edge, edge
    ten = Fraction(10) ** scale
    if isinstance(value, Double):  # SQL compares a decimal with a double as doubles
        return _least(-_DECIMAL_TOP, _DECIMAL_TOP, lambda units: float(units / ten) >= number), _least(
            -_DECIMAL_TOP, _DECIMAL_TOP, lambda units: float(units / ten) > number
        )
    exact = Fraction(value.text if isinstance(value, Number) else repr(value)) * ten
    not_below, above = math.ceil(exact), math.floor(exact) + 1
    return tuple(min(max(units, -_DECIMAL_TOP), _DECIMAL_TOP) for units in (not_below, above))  # type: ignore[return-value]


def _integer_cuts(value: float | Number | Double, lowest: int, top: int) -> tuple[int, int]:
    """Return the smallest integers >= and > the value, in [lowest, top]."""
    if isinstance(value, int):
        return value, value + 1
    if isinstance(value, Number):
        exact = Fraction(value.text)
        return math.ceil(exact), math.floor(exact) + 1
    if isinstance(value, Double):
        value = value.value
    if abs(value) < _EXACT_IN_FLOAT:
        return math.ceil(value), math.floor(value) + 1
    if value != value or value == math.inf:  # noqa: PLR0124  NaN is greater than every number
        return top, top
    if value == -math.inf:
        return lowest, lowest
    # SQL compares an integer with a double as doubles, so several integers may equal this one.
    return _least(lowest, top, lambda integer: float(integer) >= value), _least(
        lowest, top, lambda integer: float(integer) > value
    )


def _least(low: int, high: int, holds: Any) -> int:
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
