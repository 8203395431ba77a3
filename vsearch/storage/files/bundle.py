"""Bundles: arrays of any lengths, and tables, as the parts of one Arrow file that says itself where they are.

A bundle is one record batch of one row. Its last column is a header in JSON, of which the manifest knows where it lies. So a
reader asks for the header, or for all of a small bundle, and then has one :class:`SegmentFile` for each part.
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
"""Bytes up to which a bundle is read whole."""

LARGEST_HEADER = 64 << 20
"""Most bytes of a header besides the checksums."""

_DIGITS = 8


class HeaderEntry(msgspec.Struct, frozen=True, array_like=True):
    """Where in a bundle its header lies. All bytes before it are data, which its checksums cover."""

    offset: Count
    bytes: Count
    crc32c: Checksum


class BundleEntry(msgspec.Struct, frozen=True):
    """What a manifest says of a bundle."""

    path: Text
    bytes: Count
    crc32c: Checksum
    header: HeaderEntry


class PartEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of a bundle, in its header. ``rows`` is 0 where arrays have several lengths."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern="^[^/]+$")]
    rows: Count
    arrays: tuple[ArrayEntry, ...]
    columns: tuple[ColumnEntry, ...] = ()


class BundleHeader(msgspec.Struct, frozen=True):
    """The header: parts, what the writer added, and 8 hex digits for each chunk of data."""

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
        What its writer added. Checked for nothing: whoever uses them checks them.
    files : dict of str to SegmentFile
        The parts by name, which share the bundle's bytes.
    opened : ReadCounts
        What was read to open it.
    """

    entry: BundleEntry
    facts: Mapping[str, Any]
    files: dict[str, SegmentFile]
    opened: ReadCounts


def bundle_file(entry: BundleEntry) -> FileEntry:
    """A bundle as a file like any other: its path, length and checksum, for those who list, prefetch or verify files."""
    return FileEntry(entry.path, entry.bytes, entry.crc32c, 0, ())


def check_bundle_entry(entry: BundleEntry) -> None:
    """Hold the place of the header in ``entry`` against the file's length.

    Raises
    ------
    CorruptIndexError
        Names the file and what does not fit.
    """
    problem = path_problem(entry.path) or file_problem(bundle_file(entry)) or _header_problem(entry)
    if problem is not None:
        raise CorruptIndexError(entry.path, f"its entry in the manifest is not valid: {problem}; restore the manifest")


def _header_problem(entry: BundleEntry) -> str | None:
    header = entry.header
    if not 0 < header.offset <= LARGEST or header.offset % ALIGNMENT:
        return f"a header at {header.offset} is at no multiple of {ALIGNMENT}"
    if header.bytes < 1 or header.offset + header.bytes > entry.bytes:
        return f"a header at {header.offset}..{header.offset + header.bytes} is not in the file's {entry.bytes} bytes"
    if header.bytes > LARGEST_HEADER + _DIGITS * _chunks(header.offset):
        return f"a header of {header.bytes} bytes is larger than any"
    return None


def _chunks(data: int) -> int:
    return -(-data // CHUNK)


def open_bundle(store: Store, entry: BundleEntry, snapshot: int = 0, *, verify: bool = True) -> Bundle:
    """Open a bundle: one request, of all of it up to 1 MiB, else of its header; none where the store maps it.

    Chunks of a larger one are verified at first touch.

    Parameters
    ----------
    store
    entry
        From the manifest; validated here.
    snapshot
        The one that names the bundle, 0 where it is not committed.
    verify
        False passes over checksums: for bytes that this process made itself.

    Raises
    ------
    CorruptIndexError
        The bundle is missing, too short or damaged, or its header does not fit it.
    SnapshotNotFoundError
        It is missing because the snapshot was pruned.
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
    """A part as a file of its own, which ends where the bundle's data does."""
    return FileEntry(entry.path, entry.header.offset, entry.crc32c, part.rows, part.arrays, part.columns)


def decode_header(entry: BundleEntry, data: NDArray[np.uint8]) -> tuple[BundleHeader, NDArray[np.uint32]]:
    """Read a header, and hold all that it says against the bundle.

    Returns
    -------
    header : BundleHeader
    checksums : uint32 (chunks,)
        CRC32C of every chunk of the data.

    Raises
    ------
    CorruptIndexError
        It is no header, or something in it does not fit.
    """
    try:
        header = msgspec.json.decode(data.data, type=BundleHeader)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unfit(entry, f"is not valid ({error})") from None
    except RecursionError:
        raise _unfit(entry, "is nested too deeply") from None
    if len({part.name for part in header.parts}) != len(header.parts):
        raise _unfit(entry, "has two parts of the same name")
    for part in header.parts:
        problem = file_problem(part_file(entry, part), mixed=part.rows == 0)
        if problem is not None:
            raise _unfit(entry, f"does not fit the file: part {part.name!r}: {problem}")
    count = _chunks(entry.header.offset)
    try:
        checksums = np.frombuffer(bytes.fromhex(header.crc32c), ">u4").astype(np.uint32)
    except ValueError:
        raise _unfit(entry, "has checksums that are no hex digits") from None
    if len(header.crc32c) != _DIGITS * count or len(checksums) != count:
        raise _unfit(entry, f"has {len(header.crc32c)} digits of checksums for {count} chunks")
    return header, checksums


def encode_header(parts: tuple[PartEntry, ...], facts: Mapping[str, Any], checksums: NDArray[np.uint32]) -> bytes:
    """The bytes of a header, as many for any checksums of the same number."""
    return msgspec.json.encode(BundleHeader(parts, dict(facts), checksums.astype(">u4").tobytes().hex()))


def _unfit(entry: BundleEntry, reason: str) -> CorruptIndexError:
    return CorruptIndexError(
        entry.path, f"its header {reason}; restore the file from a copy, or open an older snapshot"
    )
