"""Keys of timestamps and dates, and cuts of time literals between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vsearch.errors import PredicateError
from vsearch.predicates.literals import (
    MICROSECONDS_PER_DAY,
    Date,
    Literal,
    Timestamp,
    parse_period,
    parse_timestamp,
)
from vsearch.predicates.schema import Attribute
from vsearch.predicates.types.numbers import Cuts
from vsearch.predicates.types.record import cast_plainly, clip

if TYPE_CHECKING:
    import pyarrow as pa

NANOSECONDS_PER_DAY = 1000 * MICROSECONDS_PER_DAY


def time_cuts(unit: int, *, text: Any = parse_timestamp, microseconds: bool = False) -> Cuts:
    """Return the cuts of times stored in a unit.

    Parameters
    ----------
    unit : int
        Nanoseconds per unit.
    text : callable, optional
        Parses a string.
    microseconds : bool
        Whether strings are truncated to microseconds, the resolution of the column.
    """

    def cuts(attribute: Attribute, value: Literal) -> tuple[int, int] | None:
        if not isinstance(value, Timestamp | Date | str):
            return None
        begin, end = _moments(attribute, value, text, microseconds)
        return clip(-(-begin // unit)), clip(-(-end // unit))

    return cuts


def ticks(unit: str) -> Any:
    """Return a function that converts an Arrow array of timestamps to int64 in a unit."""

    def numbers(array: Any) -> pa.Array:
        import pyarrow as pa

        return array.cast(pa.timestamp(unit, getattr(array.type, "tz", None)), safe=False).cast(pa.int64())

    return numbers


def days(array: Any) -> pa.Array:
    """Convert an Arrow array of dates to int32."""
    import pyarrow as pa

    return array.cast(pa.date32(), safe=False).cast(pa.int32())


def to_timestamps(array: Any, target: Any) -> Any:
    """Convert timestamps to UTC, truncated to the target unit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(array.type):
        zoned = pa.timestamp(target.unit, array.type.tz)
        array = pc.cast(array, options=pc.CastOptions(target_type=zoned, allow_time_truncate=True))
    return cast_plainly(array, target)


def to_dates(array: Any, target: Any) -> Any:
    """Convert to dates; the time of day is dropped."""
    import pyarrow.compute as pc

    return pc.cast(array, options=pc.CastOptions(target_type=target, allow_time_truncate=True))


def _moments(attribute: Attribute, value: Any, text: Any, microseconds: bool) -> tuple[int, int]:
    """Return the nanoseconds at which a value begins and ends: a whole year or month if a text names one, else 1 ns."""
    if isinstance(value, str):
        period = _reading(attribute, parse_period, value)
        if period is not None:
            return period[0].days * NANOSECONDS_PER_DAY, period[1].days * NANOSECONDS_PER_DAY
        value = _reading(attribute, text, value)
        if microseconds and isinstance(value, Timestamp):
            value = Timestamp(value.microseconds)
    if isinstance(value, Date):
        first = value.days * NANOSECONDS_PER_DAY
    else:
        first = value.microseconds * 1000 + value.nanoseconds
    return first, first + 1


def _reading(attribute: Attribute, parser: Any, text: str) -> Any:
    try:
        return parser(text)
    except PredicateError as error:
        raise PredicateError(f"the column {attribute.label!r} is {attribute.type}: {error}") from None
