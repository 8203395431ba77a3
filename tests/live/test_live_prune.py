from __future__ import annotations

import os

import numpy as np
import pytest

import vsearch
from tests.indexes import files_of
from tests.live.small import D, Twin, check
from vsearch.storage import snapshot_numbers
from vsearch.storage.snapshots import pruning


@pytest.fixture
def twin(tmp_path):
    return Twin(tmp_path / "index")


def age(url, hours):
    """Make all files of an index older."""
    for path in files_of(url):
        at = path.stat().st_mtime - 3600 * hours
        os.utime(path, (at, at))


def numbers_of(twin):
    return snapshot_numbers(twin.index.snapshot.store)


def test_what_was_followed_lately_stays(twin):
    twin.append(1)
    twin.append(1, seed=1)
    assert vsearch.prune(twin.url, keep=1).snapshots == ()
    age(twin.url, 2)
    twin.append(1, seed=2)  # snapshot 3 is followed only now
    assert vsearch.prune(twin.url, keep=1).snapshots == (1, 2)
    assert vsearch.prune(twin.url, keep=1, older_than=0).snapshots == (3,)
    twin.check(vsearch.open(twin.url))
    assert vsearch.verify(twin.url).ok


def test_tagged_snapshots_stay_with_their_files(twin):
    twin.append(10)
    twin.index.tag("v1")
    tagged = dict(twin.rows)
    twin.delete(range(40))
    twin.index.optimize(force=True)
    twin.append(1, seed=3)
    report = vsearch.prune(twin.url, keep=1, older_than=0, grace=0)
    assert 2 in report.kept
    assert numbers_of(twin) == [2, twin.index.info()["snapshot"]]
    check(vsearch.open(twin.url, tag="v1"), tagged)
    twin.check(vsearch.open(twin.url))
    assert vsearch.verify(twin.url, 2).ok
    twin.index.untag("v1")
    assert 2 in vsearch.prune(twin.url, keep=1, older_than=0, grace=0).snapshots
    twin.check(vsearch.open(twin.url))


def test_a_tag_that_comes_during_a_prune_is_seen(twin, monkeypatch):
    twin.append(1)
    first, put = {}, pruning.put_marker

    def tagged_meanwhile(store, paths):
        if not first:
            first["commit"] = twin.index.tag("late", snapshot=1)
        return put(store, paths)

    monkeypatch.setattr(pruning, "put_marker", tagged_meanwhile)
    report = vsearch.prune(twin.url, keep=1, older_than=0)
    assert 1 in report.kept
    assert len(vsearch.open(twin.url, tag="late")) == 120


def test_optimize_prunes(twin):
    for seed in range(4):
        twin.append(5, seed)
    twin.index.optimize(force=True)
    age(twin.url, 2)
    old = numbers_of(twin)[:-2]
    report = twin.index.optimize()
    assert report.pruned == tuple(old)
    assert report.bytes_freed > 0
    assert not twin.index.optimize().changed
    twin.check(vsearch.open(twin.url))


def test_the_same_rows_again_and_again_do_not_grow(twin):
    """After optimize and prune the files are about those of a fresh build."""
    for seed in range(30):
        twin.upsert(range(40), seed)
    twin.index.optimize(force=True)
    vsearch.prune(twin.url, keep=1, older_than=0, grace=0)
    sizes = [path.stat().st_size for path in files_of(twin.url) if path.parent.name != "manifest"]
    twin.check(vsearch.open(twin.url))
    assert sum(sizes) == twin.index.info()["bytes"]


def test_files_of_a_slow_writer_stay(twin):
    twin.append(1)
    store = twin.index.snapshot.store
    store.put("segments/" + "a" * 32 + "-delta.arrow", b"x")
    age(twin.url, 23)
    assert vsearch.prune(twin.url, keep=1).young == 1
    age(twin.url, 2)
    assert vsearch.prune(twin.url, keep=1).files == ("segments/" + "a" * 32 + "-delta.arrow",)
    twin.check(vsearch.open(twin.url))


class Pruning:
    """A store at which a prune without grace runs, `times` times, just before a manifest is put."""

    def __init__(self, store, url, times):
        self.store, self.url, self.left = store, url, times

    def __getattr__(self, name):
        return getattr(self.store, name)

    def put(self, path, data, *, create=True):
        while path.startswith("manifest/0") and self.left:
            self.left -= 1
            vsearch.prune(self.url, keep=1, older_than=0, grace=0)
        self.store.put(path, data, create=create)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("kind", ["append", "upsert", "delete", "update", "optimize"])
def test_a_prune_without_grace_during_a_change_leaves_no_snapshot_without_its_files(twin, kind, times):
    twin.append(10)
    index = vsearch.open(twin.url)
    object.__setattr__(index._snapshot, "store", Pruning(index.snapshot.store, str(twin.url), times))
    calls = {
        "append": lambda: index.append(np.ones((5, D), np.float32), ids=np.arange(1000, 1005)),
        "upsert": lambda: index.upsert(np.ones((5, D), np.float32), ids=np.arange(5)),
        "delete": lambda: index.delete(range(5)),
        "update": lambda: index.update({"number": 7}, ids=range(5)),
        "optimize": lambda: index.optimize(force=True),
    }
    with pytest.raises(vsearch.ConflictError, match="a prune removed files of this snapshot"):
        calls[kind]()
    twin.check(vsearch.open(twin.url))
    assert vsearch.verify(twin.url).ok
    twin.index.refresh()
    twin.append(1, seed=2)
    twin.check(vsearch.open(twin.url))


@pytest.mark.parametrize("older_than", [-1, "x"])
def test_what_is_no_age(twin, older_than):
    with pytest.raises(vsearch.InputError, match="older_than must be"):
        vsearch.prune(twin.url, older_than=older_than)
