"""A build of many tasks that is killed at any write goes on from what lies in the store, and leaves nothing behind."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest

import vsearch
from tests.cluster.conftest import check_no_orphans, check_same, job_of, table, vectors
from tests.cluster.killing import Twice, deaths_in, die_at, run
from tests.live.troubles import Killed
from vsearch.cluster.tasks import STEPS
from vsearch.storage import open_store, prune, snapshot_numbers
from vsearch.storage.snapshots.condemned import is_marker

#: What the first file of a stage is called, if not by the stage.
FIRST = {"deal": "model/", "shard": "segments/"}
DEATHS = deaths_in([stage for stage in STEPS if stage != "weights"], FIRST)
#: The same of the commit and the cleaning.
DEATHS += [(text, after) for text in ("manifest/000", "delete [") for after in (False, True)]


def test_killed_in_every_stage(parquet, reference, tmp_path) -> None:
    store, job = open_store(tmp_path / "index"), job_of(parquet)
    died = die_at(store, job, DEATHS)
    assert build_done(store, job)
    assert set(DEATHS) - set(died) <= {("-gather-", False)}, "gather comes after split, whose death is later"
    check_same(reference, tmp_path / "index")
    check_no_orphans(store)
    assert snapshot_numbers(store) == [1]


def build_done(store, job):
    """Whether the job is done: a further run finds the index."""
    try:
        return run(store, job).snapshot == 1
    except vsearch.IndexExistsError:
        return True


def test_every_task_at_once_on_two_workers(parquet, reference, tmp_path) -> None:
    store = open_store(tmp_path / "index")
    run(store, job_of(parquet), Twice())
    check_same(reference, tmp_path / "index")
    check_no_orphans(store)


def test_two_runs_of_one_job_at_the_same_time(parquet, reference, tmp_path) -> None:
    store, job = open_store(tmp_path / "index"), job_of(parquet)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: run(store, job), range(2))
    assert (one.snapshot, two.snapshot) == (1, 1)
    assert one.writer == two.writer
    build_again = job_of(parquet)
    assert build_again.id == job.id
    check_same(reference, tmp_path / "index")
    prune(store, grace=0)  # the second may have written for a while after the first was done
    check_no_orphans(store)
    with pytest.raises(vsearch.IndexExistsError):
        run(store, job)


def killed_in(store, job, stage):
    """Run a job until a stage begins."""

    def die(current, *_):
        if current == stage:
            raise Killed

    with pytest.raises(Killed):
        run(store, job, progress=die)


def test_a_run_that_died_after_the_commit_is_done(parquet, tmp_path, monkeypatch) -> None:
    store, job = open_store(tmp_path / "index"), job_of(parquet)
    with monkeypatch.context() as patch:
        patch.setattr("vsearch.cluster.outputs.Outputs.clear", lambda _: die_in("", ""))
        with pytest.raises(Killed):
            run(store, job)
    assert len(store.list("jobs")) > 10
    assert run(store, job).snapshot == 1
    check_no_orphans(store)


def test_an_index_is_replaced_by_the_same_job(parquet, reference, tmp_path) -> None:
    shutil.copytree(reference, tmp_path / "index")
    store, job = open_store(tmp_path / "index"), job_of(parquet)
    with pytest.raises(vsearch.IndexExistsError):
        run(store, job)
    for snapshot in (2, 3):
        assert run(store, job, overwrite=True).snapshot == snapshot
    assert store.list("jobs") == []
    prune(store, keep=1, grace=0)
    check_same(reference, tmp_path / "index")
    check_no_orphans(store)


def test_prune_removes_what_a_killed_job_left(parquet, reference, tmp_path) -> None:
    store = open_store(tmp_path / "index")
    killed_in(store, job_of(parquet), "shard")
    assert prune(store).files == (), "the job may go on for a day"
    assert len(prune(store, grace=0).files) > 10
    assert [info.path for info in store.list("") if not is_marker(info.path)] == []  # markers stay for their lifetime
    with pytest.raises(vsearch.IndexNotFoundError):
        prune(store, grace=0)
    shutil.copytree(reference, tmp_path / "index", dirs_exist_ok=True)
    with pytest.raises(Killed):
        run(store, job_of(parquet), overwrite=True, progress=lambda stage, *_: die_in(stage, "tune"))
    prune(store, grace=0)
    check_no_orphans(store)


def die_in(stage, chosen):
    if stage == chosen:
        raise Killed


def test_a_job_whose_objects_are_removed_meanwhile_says_so(parquet, tmp_path) -> None:
    store = open_store(tmp_path / "index")
    with pytest.raises(vsearch.ConflictError, match="build again"):
        run(store, job_of(parquet), progress=lambda stage, *_: stage == "deal" and prune(store, grace=0))


def test_a_changed_source_is_another_job(parquet, tmp_path) -> None:
    shutil.copytree(parquet, tmp_path / "source")
    before = job_of(tmp_path / "source").id
    assert job_of(tmp_path / "source").id == before
    (tmp_path / "source" / "part-1.parquet").touch()
    assert job_of(tmp_path / "source").id != before
    assert job_of(tmp_path / "source", bits=2.0).id != job_of(tmp_path / "source").id


def test_a_damaged_object_is_noticed(parquet, tmp_path) -> None:
    store, job = open_store(tmp_path / "index"), job_of(parquet)
    killed_in(store, job, "shard")
    for info in store.list("jobs"):
        if info.path.endswith("columns.arrow"):
            data = bytearray(store.get(info.path))
            data[len(data) // 3] ^= 1
            store.put(info.path, bytes(data), create=False)
    with pytest.raises(vsearch.CorruptIndexError, match="checksum"):
        run(store, job)


@pytest.mark.parametrize("stage", ["sample", "assign", "exchange"])
@pytest.mark.parametrize("name", [None, "part-0.parquet"])
def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path, stage, name) -> None:
    source, rows = tmp_path / "source", vectors()[:600]
    source.mkdir()
    for number in range(2):
        pq.write_table(table(rows, 300 * number, 300 * (number + 1)), source / f"part-{number}.parquet")

    def change(at, done, _):
        if (at, done) == (stage, 0):
            pq.write_table(table(-rows, 0, 300), source / "part-0.parquet")  # as long as before

    store = open_store(tmp_path / "index")
    with pytest.raises(vsearch.InputError, match=r"part-0.parquet: changed or was removed"):
        run(store, job_of(source / name if name else source), progress=change)
    assert store.list("") == []


@pytest.mark.slow
def test_files_that_are_added_meanwhile_are_not_part_of_the_source(parquet, reference, tmp_path) -> None:
    shutil.copytree(parquet, tmp_path / "source")

    def add(stage, *_):
        if stage == "assign":
            shutil.copy(parquet / "part-1.parquet", tmp_path / "source" / "part-9.parquet")

    store = open_store(tmp_path / "index")
    run(store, job_of(tmp_path / "source"), progress=add)
    check_same(reference, tmp_path / "index")


@pytest.mark.slow
def test_an_index_that_appears_meanwhile_is_not_replaced_silently(parquet, reference, tmp_path) -> None:
    store, done = open_store(tmp_path / "index"), []

    def appear(stage, *_):
        done.append(stage)
        if stage == "tune" and "other" not in done:
            done.append("other")
            vsearch.build(vectors()[:50], tmp_path / "index", partitions=2)

    with pytest.raises(vsearch.ConflictError, match="overwrite=True"):
        run(store, job_of(parquet), progress=appear)
    assert vsearch.open(tmp_path / "index").count() == 50
    run(store, job_of(parquet), overwrite=True)
    check_same(reference, tmp_path / "index")


@pytest.mark.parametrize("place", ["", "index", "below/index"])
def test_an_index_among_its_own_embeddings_is_refused(parquet, tmp_path, place) -> None:
    shutil.copytree(parquet, tmp_path / "source")
    with pytest.raises(vsearch.InputError, match="lies in"):
        vsearch.build(tmp_path / "source", tmp_path / "source" / place, vectors="v", client="local:1")
