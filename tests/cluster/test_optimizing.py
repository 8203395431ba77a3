"""Optimizations of many tasks: the same files as in one process, beside other writers, and after deaths."""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest

import vsearch
from tests.cluster.conftest import WIDTH, check_no_orphans, meanwhile
from tests.cluster.killing import Twice, die_in_turn
from tests.indexes import clustered
from vsearch.cluster import context
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.job import Columns, Job, JobOptions
from vsearch.cluster.merge_steps import FORCE
from vsearch.cluster.optimizing import optimize_by_job, tune_by_job
from vsearch.live.optimizing import optimize, silent
from vsearch.live.retuning import find_settings
from vsearch.storage import open_store, prune
from vsearch.storage.snapshots.upgrading import origin_of

ROWS = 1500


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """An index with removed rows, and with deltas that make a partition too large."""
    path, rows = tmp_path_factory.mktemp("changed") / "index", clustered(ROWS, WIDTH)
    values = {"n": np.arange(ROWS) % 7}
    index = vsearch.build(
        rows, path, attributes=_table(values), ids=[f"row {i}" for i in range(ROWS)], partitions=12, shards=3
    )
    near = rows[:1] + np.float32(1e-2) * np.random.default_rng(0).standard_normal((900, WIDTH)).astype(np.float32)
    index.append(near, attributes=_table({"n": np.arange(900)}), ids=[f"new {i}" for i in range(900)])
    index.delete(ids=[f"row {i}" for i in range(0, 300, 3)])
    index.append(rows[:40] + 1, ids=[f"more {i}" for i in range(40)])
    return path


def _table(columns):
    import pyarrow as pa

    return pa.table(columns)


def job_of(snapshot, *subject):
    manifest = snapshot.manifest
    options = JobOptions(manifest.metric, "osq", 1.0, manifest.rerank, None, None, 0)
    return Job("1", "", (), Columns(), options, 1, 1, 1, "optimize", (origin_of(manifest), *subject))


def by_tasks(store, engine=None, *, force=True, progress=silent, start=None):
    context._contexts.cache_clear()
    snapshot = start or vsearch.open(store.url).snapshot
    job = job_of(snapshot, FORCE) if force else job_of(snapshot)
    return optimize_by_job(snapshot, job, engine or SerialEngine(), storage={}, progress=progress)


@pytest.fixture
def copies(changed, tmp_path):
    """Two copies of the index: the first is optimized in one process, the second is not."""
    for name in ("one", "many"):
        shutil.copytree(changed, tmp_path / name)
    report, snapshot = optimize(vsearch.open(tmp_path / "one").snapshot, force=True)
    assert (report.merged, report.split > 0) == (3, True)
    return snapshot, open_store(tmp_path / "many")


def check_same_runs(one, two):
    """Two snapshots have the same runs, in files that are equal byte for byte."""
    before, after = one.manifest, two.manifest
    assert (before.rows, before.partitions, before.live.next_partition) == (
        after.rows,
        after.partitions,
        after.live.next_partition,
    )
    assert before.live.deltas == after.live.deltas == ()
    pairs = [(a.base, b.base) for a, b in zip(before.shards, after.shards, strict=True)]
    for old, new in pairs:
        assert (old.rows, old.ids) == (new.rows, new.ids)  # numbers depend on how many deltas there were
        assert bytes(one.store.get(old.bundle.path)) == bytes(two.store.get(new.bundle.path))
    for kind, entry in before.model.items():
        assert bytes(one.store.get(entry.path)) == bytes(two.store.get(after.model[kind].path)), kind


def check_clean(store):
    assert store.list("jobs") == []
    prune(store, keep=1, grace=0, older_than=0)
    check_no_orphans(store)


@pytest.mark.parametrize("engine", [SerialEngine, Twice])
def test_the_same_files_as_in_one_process(copies, engine) -> None:
    one, store = copies
    report, snapshot = by_tasks(store, engine())
    assert (report.merged, report.rows_written) == (3, one.manifest.rows)
    check_same_runs(one, snapshot)
    check_same_runs(one, vsearch.open(store.url).snapshot)
    check_clean(store)
    again, after = by_tasks(store)
    assert not again.changed
    assert after.manifest.snapshot == snapshot.manifest.snapshot


DEATHS = [("-job.json", True), ("-base-", False), ("-base-", True), ("model/", True), ("-pieces-000000.json", False)]
DEATHS += [("segments/", False), ("segments/", True), ("-merge-000001.json", False), ("-merge-000001.json", True)]
DEATHS += [("manifest/000", False), ("manifest/000", True), ("delete [", False), ("delete [", True)]


def test_killed_anywhere(copies) -> None:
    one, store = copies
    assert (
        die_in_turn(
            store, DEATHS, lambda mortal: by_tasks(mortal, start=vsearch.open(store.url).snapshot.like(store=mortal))
        )
        == DEATHS
    )
    by_tasks(store)
    check_same_runs(one, vsearch.open(store.url).snapshot)
    check_clean(store)


@pytest.mark.parametrize("stage", ["pieces", "merge"])
def test_rows_that_others_add_and_remove_meanwhile(copies, stage) -> None:
    _, store = copies
    other = vsearch.open(store.url)

    def change():
        other.delete(ids=["row 1", "new 5"])
        other.append(np.eye(2, WIDTH, dtype=np.float32), ids=["a", "b"])

    report, snapshot = by_tasks(store, progress=meanwhile(stage, change))
    assert report.merged == 3
    index = vsearch.open(store.url)
    assert index.snapshot.manifest.rows == snapshot.manifest.rows == ROWS + 900 + 40 - 100 - 2 + 2
    found = set(index.search(np.eye(1, WIDTH, dtype=np.float32), k=3000, exact=True).ids[0].tolist())
    assert {"a", "b", "row 2", "new 4"} <= found
    assert not {"row 0", "row 1", "new 5"} & found
    check_clean(store)


@pytest.mark.parametrize("stage", ["pieces", "merge"])
def test_segments_that_another_optimization_replaces_are_left_to_it(copies, stage) -> None:
    one, store = copies
    report, snapshot = by_tasks(
        store, progress=meanwhile(stage, lambda: vsearch.open(store.url).optimize(force=True, retune=False))
    )
    assert not report.merged
    check_same_runs(one, snapshot)
    check_clean(store)


def test_tuning_in_a_task(changed, tmp_path, full_tuning) -> None:
    shutil.copytree(changed, tmp_path / "index")
    start = vsearch.open(tmp_path / "index").snapshot
    context._contexts.cache_clear()
    after = tune_by_job(start, job_of(start, "tune"), SerialEngine(), storage={})
    assert after.settings == find_settings(start)
    assert after.manifest.live.operation.kind == "tune"
    check_clean(start.store)


@pytest.mark.parametrize("options", [{"client": 3}, {"storage": {}}])
def test_arguments_are_checked(changed, tmp_path, options) -> None:
    shutil.copytree(changed, tmp_path / "index")
    index = vsearch.open(tmp_path / "index")
    np.save(tmp_path / "rows.npy", np.eye(2, WIDTH, dtype=np.float32))
    for change in (index.optimize, partial(index.append, tmp_path / "rows.npy")):
        with pytest.raises(vsearch.InputError, match="client"):
            change(**options)
