"""Ids: unique, non-null, int64 or strings, one for each vector."""

from __future__ import annotations

import decimal
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.building.inputs import ids as ids_module
from vsearch.building.inputs.attributes import open_attributes
from vsearch.building.inputs.ids import open_ids, repeated
from vsearch.errors import InputError

D = decimal.Decimal
ROWS = np.array([3, 0, 3, 2])


def test_none_gives_row_numbers() -> None:
    source = open_ids(None, 5)
    assert (source.kind, source.rows) == ("row", 5)
    assert source.take(ROWS).tolist() == [3, 0, 3, 2]


INTEGERS = [
    np.array([7, -1, 2**63 - 1, 0]),
    np.array([7, 1, 2, 0], np.uint8),
    np.array([7, 1, 2, 0], np.uint64),
    np.array([7, 1, 2, 0], ">i4"),
    np.array([7, 1, 2, 0], object),
    np.arange(8)[::2],
    [7, 1, 2**62, 0],
    (7, 1, 2, 0),
    [np.int64(7), np.int64(1), np.int64(2), np.int64(0)],
    range(10, 2, -2),
    pa.array([7, 1, 2, 0], pa.uint16()),
    pa.chunked_array([[7, 1], [2, 0]]),
    pa.array([7, 1, 2, 0]).dictionary_encode(),
    pd.Series([7, 1, 2, 0], index=[3, 3, 3, 3]),
    pd.Index([7, 1, 2, 0]),
    pl.Series([7, 1, 2, 0]),
]


@pytest.mark.parametrize("number", range(len(INTEGERS)))
def test_integers(number: int) -> None:
    ids = INTEGERS[number]
    source = open_ids(ids, 4)
    assert source.kind == "int64"
    taken = source.take(ROWS)
    assert taken.dtype == np.int64
    wanted = ids.to_pylist() if hasattr(ids, "to_pylist") else list(ids)
    assert taken.tolist() == [wanted[row] for row in ROWS]


@pytest.mark.parametrize(
    "ids",
    [
        [3.0, -1.0, 2.0**53, 0.0],
        np.array([3, -1, 2**53, 0], np.float64),
        pd.Series([3, -1, 2**53, 0], dtype="float64"),
        pl.Series([3.0, -1.0, 2.0**53, 0.0]),
        pa.array([D(3), D(-1), D(2**53), D(0)], pa.decimal128(38, 0)),
        pd.Series([3, -1, 2**53, 0], dtype="Int64"),
    ],
)
def test_whole_numbers_of_other_types_are_integers(ids: object) -> None:
    source = open_ids(ids, 4)
    assert source.kind == "int64"
    assert source.take(np.arange(4)).tolist() == [3, -1, 2**53, 0]


UUIDS = [uuid.UUID(int=number) for number in (2**128 - 1, 0, 2**120 + 12345, 0x0123456789ABCDEF << 60)]


@pytest.mark.parametrize(
    "ids",
    [
        UUIDS,
        np.array(UUIDS, object),
        pd.Series(UUIDS),
        pa.array([key.bytes for key in UUIDS], pa.uuid()),
        pa.array([b"0" * 16, *(key.bytes for key in UUIDS)], pa.binary(16)).slice(1),
        pa.array([b"0" * 16, *(key.bytes for key in UUIDS)]).slice(1),
        pa.chunked_array([[key.bytes] for key in UUIDS], pa.large_binary()),
        [key.bytes for key in UUIDS],
        pl.Series([key.bytes for key in UUIDS]),
    ],
)
def test_uuids_are_their_canonical_strings(ids: object) -> None:
    source = open_ids(ids, 4)
    assert source.kind == "string"
    assert source.take(ROWS).to_pylist() == [str(UUIDS[row]) for row in ROWS]


STRINGS = ["b", "", "é", "a longer one"]


TEXTS = [
    STRINGS,
    np.array(STRINGS),
    np.array(STRINGS, object),
    np.array(STRINGS, np.dtypes.StringDType()),
    pa.array(STRINGS),
    pa.array(["x", *STRINGS]).slice(1),
    pa.array(STRINGS, pa.large_string()),
    pa.array(STRINGS, pa.string_view()),
    pa.array(STRINGS).dictionary_encode(),
    pa.chunked_array([STRINGS[:1], STRINGS[1:]]),
    pd.Series(STRINGS),
    pd.Series(STRINGS, dtype="category"),
    pl.Series(STRINGS),
    pl.Series(STRINGS, dtype=pl.Categorical),
]


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_strings(number: int) -> None:
    ids = TEXTS[number]
    source = open_ids(ids, 4)
    assert source.kind == "string"
    taken = source.take(ROWS)
    assert taken.type == pa.string()
    assert taken.to_pylist() == [STRINGS[row] for row in ROWS]
    assert source.take(ROWS[:0]).to_pylist() == []


def test_a_memory_map_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(100)[::-1])
    mapped = np.load(tmp_path / "ids.npy", mmap_mode="r")
    source = open_ids(mapped, 100)
    assert np.shares_memory(source.values, mapped)
    assert source.take(np.array([0, 99])).tolist() == [99, 0]


def test_a_column_of_the_attributes(tmp_path: Path) -> None:
    table = pa.table({"key": ["x", "y"], "number": [4, 5], "price": [0.5, 1.5], "hole": ["x", None], "same": [1, 1]})
    attributes = open_attributes(table, 2, tmp_path)
    assert open_ids("key", 2, attributes).take(np.array([1])).to_pylist() == ["y"]
    assert open_ids("number", 2, attributes).take(np.array([1])).tolist() == [5]
    for name, message in (
        ("price", "ids .column 'price'. are double"),
        ("hole", "ids .column 'hole'.: row 1 is NULL"),
        ("same", "ids .column 'same'.: 1 occur more than once"),
        ("absent", "no attribute column 'absent' .the columns are: key, number, price, hole, same"),
    ):
        with pytest.raises(InputError, match=message):
            open_ids(name, 2, attributes)
    with pytest.raises(InputError, match=r"no attribute column 'key' .there are no attributes"):
        open_ids("key", 2)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2], "2 ids for 3 embeddings"),
        ([], "0 ids for 3 embeddings"),
        (["a", "b", "c", "d"], "4 ids for 3 embeddings"),
        ([1, 2, 1], "ids: 1 occur more than once; ids must be unique"),
        (["a", "b", "a"], "ids: 'a' occur more than once"),
        (["", "b", ""], "ids: '' occur more than once"),
        ([1, None, 2], r"row 1 is NULL \(1 in all\)"),
        ([None, "a", None], r"row 0 is NULL \(2 in all\)"),
        ([None, None, None], r"row 0 is NULL \(3 in all\)"),
        (pa.chunked_array([["a"], ["b", None]]), "row 2 is NULL"),
        (np.ma.masked_array([1, 2, 3], [False, True, False]), "row 1 is NULL"),
        ([1, "a", 2], "neither all integers nor all strings"),
        ([1.0, 2.5, 3.0], "are double; pass integers or strings: row 1 is 2.5"),
        ([1.0, np.inf, 3.0], "are double; pass integers or strings: row 1 is inf"),
        ([1.0, 2.0**53 + 2, 3.0], "are double, and some exceed 2..53"),
        (pa.array([D("1"), D("1.5"), D("2")]), "are decimal128.*: row 1 is 1.5"),
        (pa.array([D(2**70), D(1), D(2)], pa.decimal128(38, 0)), "are decimal128"),
        ([1.0, None, 3.0], r"row 1 is NULL"),
        ([b"0" * 16, b"1" * 16, b"2" * 15], r"are binary; .*must be 16 bytes each"),
        (np.array([1.0, np.nan, 3.0]), "are double"),
        ([True, False, True], "are bool"),
        ([b"a", b"b", b"c"], "are binary"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "are date32"),
        ([[1], [2], [3]], "are list"),
        (np.array([1, 2**63, 3], np.uint64), "row 1 is 9223372036854775808, beyond int64"),
        ([1, 2**63, 3], "an integer is beyond int64"),
        ([1, 2**65, 3], "an integer is beyond int64"),
        (np.ones((3, 1), int), r"shape \(3, 1\), expected \(rows,\)"),
        (7, "type int are not supported"),
        (b"abc", "type bytes are not supported"),
        ({1, 2, 3}, "a set has no order"),
        (frozenset("abc"), "a set has no order"),
        ({"a": 1}, "type dict are not supported"),
    ],
)
def test_what_is_refused(ids: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_ids(ids, 3)


def test_only_the_first_duplicates_are_named() -> None:
    with pytest.raises(InputError, match="ids: 0, 1, 2, 3, 4 and others occur more than once"):
        open_ids(np.arange(100) // 2, 100)
    with pytest.raises(InputError, match="and others occur more than once"):
        open_ids([str(number // 2) for number in range(100)], 100)


def test_rows_outside() -> None:
    for source in (open_ids(None, 3), open_ids([1, 2, 3], 3), open_ids(["a", "b", "c"], 3)):
        for row in (-1, 3):
            with pytest.raises(IndexError):
                source.take(np.array([row]))


@pytest.mark.slow
@given(st.lists(st.integers(-40, 40)), st.integers(1, 9))
def test_repeated_in_any_number_of_passes(values: list[int], pass_rows: int) -> None:
    expected = sorted({value for value in values if values.count(value) > 1})
    assert repeated(np.array(values, np.int64), pass_rows).tolist() == expected


@pytest.mark.slow
@given(st.lists(st.text(max_size=3)))
def test_equal_strings_are_found_whatever_they_are(values: list[str]) -> None:
    if len(set(values)) == len(values):
        assert open_ids(values, len(values)).rows == len(values)
    else:
        with pytest.raises(InputError, match="occur more than once"):
            open_ids(values, len(values))


def test_equal_hashes_are_no_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids_module, "hashed_strings", lambda strings: np.zeros(len(strings), np.int64))
    assert open_ids(["a", "b", "c"], 3).kind == "string"
    with pytest.raises(InputError, match="'b' occur"):
        open_ids(["a", "b", "c", "b"], 4)


def test_many_ids_are_hashed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids_module, "HASH_ROWS", 100)
    values = [f"id-{number}" for number in range(5000)]
    assert open_ids(values, 5000).take(np.array([4999])).to_pylist() == ["id-4999"]
    values[4321] = "id-17"
    with pytest.raises(InputError, match="'id-17' occur"):
        open_ids(values, 5000)
