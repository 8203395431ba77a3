"""Files under one prefix of a folder or an object store: planned from their headers, and read by range."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import clustered, files_of
from vsearch.building.inputs.prefix_files import list_files
from vsearch.building.inputs.prefix_reading import open_prefix
from vsearch.storage import open_store

ROWS = clustered(700, 8)
#: Edges of the files' rows: one file has a single row, and one none at all.
EDGES = (0, 300, 300, 301, 700)
RANGES = [(0, 700), (299, 302), (76, 78), (123, 124), (699, 700)]


def table(low, high):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(ROWS[low:high].ravel()), 8)
    numbers = pa.array([i if i % 7 else None for i in range(low, high)], pa.int64())
    return pa.table({"id": pa.array([f"row {i}" for i in range(low, high)], pa.string()), "v": vectors, "n": numbers})


def write_parquet(path, low, high):
    pq.write_table(table(low, high), path, row_group_size=77)


def write_arrow(path, low, high):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table(low, high).schema) as writer:
        writer.write_table(table(low, high), max_chunksize=50)


def npy(array):
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def write_npy(path, low, high):
    np.save(path, ROWS[low:high])


def write_fbin(path, low, high):
    path.write_bytes(np.array([high - low, 8], "<u4").tobytes() + ROWS[low:high].tobytes())


WRITERS = {"parquet": write_parquet, "arrow": write_arrow, "npy": write_npy, "fbin": write_fbin}


@pytest.fixture(params=["folder", "memory"])
def place(request, tmp_path):
    """Write files, and put them where the source is; returns its URL."""

    def write(kind, folder=tmp_path / "files"):
        folder.mkdir()
        for number, (low, high) in enumerate(itertools.pairwise(EDGES), 8):
            WRITERS[kind](folder / f"part-{number}.{kind}", low, high)  # 8, 9, 10, 11: not in the order of letters
        if request.param == "folder":
            return str(folder)
        url = f"memory://{tmp_path.name}/files"
        store = open_store(url)
        for path in folder.iterdir():
            store.put(path.name, path.read_bytes())
        return url

    return write


@pytest.mark.parametrize("kind", WRITERS)
def test_rows_are_read_by_range_across_files(place, kind) -> None:
    found = open_prefix(place(kind), {})
    if found.plan.is_table:
        found = replace(found, column="v")
    assert found.plan.rows == 700
    assert found.plan.firsts == (0, 300, 301, 700)
    assert found.shape == (8, np.float32)
    for low, high in RANGES:
        np.testing.assert_array_equal(found.vectors(low, high), ROWS[low:high])
        if found.plan.is_table:
            read = pa.Table.from_batches(found.batches(["n", "id"], low, high))
            assert read.equals(table(low, high).select(["n", "id"]))


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_only_the_bytes_of_the_rows_are_requested(place, kind, monkeypatch) -> None:
    url = place(kind)
    found = open_prefix(url, {})
    found = replace(found, column="v") if found.plan.is_table else found
    if url.startswith("memory"):
        asked = []
        get = type(found.store).get
        monkeypatch.setattr(
            type(found.store), "get", lambda self, path, **range_: asked.append(path) or get(self, path, **range_)
        )
        found.vectors(400, 410)
        assert {path.partition(".")[0] for path in asked[len(asked) // 2 :]} == {"part-11"}
        assert np.dtype("f4") == found.shape[1]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_build_from_a_url_equals_that_from_a_table(place, kind, tmp_path) -> None:
    options = {"vectors": "v", "id": "id", "partitions": 8}
    vsearch.build(place(kind), tmp_path / "one", **options)
    vsearch.build(table(0, 700), tmp_path / "two", **options)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_build_from_a_prefix_of_files_of_vectors_equals_that_from_an_array(place, tmp_path) -> None:
    vsearch.build(place("npy"), tmp_path / "one", partitions=8)
    vsearch.build(ROWS, tmp_path / "two", partitions=8)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def contents(folder: Path) -> list[bytes]:
    """Bytes of the data files, by their names without the writer's."""
    paths = [path for path in files_of(folder) if path.suffix == ".arrow"]
    return [path.read_bytes() for path in sorted(paths, key=lambda path: path.name.partition("-")[2])]


def test_one_file_is_a_source_too(place) -> None:
    url = place("npy")
    found = open_prefix(f"{url}/part-8.npy", {})
    assert (found.plan.rows, found.plan.files[0].path) == (300, "part-8.npy")
    with pytest.raises(vsearch.InputError, match="no such file"):
        open_prefix(f"{url}/part-7.npy", {})


def test_vectors_that_are_not_finite_are_named_by_their_row(tmp_path) -> None:
    rows = ROWS[:20].copy()
    rows[7, 2] = np.nan
    np.save(tmp_path / "0.npy", ROWS[:10])
    np.save(tmp_path / "1.npy", rows)
    with pytest.raises(vsearch.InputError, match="row 17 holds NaN"):
        open_prefix(str(tmp_path), {}).vectors(0, 30)


HUGE = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 8), }"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.txt": b"x"}, "contains no .parquet"),
        ({"a.npy": npy(ROWS[:3])[:-1]}, "truncated"),
        ({"a.npy": npy(ROWS[:3]) + b"x"}, "longer than that"),
        ({"a.npy": HUGE.ljust(127) + b"\n"}, "truncated"),
        ({"a.npy": npy(np.asfortranarray(ROWS[:3]))}, "Fortran order"),
        ({"a.npy": npy(np.arange(3.0))}, "shape"),
        ({"a.npy": npy(ROWS[:3]), "b.npy": npy(ROWS[:3, :4])}, "4 x float32"),
        ({"a.npy": npy(ROWS[:3]), "b.npy": npy(ROWS[:3].astype("f2"))}, "8 x float16"),
        ({"a.npy": npy(ROWS[:0])}, "no rows"),
        ({"a.fbin": b"\x01"}, "too few"),
        ({"a.fbin": np.array([2**32 - 1, 2**32 - 1], "<u4").tobytes()}, "truncated"),
        ({"a.parquet": b"PAR1 nothing PAR1"}, "not a readable Parquet file"),
        ({"a.arrow": b"ARROW1 nothing"}, "not a readable Arrow IPC file"),
        ({"a.arrow": b"\xff\xff\xff\xff stream"}, "Arrow stream"),
        ({"a.npy": npy(ROWS[:3]), "b.parquet": b""}, "both tables"),
        ({"t-00000-of-00002.npy": npy(ROWS[:3])}, "1 of 2 shards are missing"),
    ],
)
def test_files_that_cannot_be_planned_are_refused(tmp_path, files, message) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(vsearch.InputError, match=message):
        open_prefix(str(tmp_path), {})


def test_hidden_files_are_left_out(tmp_path) -> None:
    for name in ("a.npy", ".b.npy", "_temporary/c.npy", "d/e.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, ROWS[:2])
    assert [file.path for file in list_files(open_store(tmp_path))] == ["a.npy", "d/e.npy"]


def test_a_file_that_shrank_since_it_was_planned_is_refused(place) -> None:
    url = place("npy")
    found = open_prefix(url, {})
    found.store.put("part-11.npy", npy(ROWS[:3]), create=False)
    with pytest.raises(vsearch.InputError, match="shorter than when it was planned"):
        found.vectors(0, 700)


def test_storage_options_are_for_urls(tmp_path) -> None:
    with pytest.raises(vsearch.InputError, match="source_storage"):
        vsearch.build(ROWS, tmp_path, source_storage={"region": "x"})


def test_a_source_and_an_index_in_object_storage(s3_url, s3_options, tmp_path) -> None:
    store = open_store(f"{s3_url}/source", **s3_options)
    for number, (low, high) in enumerate([(0, 300), (300, 700)]):
        write_parquet(tmp_path / "file.parquet", low, high)
        store.put(f"{number}.parquet", (tmp_path / "file.parquet").read_bytes())
    index = vsearch.build(f"{s3_url}/source", f"{s3_url}/index", vectors="v", partitions=8, **s3_options)
    assert index.info()["rows"] == 700
    folder = vsearch.build(f"{s3_url}/source", tmp_path / "index", vectors="v", partitions=8, source_storage=s3_options)
    np.testing.assert_array_equal(folder.search(ROWS[:5], k=3).ids, index.search(ROWS[:5], k=3).ids)
