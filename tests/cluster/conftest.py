from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.building.training import BuildOptions
from vsearch.cluster.context import _contexts
from vsearch.cluster.job import Columns, JobOptions
from vsearch.cluster.running import describe_job
from vsearch.storage import open_store, read_manifest

#: Two chunks of rows, in three files. A fifth of the rows are equal, and another fifth nearly: these partitions are split.
ROWS, WIDTH = 20_000, 8
OPTIONS = {"partitions": 24, "shards": 3, "seed": 7}


def vectors():
    rows = clustered(ROWS, WIDTH)
    rows[:4000] = rows[0]
    rows[4000:8000] = rows[4000] + np.float32(1e-3) * rows[4000:8000]
    return rows


def table(rows, low, high):
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows[low:high].ravel()), WIDTH)
    numbers = range(low, high)
    return pa.table(
        {
            "key": pa.array([f"row {i}" for i in numbers], pa.string()),
            "v": flat,
            "n": pa.array([i % 97 if i % 7 else None for i in numbers], pa.int64()),
            "s": pa.array([f"word {i % 13}" if i % 5 else None for i in numbers], pa.string()),
            "tags": pa.array([[f"t{i % 3}"] * (i % 2) for i in numbers], pa.list_(pa.string())),
        }
    )


@pytest.fixture(scope="session")
def parquet(tmp_path_factory):
    """A folder of Parquet files with unlike row groups."""
    folder, rows = tmp_path_factory.mktemp("source"), vectors()
    for number, (low, high) in enumerate([(0, 9000), (9000, 9001), (9001, ROWS)]):
        pq.write_table(table(rows, low, high), folder / f"part-{number}.parquet", row_group_size=2600 + number)
    return folder


@pytest.fixture(scope="session")
def arrays(tmp_path_factory):
    """A folder of npy files."""
    folder, rows = tmp_path_factory.mktemp("arrays"), vectors()
    for number, (low, high) in enumerate([(0, 9000), (9000, ROWS)]):
        np.save(folder / f"{number}.npy", rows[low:high])
    return folder


@pytest.fixture(scope="session")
def reference(parquet, tmp_path_factory):
    """The index of the Parquet files that one process builds."""
    folder = tmp_path_factory.mktemp("reference") / "index"
    with pytest.MonkeyPatch.context() as patch:  # as in processes of workers, which do not know the tests' own number
        patch.setattr("vsearch.search.defaults.TUNING_QUERIES", 512)
        vsearch.build(parquet, folder, vectors="v", id="key", **OPTIONS)
    return folder


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of as few rows as there can be, also for jobs that the library describes, and a header to a task."""
    import msgspec

    from vsearch.cluster import description

    small = msgspec.structs.replace(description.build_division(), files_per_task=1, chunk_bytes=1, bucket_rows=7000)
    monkeypatch.setattr(description, "build_division", lambda: small)


@pytest.fixture(autouse=True)
def fresh(full_tuning):
    """Contexts that the process keeps are those of a process that has just started."""
    _contexts.cache_clear()


def job_of(source, columns=None, *, metric="cosine", quantizer="osq", bits=1.0, rerank="auto", **fields):
    """A job of small chunks."""
    options = BuildOptions(metric, quantizer, bits, rerank)
    described = JobOptions(metric, quantizer, bits, options.rerank, 24, 3, 7, **fields)
    division = {"files_per_task": 1, "chunk_bytes": 1, "bucket_rows": 7000}
    return describe_job(str(source), {}, described, columns=columns or Columns("v", "key"), **division)


def check_same(one, two, storage=None):
    """Two indexes have the same rows in the same order, in files that are equal byte for byte."""
    first, second = open_store(one), open_store(two, **(storage or {}))
    before, after = read_manifest(first), read_manifest(second)
    assert before.settings == after.settings
    assert before.attributes == after.attributes
    assert (before.rows, before.partitions, before.quantizer) == (after.rows, after.partitions, after.quantizer)
    if before.live or after.live:
        assert before.live.ttl == after.live.ttl
        assert before.live.next_row == after.live.next_row
    pairs = [(before.model, after.model)]
    pairs += [(a.files, b.files) for a, b in zip(before.shards, after.shards, strict=True)]
    assert [shard.columns for shard in before.shards] == [shard.columns for shard in after.shards]
    for expected, found in pairs:
        assert expected.keys() == found.keys()
        for kind, entry in expected.items():
            assert bytes(first.get(entry.path)) == bytes(second.get(found[kind].path)), kind


def check_no_orphans(store):
    """Every object is one that the newest manifest names, or a manifest."""
    from vsearch.storage.snapshots.manifest import manifest_files

    named = {entry.path for entry in manifest_files(read_manifest(store))}
    there = {info.path for info in store.list("") if not info.path.startswith("manifest/")}
    assert there == named


def meanwhile(stage, change):
    """Make a change the first time that a stage begins."""
    done = []

    def report(current, *_):
        if current == stage and not done:
            done.append(change())

    return report
