"""Weights of an index that began without any: `vsearch.create(sparse=)` and `Index.add_sparse`."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.sparse.test_sparse import MAPS, check, make_queries, make_rows, step_of, vectors
from vsearch import InputError


def texts(rows):
    return [None if row is None else json.dumps(row) for row in rows]


def test_a_new_index_takes_weights():
    index = vsearch.create("memory://adding/new", 8, attributes={"impacts": str, "number": int}, sparse="impacts")
    assert step_of(index) == 2.0**-6
    assert (index.search_sparse({"1": 1.0}).ids == -1).all()
    rows = make_rows(300, 1)
    index.append(vectors(200), {"impacts": texts(rows[:200]), "number": range(200)})
    maps = pa.array([list(row.items()) for row in rows[200:]], MAPS)
    index.append(vectors(100, 1), {"impacts": maps, "number": range(200, 300)})
    check(index, dict(enumerate(rows)), make_queries(1), 20)
    index.delete(list(range(0, 300, 5)))
    check(
        index,
        {row: rows[row] for row in range(300) if row % 5},
        make_queries(2),
        20,
        "number < 250",
        lambda row: row < 250,
    )
    fused = index.search(vectors(1, 5), 5, sparse={"1": 1.0, "2": 0.5})
    assert (fused.ids >= 0).all()
    with pytest.raises(InputError, match="at most"):
        index.append(vectors(1), {"impacts": ['{"a": 1e9}'], "number": [1]})


def test_it_is_trained_with_weights():
    index = vsearch.create(
        "memory://adding/trained", 8, attributes={"impacts": str}, sparse={"impacts": 100.0}, partitions=6
    )
    assert step_of(index) == 0.5
    rows = make_rows(2100, 2, 90.0)
    index.append(vectors(2100), {"impacts": texts(rows)})
    assert index.info()["partitions"] == 6
    check(index, dict(enumerate(rows)), make_queries(3, 4), 30)
    index.optimize(force=True)
    check(index, dict(enumerate(rows)), make_queries(3, 4), 30)


def test_an_attribute_becomes_searchable():
    rows = make_rows(400, 3, 20.0)
    values = {"impacts": texts([*rows[:-1], None]), "number": list(range(400))}
    index = vsearch.build(vectors(400), "memory://adding/later", values, shards=2, partitions=4, overwrite=True)
    with pytest.raises(InputError, match="add_sparse"):
        index.search_sparse({"1": 1.0})
    commit = index.add_sparse("impacts")
    assert commit.snapshot == 2
    rows[-1] = None
    weights = dict(enumerate(rows))
    queries = make_queries(4)
    check(index, weights, queries, 15)
    check(vsearch.open("memory://adding/later"), weights, queries, 15)
    expected = index.search_sparse(queries, 15)
    index.optimize(force=True)
    again = index.search_sparse(queries, 15)
    np.testing.assert_array_equal(again.scores, expected.scores)
    old = vsearch.open("memory://adding/later", snapshot=1)
    with pytest.raises(InputError, match="no sparse weights"):
        old.search_sparse({"1": 1.0})
    with pytest.raises(InputError, match="already"):
        index.add_sparse("impacts")
    with pytest.raises(InputError, match="searched by its weights"):
        index.drop_column("impacts")
    index.append(vectors(1), {"impacts": ['{"1": 2}'], "number": [400]})
    with pytest.raises(InputError):
        index.append(vectors(1), {"impacts": ["no weights"], "number": [401]})


@pytest.mark.parametrize(
    ("column", "largest", "reason"),
    [
        ("absent", None, "must be an attribute of maps"),
        ("number", None, "must be an attribute of maps"),
        ("words", None, "must be a map of weights"),
        ("impacts", 0, "largest usual weight"),
        ("impacts", float("nan"), "largest usual weight"),
        ("impacts", "4", "largest usual weight"),
        ("impacts", True, "largest usual weight"),
        ("impacts", 1e-9, "must be at most"),
        (None, None, "must be an attribute of maps"),
    ],
)
def test_wrong_columns_are_refused(column, largest, reason):
    values = {"impacts": ['{"a": 1.5}'] * 9, "words": ["a b"] * 9, "number": range(9)}
    index = vsearch.build(vectors(9), "memory://adding/wrong", values, partitions=1, overwrite=True)
    with pytest.raises(InputError, match=reason):
        index.add_sparse(column, largest)
    assert not index.snapshot.manifest.legs


@pytest.mark.parametrize(
    "sparse", ["absent", "number", ["impacts"], {}, {"impacts": -1}, {"impacts": 1, "words": 2}, 3, {"impacts": "x"}]
)
def test_wrong_arguments_of_create_are_refused(sparse):
    with pytest.raises(InputError, match=r"sparse must be|largest usual weight"):
        vsearch.create(
            "memory://adding/refused", 8, attributes={"impacts": str, "words": str, "number": int}, sparse=sparse
        )
