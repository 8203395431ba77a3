"""CSV: types over the whole file, NULL by the rules, never the file in memory."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from vsearch.building.inputs import csv_columns
from vsearch.building.inputs.attributes import open_attributes
from vsearch.errors import InputError


def read(path: Path, text: str, rows: int) -> pa.Table:
    path.write_text(text, encoding="utf-8")
    return open_attributes(path, rows, path.parent / "scratch").table


@pytest.mark.parametrize(
    ("fields", "kind", "values"),
    [
        (["1", "-2", ""], pa.int64(), [1, -2, None]),
        (["1", "18446744073709551615", "NA"], pa.uint64(), [1, 2**64 - 1, None]),
        (["1", "18446744073709551617", "-5"], pa.decimal128(38, 0), [1, 2**64 + 1, -5]),
        (["-1", "18446744073709551615", "NA"], pa.decimal128(38, 0), [-1, 2**64 - 1, None]),
        (["1", "9" * 38, ""], pa.decimal128(38, 0), [1, 10**38 - 1, None]),
        (["1", "9" * 39, ""], pa.string(), ["1", "9" * 39, None]),
        (["1.5", "18446744073709551617", ""], pa.float64(), [1.5, 2.0**64, None]),
        (["1e3", "2", ""], pa.float64(), [1000.0, 2.0, None]),
        (["1", "2.5", "null"], pa.float64(), [1.0, 2.5, None]),
        (["0", "1", "1"], pa.int64(), [0, 1, 1]),
        (["true", "False", "N/A"], pa.bool_(), [True, False, None]),
        (["2020-02-29", "", "None"], pa.date32(), [dt.date(2020, 2, 29), None, None]),
        (
            ["2020-02-29", "2020-03-01 12:30:00", "2020-03-01T00:00:00.123456789"],
            pa.timestamp("ns", "UTC"),
            [
                dt.datetime(2020, 2, 29, tzinfo=dt.UTC),
                dt.datetime(2020, 3, 1, 12, 30, tzinfo=dt.UTC),
                pd.Timestamp("2020-03-01T00:00:00.123456789Z"),
            ],
        ),
        (
            ["2020-02-29T10:00:00Z", "2020-02-29T10:00:00+02:00", ""],
            pa.timestamp("us", "UTC"),
            [
                dt.datetime(2020, 2, 29, 10, tzinfo=dt.UTC),
                dt.datetime(2020, 2, 29, 8, tzinfo=dt.UTC),
                None,
            ],
        ),
        (["x", "", '""'], pa.string(), ["x", None, ""]),
        (["NA", "null", "1"], pa.int64(), [None, None, 1]),
        (["NA", "null", "x"], pa.string(), ["NA", "null", "x"]),
        (["NA", "", ""], pa.string(), ["NA", None, None]),
        (["", "", ""], pa.string(), [None, None, None]),
        (['""', "", '""'], pa.string(), [None, None, None]),
        (["1", '""', '"3"'], pa.int64(), [1, None, 3]),
        (['"1.5"', '""', ""], pa.float64(), [1.5, None, None]),
        (['""', '"true"', ""], pa.bool_(), [None, True, None]),
        (['""', "2020-02-29", ""], pa.date32(), [None, dt.date(2020, 2, 29), None]),
        (['"x"', '""', '"1"'], pa.string(), ["x", "", "1"]),
        (["1", "x", ""], pa.string(), ["1", "x", None]),
        (["1", "2020-01-01", ""], pa.string(), ["1", "2020-01-01", None]),
        (['"a,b"', '"two\nlines"', '"quote "" inside"'], pa.string(), ["a,b", "two\nlines", 'quote " inside']),
    ],
)
def test_types_and_nulls(fields: list[str], kind: pa.DataType, values: list[object], tmp_path: Path) -> None:
    table = read(tmp_path / "x.csv", "row,c\n" + "".join(f"{n},{field}\n" for n, field in enumerate(fields)), 3)
    assert table.schema.field("c").type == kind
    assert table["c"].to_pylist() == values


def test_a_type_is_the_one_of_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_columns, "_BLOCK_BYTES", 1000)
    lines = [f"{row},{row},," for row in range(2000)] + ["1,1.5,late,2020-01-01"]
    table = read(tmp_path / "x.csv", "a,b,c,d\n" + "\n".join(lines) + "\n", 2001)
    assert table.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.date32()]
    assert table.slice(1999).to_pylist() == [
        {"a": 1999, "b": 1999.0, "c": None, "d": None},
        {"a": 1, "b": 1.5, "c": "late", "d": dt.date(2020, 1, 1)},
    ]


def test_tabs_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    assert read(tmp_path / "x.tsv", "a\tb\n1\tx,y\n", 1).to_pylist() == [{"a": 1, "b": "x,y"}]
    assert read(tmp_path / "x.csv", "\ufeffa,b\n1,x\n", 1).to_pylist() == [{"a": 1, "b": "x"}]
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n"))
    assert open_attributes(tmp_path / "x.csv.gz", 1, tmp_path).table.to_pylist() == [{"a": 1, "b": "x"}]


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_fields_are_separated_by_what_the_first_line_has(sign: str, tmp_path: Path) -> None:
    table = read(tmp_path / "x.csv", f'a{sign}b{sign}"c, d"\n1{sign}x,y{sign}\n2{sign}z{sign}1\n', 2)
    assert table.to_pylist() == [{"a": 1, "b": "x,y", "c, d": None}, {"a": 2, "b": "z", "c, d": 1}]
    assert read(tmp_path / "y.csv", f"a,b\n{sign},1\n", 1)["a"].to_pylist() == [sign]


@pytest.mark.parametrize("late", ["18446744073709551617", "1.5", "x"])
def test_whole_numbers_that_widen_late_in_a_file(late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_columns, "_BLOCK_BYTES", 1000)
    table = read(tmp_path / "x.csv", "row,a\n" + "".join(f"{row},{row}\n" for row in range(2000)) + f"9,{late}\n", 2001)
    kinds = {"18446744073709551617": pa.decimal128(38, 0), "1.5": pa.float64(), "x": pa.string()}
    assert table.schema.field("a").type == kinds[late]
    assert table["a"][-1].cast(pa.string()).as_py() == late


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable CSV file"),
        (b"a,b\n1,2\n1,2,3\n", "not a readable CSV file.*Expected 2 columns, got 3"),
        (b"a,a\n1,2\n", "must be distinct and not empty, got: a, a"),
        (b"a,\n1,2\n", "must be distinct"),
        (b"a,b\n1,\xff\xfe\n", "not a readable CSV file|cannot be read"),
        (b"\xff\xfe,b\n1,2\n", "not a readable CSV file|column names"),
        (b"a,b\n", "0 rows of attributes for 1 embeddings"),
        (b"a,b\n1,2\n3,4\n", "2 rows of attributes for 1 embeddings"),
    ],
)
def test_bad_files(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_attributes(tmp_path / "x.csv", 1, tmp_path / "scratch")


def test_a_damaged_gzip(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,x\n" * 1000)[:-20])
    with pytest.raises(InputError, match=r"not a readable CSV file|rows of attributes"):
        open_attributes(tmp_path / "x.csv.gz", 1000, tmp_path / "scratch")


FRAME = pd.DataFrame(
    {
        "price": [10.5, None, 30.0],
        "n": pd.array([1, None, 3], "Int64"),
        "on": pd.to_datetime(["2020-01-01", None, "2021-01-01"]),
        "name": ['a;b, "c"', None, "two\nlines"],
    }
)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("columns", [["price", "n", "on", "name"], ["price"], ["n"], ["on"]])
@pytest.mark.parametrize("index", [False, True, "named", "levels"])
def test_what_pandas_writes(quoting: int, columns: list[str], index: object, tmp_path: Path) -> None:
    frame = FRAME[columns]
    if index == "named":
        frame = frame.rename_axis("sku")
    if index == "levels":
        frame = frame.set_index(pd.MultiIndex.from_tuples([("x", 1), ("y", 2), ("z", 3)]))
    frame.to_csv(tmp_path / "x.csv", index=bool(index), quoting=quoting)
    table = open_attributes(tmp_path / "x.csv", 3, tmp_path / "scratch").table
    own = {False: [], True: ["index"], "named": ["sku"], "levels": ["level_0", "level_1"]}[index]
    assert table.column_names == own + columns
    second = table.to_pylist()[1]
    for name in columns:
        assert second[name] is None or (name == "name" and second[name] == "")
    relation = duckdb.read_csv(str(tmp_path / "x.csv"), header=True)
    if "price" in columns:
        assert str(relation.types[len(own) + columns.index("price")]) == "DOUBLE"
        assert table["price"].to_pylist() == [10.5, None, 30.0] == [row[len(own)] for row in relation.fetchall()]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["x", "1", "", "3"], {"x": [1, None, 3]}),
        (["x", "1", '""', "3"], {"x": [1, None, 3]}),
        (['"x"', '"1"', '""', '"3"'], {"x": [1, None, 3]}),
        (["a;b", "1;x,y", ";", "3;z"], {"a": [1, None, 3], "b": ["x,y", None, "z"]}),
        (['"a;b";c', "1;2"], {"a;b": [1], "c": [2]}),
        (['"a,b";c', "1;2"], {"a,b": [1], "c": [2]}),
        (['"a;b",c', "1,2"], {"a;b": [1], "c": [2]}),
        (['"two', 'lines",b', "1,2"], {"two\nlines": [1], "b": [2]}),
        (["", "a,b", "1,2"], {"a": [1], "b": [2]}),
        ([",index", "1,2"], {"level_0": [1], "index": [2]}),
    ],
)
def test_ways_to_write_a_file(
    lines: list[str], expected: dict[str, list[object]], end: str, mark: str, tmp_path: Path
) -> None:
    if mark and not lines[0]:
        pytest.skip("a mark stands before a first line")
    text = mark + "\n".join(lines).replace("\n", end) + end
    (tmp_path / "x.csv").write_text(text, encoding="utf-8", newline="")
    rows = len(next(iter(expected.values())))
    found = open_attributes(tmp_path / "x.csv", rows, tmp_path / "scratch").table.to_pydict()
    assert {name.replace("\r", ""): values for name, values in found.items()} == expected
