"""Arrow IPC bodies from clients, read within a bound on memory.

Compressed buffers, dictionaries and views let a body of a few kilobytes expand to any size. Therefore the uncompressed size of a body is
computed before it is decompressed, and the size of its columns as plain values before they are converted.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from vsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

LARGEST_TABLE = 64 << 20
"""Bytes that any table may take in memory; the table of a large body may take `MOST_TIMES` the size of the body."""

MOST_TIMES = 4

MOST_ROWS = 1_000_000
"""Maximum number of rows of a table; columns without buffers could have any number."""

VERSION_5 = 4  # MetadataVersion.V5, which counts from 0

_UNCOMPRESSED = -1  # a buffer that compression did not make smaller


def read_arrow(body: bytes) -> Any:
    """Read an Arrow IPC stream or file into a table.

    Raises
    ------
    InputError
        The body is invalid, its names are not unique, or it is too large in memory.
    """
    import pyarrow as pa

    largest = max(LARGEST_TABLE, MOST_TIMES * len(body))
    # a file is a stream after eight bytes and before an index, which is not needed
    source = pa.py_buffer(body)[8:] if body[:6] == b"ARROW1" else pa.py_buffer(body)
    try:
        _check_messages(source, largest)
        table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)
        if sum(_plain_bytes(chunk) for column in table.columns for chunk in column.chunks) > largest:
            raise _too_large(largest)
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the body is not an Arrow IPC stream or file: {str(error)[:300]}") from None
    names = table.column_names
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InputError(f"the table has two columns {duplicates[0]!r:.100}; names must be unique")
    return table


def _too_large(largest: int) -> InputError:
    return InputError(f"the table takes more than {largest >> 20} MiB in memory; send fewer rows at once")


def _check_messages(source: pa.Buffer, largest: int) -> None:
    """Check the number of rows and the uncompressed size of all batches, as stated in their headers."""
    import pyarrow as pa

    reader = pa.ipc.MessageReader.open_stream(source)
    rows = total = 0
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type not in ("record batch", "dictionary"):
            continue
        header = memoryview(message.metadata)
        if _may_hide_compression(header):
            raise InputError("batches of Arrow before 1.0 must have no metadata, which could name a compression")
        batch = _batch_of(header, nested=message.type == "dictionary")
        length, sizes = _sizes(batch, memoryview(message.body) if message.body is not None else memoryview(b""))
        rows += length
        total += sum(sizes)
        if not 0 <= length <= rows <= MOST_ROWS:
            raise InputError(f"the table must have at most {MOST_ROWS:,} rows; send fewer rows at once")
        if total > largest:
            raise _too_large(largest)


def _sizes(batch: tuple[memoryview, int], body: memoryview) -> tuple[int, Iterator[int]]:
    """The number of rows of a batch, and the uncompressed size of each buffer."""
    data, table = batch
    length_at, buffers_at, compression_at = (_field(data, table, number) for number in (0, 2, 3))
    length = struct.unpack_from("<q", data, length_at)[0] if length_at else 0
    start = buffers_at + _offset(data, buffers_at) if buffers_at else 0
    count = _offset(data, start) if start else 0

    def sizes() -> Iterator[int]:
        for number in range(count):
            offset, stored = struct.unpack_from("<qq", data, start + 4 + 16 * number)
            if offset < 0 or stored < 0:
                raise ValueError("a buffer lies outside the message")
            size = struct.unpack_from("<q", body, offset)[0] if compression_at and stored else stored
            if size < _UNCOMPRESSED:
                raise ValueError("a buffer has a negative size")
            yield stored if size == _UNCOMPRESSED else size

    return length, sizes()


# Message and RecordBatch are FlatBuffers: https://arrow.apache.org/docs/format/Columnar.html, Message.fbs.


def _batch_of(data: memoryview, *, nested: bool) -> tuple[memoryview, int]:
    """Return where the RecordBatch of a message begins; that of a dictionary lies inside its DictionaryBatch."""
    table = _child(data, _offset(data, 0), 2)
    return data, _child(data, table, 1) if nested else table


def _may_hide_compression(data: memoryview) -> bool:
    """Whether a message is of a version whose compression is stored in its custom metadata, and has such metadata."""
    table = _offset(data, 0)
    version_at = _field(data, table, 0)
    version = struct.unpack_from("<h", data, version_at)[0] if version_at else 0
    return bool(version < VERSION_5 and _field(data, table, 4))


def _child(data: memoryview, table: int, number: int) -> int:
    at = _field(data, table, number)
    if not at:
        raise ValueError("a message has no header")
    return at + _offset(data, at)


def _field(data: memoryview, table: int, number: int) -> int:
    """Return where a field of a FlatBuffers table is stored; 0 if the table lacks it."""
    entries = table - struct.unpack_from("<i", data, table)[0]
    if entries < 0:
        raise ValueError("a message is damaged")
    size = struct.unpack_from("<H", data, entries)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, entries + slot)[0] if slot < size else 0
    return table + int(offset) if offset else 0


def _offset(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _plain_bytes(array: Any) -> int:
    """Bytes of the values of an array once dictionaries and views are resolved; an upper bound for dictionaries of lists."""
    import pyarrow as pa

    types, kind = pa.types, array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_bytes(array.storage)
    if types.is_run_end_encoded(kind):
        raise InputError("run-end encoded columns are not supported; send plain values")
    if types.is_dictionary(kind):
        values, indices = array.dictionary, array.indices
        lengths = _text_lengths(values)
        if lengths is None:
            return len(array) * (8 + (_plain_bytes(values) if types.is_nested(values.type) else 16))
        return int(lengths[indices.drop_null().to_numpy()].sum()) + 8 * len(array)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return int(_text_lengths(array).sum()) + 8 * len(array)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _plain_bytes(array.flatten()) + 8 * len(array)
    return int(array.nbytes)


def _text_lengths(array: Any) -> Any:
    """Bytes of each string, int64; those of NULLs may be of any number from 0 on. None for other types."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, array.type
    if types.is_string_view(kind) or types.is_binary_view(kind):  # Arrow cannot count these itself
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
        return np.maximum(views[array.offset : array.offset + len(array), 0], 0).astype(np.int64)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return None
