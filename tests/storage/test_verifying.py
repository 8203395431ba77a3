from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from tests.storage.samples import manifest, write_shard
from vsearch.errors import CorruptIndexError, FormatVersionError, IndexNotFoundError
from vsearch.storage import CHECKSUMS, commit, open_files, read_manifest, verify, write_arrays
from vsearch.storage.files.naming import manifest_path


@pytest.fixture
def index(store):
    model, _ = write_arrays(store, "model/m.arrow", {"mean": np.zeros(8)})
    commit(store, manifest(shards=[write_shard(store, i, 3000, seed=i) for i in range(2)], model={"klt": model}))
    return store


def flip(store, path, at):
    data = bytearray(store.get(path))
    data[at] ^= 1
    store.put(path, bytes(data), create=False)


def test_a_whole_index(index):
    calls = []
    report = verify(index, progress=lambda done, total: calls.append((done, total)))
    files = [info for info in index.list("") if not info.path.startswith("manifest")]
    assert report.ok
    assert (report.snapshot, report.files, report.bytes) == (1, 7, sum(info.bytes for info in files))
    assert calls == sorted(calls)
    assert calls[-1] == (report.bytes, report.bytes)


@pytest.mark.parametrize("kind", ["codes", "ids", CHECKSUMS, "model"])
@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "missing"])
def test_it_names_the_file(index, kind, damage):
    manifest = read_manifest(index)
    entry = manifest.model["klt"] if kind == "model" else manifest.shards[1].files[kind]
    if damage == "flip":
        flip(index, entry.path, entry.bytes // 2)
    elif damage == "missing":
        index.delete([entry.path])
    else:
        data = bytes(index.get(entry.path))
        index.put(entry.path, data[:-1] if damage == "cut" else data + b"x", create=False)
    report = verify(index)
    assert not report.ok
    assert [problem.path for problem in report.problems] == [entry.path]
    assert report.files == 7


def test_it_names_all_damaged_files(index):
    shards = read_manifest(index).shards
    broken = {shards[0].files["codes"].path, shards[1].files["ids"].path}
    for path in broken:
        flip(index, path, 500)
    assert {problem.path for problem in verify(index).problems} == broken


def test_checksums_of_other_files(index):
    """The file of the checksums is whole, but holds those of another shard."""
    old = read_manifest(index)
    swapped = replace(old.shards[0], files=old.shards[0].files | {CHECKSUMS: old.shards[1].files[CHECKSUMS]})
    commit(index, replace(old, shards=(swapped, old.shards[1])))
    report = verify(index)
    assert [problem.path for problem in report.problems] == [old.shards[1].files[CHECKSUMS].path]
    with pytest.raises(CorruptIndexError, match="do not match their checksum"):
        open_files(index, swapped)["codes"].ensure_all()


def test_a_damaged_manifest_is_a_problem(index):
    flip(index, manifest_path(1), 100)
    report = verify(index)
    assert [problem.path for problem in report.problems] == [manifest_path(1)]


def test_no_index_and_newer_index(store):
    with pytest.raises(IndexNotFoundError):
        verify(store)
    body = b'{"format":99}'
    import google_crc32c

    store.put(manifest_path(1), b'{"crc32c":"%08x","manifest":%b}\n' % (google_crc32c.value(body), body))
    with pytest.raises(FormatVersionError, match="upgrade vsearch"):
        verify(store)


def test_files_of_a_shard(index):
    shard = read_manifest(index).shards[0]
    files = open_files(index, shard)
    assert sorted(files) == ["codes", "ids"]
    files["ids"].ensure("ids")
    assert np.array_equal(files["ids"].array("ids"), np.arange(3000))
    without = replace(shard, files={kind: entry for kind, entry in shard.files.items() if kind != CHECKSUMS})
    files = open_files(index, without)
    files["ids"].ensure("ids", 0, 1)
    assert files["ids"].complete


def test_checksums_that_do_not_fit_the_files(index):
    shard = read_manifest(index).shards[0]
    other, _ = write_arrays(index, "segments/other.arrow", {"crc32c": np.zeros(3, np.uint32)})
    count = sum(entry.chunks for kind, entry in shard.files.items() if kind != CHECKSUMS)
    with pytest.raises(CorruptIndexError, match=rf"other\.arrow: must contain {count} checksums, got uint32 \(3,\)"):
        open_files(index, replace(shard, files=shard.files | {CHECKSUMS: other}))
    other, _ = write_arrays(index, "segments/none.arrow", {"x": np.zeros(3, np.uint32)})
    with pytest.raises(CorruptIndexError, match="no array 'crc32c'"):
        open_files(index, replace(shard, files=shard.files | {CHECKSUMS: other}))
