from __future__ import annotations

import datetime as dt
from unittest.mock import patch

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest

from tests.storage.samples import arrays
from vsearch.errors import InputError, StoreError
from vsearch.storage import SegmentFile, open_store, write_arrays, write_table
from vsearch.storage.files.columns import take

PATH = "segments/a.arrow"


def read_by_arrow(store) -> pa.Table:
    table = pa.ipc.open_file(pa.py_buffer(store.get(PATH))).read_all()
    table.validate(full=True)
    return table


@pytest.mark.parametrize("rows", [0, 1, 7, 5000])
def test_any_arrow_reader_opens_the_arrays(store, rows):
    of_file = arrays(rows)
    entry, _ = write_arrays(store, PATH, of_file)
    table = read_by_arrow(store)
    assert entry.rows == table.num_rows == rows
    for name, array in of_file.items():
        column = table.column(name).combine_chunks()
        values = column.flatten() if array.ndim > 1 else column
        assert np.array_equal(values.to_numpy().reshape(array.shape), array)
        assert not table.field(name).nullable


def test_a_memory_map_opens_the_arrays(tmp_path):
    write_arrays(open_store(tmp_path), PATH, arrays(5000))
    with pa.memory_map(str(tmp_path / PATH)) as mapped:
        table = pa.ipc.open_file(mapped).read_all()
        table.validate(full=True)
        assert np.array_equal(table.column("row").to_numpy(), np.arange(5000))


def test_buffers_are_aligned_and_entries_tell_the_truth(store):
    of_file = arrays(1001)
    entry, checksums = write_arrays(store, PATH, of_file)
    data = bytes(store.get(PATH))
    assert entry.bytes == len(data)
    assert entry.crc32c == google_crc32c.value(data)
    chunk = entry.chunk_bytes
    assert checksums.tolist() == [google_crc32c.value(data[i : i + chunk]) for i in range(0, len(data), chunk)]
    for array in entry.arrays:
        assert array.offset % 64 == 0
        stored = np.frombuffer(data, array.dtype, int(np.prod(array.shape)), array.offset)
        assert np.array_equal(stored.reshape(array.shape), of_file[array.name])


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "uint32", "uint64", "float64"])
def test_every_dtype(store, dtype):
    array = np.arange(100).astype(dtype)
    entry, checksums = write_arrays(store, PATH, {"a": array})
    file = SegmentFile(store, entry, checksums)
    file.ensure("a")
    assert file.array("a").dtype == np.dtype(dtype)
    assert np.array_equal(file.array("a"), array)


def test_arrays_need_be_neither_contiguous_nor_little_endian(store):
    base = np.arange(6000, dtype=np.float32).reshape(100, 60)
    of_file = {"turned": base[::-1, ::2], "big": base[:, 0].astype(">i4"), "fortran": np.asfortranarray(base)}
    entry, checksums = write_arrays(store, PATH, of_file)
    file = SegmentFile(store, entry, checksums)
    file.ensure_all()
    for name, array in of_file.items():
        assert np.array_equal(file.array(name), array)


@pytest.mark.parametrize(
    "of_file",
    [
        {},
        {"a": np.zeros(3), "b": np.zeros(4)},
        {"a": np.zeros(())},
        {"a": np.zeros((2, 0))},
        {"a": np.zeros((1, 1, 1, 1))},
        {"a": np.zeros(3, bool)},
        {"a": np.array(["x"])},
        {"a": np.array([object()])},
    ],
)
def test_what_cannot_be_stored_is_refused(store, of_file):
    with pytest.raises(InputError, match=PATH):
        write_arrays(store, PATH, of_file)
    assert store.list("segments") == []


def test_a_path_that_leads_elsewhere_is_refused(store):
    for path in ("/etc/x.arrow", "../x.arrow", "segments/../../x.arrow", "a//b.arrow", "", "a\\b.arrow", "a\0b"):
        with pytest.raises(InputError, match="path"):
            write_arrays(store, path, {"a": np.zeros(1)})


def test_a_full_disk_leaves_nothing(tmp_path):
    store = open_store(tmp_path)
    with (
        patch("vsearch.storage.files.writing.write_batch", side_effect=OSError(28, "No space left on device")),
        pytest.raises(StoreError, match=r"No space left on device; free some space"),
    ):
        write_arrays(store, PATH, {"a": np.zeros(1)})
    assert store.list("segments") == []


def sample_table(rows: int = 400) -> pa.Table:
    random = np.random.default_rng(0)

    def some(values, arrow):
        return pa.array([values[i] for i in random.integers(0, len(values), rows)], arrow)

    words = ["", "a", "zwölf", "x" * 50, None]
    lists = [[], ["a"], ["b", None, "ccc"], None]
    return pa.table(
        {
            "int": some([1, -(2**63), None], pa.int64()),
            "unsigned": some([0, 2**64 - 1], pa.uint64()),
            "float": some([0.5, float("-inf"), None], pa.float64()),
            "flag": some([True, False, None], pa.bool_()),
            "flag.all": some([True, False], pa.bool_()),
            "text": some(words, pa.string()),
            "text.offsets": some(words, pa.large_string()),
            "time": some([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("us", tz="UTC")),
            "local": some([-(10**18), None], pa.timestamp("ns")),
            "date": some([dt.date(1999, 12, 31), None], pa.date32()),
            "tags": some(lists, pa.list_(pa.string())),
            "tags.item": some(lists, pa.large_list(pa.large_string())),
            "numbers": some([[1, None], [], None, [3]], pa.list_(pa.int64())),
            "flags": some([[True, None, False], [], None, [True]], pa.list_(pa.bool_())),
            "nothing": pa.nulls(rows, pa.string()),
        }
    )


def test_any_arrow_reader_opens_the_table(store):
    table = sample_table()
    write_table(store, PATH, table)
    assert read_by_arrow(store).equals(table)


def test_sliced_and_chunked_tables(store):
    table = pa.concat_tables([sample_table().slice(3, 50), sample_table().slice(61, 0), sample_table().slice(100, 33)])
    entry, checksums = write_table(store, PATH, table)
    whole = table.combine_chunks()
    assert read_by_arrow(store).equals(whole)
    rows = np.array([82, 0, 5, 5, 50, 49])
    assert take(SegmentFile(store, entry, checksums), table.column_names, rows).equals(whole.take(rows))


def test_empty_table(store):
    table = sample_table().slice(0, 0)
    entry, checksums = write_table(store, PATH, table)
    assert read_by_arrow(store).num_rows == 0
    assert take(SegmentFile(store, entry, checksums), table.column_names, np.empty(0, np.int64)).equals(table)


def test_views_become_plain_text(store):
    table = pa.table({"text": pa.array(["a", None, "much longer than twelve bytes"], pa.string_view())})
    entry, checksums = write_table(store, PATH, table)
    taken = take(SegmentFile(store, entry, checksums), ["text"], np.array([2, 1]))
    assert taken.column("text").to_pylist() == ["much longer than twelve bytes", None]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.table([[1], [2]], names=["a", "a"]),
        pa.table([[1]], names=[""]),
        pa.table({"bad": [{"x": 1}]}),
        pa.table({"bad": [b"bytes"]}),
        pa.table({"bad": [[[1]]]}),
        pa.table({"bad": pa.array(["x"]).dictionary_encode()}),
    ],
)
def test_tables_that_cannot_be_stored_are_refused(store, table):
    with pytest.raises(InputError, match=r"bad|names"):
        write_table(store, PATH, table)
    assert store.list("segments") == []


def test_the_file_is_laid_out_as_the_format_says(store):
    entry, _ = write_arrays(store, PATH, arrays(100))
    data = bytes(store.get(PATH))

    def word(at: int) -> int:
        return int.from_bytes(data[at : at + 4], "little")

    assert data[:8] == b"ARROW1\0\0"
    assert data[-6:] == b"ARROW1"
    batch = 8 + 8 + word(12)
    body = batch + 8 + word(batch + 4)
    assert word(8) == word(batch) == 2**32 - 1
    assert body % 64 == 0
    assert body == entry.arrays[0].offset
    footer = len(data) - 10 - word(len(data) - 10)
    assert data[footer - 8 : footer] == b"\xff\xff\xff\xff\0\0\0\0"
    ends = [array.offset + array.bytes for array in entry.arrays]
    for end, start in zip(ends, [array.offset for array in entry.arrays[1:]] + [footer - 8], strict=True):
        assert 0 <= start - end < 64
        assert not any(data[end:start])


def test_much_text_gets_large_offsets(store, monkeypatch):
    monkeypatch.setattr("vsearch.storage.files.columns._LARGEST_SMALL", 1000)
    table = sample_table().select(["text", "tags", "numbers"])
    entry, checksums = write_table(store, PATH, table)
    assert [column.type for column in entry.columns] == [
        "large_string",
        "large_list<large_string>",
        "large_list<int64>",
    ]
    rows = np.array([399, 3, 3])
    taken = take(SegmentFile(store, entry, checksums), table.column_names, rows)
    assert taken.to_pylist() == table.take(rows).to_pylist()
