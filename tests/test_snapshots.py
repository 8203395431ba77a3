"""An index is replaced completely or not at all: overwriting, killed builds, pruning, old snapshots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vsearch
from tests.indexes import clustered, files_of, rows, same, table


def test_overwriting_is_asked_for(tmp_path):
    url = tmp_path / "index"
    first = vsearch.build(rows(), url, attributes=table())
    before = files_of(url)
    with pytest.raises(vsearch.IndexExistsError, match="overwrite=True"):
        vsearch.build(rows(50), url)
    assert files_of(url) == before
    second = vsearch.build(clustered(100, 5), url, overwrite=True, metric="l2")
    # who has the old one open goes on reading it, and it can be opened by its number
    assert first.search(rows()[:4], k=1, columns=["name"]).ids.tolist() == [[0], [1], [2], [3]]
    old, new = vsearch.open(url, snapshot=1), vsearch.open(url)
    assert (len(old), len(new), len(second)) == (300, 100, 100)
    assert old.info() == first.info()
    same(old.search(rows()[:9]), first.search(rows()[:9]))
    assert new.info()["snapshot"] == 2
    assert [s.snapshot for s in new.snapshots()] == [1, 2]
    assert set(before) < set(files_of(url))


def test_the_old_one_answers_until_the_new_one_is_committed(tmp_path):
    url, seen = tmp_path / "index", []
    vsearch.build(rows(), url)

    def progress(stage, done, total):
        opened = vsearch.open(url)
        seen.append((stage, opened.info()["snapshot"], len(opened.search(rows()[0]).ids)))

    vsearch.build(rows(400), url, overwrite=True, progress=progress)
    assert {stage for stage, *_ in seen} >= {"train", "assign", "encode", "tune"}
    assert {snapshot for _, snapshot, _ in seen} == {1}
    assert len(vsearch.open(url)) == 400


def test_prune(tmp_path):
    url = tmp_path / "index"
    for n in (100, 110, 120):
        last = vsearch.build(rows(n), url, overwrite=True)
    report = vsearch.prune(url, keep=1)
    assert report.snapshots == (1, 2)
    assert [s.snapshot for s in last.snapshots()] == [3]
    assert sum(path.stat().st_size for path in files_of(url)) < 2 * last.info()["bytes"]
    assert vsearch.verify(url).ok
    assert (vsearch.open(url).search(rows()[:2]).ids >= 0).all()
    with pytest.raises(vsearch.IndexNotFoundError, match="snapshot 1 does not exist; existing snapshots: 3"):
        vsearch.open(url, snapshot=1)


def test_no_index(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(vsearch.IndexNotFoundError, match="contains no index"):
            vsearch.open(place)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.verify(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_such_snapshot(tmp_path):
    vsearch.build(rows(50), tmp_path / "index")
    for snapshot in (0, -1, 2, 10**30):
        with pytest.raises(vsearch.IndexNotFoundError, match="does not exist"):
            vsearch.open(tmp_path / "index", snapshot=snapshot)


class Stop(Exception):  # noqa: N818
    """Whatever may happen."""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "assign", "encode", "tune", "tuned"])
def test_a_build_that_dies_leaves_nothing_visible(tmp_path, stage):
    url = tmp_path / "index"

    def die(reached, done, total):
        if reached == stage.removesuffix("d") and (stage == "tuned") == (reached == "tune" and done == total):
            raise Stop

    with pytest.raises(Stop):
        vsearch.build(rows(), url, attributes=table(), shards=2, progress=die)
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(url)
    # a rerun is not taken for overwriting, and what is left over belongs to nobody
    vsearch.build(rows(), url, attributes=table(), shards=2)
    index = vsearch.open(url)
    assert index.search(rows()[:3], k=1).ids.tolist() == [[0], [1], [2]]
    assert vsearch.verify(url).ok
    vsearch.prune(url, grace=0)
    on_disk = sum(path.stat().st_size for path in files_of(url) if path.parent.name != "manifest")
    assert on_disk == index.info()["bytes"]


def test_an_overwriting_build_that_dies_leaves_the_old_index(tmp_path):
    url = tmp_path / "index"
    first = vsearch.build(rows(), url).info()

    def batches():
        yield rows(100)
        raise Stop

    with pytest.raises(Stop):
        vsearch.build(batches(), url, overwrite=True)

    def die(stage, done, total):
        if stage == "encode":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vsearch.build(rows(400), url, overwrite=True, progress=die)
    assert vsearch.open(url).info() == first
    assert vsearch.verify(url).ok


@pytest.mark.slow
def test_a_build_that_is_killed(tmp_path):
    """The process is gone in the midst of it: no handler runs, nothing is closed."""
    url = tmp_path / "index"
    np.save(tmp_path / "rows.npy", rows())
    script = (
        "import os, sys, vsearch\n"
        "die = lambda stage, *_: os._exit(7) if stage == 'encode' else None\n"
        "vsearch.build(sys.argv[1], sys.argv[2], partitions=1, progress=die)\n"
    )
    command = [sys.executable, "-c", script, tmp_path / "rows.npy", url]
    done = subprocess.run(command, check=False, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    with pytest.raises(vsearch.IndexNotFoundError):
        vsearch.open(url)
    assert len(vsearch.build(rows(), url)) == 300


def test_of_two_first_builds_one_succeeds(tmp_path):
    url, once = tmp_path / "index", []

    def meanwhile(stage, done, total):
        if stage == "encode" and not once:
            once.append(vsearch.build(rows(120), url))

    with pytest.raises(vsearch.ConflictError, match="snapshot 1 was committed since"):
        vsearch.build(rows(), url, progress=meanwhile)
    assert len(vsearch.open(url)) == 120
    assert [one.snapshot for one in once[0].snapshots()] == [1]
    on_disk = sum(path.stat().st_size for path in files_of(url) if path.parent.name != "manifest")
    assert on_disk == once[0].info()["bytes"]  # the other's files are gone


def test_an_overwriting_build_is_not_lost_to_a_tune(tmp_path, monkeypatch):
    from vsearch.storage.snapshots import committing

    url = tmp_path / "index"
    vsearch.build(rows(), url)
    put, once = committing._put, []

    def late(store, manifest):
        if not once:
            once.append(1)
            vsearch.open(url).tune(0.8, sample=20)
        return put(store, manifest)

    monkeypatch.setattr(committing, "_put", late)
    vsearch.build(rows(120), url, overwrite=True)
    assert [one.rows for one in vsearch.open(url).snapshots()] == [300, 300, 120]
    assert vsearch.verify(url).ok


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["assign", "encode", "tune"])
@pytest.mark.parametrize("documents", [False, True])
def test_a_build_that_fails_leaves_no_files(tmp_path, monkeypatch, stage, documents):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    url = tmp_path / "index"
    vsearch.build(rows(), url)
    before = files_of(url)

    def die(reached, done, total):
        if reached == stage:
            raise KeyboardInterrupt

    matrices = [rows(4, 8) for _ in range(20)]
    given = (vsearch.build_documents, matrices, None, url) if documents else (vsearch.build, rows(), url, table())
    with pytest.raises(KeyboardInterrupt):
        given[0](*given[1:], shards=2, overwrite=True, progress=die)
    assert files_of(url) == before
    assert files_of(scratch) == []


def test_a_full_disk_leaves_no_files(tmp_path, monkeypatch):
    from vsearch.storage.files import writing

    url, calls = tmp_path / "index", []
    write = writing.write_batch

    def full(file, *args):
        calls.append(1)
        if len(calls) == 6:
            file.write(bytes(1000))
            raise OSError(28, "No space left on device")
        return write(file, *args)

    monkeypatch.setattr(writing, "write_batch", full)
    with pytest.raises(vsearch.StoreError, match="No space left on device; free some space"):
        vsearch.build(rows(), url, attributes=table(), shards=2)
    assert files_of(url) == []


def test_readers_of_a_pruned_snapshot(tmp_path):
    """What is mapped stays readable; what is first needed after the prune is said to be pruned, not damaged."""
    url = tmp_path / "index"
    vsearch.build(rows(), url, attributes=table())
    old, unread = vsearch.open(url), vsearch.open(url)
    before = old.search(rows()[:3], where="number < 90", columns=["name"])
    vsearch.build(rows(120), url, overwrite=True)
    vsearch.prune(url, keep=1)
    same(old.search(rows()[:3], where="number < 90", columns=["name"]), before)
    with pytest.raises(
        vsearch.SnapshotNotFoundError, match=r"snapshot 1 was pruned after it was opened .*; open the index"
    ):
        unread.search(rows()[:3], where="number < 90", columns=["name"])
    files_of(url / "model")[0].unlink()
    with pytest.raises(vsearch.CorruptIndexError, match="is missing in"):
        vsearch.open(url)
