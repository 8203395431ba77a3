from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered, files_of
from tests.live.small import D, Twin, numbers


@pytest.fixture
def twin(tmp_path):
    return Twin(tmp_path / "index")


def values(index, name, ids):
    return index.get(ids)[name].to_pylist()


def matches(index, where):
    return sorted(one for one in index.search(clustered(1, D), k=200, where=where).ids[0].tolist() if one >= 0)


def test_a_column_of_a_type_alone_is_null_and_only_a_manifest(twin):
    before = set(files_of(twin.url))
    commit = twin.index.add_column("price", pa.float64())
    new = set(files_of(twin.url)) - before
    assert [path.parent.name for path in new] == ["manifest"]
    assert (commit.replaced, commit.snapshot) == (0, 2)
    assert values(twin.index, "price", [0, 119]) == [None, None]
    assert len(matches(twin.index, "price IS NULL")) == 120
    ids = [500, 501]
    table = numbers(ids).append_column("price", pa.array([1.5, None]))
    twin.index.append(clustered(2, D), table, ids)
    twin.index.update({"price": [9.0]}, ids=[3])
    for index in (twin.index, vsearch.open(twin.url)):
        assert values(index, "price", [500, 501, 3, 4]) == [1.5, None, 9.0, None]
        assert matches(index, "price > 1") == [3, 500]
        index.search(clustered(1, D), where="number < 5")
    twin.index.optimize(force=True)
    assert matches(vsearch.open(twin.url), "price > 1") == [3, 500]
    assert vsearch.open(twin.url).info()["attributes"] == {"number": "int64", "price": "float64"}


@pytest.mark.parametrize(
    ("kind", "named"),
    [(int, "int64"), (float, "float64"), (str, "string"), (bool, "bool"), ("list<string>", "list<string>"), (pa.int8(), "int64"),
     (pa.decimal128(10, 2), "decimal(10, 2)"), ("decimal(10, 2)", "decimal(10, 2)"), (pa.date64(), "date")],
)  # fmt: skip
def test_types(twin, kind, named):
    twin.index.add_column("new", kind)
    assert twin.index.info()["attributes"]["new"] == named
    assert values(twin.index, "new", [5]) == [None]
    assert len(matches(twin.index, "new IS NULL")) == 120


def test_one_value_for_all(twin):
    twin.append(4)
    twin.delete([2])
    twin.index.add_column("lang", "en")
    assert matches(twin.index, "lang = 'en'") == sorted(twin.rows)
    twin.index.add_column("tags", ["a", "b"])
    assert len(matches(twin.index, "list_contains(tags, 'b')")) == 123
    twin.index.add_column("day", dt.date(2030, 1, 2))
    twin.append(1, seed=4)
    index = vsearch.open(twin.url)
    assert values(index, "day", [0, 124]) == [dt.date(2030, 1, 2), None]
    twin.check(index)
    twin.index.optimize(force=True)
    twin.check()
    assert len(matches(twin.index, "lang = 'en'")) == 123


def test_values_by_id(twin):
    twin.index.add_column("score", np.array([0.5, 0.25, 0.125]), ids=[7, 3, 5])
    assert values(twin.index, "score", [3, 4, 5, 7]) == [0.25, None, 0.125, 0.5]
    assert matches(twin.index, "score >= 0.25") == [3, 7]
    twin.check()
    info = twin.index.info()
    assert info["drift"]["recommendation"] is None  # codes were copied
    assert twin.index.optimize().tuned is False


@pytest.mark.parametrize(
    ("name", "given", "ids", "match"),
    [
        ("number", "int64", None, "already"),
        ("", "int64", None, "name of an attribute"),
        (3, "int64", None, "name of an attribute"),
        ("x", pa.time32("s"), None, "the type of 'x'"),
        ("x", dict, None, "the type of 'x'"),
        ("x", [1, 2], [1], "one value for each of the 1 ids"),
        ("x", [1], [1000], "no row has the id 1000"),
        ("x", [None], [1], "are NULL; pass the type"),
        ("x", [1, "a"], [1, 2], "one type"),
        ("x", [2**70], [1], "int too large"),
        ("x", 2**70, None, "int too large"),
        ("x", pa.array([1, 2]), None, "pass ids="),
    ],
)
def test_columns_that_cannot_be_added(twin, name, given, ids, match):
    with pytest.raises(vsearch.InputError, match=match):
        twin.index.add_column(name, given, ids)
    assert len(twin.index.snapshots()) == 1


def test_drop_and_add_again_brings_no_old_value_back(twin):
    twin.append(3)
    twin.index.drop_column("number")
    with pytest.raises(vsearch.PredicateError, match="number"):
        twin.index.search(clustered(1, D), where="number = 1")
    with pytest.raises(vsearch.InputError, match="this index has no attribute 'number'; it has none"):
        twin.index.drop_column("number")
    twin.index.append(clustered(1, D), ids=[700])
    twin.index.add_column("number", "string")
    for index in (twin.index, vsearch.open(twin.url)):
        assert values(index, "number", [0, 120, 700]) == [None] * 3
        assert matches(index, "number IS NOT NULL") == []
    twin.index.update({"number": "x"}, ids=[1])
    twin.index.optimize(force=True)
    twin.index.drop_column("number")
    twin.index.add_column("number", "int64")
    assert matches(vsearch.open(twin.url), "number IS NOT NULL") == []
    assert len(vsearch.open(twin.url)) == 124


def test_rename(twin):
    before = set(files_of(twin.url))
    twin.index.rename_column("number", "count")
    assert [path.parent.name for path in set(files_of(twin.url)) - before] == ["manifest"]
    assert matches(twin.index, "count < 3") == [0, 1, 2]
    twin.index.rename_column("count", "count")
    twin.index.add_column("number", 7)  # the old name, another column
    twin.index.append(clustered(1, D), pa.table({"count": [-5], "number": [8]}), [900])
    for _ in range(2):
        index = vsearch.open(twin.url)
        assert matches(index, "count < 1") == [0, 900]
        assert matches(index, "number = 8") == [900]
        assert values(index, "number", [1, 900]) == [7, 8]
        assert index.search(clustered(1, D), columns=["count"]).columns["count"].null_count == 0
        twin.index.optimize(force=True)
    for bad, match in (
        (("none", "x"), "no attribute"),
        (("count", "number"), "already"),
        (("count", ""), "name of an"),
    ):
        with pytest.raises(vsearch.InputError, match=match):
            twin.index.rename_column(*bad)


def test_schema_changes_beside_other_writers(twin):
    """What the matrix of conflicts says."""
    one, two, three = (vsearch.open(twin.url) for _ in range(3))
    one.add_column("a", "int64")
    with pytest.raises(vsearch.InputError, match="already has an attribute 'a'"):
        two.add_column("a", "string")
    three.append(clustered(1, D), numbers([5]), [300])  # the new column is NULL
    assert values(three, "a", [300]) == [None]
    one.drop_column("number")
    with pytest.raises(vsearch.InputError, match="this index has no attribute 'number'"):
        three.append(clustered(1, D), numbers([5]), [301])
    with pytest.raises(vsearch.PredicateError, match="number"):
        two.delete(where="number = 1")
    two.append(clustered(1, D), ids=[302])
    one.rename_column("a", "b")
    assert two.update({"b": 4}, ids=[302]).replaced == 1
    assert values(vsearch.open(twin.url), "b", [302, 300]) == [4, None]
    assert len(vsearch.open(twin.url)) == 122


def test_a_merge_beside_schema_changes(twin):
    twin.append(40)
    other = vsearch.open(twin.url)

    def meanwhile(stage, done, total):
        if stage == "merge" and done == 0:
            twin.index.add_column("a", 5)
            twin.index.rename_column("number", "n")

    other.optimize(force=True, progress=meanwhile)
    for _ in range(2):
        index = vsearch.open(twin.url)
        assert values(index, "a", [0, 159]) == [5, 5]
        assert values(index, "n", [0, 159]) == [0, 159]
        assert len(matches(index, "a = 5 AND n < 10")) == 10
        assert len(index) == 160
        other.optimize(force=True)


def test_an_index_without_attributes_gets_some(tmp_path):
    index = vsearch.build(clustered(50, D), tmp_path / "index", metric="l2")
    index.add_column("x", [1, 2], ids=[4, 5])
    index.add_column("y", "all")
    index.append(clustered(2, D), pa.table({"x": [3, 4]}))
    for _ in range(2):
        index = vsearch.open(tmp_path / "index")
        assert values(index, "x", [4, 5, 6, 50]) == [1, 2, None, 3]
        assert matches(index, "x >= 2 AND y IS NULL") == [50, 51]
        index.optimize(force=True)
    index.drop_column("x")
    index.drop_column("y")
    index.optimize(force=True)
    assert (vsearch.open(tmp_path / "index").search(clustered(1, D), k=52).ids[0] >= 0).sum() == 52


def test_what_is_impossible_in_an_old_snapshot_is_done_in_the_newest(twin):
    stale = [vsearch.open(twin.url) for _ in range(3)]
    twin.delete([4])
    twin.index.append(clustered(1, D), numbers([9]), [800])
    twin.index.drop_column("number")
    assert stale[0].append(clustered(1, D), ids=[4]).added == 1
    assert stale[1].add_column("number", "string").snapshot == 6
    assert stale[2].update({"number": "x"}, ids=[800]).replaced == 1


@pytest.mark.parametrize("empty", [[], [None]])
def test_lists_without_a_value_fit_every_list(tmp_path, empty):
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    tags = [["a", "b"]] * 40
    index = vsearch.build(vectors, tmp_path / "index", {"tags": tags}, np.arange(40))
    index.update({"tags": empty}, where="id = 3")
    index.update({"tags": [empty, empty]}, ids=[4, 5])
    index.append(vectors[:2], {"tags": [empty, empty]}, [100, 101])
    assert index.get([2, 3, 4, 5, 100, 101], ["tags"])["tags"].to_pylist() == [["a", "b"], *[empty] * 5]
    assert index.update({"tags": []}, ids=[7, 8]).replaced == 2
    assert index.get([7, 8], ["tags"])["tags"].to_pylist() == [[], []]
    assert index.update({"tags": []}, ids=[]).replaced == 0
