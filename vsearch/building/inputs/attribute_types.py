"""Attribute types, and how input columns are converted to them.

====================================================  =================================
input                                                 stored as
====================================================  =================================
bool                                                  bool
int8 to int64, uint8 to uint32                        int64
uint64                                                uint64
float16, float32, float64                             the same type (NaN stays NaN, not NULL)
decimal of up to 38 digits                            decimal128, exact
string, large_string, string_view, all NULL           string
UUID, fixed-size binary of 16 bytes                   string: the canonical form of the UUID
other binary                                          string: base64
dictionary (category)                                 the type of its values
date32, date64                                        date32
timestamp in ns                                       timestamp in ns, UTC
timestamp in s, ms or us                              timestamp in us, UTC
list, large or fixed-size list of strings or UUIDs    list<string>
list of integers, except uint64                       list<int64>
list of floats                                        list of the same float type
struct, map, list of these or of lists, without bytes  string: JSON
====================================================  =================================

A timestamp without a time zone is taken as UTC.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from vsearch.building.inputs.binary import base64_texts, is_binary
from vsearch.building.inputs.files import first_line
from vsearch.building.inputs.nested import is_list, is_nested, json_texts
from vsearch.building.inputs.uuids import is_uuid, uuid_strings
from vsearch.errors import InputError, VsearchWarning
from vsearch.predicates.types.record import cast_plainly
from vsearch.predicates.types.table import accepted_types, type_of_arrow

if TYPE_CHECKING:
    import pyarrow as pa


def attribute_schema(schema: pa.Schema, label: str) -> pa.Schema:
    """Return the schema in which the columns are stored; columns of other types are left out with a warning that names them.

    Raises
    ------
    InputError
        A column without a name, or duplicate names.
    """
    import pyarrow as pa

    check_names(schema, label)
    stored_fields = [(field.name, kept_type(field.type)) for field in schema]
    left_out = [f"{field.name} ({field.type})" for field in schema if kept_type(field.type) is None]
    if left_out:
        *plain, lists = accepted_types()
        accepted = f"{', '.join(plain)}, UUIDs, bytes, categories, {lists} (but not uint64), and structs, maps and lists of these, stored as JSON"
        msg = f"{label}: left out of the attributes: {', '.join(left_out)}; attributes may be {accepted}"
        warnings.warn(msg, VsearchWarning, stacklevel=2)
    return pa.schema([pa.field(name, kind) for name, kind in stored_fields if kind is not None])


def base64_columns(schema: pa.Schema) -> frozenset[str]:
    """Return the columns of bytes, which are stored as base64; those of UUIDs are not."""
    return frozenset(field.name for field in schema if is_binary(field.type) and not is_uuid(field.type))


def check_names(schema: pa.Schema, label: str) -> None:
    """Raise InputError if a column has no name or names are duplicated."""
    names = list(schema.names)
    for name in names:
        if not name:
            msg = f"{label}: column {names.index(name)} has no name; give every attribute a name"
            raise InputError(msg)
        if names.count(name) > 1:
            msg = f"{label}: {names.count(name)} columns are named {name!r}; rename or drop all but one"
            raise InputError(msg)


def normalize(array: Any, target: Any, name: str, label: str) -> Any:
    """Convert an array to its stored type.

    Parameters
    ----------
    array : pyarrow.Array
        Of a type that :func:`attribute_schema` keeps.
    target : pyarrow.DataType
        The type that :func:`attribute_schema` returned for the column.
    name, label : str
        Name the column and the input in messages.

    Raises
    ------
    InputError
        A value does not fit the type, or a string is not valid UTF-8; the message names the column.
    """
    import pyarrow as pa

    try:
        # validate everything first: Arrow's kernels follow offsets and indices unchecked
        array.validate(full=True)
        array = _plain_values(array)
        record = type_of_arrow(target)
        array = (cast_plainly if record is None else record.convert)(array, target)
    except (pa.ArrowException, OverflowError) as error:
        msg = f"{label}: column {name!r} cannot be read as {target} ({first_line(error)}); repair or drop it"
        raise InputError(msg) from error
    return array


def _plain_values(array: Any) -> Any:
    """Return the values of an array of dictionaries or extensions, also in lists; UUIDs as strings, nested values as JSON."""
    import pyarrow as pa

    if is_uuid(array.type):
        return uuid_strings(array)
    if is_binary(array.type):
        return base64_texts(array)
    if isinstance(array, pa.ExtensionArray):
        return _plain_values(array.storage)
    if pa.types.is_dictionary(array.type):
        return _plain_values(decoded(array))
    if is_nested(array.type):
        return json_texts(array)
    if is_list(array.type):
        item = array.type.value_type
        if is_uuid(item) or isinstance(item, pa.BaseExtensionType) or pa.types.is_dictionary(item):
            return _list_like(array, _plain_values(array.flatten()))
    return array


def _list_like(array: Any, elements: Any) -> Any:
    """Return the lists of an array with other elements, as many as it has in lists that are not NULL."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = pc.cumulative_sum(pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    if array.null_count:
        offsets = pc.if_else(pa.concat_arrays([array.is_valid(), pa.array([True])]), offsets, None)
    return pa.LargeListArray.from_arrays(offsets, elements)


def decoded(array: Any) -> Any:
    """Return the values of a dictionary array, including string views, for which Arrow implements no `take`."""
    import pyarrow as pa

    values = array.dictionary
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    return values.take(array.indices)


def kept_type(arrow_type: Any) -> Any:
    """The Arrow type in which an attribute of a given Arrow type is stored, or None if it cannot be an attribute."""
    import pyarrow as pa

    types = pa.types
    if is_uuid(arrow_type) or is_binary(arrow_type) or is_nested(arrow_type):
        return pa.string()
    if isinstance(arrow_type, pa.BaseExtensionType):
        # text such as arrow.json is kept; for others (tensors, periods) the storage is not the meaning
        return pa.string() if _is_text(arrow_type.storage_type) else None
    if types.is_dictionary(arrow_type):
        return kept_type(arrow_type.value_type)
    if types.is_null(arrow_type):
        return pa.string()
    if is_list(arrow_type):
        item = kept_type(arrow_type.value_type)
        if item is None or (is_binary(arrow_type.value_type) and not is_uuid(arrow_type.value_type)):
            return None
        arrow_type = pa.list_(item)
    record = type_of_arrow(arrow_type)
    return None if record is None else record.stored(arrow_type)


def _is_text(arrow_type: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or pa.types.is_string_view(arrow_type)
    )
