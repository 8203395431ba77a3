"""pandas frames as record batches, slice by slice; values that pandas considers missing become NULL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.building.inputs.files import first_line
from vsearch.building.inputs.python_values import python_array
from vsearch.errors import InputError
from vsearch.search.state.given_ids import is_unicode

if TYPE_CHECKING:
    import pyarrow as pa

COMPLEX = (complex, np.complexfloating)

SLICE_ROWS = 16_384
"""Object values converted at a time."""


def is_frame(value: object) -> bool:
    """Whether `value` is a pandas frame; does not import pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def is_series(value: object) -> bool:
    """Whether `value` is a pandas series or index."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "isna") and hasattr(value, "name")


def frame_columns(frame: Any, label: str) -> dict[str, Any]:
    """Columns of a frame by name, including the named levels of its index, as `DataFrame.to_parquet` stores them.

    Raises
    ------
    InputError
        Two columns have the same name, or a name is not valid Unicode.
    """
    named: list[tuple[str, Any]] = [
        (str(name), frame.index.get_level_values(level).to_series())
        for level, name in enumerate(frame.index.names)
        if name is not None and name not in frame.columns
    ]
    named += [(str(name), frame.iloc[:, number]) for number, name in enumerate(frame.columns)]
    names = [name for name, _ in named]
    for name in names:
        if not is_unicode(name):
            msg = f"{label}: the name of column {names.index(name)} is not valid Unicode: {name!r:.100}; rename it"
            raise InputError(msg)
        if names.count(name) > 1:
            msg = f"{label}: {names.count(name)} columns are named {name!r}; rename or drop all but one"
            raise InputError(msg)
    return dict(named)


def series_type(series: Any, name: str, label: str) -> pa.DataType:
    """The Arrow type of a series; for a series of objects, a type that fits all values, found slice by slice.

    Raises
    ------
    InputError
        Values of mixed types, or of a type that Arrow does not support; the message names the column.
    """
    import pyarrow as pa

    if series.dtype != object:
        if isinstance(series.dtype, np.dtype) and (series.dtype.kind == "c" or series.dtype.char == "g"):
            return pa.struct([])  # also left out: Arrow has no such numbers
        series = series.iloc[:0]
    slices = (series.iloc[start : start + SLICE_ROWS] for start in range(0, max(1, len(series)), SLICE_ROWS))
    common: pa.DataType = pa.null()
    try:
        for part in slices:
            slice_type = series_array(part, None).type
            if slice_type != common:
                pair = [pa.schema([pa.field(name, common)]), pa.schema([pa.field(name, slice_type)])]
                common = pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if _holds_objects_only(series):
            return pa.struct([])  # treated like records: left out with a warning that names the column
        msg = f"{label}: column {name!r} has mixed types or values that cannot be attributes ({first_line(error)})"
        raise InputError(msg) from error
    return common


def _holds_objects_only(series: Any) -> bool:
    """Whether a series holds no number, text, time or similar value: Arrow has no type for complex numbers or sets."""
    kinds = set(map(type, series[series.notna().to_numpy()]))
    plain = (str, bytes, Number, np.generic, date, time, timedelta)
    return bool(kinds) and not any(issubclass(kind, plain) and not issubclass(kind, COMPLEX) for kind in kinds)


def series_array(series: Any, kind: pa.DataType | None) -> pa.Array:
    """A series as one Arrow array; values that `Series.isna` reports (NaN, None, NaT and NA, depending on the dtype) become NULL."""
    if hasattr(series.dtype, "subtype") and hasattr(series.dtype, "fill_value"):
        series = series.sparse.to_dense()
    return python_array(series, kind, from_pandas=True)


def frame_batches(
    columns: dict[str, Any], schema: pa.Schema, rows: int, label: str = "frame"
) -> Iterator[pa.RecordBatch]:
    """Yield some columns of a frame in slices of `rows` rows.

    Raises
    ------
    InputError
        Texts that are not valid Unicode.
    """
    import pyarrow as pa

    def converted(field: pa.Field, start: int) -> pa.Array:
        try:
            return series_array(columns[field.name].iloc[start : start + rows], field.type)
        except UnicodeError as error:
            msg = f"{label}: column {field.name!r} has text that is not valid Unicode ({error}); repair or drop it"
            raise InputError(msg) from error

    total = max((len(series) for series in columns.values()), default=0)
    for start in range(0, total, rows):
        arrays = [converted(field, start) for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def whole_strings(values: Any) -> Any:
    """Return NumPy strings as objects and anything else unchanged: Arrow cuts fixed-width strings at the first NUL."""
    return values.astype(object) if isinstance(values, np.ndarray) and values.dtype.kind in "US" else values


def mapping_table(columns: Mapping[str, Any], label: str) -> pa.Table:
    """A mapping of columns as a table; NaN is NULL in NumPy arrays of floats and objects, which have no other NULL.

    Raises
    ------
    InputError
        Columns of mixed or unsupported types, or of different lengths.
    """
    import pyarrow as pa

    converted = {}
    for name, values in columns.items():
        try:
            converted[str(name)] = _mapped(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            msg = f"{label}: column {name!r} must have values of one type that Arrow supports ({first_line(error)})"
            raise InputError(msg) from error
    try:
        return pa.table(converted)
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"{label}: the mapping does not hold columns of equal length ({first_line(error)})"
        raise InputError(msg) from error


def _mapped(values: Any) -> Any:
    import pyarrow as pa

    if type(values).__module__.partition(".")[0] == "pandas" and hasattr(values, "isna"):
        import pandas as pd  # type: ignore[import-untyped]  # installed, since the caller passed one of its arrays

        return series_array(values if isinstance(values, pd.Series) else pd.Series(values), None)
    values = whole_strings(values)
    if isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray):
        if values.ndim == 2 and values.dtype.kind in "fiu":  # one embedding per row
            return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        if values.dtype.kind in "fO":
            return python_array(values, from_pandas=True)
    return python_array(values) if isinstance(values, (list, tuple)) else values
