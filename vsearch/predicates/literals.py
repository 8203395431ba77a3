"""The constants of a predicate, in one form for Python, SQL and msgpack.

A literal is ``None``, ``bool``, ``int`` (64 bits, signed or unsigned), ``float``, ``str`` or one of four tagged
structs, so its type survives msgpack. A ``float`` is a number as written, ``0.1``, which is rounded to float32 to
compare with a float32 column; a `Double` is a SQL double, ``1e-1``, to which a float32 column is widened.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import uuid
from typing import Annotated

import msgspec

from vsearch.errors import PredicateError

MICROSECONDS_PER_DAY = 86_400_000_000
MAXIMUM_TEXT = 1 << 20
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_ORDINAL = dt.date(1970, 1, 1).toordinal()
_LARGEST_EXPONENT = 308
_LEAST_EXPONENT = -324  # of the smallest subnormal double
_MOMENT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[ Tt](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,18}))?)?\s?([Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)

_PERIOD = re.compile(r"(\d{4})(?:-(\d{1,2}))?", re.ASCII)

Text = Annotated[str, msgspec.Meta(max_length=MAXIMUM_TEXT)]


class Timestamp(msgspec.Struct, frozen=True, tag="timestamp", tag_field="kind"):
    """A point in time: microseconds since 1970-01-01 UTC, plus nanoseconds."""

    microseconds: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    nanoseconds: Annotated[int, msgspec.Meta(ge=0, le=999)] = 0


class Date(msgspec.Struct, frozen=True, tag="date", tag_field="kind"):
    """A day, in days since 1970-01-01."""

    days: Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class Number(msgspec.Struct, frozen=True, tag="number", tag_field="kind"):
    """A decimal number that is neither a 64-bit integer nor the shortest representation of a float."""

    text: Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^-?[0-9]+(\.[0-9]+)?$")]


class Double(msgspec.Struct, frozen=True, tag="double", tag_field="kind"):
    """A number that SQL reads as a double: with an exponent, or cast to DOUBLE."""

    value: float


Literal = None | bool | int | float | Text | Timestamp | Date | Number | Double


def to_literal(value: object) -> Literal:
    """Convert a Python value to a literal.

    Parameters
    ----------
    value : object
        None, bool, int, float, str, Decimal, date, datetime (naive ones are taken as UTC), UUID (its canonical string), or a NumPy scalar
        of these kinds.

    Raises
    ------
    PredicateError
        The value has another type, or is outside the range of SQL types.
    """
    if value is None or isinstance(value, bool | Timestamp | Date | Number | Double) or type(value) is float:
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, dt.datetime | dt.date):
        return _moment(value)
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if type(value).__module__ == "numpy":
        return _numpy_scalar(value)
    raise PredicateError(
        f"a value of a predicate must be None, bool, int, float, str, Decimal, date, datetime or UUID, "
        f"got {value!r} of type {type(value).__name__}"
    )


def parse_number(text: str) -> Literal:
    """Parse a SQL number: with an exponent it is a double, otherwise an exact decimal, as in DuckDB."""
    if "e" in text.lower():
        return Double(float(text))
    if text.isdigit() and len(text) < _LARGEST_EXPONENT:
        return _integer(int(text))
    try:
        return _decimal(decimal.Decimal(text))
    except decimal.InvalidOperation:
        raise PredicateError(f"{text!r} is not a number") from None


def parse_timestamp(text: str) -> Timestamp:
    """Parse ``YYYY-MM-DD[ HH:MM[:SS[.fffffffff]]][offset]``, in UTC by default; drop digits below a nanosecond."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise PredicateError(f"{text!r} is not a timestamp; write YYYY-MM-DD or YYYY-MM-DD HH:MM[:SS[.ffffff]][+HH:MM]")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, nanoseconds = divmod(int((match[7] or "0")[:9].ljust(9, "0")), 1000)
    try:
        moment = dt.datetime(year, month, day, hour, minute, second, fraction, dt.UTC)
    except ValueError as error:
        raise PredicateError(f"{text!r} is not a timestamp: {error}") from None
    return Timestamp((moment - _EPOCH) // dt.timedelta(microseconds=1) - _offset(match[8]), nanoseconds)


def parse_period(text: str) -> tuple[Date, Date] | None:
    """Parse ``YYYY`` or ``YYYY-MM``: return its first day and the first day after it; None if it is neither."""
    match = _PERIOD.fullmatch(text.strip())
    if match is None:
        return None
    year, month = int(match[1]), int(match[2] or 1)
    try:
        first = dt.date(year, month, 1).toordinal()
    except ValueError as error:
        raise PredicateError(f"{text!r} is neither a year nor a month: {error}") from None
    # datetime ends with the year 9999: the first day of 10000 is the ordinal after 9999-12-31
    months = year * 12 + month - 1 + (1 if match[2] else 12)
    last = (
        dt.date(9999, 12, 31).toordinal() + 1
        if months >= 120_000
        else dt.date(months // 12, months % 12 + 1, 1).toordinal()
    )
    return Date(first - _EPOCH_ORDINAL), Date(last - _EPOCH_ORDINAL)


def parse_date(text: str) -> Date:
    """Parse ``YYYY-MM-DD``; a time of day other than midnight is an error."""
    moment = parse_timestamp(text)
    days, remainder = divmod(moment.microseconds, MICROSECONDS_PER_DAY)
    if remainder or moment.nanoseconds:
        raise PredicateError(f"{text!r} is not a date; write TIMESTAMP '{text}' to compare with a time of day")
    return Date(days)


def describe(value: Literal) -> str:
    """Describe a literal and its type for a message: ``the string 'abc'``."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return f"the bool {value}"
    if isinstance(value, str):
        return f"the string {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, Timestamp):
        return f"the timestamp {timestamp_text(value)}"
    if isinstance(value, Date):
        return f"the date {date_text(value)}"
    if isinstance(value, Double):
        return f"the number {value.value!r}"
    return f"the number {value.text if isinstance(value, Number) else value!r}"


def timestamp_text(value: Timestamp) -> str:
    """Format a timestamp so that `parse_timestamp` accepts it."""
    try:
        moment = (_EPOCH + dt.timedelta(microseconds=value.microseconds)).replace(tzinfo=None)
        if value.nanoseconds:
            return f"{moment.isoformat(' ', 'microseconds')}{value.nanoseconds:03}"
        return moment.isoformat(" ")
    except OverflowError:
        raise PredicateError(
            f"a timestamp of {value.microseconds} microseconds since 1970 is outside the years 1 to 9999"
        ) from None


def date_text(value: Date) -> str:
    """Format a date so that `parse_date` accepts it."""
    try:
        return dt.date.fromordinal(value.days + _EPOCH_ORDINAL).isoformat()
    except (OverflowError, ValueError):
        raise PredicateError(f"a date of {value.days} days since 1970 is outside the years 1 to 9999") from None


def _text(value: str) -> str:
    value = str(value)
    if len(value) > MAXIMUM_TEXT:
        raise PredicateError(
            f"a string of {len(value)} characters is too long for a predicate; at most {MAXIMUM_TEXT} are allowed"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PredicateError(f"{value!r} is not valid Unicode text") from None
    return value


def _integer(value: int) -> int | Number:
    if -(2**63) <= value < 2**64:
        return int(value)
    if value.bit_length() > 1000:
        raise PredicateError("an integer in a predicate must have at most 1000 bits")
    return Number(str(int(value)))


def _decimal(value: decimal.Decimal) -> Literal:
    if value.is_nan() or value.is_infinite():
        return float(value)
    exponent = value.adjusted() if value else 0
    if not _LEAST_EXPONENT <= exponent <= _LARGEST_EXPONENT or len(value.as_tuple().digits) > 2 * _LARGEST_EXPONENT:
        raise PredicateError(f"the number {str(value)[:40]}... has too many digits for a predicate")
    if value == value.to_integral_value():
        return _integer(int(value))
    number = float(value)
    return number if decimal.Decimal(repr(number)) == value else Number(format(value, "f"))


def _moment(value: dt.date) -> Timestamp | Date:
    if value != value:  # noqa: PLR0124  pandas' NaT is an instance of datetime that equals nothing
        raise PredicateError("NaT is not allowed in a predicate; use is_null() to match NULL")
    if not isinstance(value, dt.datetime):
        return Date(value.toordinal() - _EPOCH_ORDINAL)
    moment = value.replace(tzinfo=dt.UTC) if value.utcoffset() is None else value
    # pandas' datetimes have nanoseconds
    return Timestamp((moment - _EPOCH) // dt.timedelta(microseconds=1), getattr(value, "nanosecond", 0))


def _numpy_scalar(value: object) -> Literal:
    import numpy as np

    if isinstance(value, np.datetime64):
        if np.isnat(value):
            raise PredicateError("NaT is not allowed in a predicate; use is_null() to match NULL")
        if np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D"):
            return Date(int(value.astype("datetime64[D]").astype(np.int64)))
        moment = value.astype("datetime64[us]")
        nanoseconds = 0
        if np.datetime_data(value.dtype)[0] in ("ns", "ps", "fs", "as"):
            nanoseconds = int(value.astype("datetime64[ns]").astype(np.int64)) % 1000
        return Timestamp(int(moment.astype(np.int64)), nanoseconds)
    if isinstance(value, np.bool_ | np.integer | np.floating | np.str_):
        item = value.item()
        return to_literal(float(item) if isinstance(value, np.floating) else item)
    raise PredicateError(f"a value of a predicate must be a scalar, got {value!r}")


def _offset(text: str | None) -> int:
    """Parse ``Z``, ``+02``, ``+0200`` or ``+02:00``; return microseconds east of UTC."""
    if not text or text.upper() in ("Z", "UTC"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    return int(math.copysign(1, int(text[0] + "1"))) * (int(digits[:2]) * 60 + int(digits[2:])) * 60_000_000
