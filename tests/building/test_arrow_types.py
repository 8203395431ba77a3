"""No Arrow type stops a build: a column is stored, or left out by name; and what is stored comes back."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import uuid
import warnings

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from vsearch.errors import VsearchWarning

UUIDS = [uuid.UUID(int=number << 64 | 7).bytes for number in range(3)]
TEXTS = ["a", "", "é"]


def extension(name, storage):
    """Values of an extension type."""
    array = pa.array(storage)
    make = getattr(pa, name, None)
    return None if make is None else pa.ExtensionArray.from_storage(make(), array)


#: Three values of each type; None for a type that this release of Arrow does not have.
VALUES = {
    "bool": pa.array([True, False, True]),
    "int8": pa.array([1, -2, 3], pa.int8()),
    "uint64": pa.array([1, 2, 2**64 - 1], pa.uint64()),
    "float16": pa.array(np.array([0, 1, 2], np.float16)),
    "float64": pa.array([0.5, float("nan"), 2]),
    "decimal": pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50"), decimal.Decimal("0.01")]),
    "decimal256": pa.array([decimal.Decimal("1.25"), decimal.Decimal("-3.50"), decimal.Decimal("0.01")], pa.decimal256(50, 2)),
    "string": pa.array(TEXTS),
    "large_string": pa.array(TEXTS, pa.large_string()),
    "string_view": pa.array(TEXTS, pa.string_view()),
    "binary": pa.array([b"\xff", b"", b"x"]),
    "binary_view": pa.array([b"\xff", b"", b"x"], pa.binary_view()),
    "binary16": pa.array(UUIDS, pa.binary(16)),
    "binary5": pa.array([b"\xff" * 5] * 3, pa.binary(5)),
    "date": pa.array([dt.date(2020, 1, 2)] * 3),
    "date64": pa.array([dt.date(2020, 1, 2)] * 3, pa.date64()),
    "timestamp": pa.array([dt.datetime(2020, 1, 2, 3)] * 3, pa.timestamp("ms")),
    "zoned": pa.array([dt.datetime(2020, 1, 2, 3)] * 3, pa.timestamp("ns", "Europe/Berlin")),
    "time": pa.array([dt.time(1, 2)] * 3),
    "duration": pa.array([dt.timedelta(1)] * 3),
    "interval": pa.array([pa.MonthDayNano([1, 2, 3])] * 3),
    "null": pa.nulls(3),
    "category": pa.array(["a", "b", "a"]).dictionary_encode(),
    "numbers": pa.array([7, 8, 7]).dictionary_encode(),
    "binary16_category": pa.array(UUIDS, pa.binary(16)).dictionary_encode(),
    "struct": pa.array([{"a": 1}, {"a": None}, {"a": 3}]),
    "struct_of_bytes": pa.array([{"a": b"\xff"}] * 3),
    "map": pa.array([[("k", 1)], [], [("l", 2)]], pa.map_(pa.string(), pa.int32())),
    "struct_of_uuid": pa.array([{"a": UUIDS[0]}] * 3, pa.struct([("a", pa.binary(16))])),
    "run_ends": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"])),
    "uuid": extension("uuid", pa.array(UUIDS, pa.binary(16))),
    "bool8": extension("bool8", pa.array([1, 0, 1], pa.int8())),
    "json": extension("json_", pa.array(["{}", "[1]", "2"])),
}  # fmt: skip


def wrapped(values, wrapper):
    """Three rows of lists, with a NULL where the kind has one; or the values as they are."""
    if wrapper == "plain":
        return values
    offsets = pa.array([0, 2, 2, 3], pa.int64() if wrapper == "large_list" else pa.int32())
    if wrapper == "list_view":
        return pa.ListViewArray.from_arrays(pa.array([1, 0, 0], pa.int32()), pa.array([2, 0, 1], pa.int32()), values)
    if wrapper == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, 1)
    make = {"list": pa.ListArray, "large_list": pa.LargeListArray}[wrapper]
    return make.from_arrays(offsets, values, mask=pa.array([False, True, False]))


@pytest.mark.parametrize("wrapper", ["plain", "list", "large_list", "fixed", "list_view"])
def test_each_is_stored_or_left_out_by_name(wrapper, tmp_path) -> None:
    columns = {name: wrapped(values, wrapper) for name, values in VALUES.items() if values is not None}
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12, dtype=np.float32) + 1), 4)
    table = pa.table({"key": ["a", "b", "c"], "v": vectors, **columns})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VsearchWarning)
        index = vsearch.build(table, tmp_path / "index", vectors="v", id="key", metric="l2")
    stored = [name for name in columns if name in index.info()["attributes"]]
    named = " ".join(str(warning.message) for warning in caught)
    assert [name for name in columns if f" {name} (" in named] == [name for name in columns if name not in stored]
    returned = index.get(["a", "b", "c"])
    pairs = {name: [rows[name].to_pylist(maps_as_pydicts="strict") for rows in (returned, table)] for name in stored}
    assert [name for name, (got, put) in pairs.items() if list(map(plain, got)) != list(map(plain, put))] == []


def plain(value):
    """A value as it is returned, in a form to compare."""
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict | list)):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).astimezone(dt.UTC).isoformat()
    if isinstance(value, bytes) and len(value) != 16:
        return base64.b64encode(value).decode()
    if isinstance(value, uuid.UUID | bytes):
        return str(value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value))
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if isinstance(value, str) else repr(value)
