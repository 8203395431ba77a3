"""Encoding, the stored form, and damage to it."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from vsearch.errors import CorruptIndexError, InputError
from vsearch.predicates import (
    CellColumn,
    ColumnHeader,
    PostingColumn,
    Schema,
    bind,
    col,
    decode_column,
    encode_column,
    evaluate,
    keys_from_arrow,
    parse,
    schema_from_arrow,
)
from vsearch.predicates.schema import Attribute, AttributeType


def schema_of(column):
    return Schema((Attribute(column.name, column.type),))


def found(column, where, rows=None):
    rows = rows if rows is not None else column.header().rows
    mask = evaluate(bind(parse(where), schema_of(column)), {column.name: column}, rows)
    assert mask.maybe is None
    return np.flatnonzero(np.unpackbits(mask.yes.view(np.uint8), bitorder="little")).tolist()


@pytest.mark.parametrize(
    ("array", "kind", "where", "rows"),
    [
        (pa.array([1, None, 3], pa.int8()), "int64", "x >= 1", [0, 2]),
        (pa.array([1, None, 3], pa.uint32()), "int64", "x = 3", [2]),
        (pa.array([1.5, None], pa.float16()), "float16", "x = 1.5", [0]),
        (pa.array([0.1, None], pa.float32()), "float32", "x = 0.1", [0]),
        (pa.array([1, None, 3], pa.decimal128(10, 0)), "decimal", "x = 3", [2]),
        (pa.array(["a", None, "b"], pa.large_string()), "string", "x = 'b'", [2]),
        (pa.array(["a", None, "b"], pa.string_view()), "string", "x = 'b'", [2]),
        (pa.array(["a", None, "b"]).dictionary_encode(), "string", "x = 'b'", [2]),
        (pa.array(["b", "a", "b", None]).dictionary_encode().slice(1), "string", "x = 'b'", [1]),
        (pa.array(["a", "b", "c"]).slice(1), "string", "x = 'b'", [0]),
        (pa.chunked_array([["a"], ["b", None]]), "string", "x IS NULL", [2]),
        (pa.chunked_array([], pa.string()), "string", "x IS NULL", []),
        (pa.chunked_array([], pa.int64()), "int64", "x IS NULL", []),
        (pa.chunked_array([], pa.list_(pa.string())), "list<string>", "x IS NULL", []),
        (pa.array([0, 1_000_000_000], pa.timestamp("ns", "UTC")), "timestamp[ns]", "x = '1970-01-01 00:00:01'", [1]),
        (pa.array([0, 1], pa.timestamp("s")), "timestamp", "x = '1970-01-01 00:00:01'", [1]),
        (pa.array([dt.date(1970, 1, 1), None], pa.date64()), "date", "x = '1970-01-01'", [0]),
        (pa.array([True, None, False]), "bool", "NOT x", [2]),
        (pa.array([["a"], None, ["b", "a"]], pa.large_list(pa.large_string())), "list<string>", "x = ANY(x)", None),
        (pa.array([["a", "b"], ["b", "a"]], pa.list_(pa.string(), 2)), "list<string>", "list_contains(x, 'a')", [0, 1]),
        (pa.array([["a"], ["b"], None, ["b", "a"]]).slice(1), "list<string>", "list_contains(x, 'a')", [2]),
        (
            pa.array([["a"], ["b"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "list<string>",
            "list_contains(x, 'b')",
            [1],
        ),
        (pa.array([[1, 2], None, [3]], pa.list_(pa.int8())), "list<int64>", "list_contains(x, 3)", [2]),
        (pa.array([[0.1, None], None, [3]], pa.list_(pa.float32())), "list<float32>", "list_contains(x, 0.1)", [0]),
        (pa.array([None, None], pa.int64()), "int64", "x IS NULL", [0, 1]),
        (pa.array([None, None], pa.string()), "string", "x < 'a'", []),
        (pa.array([None, [None]], pa.list_(pa.string())), "list<string>", "x IS NOT NULL", [1]),
    ],
)
def test_arrow_types(array, kind, where, rows):
    schema = schema_from_arrow(pa.schema({"x": array.type}))
    assert schema.find("x").type == kind
    column = encode_column("x", schema.find("x").type, array)
    if rows is not None:
        assert found(column, where) == rows


@pytest.mark.parametrize(
    "arrow",
    [pa.list_(pa.uint64()), pa.decimal256(50, 2), pa.struct({"a": pa.int64()}), pa.binary(), pa.time32("s"), pa.null()],
)
def test_types_that_cannot_be_filtered_on(arrow):
    with pytest.raises(InputError, match="'odd' has the type"):
        schema_from_arrow(pa.schema({"fine": pa.int64(), "odd": arrow}))


def test_column_names_differ():
    with pytest.raises(InputError, match="more than once"):
        schema_from_arrow(pa.schema([("a", pa.int64()), ("a", pa.string())]))


@pytest.mark.parametrize("rows", [255, 256, 10_000])
@pytest.mark.parametrize("shape", ["uniform", "skewed", "few heavy", "many heavy", "one heavy"])
def test_cells(rows, shape):
    rng = np.random.default_rng(rows)
    wide = rng.integers(-(2**63), 2**63 - 1, rows)
    heavy = rng.integers(0, {"few heavy": 5, "many heavy": 150, "one heavy": 1}.get(shape, 5), rows) * 7
    values = {"uniform": wide, "skewed": np.arange(rows) ** 2}.get(
        shape, np.where(rng.random(rows) < 0.8, heavy, wide % 1000)
    )
    valid = rng.random(rows) < 0.9
    column = encode_column("x", "int64", pa.array(values, mask=~valid))
    assert isinstance(column, CellColumn)
    cells = len(column.low)
    assert cells <= 255
    assert np.all(column.low <= column.high)
    assert np.all(column.high[:-1] < column.low[1:])
    assert np.all((column.cells == 0) == ~valid)
    inside = column.cells[valid] - 1
    assert np.all(column.low[inside] <= values[valid])
    assert np.all(values[valid] <= column.high[inside])
    np.testing.assert_array_equal(column.counts, np.bincount(column.cells, minlength=cells + 1))
    distinct, counts = np.unique(values[valid], return_counts=True)
    if len(distinct) <= 255:
        np.testing.assert_array_equal(column.low, distinct)
        np.testing.assert_array_equal(column.high, distinct)
        return
    # No cell of several values is much fuller than an even share of what the heavy values leave.
    several = column.low < column.high
    if several.any():
        assert column.counts[1:][several].max() <= 4 * valid.sum() / 55
    for value in distinct[np.argsort(counts)[-3:]][np.sort(counts)[-3:] > valid.sum() / 50]:
        assert value in column.low[column.low == column.high]


def test_strings_get_cells_up_to_255_values():
    texts = [f"{i:03}" for i in range(256)]
    assert isinstance(encode_column("x", "string", pa.array(texts[:255])), CellColumn)
    column = encode_column("x", "string", pa.array([None, *texts, "007"]))
    assert isinstance(column, PostingColumn)
    assert found(column, "x = '007'") == [8, 257]
    assert found(column, "x != '007'") == [row for row in range(1, 257) if row != 8]
    assert found(column, "x LIKE '%99'") == [100, 200]
    assert len(found(column, "x NOT LIKE '%99'")) == 255
    assert found(column, "x IS NULL") == [0]
    assert found(column, "x < '002' OR x > '254'") == [1, 2, 256]


def test_a_list_that_repeats_a_string_is_listed_once():
    column = encode_column("x", "list<string>", pa.array([["a", "a"], ["a", None, None]]))
    assert column.rows.tolist() == [0, 1]
    assert column.null_elements.tolist() == [1]


def test_round_trip(tables):
    for name, column in tables[0].columns.items():
        again = decode_column(column.header(), column.arrays())
        assert again.header() == column.header(), name
        for key, array in column.arrays().items():
            np.testing.assert_array_equal(again.arrays()[key], array)
            assert not again.arrays()[key].flags.writeable


def damaged(column):
    """Every array, spoilt in several ways; cells are not looked at, whatever they hold."""
    header, arrays = column.header(), column.arrays()
    for name, array in arrays.items():
        yield header, {key: value for key, value in arrays.items() if key != name}
        yield header, {**arrays, name: array.astype(np.float32)}
        yield header, {**arrays, name: array.reshape(-1, 1)}
        if name not in ("null_elements", "dictionary_data"):
            yield header, {**arrays, name: array[:-1]}
        if array.dtype == np.int64:
            for spoilt in (
                array[::-1].copy(),
                array + 2**40,
                array - 2**40,
                np.where(np.arange(len(array)) == 1, -5, array),
            ):
                if len(array) > 1 and name not in ("low", "high", "counts"):
                    yield header, {**arrays, name: spoilt}
    if "dictionary_data" in arrays:
        yield header, {**arrays, "dictionary_data": arrays["dictionary_data"][:-1]}
    yield msgspec_replace(header, rows=header.rows + 64), arrays
    yield msgspec_replace(header, rows=-1), arrays
    yield msgspec_replace(header, values=header.values + 1), arrays
    yield msgspec_replace(header, values=-1), arrays
    yield msgspec_replace(header, type=AttributeType.STRINGS if header.form == "cells" else AttributeType.INT64), arrays


def msgspec_replace(header, **changes):
    fields = {name: getattr(header, name) for name in header.__struct_fields__}
    return ColumnHeader(**{**fields, **changes})


@pytest.mark.parametrize("name", ["n", "c", "s", "l"])
def test_damage_is_reported(tables, name):
    column = tables[0].columns[name]
    spoilt = list(damaged(column))
    assert len(spoilt) > 15
    for header, arrays in spoilt:
        with pytest.raises(CorruptIndexError, match=r"file\.arrow"):
            decode_column(header, arrays, "file.arrow")


@pytest.mark.parametrize(
    "change",
    [lambda c: {"low": c.low[::-1]}, lambda c: {"high": c.high + 1}, lambda c: {"counts": c.counts + 1}],
    ids=["order", "overlap", "counts"],
)
def test_cells_that_overlap_or_miscount(tables, change):
    column = tables[0].columns["n"]
    with pytest.raises(CorruptIndexError):
        decode_column(column.header(), {**column.arrays(), **change(column)})


def test_marks_beyond_the_last_row(tables):
    column = tables[0].columns["s"]
    valid = column.valid.copy()
    valid[-1] = ~np.uint64(0)
    with pytest.raises(CorruptIndexError, match="beyond the last"):
        decode_column(column.header(), {**column.arrays(), "valid": valid})


def test_postings_beyond_the_last_row(tables):
    column = tables[0].columns["s"]
    rows = column.rows.copy()
    rows[column.offsets[5]] = 3000
    spoilt = decode_column(column.header(), {**column.arrays(), "rows": rows})
    text = column.dictionary[5].decode()
    with pytest.raises(CorruptIndexError, match="beyond the 3000"):
        evaluate(bind(col("s") == text, schema_of(column)), {"s": spoilt}, 3000)


def test_cells_that_do_not_exist_match_nothing(tables):
    column = tables[0].columns["b"]
    spoilt = decode_column(column.header(), {**column.arrays(), "cells": np.full(3000, 200, np.uint8)})
    assert found(spoilt, "b IS NOT NULL") == []
    assert found(spoilt, "b OR NOT b OR b IS NULL") == []


def test_columns_have_the_rows_of_their_shard(tables):
    for name in ("n", "s"):
        with pytest.raises(CorruptIndexError, match="rows of its shard"):
            evaluate(bind(parse(f"{name} IS NULL"), tables[0].schema), tables[0].columns, 2999)


def test_postings_are_asked_for_before_they_are_read(tables):
    column = tables[0].columns["l"]
    asked = []
    lazy = replace(column, ensure=lambda name, starts, stops: asked.append((name, starts.tolist(), stops.tolist())))
    evaluate(bind(parse("NOT 'a' = ANY(l)"), tables[0].schema), {"l": lazy}, 3000)
    at = column.dictionary.find([b"a"])[0]
    assert asked == [
        ("rows", [column.offsets[at]], [column.offsets[at + 1]]),
        ("null_elements", [0], [len(column.null_elements)]),
    ]


def test_keys_follow_the_order_of_values(tables):
    arrow = tables[0].arrow
    for name in "inufbtd":
        attribute = tables[0].schema.find(name)
        keys, valid = keys_from_arrow(attribute.type, arrow[name])
        values = [value for value in arrow[name].to_pylist() if value is not None]
        ranked = sorted(zip(keys[valid].tolist(), values, strict=True), key=lambda pair: pair[0])
        ordered = [value for _, value in ranked if value == value]  # noqa: PLR0124
        assert ordered == sorted(ordered)


def test_import_loads_nothing_heavy():
    code = (
        "import sys; from vsearch.predicates import parse, bind, col, decode, Schema, Attribute, AttributeType;"
        "bind(decode(__import__('vsearch.predicates').predicates.encode(col('a') > 1)), Schema((Attribute('a', AttributeType.INT64),)));"
        "print([name for name in ('pyarrow', 'numba', 'sqlglot', 'pandas') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
