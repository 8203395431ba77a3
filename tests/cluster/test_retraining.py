"""Retraining of many tasks: the same files as in one process, beside other writers, and after deaths."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.cluster.conftest import WIDTH, check_no_orphans, vectors
from tests.cluster.killing import die_in_turn
from tests.cluster.test_optimizing import meanwhile
from vsearch.api.cluster_building import job_options
from vsearch.cluster import context
from vsearch.cluster.engines import SerialEngine
from vsearch.cluster.job import Columns, Job
from vsearch.cluster.retraining import retrain_by_job
from vsearch.live.optimizing import silent
from vsearch.live.options import options_of
from vsearch.live.retraining import retrain
from vsearch.search.state.model_reading import training_of
from vsearch.storage import open_store, prune

#: Two chunks of rows.
#: The first rows are all alike.
pytestmark = pytest.mark.filterwarnings("ignore:.*far from all partitions")

ROWS = 17_000
KINDS = ["string", "row"]


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    path, rows = tmp_path_factory.mktemp("changed"), vectors()[:ROWS]
    for kind in KINDS:
        names = [f"row {i}" for i in range(ROWS)] if kind == "string" else None
        table = pa.table({"n": np.arange(ROWS) % 7, "s": [f"word {i % 5}" if i % 3 else None for i in range(ROWS)]})
        index = vsearch.build(
            rows[:400], path / kind, attributes=table.slice(0, 400), ids=names and names[:400], partitions=6, shards=2
        )
        index.append(rows[400:], attributes=table.slice(400), ids=names and names[400:])
        index.delete(ids=["row 3", "row 9000"] if names else [3, 9000])
    return path


@pytest.fixture
def copies(changed, tmp_path):
    def copy(kind):
        for name in ("one", "many"):
            shutil.copytree(changed / kind, tmp_path / name)
        return vsearch.open(tmp_path / "one").snapshot, open_store(tmp_path / "many")

    return copy


OPTIONS = {"partitions": 24, "shards": 3}


def by_tasks(store, *, progress=silent, start=None):
    context._contexts.cache_clear()
    snapshot = start or vsearch.open(store.url).snapshot
    training = sorted(training_of(snapshot.manifest).values())
    options = job_options(options_of(snapshot, **OPTIONS), None)
    job = Job("1", "", (), Columns(), options, 1, 1, 1, "retrain", tuple(training))
    return retrain_by_job(snapshot, job, SerialEngine(), storage={}, progress=progress)


def check_same_index(one, two):
    """Two retrained snapshots have files that are equal byte for byte."""
    before, after = one.manifest, two.manifest
    assert before.settings == after.settings
    assert (before.rows, before.partitions, before.id_type) == (after.rows, after.partitions, after.id_type)
    assert before.live.next_row == after.live.next_row
    pairs = [
        (before.model, after.model),
        *((a.files, b.files) for a, b in zip(before.shards, after.shards, strict=True)),
    ]
    for expected, found in pairs:
        assert expected.keys() == found.keys()
        for kind, entry in expected.items():
            assert bytes(one.store.get(entry.path)) == bytes(two.store.get(found[kind].path)), kind


def check_clean(store):
    assert store.list("jobs") == []
    prune(store, keep=1, grace=0, older_than=0)
    check_no_orphans(store)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_files_as_in_one_process(copies, kind) -> None:
    start, store = copies(kind)
    _, one = retrain(start, options_of(start, **OPTIONS), progress=silent)
    commit, snapshot = by_tasks(store)
    assert commit.snapshot == snapshot.manifest.snapshot == one.manifest.snapshot
    check_same_index(one, snapshot)
    check_same_index(one, vsearch.open(store.url).snapshot)
    check_clean(store)


DEATHS = [("-job.json", True), ("-base-", True), ("-plan-", False), ("-plan-", True), ("-train-000000.json", True)]
DEATHS += [("-exchange-000001.json", False), ("segments/", False), ("-tune-", False), ("manifest/000", False)]
DEATHS += [("manifest/000", True), ("delete [", False), ("delete [", True)]


def test_killed_anywhere(copies) -> None:
    start, store = copies("string")
    _, one = retrain(start, options_of(start, **OPTIONS), progress=silent)
    first = vsearch.open(store.url).snapshot
    assert die_in_turn(store, DEATHS, lambda mortal: by_tasks(mortal, start=first.like(store=mortal))) == DEATHS
    commit, snapshot = by_tasks(store, start=first)
    assert commit.snapshot == one.manifest.snapshot, "the commit of the run that died after it"
    check_same_index(one, snapshot)
    check_clean(store)


@pytest.mark.parametrize("stage", ["sample", "tune"])
def test_rows_that_others_add_and_remove_meanwhile(copies, stage) -> None:
    _, store = copies("string")
    other = vsearch.open(store.url)

    def change():
        other.delete(ids=["row 1"])
        other.append(np.eye(2, WIDTH, dtype=np.float32), ids=["a", "b"])

    by_tasks(store, progress=meanwhile(stage, change))
    index = vsearch.open(store.url)
    assert len(index) == ROWS - 2 - 1 + 2
    assert index.info()["partitions"] >= 20
    found = index.search(np.eye(1, WIDTH, dtype=np.float32), k=50, exact=True).ids[0].tolist()
    assert "a" in found
    assert index.count("n = 5") > 2000
    check_clean(store)


def test_a_retraining_by_another_writer_wins(copies) -> None:
    _, store = copies("string")
    with pytest.raises(vsearch.ConflictError, match="retrained in the meantime"):
        by_tasks(store, progress=meanwhile("assign", lambda: vsearch.open(store.url).retrain(partitions=8)))
    assert vsearch.open(store.url).info()["partitions"] < 20
    check_clean(store)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"vectors": np.eye(2)}, "vectors and ids"), ({"client": 3}, "client must be"), ({"shards": 50_000}, "shards")],
)
def test_arguments_are_checked(changed, tmp_path, options, message) -> None:
    shutil.copytree(changed / "row", tmp_path / "index")
    store = open_store(tmp_path / "index")
    before = store.list("")
    with pytest.raises(vsearch.InputError, match=message):
        vsearch.open(store.url).retrain(**{"client": "local:1", **options})
    assert store.list("") == before
