"""Which rows a change is for: never all of them by a filter that says nothing, nor those that a table or dict happens to name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered
from tests.live.small import D, numbers
from vsearch.predicates.expressions import And, Comparison, Constant, Not, Or

N = 12

EMPTY = [
    {},
    {"$and": [{}]},
    {"$or": [{"number": 3}, {}]},
    {"$nor": [{}]},
    {"$not": {}},
    And(()),
    Or(()),
    Not(And((Or(()), Comparison("number", "=", 3)))),
    "",
    " ",
    "-- number = 3",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    url = tmp_path_factory.mktemp("selections") / "index"
    names = [f"row {i}" for i in range(N - 2)] + ["number", "id"]
    return vsearch.build(clustered(N, D, seed=1), url, numbers(np.arange(N)), names)


@pytest.mark.parametrize("where", EMPTY, ids=repr)
def test_an_empty_filter_is_refused(index, where):
    with pytest.raises(vsearch.PredicateError, match="empty"):
        index.delete(where=where)
    with pytest.raises(vsearch.PredicateError, match="empty"):
        index.update({"number": 1}, where=where)
    assert (len(index), index.info()["snapshot"]) == (N, 1)


@pytest.mark.parametrize("where", ["true", "TRUE", Constant(value=True), "number IS NULL OR true"], ids=repr)
def test_all_rows_by_name(tmp_path, where):
    index = vsearch.build(clustered(N, D, seed=1), tmp_path / "index", numbers(np.arange(N)))
    assert index.update({"number": 1}, where=where).replaced == N
    assert index.delete(where=where).deleted == N


@pytest.mark.parametrize("make", [dict, pa.table, pa.record_batch, pd.DataFrame, pl.from_dict])
def test_ids_are_no_dict_and_no_table(index, make):
    """An index with the id "number" would lose this row: dicts and frames iterate over their names."""
    for use in (index.delete, index.get, index.vectors, lambda ids: index.update({"number": 1}, ids=ids)):
        with pytest.raises(vsearch.InputError, match=r"sequence of ids, got (dict|Table|RecordBatch|DataFrame)"):
            use(make({"number": ["row 1"]}))
    assert (len(index), index.info()["snapshot"]) == (N, 1)


@pytest.mark.parametrize("make", [list, tuple, set, iter, np.asarray, pa.array, pd.Series, pd.Index])
def test_ids_are_any_sequence(tmp_path, make):
    index = vsearch.build(clustered(N, D, seed=1), tmp_path / "index", numbers(np.arange(N)))
    assert index.delete(make([1, 2])).deleted == 2
