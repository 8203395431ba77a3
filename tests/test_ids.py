"""Ids of every kind, and rows with their attributes by them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import rows, table


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("get") / "index"
    return vsearch.build(rows(), folder, attributes=table(), ids=np.arange(300) * 10, shards=3, partitions=9)


def test_strings_of_numpy_with_nuls_inside(tmp_path):
    """NumPy ends its strings where NULs end them, and keeps those inside; Arrow reads them to the first."""
    names = np.array(["a\0b", "a\0c", "a", "\0d"])
    index = vsearch.build(rows()[:4], tmp_path / "index", {"name": names, "masked": np.ma.array(names)}, ids=names)
    assert index.search(rows()[:4], k=1, exact=True).ids[:, 0].tolist() == names.tolist()
    kept = index.get(names)
    for column in ("id", "name", "masked"):
        assert kept[column].to_pylist() == names.tolist()
    assert (index.search(rows()[0], k=4, where="name = 'a\0c'").ids[0, :2] == ["a\0c", None]).all()


def test_row_numbers(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index")
    assert index.info()["id_type"] == "row"
    assert index.search(rows()[:5], k=1).ids.tolist() == [[i] for i in range(5)]


def test_integer_ids(tmp_path):
    ids = np.random.default_rng(0).permutation(np.arange(300) * 2**53 // 7 - 2**40)
    index = vsearch.build(rows(), tmp_path / "index", ids=ids, shards=2)
    hits = index.search(rows()[:5], k=2)
    assert hits.ids.dtype == np.int64
    np.testing.assert_array_equal(hits.ids[:, 0], ids[:5])
    assert index.search(rows()[0], k=301).ids[0, -1] == -1


@pytest.mark.slow
@pytest.mark.parametrize("give", [list, np.array, pa.array], ids=["list", "array", "arrow"])
def test_string_ids(tmp_path, give):
    names = [f"n°{i}" for i in range(300)]
    index = vsearch.build(rows(), tmp_path / "index", ids=give(names), shards=2)
    hits = index.search(rows()[:5], k=301)
    assert hits.ids.dtype == object
    assert hits.ids[:, 0].tolist() == names[:5]
    assert sorted(hits.ids[0, :300]) == sorted(names)
    assert hits.ids[0, 300] is None
    assert hits.to_arrow().column("id").type == pa.string()
    assert hits.to_arrow().num_rows == 5 * 300


def test_ids_from_an_attribute(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index", attributes=table(), ids="name")
    assert index.search(rows()[7], k=1).ids[0, 0] == "row 7"


def test_get(numbered):
    found = numbered.get([50, 10, 50, 2990])
    assert found.column_names == ["id", "number", "name"]
    assert found.to_pydict() == {
        "id": [50, 10, 50, 2990],
        "number": [5, 1, 5, 299],
        "name": ["row 5", "row 1", "row 5", "row 299"],
    }
    assert numbered.get(10).column("number").to_pylist() == [1]
    assert numbered.get(np.array([10, 20], np.uint16), columns=["name"]).to_pydict() == {
        "id": [10, 20],
        "name": ["row 1", "row 2"],
    }
    assert numbered.get([10], columns=[]).column_names == ["id"]
    assert numbered.get([]).num_rows == 0


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([10, 11], "no row has the id 11"),
        (["10"], "must be integers"),
        ([1.0], "must be integers"),
        ([None], "must be integers"),
        ([10, None], "must be integers"),
        (np.array([2**64 - 1], np.uint64), "no row has the id 18446744073709551615"),
        ([2**70], "id"),
        (-1, "no row has the id -1"),
    ],
)
def test_ids_that_are_not_there(numbered, ids, message):
    with pytest.raises(vsearch.InputError, match=message):
        numbered.get(ids)


def test_get_by_string(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index", ids=[f"k{i}" for i in range(300)], attributes=table(), shards=2)
    assert index.get(["k9", "k1", "k9"]).column("number").to_pylist() == [9, 1, 9]
    assert index.get("k4").column("id").to_pylist() == ["k4"]
    for ids, message in (
        (["k4", "k999"], "no row has the id k999"),
        ([4], "must be strings"),
        ([None], "must be strings"),
        (["k4", None], "must be strings"),
        ([b"k4"], "must be strings"),
    ):
        with pytest.raises(vsearch.InputError, match=message):
            index.get(ids)


def test_get_without_attributes(tmp_path):
    index = vsearch.build(rows(), tmp_path / "index")
    assert index.get([3, 1]).to_pydict() == {"id": [3, 1]}


def test_attributes_with_our_names(tmp_path):
    attributes = pa.table({name: np.arange(300) + i for i, name in enumerate(("id", "score", "query", "rank"))})
    index = vsearch.build(rows(), tmp_path / "index", attributes=attributes, ids=np.arange(300) + 1000)
    hits = index.search(rows()[4], k=2, columns=["id", "score"], where="id >= 4").to_arrow()
    assert hits.column_names == ["query", "rank", "id", "score", "attribute.id", "attribute.score"]
    assert (hits.column("id")[0].as_py(), hits.column("attribute.id")[0].as_py()) == (1004, 4)
    found = index.get([1004])
    assert found.column_names == ["id", "attribute.id", "score", "query", "rank"]
    assert (found.column("id")[0].as_py(), found.column("attribute.id")[0].as_py()) == (1004, 4)


@pytest.mark.parametrize("ask", ["search", "get"])
def test_unknown_columns(numbered, ask):
    arguments = [[10]] if ask == "get" else [rows()[0]]
    for columns, message in (
        (["weight"], "the index has no attribute column 'weight'; it has number, name"),
        ("name", r"use \['name'\]"),
        ([3], "the index has no attribute column 3"),
    ):
        with pytest.raises(vsearch.InputError, match=message):
            getattr(numbered, ask)(*arguments, columns=columns)


def test_a_column_twice(numbered):
    hits = numbered.search(rows()[0], k=2, columns=["name", "name"])
    assert hits.columns.num_rows == 2
