from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
from uuid import uuid4

import google_crc32c
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.storage.test_writing import sample_table
from vsearch.errors import ConflictError, InputError, StoreError
from vsearch.storage import CHUNK, SegmentFile, ensure_together, open_store, write_arrays
from vsearch.storage.files.bundle import SMALL, BundleEntry, bundle_file, open_bundle
from vsearch.storage.files.bundle_writing import write_bundle
from vsearch.storage.files.columns import take
from vsearch.storage.files.entries import DTYPES, check_entry
from vsearch.storage.files.local_file import LocalFile
from vsearch.storage.files.prefetched import fetch_files
from vsearch.storage.snapshots.verifying import check_bundle
from vsearch.storage.stores.held import HeldBytes
from vsearch.storage.stores.metered import MeteredStore

PATH = "segments/a.arrow"


def parts(large: bool = False):
    random = np.random.default_rng(0)
    found = {
        "codes": {
            "first": random.integers(0, 256, (70, 16, 32), np.uint8),
            "factor": random.standard_normal(900).astype(np.float16),
            "none": np.empty((0, 7), np.int32),
        },
        "ids": {"id": np.arange(900), "key": np.arange(900)[::-1]},
        "attributes": sample_table(900),
        "empty table": sample_table(0),
        "nothing": {},
    }
    if large:
        found["rerank"] = {"rerank": random.integers(-128, 128, (30_000, 64), np.int8)}
        found["last"] = {"row": np.arange(40_000, dtype=np.uint32)}
    return found


FACTS = {"shards": [1, 2, 3], "columns": {"price": {"position": 0, "ü": None}}, "scale": 0.5}


@pytest.fixture(params=["folder", "memory", "held"])
def any_store(request, tmp_path):
    if request.param == "held":
        return HeldBytes()
    return open_store(tmp_path / "index" if request.param == "folder" else f"memory://{uuid4().hex}/index")


def same(opened, written, alignment: int = 64) -> None:
    assert list(opened.files) == list(written)
    for name, part in written.items():
        file = opened.files[name]
        assert isinstance(file, SegmentFile)
        assert file.path == file.entry.path == opened.entry.path
        if isinstance(part, pa.Table):
            assert file.entry.rows == part.num_rows
            assert [column.name for column in file.entry.columns] == part.column_names
            rows = np.arange(part.num_rows)[::-1]
            assert take(file, part.column_names, rows).equals(part.take(rows))
        else:
            assert list(file.arrays) == list(part)
            file.ensure_all()
            assert file.complete
            for array, values in part.items():
                view = file.array(array)
                assert (view.dtype, view.shape) == (values.dtype, values.shape)
                assert np.array_equal(view, values, equal_nan=values.dtype.kind == "f")
                assert not view.flags.writeable
                assert view.ctypes.data % alignment == 0


@pytest.mark.parametrize("large", [False, True])
def test_what_was_written_is_read(any_store, large):
    written = parts(large)
    entry = write_bundle(any_store, PATH, written, FACTS)
    assert (entry.bytes > SMALL) == large
    opened = open_bundle(any_store, entry)
    assert opened.facts == FACTS
    assert opened.opened.bytes == (entry.header.bytes if large else entry.bytes)
    assert opened.opened.requests == (0 if opened.files["codes"].mapped else 1)
    same(opened, written)
    assert opened.files["codes"].entry.rows == opened.files["nothing"].entry.rows == 0
    assert opened.files["ids"].entry.rows == 900


@pytest.mark.parametrize("large", [False, True])
def test_any_arrow_reader_opens_it(any_store, large):
    written = parts(large)
    entry = write_bundle(any_store, PATH, written, FACTS)
    table = pa.ipc.open_file(pa.py_buffer(any_store.get(PATH))).read_all()
    table.validate(full=True)
    assert table.num_rows == 1
    assert table.column_names[-1] == "header"
    assert msgspec.json.decode(table.column("header")[0].as_py())["facts"] == FACTS
    opened = open_bundle(any_store, entry)
    stored = {f"{name}/{array}": (file, array) for name, file in opened.files.items() for array in file.arrays}
    assert list(stored) == table.column_names[:-1]
    for column, (file, array) in stored.items():
        assert not table.field(column).nullable
        values = table.column(column).combine_chunks().flatten()
        file.ensure(array)
        shape = file.array(array).shape
        flat = values.flatten() if len(shape) > 1 else values
        expected = file.array(array)
        assert np.array_equal(flat.to_numpy().reshape(shape), expected, equal_nan=expected.dtype.kind == "f")


def test_the_entry_tells_the_truth_and_is_short(any_store):
    entry = write_bundle(any_store, f"segments/{uuid4().hex}-{uuid4().hex}-0.arrow", parts(True))
    data = bytes(any_store.get(entry.path))
    assert (entry.bytes, entry.crc32c) == (len(data), google_crc32c.value(data))
    at = entry.header
    header = data[at.offset : at.offset + at.bytes]
    assert at.crc32c == google_crc32c.value(header)
    said = msgspec.json.decode(header)
    chunks = [data[i : min(i + CHUNK, at.offset)] for i in range(0, at.offset, CHUNK)]
    assert said["crc32c"] == "".join(f"{google_crc32c.value(chunk):08x}" for chunk in chunks)
    encoded = msgspec.json.encode(entry)
    assert len(encoded) <= 250
    assert msgspec.json.decode(encoded, type=BundleEntry) == entry
    check_entry(bundle_file(entry))
    assert bundle_file(entry).bytes == entry.bytes


def test_nothing_at_all(any_store):
    entry = write_bundle(any_store, PATH, {})
    assert (open_bundle(any_store, entry).files, open_bundle(any_store, entry).facts) == ({}, {})
    assert pa.ipc.open_file(pa.py_buffer(any_store.get(PATH))).read_all().num_rows == 1
    assert check_bundle(any_store, entry, lambda _: None) is None


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=8)
ARRAYS = st.dictionaries(
    NAMES,
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: st.tuples(st.integers(0, 40), *[st.integers(1, 4)] * 2).flatmap(
            lambda shape: st.integers(1, 3).flatmap(lambda axes: hnp.arrays(dtype, shape[:axes]))
        )
    ),
    max_size=3,
)
SAMPLE = sample_table(60)
TABLES = st.tuples(
    st.lists(st.sampled_from(SAMPLE.column_names), unique=True, min_size=1, max_size=4),
    st.integers(0, 60),
    st.integers(0, 60),
).map(lambda drawn: SAMPLE.select(drawn[0]).slice(drawn[1], drawn[2]))


@pytest.mark.slow
@given(st.dictionaries(NAMES, ARRAYS | TABLES, max_size=4), st.booleans(), st.booleans())
def test_any_arrays_and_tables(written, whole, twice):
    limits = {"SMALL": SMALL if whole else 0}
    with (
        patch.multiple("vsearch.storage.files.bundle", **limits),
        patch.multiple("vsearch.storage.files.bundle_writing", **limits, KEPT=0 if twice else 1 << 20),
    ):
        for store in (open_store(f"memory://{uuid4().hex}"), HeldBytes()):
            entry = write_bundle(store, PATH, written, {"a": 1})
            same(open_bundle(store, entry), written)
            table = pa.ipc.open_file(pa.py_buffer(store.get(PATH))).read_all()
            table.validate(full=True)
            assert check_bundle(store, entry, lambda _: None) is None


def test_every_way_of_writing_writes_the_same(tmp_path, monkeypatch):
    written = parts()
    folder, held = open_store(tmp_path), HeldBytes()
    entries = [write_bundle(folder, PATH, written, FACTS), write_bundle(held, PATH, written, FACTS)]
    monkeypatch.setattr("vsearch.storage.files.bundle_writing.SMALL", 0)
    monkeypatch.setattr("vsearch.storage.files.bundle_writing.KEPT", 0)
    folder.delete([PATH])
    entries.append(write_bundle(folder, PATH, written, FACTS))
    assert entries[0] == entries[1] == entries[2]
    assert bytes(folder.get(PATH)) == bytes(held.get(PATH))


def test_arrays_need_be_neither_contiguous_nor_little_endian(any_store):
    base = np.arange(6000, dtype=np.float32).reshape(100, 60)
    written = {"a": {"turned": base[::-1, ::2], "big": base[:, 0].astype(">i4"), "fortran": np.asfortranarray(base)}}
    opened = open_bundle(any_store, write_bundle(any_store, PATH, written))
    opened.files["a"].ensure_all()
    for name, array in written["a"].items():
        assert np.array_equal(opened.files["a"].array(name), array)


@pytest.mark.parametrize(
    ("written", "facts", "said"),
    [
        ({"a/b": {}}, {}, "the name of a part must be text without a slash, got 'a/b'"),
        ({"": {}}, {}, "the name of a part"),
        ({"a": {"b": np.zeros(())}}, {}, "cannot be stored"),
        ({"a": {"b": np.zeros((2, 0))}}, {}, "cannot be stored"),
        ({"a": {"b": np.zeros(3, bool)}}, {}, "cannot be stored"),
        ({"a": {"": np.zeros(3)}}, {}, "cannot be stored"),
        ({"a" * 2000: {}}, {}, "cannot be stored"),
        ({"a": {"\ud800": np.zeros(3)}}, {}, "names of parts and arrays must be text"),
        ({"a": pa.table({"b": [b"bytes"]})}, {}, "cannot be stored"),
        ({"a": pa.table([[1], [2]], names=["b", "b"])}, {}, "names"),
        ({}, {"b": object()}, "facts must be JSON values"),
        ({}, {"b": np.float32(1)}, "facts must be JSON values"),
        ({}, {"b": "\ud800"}, "facts must be JSON values"),
    ],
)
def test_what_cannot_be_stored_is_refused(store, written, facts, said):
    with pytest.raises(InputError, match=said):
        write_bundle(store, PATH, written, facts)
    assert store.list("segments") == []


def test_facts_that_nest_too_deeply_are_refused(store):
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InputError, match=r"facts must be JSON values|its header is nested too deeply"):
        write_bundle(store, PATH, {}, {"deep": deep})
    assert store.list("segments") == []


def test_a_header_has_a_largest_size(store, monkeypatch):
    monkeypatch.setattr("vsearch.storage.files.bundle_writing.LARGEST_HEADER", 1000)
    with pytest.raises(InputError, match=r"must fit in a header of 1000 bytes, got \d+"):
        write_bundle(store, PATH, {}, {"a": "x" * 1000})


@pytest.mark.parametrize("path", ["../x.arrow", "/etc/x.arrow", "a//b.arrow", ""])
def test_a_path_that_leads_elsewhere_is_refused(store, path):
    with pytest.raises(InputError, match="path"):
        write_bundle(store, path, {})


def test_a_small_one_is_never_written_over(any_store):
    entry = write_bundle(any_store, PATH, parts())
    with pytest.raises(ConflictError):
        write_bundle(any_store, PATH, {})
    same(open_bundle(any_store, entry), parts())


def test_a_full_disk_leaves_nothing(tmp_path):
    store = open_store(tmp_path)
    full = OSError(28, "No space left on device")
    with (
        patch("vsearch.storage.files.bundle_writing.stream", side_effect=full),
        pytest.raises(StoreError, match=r"No space left on device; free some space"),
    ):
        write_bundle(store, PATH, parts(True))
    assert store.list("segments") == []


def test_memory_needs_no_temporary_file(monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(LocalFile, "__init__", refuse)
    store, written = HeldBytes(), parts(True)
    entry = write_bundle(store, PATH, written)
    for verify in (True, False):
        opened = open_bundle(store, entry, verify=verify)
        same(opened, written)
        assert np.shares_memory(opened.files["rerank"].array("rerank"), store.memory_map(PATH))


def test_a_folder_is_mapped_without_copies(tmp_path):
    store = open_store(tmp_path)
    opened = open_bundle(store, write_bundle(store, PATH, parts(True)))
    for file in opened.files.values():
        assert file.mapped
        assert file.requests == file.bytes_read == 0
    shared = opened.files["ids"].shared
    assert np.shares_memory(opened.files["rerank"].array("rerank"), shared.data())


def test_only_what_is_touched_is_read(remote):
    meter = MeteredStore(remote)
    entry = write_bundle(remote, PATH, parts(True))
    opened = open_bundle(meter, entry)
    assert (meter.requests, meter.bytes) == (1, entry.header.bytes)
    rerank = opened.files["rerank"]
    rerank.ensure("rerank", 20_000, 20_001)
    assert (meter.requests, meter.bytes) == (2, entry.header.bytes + CHUNK)
    assert (rerank.requests, rerank.bytes_read) == (1, CHUNK)
    rerank.ensure("rerank", [20_000], [20_001])
    assert meter.requests == 2
    assert not rerank.complete
    opened.files["last"].ensure_all()
    assert opened.files["last"].complete
    assert not rerank.complete
    rerank.ensure_all()
    assert rerank.complete
    for file in opened.files.values():
        file.ensure_all()
    assert sum(file.bytes_read for file in opened.files.values()) == meter.bytes - entry.header.bytes
    assert meter.bytes <= entry.header.offset + entry.header.bytes


def test_parts_of_one_bundle_travel_in_one_round(remote):
    rounds = []

    class Watched(MeteredStore):
        def read_into(self, path, starts, stops, out):
            rounds.append((path, len(starts)))
            super().read_into(path, starts, stops, out)

    store = Watched(remote)
    written = parts(True)
    entries = [write_bundle(remote, f"segments/{i}.arrow", written) for i in range(2)]
    opened = [open_bundle(store, entry) for entry in entries]
    rounds.clear()
    wanted = [(each.files["ids"], "id", None, None) for each in opened]
    wanted += [(each.files["last"], "row", 39_999, 40_000) for each in opened]
    wanted += [(opened[0].files["rerank"], "rerank", [15_000], [15_001])]
    ensure_together(wanted)
    assert sorted(rounds) == [("segments/0.arrow", 3), ("segments/1.arrow", 2)]
    assert np.array_equal(opened[1].files["ids"].array("id"), np.arange(900))
    assert opened[0].files["last"].array("row")[-1] == 39_999
    assert np.array_equal(opened[0].files["rerank"].array("rerank")[15_000], written["rerank"]["rerank"][15_000])
    ensure_together(wanted)
    assert len(rounds) == 2


def test_bundles_and_other_files_are_made_ready_together(store):
    opened = open_bundle(store, write_bundle(store, PATH, parts(True)))
    other = SegmentFile(store, *write_arrays(store, "segments/b.arrow", {"a": np.arange(99)}))
    ensure_together([(other, "a", None, None), (opened.files["ids"], "key", None, None)])
    assert np.array_equal(other.array("a"), np.arange(99))
    assert opened.files["ids"].array("key")[0] == 899


def test_threads_share_the_work(remote):
    meter = MeteredStore(remote)
    written = parts(True)
    entry = write_bundle(remote, PATH, written)
    opened = open_bundle(meter, entry)
    barrier = threading.Barrier(8)

    def read(seed):
        random = np.random.default_rng(seed)
        barrier.wait()
        for _ in range(30):
            part, name = (("rerank", "rerank"), ("last", "row"))[random.integers(2)]
            start = int(random.integers(0, 29_000))
            opened.files[part].ensure(name, start, start + 900)
            found = opened.files[part].array(name)[start : start + 900]
            assert np.array_equal(found, written[part][name][start : start + 900])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert sum(file.bytes_read for file in opened.files.values()) == meter.bytes - entry.header.bytes
    assert meter.bytes <= entry.bytes


@pytest.mark.parametrize("large", [False, True])
def test_what_was_fetched_ahead_costs_no_request(remote, large):
    written = parts(large)
    entry = write_bundle(remote, PATH, written)
    at = entry.header
    file, ahead = bundle_file(entry), []
    if large:
        ahead, whole = [(file, at.offset, at.offset + at.bytes)], []
    else:
        whole = [file]
    meter = MeteredStore(remote)
    store = fetch_files(meter, whole, {}, ahead)
    assert meter.requests == 1
    opened = open_bundle(store, entry)
    assert meter.requests == 1
    same(opened, written, alignment=16)  # as any memory
