"""Writing bundles in one pass: lengths and offsets are known before the first byte, checksums are computed on the way."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numpy as np

from vsearch.errors import ConflictError, CorruptIndexError, InputError
from vsearch.storage.files.arrow import Node, Template, padded, stream
from vsearch.storage.files.bundle import (
    LARGEST_HEADER,
    SMALL,
    BundleEntry,
    HeaderEntry,
    PartEntry,
    check_bundle_entry,
    decode_header,
    encode_header,
)
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.files.column_types import type_of
from vsearch.storage.files.columns import column_buffers
from vsearch.storage.files.entries import ALIGNMENT, CHUNK, ArrayEntry, ColumnEntry
from vsearch.storage.files.local_file import LocalFile
from vsearch.storage.files.writing import check_arrays, row_type, table_fields
from vsearch.storage.stores.base import check_path
from vsearch.storage.stores.held import HeldBytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from vsearch.storage.files.arrow import Sink
    from vsearch.storage.stores.base import Store

HEADER = "header"
"""Name of the header column, the last one; other columns have a slash in their names."""

_OFFSETS = 16  # bytes of the offsets of a list column with one row

KEPT = 4 << 20
"""Tables up to this size in bytes are converted once; for larger ones, buffers are made once for their lengths and again to write."""

MOST_REFUSALS = 6
"""Number of times a put may be refused although the object does not exist."""


class _Array(NamedTuple):
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _Part:
    """A planned part: its entries, and its arrays one at a time."""

    name: str
    rows: int
    arrays: list[_Array]
    columns: tuple[ColumnEntry, ...]
    contents: Callable[[], Iterable[NDArray[np.generic]]]


def write_bundle(
    store: Store,
    path: str,
    parts: Mapping[str, Mapping[str, NDArray[np.generic]] | pa.Table],
    facts: Mapping[str, Any] | None = None,
    *,
    checksums: bool = True,
) -> BundleEntry:
    """Write arrays and tables as one Arrow file.

    Memory beyond the arrays stays at a few megabytes, or at one column of a table. Small bundles, and all in `HeldBytes`, are
    made in memory and put; larger ones are written to a temporary file.

    Parameters
    ----------
    store
    path
        Path in the store, ending in ``.arrow``; must not have been used before.
    parts
        By name, without slashes: arrays by name, with 1 to 3 dimensions and of any lengths, or a table.
    facts
        JSON values for :attr:`Bundle.facts`.
    checksums
        Whether to compute them. Without them, only a `HeldBytes` of this process may be opened, unverified.

    Raises
    ------
    InputError
        A name, array, column or fact cannot be stored.
    """
    import pyarrow as pa

    check_path(path)
    planned = [_plan(path, name, part) for name, part in parts.items()]
    arrays = [(f"{part.name}/{array.name}", array) for part in planned for array in part.arrays]
    try:
        fields = [pa.field(name, _list_type(array), nullable=False) for name, array in arrays]
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: names of parts and arrays must be text, got {error.object!r}") from None
    layout = _Layout(Template(pa.schema([*fields, pa.field(HEADER, pa.large_string(), nullable=False)])))
    for _, array in arrays:
        layout.add(array)
    plan = layout.finish(path, planned, facts or {})
    if isinstance(store, HeldBytes) or plan.size <= SMALL:
        memory = _Memory(plan.size)
        entry = plan.write(memory, checksums=checksums)
        if isinstance(store, HeldBytes):
            store.hold(path, memory.data)
        else:
            _put(store, path, memory.data.tobytes())
        return entry
    with LocalFile(store, path) as local:
        entry = local.write(plan.write)
        local.put()
    return entry


def _put(store: Store, path: str, data: bytes) -> None:
    """Put a new object. A put that is repeated because its response was lost finds its own earlier success."""
    for refusals in range(1, MOST_REFUSALS + 1):
        try:
            store.put(path, data)
        except ConflictError:
            try:
                if bytes(store.get(path)) == data:
                    return
            except FileNotFoundError:  # 409: refused with nothing written
                if refusals < MOST_REFUSALS:
                    continue
            raise
        return


def _plan(path: str, name: str, part: Mapping[str, NDArray[np.generic]] | pa.Table) -> _Part:
    import pyarrow as pa

    if not name or "/" in name:
        raise InputError(f"{path}: the name of a part must be text without a slash, got {name!r}")
    if not isinstance(part, pa.Table):
        check_arrays(path, part)
        arrays = [_Array(array_name, array.dtype, tuple(map(int, array.shape))) for array_name, array in part.items()]
        lengths = {array.shape[0] for array in arrays}
        return _Part(name, lengths.pop() if len(lengths) == 1 else 0, arrays, (), part.values)
    fields = table_fields(path, part)
    buffer_all = part.nbytes <= KEPT
    buffered: list[NDArray[np.generic]] = []
    arrays, columns = [], []
    for field in fields:
        nodes, buffers = column_buffers(part.column(field.name), field.type)
        columns.append(ColumnEntry(field.name, type_of(field.type).name, nodes[0].nulls))
        present = [(buffer_name, buffer) for buffer_name, buffer in buffers if buffer is not None]
        arrays += [
            _Array(f"{field.name}.{buffer_name}", buffer.dtype, (len(buffer),)) for buffer_name, buffer in present
        ]
        buffered += [buffer for _, buffer in present if buffer_all]

    def convert_again() -> Iterator[NDArray[np.generic]]:
        for field in fields:
            _, buffers = column_buffers(part.column(field.name), field.type)
            yield from (buffer for _, buffer in buffers if buffer is not None)

    return _Part(name, part.num_rows, arrays, tuple(columns), (lambda: buffered) if buffer_all else convert_again)


def _list_type(array: _Array) -> pa.DataType:
    import pyarrow as pa

    return pa.large_list(pa.field("item", row_type(array.dtype, array.shape), nullable=False))


class _Layout:
    """Placement of the buffers of the one row. Each array is a list: offsets 0 and its length, then the values."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._nodes: list[Node] = []
        self._lengths: list[int] = []
        self._at: list[int] = []  # indices of the arrays among the lengths

    def add(self, array: _Array) -> None:
        rows, width = array.shape[0], int(np.prod(array.shape[1:]))
        self._nodes += [Node(1, 0), Node(rows, 0)]
        self._lengths += [0, _OFFSETS, 0]
        if len(array.shape) > 1:
            self._nodes.append(Node(rows * width, 0))
            self._lengths.append(0)
        self._at.append(len(self._lengths))
        self._lengths.append(array.bytes)

    def finish(self, path: str, parts: list[_Part], facts: Mapping[str, Any]) -> _Plan:
        """Return the plan of the file, with the header as the last buffer."""
        self._nodes.append(Node(1, 0))
        placed = self._template.place([*self._lengths, 0, _OFFSETS, 0])
        array_offsets = iter([placed.offsets[at] for at in self._at])
        entries = tuple(
            PartEntry(
                part.name,
                part.rows,
                tuple(
                    ArrayEntry(array.name, array.dtype.name, array.shape, next(array_offsets)) for array in part.arrays
                ),
                part.columns,
            )
            for part in parts
        )
        start = placed.offsets[-1]
        header = _encode(path, entries, facts, np.zeros(-(-start // CHUNK), np.uint32))
        placed.lengths[-1] = len(header)
        body = start + padded(len(header)) - self._template.body
        tail = self._template.tail(body)
        plan = _Plan(
            path, parts, entries, facts, self._template.header(1, self._nodes, placed, body), start, len(header), tail
        )
        entry = BundleEntry(path, plan.size, 0, HeaderEntry(start, len(header), 0))
        try:  # refuses headers that readers would refuse
            check_bundle_entry(entry)
            decode_header(entry, np.frombuffer(header, np.uint8))
        except CorruptIndexError as error:
            raise InputError(f"cannot be stored as a bundle: {str(error).split(';')[0]}") from None
        return plan


def _encode(path: str, parts: tuple[PartEntry, ...], facts: Mapping[str, Any], checksums: NDArray[np.uint32]) -> bytes:
    try:
        header = encode_header(parts, facts, checksums)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: facts must be JSON values ({error})") from None
    if len(header) > LARGEST_HEADER:
        raise InputError(f"{path}: facts and arrays must fit in a header of {LARGEST_HEADER} bytes, got {len(header)}")
    return header


@dataclass(frozen=True, slots=True)
class _Plan:
    """A planned file without its arrays and checksums."""

    path: str
    parts: list[_Part]
    entries: tuple[PartEntry, ...]
    facts: Mapping[str, Any]
    head: bytes
    start: int
    length: int
    tail: bytes

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return self.start + padded(self.length) + len(self.tail)

    def write(self, sink: Sink, *, checksums: bool = True) -> BundleEntry:
        """Write the file from its first byte to its last."""
        summed = _Summed(sink, google_crc32c.extend if checksums else _no_sum)
        summed.write(self.head)
        for part in self.parts:
            for array in part.contents():
                summed.write(_offsets(len(array)))
                stream(summed, array)
        summed.write(_offsets(self.length))
        header = encode_header(self.entries, self.facts, summed.checksums())
        summed.write(header.ljust(padded(self.length), b"\0"))
        summed.write(self.tail)
        return BundleEntry(self.path, self.size, summed.checksum, HeaderEntry(self.start, self.length, crc32c(header)))


def _offsets(length: int) -> bytes:
    """The offsets of a list column with one row, padded."""
    return struct.pack("<qq", 0, length).ljust(padded(_OFFSETS), b"\0")


def _no_sum(_before: int, _data: Any) -> int:
    """A placeholder for checksums that are never verified."""
    return 0


class _Summed:
    """Forwards bytes and computes checksums of all bytes and of every chunk."""

    def __init__(self, sink: Sink, extend: Callable[[int, Any], int]) -> None:
        self._sink = sink
        self._extend = extend
        self._at = 0
        self._chunks: list[int] = []
        self.checksum = 0

    def write(self, data: Any, /) -> None:
        self._sink.write(data)
        view, extend, done = np.frombuffer(data, np.uint8), self._extend, 0
        while done < len(view):
            offset = self._at % CHUNK
            if offset == 0:
                self._chunks.append(0)
            part = view[done : done + CHUNK - offset]
            self._chunks[-1] = extend(self._chunks[-1], part)
            self.checksum = extend(self.checksum, part)
            self._at += len(part)
            done += len(part)

    def checksums(self) -> NDArray[np.uint32]:
        """Checksums of the chunks so far; the last chunk may be shorter."""
        return np.array(self._chunks, np.uint32)


class _Memory:
    """A file of known size in memory, aligned to 64 bytes."""

    def __init__(self, size: int) -> None:
        room = np.empty(size + ALIGNMENT, np.uint8)
        start = -room.ctypes.data % ALIGNMENT
        self.data = room[start : start + size]
        self._at = 0

    def write(self, data: Any, /) -> None:
        piece = np.frombuffer(data, np.uint8)
        self.data[self._at : self._at + len(piece)] = piece
        self._at += len(piece)
