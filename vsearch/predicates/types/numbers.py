"""Integers, floats, decimals and bools as keys, and numbers as cuts between them."""

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
    """Whether a literal is a number, which a bool is not."""
    return isinstance(value, int | float | Number | Double) and not isinstance(value, bool)


def whole_cuts(offset: int = 0) -> Cuts:
    """Cuts of integers whose keys are the values less an offset."""

    def cuts(_: Attribute, value: Any) -> tuple[int, int] | None:
        if not is_number(value):
            return None
        not_below, above = _integer_cuts(value, LOWEST + offset, TOP + offset)
        return clip(not_below - offset), clip(above - offset)

    return cuts


def float_cuts(packed: str = "") -> Cuts:
    """Cuts of floats; `packed` is how `struct` calls them where they are narrower than float64."""

    def cuts(_: Attribute, value: Any) -> tuple[int, int] | None:
        return _float_cuts(packed, value) if is_number(value) else None

    return cuts


def decimal_cuts(attribute: Attribute, value: Any) -> tuple[int, int] | None:
    """Cuts of the whole numbers that decimals are of their last place: -10**38 to 10**38."""
    return _decimal_cuts(value, attribute.scale) if is_number(value) else None


def decimal_byte_cuts(attribute: Attribute, value: Literal) -> tuple[bytes, bytes] | None:
    """`decimal_cuts` as keys."""
    found = decimal_cuts(attribute, value)
    return None if found is None else (_decimal_key(found[0]), _decimal_key(found[1]))


def bool_cuts(_: Attribute, value: Literal) -> tuple[int, int] | None:
    """Cuts of bools."""
    return (int(value), int(value) + 1) if isinstance(value, bool) else None


def float_key(value: float) -> int:
    """The key of one float."""
    if value != value:  # noqa: PLR0124
        return _NAN_KEY
    bits: int = struct.unpack("<q", struct.pack("<d", value + 0.0))[0]
    return bits if bits >= 0 else bits ^ 0x7FFF_FFFF_FFFF_FFFF


def own_keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Keys of integers that are their own."""
    return np.ascontiguousarray(values, np.int64)


def unsigned_keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Keys of uint64."""
    return (np.asarray(values, np.uint64) ^ np.uint64(2**63)).view(np.int64)


def float_keys(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Keys of floats of any size."""
    floats = np.asarray(values, np.float64) + 0.0
    bits = floats.view(np.int64)
    keys = bits ^ ((bits >> 63) & 0x7FFF_FFFF_FFFF_FFFF)
    keys[np.isnan(floats)] = _NAN_KEY
    return keys


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
    return fixed_binary(keys, None if not array.null_count else array.is_valid())


def fixed_binary(keys: npt.NDArray[np.uint8], valid: Any) -> pa.Array:
    """Keys uint8 (rows, bytes) as large_binary; `valid` says which are not NULL, None where all are."""
    import pyarrow as pa

    count, width = keys.shape
    bits = None
    if valid is not None:
        flags = valid if isinstance(valid, np.ndarray) else valid.to_numpy(zero_copy_only=False)
        bits = pa.py_buffer(np.packbits(flags, bitorder="little").tobytes())
    offsets = np.arange(0, width * count + 1, width, dtype=np.int64)
    return pa.Array.from_buffers(pa.large_binary(), count, [bits, pa.py_buffer(offsets), pa.py_buffer(keys)])


def _decimal_key(whole: int) -> bytes:
    return (whole + 2**127).to_bytes(16, "big")


def _float_cuts(packed: str, value: float | Number | Double) -> tuple[int, int]:
    """The value as the column's own type has it: rounded to the nearest, except that a double is compared as it is."""
    if isinstance(value, Double):
        key = float_key(value.value)
        return key, key + 1
    number = float(value.text if isinstance(value, Number) else value)
    nearest = _nearest(packed, number, value) if packed else number
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
