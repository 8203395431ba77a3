"""Arrow IPC files with manually placed buffers: one record batch, uncompressed, every buffer aligned to 64 bytes.

pyarrow aligns buffers to 8 bytes and needs whole arrays in its own memory. It therefore only writes a template here, with one
row of the same schema; the lengths and offsets in the template's headers are then replaced by the actual ones, and the
buffers are streamed to these offsets.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from vsearch.storage.files.entries import ALIGNMENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    Buffer = NDArray[np.generic] | None

_MAGIC = b"ARROW1"
_BLOCK = 16 << 20


class Node(NamedTuple):
    """One array of a record batch: a column or the items of a list column."""

    length: int
    nulls: int


class Sink(Protocol):
    """A receiver of consecutive bytes: a file, or memory."""

    def write(self, data: Any, /) -> object:
        """Append the bytes of a buffer."""


class Placed(NamedTuple):
    """Offsets and lengths of the written buffers."""

    offsets: list[int]
    lengths: list[int]


def write_batch(
    file: BinaryIO,
    schema: pa.Schema,
    rows: int,
    columns: Iterable[tuple[list[Node], list[Buffer]]],
) -> Placed:
    """Write an Arrow file with one record batch.

    Parameters
    ----------
    file
        Seekable and empty.
    schema
    rows
        Length of the batch.
    columns
        Nodes and buffers of every field, depth first, in the order of the Arrow format. Consumed one by one, so that no
        two columns need be in memory. A buffer is any array; None stands for an absent validity bitmap.

    Returns
    -------
    Placed
        Byte offset in the file and length of every buffer, in order.
    """
    template = Template(schema)
    nodes: list[Node] = []
    placed = Placed([], [])
    file.seek(template.body)
    at = template.body
    for column_nodes, buffers in columns:
        nodes += column_nodes
        for buffer in buffers:
            placed.offsets.append(at)
            placed.lengths.append(0 if buffer is None else buffer.nbytes)
            if buffer is not None:
                at += stream(file, buffer)
    file.write(template.tail(at - template.body))
    file.seek(0)
    file.write(template.header(rows, nodes, placed, at - template.body))
    return placed


def padded(length: int) -> int:
    """Round a length up to a multiple of the alignment."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def stream(file: Sink, buffer: NDArray[np.generic]) -> int:
    """Write an array row-major and little-endian in bounded pieces, then zeros up to the alignment; return the bytes written."""
    little = buffer.dtype.newbyteorder("<")
    rows = max(1, _BLOCK // max(1, buffer.nbytes // max(1, len(buffer))))
    for start in range(0, len(buffer), rows):
        piece = np.ascontiguousarray(buffer[start : start + rows], little)
        file.write(piece.reshape(-1).view(np.uint8).data)
    padding = -buffer.nbytes % ALIGNMENT
    file.write(bytes(padding))
    return int(buffer.nbytes + padding)


class Template:
    """The headers that pyarrow writes for one row of a schema, with their fields located.

    Attributes
    ----------
    body : int
        Offset of the first buffer in the file.
    """

    def __init__(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema) as writer:
            row = [pa.nulls(1, field.type) for field in schema]
            writer.write_batch(pa.RecordBatch.from_arrays(row, schema=schema))
        file_bytes = sink.getvalue().to_pybytes()
        (footer_length,) = struct.unpack_from("<i", file_bytes, len(file_bytes) - 10)
        self._footer = bytearray(file_bytes[-10 - footer_length : -10])
        self._block = _field(self._footer, _root(self._footer), 3) + 4
        at, metadata = struct.unpack_from("<qi", self._footer, self._block)
        self._prefix = file_bytes[:at]
        self._message = bytearray(file_bytes[at + 8 : at + metadata])
        self.body = padded(at + metadata)

    def place(self, lengths: list[int]) -> Placed:
        """Assign offsets to buffers of these lengths."""
        ends = np.cumsum([self.body, *map(padded, lengths)], dtype=np.int64).tolist()
        return Placed(ends[:-1], lengths)

    def tail(self, body: int) -> bytes:
        """The bytes of the file after the buffers, which take ``body`` bytes."""
        at = len(self._prefix)
        struct.pack_into("<qi4xq", self._footer, self._block, at, self.body - at, body)
        return b"\xff\xff\xff\xff\0\0\0\0" + bytes(self._footer) + struct.pack("<i", len(self._footer)) + _MAGIC

    def header(self, rows: int, nodes: list[Node], placed: Placed, body: int) -> bytes:
        """The bytes of the file before the buffers."""
        message = self._message
        root = _root(message)
        struct.pack_into("<q", message, _at(message, root, 3), body)
        batch = _field(message, root, 2)
        struct.pack_into("<q", message, _at(message, batch, 0), rows)
        self._fill(_field(message, batch, 1), nodes)
        offsets = [offset - self.body for offset in placed.offsets]
        self._fill(_field(message, batch, 2), list(zip(offsets, placed.lengths, strict=True)))
        size = self.body - len(self._prefix) - 8
        return b"".join((self._prefix, struct.pack("<Ii", 0xFFFFFFFF, size), message.ljust(size, b"\0")))

    def _fill(self, vector: int, pairs: list[Node] | list[tuple[int, int]]) -> None:
        (count,) = struct.unpack_from("<I", self._message, vector)
        if count != len(pairs):
            raise ValueError(f"the schema has {count} entries, got {len(pairs)}")
        for i, pair in enumerate(pairs):
            struct.pack_into("<qq", self._message, vector + 4 + 16 * i, *pair)


def _root(table: bytearray) -> int:
    return int(struct.unpack_from("<I", table, 0)[0])


def _at(data: bytearray, table: int, field: int) -> int:
    """Position of a field of a flatbuffer table; the template contains all fields that are looked up."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * field)
    if offset == 0:
        raise ValueError("this version of pyarrow writes headers that vsearch does not support")
    return int(table + offset)


def _field(data: bytearray, table: int, field: int) -> int:
    """Target of a reference field of a flatbuffer table."""
    at = _at(data, table, field)
    return int(at + struct.unpack_from("<I", data, at)[0])
