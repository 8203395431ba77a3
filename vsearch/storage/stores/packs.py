"""Ranges of one object in files on disk, each range with checksums.

A pack is a sequence of records: a header, a CRC32C for each `BLOCK` bytes, and the bytes of a range. Records are only appended, by the
process that holds the lock of the folder, and a reader takes what is complete: after a kill, the last record of a pack ends too
early or fails its checksum, is not read, and nothing is appended behind it.

Let r be the number of cached ranges of an object. Its headers are read once, in O(r); finding a range takes O(log r), and reading it one
read of the file and one checksum per `BLOCK`.
"""

# ruff: noqa: PTH108, PTH208

from __future__ import annotations

import errno
import os
import struct
import time
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import google_crc32c
import numpy as np

from vsearch.storage.stores.cache_folder import PAGE, make_folders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vsearch.storage.stores.cache_folder import CacheFolder

BLOCK = 32 << 10
"""Bytes per checksum."""

LARGEST_PACK = 8 << 20
"""Bytes from which on a pack is full; a sixteenth of the budget if that is less."""

TOUCHED = 1.0
"""Seconds between updates of the time of last use of a pack."""

_MAGIC = b"VSR1"
_HEADER = struct.Struct(
    "<4sQQI"
)  # magic, first byte, bytes, CRC32C of the header's other fields, the key and the checksums
_LONGEST = _HEADER.size + 4 * (LARGEST_PACK // BLOCK + 1)


@dataclass(frozen=True, slots=True)
class Record:
    """Bytes ``[start, stop)`` of an object at an offset of a pack, with the checksums of their blocks."""

    pack: str
    offset: int
    start: int
    stop: int
    checksums: tuple[int, ...]


Piece = tuple[int, int, Record]
"""First byte and end of a part of a record."""


class PackedObject:
    """The cached ranges of one object; not thread-safe, except for `read`.

    Parameters
    ----------
    folder : CacheFolder
    key : bytes (16,)
        Identifies the object and its version.
    size : int
        Bytes of the object.
    """

    def __init__(self, folder: CacheFolder, key: bytes, size: int) -> None:
        self._folder, self._key, self._size = folder, key, size
        self._path = folder.object_folder(key)
        self._starts: list[int] = []
        self._pieces: list[Piece] = []  # disjoint and sorted
        self._ends: dict[
            str, tuple[int, bool]
        ] = {}  # by pack: end of the records that are known, and whether the file ends there
        self._touched: dict[str, float] = {}
        self._damaged: set[str] = set()
        self._limit = min(LARGEST_PACK, folder.budget // 16)

    def refresh(self) -> None:
        """Read the headers of records that were added since, by this or other processes.

        Raises
        ------
        OSError
            The folder cannot be read.
        """
        try:
            names = {name for name in os.listdir(self._path) if name.endswith(".pack")} - self._damaged
        except FileNotFoundError:
            names = set()
        for gone in self._ends.keys() - names:
            self.forget(gone)
        for name in sorted(names):
            self._scan(name)

    def find(self, start: int, stop: int) -> list[Piece]:
        """The cached parts of a range, in order."""
        covering: list[Piece] = []
        for at in range(max(bisect_right(self._starts, start) - 1, 0), len(self._pieces)):
            first, end, record = self._pieces[at]
            if first >= stop:
                break
            if end > start:
                covering.append((max(first, start), min(end, stop), record))
        return covering

    def read(self, pieces: Sequence[Piece], out: NDArray[np.uint8]) -> set[str]:
        """Read parts to their positions in ``out``; return the packs that are gone or damaged, whose parts must be read elsewhere."""
        descriptors: dict[str, int] = {}
        failed: set[str] = set()
        try:
            for piece in pieces:
                pack = piece[2].pack
                if pack in failed:
                    continue
                try:
                    if pack not in descriptors:
                        descriptors[pack] = os.open(f"{self._path}/{pack}", os.O_RDONLY | os.O_CLOEXEC)
                        self._touch(pack, descriptors[pack])
                    is_good = _read_piece(descriptors[pack], *piece, out)
                except OSError:
                    is_good = False
                if not is_good:
                    failed.add(pack)
        finally:
            for descriptor in descriptors.values():
                os.close(descriptor)
        return failed

    def forget(self, pack: str) -> None:
        """Take a pack out of the index."""
        self._ends.pop(pack, None)
        self._pieces = [piece for piece in self._pieces if piece[2].pack != pack]
        self._starts = [piece[0] for piece in self._pieces]

    def remove(self, pack: str) -> None:
        """Remove a damaged pack, unless it is gone, and never read it again."""
        self.forget(pack)
        self._damaged.add(pack)
        with suppress(OSError):
            os.unlink(f"{self._path}/{pack}")

    def append(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        """Add bytes ``[start, stop)`` of ``out``; requires the lock of the folder.

        Raises
        ------
        OSError
            They cannot be written; the pack is then as it was.
        """
        for begin in range(start, stop, self._limit):
            self._append(begin, min(begin + self._limit, stop), out)

    def _append(self, start: int, stop: int, out: NDArray[np.uint8]) -> None:
        data = out[start:stop]
        checksums = [google_crc32c.value(data[i : i + BLOCK]) for i in range(0, len(data), BLOCK)]
        table = struct.pack(f"<{len(checksums)}I", *checksums)
        header = _HEADER.pack(_MAGIC, start, stop - start, _header_crc(start, stop - start, self._key, table))
        total = len(header) + len(table) + len(data)
        self._folder.reserve(-(-total // PAGE) * PAGE + 2 * PAGE)  # of a new pack in a new folder
        self.refresh()  # others may have appended, and room may have been made by removing packs
        pack, descriptor = self._open_pack()
        end = os.fstat(descriptor).st_size
        try:
            written = os.writev(descriptor, [header, table, data.data])
            if written != total:  # the disk is full, or the limit of the process for files is reached
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 (undone below)
        except BaseException:
            os.ftruncate(descriptor, end)
            raise
        finally:
            os.close(descriptor)
        self._add(Record(pack, end + len(header) + len(table), start, stop, tuple(checksums)))
        self._ends[pack] = end + total, True

    def _open_pack(self) -> tuple[str, int]:
        """Open a pack that is not full and ends with a whole record, or else a new one."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        for pack, (end, is_whole) in self._ends.items():
            if is_whole and end < self._limit:
                try:
                    return pack, os.open(f"{self._path}/{pack}", flags)
                except FileNotFoundError:  # removed by a process to which it was damaged
                    continue
        make_folders(self._path)
        pack = f"{uuid4().hex}.pack"
        return pack, os.open(f"{self._path}/{pack}", flags | os.O_CREAT | os.O_EXCL, 0o600)

    def _scan(self, pack: str) -> None:
        end, _ = self._ends.get(pack, (0, True))
        try:
            descriptor = os.open(f"{self._path}/{pack}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.forget(pack)
            return
        try:
            size = os.fstat(descriptor).st_size
            if size < end:  # truncated
                self.forget(pack)
                end = 0
            while end < size:
                record = self._parse(os.pread(descriptor, _LONGEST, end), pack, end, size)
                if record is None:
                    break
                self._add(record)
                end = record.offset + record.stop - record.start
        finally:
            os.close(descriptor)
        self._ends[pack] = end, end == size

    def _parse(self, data: bytes, pack: str, at: int, size: int) -> Record | None:
        if len(data) < _HEADER.size:
            return None
        magic, start, length, checksum = _HEADER.unpack_from(data)
        if magic != _MAGIC or not 0 < length <= LARGEST_PACK or start + length > self._size:
            return None
        count = -(-length // BLOCK)
        table = data[_HEADER.size : _HEADER.size + 4 * count]
        offset = at + _HEADER.size + 4 * count
        if offset + length > size or _header_crc(start, length, self._key, table) != checksum:
            return None
        return Record(pack, offset, start, start + length, struct.unpack(f"<{count}I", table))

    def _add(self, record: Record) -> None:
        """Index the parts of a record that no other covers."""
        at, gaps = record.start, []
        for first, end, _ in self.find(record.start, record.stop):
            if first > at:
                gaps.append((at, first))
            at = end
        if at < record.stop:
            gaps.append((at, record.stop))
        for first, end in gaps:
            place = bisect_right(self._starts, first)
            self._starts.insert(place, first)
            self._pieces.insert(place, (first, end, record))

    def _touch(self, pack: str, descriptor: int) -> None:
        now = time.monotonic()
        if now - self._touched.get(pack, -TOUCHED) >= TOUCHED:
            self._touched[pack] = now
            os.utime(descriptor)


def _read_piece(descriptor: int, start: int, stop: int, record: Record, out: NDArray[np.uint8]) -> bool:
    """Read a part of a record with one read; return whether its blocks match their checksums."""
    first = (start - record.start) // BLOCK
    begin = record.start + first * BLOCK
    end = min(record.start + -(-(stop - record.start) // BLOCK) * BLOCK, record.stop)
    is_direct = begin == start and end == stop
    # bytes beyond the part may be in use by other threads, so they are never written to
    data = out[start:stop] if is_direct else np.empty(end - begin, np.uint8)
    if os.preadv(descriptor, [data.data], record.offset + begin - record.start) != end - begin:
        return False
    for i in range(0, end - begin, BLOCK):
        if google_crc32c.value(data[i : i + BLOCK]) != record.checksums[first + i // BLOCK]:
            return False
    if not is_direct:
        out[start:stop] = data[start - begin : stop - begin]
    return True


def _header_crc(start: int, length: int, key: bytes, table: bytes) -> int:
    return int(google_crc32c.value(struct.pack("<QQ", start, length) + key + table))
