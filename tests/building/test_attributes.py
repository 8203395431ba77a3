"""Attributes of every kind are converted to the types that predicates support, row by row and without loss."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import decimal
import math
import uuid
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from vsearch.building.inputs import attributes as attributes_module
from vsearch.building.inputs.attributes import open_attributes, take_rows
from vsearch.errors import InputError, StoreError, VsearchWarning

UTC = dt.UTC
STAMP = dt.datetime(2024, 5, 17, 12, 30, 0, 250, tzinfo=UTC)
TIMESTAMP, LISTS = pa.timestamp("us", "UTC"), pa.list_(pa.string())


def example(rows: int = 1000) -> pa.Table:
    rng = np.random.default_rng(5)
    return pa.table(
        {
            "price": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1),
            "year": pa.array(rng.integers(1900, 2030, rows), mask=rng.random(rows) < 0.1),
            "new": pa.array(rng.random(rows) < 0.5, mask=rng.random(rows) < 0.1),
            "title": pa.array([None if row % 11 == 0 else f"title {row} é" for row in range(rows)]),
            "tags": pa.array([None if row % 7 == 0 else ["a", str(row)][: row % 3] for row in range(rows)], LISTS),
            "seen": pa.array(rng.integers(0, 2**50, rows), TIMESTAMP),
            "day": pa.array(rng.integers(0, 20_000, rows).astype(np.int32), pa.date32()),
            "hash": pa.array(rng.integers(0, 2**64, rows, np.uint64)),
        }
    )


def wide(data: pa.Table) -> pa.Table:
    """The same values in other types."""
    kinds = {"title": pa.large_string(), "tags": pa.large_list(pa.large_string()), "seen": pa.timestamp("us")}
    columns = [data[name].cast(kinds.get(name, data[name].type)) for name in data.column_names]
    return pa.table(columns, names=data.column_names)


def write_ipc(path: Path, data: pa.Table) -> Path:
    with pa.ipc.new_file(path, data.schema) as writer:
        writer.write_table(data, max_chunksize=170)
    return path


def write_parquet(path: Path, data: pa.Table) -> Path:
    pq.write_table(data, path, row_group_size=300)
    return path


@pytest.mark.parametrize(
    "kind", ["table", "wide", "chunked", "batch", "reader", "parquet", "arrow", "polars", "mapping"]
)
def test_every_kind_of_table(kind: str, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes_module, "BATCH_ROWS", 128)
    monkeypatch.setattr(attributes_module, "WRITE_BYTES", 20_000)
    monkeypatch.setattr(attributes_module, "TAKE_ROWS", 64)
    expected = example()
    given = {
        "table": lambda: expected,
        "wide": lambda: wide(expected),
        "chunked": lambda: pa.concat_tables([expected.slice(low, 90) for low in range(0, 1000, 90)]),
        "batch": lambda: expected.to_batches()[0],
        "reader": lambda: wide(expected).to_reader(100),
        "parquet": lambda: write_parquet(tmp_path / "a.parquet", wide(expected)),
        "arrow": lambda: str(write_ipc(tmp_path / "a.arrow", wide(expected))),
        "polars": lambda: pl.from_arrow(expected),
        "mapping": lambda: {name: expected[name] for name in expected.column_names},
    }[kind]()
    source = open_attributes(given, 1000, scratch)
    assert source.rows == 1000
    assert source.schema.equals(expected.schema)
    assert source.table.equals(expected)
    assert source.read(300, 500).equals(expected.slice(300, 200))
    assert source.column("title").equals(expected["title"])
    rows = np.random.default_rng(0).integers(0, 1000, 700)
    taken = source.take(rows)
    assert taken.equals(expected.take(pa.array(rows)))
    assert all(column.num_chunks == 1 for column in taken.columns)
    assert source.take(np.array([], np.int64)).num_rows == 0


def test_none_is_a_source_without_columns(scratch: Path) -> None:
    source = open_attributes(None, 5, scratch)
    assert source.rows == 5
    assert source.schema.names == []
    assert source.take(np.array([1, 4])).num_columns == 0


def test_a_table_in_kept_types_is_not_copied(scratch: Path) -> None:
    before = pa.total_allocated_bytes()
    data = example()
    used = pa.total_allocated_bytes() - before
    open_attributes(data, 1000, scratch)
    assert pa.total_allocated_bytes() - before == used
    assert not scratch.exists()


def test_files_are_spooled_in_bounded_memory(tmp_path: Path, scratch: Path) -> None:
    rows = 400_000
    data = pa.table({"n": pa.array(range(rows)), "text": pa.array([f"{row:060d}" for row in range(rows)])})
    pq.write_table(data, tmp_path / "x.parquet", use_dictionary=False)
    size = data.nbytes
    del data
    pool = pa.default_memory_pool()
    before, peak = pool.bytes_allocated(), 0
    normalize = attributes_module.normalize

    def watched(*arguments: object) -> object:
        nonlocal peak
        peak = max(peak, pool.bytes_allocated() - before)
        return normalize(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attributes_module, "normalize", watched)
        patch.setattr(attributes_module, "WRITE_BYTES", 1 << 20)
        source = open_attributes(tmp_path / "x.parquet", rows, scratch)
    assert size > 25e6
    assert peak < size / 2
    assert pool.bytes_allocated() - before < 1 << 20  # what remains is mapped
    assert source.table.column("text").num_chunks > 10
    assert source.take(np.array([399_999, 0]))["n"].to_pylist() == [399_999, 0]


def test_take_refuses_rows_outside() -> None:
    for row in (-1, 1000):
        with pytest.raises(IndexError):
            take_rows(example(), np.array([0, row]))


D = decimal.Decimal
UUID = uuid.UUID(int=2**127 + 2**64 - 5)
KEPT = {
    "int8": (pa.array([1, None], pa.int8()), pa.int64(), [1, None]),
    "uint32": (pa.array([2**32 - 1], pa.uint32()), pa.int64(), [2**32 - 1]),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), pa.uint64(), [2**64 - 1]),
    "float16": (pa.array(np.array([0.5], np.float16)), pa.float16(), [0.5]),
    "float32": (pa.array([0.5, None], pa.float32()), pa.float32(), [0.5, None]),
    "infinite": (pa.array([math.inf, -math.inf]), pa.float64(), [math.inf, -math.inf]),
    "decimal128": (pa.array([D("1.25"), None], pa.decimal128(9, 2)), pa.decimal128(9, 2), [D("1.25"), None]),
    "decimal64": (pa.array([D("1.25")]).cast(pa.decimal64(9, 2)), pa.decimal128(9, 2), [D("1.25")]),
    "decimal256": (pa.array([D("1.25")], pa.decimal256(38, 2)), pa.decimal128(38, 2), [D("1.25")]),
    "large_string": (pa.array(["a", None, ""], pa.large_string()), pa.string(), ["a", None, ""]),
    "string_view": (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
    "json": (pa.array(['{"a": 1}'], pa.json_()), pa.string(), ['{"a": 1}']),
    "uuid": (pa.array([UUID.bytes, None], pa.uuid()), pa.string(), [str(UUID), None]),
    "sliced uuid": (pa.array([None, UUID.bytes, None], pa.uuid()).slice(1), pa.string(), [str(UUID), None]),
    "16 bytes": (pa.array([None, UUID.bytes], pa.binary(16)), pa.string(), [None, str(UUID)]),
    "null": (pa.nulls(2), pa.string(), [None, None]),
    "category": (pa.array(["b", None, "a", "b"]).dictionary_encode(), pa.string(), ["b", None, "a", "b"]),
    "category of int": (pa.array([3, None]).dictionary_encode(), pa.int64(), [3, None]),
    "large lists": (
        pa.array([["a", None], None, []], pa.large_list(pa.large_string())),
        LISTS,
        [["a", None], None, []],
    ),
    "fixed lists": (pa.array([["a", "b"], None], pa.list_(pa.string(), 2)), LISTS, [["a", "b"], None]),
    "lists of categories": (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), LISTS, [["a"]]),
    "empty lists": (pa.array([[], None, []]), LISTS, [[], None, []]),
    "naive timestamp": (pa.array([STAMP.replace(tzinfo=None)], pa.timestamp("us")), TIMESTAMP, [STAMP]),
    "zoned timestamp": (pa.array([STAMP], pa.timestamp("us", "Asia/Tokyo")), TIMESTAMP, [STAMP]),
    "seconds": (pa.array([60, None], pa.timestamp("s")), TIMESTAMP, [dt.datetime(1970, 1, 1, 0, 1, tzinfo=UTC), None]),
    "nanoseconds": (pa.array([1999], pa.timestamp("ns")), pa.timestamp("ns", "UTC"), [np.datetime64(1999, "ns")]),
    "date64": (pa.array([dt.date(2020, 2, 29), None], pa.date64()), pa.date32(), [dt.date(2020, 2, 29), None]),
}


@pytest.mark.parametrize("name", KEPT)
def test_types_that_are_kept(name: str, scratch: Path) -> None:
    given, kind, values = KEPT[name]
    source = open_attributes(pa.table({"c": given}), len(given), scratch)
    assert source.schema.field("c").type == kind
    if name == "nanoseconds":
        assert source.column("c").to_numpy().tolist() == [1999]
        return
    assert source.column("c").to_pylist() == values


NESTED = {
    "struct": (pa.array([{"a": 1, "b": None}, None]), ['{"a":1,"b":null}', None]),
    "list of structs": (pa.array([[{"a": 1.5}], [], None]), ['[{"a":1.5}]', "[]", None]),
    "lists of lists": (pa.array([[["é"], None], None]), ['[["é"],null]', None]),
    "fixed lists": (pa.array([[[1, 2]]], pa.list_(pa.list_(pa.int8(), 2))), ["[[1,2]]"]),
    "map": (pa.array([[("a", 1), ("b", None)], []], pa.map_(pa.string(), pa.int32())), ['{"a":1,"b":null}', "{}"]),
    "map of integers": (pa.array([[(1, "x")]], pa.map_(pa.int8(), pa.string())), ['{"1":"x"}']),
    "category": (
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array([{"a": 1}, {"a": 2}])),
        ['{"a":2}', '{"a":1}', None],
    ),
    "times": (
        pa.array([{"t": 10**18 + 1}], pa.struct([("t", pa.timestamp("ns"))])),
        ['{"t":"2001-09-09 01:46:40.000000001"}'],
    ),
    "year 20,000": (
        pa.array([{"t": 570 * 10**9}], pa.struct([("t", pa.timestamp("s"))])),
        ['{"t":"20032-07-31 05:20:00"}'],
    ),
    "durations": (pa.array([{"t": 7}], pa.struct([("t", pa.duration("ns"))])), ['{"t":7}']),
    "decimals": (pa.array([{"d": D("1.10")}]), ['{"d":"1.10"}']),
    "NaN": (pa.array([{"f": float("nan")}, {"f": float("inf")}]), ['{"f":null}', '{"f":null}']),
    "categories inside": (
        pa.StructArray.from_arrays([pa.array(["x"]).dictionary_encode()], names=["c"]),
        ['{"c":"x"}'],
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_values_are_kept_as_json(name: str, scratch: Path) -> None:
    given, texts = NESTED[name]
    source = open_attributes(pa.table({"c": given}), len(given), scratch)
    assert source.schema.field("c").type == pa.string()
    assert source.column("c").to_pylist() == texts


def test_a_part_of_a_nested_column_is_read_alone(scratch: Path) -> None:
    given = pa.table({"c": pa.array([{"a": number} for number in range(9)]).slice(4, 3)})
    assert open_attributes(given, 3, scratch).column("c").to_pylist() == [f'{{"a":{number}}}' for number in (4, 5, 6)]


def test_a_key_that_occurs_twice_in_a_map(scratch: Path) -> None:
    given = pa.table({"c": pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int32()))})
    with pytest.raises(InputError, match=r"column 'c' cannot be read as string .*duplicate key"):
        open_attributes(given, 1, scratch)


BYTES = [b"", None, b"\xff\x00a", bytes(range(256))]


@pytest.mark.parametrize(
    "array",
    [
        pa.array(BYTES),
        pa.array(BYTES, pa.large_binary()),
        pa.array(BYTES, pa.binary_view()),
        pa.array([b"x", *BYTES]).slice(1),
        pa.array(BYTES).dictionary_encode(),
        pa.array([b"abcd", None, b"\xff" * 4], pa.binary(4)),
        pa.nulls(2, pa.binary()),
    ],
    ids=["binary", "large", "view", "slice", "category", "fixed", "NULL"],
)
def test_bytes_are_base64(array: pa.Array, scratch: Path) -> None:
    source = open_attributes(pa.table({"data": array}), len(array), scratch)
    assert source.schema.field("data").type == pa.string()
    texts = source.read(0, len(array))["data"].to_pylist()
    assert [None if text is None else base64.b64decode(text) for text in texts] == array.to_pylist()


def test_uuids_are_found_by_uuids(tmp_path: Path) -> None:
    keys = [uuid.UUID(int=row) for row in range(30)]
    index = vsearch.build(np.eye(30, 8, dtype=np.float32) + 1, tmp_path / "i", {"key": keys})
    assert index.rows(vsearch.col("key") == keys[7])["id"].to_pylist() == [7]
    assert index.count({"key": {"$in": keys[:3]}}) == 3
    with pytest.raises(InputError, match="for a descending order use 'key DESC', got '-key'"):
        index.rows(order="-key")


def test_bytes_are_appended_and_found(tmp_path: Path) -> None:
    index = vsearch.build(
        np.eye(30, 8, dtype=np.float32) + 1, tmp_path / "i", {"data": [bytes([row]) for row in range(30)]}
    )
    index.append(np.ones((2, 8), np.float32), {"data": [b"new", None]})
    assert index.rows("data = 'bmV3'")["id"].to_pylist() == [30]
    assert index.rows("data IS NULL")["id"].to_pylist() == [31]


def test_rows_as_mappings(scratch: Path) -> None:
    source = open_attributes([{"a": 1, "b": "x"}, {"b": None, "c": {"d": [1]}}], 2, scratch)
    assert source.table.to_pydict() == {"a": [1, None], "b": ["x", None], "c": [None, '{"d":[1]}']}
    with pytest.raises(InputError, match="list are not supported"):
        open_attributes([{"a": 1}, 2], 2, scratch)
    with pytest.raises(InputError, match="column 'a' must have values of one type"):
        open_attributes([{"a": 1}, {"a": "x"}], 2, scratch)


REFUSED = {
    "struct of bytes": pa.array([{"a": b"1"}]),
    "struct of UUIDs": pa.array([{"a": bytes(16)}], pa.struct([("a", pa.binary(16))])),
    "map of times": pa.array([[(dt.time(1), 1)]], pa.map_(pa.time64("us"), pa.int32())),
    "time": pa.array([dt.time(1)]),
    "duration": pa.array([dt.timedelta(1)]),
    "list of uint64": pa.array([[1]], pa.list_(pa.uint64())),
    "wide decimal": pa.array([D("1.25")], pa.decimal256(50, 2)),
    "tensor": pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]], pa.list_(pa.int8(), 2))
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", ["table", "parquet", "reader"])
def test_types_that_cannot_be_kept_are_left_out_by_name(name: str, kind: str, tmp_path: Path, scratch: Path) -> None:
    data = pa.table({"good": pa.array([1], pa.int8()), "bad one": REFUSED[name], "also good": ["x"]})
    given: object = data
    if kind == "parquet":
        given = write_parquet(tmp_path / "x.parquet", data)
    if kind == "reader":
        given = data.to_reader()
    with pytest.warns(VsearchWarning, match=r"left out of the attributes: bad one \(.*attributes may be bool"):
        source = open_attributes(given, 1, scratch)
    assert source.table.to_pydict() == {"good": [1], "also good": ["x"]}


def test_nothing_but_what_cannot_be_kept(scratch: Path) -> None:
    with pytest.warns(VsearchWarning, match="left out"):
        source = open_attributes(pd.DataFrame({"a": [[b"x"]], "b": [{"c": b"x"}]}), 1, scratch)
    assert (source.rows, source.schema.names) == (1, [])


def damaged_text(kind: pa.DataType, width: str) -> pa.Array:
    offsets = pa.py_buffer(np.array([0, 2], width).tobytes())
    return pa.Array.from_buffers(kind, 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])


BAD_VALUES = {
    "text in kept type": damaged_text(pa.string(), "i4"),
    "text to convert": damaged_text(pa.large_string(), "i8"),
    "timestamp": pa.array([2**60], pa.timestamp("s")),
    "category": pa.DictionaryArray.from_arrays(pa.array([7]), pa.array(["a"]), safe=False),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_values_that_do_not_fit(name: str, scratch: Path) -> None:
    with pytest.raises(InputError, match=r"column 'c' cannot be read|damaged table"):
        open_attributes(pa.table({"c": BAD_VALUES[name]}), 1, scratch)
    assert not scratch.exists() or not list(scratch.iterdir())


def test_nan_stays_nan(tmp_path: Path, scratch: Path) -> None:
    values = [1.0, math.nan, None]
    exact = pa.table({"x": pa.array(values), "y": pa.array(values, pa.float32())})
    (tmp_path / "x.csv").write_text("x,y\n1,1\nNaN,nan\n,\n")
    for given in (
        exact,
        write_parquet(tmp_path / "x.parquet", exact),
        pl.DataFrame({"x": values, "y": pl.Series(values, dtype=pl.Float32)}),
        tmp_path / "x.csv",
    ):
        for column in open_attributes(given, 3, scratch).table.columns:
            first, second, third = column.to_pylist()
            assert first == 1
            assert math.isnan(second)
            assert third is None


@pytest.mark.parametrize("kind", ["table", "wide", "parquet", "csv", "pandas", "polars"])
def test_another_number_of_rows(kind: str, tmp_path: Path, scratch: Path) -> None:
    data = example(10).select(["price", "title"])
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 10)
    given = {
        "table": data,
        "wide": wide(data),
        "parquet": write_parquet(tmp_path / "a.parquet", data),
        "csv": tmp_path / "a.csv",
        "pandas": data.to_pandas(),
        "polars": pl.from_arrow(data),
    }[kind]
    with pytest.raises(InputError, match="10 rows of attributes for 11 embeddings"):
        open_attributes(given, 11, scratch)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], "attributes of type list are not supported"),
        (3, "attributes of type int"),
        ({"a": [1, 2], "b": [1]}, "does not hold columns of equal length"),
        ({"a": [1, "x"]}, "must have values of one type"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "2 columns are named 'a'"),
        (pa.table([pa.array([1])], names=[""]), "column 0 has no name"),
        (pa.array([1]), "attributes of type Int64Array"),
        (pa.chunked_array([[1]]), "attributes of type ChunkedArray"),
        ("absent.parquet", "absent.parquet: no such file"),
        ("a.xlsx", "unsupported table format '.xlsx'"),
        ("plain", "unsupported table format ''"),
    ],
)
def test_what_is_no_table(given: object, message: str, scratch: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_attributes(given, 1, scratch)


def test_altered_files_are_refused_or_read_but_never_crash(tmp_path: Path, scratch: Path) -> None:
    rng = np.random.default_rng(1)
    data = example(60).append_column("c", example(60)["title"].dictionary_encode())
    for path in (write_parquet(tmp_path / "a.parquet", data), write_ipc(tmp_path / "a.arrow", data)):
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for part in (0.3, 0.9):
            path.write_bytes(whole[: int(part * len(whole))].tobytes())
            with pytest.raises(InputError, match="not a readable"):
                open_attributes(path, 60, scratch)
        for _ in range(100):
            altered = whole.copy()
            altered[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(altered.tobytes())
            with contextlib.suppress(InputError):
                open_attributes(path, 60, scratch).take(np.arange(60))


def test_a_scratch_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="scratch folder"):
        open_attributes(pa.table({"a": pa.array([1], pa.int8())}), 1, tmp_path / "file")


@pytest.mark.parametrize("given", [pa.table({"c": [[1.0, 2.0]] * 30}), {"c": [{"a": 1}] * 30}])
@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_table_of_which_no_column_is_left_is_none(tmp_path, given):
    index = vsearch.build(np.eye(30, 8, dtype=np.float32) + 1, tmp_path / "index", given)
    assert len(index.get([3])) == 1
    assert index.search(np.ones(8), k=30).ids.shape == (1, 30)


ODD = REFUSED | {
    "list of records": pa.array([[{"a": b"1"}]]),
    "list of times": pa.array([[dt.time(1)]]),
    "list of durations": pa.array([[dt.timedelta(1)]]),
    "list of binary": pa.array([[b"a"]]),
    "category of times": pa.array([dt.time(1)], pa.time64("us")).dictionary_encode(),
    "empty records": pa.array([{}]),
    "NULL records": pa.nulls(1, pa.struct([("a", pa.binary())])),
    "NULL times": pa.nulls(1, pa.time64("us")),
    "opaque": pa.ExtensionArray.from_storage(pa.opaque(pa.int32(), "x", "y"), pa.array([1], pa.int32())),
}
MADE = {
    "chunks": lambda table, _: pa.concat_tables([table.slice(0, 0), table, table.slice(1)]),
    "reader": lambda table, _: table.to_reader(),
    "parquet": lambda table, folder: write_parquet(folder / "x.parquet", table),
    "pandas": lambda table, _: table.to_pandas(),
    "pandas of Arrow": lambda table, _: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda table, _: pytest.importorskip("polars").from_arrow(table),
}
ANOTHER = {
    # becomes NULL, strings or numbers there, which are kept
    "pandas": {
        "map of times",
        "NULL records",
        "NULL times",
        "opaque",
        "wide decimal",
        "list of uint64",
        "tensor",
    },
    "polars": {"wide decimal", "list of uint64", "NULL records"},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", MADE)
def test_no_column_stops_a_build(name: str, kind: str, tmp_path: Path, scratch: Path) -> None:
    data = pa.table({"good": pa.array([1], pa.int8()), "odd one": ODD[name], "also good": ["x"]})
    if (kind, name) in {("polars", "wide decimal"), ("parquet", "empty records")}:
        pytest.skip(f"{kind} has no such type")
    given = MADE[kind](data, tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        source = open_attributes(given, 1, scratch)
    names = set(source.schema.names)
    assert names >= {"good", "also good"}
    if name not in ANOTHER.get(kind, ()):
        assert "odd one" not in names
    assert ("odd one" in names) != any("left out of the attributes: odd one (" in str(one.message) for one in said)
