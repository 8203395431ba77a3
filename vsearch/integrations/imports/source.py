"""Rows of another library: a stream of Arrow batches with ids, vectors and attributes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError, VsearchWarning

if TYPE_CHECKING:
    import pyarrow as pa

ID, VECTOR = "id", "vector"
EXACT = 2**53
"""Integers up to this magnitude are exact as floats."""

BATCH = 2000
"""Number of rows that are read at a time."""


@dataclass(frozen=True)
class Source:
    """Rows to import.

    Attributes
    ----------
    schema : pyarrow.Schema
        ``id``, ``vector``, and the attributes.
    batches : iterator of pyarrow.RecordBatch
    metric : {"cosine", "ip", "l2"} or None
        The metric of the other library, if known.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    metric: str | None = None

    def reader(self) -> pa.RecordBatchReader:
        """The rows as a stream."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self.batches)


class Columns:
    """Finds the types of attributes in objects like those of JSON, and makes columns of them.

    An attribute has one type. Integers and floats together become floats, if these are exact. An attribute with several types, or of objects, becomes
    text, as JSON, and a `VsearchWarning` says so.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, set[str]] = {}

    def see(self, values: Mapping[str, Any] | None) -> None:
        """Record the types of the attributes of a row."""
        for name, value in (values or {}).items():
            if value is not None:
                self._kinds.setdefault(_checked(str(name)), set()).add(_kind(value))

    def fields(self) -> list[pa.Field]:
        """Return the fields of all attributes that were seen, in the order of their first row."""
        import pyarrow as pa

        types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "time": TIME()}
        lists = {f"list {name}": pa.list_(item) for name, item in types.items()}
        mixed, fields = [], []
        for name, kinds in self._kinds.items():
            kind = _common(kinds)
            mixed += [name] if kind == "json" else []
            fields.append(pa.field(free_name(name), (types | lists).get(kind, pa.string())))
        if mixed:
            warnings.warn(
                f"attributes with values of several types, or objects, become text as JSON: {', '.join(sorted(mixed))[:300]}",
                VsearchWarning,
                stacklevel=2,
            )
        return fields

    def arrays(self, rows: Sequence[Mapping[str, Any] | None]) -> list[pa.Array]:
        """Return the columns of some rows, one per field."""
        arrays = []
        for (name, kinds), field in zip(self._kinds.items(), self.fields_silently(), strict=True):
            values = [(row or {}).get(name) for row in rows]
            if _common(kinds) == "json":
                values = [None if value is None else _json(value) for value in values]
            arrays.append(attribute_array(name, values, field.type))
        return arrays

    def fields_silently(self) -> list[pa.Field]:
        """Return `fields` without the warning."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VsearchWarning)
            return self.fields()


def TIME() -> pa.DataType:  # noqa: N802
    """The type of times."""
    import pyarrow as pa

    return pa.timestamp("us", "UTC")


def make_source(
    columns: Columns,
    width: int,
    batches: Iterable[tuple[Sequence[Any], NDArray[np.float32], Sequence[Mapping[str, Any] | None]]],
    *,
    text_ids: bool,
    metric: str | None = None,
) -> Source:
    """Return the source of rows with attributes like those of JSON.

    Parameters
    ----------
    columns : Columns
        Columns that have seen all rows.
    batches : iterable of (ids, vectors float32 (n, width), attributes)
    text_ids : bool
        Whether ids are strings.
    """
    import pyarrow as pa

    schema = pa.schema([id_field(text=text_ids), vector_field(width), *columns.fields()])

    def open_batches() -> Iterator[pa.RecordBatch]:
        for ids, vectors, attributes in batches:
            named = pa.array([str(id_) for id_ in ids] if text_ids else ids, schema.field(ID).type)
            yield pa.RecordBatch.from_arrays(
                [named, vector_array(vectors, width), *columns.arrays(attributes)], schema=schema
            )

    return Source(schema, open_batches(), metric)


def id_field(*, text: bool) -> pa.Field:
    """Return the field of ids."""
    import pyarrow as pa

    return pa.field(ID, pa.string() if text else pa.int64())


def vector_field(width: int) -> pa.Field:
    """Return the field of vectors."""
    import pyarrow as pa

    return pa.field(VECTOR, pa.list_(pa.float32(), width))


def vector_array(vectors: NDArray[np.float32], width: int) -> pa.Array:
    """Return vectors (n, width) as a column.

    Raises
    ------
    InputError
        They have another width.
    """
    import pyarrow as pa

    converted = np.ascontiguousarray(vectors, np.float32)
    if converted.ndim != 2 or converted.shape[1] != width:
        raise InputError(f"all vectors must have {width} dimensions, got an array of shape {converted.shape}")
    return pa.FixedSizeListArray.from_arrays(pa.array(converted.reshape(-1)), width)


def attribute_array(name: str, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return the values of an attribute, or ids, as a column.

    Raises
    ------
    InputError
        One does not fit the type, such as an integer of more than 64 bits, or is not valid Unicode.
    """
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError) as error:
        raise InputError(f"column {name!r:.100}: a value does not fit the type {kind}: {str(error)[:100]}") from None


def free_name(name: str) -> str:
    """Return the name of an attribute, which the columns of ids and vectors leave free."""
    return f"attribute.{name}" if name in {ID, VECTOR} else name


def _kind(value: Any) -> str:
    import datetime as dt

    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int | np.integer):
        return "int" if -EXACT <= value <= EXACT else "long" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float | np.floating):
        return "float"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dt.datetime):
        return "time"
    if isinstance(value, list | tuple | np.ndarray):
        kinds = {_kind(item) for item in value if item is not None}
        inner = _together(kinds) if kinds else ""
        return "json" if inner == "json" or inner.startswith("list") else f"list {inner}".rstrip()
    return "json"


def _common(kinds: set[str]) -> str:
    """Return the type of values of several kinds."""
    kind = _together(kinds).replace("long", "int")
    return "list text" if kind == "list" else kind


def _together(kinds: set[str]) -> str:
    """Return the kind of values of several kinds; that of integers that floats do not hold is "long"."""
    if all(kind.startswith("list") for kind in kinds):
        inner = {kind.removeprefix("list ") for kind in kinds} - {"list"}
        kind = _together(inner) if inner else ""
        return "json" if kind == "json" else f"list {kind}".rstrip()
    if kinds == {"int", "long"}:
        return "long"
    return "float" if kinds == {"int", "float"} else next(iter(kinds)) if len(kinds) == 1 else "json"


def _checked(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of an attribute is not valid Unicode: {name!r:.100}") from None
    return name


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
