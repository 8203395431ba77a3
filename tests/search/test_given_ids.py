"""Requested ids: strings are kept exactly, including trailing NULs that NumPy would strip."""

from __future__ import annotations

import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from vsearch.search.state.given_ids import as_ids, id_array

ODD = ["a\0", "a", "a\0b", "\0", "", "a\0\0", "👩‍👧", "x" * 100_000, " a", "a ", "\u2028", "e\u0301", "\u00e9"]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    vectors = np.eye(len(ODD), dtype=np.float32)
    folder = tmp_path_factory.mktemp("odd") / "index"
    attributes = {"name": ODD, "number": list(range(len(ODD)))}
    return vsearch.build(vectors, folder, ids=ODD, attributes=attributes, shards=2, partitions=4)


@pytest.mark.parametrize(
    "container",
    [list, tuple, pa.array, pd.Series, pl.Series, lambda ids: np.array(ids, object)],
    ids=["list", "tuple", "arrow", "pandas", "polars", "objects"],
)
def test_every_string_is_found_by_itself_alone(named, container):
    found = named.get(container(ODD))
    assert found.column("id").to_pylist() == ODD
    assert found.column("number").to_pylist() == list(range(len(ODD)))
    assert named.get(container(ODD[:1])).column("number").to_pylist() == [0]


def test_hits_and_filters_tell_strings_apart(named):
    hits = named.search(np.eye(len(ODD)), k=1)
    assert hits.ids[:, 0].tolist() == ODD
    assert hits.to_arrow().column("id").to_pylist() == ODD
    for number, name in enumerate(ODD):
        found = named.search(np.ones(len(ODD)), k=len(ODD), where=vsearch.col("name") == name, columns=["number"])
        assert found.to_arrow().column("number").to_pylist() == [number]
    listed = named.search(np.ones(len(ODD)), k=5, where={"name": {"$in": ["a\0", "\0"]}}).ids[0]
    assert set(listed) - {None} == {"a\0", "\0"}


@pytest.mark.parametrize(
    "absent", ["a\0\0\0", "\0\0", "\ud800", "A", "b", "y" * 100_000], ids=["nul", "nuls", "surrogate", "A", "b", "long"]
)
def test_what_is_not_there_is_not_found(named, absent):
    with pytest.raises(vsearch.InputError, match="no row has the id") as caught:
        named.get([absent])
    str(caught.value).encode()  # can be printed
    assert len(str(caught.value)) < 1000


@given(st.lists(st.text(max_size=3), unique=True, min_size=1))
def test_strings_pass_unchanged(values):
    assert as_ids(values, text=True).tolist() == values
    assert id_array(values).tolist() == values


def test_uuids(tmp_path):
    keys = [uuid.UUID(int=2**127 + number) for number in range(4)]
    index = vsearch.build(np.eye(4), tmp_path / "index", ids=keys)
    assert index.search(np.eye(4), k=1).ids[:, 0].tolist() == [str(key) for key in keys]
    for given_ids in (keys, [key.bytes for key in keys], [str(key) for key in keys]):
        assert index.get(given_ids).column("id").to_pylist() == [str(key) for key in keys]
    assert index.get(keys[2]).num_rows == 1


def test_integers_of_any_container(tmp_path):
    index = vsearch.build(np.eye(4), tmp_path / "index", ids=[10, 20, 30, 2**62])
    for ids in (
        [20, 2**62],
        [np.int64(20), np.uint64(2**62)],
        pd.Series([20, 2**62], dtype="Int64"),
        pl.Series([20, 2**62]),
        pa.array([20, 2**62]),
        np.array([20, 2**62], object),
    ):
        assert index.get(ids).column("id").to_pylist() == [20, 2**62]
    for bad in ([20.5], [True], ["20"], pd.Series([20, None], dtype="Int64"), [uuid.UUID(int=3)]):
        with pytest.raises(vsearch.InputError, match="must be integers"):
            index.get(bad)


def test_truth_of_strings_that_end_in_nuls(named):
    queries = np.eye(len(ODD))
    assert named.recall(queries, k=1, truth=[[name] for name in ODD]).recall == 1.0
