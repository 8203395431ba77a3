from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vsearch.errors import InputError, StoreError
from vsearch.storage import open_store
from vsearch.testing.stores import StoreContract


class TestStores(StoreContract):
    """The fixture `store` is a folder, then memory."""


def test_put_file_from_another_file_system(tmp_path, monkeypatch):
    store = open_store(tmp_path / "index")
    local = tmp_path / "local"
    local.write_bytes(b"data")
    replace = Path.replace

    def across(self, target):
        if self == local:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", across)
    store.put_file("segments/a", local)
    assert bytes(store.get("segments/a")) == b"data"
    assert not local.exists()
    assert [info.path for info in store.list("")] == ["segments/a"]


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    store = open_store(tmp_path)

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device; free some space"):
        store.put("manifest/a", b"1")
    monkeypatch.undo()
    assert store.list("") == []


def test_new_files_have_the_usual_permissions(tmp_path):
    store = open_store(tmp_path)
    store.put("a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = open_store(tmp_path / "file")
    for ask in (lambda: store.list("manifest"), lambda: store.put("manifest/a", b""), lambda: store.get("manifest/a")):
        with pytest.raises(StoreError, match="a part of the path is a file"):
            ask()


def test_memory_maps_are_read_only(tmp_path):
    store = open_store(tmp_path)
    store.put("a", b"abc")
    mapped = store.memory_map("a")
    assert bytes(mapped) == b"abc"
    assert not mapped.flags.writeable
    store.put("empty", b"")
    assert len(store.memory_map("empty")) == 0


def test_memory_stores_are_shared_by_name():
    open_store("memory://shared/x").put("a", b"1")
    assert bytes(open_store("memory://shared").get("x/a")) == b"1"
    assert open_store("memory://other").list("") == []
    assert open_store("memory://shared").memory_map("x/a") is None


def test_spellings_of_a_folder(tmp_path, monkeypatch):
    folder = tmp_path / "my index"
    monkeypatch.chdir(tmp_path)
    for url in (folder, str(folder), f"file://{tmp_path}/my%20index", "my index", "./my index"):
        assert open_store(url).url == str(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/my index").url == str(folder)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("", {}, "must not be empty"),
        (" \t", {}, "must not be empty"),
        (None, {}, "got NoneType"),
        (b"folder", {}, "got bytes"),
        (3, {}, "got int"),
        (" s3://b/x", {}, "white space"),
        ("s3://b/x\n", {}, "white space"),
        (" file:///x", {}, "white space"),
        ("s3:b/x", {}, "two slashes must follow the colon"),
        ("S3:/b/x", {}, "two slashes must follow the colon"),
        ("memory:x", {}, "two slashes must follow the colon"),
        ("lambda:stack", {}, "two slashes must follow the colon"),
        ("gs:b/x", {}, "two slashes must follow the colon"),
        ("ftp://b/x", {}, "ftp:// is not supported; use a folder, file://, s3://, gs://, az:// or memory://$"),
        ("https://host/x", {}, "https:// is not supported"),
        ("file://host/x", {}, "is not the URL of a folder"),
        ("s3://", {}, "is not a bucket URL"),
        ("s3:///x", {}, "is not a bucket URL"),
        ("s3://user:secret@b/x", {}, "is not a bucket URL"),
        ("s3://b/../x", {}, "not a plain relative path"),
        ("s3://b/x", {"nope": 1}, "nope: no such option"),
        ("s3://b/x", {"access_key_id": "a"}, "together"),
        ("s3://b/x", {"endpoint": "http://10.0.0.1:9000"}, "not encrypted"),
        ("s3://b/x", {"endpoint": "127.0.0.1:9000"}, "is not a URL"),
        ("/tmp/x", {"region": "eu-west-1"}, "only for s3:// URLs"),
        ("memory://x", {"anonymous": True}, "only for s3://, gs:// and az:// URLs"),
    ],
)
def test_what_cannot_be_opened(url, options, message):
    with pytest.raises(InputError, match=message):
        open_store(url, **options)


def test_folders_that_look_like_little_else(tmp_path, monkeypatch):
    """What is there is opened, and names with white space or a colon are names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:b").mkdir()
    for name in ("s3:b", " padded ", "a:b", "./s3:c"):
        assert open_store(name).url == str(tmp_path / name)


def test_options_left_empty_are_no_options(tmp_path):
    open_store(tmp_path, endpoint=None, anonymous=False)
    open_store("s3://b/x", endpoint="http://10.0.0.1:9000", allow_http=True, anonymous=True, profile=None)


def test_secrets_stay_out_of_reprs(s3_server):
    store = open_store("s3://b/x", **s3_server.options(secret="hush"))
    assert "hush" not in repr(store)
    assert repr(store) == "ObjectStore('s3://b/x')"


def test_reading_arrays_needs_neither_arrow_nor_a_client(tmp_path):
    code = """
import sys
import numpy as np
import vsearch.storage as s
heavy = {"pyarrow", "obstore", "boto3"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
sys.modules["pyarrow"] = None
manifest = s.read_manifest(s.open_store(sys.argv[1]))
files = s.open_files(s.open_store(sys.argv[1]), manifest.shards[0])
files["ids"].ensure("ids", 3, 5)
assert files["ids"].array("ids")[3:5].tolist() == [3, 4]
assert s.verify(s.open_store(sys.argv[1])).ok
assert not {"obstore", "boto3"} & set(sys.modules)
"""
    from tests.storage.samples import manifest, write_shard
    from vsearch.storage import commit

    store = open_store(tmp_path)
    commit(store, manifest(shards=(write_shard(store, 0),)))
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_folder_is_listed_after_any_path(tmp_path):
    store = open_store(tmp_path)
    paths = sorted(["m/1.json", "m/10.json", "m/2.json", "m/2/deep.json", "m/2/deeper/x", "m/2.x/y", "n/1", "m0/1"])
    for path in paths:
        store.put(path, b"x")
    for after in [*paths, "m", "m/2", "m/2/d", "m/2.json0", "m/9", "a", "z"]:
        below = [path for path in paths if path > after]
        assert [info.path for info in store.list("", after=after)] == below
        assert [info.path for info in store.list("m", after=after)] == [path for path in below if path.startswith("m/")]
