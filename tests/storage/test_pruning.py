from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest

from tests.storage.samples import manifest, write_shard
from vsearch.errors import CorruptIndexError, IndexNotFoundError, InputError
from vsearch.storage import commit, open_store, prune, read_manifest, snapshot_numbers, verify
from vsearch.storage.files.naming import manifest_path


def paths(store):
    return {info.path for info in store.list("")}


@pytest.fixture
def three(store):
    """Three snapshots; the third goes on using the shard of the second."""
    shards = [write_shard(store, 0) for _ in range(2)]
    for shard in (shards[0], shards[1], shards[1]):
        commit(store, manifest(shards=(shard,)))
    return store, shards


def named(shard):
    return {entry.path for entry in shard.files.values()}


def test_old_snapshots_go_with_the_files_that_only_they_name(three):
    store, shards = three
    size = sum(entry.bytes for entry in shards[0].files.values())
    report = prune(store, keep=2)
    assert report.snapshots == (1,)
    assert report.kept == (2, 3)
    assert set(report.files) == named(shards[0])
    assert report.bytes == size
    assert paths(store) == {manifest_path(2), manifest_path(3)} | named(shards[1])
    again = prune(store, keep=1)
    assert (again.snapshots, again.files) == ((2,), ())
    assert verify(store).ok


def test_young_orphans_stay_unless_nothing_else_writes(three):
    store, _ = three
    orphan = write_shard(store, 1)
    store.put("manifest/.vsearch-left.tmp", b"")
    assert prune(store, keep=3).young == 3
    assert named(orphan) <= paths(store)
    assert prune(store, keep=3, grace=timedelta(hours=1)).young == 3
    report = prune(store, keep=3, grace=0)
    assert set(report.files) == named(orphan) | {"manifest/.vsearch-left.tmp"}
    assert not named(orphan) & paths(store)
    assert snapshot_numbers(store) == [1, 2, 3]
    for snapshot in (1, 2, 3):
        assert verify(store, snapshot).ok


def test_old_orphans_go(tmp_path):
    store = open_store(tmp_path)
    commit(store, manifest(shards=(write_shard(store, 0),)))
    old, young = write_shard(store, 1), write_shard(store, 1)
    for path in named(old):
        os.utime(tmp_path / path, (time.time() - 90_000,) * 2)
    report = prune(store)
    assert set(report.files) == named(old)
    assert report.young == len(named(young))


def test_dry_run_removes_nothing(three):
    store, _ = three
    before = paths(store)
    report = prune(store, keep=1, dry_run=True)
    assert report.snapshots == (1, 2)
    assert report.files
    assert paths(store) == before


def test_a_kept_snapshot_that_cannot_be_read_stops_it(three):
    store, _ = three
    store.put(manifest_path(2), b"{}", create=False)
    before = paths(store)
    with pytest.raises(CorruptIndexError, match="manifest"):
        prune(store, keep=2, grace=0)
    assert paths(store) == before
    assert prune(store, keep=1, grace=0).snapshots == (1, 2)
    assert verify(store).ok


class InterruptedPruneError(Exception):
    pass


def test_a_prune_that_stops_half_way_leaves_whole_snapshots(three):
    store, shards = three

    class Stopping:
        def __getattr__(self, name):
            return getattr(store, name)

        def delete(self, gone):
            if any(path.startswith("segments/") for path in gone):
                raise InterruptedPruneError
            store.delete(gone)

    with pytest.raises(InterruptedPruneError):
        prune(Stopping(), keep=2)
    assert snapshot_numbers(store) == [2, 3]
    assert all(verify(store, snapshot).ok for snapshot in (2, 3))
    assert set(prune(store, grace=0).files) == named(shards[0])


def test_a_commit_during_the_prune_keeps_its_files(three):
    store, _ = three
    late = write_shard(store, 0)

    class Committing:
        done = False

        def __getattr__(self, name):
            return getattr(store, name)

        def list(self, prefix):
            if prefix == "manifest" and not self.done:
                self.done = True
                commit(store, manifest(shards=(late,)))
            return store.list(prefix)

    prune(Committing(), keep=1, grace=0)
    assert read_manifest(store).snapshot == 4
    assert verify(store).ok


def test_keep_must_leave_something(three):
    store, _ = three
    with pytest.raises(InputError, match="keep must be"):
        prune(store, keep=0)


def test_no_index_to_prune(store):
    with pytest.raises(IndexNotFoundError):
        prune(store)
