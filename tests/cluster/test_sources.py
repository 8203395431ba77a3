"""Sources as other programs write them: Spark, Ray, Hugging Face, thousands of small files, files that differ."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cluster.conftest import check_no_orphans, check_same, job_of
from tests.cluster.killing import run
from tests.indexes import clustered
from vsearch.cluster.job import Columns, JobOptions
from vsearch.cluster.running import describe_job
from vsearch.storage import open_store, read_manifest

WIDTH, ROWS = 8, 1200
OPTIONS = {"partitions": 8, "shards": 2, "seed": 3}


def table(low, high, **more):
    rows = clustered(ROWS, WIDTH)[low:high]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), WIDTH)
    columns = {"v": flat, "key": [f"row {i}" for i in range(low, high)], "n": pa.array(range(low, high), pa.int64())}
    return pa.table(columns | more)


def job(source, columns=None, **changes):
    options = JobOptions("cosine", "osq", 1.0, "int8", 8, 2, 3)
    return describe_job(
        str(source), {}, options, columns=columns or Columns("v", "key"), files_per_task=7, chunk_bytes=1, **changes
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "i"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
        vsearch.build(table(0, ROWS), folder, vectors="v", id="key", **OPTIONS)
    return folder


def parts(count):
    edges = np.linspace(0, ROWS, count + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def spark(folder: Path) -> None:
    for number, (low, high) in enumerate(parts(12)):
        name = f"part-{number:05d}-7d1c0e6a-4b1f-c000.snappy.parquet"
        pq.write_table(table(low, high), folder / name, compression="snappy")
        (folder / f".{name}.crc").write_bytes(b"crc\0")
    (folder / "_SUCCESS").touch()
    (folder / "._SUCCESS.crc").write_bytes(b"crc\0")
    metadata = []
    pq.write_table(table(0, 10), folder / "other.parquet", metadata_collector=metadata)
    (folder / "other.parquet").unlink()
    pq.write_metadata(table(0, 1).schema, folder / "_common_metadata")
    pq.write_metadata(table(0, 1).schema, folder / "_metadata", metadata_collector=metadata[:0])
    (folder / "_temporary" / "0").mkdir(parents=True)
    pq.write_table(table(0, 50), folder / "_temporary" / "0" / "part-00000.parquet")


def ray(folder: Path) -> None:
    for number, (low, high) in enumerate(parts(11)):
        pq.write_table(table(low, high), folder / f"2_{number:06d}_000000.parquet")


def hugging_face(folder: Path) -> None:
    (folder / "data").mkdir()
    for number, (low, high) in enumerate(parts(5)):
        pq.write_table(table(low, high), folder / "data" / f"train-{number:05d}-of-00005.parquet")
    (folder / "README.md").write_text("---\n---")
    (folder / ".gitattributes").touch()
    (folder / "dataset_infos.json").write_text(json.dumps({}))


def with_empty_ones(folder: Path) -> None:
    for number, (low, high) in enumerate([(0, 0), (0, 600), (600, 600), (600, 1199), (1199, ROWS), (ROWS, ROWS)]):
        pq.write_table(table(low, high), folder / f"{number}.parquet")


def other_orders(folder: Path) -> None:
    """Columns in another order, of narrower types, with other row groups and metadata."""
    for number, (low, high) in enumerate(parts(3)):
        rows = table(low, high)
        if number == 1:
            rows = rows.select(["n", "key", "v"])
            rows = rows.set_column(0, "n", rows.column("n").cast(pa.int32()))
        if number == 2:
            rows = rows.replace_schema_metadata({"pandas": "{}"})
        pq.write_table(rows, folder / f"{number}.parquet", row_group_size=170)


def arrow_files(folder: Path) -> None:
    for number, (low, high) in enumerate(parts(4)):
        with pa.ipc.new_file(folder / f"{number}.arrow", table(0, 1).schema) as writer:
            writer.write_table(table(low, high), max_chunksize=90)


@pytest.mark.parametrize("write", [spark, ray, hugging_face, with_empty_ones, other_orders, arrow_files])
def test_folders_of_other_programs(reference, tmp_path, write) -> None:
    (tmp_path / "source").mkdir()
    write(tmp_path / "source")
    store = open_store(tmp_path / "i")
    run(store, job(tmp_path / "source"))
    check_same(reference, tmp_path / "i")
    check_no_orphans(store)


@pytest.mark.parametrize("suffix", [".npy", ".fbin"])
def test_files_of_vectors_with_empty_ones_among_them(tmp_path, suffix) -> None:
    rows = clustered(ROWS, WIDTH)
    (tmp_path / "source").mkdir()
    for number, (low, high) in enumerate([(0, 0), (0, 2), (2, 2), (2, 1100), (1100, ROWS)]):
        path = tmp_path / "source" / f"{number + 8}{suffix}"  # 9 comes before 10
        if suffix == ".npy":
            np.save(path, rows[low:high])
        else:
            path.write_bytes(np.array([high - low, WIDTH], "<u4").tobytes() + rows[low:high].tobytes())
    vsearch.build(rows, tmp_path / "one", **OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
        vsearch.build(rows, tmp_path / "one", overwrite=True, **OPTIONS)
        run(open_store(tmp_path / "many"), job(tmp_path / "source", Columns()))
    check_same(tmp_path / "one", tmp_path / "many")


@pytest.mark.slow
def test_thousands_of_small_files_are_planned_with_few_reads(tmp_path, monkeypatch) -> None:
    (tmp_path / "source").mkdir()
    data = table(0, 1)
    for number in range(2000):
        part = data.set_column(1, "key", pa.array([f"row {number}"]))
        pq.write_table(part, tmp_path / "source" / f"{number}.parquet")
    store, stages = open_store(tmp_path / "i"), []
    described = job(tmp_path / "source")
    assert [file.path for file in described.files[:3]] == ["0.parquet", "1.parquet", "2.parquet"]

    def note(stage, done, total):
        if done == total:
            stages.append((stage, total))

    run(store, described, progress=note)
    assert ("files", -(-2000 // 7)) in stages
    assert len(vsearch.open(tmp_path / "i")) == 2000
    check_no_orphans(store)


def other_type(folder):
    pq.write_table(table(600, ROWS, n=pa.array(["text"] * 600)), folder / "b.parquet")


def other_width(folder):
    lists = pa.array(np.ones((600, WIDTH + 1), np.float32).tolist(), pa.list_(pa.float32(), WIDTH + 1))
    pq.write_table(table(600, ROWS).set_column(0, "v", lists), folder / "b.parquet")


def without_vectors(folder):
    pq.write_table(table(600, ROWS).drop_columns(["v"]), folder / "b.parquet")


def damaged(folder):
    (folder / "b.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")


def of_no_bytes(folder):
    (folder / "b.parquet").touch()


def truncated(folder):
    pq.write_table(table(600, ROWS), folder / "b.parquet")
    data = (folder / "b.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("write", [other_type, other_width, without_vectors, damaged, of_no_bytes, truncated])
def test_the_file_that_does_not_fit_is_named(tmp_path, write) -> None:
    source = tmp_path / "source"
    source.mkdir()
    pq.write_table(table(0, 600), source / "a.parquet")
    write(source)
    pq.write_table(table(0, 1), source / "c.parquet")
    store = open_store(tmp_path / "i")
    with pytest.raises(vsearch.InputError, match=r"b\.parquet"):
        run(store, job(source))
    assert store.list("") == []


def hive(folder, *, days):
    """Folders of days and countries, as Spark writes them with partitionBy."""
    for number, (low, high) in enumerate(parts(6)):
        country = ["fr", "__HIVE_DEFAULT_PARTITION__", "a%2Fb"][number % 3]
        path = folder / f"day={days[number // 3]}" / f"country={country}"
        path.mkdir(parents=True)
        pq.write_table(table(low, high), path / "part-00000.parquet")
    (folder / "_SUCCESS").touch()


@pytest.mark.parametrize("days", [("2026-01-01", "2026-01-02"), ("7", "12"), ("07", "12")])
def test_values_in_the_names_of_folders_are_columns(tmp_path, monkeypatch, days) -> None:
    monkeypatch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
    source = tmp_path / "region=eu" / "source"  # above the source, so no column
    source.mkdir(parents=True)
    hive(source, days=days)
    one = vsearch.build(source, tmp_path / "one", vectors="v", id="key", **OPTIONS)
    run(open_store(tmp_path / "many"), job(source))
    check_same(tmp_path / "one", tmp_path / "many")
    many = vsearch.open(tmp_path / "many")
    for index in (one, many):
        assert [attribute.name for attribute in index._snapshot.manifest.attributes] == ["key", "n", "day", "country"]
        assert index.count("country IS NULL") == index.count("country = 'a/b'") == 400
        assert index.count("day = 12" if days == ("7", "12") else f"day = '{days[1]}'") == 600
        row = index.get(["row 1000"], ["day", "n"]).to_pylist()[0]
        assert (row["day"], row["n"]) == (12 if days[0] == "7" else days[1], 1000)


def test_columns_of_files_come_before_those_of_folders(tmp_path) -> None:
    folder = tmp_path / "source" / "n=5"
    folder.mkdir(parents=True)
    pq.write_table(table(0, ROWS), folder / "a.parquet")
    run(open_store(tmp_path / "i"), job(tmp_path / "source"))
    assert vsearch.open(tmp_path / "i").count("n = 5") == 1


def test_columns_that_some_files_lack_are_null_there(tmp_path) -> None:
    (tmp_path / "source").mkdir()
    pq.write_table(table(0, 600), tmp_path / "source" / "a.parquet")
    pq.write_table(table(600, ROWS).drop_columns(["n"]), tmp_path / "source" / "b.parquet")
    run(open_store(tmp_path / "i"), job(tmp_path / "source"))
    assert vsearch.open(tmp_path / "i").count("n IS NULL") == 600


def test_a_run_with_other_options_over_an_interrupted_one(reference, tmp_path) -> None:
    (tmp_path / "source").mkdir()
    spark(tmp_path / "source")
    store = open_store(tmp_path / "i")
    other = describe_job(
        str(tmp_path / "source"),
        {},
        JobOptions("l2", "osq", 2.0, None, 5, 1, 4),
        columns=Columns("v", "key"),
        files_per_task=7,
        chunk_bytes=1,
    )

    def die(stage, *_):
        if stage == "shard":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, other, progress=die)
    run(store, job(tmp_path / "source"))
    check_same(reference, tmp_path / "i")
    with pytest.raises(vsearch.IndexExistsError):
        run(store, other)
    run(store, other, overwrite=True)
    assert read_manifest(store).metric == "l2"
    vsearch.prune(tmp_path / "i", keep=1, grace=0, older_than=0)
    check_no_orphans(store)


def test_jobs_of_one_command_are_the_same(tmp_path) -> None:
    (tmp_path / "source").mkdir()
    ray(tmp_path / "source")
    assert job_of(tmp_path / "source").id == job_of(tmp_path / "source").id
