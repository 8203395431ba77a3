"""Nested values, which no attribute type holds, as JSON text."""

from __future__ import annotations

from typing import Any

import msgspec

from vsearch.building.inputs.uuids import is_uuid


def is_nested(arrow_type: Any) -> bool:
    """Whether values of an Arrow type are stored as JSON: structs, maps, and lists of these or of lists.

    Types that contain bytes, which are often images, or map keys other than text and integers, are not.
    """
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        return is_nested(arrow_type.value_type)
    if is_list(arrow_type):
        item = arrow_type.value_type
        return (is_list(item) or types.is_struct(item) or types.is_map(item)) and _has_json(item)
    return bool(types.is_struct(arrow_type) or types.is_map(arrow_type)) and _has_json(arrow_type)


def json_texts(array: Any) -> Any:
    """Write nested values as JSON; NULL stays NULL.

    Inside, times are text as Arrow writes them, durations are numbers in their unit, decimals are text, and NaN is null.

    Parameters
    ----------
    array : pyarrow.Array
        Of a type for which `is_nested` holds; not a dictionary.

    Raises
    ------
    pyarrow.ArrowException
        A key occurs twice in a map, or text is not valid UTF-8.
    """
    import pyarrow as pa

    encode = msgspec.json.Encoder(decimal_format="string").encode
    try:
        values = array.cast(_plain(array.type)).to_pylist(maps_as_pydicts="strict")
    except (KeyError, UnicodeDecodeError) as error:
        raise pa.ArrowInvalid(str(error.args[0])) from None
    return pa.array([None if value is None else encode(value).decode() for value in values], pa.string())


def _has_json(arrow_type: Any) -> bool:
    from pyarrow import types

    if types.is_struct(arrow_type):
        names = [field.name for field in arrow_type]
        return bool(names) and len(set(names)) == len(names) and all(_has_json(field.type) for field in arrow_type)
    if types.is_map(arrow_type):
        key = arrow_type.key_type
        return (types.is_string(key) or types.is_large_string(key) or types.is_integer(key)) and _has_json(
            arrow_type.item_type
        )
    if is_list(arrow_type) or types.is_dictionary(arrow_type):
        return _has_json(arrow_type.value_type)
    kinds = (
        *(types.is_boolean, types.is_integer, types.is_floating, types.is_decimal128, types.is_null),
        *(types.is_string, types.is_large_string, types.is_string_view),
        *(types.is_timestamp, types.is_time, types.is_date, types.is_duration),
    )
    return not is_uuid(arrow_type) and any(is_kind(arrow_type) for is_kind in kinds)


def _plain(arrow_type: Any) -> Any:
    """The type to cast a nested type to before it becomes Python objects, which have no nanoseconds and no year 10,000."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(arrow_type):
        return pa.struct([field.with_type(_plain(field.type)) for field in arrow_type])
    if types.is_map(arrow_type):
        return pa.map_(arrow_type.key_type, _plain(arrow_type.item_type))
    if is_list(arrow_type):
        return pa.large_list(_plain(arrow_type.value_type))
    if types.is_timestamp(arrow_type) or types.is_time(arrow_type) or types.is_date(arrow_type):
        return pa.string()
    if types.is_duration(arrow_type):
        return pa.int64()
    return _plain(arrow_type.value_type) if types.is_dictionary(arrow_type) else arrow_type


def is_list(arrow_type: Any) -> bool:
    """Whether an Arrow type is that of lists, large or of a fixed size as well."""
    from pyarrow import types

    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(is_kind(arrow_type) for is_kind in kinds)
