"""Damaged and forged bundles."""

from __future__ import annotations

import google_crc32c
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from tests.storage.test_bundle import PATH, parts
from vsearch.errors import CorruptIndexError, SnapshotNotFoundError
from vsearch.storage.files import bundle
from vsearch.storage.files.bundle import SMALL, BundleEntry, HeaderEntry, check_bundle_entry, open_bundle
from vsearch.storage.files.bundle_writing import write_bundle
from vsearch.storage.files.columns import take
from vsearch.storage.snapshots.verifying import check_bundle
from vsearch.storage.stores.held import HeldBytes


def read_all(store, entry) -> None:
    """Every byte that belongs to a part, and the first ones of the file."""
    opened = open_bundle(store, entry)
    shared = opened.files["codes"].shared
    shared.fill(np.ones(len(shared.flags), np.bool_), opened.opened)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("large", [False, True])
def test_every_flipped_bit_is_found(store, large):
    entry = write_bundle(store, PATH, parts(large))
    good = bytes(store.get(PATH))
    at = entry.header
    edges = [0, 1, at.offset - 1, at.offset, at.offset + at.bytes - 1, at.offset + at.bytes, len(good) - 1]
    random = np.random.default_rng(0).integers(0, len(good), 12).tolist()
    for byte in edges + random:
        store.put(PATH, flipped(good, byte), create=False)
        assert "CRC32C differs" in check_bundle(store, entry, lambda _: None)
        if large and byte >= at.offset + at.bytes:
            continue  # nothing that a reader uses
        with pytest.raises(CorruptIndexError, match=rf"{PATH}: bytes \d+\.\.\d+ do not match their checksum"):
            read_all(store, entry)
        if large and byte < at.offset:
            open_bundle(store, entry)


def test_damage_is_found_where_it_is_touched(store):
    entry = write_bundle(store, PATH, parts(True))
    offset = open_bundle(store, entry).files["rerank"].arrays["rerank"].offset
    store.put(PATH, flipped(bytes(store.get(PATH)), offset + 64 * 20_000), create=False)
    opened = open_bundle(store, entry)
    opened.files["ids"].ensure_all()
    opened.files["rerank"].ensure("rerank", 0, 10)
    for _ in range(2):
        with pytest.raises(CorruptIndexError, match="do not match their checksum"):
            opened.files["rerank"].ensure("rerank", 20_000, 20_001)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 700, -1])
def test_truncated(store, large, keep):
    entry = write_bundle(store, PATH, parts(large))
    store.put(PATH, bytes(store.get(PATH))[:keep], create=False)
    said = rf"{PATH}: (has \d+ bytes, expected|is shorter than)"
    if large and keep == -1 and store.memory_map(PATH) is None:
        open_bundle(store, entry)  # reads the header alone
    else:
        with pytest.raises(CorruptIndexError, match=said):
            open_bundle(store, entry)
    assert "instead of" in check_bundle(store, entry, lambda _: None)


@pytest.mark.parametrize("large", [False, True])
def test_missing(store, large):
    entry = write_bundle(store, PATH, parts(large))
    store.delete([PATH])
    with pytest.raises(CorruptIndexError, match=f"{PATH}: is missing in"):
        open_bundle(store, entry)
    with pytest.raises(SnapshotNotFoundError, match="snapshot 7 was pruned"):
        open_bundle(store, entry, 7)
    assert check_bundle(store, entry, lambda _: None) == "is missing"


def test_checking_tells_how_far_it_is(store):
    entry, told = write_bundle(store, PATH, parts(True)), []
    assert check_bundle(store, entry, told.append) is None
    assert told == sorted(told)
    assert told[-1] == entry.bytes


ENTRY = BundleEntry(PATH, 10_000, 1, HeaderEntry(6400, 100, 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../a.arrow"},
        {"path": "segments/a.json"},
        {"bytes": 0},
        {"bytes": -5},
        {"bytes": 2**63},
        {"header": HeaderEntry(6400, 0, 2)},
        {"header": HeaderEntry(6400, -1, 2)},
        {"header": HeaderEntry(0, 100, 2)},
        {"header": HeaderEntry(-64, 100, 2)},
        {"header": HeaderEntry(6401, 100, 2)},
        {"header": HeaderEntry(6400, 3601, 2)},
        {"header": HeaderEntry(2**62, 100, 2)},
        {"bytes": 2**61, "header": HeaderEntry(64, 2**60, 2)},
    ],
)
def test_an_entry_that_does_not_fit_itself(changes):
    check_bundle_entry(ENTRY)
    entry = replace(ENTRY, **changes)
    with pytest.raises(CorruptIndexError, match=r"its entry in the manifest is invalid: .*; restore the manifest"):
        open_bundle(HeldBytes(), entry)
    assert "its entry in the manifest is invalid" in check_bundle(HeldBytes(), entry, lambda _: None)


def test_an_entry_of_more_bytes_than_there_can_be(remote):
    entry = write_bundle(remote, PATH, parts(True))
    with pytest.raises(CorruptIndexError, match="more than this machine can hold"):
        open_bundle(remote, replace(entry, bytes=2**61))


def test_an_entry_whose_header_lies_elsewhere(store):
    entry = write_bundle(store, PATH, parts(True))
    moved = replace(entry, header=replace(entry.header, offset=entry.header.offset - 64))
    with pytest.raises(CorruptIndexError, match="do not match their checksum"):
        open_bundle(store, moved)
    assert "header" in check_bundle(store, moved, lambda _: None)


def array(**changes):
    return {"name": "x", "dtype": "uint8", "shape": [10], "offset": 64} | changes


def part(*arrays, **changes):
    return {"name": "p", "rows": 10, "arrays": list(arrays)} | changes


HOSTILE = {
    "no object": (b"[]", "is not valid"),
    "no JSON": (b"\xff\xfe{", "is not valid"),
    "cut": (b'{"parts":[', "is not valid"),
    "nested": (b'{"facts":' + b'{"a":' * 50_000, "is nested too deeply|is not valid"),
    "no facts": ({"facts": None}, "is not valid"),
    "digits": ({"crc32c": "zz" * 16}, "not hex digits"),
    "few digits": ({"crc32c": "00" * 8}, "16 checksum digits for 4 chunks"),
    "many digits": ({"crc32c": "00" * 160}, "320 checksum digits for 4 chunks"),
    "blanks": ({"crc32c": "00 " * 16}, "48 checksum digits for 4 chunks"),
    "part twice": ({"parts": [part(), part()]}, "two parts of the same name"),
    "part with a slash": ({"parts": [part(name="a/b")]}, "is not valid"),
    "part without a name": ({"parts": [part(name="")]}, "is not valid"),
    "array twice": ({"parts": [part(array(), array())]}, "part 'p': two arrays have the same name"),
    "dtype": ({"parts": [part(array(dtype="object"))]}, "dtype must be one of .*, got .object."),
    "axes": ({"parts": [part(array(shape=[10, 1, 1, 1]))]}, "is not valid"),
    "no axes": ({"parts": [part(array(shape=[]))]}, "is not valid"),
    "negative": ({"parts": [part(array(shape=[-10]))]}, "is not valid"),
    "no bytes": ({"parts": [part(array(shape=[10, 0]))]}, "has empty rows"),
    "offset": ({"parts": [part(array(offset=65))]}, "offset 65 is not a multiple of 64"),
    "negative offset": ({"parts": [part(array(offset=-64))]}, "is not valid"),
    "beyond": ({"parts": [part(array(offset=200_000))]}, "exceed the file's 200000"),
    "too long": ({"parts": [part(array(shape=[200_000]), rows=0)]}, "exceed the file's 200000"),
    "huge": ({"parts": [part(array(shape=[2**62, 2**62, 2**62], dtype="float64"), rows=0)]}, "exceed the file"),
    "rows": ({"parts": [part(array(), rows=11)]}, "does not match the file.s 11 rows"),
    "columns": (
        {"parts": [part(columns=[{"name": "c", "type": "int8", "nulls": 11}])]},
        "column 'c' has 11 nulls in 10 rows",
    ),
    "columns twice": (
        {"parts": [part(columns=[{"name": "c", "type": "int8", "nulls": 0}] * 2)]},
        "two columns have the same name",
    ),
}
DATA = 200_000 - 200_000 % 64


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header(case, large, store, monkeypatch):
    monkeypatch.setattr(bundle, "SMALL", 0 if large else SMALL)
    given, said = HOSTILE[case]
    usual = {"parts": [], "facts": {}, "crc32c": "00" * 16}
    header = given if isinstance(given, bytes) else msgspec.json.encode(usual | given)
    data = bytes(DATA) + header + bytes(100)
    store.put(PATH, data)
    at = HeaderEntry(DATA, len(header), google_crc32c.value(header))
    entry = BundleEntry(PATH, len(data), google_crc32c.value(data), at)
    with pytest.raises(CorruptIndexError, match=rf"{PATH}: its header .*(?:{said}).*; restore the file"):
        open_bundle(store, entry)
    assert check_bundle(store, entry, lambda _: None).startswith("its header ")


def test_a_table_whose_buffers_are_missing(store):
    of_table = part(columns=[{"name": "c", "type": "string", "nulls": 0}])
    header = msgspec.json.encode({"parts": [of_table], "facts": {}, "crc32c": "00" * 16})
    data = bytes(DATA) + header
    store.put(PATH, data)
    at = HeaderEntry(DATA, len(header), google_crc32c.value(header))
    opened = open_bundle(store, BundleEntry(PATH, len(data), google_crc32c.value(data), at))
    with pytest.raises(CorruptIndexError, match=f"{PATH}: column 'c': its buffer offsets is missing"):
        take(opened.files["p"], ["c"], np.array([1]))


def test_checksums_of_other_data(store):
    entry = write_bundle(store, PATH, parts(True))
    data = bytearray(store.get(PATH))
    data[5000] ^= 1
    store.put(PATH, bytes(data), create=False)
    forged = replace(entry, crc32c=google_crc32c.value(bytes(data)))
    assert check_bundle(store, forged, lambda _: None) == "the checksums in its header do not match its data"
