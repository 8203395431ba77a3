from __future__ import annotations

import json
from pathlib import Path

import google_crc32c
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.storage.samples import manifest, write_shard
from vsearch.errors import CorruptIndexError, FormatVersionError
from vsearch.storage import (
    FORMAT,
    AttributeEntry,
    SettingsEntry,
    check_entry,
    decode_manifest,
    encode_manifest,
    open_store,
    write_arrays,
)
from vsearch.storage.files import entries
from vsearch.storage.files.naming import manifest_path, snapshot_number
from vsearch.storage.snapshots.manifest import EncodingEntry, EncodingHeader

store_of_all = open_store("memory://manifests")
model_entry, _ = write_arrays(store_of_all, "model/m.arrow", {"mean": np.zeros(8, np.float32)})
COLUMNS = {
    "price": EncodingEntry(0, EncodingHeader("price", "float64", "plain", 100, 100)),
    "tags": EncodingEntry(1, EncodingHeader("tags", "list<string>", "lists", 100, 100)),
}
GOOD = manifest(
    shards=tuple(replace(write_shard(store_of_all, number), columns=COLUMNS) for number in range(2)),
    snapshot=7,
    model={"klt": model_entry},
    attributes=(AttributeEntry("price", "float64"), AttributeEntry("tags", "list<string>")),
    settings=SettingsEntry(k=8),
)
PATH = manifest_path(7)


def sealed(body: object) -> bytes:
    """A manifest file with a right checksum, as a hostile writer makes it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b'{"crc32c":"%08x","manifest":%b}\n' % (google_crc32c.value(data), data)


def plain(value=GOOD) -> dict:
    return msgspec.json.decode(msgspec.json.encode(value))


def test_round_trip_and_any_json_reader():
    data = encode_manifest(GOOD)
    assert decode_manifest(PATH, data) == GOOD
    assert json.loads(data)["manifest"]["rows"] == GOOD.rows
    assert decode_manifest(PATH, sealed(plain())) == GOOD


def test_paths():
    assert PATH == "manifest/00000000000000000007.json"
    assert snapshot_number(PATH) == 7
    for other in ("manifest/7.json", "manifest/.vsearch-x.tmp", PATH + "x", "x" + PATH):
        assert snapshot_number(other) is None


@given(st.data())
def test_any_flipped_bit_or_cut_is_found(data):
    good = encode_manifest(GOOD)
    at = data.draw(st.integers(0, len(good) - 2))
    flipped = good[:at] + bytes([good[at] ^ (1 << data.draw(st.integers(0, 7)))]) + good[at + 1 :]
    with pytest.raises(CorruptIndexError, match=PATH):
        decode_manifest(PATH, flipped)
    with pytest.raises(CorruptIndexError, match=PATH):
        decode_manifest(PATH, good[:at])


def test_a_newer_format_asks_for_an_upgrade():
    with pytest.raises(FormatVersionError, match=f"format {FORMAT + 1}, this vsearch reads up to {FORMAT}; upgrade"):
        decode_manifest(PATH, sealed({"format": FORMAT + 1, "all": "else is different"}))


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"format":"1"}', b'{"format":1}', b"\xff", b'{"format":1,' * 3, b"[" * 100_000],
)
def test_bodies_that_are_none(body):
    with pytest.raises(CorruptIndexError, match=PATH):
        decode_manifest(PATH, sealed(body))


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"snapshot": 8},
        {"snapshot": -7},
        {"rows": -1},
        {"rows": 10**6},
        {"rows": 2**63},
        {"rows": 1.5},
        {"dimensions": 0},
        {"dimensions": 2**40},
        {"writer": ""},
        {"quantizer": None},
        {"quantizer": {"name": "osq"}},
        {"quantizer": {"name": "osq", "configuration": 5}},
        {"attributes": [*plain()["attributes"], {"name": "a", "type": "int64"}]},
        {"settings": {"reach": None}},
        {"settings": {"margin": -1}},
        {"settings": {"k": True}},
        {"provenance": {"skipped": {"empty": "all"}}},
        {"documents": {"dimensions": 8}},
        {"shards": {}},
        {"shards": [plain()["shards"][1]]},
        {"shards": [*plain()["shards"], plain()["shards"][1]]},
        {"attributes": [{"name": "a", "type": "int64"}] * 2},
        {"model": {"m": plain()["shards"][0]["files"]["codes"]}},
    ],
)
def test_fields_that_cannot_be(change):
    with pytest.raises(CorruptIndexError, match=PATH):
        decode_manifest(PATH, sealed(plain() | change))


def test_deep_nesting_is_refused():
    body = json.dumps(plain()).replace('"k": 8', '"later": ' + "[" * 1_000_000 + "]" * 1_000_000)
    with pytest.raises(CorruptIndexError, match=PATH):
        decode_manifest(PATH, sealed(body.encode()))


def test_unknown_fields_are_ignored():
    assert decode_manifest(PATH, sealed(plain() | {"later": 1})) == GOOD
    inside = {name: plain()[name] | {"later": {"a": [1]}} for name in ("quantizer", "settings", "provenance")}
    assert decode_manifest(PATH, sealed(plain() | inside)) == GOOD


GOLDEN = sorted((Path(__file__).parents[2] / "index" / "golden").glob("format-1/*/manifest/*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parents[1].name}-{int(path.stem)}")
def test_an_old_manifest_says_the_same_when_it_is_written_again(path):
    data = path.read_bytes()
    again = encode_manifest(decode_manifest(f"manifest/{path.name}", data))
    # the first versions wrote no lineage
    assert json.loads(again)["manifest"] == {"lineage": []} | json.loads(data)["manifest"]


def test_golden_manifests_are_there():
    assert len(GOLDEN) >= 9


ENTRY = GOOD.shards[0].files["codes"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.arrow",
        "../segments/x.arrow",
        "segments/../../x.arrow",
        "segments/./x.arrow",
        "segments//x.arrow",
        "segments/x.arrow/",
        "segments\\x.arrow",
        "segments/x\0.arrow",
        "segments/c:x.arrow",
        "C:/x.arrow",
        "segments/x.pkl",
        "manifest/x.arrow",
        "segments/" + "x" * 2000 + ".arrow",
        "",
    ],
)
def test_paths_that_lead_elsewhere(path):
    body = plain()
    body["shards"][0]["files"]["codes"]["path"] = path
    with pytest.raises(CorruptIndexError):
        decode_manifest(PATH, sealed(body))


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": 0},
        {"bytes": -1},
        {"bytes": 100},
        {"bytes": 2**70},
        {"rows": 99},
        {"arrays": ENTRY.arrays * 2},
    ],
)
def test_file_entries_that_do_not_fit(change):
    with pytest.raises(CorruptIndexError, match=ENTRY.path):
        check_entry(replace(ENTRY, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "object"},
        {"dtype": "float128"},
        {"dtype": "O"},
        {"dtype": ">f4"},
        {"dtype": "bool"},
        {"shape": ()},
        {"shape": (100, 48, 1, 1)},
        {"shape": (-100, -48)},
        {"shape": (100, 0)},
        {"shape": (100, 2**62, 2**62)},
        {"shape": (101, 48)},
        {"shape": (99, 48)},
        {"offset": -64},
        {"offset": 65},
        {"offset": 2**62},
        {"offset": ENTRY.bytes // 64 * 64},
    ],
)
def test_array_entries_that_do_not_fit(change):
    codes = replace(ENTRY.arrays[0], **change)
    entry = replace(ENTRY, arrays=(codes, *ENTRY.arrays[1:]))
    with pytest.raises(CorruptIndexError, match=ENTRY.path):
        check_entry(entry)
    body = plain()
    body["shards"][0]["files"]["codes"] = plain(entry)
    with pytest.raises(CorruptIndexError):
        decode_manifest(PATH, sealed(body))


def test_entries_of_bundles_are_not_remembered():
    """Each commit has another one, so they would fill the memory of a process that follows an index."""
    entries._check.cache_clear()  # a full one grows no more
    before = entries._check.cache_info().currsize
    for number in range(5):
        bundle = replace(ENTRY, path=f"segments/{number}-delta.arrow", arrays=(), columns=())
        check_entry(bundle)
        with pytest.raises(CorruptIndexError):
            check_entry(replace(bundle, bytes=0))
    assert entries._check.cache_info().currsize == before
    check_entry(replace(ENTRY, path="segments/remembered-codes.arrow"))
    assert entries._check.cache_info().currsize == before + 1
