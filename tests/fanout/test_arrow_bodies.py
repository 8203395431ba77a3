"""Arrow bodies: what is read equals what was written; what would expand beyond the bound is refused before it does."""

from __future__ import annotations

import contextlib
import resource
import string

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.errors import InputError
from vsearch.fanout.roles.arrow_bodies import LARGEST_TABLE, MOST_ROWS, read_arrow

BIG = LARGEST_TABLE + 4096
STREAM, FILE = pa.ipc.new_stream, pa.ipc.new_file


def written(table, compression=None, kind=STREAM, chunk=None):
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with kind(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return sink.getvalue().to_pybytes()


def repeated(value, count=1000):
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([value]))


TABLE = pa.table(
    {
        "id": pa.array([f"row {i}" for i in range(300)]),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2400, dtype=np.float32)), 8),
        "word": pa.array(["red", "green", None] * 100).dictionary_encode(),
        "view": pa.array(["a longer string than a view holds", None, "b"] * 100, pa.string_view()),
        "tags": pa.array([["a"], None, []] * 100, pa.list_(pa.string())),
        "nothing": pa.nulls(300),
    }
)
EXPANDING = {
    "zeros": pa.table({"vector": np.zeros(BIG // 8)}),
    "text": pa.table({"text": ["x" * BIG]}),
    "list": pa.table({"l": pa.array([np.zeros(BIG // 8)])}),
    "category": pa.table({"word": repeated("x" * (BIG // 900))}),
    "category of views": pa.table(
        {"word": repeated("x" * (BIG // 900)).cast(pa.dictionary(pa.int8(), pa.string_view()))}
    ),
    "category of lists": pa.table({"l": repeated(["x" * (BIG // 900)])}),
    "list of categories": pa.table({"l": pa.ListArray.from_arrays([0, 1000], repeated("x" * (BIG // 900)))}),
    "rows": pa.table({"nothing": pa.nulls(MOST_ROWS + 1)}),
    "very many rows": pa.table({"nothing": pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])}),
}


@pytest.mark.parametrize("kind", [STREAM, FILE])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("chunk", [None, 70])
def test_what_was_written(compression, kind, chunk):
    assert read_arrow(written(TABLE, compression, kind, chunk)).equals(TABLE)
    assert read_arrow(written(TABLE.slice(0, 0), compression, kind)).schema == TABLE.schema


@pytest.mark.parametrize("kind", [STREAM, FILE])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("name", EXPANDING)
def test_what_expands(name, compression, kind):
    body = written(EXPANDING[name], compression, kind)
    assert len(body) < LARGEST_TABLE / 50
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"in memory|rows; send fewer"):
        read_arrow(body)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST_TABLE / 1024 / 4


def test_views_that_share_their_text():
    text = b"x" * (BIG // 900)
    one = len(text).to_bytes(4, "little") + text[:4] + bytes(8)
    array = pa.Array.from_buffers(pa.string_view(), 1000, [None, pa.py_buffer(one * 1000), pa.py_buffer(text)])
    with pytest.raises(InputError, match="in memory"):
        read_arrow(written(pa.table({"word": array})))


def test_compression_of_before_1_0_is_found():
    """It is named by the custom metadata of a batch, not by its header."""
    raw = bytes(BIG)
    data = len(raw).to_bytes(8, "little") + pa.Codec("zstd").compress(raw, asbytes=True)
    data += bytes(-len(data) % 4)
    batch = pa.record_batch([pa.Array.from_buffers(pa.float32(), len(data) // 4, [None, pa.py_buffer(data)])], ["v"])
    older = pa.ipc.IpcWriteOptions(metadata_version=pa.ipc.MetadataVersion.V4)
    for metadata in ({"ARROW:experimental_compression": "zstd"}, None):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=older) as writer:
            writer.write_batch(batch, custom_metadata=metadata)
        body = sink.getvalue().to_pybytes()
        if metadata is None:
            assert read_arrow(body).num_rows == len(data) // 4
            continue
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(InputError, match="must have no metadata"):
            read_arrow(body)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST_TABLE / 1024 / 4


def test_run_ends_are_refused():
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([5], pa.int32()), pa.array(["x"]))
    with pytest.raises(InputError, match="run-end"):
        read_arrow(written(pa.table({"word": runs})))


@settings(max_examples=300)
@given(st.data())
def test_damaged_bodies(data):
    kind, compression = data.draw(st.sampled_from([STREAM, FILE])), data.draw(st.sampled_from([None, "lz4", "zstd"]))
    body = bytearray(written(TABLE, compression, kind))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    body = bytes(body[: data.draw(st.integers(0, len(body)))])
    with contextlib.suppress(InputError):
        assert read_arrow(body).nbytes <= LARGEST_TABLE


@pytest.mark.parametrize(
    "body", [b"", b"ARROW1", b"ARROW1\0\0", string.printable.encode(), bytes(1000), b"\xff" * 1000]
)
def test_what_is_not_arrow(body):
    with pytest.raises(InputError, match="not an Arrow IPC"):
        read_arrow(body)
