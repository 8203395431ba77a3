"""pandas and polars frames become attributes of types that predicates support; their missing values become NULL."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from vsearch.building.inputs import attributes as attributes_module
from vsearch.building.inputs import pandas_frames
from vsearch.building.inputs.attributes import open_attributes
from vsearch.errors import InputError, VsearchWarning

UTC = dt.UTC
LISTS = pa.list_(pa.string())


D = decimal.Decimal


def test_pandas(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes_module, "BATCH_ROWS", 1)
    frame = pd.DataFrame(
        {
            "f": np.array([1, np.nan], np.float32),
            "nullable float": pd.array([1.0, None], dtype="Float64"),
            "nullable int": pd.array([1, None], dtype="Int32"),
            "object": pd.Series(["a", np.nan], dtype=object, index=[7, 9]),
            "string": pd.Series(["a", None], dtype="string", index=[7, 9]),
            "category": pd.Categorical(["x", None]),
            "when": pd.to_datetime(["2020-01-01", None]),
            "tokyo": pd.to_datetime(["2020-01-01", None]).tz_localize("Asia/Tokyo"),
            "flag": [True, False],
            "flags": pd.Series([True, None], dtype=object, index=[7, 9]),
            "lists": pd.Series([["a"], None], index=[7, 9]),
            "days": pd.Series([dt.date(2020, 1, 1), None], dtype=object, index=[7, 9]),
            "nothing": pd.Series([None, None], dtype=object, index=[7, 9]),
            7: np.array([1, 2], np.uint64),
        },
        index=[7, 9],
    )
    source = open_attributes(frame, 2, scratch)
    first, second = source.table.to_pylist()
    midnight = dt.datetime(2020, 1, 1, tzinfo=UTC)
    assert first == {
        "f": 1.0, "nullable float": 1.0, "nullable int": 1, "object": "a", "string": "a", "category": "x", "when": midnight,
        "tokyo": midnight - dt.timedelta(hours=9), "flag": True, "flags": True, "lists": ["a"],
        "days": dt.date(2020, 1, 1), "nothing": None, "7": 1,
    }  # fmt: skip
    assert {name: value for name, value in second.items() if value is not None} == {"flag": False, "7": 2}
    assert source.schema.field("7").type == pa.uint64()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"o": pd.Series([1.5, "a"], dtype=object)}), "column 'o' has mixed types"),
        (pd.DataFrame({"o": pd.Series([2**64, 2], dtype=object)}), "column 'o' has mixed types"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "2 columns are named 'a'"),
        (pl.DataFrame({"o": [1, 2]}).lazy(), "LazyFrame are not supported.*collect.. it first"),
    ],
)
def test_frames_that_are_refused(frame: object, message: str, scratch: Path) -> None:
    with pytest.raises(InputError, match=message):
        open_attributes(frame, 2, scratch)


def test_numbers_that_arrow_does_not_have_are_left_out(scratch: Path) -> None:
    frame = pd.DataFrame(
        {
            "complex": [1j, 2],
            "some": pd.Series([1j, None], dtype=object),
            "wide": np.ones(2, np.longdouble),
            "plain": [1, 2],
        }
    )
    with pytest.warns(VsearchWarning, match="left out of the attributes: complex .*, some .*, wide "):
        assert open_attributes(frame, 2, scratch).schema.names == ["plain"]


MISSING = {
    "float64": pd.Series([1.5, np.nan, 2.5]),
    "float32": pd.Series([1.5, np.nan, 2.5], dtype="float32"),
    "float16": pd.Series([1.5, np.nan, 2.5], dtype="float16"),
    "Float64": pd.Series([1.5, None, 2.5], dtype="Float64"),
    "pyarrow": pd.Series([1.5, None, 2.5], dtype="double[pyarrow]"),
    "objects": pd.Series([1.5, np.nan, 2.5], dtype=object),
    "None": pd.Series([1.5, None, 2.5], dtype=object),
    "NA": pd.Series([1.5, pd.NA, 2.5], dtype=object),
    "decimals": pd.Series([D("1.5"), D("NaN"), D("2.5")], dtype=object),
    "category": pd.Series([1.5, np.nan, 2.5]).astype("category"),
    "sparse": pd.Series([1.5, np.nan, 2.5]).astype("Sparse[float]"),
    "times": pd.Series([dt.datetime(2020, 1, 1), pd.NaT, dt.datetime(2021, 1, 1)]),
    "objects of times": pd.Series([dt.datetime(2020, 1, 1), pd.NaT, dt.datetime(2021, 1, 1)], dtype=object),
    "strings": pd.Series(["a", np.nan, "b"], dtype=object),
    "str": pd.Series(["a", None, "b"], dtype="str"),
    "bools": pd.Series([True, np.nan, False], dtype=object),
    "lists": pd.Series([["a", np.nan], np.nan, ["b"]], dtype=object),
    "whole column": pd.Series([np.nan] * 3),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_pandas_calls_missing_is_null(name: str, scratch: Path) -> None:
    series = MISSING[name]
    frame = series.to_frame("x")
    again = pd.concat([frame, frame])  # an index with duplicates
    levels = frame.set_index(pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")]))
    for given in (frame, again, levels, {"x": series}, {"x": series.array}, {"x": series.to_numpy()}):
        rows = len(again) if given is again else 3
        source = open_attributes(given, rows, scratch)
        assert source.column("x").is_null().to_pylist() == series.isna().tolist() * (rows // 3)
        assert source.schema.names == ["x"]
    if name == "lists":
        assert open_attributes(frame, 3, scratch).column("x").to_pylist() == [["a", None], None, ["b"]]


def test_where_pandas_tells_nan_from_na_both_stay(scratch: Path) -> None:
    values = pa.array([1.0, math.nan, None])
    frame = pd.DataFrame({"x": pd.Series(pd.arrays.ArrowExtensionArray(values))})
    assert frame["x"].isna().tolist() == [False, False, True]
    first, second, third = open_attributes(frame, 3, scratch).column("x").to_pylist()
    assert (first, third) == (1.0, None)
    assert math.isnan(second)
    for tells in ([1.0, math.nan, None], np.ma.masked_array([1.0, math.nan, 0.0], [False, False, True])):
        assert math.isnan(open_attributes({"x": tells}, 3, scratch).column("x")[1].as_py())


def test_named_levels_of_an_index_are_columns(scratch: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 7), ("b", 7)], names=["sku", None]))
    assert open_attributes(frame, 2, scratch).table.to_pydict() == {"sku": ["a", "b"], "x": [1, 2]}


def test_objects_are_typed_by_all_their_values(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pandas_frames, "SLICE_ROWS", 2)
    frame = pd.DataFrame({"x": [None, None, 1, 2, 1.5, None], "t": [None, None, [], ["a"], None, None]}, dtype=object)
    table = open_attributes(frame, 6, scratch).table
    assert table.to_pydict() == {"x": [None, None, 1, 2, 1.5, None], "t": [None, None, [], ["a"], None, None]}
    assert table.schema.types == [pa.float64(), LISTS]


def test_polars_categories(scratch: Path) -> None:
    frame = pl.DataFrame(
        {
            "c": pl.Series(["x", None, "y"], dtype=pl.Categorical),
            "e": pl.Series(["x", None, "y"], dtype=pl.Enum(["x", "y"])),
        }
    )
    table = open_attributes(frame, 3, scratch).table
    assert table.to_pydict() == {"c": ["x", None, "y"], "e": ["x", None, "y"]}
    assert set(table.schema.types) == {pa.string()}


def test_frames_of_objects_that_arrow_does_not_know(scratch: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "pairs": [[("k", 1)], None], "sets": [{1}, {2}], "things": [object(), object()]})
    with pytest.warns(VsearchWarning, match="left out of the attributes: pairs .*, things "):
        source = open_attributes(frame, 2, scratch)
    assert source.table.to_pydict() == {"a": [1, 2], "sets": [[1], [2]]}
