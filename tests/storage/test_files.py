from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.storage.samples import arrays
from vsearch.errors import CorruptIndexError
from vsearch.storage import CHUNK, SegmentFile, ensure_together, open_store, write_arrays
from vsearch.storage.files.checksums import chunk_checksums, joined_checksums
from vsearch.storage.files.entries import MOST_CHUNKS, SMALLEST_CHUNK, chunk_for
from vsearch.storage.files.file_bytes import GAP

PATH = "segments/a.arrow"
ROWS = 40_000


class Counting:
    """A store that counts what is asked of it, and can be told to fail."""

    def __init__(self, store):
        self._store = store
        self.reads: list[tuple[int, int]] = []
        self.failures = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read_into(self, path, starts, stops, out):
        self.reads.extend(zip(starts, stops, strict=True))
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self._store.read_into(path, starts, stops, out)


@pytest.fixture
def written(store):
    of_file = arrays(ROWS)
    return store, of_file, *write_arrays(store, PATH, of_file)


def test_arrays_are_read_only_views_of_one_buffer(written):
    store, of_file, entry, checksums = written
    file = SegmentFile(store, entry, checksums)
    file.ensure_all()
    assert file.complete
    assert file.bytes_read == entry.bytes
    for name, array in of_file.items():
        view = file.array(name)
        assert (view.dtype, view.shape) == (array.dtype, array.shape)
        assert np.array_equal(view, array)
        assert view.ctypes.data % 64 == 0
        assert not view.flags.writeable
        assert file.array(name) is view


def test_ranges_of_rows(written):
    store, of_file, entry, checksums = written
    file = SegmentFile(store, entry, checksums)
    file.ensure("codes", [0, 39_990, 5, 20_000], [10, 40_000, 5, 20_001])
    for start, stop in ((0, 10), (39_990, 40_000), (20_000, 20_001)):
        assert np.array_equal(file.array("codes")[start:stop], of_file["codes"][start:stop])
    assert file.bytes_read == (3 * CHUNK if file.mapped else 4 * SMALLEST_CHUNK)  # one of the ranges lies in two chunks
    assert file.requests == (0 if file.mapped else 3)
    file.ensure("codes", [0, 39_990], [10, 40_000])
    file.ensure("codes", 3, 4)
    file.ensure("codes", [], [])
    assert file.bytes_read == (3 * CHUNK if file.mapped else 4 * SMALLEST_CHUNK)
    file.ensure("codes")
    file.ensure("codes")
    assert np.array_equal(file.array("codes"), of_file["codes"])
    assert not file.complete


def test_near_ranges_travel_together(remote):
    entry, checksums = write_arrays(remote, PATH, {"a": np.zeros(20 * CHUNK, np.uint8)})
    file = SegmentFile(remote, entry, checksums)
    file.ensure("a", [0, GAP, 4 * GAP], [1, GAP + 1, 4 * GAP + 1])
    assert file.requests == 2
    file.ensure("a", GAP // 2, GAP // 2 + 1)
    assert file.requests == 2


def test_chunks_are_small_in_small_files(remote):
    assert chunk_for(1) == chunk_for(SMALLEST_CHUNK * MOST_CHUNKS) == SMALLEST_CHUNK
    assert chunk_for(SMALLEST_CHUNK * MOST_CHUNKS + 1) == 2 * SMALLEST_CHUNK
    assert chunk_for(CHUNK * MOST_CHUNKS) == chunk_for(2**50) == CHUNK
    entry, checksums = write_arrays(remote, PATH, {"a": np.arange(5 * CHUNK, dtype=np.uint8)})
    assert entry.chunk == entry.chunk_bytes == SMALLEST_CHUNK
    assert entry.chunks == len(checksums) == -(-entry.bytes // SMALLEST_CHUNK)


def test_files_of_before_have_large_chunks(remote):
    """Entries that do not say it, as earlier versions wrote them."""
    entry, _ = write_arrays(remote, PATH, {"a": np.arange(5 * CHUNK, dtype=np.uint8)})
    old = replace(entry, chunk=msgspec.UNSET)
    assert b"chunk" not in msgspec.json.encode(old)
    data = np.frombuffer(remote.get(PATH), np.uint8)
    file = SegmentFile(remote, old, chunk_checksums(data))
    file.ensure("a", CHUNK, CHUNK + 1)
    assert file.bytes_read in (CHUNK, 2 * CHUNK)
    file.ensure_all()
    with pytest.raises(CorruptIndexError, match=f"has {old.chunks} chunks but {entry.chunks} checksums"):
        SegmentFile(remote, old, chunk_checksums(data, entry.chunk_bytes))


@pytest.mark.parametrize("chunk", [1000, 3 * SMALLEST_CHUNK, SMALLEST_CHUNK // 2, 2 * CHUNK, 0, -1])
def test_chunks_of_other_sizes_are_refused(remote, chunk):
    entry, checksums = write_arrays(remote, PATH, {"a": np.arange(5 * CHUNK, dtype=np.uint8)})
    if chunk in (1000, SMALLEST_CHUNK // 2, 2 * CHUNK, 0, -1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(replace(entry, chunk=chunk)), type=type(entry))
    with pytest.raises(CorruptIndexError, match=r"chunks of -?\d+ bytes"):
        SegmentFile(remote, replace(entry, chunk=chunk), checksums)


@pytest.mark.parametrize("chunk", [SMALLEST_CHUNK, 4096, 32768, CHUNK])
def test_joined_checksums_are_those_of_the_bytes(chunk):
    data = np.random.default_rng(chunk).integers(0, 256, 3 * CHUNK, dtype=np.uint8)
    joined = joined_checksums(chunk_checksums(data, chunk).reshape(3, -1), chunk)
    assert joined.tolist() == chunk_checksums(data, CHUNK).tolist()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_one_flipped_bit_is_found_wherever_it_is(data):
    """In groups of chunks that are verified together, in the chunks around them, and in a shorter last one."""
    length = data.draw(st.integers(1, 200_000))
    store = open_store("memory://")
    entry, checksums = write_arrays(
        store, PATH, {"a": np.random.default_rng(length).integers(0, 256, length, np.uint8)}
    )
    at = data.draw(st.integers(0, entry.bytes - 1))
    raw = bytearray(store.get(PATH))
    raw[at] ^= 1 << data.draw(st.integers(0, 7))
    store.put("segments/damaged.arrow", bytes(raw), create=False)
    file = SegmentFile(store, replace(entry, path="segments/damaged.arrow"), checksums)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsearch.storage.files.file_bytes.JOINED", data.draw(st.sampled_from([1, 2, 32])))
        with pytest.raises(CorruptIndexError, match="do not match their checksum") as raised:
            file.ensure_all()
    first, stop = map(int, re.search(r"bytes (\d+)\.\.(\d+)", str(raised.value)).groups())
    assert first <= at < stop


def test_mapped_files_are_verified_in_large_pieces(tmp_path):
    """Of a file in memory, small chunks spare nothing: each takes about as long as many more bytes."""
    store = open_store(str(tmp_path))
    entry, checksums = write_arrays(store, PATH, {"a": np.zeros(4 * CHUNK, np.uint8)})
    assert entry.chunk_bytes == SMALLEST_CHUNK
    file = SegmentFile(store, entry, checksums)
    file.ensure("a", CHUNK, CHUNK + 1)
    assert file.mapped
    assert file.bytes_read == CHUNK
    file.ensure_all()
    assert file.bytes_read == entry.bytes


def test_no_byte_is_fetched_twice(remote):
    store = Counting(remote)
    entry, checksums = write_arrays(remote, PATH, arrays(ROWS))
    file = SegmentFile(store, entry, checksums)
    random = np.random.default_rng(0)
    for _ in range(30):
        start = int(random.integers(0, ROWS - 500))
        file.ensure("codes", start, start + 500)
    file.ensure_all()
    assert sum(stop - start for start, stop in store.reads) == file.bytes_read == entry.bytes
    assert file.requests == len(store.reads)


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 300)), min_size=1, max_size=6), st.integers(1, 400))
def test_any_ranges(ranges, width):
    store = open_store("memory://any-ranges")
    array = np.random.default_rng(0).integers(0, 256, (1300, width), np.uint8)
    file = SegmentFile(store, *write_arrays(store, PATH, {"a": array}))
    starts, stops = [start for start, _ in ranges], [start + length for start, length in ranges]
    file.ensure("a", starts, stops)
    for start, stop in zip(starts, stops, strict=True):
        assert np.array_equal(file.array("a")[start:stop], array[start:stop])


def test_several_files_in_one_round(store):
    written = [write_arrays(store, f"segments/{i}.arrow", arrays(ROWS, i)) for i in range(3)]
    files = [SegmentFile(store, *each) for each in written]
    ensure_together(
        [
            (files[0], "row", None, None),
            (files[0], "factor", 5, 9),
            (files[1], "codes", [7], [8]),
            (files[2], "row", 0, 0),
        ]
    )
    assert np.array_equal(files[0].array("row"), np.arange(ROWS))
    assert np.array_equal(files[0].array("factor")[5:9], arrays(ROWS, 0)["factor"][5:9])
    assert np.array_equal(files[1].array("codes")[7], arrays(ROWS, 1)["codes"][7])
    before = [file.bytes_read for file in files]
    ensure_together([(files[0], "row", 3, 4), (files[1], "codes", 7, 8)])
    assert [file.bytes_read for file in files] == before
    ensure_together([])


@pytest.mark.parametrize("ranges", [([-1], [3]), ([0], [ROWS + 1]), ([5], [4]), ([2**62], [10]), ([0, 9], [1, 2**62])])
def test_ranges_outside_the_array(written, ranges):
    store, _, entry, checksums = written
    with pytest.raises(CorruptIndexError, match=f"'codes' were requested, which has {ROWS}"):
        SegmentFile(store, entry, checksums).ensure("codes", *ranges)


def test_an_array_that_is_not_there(written):
    store, _, entry, checksums = written
    file = SegmentFile(store, entry, checksums)
    for ask in (file.array, file.ensure):
        with pytest.raises(CorruptIndexError, match="has no array 'x', only codes, factor"):
            ask("x")


def damage(store, change) -> None:
    store.put(PATH, change(bytes(store.get(PATH))), create=False)


def flipped(at: int):
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_damage_is_found_where_it_is_touched_and_stays_found(written):
    store, of_file, entry, checksums = written
    offset = next(a.offset for a in entry.arrays if a.name == "codes")
    damage(store, flipped(offset + 48 * 20_000))
    file = SegmentFile(store, entry, checksums)
    file.ensure("codes", 0, 10)
    assert np.array_equal(file.array("codes")[:10], of_file["codes"][:10])
    for _ in range(2):
        with pytest.raises(CorruptIndexError, match=rf"{PATH}: bytes \d+\.\.\d+ do not match their checksum; restore"):
            file.ensure("codes", 20_000, 20_001)
    with pytest.raises(CorruptIndexError):
        file.ensure("codes")
    with pytest.raises(CorruptIndexError):
        file.ensure_all()
    file.ensure("row")


def test_every_flipped_bit_is_found(store):
    entry, checksums = write_arrays(store, PATH, {"a": np.arange(300, dtype=np.uint8)})
    good = bytes(store.get(PATH))
    for at in range(0, len(good), 37):
        store.put(PATH, flipped(at)(good), create=False)
        for sums in (checksums, None):
            with pytest.raises(CorruptIndexError, match=PATH):
                SegmentFile(store, entry, sums).ensure_all()


def test_without_chunk_checksums_the_whole_file_is_checked_at_first_use(written):
    store, of_file, entry, _ = written
    file = SegmentFile(store, entry)
    file.ensure("row", 0, 1)
    assert file.complete
    assert file.bytes_read == entry.bytes
    assert np.array_equal(file.array("codes"), of_file["codes"])


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("keep", [0, 1, 70_000, -1])
def test_truncated(written, keep, checked):
    store, _, entry, checksums = written
    damage(store, lambda data: data[:keep])
    with pytest.raises(CorruptIndexError, match=rf"{PATH}: (has \d+ bytes, expected|is shorter than)"):
        SegmentFile(store, entry, checksums if checked else None).ensure_all()


def test_missing(written):
    store, _, entry, checksums = written
    store.delete([PATH])
    file = SegmentFile(store, entry, checksums)
    with pytest.raises(CorruptIndexError, match=f"{PATH}: is missing in .*; restore the file from a copy, or open"):
        file.ensure("codes")


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_another_number_of_checksums(written, count):
    store, _, entry, _ = written
    with pytest.raises(CorruptIndexError, match=f"{count} checksums"):
        SegmentFile(store, entry, np.zeros(count, np.uint32))


def test_an_entry_of_more_bytes_than_there_can_be(remote):
    entry, _ = write_arrays(remote, PATH, arrays(10))
    with pytest.raises(CorruptIndexError, match="more than this machine can hold"):
        SegmentFile(remote, replace(entry, bytes=2**61)).ensure_all()


def test_threads_share_the_work(remote):
    store = Counting(remote)
    of_file = arrays(ROWS)
    entry, checksums = write_arrays(remote, PATH, of_file)
    file = SegmentFile(store, entry, checksums)
    barrier = threading.Barrier(8)

    def read(seed):
        random = np.random.default_rng(seed)
        barrier.wait()
        for _ in range(50):
            start = int(random.integers(0, ROWS - 900))
            file.ensure("codes", start, start + 900)
            assert np.array_equal(file.array("codes")[start : start + 900], of_file["codes"][start : start + 900])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert sum(stop - start for start, stop in store.reads) == file.bytes_read <= entry.bytes


def test_a_failed_read_is_taken_over_by_the_next(remote):
    store = Counting(remote)
    of_file = arrays(ROWS)
    file = SegmentFile(store, *write_arrays(remote, PATH, of_file))
    store.failures = 3
    outcomes = []

    def read(_):
        try:
            file.ensure("codes")
        except ConnectionError:
            outcomes.append("failed")
        else:
            outcomes.append("read")
            assert np.array_equal(file.array("codes"), of_file["codes"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    assert outcomes.count("failed") == 3
    assert outcomes.count("read") == 5


def test_an_altered_file_in_a_folder(tmp_path):
    store = open_store(tmp_path)
    entry, checksums = write_arrays(store, PATH, arrays(10))
    with Path(tmp_path, PATH).open("ab") as file:
        file.write(b"more")
    with pytest.raises(CorruptIndexError, match=f"has {entry.bytes + 4} bytes, expected {entry.bytes}"):
        SegmentFile(store, entry, checksums).ensure("codes")
