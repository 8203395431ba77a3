"""Exports hold the rows that pass, as the index has them, and build the same index again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import clustered

ROWS, WIDTH = 90, 8
VECTORS = clustered(ROWS, WIDTH)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    table = pa.table({"price": np.arange(ROWS), "vector": [f"v{row}" for row in range(ROWS)], "tags": [["a"]] * ROWS})
    ids = [f"row {row}" for row in range(ROWS)]
    url = tmp_path_factory.mktemp("exporting") / "i"
    made = vsearch.build(VECTORS, url, table, ids, metric="l2", rerank="float32", partitions=4)
    made.delete(["row 3"])
    made.upsert(VECTORS[5:6] + 1, {"price": [5], "vector": ["new"], "tags": [["b"]]}, ["row 5"])
    return made


def read(path):
    return pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_what_is_exported_and_built_again(index, tmp_path, suffix):
    file = tmp_path / f"rows{suffix}"
    assert index.export(file, batch_rows=20) == ROWS - 1
    table = read(file).sort_by("id")
    assert table.column_names == ["id", "price", "attribute.vector", "tags", "vector"]
    stored = index.vectors(table["id"].to_pylist()).vectors
    np.testing.assert_array_equal(np.stack(table["vector"].to_numpy()), stored)
    assert table.schema.metadata[b"vsearch.metric"] == b"l2"
    again = vsearch.build(str(file), tmp_path / "again", vectors="vector", id="id", metric="l2", rerank="float32")
    one, other = (each.search(VECTORS[:9], 5, "price < 50", exact=True) for each in (index, again))
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-3, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [file.name]


def test_some_rows_and_columns(index, tmp_path):
    assert index.export(tmp_path / "a.parquet", "price < 10", ["price"], vectors=False) == 9
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["id", "price"]
    assert sorted(table["price"].to_pylist()) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert index.export(tmp_path / "b.arrow", "price < 0") == 0
    assert read(tmp_path / "b.arrow").num_rows == 0


def test_documents_of_many_vectors(tmp_path):
    rng = np.random.default_rng(0)
    documents = [rng.standard_normal((2 + row % 3, 16)).astype(np.float32) for row in range(30)]
    offsets = np.cumsum([0, *map(len, documents)])
    index = vsearch.build_documents(np.concatenate(documents), offsets, tmp_path / "d", store="float32")
    index.export(tmp_path / "d.parquet", batch_rows=7)
    table = pq.read_table(tmp_path / "d.parquet").sort_by("id")
    for row, vectors in enumerate(table["vector"].to_pylist()):
        np.testing.assert_allclose(vectors, documents[row], rtol=1e-5, atol=1e-5)


def test_what_is_refused_and_what_remains(index, tmp_path, monkeypatch):
    (tmp_path / "there.parquet").write_text("mine")
    (tmp_path / "folder.parquet").mkdir()
    for file, message in (
        ("rows.csv", "must end in"), ("nowhere/rows.parquet", "no such folder"), ("there.parquet", "already exists"),
        ("folder.parquet", "got the folder"),
    ):  # fmt: skip
        with pytest.raises(vsearch.InputError, match=message):
            index.export(tmp_path / file, overwrite=file.startswith("folder"))
    (tmp_path / "folder.parquet").rmdir()
    with pytest.raises(vsearch.PredicateError):
        index.export(tmp_path / "a.parquet", "nothing = 1")
    with pytest.raises(vsearch.InputError, match="no attribute"):
        index.export(tmp_path / "a.parquet", columns=["nothing"])

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(
        "vsearch.api.exporting._vectors",
        lambda snapshot, rows: fail() if len(rows) else pa.array([], pa.list_(pa.float32(), WIDTH)),
    )
    with pytest.raises(OSError, match="full"):
        index.export(tmp_path / "there.parquet", overwrite=True)
    assert (tmp_path / "there.parquet").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_names_that_would_be_the_same(tmp_path):
    names = ["id", "attribute.id", "vector", "attribute.vector"]
    index = vsearch.build(VECTORS[:40], tmp_path / "i", pa.table({name: np.arange(40) for name in names}))
    for columns, vectors, message in (
        (names[2:], True, "'attribute.vector'"), (names[:2], False, "'attribute.id'"), (None, True, "would be named"),
    ):  # fmt: skip
        with pytest.raises(vsearch.InputError, match=message):
            index.export(tmp_path / "a.parquet", columns=columns, vectors=vectors)
    assert not (tmp_path / "a.parquet").exists()
    assert index.export(tmp_path / "a.parquet", columns=names[2:], vectors=False) == 40
    assert index.export(tmp_path / "b.parquet", columns=["id", "vector"]) == 40
    assert pq.read_schema(tmp_path / "b.parquet").names == ["id", "attribute.id", "attribute.vector", "vector"]
