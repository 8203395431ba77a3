"""The Arrow types that exact columns may have, with one record per family: names, buffers, Arrow types and JSON values.

Manifests and messages name the type of a column. A record describes the buffers of such a column, so that files can be written
and read, and messages checked, without an Arrow library; pyarrow is imported only for its own types. A new type with an existing
layout is a record in `FORMS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vsearch.errors import InputError
from vsearch.storage.files.entries import DTYPES

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

Layout = Literal["fixed", "bits", "text", "list"]
"""How a column is stored in buffers: fixed-size numbers, one bit per row, offsets and text, or offsets and items."""

_LOW = (1 << 64) - 1
_LARGEST_PRECISION = 38
_LONGEST_NAME = 200


@dataclass(frozen=True)
class ColumnForm:
    """A family of Arrow types with the same kind of name and storage.

    Attributes
    ----------
    pattern : str
        A regular expression that the names of the family match in full. Groups are parameters, such as a unit.
    layout : {"fixed", "bits", "text", "list"}
    dtype : str
        Element type of the values buffer, or of the offsets; "" if it is the name of the type.
    arrow : callable
        Returns the Arrow type for the groups of a name; None for invalid parameters. Imports pyarrow itself.
    name : callable
        Returns the name of an Arrow type; None if it is not in the family. Imports pyarrow itself.
    plain : callable, optional
        Converts the numbers of the buffer to JSON values, given the groups of the name; for layout "fixed".
    numbers : int
        How many numbers make up one value.
    """

    pattern: str
    layout: Layout
    dtype: str
    arrow: Callable[..., pa.DataType | None]
    name: Callable[[pa.DataType], str | None]
    plain: Callable[..., list[Any]] | None = None
    numbers: int = 1


@dataclass(frozen=True)
class ColumnType:
    """The type of a column, as far as its buffers are concerned.

    Attributes
    ----------
    name : str
        As in manifests and messages.
    form : ColumnForm
    parameters : tuple of str
        The groups of the name.
    item : ColumnType or None
        The item type of lists.
    """

    name: str
    form: ColumnForm
    parameters: tuple[str | None, ...]
    item: ColumnType | None = None

    @property
    def layout(self) -> Layout:
        return self.form.layout

    @property
    def dtype(self) -> str:
        """Element type of the values buffer, or of the offsets."""
        return self.form.dtype or self.name

    @property
    def width(self) -> int:
        """Bytes per value of the layouts "fixed" and "bits" in a message, where a bool takes a byte."""
        return self.form.numbers * np.dtype(self.dtype).itemsize

    def arrow(self) -> pa.DataType | None:
        """The Arrow type; None for invalid parameters."""
        return self.form.arrow(*self.parameters)

    def plain(self, values: bytes) -> list[Any]:
        """Convert the bytes of a column with layout "fixed" or "bits" in a message to JSON values; NULLs are not handled."""
        numbers = np.frombuffer(values, np.dtype(self.dtype).newbyteorder("<"))
        if self.form.plain is None:
            return numbers.tolist()
        return self.form.plain(numbers, *self.parameters)


def column_type(name: str) -> ColumnType | None:
    """The type with this name in a manifest or message; None if the name is invalid."""
    if len(name) > _LONGEST_NAME:
        return None
    for form in FORMS.values():
        match = re.fullmatch(form.pattern, name, re.ASCII)
        if match is None:
            continue
        item = None
        if form.layout == "list":
            item = column_type(match[1])
            if item is None or item.layout == "list":
                return None
        return ColumnType(name, form, match.groups(), item)
    return None


def arrow_type(name: str) -> pa.DataType | None:
    """The Arrow type with this name in a manifest; None if the name is invalid."""
    column = column_type(name)
    return None if column is None else column.arrow()


def type_of(arrow: pa.DataType) -> ColumnType:
    """The column type that stores an Arrow type.

    Raises
    ------
    InputError
        The type cannot be stored.
    """
    for form in FORMS.values():
        name = form.name(arrow)
        column = None if name is None else column_type(name)
        if column is not None:
            return column
    raise InputError(f"{arrow} columns cannot be stored; cast them to a number, string, date or list")


Ways = tuple[Callable[..., Any], Callable[[Any], str | None]]


def _plainly_named(*names: str) -> Ways:
    """`arrow` and `name` of a family without parameters, whose names are those of pyarrow's factory functions."""

    def make(name: str) -> Any:
        import pyarrow as pa

        return getattr(pa, "bool_" if name == "bool" else name)()

    def name_of(arrow: pa.DataType) -> str | None:
        return next((name for name in names if arrow.equals(make(name))), None)

    return make, name_of


def _timestamp(unit: str, zone: str | None) -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp(unit, zone)


def _timestamp_name(arrow: Any) -> str | None:
    import pyarrow as pa

    if not pa.types.is_timestamp(arrow):
        return None
    return f"timestamp[{arrow.unit}, tz={arrow.tz}]" if arrow.tz else f"timestamp[{arrow.unit}]"


def _decimal(precision: str, scale: str) -> pa.DataType | None:
    import pyarrow as pa

    return pa.decimal128(int(precision), int(scale)) if 1 <= int(precision) <= _LARGEST_PRECISION else None


def _decimal_name(arrow: Any) -> str | None:
    import pyarrow as pa

    return f"decimal128({arrow.precision}, {arrow.scale})" if pa.types.is_decimal128(arrow) else None


def _list(*, large: bool) -> Ways:
    def make(item: str) -> Any:
        import pyarrow as pa

        inner = arrow_type(item)
        return None if inner is None else pa.large_list(inner) if large else pa.list_(inner)

    def name_of(arrow: Any) -> str | None:
        import pyarrow as pa

        if not (pa.types.is_large_list(arrow) if large else pa.types.is_list(arrow)):
            return None
        return f"{'large_list' if large else 'list'}<{type_of(arrow.value_type).name}>"

    return make, name_of


def _plain_numbers(numbers: NDArray[Any], name: str) -> list[Any]:
    if not name.startswith("float"):
        return numbers.tolist()
    if name != "float64":
        numbers = shortest(numbers)  # 0.1 is shown as 0.1
    return [value if math.isfinite(value) else None for value in numbers.tolist()]  # JSON has neither NaN nor infinity


def _plain_bools(numbers: NDArray[Any], _: str) -> list[Any]:
    return numbers.astype(bool).tolist()


def _plain_dates(days: NDArray[Any], _: str) -> list[Any]:
    texts: list[Any] = np.datetime_as_string(days.astype("datetime64[D]")).tolist()
    return texts


def _plain_timestamps(ticks: NDArray[Any], unit: str, zone: str | None) -> list[Any]:
    texts = np.datetime_as_string(ticks.view(f"datetime64[{unit}]")).tolist()
    return [f"{text}{'Z' if zone else ''}" for text in texts]


def _plain_decimals(halves: NDArray[Any], _: str, scale: str) -> list[Any]:
    pairs = halves.reshape(-1, 2).tolist()
    return [_decimal_text((high << 64) + (low & _LOW), int(scale)) for low, high in pairs]


def _decimal_text(unscaled: int, scale: int) -> str:
    """Format ``unscaled / 10**scale`` with all its digits."""
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"


def shortest(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """For each value, the shortest decimal that identifies it among the values of its type."""
    return values.astype("U32").astype(np.float64)


FORMS: dict[str, ColumnForm] = {
    "number": ColumnForm(f"({'|'.join(DTYPES)})", "fixed", "", *_plainly_named(*DTYPES), plain=_plain_numbers),
    "bool": ColumnForm("(bool)", "bits", "uint8", *_plainly_named("bool"), plain=_plain_bools),
    "date": ColumnForm("(date32)", "fixed", "int32", *_plainly_named("date32"), plain=_plain_dates),
    "timestamp": ColumnForm(
        r"timestamp\[(s|ms|us|ns)(?:, tz=([A-Za-z0-9_+:/-]{1,64}))?\]",
        "fixed",
        "int64",
        _timestamp,
        _timestamp_name,
        _plain_timestamps,
    ),
    "decimal": ColumnForm(
        r"decimal128\(([0-9]{1,2}), (-?[0-9]{1,3})\)", "fixed", "int64", _decimal, _decimal_name, _plain_decimals, 2
    ),
    "text": ColumnForm("(string)", "text", "int32", *_plainly_named("string")),
    "large text": ColumnForm("(large_string)", "text", "int64", *_plainly_named("large_string")),
    "list": ColumnForm("list<(.+)>", "list", "int32", *_list(large=False)),
    "large list": ColumnForm("large_list<(.+)>", "list", "int64", *_list(large=True)),
}
"""All families of types. Their patterns do not overlap."""
