"""UUID objects as attributes, plain and nested, wherever Python values become rows: stored as their canonical strings."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import vsearch
from vsearch.building.inputs.python_values import python_array

UUIDS = [uuid.UUID(int=number << 64 | 7) for number in range(1, 5)]
VECTORS = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)

#: Values of four rows, as they are passed and as they are read.
VALUES = {
    "plain": (UUIDS, list(map(str, UUIDS))),
    "lists": ([[UUIDS[0]], None, [], UUIDS[:2]], [[str(UUIDS[0])], None, [], list(map(str, UUIDS[:2]))]),
    "late": ([["a"], None, [], UUIDS[:2]], [["a"], None, [], list(map(str, UUIDS[:2]))]),
    "tuples": ([(value,) for value in UUIDS], [[str(value)] for value in UUIDS]),
}
RECORDS = [{"a": UUIDS[0], "b": [{"c": UUIDS[1]}]}, None, {"a": None, "b": []}, {"a": UUIDS[2], "b": None}]


def attributes(values, form):
    """A column named u."""
    if form == "frame":
        return pd.DataFrame({"u": pd.Series(values, dtype=object)})
    if form == "arrays":
        return pd.DataFrame({"u": [np.array(v, object) if isinstance(v, (list, tuple)) else v for v in values]})
    if form == "rows":
        return [{"u": value} for value in values]
    if form == "objects":
        column = np.empty(len(values), object)
        column[:] = values
        return {"u": column}
    return {"u": pd.Series(values, dtype=object) if form == "series" else values}


def read(index):
    return index.to_batches(columns=["u"]).read_all().column("u").to_pylist()


@pytest.mark.parametrize("form", ["mapping", "frame", "arrays", "rows", "objects", "series"])
@pytest.mark.parametrize("kind", VALUES)
def test_build_and_append(tmp_path, kind, form):
    values, expected = VALUES[kind]
    vsearch.build(VECTORS, tmp_path / "index", attributes=attributes(values, form))
    index = vsearch.open(tmp_path / "index")
    assert read(index) == expected
    index.append(VECTORS + 1, attributes=attributes(values, form))
    assert read(index) == expected * 2


@pytest.mark.parametrize("form", ["mapping", "frame", "rows", "objects", "series"])
def test_records(tmp_path, form):
    vsearch.build(VECTORS, tmp_path / "index", attributes=attributes(RECORDS, form))
    stored = [value and json.loads(value) for value in read(vsearch.open(tmp_path / "index"))]
    assert stored == [json.loads(json.dumps(value, default=str)) for value in RECORDS]


def test_update_and_add_column(tmp_path):
    values, expected = VALUES["lists"]
    vsearch.build(VECTORS, tmp_path / "index", attributes={"u": [["x"]] * 4})
    index = vsearch.open(tmp_path / "index")
    index.update({"u": values}, ids=[0, 1, 2, 3])
    assert read(index) == expected
    index.update({"u": UUIDS[:2]}, where="u IS NOT NULL OR u IS NULL")
    assert read(index) == [list(map(str, UUIDS[:2]))] * 4
    index.add_column("v", values, ids=[0, 1, 2, 3])
    assert index.to_batches(columns=["v"]).read_all().column("v").to_pylist() == expected


def test_mixed_values_are_refused_as_before(tmp_path):
    for values in ([[UUIDS[0]], [1], [], []], [[UUIDS[0]], 1, None, None]):
        with pytest.raises(vsearch.InputError, match="column 'u' must have values of one type"):
            vsearch.build(VECTORS, tmp_path / "index", attributes={"u": values})


def test_values_that_contain_themselves_are_refused():
    once, twice = [UUIDS[0]], [UUIDS[0]]
    once.append(once)
    twice += [twice, twice]
    for value in (once, twice):
        with pytest.raises(pa.ArrowInvalid, match="nested up to 200 levels deep"):
            python_array([value])
        with pytest.raises(vsearch.InputError, match="nested up to 200 levels deep"):
            vsearch.build(VECTORS[:1], "memory://uuids/cycles", attributes={"u": [value]})
    index = vsearch.build(VECTORS, "memory://uuids/whole", attributes={"u": [["x"]] * 4})
    for change in (
        lambda: index.update({"u": [once]}, ids=[0]),
        lambda: index.add_column("v", [once] * 4, ids=range(4)),
    ):
        with pytest.raises(vsearch.InputError, match="nested up to 200 levels deep"):
            change()


def test_values_may_be_nested_deeply():
    value, expected = UUIDS[0], str(UUIDS[0])
    for _ in range(199):
        value, expected = [value], [expected]
    assert python_array([value]).to_pylist() == [expected]
    with pytest.raises(pa.ArrowInvalid, match="nested up to 200 levels deep"):
        python_array([[[value]]])
