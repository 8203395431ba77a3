"""Bundles: arrays of any lengths, and tables, as the parts of one self-describing Arrow file.

A bundle is one record batch with one row. Its last column is a JSON header, whose position is in the manifest. A reader fetches
the header, or all of a small bundle, and then has one :class:`SegmentFile` per part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from vsearch.errors import CorruptIndexError
from vsearch.storage.files.entries import (
    ALIGNMENT,
    CHUNK,
    LARGEST,
    ArrayEntry,
    Checksum,
    ColumnEntry,
    Count,
    FileEntry,
    Text,
    file_problem,
)
from vsearch.storage.files.file_bytes import FileBytes, ReadCounts
from vsearch.storage.files.segment_file import SegmentFile
from vsearch.storage.stores.base import path_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from vsearch.storage.stores.base import Store

SMALL = 1 << 20
"""Bundles up to this size in bytes are read as a whole."""

LARGEST_HEADER = 64 << 20
"""Maximum size of a header in bytes, without checksums."""

_DIGITS = 8


class HeaderEntry(msgspec.Struct, frozen=True, array_like=True):
    """Position of the header in a bundle. All bytes before it are data, which its checksums cover."""

    offset: Count
    bytes: Count
    crc32c: Checksum


class BundleEntry(msgspec.Struct, frozen=True):
    """Entry of a bundle in a manifest."""

    path: Text
    bytes: Count
    crc32c: Checksum
    header: HeaderEntry


class PartEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of a bundle, as described in its header. ``rows`` is 0 if arrays differ in length."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern="^[^/]+$")]
    rows: Count
    arrays: tuple[ArrayEntry, ...]
    columns: tuple[ColumnEntry, ...] = ()


class BundleHeader(msgspec.Struct, frozen=True):
    """The header: parts, facts added by the writer, and 8 hex digits of checksum per chunk of data."""

    parts: tuple[PartEntry, ...]
    facts: dict[str, Any]
    crc32c: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """An open bundle.

    Attributes
    ----------
    entry : BundleEntry
    facts : mapping
        Added by the writer. Not validated here: that is up to the code that uses them.
    files : dict of str to SegmentFile
        The parts by name; they share the bytes of the bundle.
    opened : ReadCounts
        Reads that opening it took.
    """

    entry: BundleEntry
    facts: Mapping[str, Any]
    files: dict[str, SegmentFile]
    opened: ReadCounts


def bundle_file(entry: BundleEntry) -> FileEntry:
    """The bundle as an ordinary file entry (path, length, checksum), for code that lists, prefetches or verifies files."""
    return FileEntry(entry.path, entry.bytes, entry.crc32c, 0, ())


def check_bundle_entry(entry: BundleEntry) -> None:
    """Validate the position of the header against the length of the file.

    Raises
    ------
    CorruptIndexError
        The entry is invalid; the error names the file and the reason.
    """
    problem = path_problem(entry.path) or file_problem(bundle_file(entry)) or _header_problem(entry)
    if problem is not None:
        raise CorruptIndexError(entry.path, f"its entry in the manifest is invalid: {problem}; restore the manifest")


def _header_problem(entry: BundleEntry) -> str | None:
    header = entry.header
    if not 0 < header.offset <= LARGEST or header.offset % ALIGNMENT:
        return f"the header's offset {header.offset} is not a multiple of {ALIGNMENT}"
    if header.bytes < 1 or header.offset + header.bytes > entry.bytes:
        return f"a header at {header.offset}..{header.offset + header.bytes} exceeds the file's {entry.bytes} bytes"
    if header.bytes > LARGEST_HEADER + _DIGITS * _chunks(header.offset):
        return f"a header of {header.bytes} bytes is too large"
    return None


def _chunks(data: int) -> int:
    return -(-data // CHUNK)


def open_bundle(store: Store, entry: BundleEntry, snapshot: int = 0, *, verify: bool = True) -> Bundle:
    """Open a bundle with one request: for all of it up to 1 MiB, else for its header; with none if the store maps it.

    Chunks of a larger bundle are verified at first access.

    Parameters
    ----------
    store
    entry
        From the manifest; validated here.
    snapshot
        The snapshot that names the bundle; 0 if it is not committed.
    verify
        False skips checksums, for bytes that this process wrote itself.

    Raises
    ------
    CorruptIndexError
        The bundle is missing, too short or damaged, or its header is inconsistent with it.
    SnapshotNotFoundError
        The bundle is missing because the snapshot was pruned.
    """
    check_bundle_entry(entry)
    shared = FileBytes(store, entry.path, entry.bytes, snapshot)
    at, opened = entry.header, ReadCounts()
    end = at.offset + at.bytes
    if entry.bytes <= SMALL:
        shared.cover(np.array([entry.crc32c], np.uint32), entry.bytes, entry.bytes, verify=verify)
        shared.fill(np.ones(1, np.bool_), opened)
        header, _ = decode_header(entry, shared.data()[at.offset : end])
    else:
        raw = shared.read(at.offset, end, at.crc32c if verify else None, opened)
        header, checksums = decode_header(entry, raw)
        shared.cover(checksums, CHUNK, at.offset, verify=verify)
    files = {part.name: SegmentFile.part(shared, part_file(entry, part)) for part in header.parts}
    return Bundle(entry, header.facts, files, opened)


def part_file(entry: BundleEntry, part: PartEntry) -> FileEntry:
    """A part as a file entry that ends where the bundle's data end."""
    return FileEntry(entry.path, entry.header.offset, entry.crc32c, part.rows, part.arrays, part.columns)


def decode_header(entry: BundleEntry, data: NDArray[np.uint8]) -> tuple[BundleHeader, NDArray[np.uint32]]:
    """Decode a header and validate it against the bundle.

    Returns
    -------
    header : BundleHeader
    checksums : uint32 (chunks,)
        CRC32C of every chunk of the data.

    Raises
    ------
    CorruptIndexError
        It is not a header, or is inconsistent with the bundle.
    """
    try:
        header = msgspec.json.decode(data.data, type=BundleHeader)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad_header(entry, f"is not valid ({error})") from None
    except RecursionError:
        raise _bad_header(entry, "is nested too deeply") from None
    if len({part.name for part in header.parts}) != len(header.parts):
        raise _bad_header(entry, "has two parts of the same name")
    for part in header.parts:
        problem = file_problem(part_file(entry, part), mixed=part.rows == 0)
        if problem is not None:
            raise _bad_header(entry, f"is inconsistent with the file: part {part.name!r}: {problem}")
    count = _chunks(entry.header.offset)
    try:
        checksums = np.frombuffer(bytes.fromhex(header.crc32c), ">u4").astype(np.uint32)
    except ValueError:
        raise _bad_header(entry, "has checksums that are not hex digits") from None
    if len(header.crc32c) != _DIGITS * count or len(checksums) != count:
        raise _bad_header(entry, f"has {len(header.crc32c)} checksum digits for {count} chunks")
    return header, checksums


def encode_header(parts: tuple[PartEntry, ...], facts: Mapping[str, Any], checksums: NDArray[np.uint32]) -> bytes:
    """Encode a header; its length depends on the number of checksums, not on their values."""
    return msgspec.json.encode(BundleHeader(parts, dict(facts), checksums.astype(">u4").tobytes().hex()))


def _bad_header(entry: BundleEntry, reason: str) -> CorruptIndexError:
    return CorruptIndexError(
        entry.path, f"its header {reason}; restore the file from a copy, or open an older snapshot"
    )
