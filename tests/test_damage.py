"""Damage of any file is an error that names the file, never an answer."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

import vsearch
from tests.indexes import clustered
from vsearch.storage.files.checksums import crc32c

ROWS = 300


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """An index with files of every kind, and one shard that is never asked for its neighbors alone."""
    folder = tmp_path_factory.mktemp("damage") / "index"
    table = pa.table(
        {
            "number": pa.array(np.arange(ROWS) % 50, mask=np.arange(ROWS) % 7 == 0),
            "price": np.random.default_rng(0).random(ROWS),
            "name": [f"row {i}" for i in range(ROWS)],
            "tags": [["a", "b"][: i % 3] for i in range(ROWS)],
        }
    )
    ids = [f"id {i}" for i in range(ROWS)]
    vsearch.build(clustered(ROWS), folder, attributes=table, ids=ids, metric="l2", bits=3.0, shards=2, partitions=8)
    return folder


def use(folder):
    """Open an index and read everything in it; what it answers."""
    index = vsearch.open(folder)
    queries = clustered(2, seed=1)
    wheres = [None, "number < 20", "price > 0.25 AND price < 0.5", "name LIKE 'row 1%'", "list_contains(tags, 'b')"]
    answers = [index.search(queries, k=ROWS, where=where, exact=exact) for where in wheres for exact in (False, True)]
    told = [(hits.ids.tolist(), np.nan_to_num(hits.scores, nan=-1).tolist()) for hits in answers]
    everything = index.search(queries, k=ROWS, columns=["number", "price", "name", "tags"])
    return told, everything.to_arrow().to_pylist(), index.get([f"id {i}" for i in range(ROWS)]).to_pylist()


def data_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.arrow"))


def manifest_of(folder):
    (path,) = (folder / "manifest").glob("*.json")
    return path


def damaged(pristine, tmp_path, name, change):
    """A copy of the index with one file changed by `change(bytes) -> bytes`, or removed where that gives None."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    data = change((folder / name).read_bytes())
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    return folder


def flip(at):
    def change(data):
        place = int(at * (len(data) - 1))
        return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]

    return change


DAMAGES = {
    "first byte": flip(0),
    "a quarter in": flip(0.25),
    "half in": flip(0.5),
    "three quarters in": flip(0.75),
    "last byte": flip(1),
    "truncated": lambda data: data[: len(data) // 2],
    "truncated by a byte": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
    "removed": lambda _: None,
}


def test_the_index_has_files_of_every_kind(pristine):
    kinds = {name.split("-")[-1] if "segments" in name else "model" for name in data_files(pristine)}
    names = " ".join(data_files(pristine))
    for kind in ("codes", "rows", "rerank", "ids", "attributes", "cells", "partitions", "checksums", "column-"):
        assert kind in names
    assert "model" in kinds
    assert use(pristine) == use(pristine)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_named(pristine, tmp_path, damage):
    for name in data_files(pristine):
        folder = damaged(pristine, tmp_path, name, DAMAGES[damage])
        if name.endswith("-0.arrow") and len((folder / name).read_bytes() if (folder / name).exists() else b"") == len(
            (pristine / name).read_bytes()
        ):
            assert use(folder) == use(pristine)  # it holds arrays without elements: nothing is ever read
        else:
            with pytest.raises(vsearch.CorruptIndexError) as raised:
                use(folder)
            assert raised.value.path == name
            assert name in str(raised.value)
        report = vsearch.verify(folder)
        assert [problem.path for problem in report.problems] == [name]


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name not in ("removed", "truncated by a byte")])
def test_damage_of_the_manifest(pristine, tmp_path, damage):
    name = manifest_of(pristine).relative_to(pristine).as_posix()
    folder = damaged(pristine, tmp_path, name, DAMAGES[damage])
    with pytest.raises(vsearch.CorruptIndexError) as raised:
        vsearch.open(folder)
    assert raised.value.path == name
    assert [problem.path for problem in vsearch.verify(folder).problems] == [name]
    assert vsearch.verify(folder).ok is False


def test_a_damaged_snapshot_does_not_harm_the_one_before(pristine, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    wanted = use(folder)
    vsearch.open(folder).tune(0.9, sample=10)
    newest = max((folder / "manifest").glob("*.json"))
    newest.write_bytes(newest.read_bytes()[:-10])
    with pytest.raises(vsearch.CorruptIndexError):
        vsearch.open(folder)
    first = vsearch.open(folder, snapshot=1)
    assert [bool(info.error) for info in first.snapshots()] == [False, True]
    newest.unlink()
    assert use(folder) == wanted


# -- manifests that somebody wrote on purpose


def rewritten(pristine, tmp_path, change):
    """A copy whose manifest was changed, with a checksum that is right."""

    def rewrite(data):
        body = json.loads(data)["manifest"]
        change(body)
        text = json.dumps(body).encode()
        return b'{"crc32c":"%08x","manifest":%b}\n' % (crc32c(text), text)

    return damaged(pristine, tmp_path, manifest_of(pristine).relative_to(pristine), rewrite)


def set_in(*path):
    """A change of one value; the last of `path` is the value."""

    def change(body):
        *parents, key, value = path
        for step in parents:
            body = body[step]
        if callable(value):
            body[key] = value(body[key])
        else:
            body[key] = value

    return change


def delete_in(*path):
    def change(body):
        *parents, key = path
        for step in parents:
            body = body[step]
        del body[key]

    return change


def swap_files(one, two):
    def change(body):
        files = body["shards"][0]["files"]
        files[one], files[two] = files[two], files[one]

    return change


HOSTILE = {
    "more dimensions": set_in("dimensions", lambda d: d + 1),
    "fewer dimensions": set_in("dimensions", 1),
    "unknown metric": set_in("metric", "manhattan"),
    "unknown rerank": set_in("rerank", "int4"),
    "another rerank": set_in("rerank", "float32"),
    "more rows": set_in("rows", lambda n: n + 1),
    "fewer rows": set_in("rows", lambda n: n - 1),
    "no rows": set_in("rows", 0),
    "negative rows": set_in("rows", -5),
    "rows in another shard": set_in("shards", 0, "rows", lambda n: n + 1),
    "more partitions": set_in("partitions", lambda n: n + 1),
    "more partitions in a shard": set_in("shards", 0, "partitions", lambda n: n + 1),
    "no shards": set_in("shards", []),
    "shards in another order": set_in("shards", lambda shards: shards[::-1]),
    "no quantizer": set_in("quantizer", {}),
    "no configuration": delete_in("quantizer", "configuration"),
    "configuration of no dict": set_in("quantizer", "configuration", 5),
    "fewer bits": set_in("quantizer", "configuration", "bits", 1.0),
    "bits of text": set_in("quantizer", "configuration", "bits", "many"),
    "negative reach": set_in("settings", "reach", -1.0),
    "reach of text": set_in("settings", "reach", "far"),
    "reach of nothing": set_in("settings", "reach", None),
    "unknown id type": set_in("id_type", "uuid"),
    "ids of integers": set_in("id_type", "int64"),
    "unknown attribute type": set_in("attributes", 0, "type", "blob"),
    "attribute of another name": set_in("attributes", 0, "name", "colour"),
    "attribute not described": delete_in("shards", 1, "columns", "price"),
    "attribute at no place": set_in("shards", 1, "columns", "price", "position", 77),
    "attribute at a negative place": set_in("shards", 0, "columns", "price", "position", -1),
    "attribute at a place of text": set_in("shards", 0, "columns", "price", "position", "x"),
    "attribute at another's place": set_in("shards", 0, "columns", "price", "position", 0),
    "no header": set_in("shards", 0, "columns", "price", "header", None),
    "no partition table": delete_in("shards", 0, "files", "partitions"),
    "no codes": delete_in("shards", 0, "files", "codes"),
    "no factors": delete_in("shards", 1, "files", "rows"),
    "no rerank codes": delete_in("shards", 1, "files", "rerank"),
    "no ids": delete_in("shards", 0, "files", "ids"),
    "no attributes": delete_in("shards", 0, "files", "attributes"),
    "no cells": delete_in("shards", 0, "files", "cells"),
    "codes for factors": swap_files("codes", "rows"),
    "ids for rerank codes": swap_files("ids", "rerank"),
    "partitions for checksums": swap_files("partitions", "checksums"),
    "no model": set_in("model", {}),
    "a file elsewhere": set_in("shards", 0, "files", "codes", "path", "../../etc/passwd"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_manifest(pristine, tmp_path, kind):
    folder = rewritten(pristine, tmp_path, HOSTILE[kind])
    with pytest.raises(vsearch.CorruptIndexError) as raised:
        use(folder)
    assert raised.value.path
    assert str(raised.value)


def test_attributes_of_another_type_than_asked_for(pristine, tmp_path):
    with pytest.raises(vsearch.PredicateError):
        use(rewritten(pristine, tmp_path, set_in("attributes", 1, "type", "string")))


def test_settings_of_later_versions_are_passed_over(pristine, tmp_path):
    assert use(rewritten(pristine, tmp_path, set_in("settings", "speed", 3))) == use(pristine)


def test_without_chunk_checksums_files_are_checked_whole(pristine, tmp_path):
    folder = rewritten(pristine, tmp_path, delete_in("shards", 0, "files", "checksums"))
    assert use(folder) == use(pristine)


@pytest.mark.parametrize(
    "change",
    [set_in("format", 3), set_in("format", 10**9), set_in("quantizer", "name", "osq-3")],
    ids=["3", "9", "osq-3"],
)
def test_an_index_of_a_newer_version(pristine, tmp_path, change):
    folder = rewritten(pristine, tmp_path, change)
    with pytest.raises(vsearch.FormatVersionError, match="upgrade"):
        vsearch.open(folder)


def test_a_newer_format_may_say_things_we_do_not_know(pristine, tmp_path):
    """It is refused for its number, whatever else is in it."""

    def change(body):
        body.clear()
        body.update(format=3, surprise={"shards": "elsewhere"})

    with pytest.raises(vsearch.FormatVersionError, match="format 3, this vsearch reads up to 2; upgrade"):
        vsearch.open(rewritten(pristine, tmp_path, change))


def test_what_later_versions_may_add_is_skipped(pristine, tmp_path):
    folder = rewritten(pristine, tmp_path, set_in("provenance", {"vsearch": "9.9", "command": ["build"]}))
    assert use(folder) == use(pristine)
