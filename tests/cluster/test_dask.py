"""Builds on dask clusters: workers that die, a client that dies, an object store, and the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cli.conftest import invoke
from tests.cluster.conftest import OPTIONS, check_no_orphans, check_same, table, vectors
from tests.cluster.test_optimizing import check_clean, check_same_runs
from tests.indexes import clustered
from vsearch.errors import VsearchWarning
from vsearch.storage import open_store
from vsearch.storage.stores.scratch import temporary_name

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*far from all partitions"),
]

ROOT = Path(__file__).parents[2]


class Killer(distributed.WorkerPlugin):
    """Kills each worker that begins a task of some stages, once for each stage."""

    def __init__(self, folder, stages):
        self.folder, self.stages = str(folder), stages

    def setup(self, worker):
        self.worker = worker

    def transition(self, key, start, finish, **_):
        stage = str(key).split("-")[1] if str(key).startswith("vsearch-") else ""
        if finish == "executing" and stage in self.stages:
            try:
                os.close(os.open(f"{self.folder}/{stage}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_are_replaced(parquet, reference, tmp_path, small_chunks) -> None:
    stages = ("assign", "exchange", "shard")
    (tmp_path / "killed").mkdir()
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(Killer(tmp_path / "killed", stages))
        index = vsearch.build(parquet, tmp_path / "index", vectors="v", id="key", client=client, **OPTIONS)
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(stages)
    assert index.info()["rows"] == 20_000
    check_same(reference, tmp_path / "index")
    check_no_orphans(open_store(tmp_path / "index"))


def test_a_client_and_its_cluster_that_die_are_started_again(parquet, reference, tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "vsearch.cli",
        "build",
        str(parquet),
        str(tmp_path / "index"),
        "--cluster",
        "local:1",
    ]
    options = ["--vectors", "v", "--id", "key", "--partitions", "24", "--shards", "3", "--seed", "7"]
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    store = open_store(tmp_path / "index")
    try:
        deadline = time.monotonic() + 120
        while not any("-train-" in info.path for info in store.list("jobs")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    trained = [info for info in store.list("jobs") if "-train-" in info.path]
    assert trained
    # A process may die while it writes a file.
    name = temporary_name(tmp_path / "index" / "jobs").name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    (tmp_path / "index" / "jobs" / name).write_bytes(b"1")
    assert invoke("info", tmp_path / "index").status != 0
    told = invoke(*command[3:-1], "local:1", *options)
    assert told.status == 0, told.errors
    check_same(reference, tmp_path / "index")
    check_no_orphans(store)


def test_in_an_object_store(parquet, reference, s3_url, s3_options, small_chunks) -> None:
    source = open_store(f"{s3_url}/source", **s3_options)
    for path in sorted(parquet.iterdir()):
        source.put(path.name, path.read_bytes())

    def interrupt(stage, *_):
        if stage == "shard":
            raise KeyboardInterrupt

    arguments = {"vectors": "v", "id": "key", **OPTIONS, **s3_options}
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        with pytest.raises(KeyboardInterrupt):
            vsearch.build(f"{s3_url}/source", f"{s3_url}/index", client=client, progress=interrupt, **arguments)
        store = open_store(f"{s3_url}/index", **s3_options)
        begun = {info.path for info in store.list("jobs") if "-exchange-" in info.path}
        assert begun
        vsearch.build(f"{s3_url}/source", f"{s3_url}/index", client=client, **arguments)
    check_same(reference, f"{s3_url}/index", s3_options)
    check_no_orphans(store)


def test_changes_go_on_when_workers_die(parquet, tmp_path, small_chunks) -> None:
    stages = ("encode", "merge")
    (tmp_path / "killed").mkdir()
    folders = [tmp_path / "one", tmp_path / "many"]
    for folder in folders:
        vsearch.build(table(vectors(), 0, 300), folder, vectors="v", id="key", partitions=8, shards=2)
    source = tmp_path / "source"
    source.mkdir()
    pq.write_table(table(vectors(), 300, 18_000), source / "rows.parquet")
    one = vsearch.open(folders[0])
    one.append(source, vectors="v", id="key")
    expected = one.optimize(retune=False, force=True)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(Killer(tmp_path / "killed", stages))
        index = vsearch.open(folders[1])
        commit = index.append(source, vectors="v", id="key", client=client)
        report = index.optimize(retune=False, force=True, client=client)
    assert commit.added == 17_700
    assert (report.merged, report.rows_written) == (expected.merged, expected.rows_written) == (expected.merged, 18_000)
    assert set(stages) == {path.name for path in (tmp_path / "killed").iterdir()}
    check_same_runs(one.snapshot, index.snapshot)
    check_clean(open_store(folders[1]))


def test_changes_from_the_command_line(tmp_path) -> None:
    rows = vectors()
    np.save(tmp_path / "first.npy", rows[:300])
    np.save(tmp_path / "second.npy", rows[300:700])
    for command in (
        ("build", tmp_path / "first.npy", tmp_path / "index", "--partitions", "4"),
        ("append", tmp_path / "index", tmp_path / "second.npy", "--cluster", "local:1"),
        ("optimize", tmp_path / "index", "--force", "--cluster", "local:1"),
    ):
        told = invoke(*command)
        assert told.status == 0, told.errors
    assert vsearch.open(tmp_path / "index").info()["rows"] == 700
    check_clean(open_store(tmp_path / "index"))


def test_rows_far_from_all_partitions_are_reported_once(tmp_path) -> None:
    rows = clustered(600, 8)
    index = vsearch.build(rows[:300], tmp_path / "index", metric="l2", partitions=8)
    sources = [tmp_path / f"{name}.npy" for name in ("alike", "far", "far-again")]
    for path, low, offset in zip(sources, (300, 400, 500), (0, 30, 30), strict=True):
        np.save(path, rows[low : low + 100] + np.float32(offset))
    told = []
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        for path in sources:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", VsearchWarning)
                assert index.append(path, client=client).added == 100
            told.append([str(one.message) for one in caught if issubclass(one.category, VsearchWarning)])
    alike, far, again = told
    assert (alike, again) == ([], [])
    assert len(far) == 1
    assert "far from all partitions" in far[0]
