"""Several writers, and stores that lose answers, refuse and fail: no commit is lost, and none is unreadable."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import msgspec
import numpy as np
import pytest

import vsearch
from bench.fuzzers.commits import fuzz_commits
from tests.storage.samples import manifest, write_shard
from vsearch.errors import ConflictError, StoreError
from vsearch.storage import (
    commit,
    discarded_on_failure,
    list_snapshots,
    open_store,
    probe,
    prune,
    read_manifest,
    snapshot_numbers,
    verify,
)
from vsearch.storage.files.naming import manifest_path
from vsearch.storage.snapshots.condemned import put_marker


def paths(store) -> set[str]:
    return {info.path for info in store.list("")}


class Interrupted:
    """A store at which something happens once: before the first call that `when` picks, or in its place."""

    def __init__(self, store, when, event):
        self.store, self.when, self.event, self.done = store, when, event, False

    def __getattr__(self, name):
        value = getattr(self.store, name)
        if not callable(value):
            return value

        def call(*args, **named):
            if not self.done and self.when(name, *args):
                self.done = True
                self.event()
            return value(*args, **named)

        return call


def is_put(name, path="", *_):
    return name == "put" and path.startswith("manifest/0")


def raising(error):
    def event():
        raise error

    return event


def test_an_insisting_commit_goes_on_from_another_writers(store):
    commit(store, manifest(writer="first"))
    late = Interrupted(store, is_put, lambda: commit(store, manifest(writer="tune")))
    assert commit(late, manifest(writer="overwrite"), insist=True).snapshot == 3
    assert read_manifest(store).lineage == ("tune", "first")
    assert [info.writer for info in list_snapshots(store)] == ["first", "tune", "overwrite"]


def test_a_refused_put_with_nothing_written_is_put_again(store):
    commit(store, manifest())
    refusing = Interrupted(store, is_put, raising(ConflictError("409 ConditionalRequestConflict")))
    assert commit(refusing, manifest(writer="me"), base=1).snapshot == 2
    assert read_manifest(store).writer == "me"


def test_a_store_that_always_refuses_ends(store, monkeypatch):
    monkeypatch.setattr("vsearch.storage.snapshots.committing.FIRST_WAIT", 0.001)
    refusing = Interrupted(store, lambda *_: False, None)
    refusing.put = lambda *_, **__: (_ for _ in ()).throw(ConflictError("no"))
    with pytest.raises(ConflictError, match=r"6 times as existing, but it does not exist"):
        commit(refusing, manifest(), base=0)
    assert snapshot_numbers(store) == []


@pytest.mark.parametrize("written", [False, True])
def test_an_answer_that_is_lost(store, written):
    new = manifest(writer="me")

    def lose():
        if written:
            commit(store, new)
        raise StoreError("connection reset")

    losing = Interrupted(store, is_put, lose)
    if written:
        assert commit(losing, new, base=0).snapshot == 1
        assert read_manifest(store).writer == "me"
    else:
        with pytest.raises(StoreError, match="connection reset"):
            commit(losing, new, base=0)
        assert snapshot_numbers(store) == []


def test_a_number_that_was_pruned_is_not_committed_where_nobody_sees_it(store):
    """Between the listing and the put: others commit this number and the next, and a prune removes it."""

    def overtaken():
        for name in ("second", "third"):
            commit(store, manifest(writer=name, shards=(write_shard(store, 0),)))
        prune(store, keep=1)

    for insist in (False, True):
        newest = commit(store, manifest(shards=(write_shard(store, 0),))).snapshot
        late = Interrupted(store, is_put, overtaken)
        if insist:
            assert commit(late, manifest(writer="me"), insist=True).snapshot == newest + 3
            assert read_manifest(store).writer == "me"
        else:
            with pytest.raises(ConflictError, match="another writer"):
                commit(late, manifest(writer="me"), base=newest)
            assert read_manifest(store).writer == "third"
            assert snapshot_numbers(store) == [newest + 2]


def test_one_who_was_followed_before_looking_again_has_committed(store):
    def followed():
        number = read_manifest(store).snapshot
        commit(store, manifest(writer="next"), base=number)
        prune(store, keep=1)

    calls = iter(range(100))
    watched = Interrupted(
        store, lambda name, *args: name == "list" and args == ("manifest",) and next(calls) == 1, followed
    )
    assert commit(watched, manifest(writer="me"), base=0).snapshot == 1
    assert read_manifest(store).lineage == ("me",)


@pytest.mark.parametrize("moment", ["before", "between"])
def test_a_prune_without_grace_removes_the_files_of_a_commit_under_way(store, moment):
    commit(store, manifest(writer="good", shards=(write_shard(store, 0),)))
    shard = write_shard(store, 0)
    if moment == "before":
        prune(store, grace=0)
        pruned = store
    else:
        pruned = Interrupted(store, is_put, lambda: prune(store, grace=0))
    with pytest.raises(ConflictError, match="a prune removed files of this snapshot"):
        commit(pruned, manifest(writer="me", shards=(shard,)), base=1)
    assert read_manifest(store).writer == "good"
    assert verify(store).ok


def test_a_prune_that_goes_on_while_a_commit_looks_again(store, monkeypatch):
    """Its files are condemned by a prune that does not end: the commit is taken back. A marker that is old counts no more."""
    monkeypatch.setattr("vsearch.storage.snapshots.committing.PATIENCE", 0.2)
    shard = write_shard(store, 0)
    put_marker(store, [entry.path for entry in shard.files.values()])
    with pytest.raises(ConflictError, match="a prune removed files"):
        commit(store, manifest(shards=(shard,)), base=0)
    assert snapshot_numbers(store) == []
    monkeypatch.setattr("vsearch.storage.snapshots.condemned.LIFETIME", timedelta(0))
    assert commit(store, manifest(shards=(shard,)), base=0).snapshot == 1


def test_what_a_writer_wrote_is_as_old_as_its_youngest_file(tmp_path):
    """A build of three days: its first files are older than the grace, its last are not."""
    store = open_store(tmp_path)
    commit(store, manifest(shards=(write_shard(store, 0),)))
    shard = write_shard(store, 1)
    first, *others = sorted(entry.path for entry in shard.files.values())
    os.utime(tmp_path / first, (time.time() - 300_000,) * 2)
    assert prune(store).files == ()
    commit(store, manifest(shards=(msgspec.structs.replace(shard, number=0),)), base=1)
    assert verify(store).ok
    assert others


def test_age_is_told_by_the_clock_of_the_store(store, monkeypatch):
    from vsearch.storage.snapshots import pruning

    class Ahead(pruning.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + timedelta(days=30)

    commit(store, manifest())
    write_shard(store, 0)
    monkeypatch.setattr(pruning, "datetime", Ahead)
    assert prune(store).files == ()


def test_a_snapshot_without_its_files_does_not_count_as_kept(store):
    commit(store, manifest(writer="good", shards=(write_shard(store, 0),)))
    broken = write_shard(store, 0)
    commit(store, manifest(writer="broken", shards=(broken,)))
    store.delete([broken.files["codes"].path])
    report = prune(store, keep=1, grace=0)
    assert (report.snapshots, report.kept) == ((), (1, 2))
    assert verify(store, 1).ok


@pytest.mark.parametrize("grace", [-1, float("nan"), "a day", None, -timedelta(1)])
def test_unusable_graces(store, grace):
    commit(store, manifest())
    with pytest.raises(vsearch.InputError, match="grace"):
        prune(store, grace=grace)


class Heedless:
    """A store that ignores `If-None-Match`."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, path, data, *, create=True):
        self._store.put(path, data, create=False)


def test_a_store_that_ignores_conditions_is_refused_before_the_work(remote, monkeypatch):
    monkeypatch.setattr("vsearch.api.build_and_open.open_store", lambda *_, **__: Heedless(remote))
    stages = []
    with pytest.raises(StoreError, match=r"ignores conditional writes \(If-None-Match"):
        vsearch.build(np.eye(8, dtype=np.float32), "any", progress=lambda stage, *_: stages.append(stage))
    assert stages == []
    assert paths(remote) == set()


def test_a_probe_leaves_nothing(store, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    probe(store)
    assert paths(store) == set()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write anywhere
    with pytest.raises(StoreError, match=r"is not writable; check the owner"):
        probe(open_store(tmp_path / "a" / "b"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="a part of the path is a file"):
        probe(open_store(tmp_path / "file" / "index"))


def test_a_writer_that_fails_removes_its_files_and_no_others(store):
    other = write_shard(store, 0)

    def fail():
        store.put("segments/mine-00000-codes.arrow", b"1")
        store.put("model/mine-8.arrow", b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), discarded_on_failure(store, "mine"):
        fail()
    assert paths(store) == {entry.path for entry in other.files.values()}


def test_files_that_a_manifest_names_are_never_discarded(store):
    shard = write_shard(store, 0)
    writer = shard.files["codes"].path.split("/")[1].split("-")[0]
    commit(store, manifest(shards=(shard,)))
    with pytest.raises(ValueError, match="later"), discarded_on_failure(store, writer):
        raise ValueError("later")
    assert verify(store).ok


def test_a_damaged_newest_manifest_can_be_replaced(store):
    commit(store, manifest(writer="good"))
    commit(store, manifest())
    store.put(manifest_path(2), b"{}", create=False)
    assert commit(store, manifest(writer="new"), insist=True).snapshot == 3
    assert read_manifest(store).lineage == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_histories_of_many_writers(seed):
    assert fuzz_commits(seed, 100) > 50
