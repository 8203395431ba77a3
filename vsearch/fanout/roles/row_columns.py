"""Values of a request as Arrow columns of the index's types, and the positions of those that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vsearch.errors import InputError
from vsearch.fanout.wire.change_messages import MOST_FAULTS
from vsearch.live.inputs import cast_column


def convert_values(values: Sequence[Any], kind: Any) -> tuple[Any, dict[int, str]]:
    """Convert values that were read from JSON.

    Parameters
    ----------
    values : sequence
        None is NULL. Times and dates are strings in ISO 8601, decimals strings or numbers.
    kind : pyarrow.DataType

    Returns
    -------
    column : pyarrow.Array or None
        None if a value does not fit.
    faults : dict of int to str
        What is wrong, by position.
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
        shown = f"{values[position]!r:.100}"
        faults[position] = f"must be {kind}, got {shown}"
    return None, faults


def fit_column(column: Any, kind: Any, name: str) -> tuple[Any, dict[int, str]]:
    """Cast a column to the type of its attribute; returns what `convert_values` returns.

    Raises
    ------
    InputError
        The column has a type that cannot be cast, whatever its values.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)

    def convert(part: Any) -> Any:
        return cast_column(part, kind, name)

    try:
        return convert(column), {}
    except InputError:
        convert(column.slice(0, 0))  # the type itself does not fit: raises again
    faults = {position: f"must be {kind}, got {column[position]}"[:300] for position in _failing(convert, column)}
    return None, faults


def _convert(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa

    types = pa.types
    if types.is_temporal(kind):
        return pa.array(values, pa.string()).cast(kind)
    if types.is_decimal(kind):
        numbers = [str(value) if _is_number(value) else value for value in values]
        return pa.array(numbers, pa.string()).cast(kind)
    leaf = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    if not types.is_boolean(leaf) and any(map(_has_boolean, values)):
        raise TypeError("a boolean is no number")
    if types.is_boolean(leaf) and any(map(_has_number, values)):
        raise TypeError("a number is no boolean")
    column = pa.array(values, kind)
    column.validate(full=True)
    if types.is_floating(kind) and not pa.compute.all(pa.compute.is_finite(column)).as_py() and len(column.drop_null()):
        raise OverflowError("a number does not fit")
    return column


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


def _has_boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(isinstance(item, bool) for item in value))


def _has_number(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, list) and any(map(_is_number, value)))
