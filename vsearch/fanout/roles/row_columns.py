"""Values of a request as Arrow columns of the index's types, and the positions of those that do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from vsearch.building.inputs.attribute_types import kept_type
from vsearch.building.inputs.nested import is_nested
from vsearch.errors import InputError
from vsearch.fanout.wire.change_messages import LONGEST_FAULT, MOST_FAULTS
from vsearch.live.inputs import as_stored, cast_column, is_alike
from vsearch.predicates.types.table import attribute_from_arrow

LARGEST_DECODED = 256 << 20
"""Maximum number of bytes of a column of strings that came as a dictionary."""

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
ZONE = re.compile(r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$", re.ASCII)


def convert_values(values: Sequence[Any], kind: Any) -> tuple[Any, dict[int, str]]:
    """Convert values that were read from JSON.

    Parameters
    ----------
    values : sequence
        None is NULL. Times and dates are strings in ISO 8601, decimals strings or numbers. A time without a zone is in UTC.
    kind : pyarrow.DataType

    Returns
    -------
    column : pyarrow.Array or None
        None if a value does not fit.
    faults : dict of int to str
        Error messages by position.
    """
    import pyarrow as pa

    def convert(part: Sequence[Any]) -> Any:
        return _convert(part, kind)

    try:
        return convert(values), {}
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    faults: dict[int, str] = {}
    for position in _failing(convert, values):
        value = f"{values[position]!r:.100}"
        faults[position] = f"must be {type_name(kind)}, got {value}"
    return None, faults


def fit_column(column: Any, kind: Any, name: str) -> tuple[Any, dict[int, str]]:
    """Convert a column to the type of its attribute, from any type that a build takes; returns what `convert_values` returns.

    Raises
    ------
    InputError
        The column has a type that cannot be converted.
    """
    import pyarrow as pa

    _check_decoded(column, name)

    def convert(part: Any) -> Any:
        return cast_column(as_stored(part, name), kind, name)

    if column.null_count < len(column):
        # A few bytes of a nested type could become much text.
        stored = None if is_nested(column.type) else kept_type(column.type)
        if stored is None or not is_alike(stored, kind):
            raise InputError(f"{name!r:.100} must be {type_name(kind)}, got {column.type}"[:LONGEST_FAULT])
    try:
        return convert(column), {}
    except (InputError, pa.ArrowException):
        failing = _failing(convert, column)
    return None, {position: f"must be {type_name(kind)}, got {_shortened(column[position])}" for position in failing}


def type_name(kind: Any) -> str:
    """The name of a type in messages, as in `vsearch.Index.info`."""
    return str(attribute_from_arrow("", kind).kind)


def _check_decoded(column: Any, name: str) -> None:
    """Refuse a dictionary whose long strings are repeated so often that their rows do not fit in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return
    values = column.type.value_type
    if not (pa.types.is_string(values) or pa.types.is_large_string(values)):
        return
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        size = pc.sum(pc.binary_length(chunk.dictionary).cast(pa.int64()).take(chunk.indices)).as_py() or 0
        if size > LARGEST_DECODED:
            raise InputError(f"{name!r:.100} must have at most {LARGEST_DECODED} bytes of text, got {size}")


def _shortened(scalar: Any) -> str:
    try:
        return str(scalar)[:100]
    except (OverflowError, ValueError):  # Python has no such time
        return str(scalar.value)


def _convert(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    types = pa.types
    if types.is_timestamp(kind):
        values = [_zoned(value) if isinstance(value, str) else value for value in values]
    if types.is_temporal(kind):
        return pa.array(values, pa.string()).cast(kind)
    if types.is_decimal(kind):
        numbers = [str(value) if _is_number(value) else value for value in values]
        return pa.array(numbers, pa.string()).cast(kind)
    nested = types.is_list(kind) or types.is_large_list(kind)
    leaf, items = kind, values
    if nested:
        if not all(value is None or isinstance(value, list) for value in values):
            raise TypeError("must be a list")
        leaf, items = kind.value_type, [item for value in values if value is not None for item in value]
    if any(_is_number(item) if types.is_boolean(leaf) else isinstance(item, bool) for item in items):
        raise TypeError("a boolean is not a number")
    if types.is_integer(leaf) and any(isinstance(item, float) and not item.is_integer() for item in items):
        raise ValueError("must be an integer")
    column = pa.array(values, kind)
    column.validate(full=True)
    numbers = column.flatten() if nested else column
    if types.is_floating(leaf) and pc.all(pc.is_finite(numbers)).as_py() is False:
        raise OverflowError("a number does not fit")
    return column


def _zoned(text: str) -> str:
    """A time with its zone: UTC if it has none, as in builds."""
    if DATE.fullmatch(text):
        return f"{text}T00:00:00Z"
    return text if ZONE.search(text) else f"{text}Z"


def _failing(convert: Callable[[Any], Any], values: Any) -> list[int]:
    """Positions of the first values that cannot be converted. O(log n) conversions for each."""
    import pyarrow as pa

    failing: list[int] = []
    ranges = [(0, len(values))]
    while ranges and len(failing) < MOST_FAULTS:
        start, stop = ranges.pop()
        try:
            convert(values[start:stop])
        except (InputError, pa.ArrowException, TypeError, ValueError, OverflowError):
            if stop - start == 1:
                failing.append(start)
            else:
                middle = (start + stop) // 2
                ranges += [(middle, stop), (start, middle)]
    return failing


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
