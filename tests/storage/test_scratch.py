"""What killed processes left is removed by the next one; what belongs to a live one never is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vsearch.storage import open_store
from vsearch.storage.stores.scratch import (
    hold,
    machine_start,
    release,
    remove_abandoned,
    scratch_folder,
    temporary_name,
)

HOLDER = """
import os, sys, time
from pathlib import Path
from vsearch.storage.stores.scratch import hold, scratch_folder, temporary_name
with scratch_folder() as folder:
    Path(folder, "spool").write_bytes(bytes(1000))
    name = temporary_name(Path(sys.argv[1]))
    name.write_bytes(b"1")
    lock = hold(name)
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr("vsearch.storage.stores.scratch.SWEPT_FOR", 0.0)
    return folder


def test_of_a_process_that_lives_and_was_then_killed(tmp_path, scratch):
    segments = tmp_path / "index" / "segments"
    segments.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, segments], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        other = Path(process.stdout.readline().strip())
        with scratch_folder() as own:
            open_store(tmp_path / "index").scratch()
            assert {path.name for path in scratch.iterdir()} == {other.name, Path(own).name}
            assert len(list(segments.iterdir())) == 1
    finally:
        process.kill()
        process.communicate()
    assert list(scratch.iterdir()) == [other]
    with scratch_folder() as own:
        open_store(tmp_path / "index").scratch()
        assert list(scratch.iterdir()) == [Path(own)]
        assert list(segments.iterdir()) == []
    assert list(scratch.iterdir()) == []


def test_in_every_folder_of_an_index(tmp_path):
    """Files are written beside their targets: jobs, segments, whatever an index holds."""
    store = open_store(tmp_path / "index")
    left = []
    for path in ("root", "jobs/a", "segments/a", "tags/a", "a-folder-of-later/a"):
        store.put(path, b"1")
        name = temporary_name((tmp_path / "index" / path).parent)
        left.append(name.with_name(name.name.replace(f"-{os.getpid()}-", "-99999999-")))
        left[-1].write_bytes(b"1")
    open_store(tmp_path / "index").scratch()
    assert [name for name in left if name.exists()] == []
    assert len(store.list("")) == len(left)


def test_a_lock_tells_life_where_the_process_cannot_be_seen(tmp_path):
    """As in another container: the process's number means nothing here, its lock does."""
    name = temporary_name(tmp_path)
    name = name.with_name(name.name.replace(f"-{os.getpid()}-", "-99999999-"))
    name.write_bytes(b"1")
    lock = hold(name)
    remove_abandoned(tmp_path)
    assert name.exists()
    release(lock)
    remove_abandoned(tmp_path)
    assert not name.exists()


def test_another_start_of_a_machine_is_given_a_day(tmp_path):
    """It may be another machine that shares the folder, whose locks are not seen."""
    name = temporary_name(tmp_path)
    name = name.with_name(name.name.replace(machine_start(), "0badcafe"))
    name.write_bytes(b"1")
    remove_abandoned(tmp_path)
    assert name.exists()
    os.utime(name, (time.time() - 90_000,) * 2)
    remove_abandoned(tmp_path)
    assert not name.exists()


def test_other_names_are_left_alone(tmp_path):
    for name in (".vsearch-left.tmp", "vsearch-scratch-x", f".vsearch-{machine_start()}-1.tmp", "vsearch-build-1"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / f".vsearch-{machine_start()}-99999999-{'0' * 32}.tmp").symlink_to(tmp_path / ".vsearch-left.tmp")
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5
