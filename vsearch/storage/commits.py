"""Snapshots: committing one, reading one, listing them, pruning old ones, verifying what one names.

A commit is one manifest, put where none was. So there is nothing to lock and nothing to repair: either the new snapshot
is there whole, or readers never saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vsearch.errors import (
    ConflictError,
    CorruptIndexError,
    FormatVersionError,
    IndexNotFoundError,
)
from vsearch.storage.manifest import (
    decode_manifest,
    encode_manifest,
    manifest_files,
    manifest_path,
    snapshot_number,
)

if TYPE_CHECKING:
    from vsearch.storage.manifest import Manifest
    from vsearch.storage.stores import Store

LARGEST_MANIFEST = 1 << 28
"""Bytes beyond which a manifest is not read; there is room for tens of thousands of shards."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One committed state. ``error`` says why its manifest cannot be read; the rest is then None."""

    snapshot: int
    created: str | None = None
    rows: int | None = None
    bytes: int | None = None
    writer: str | None = None
    error: str | None = None


def commit(store: Store, manifest: Manifest, *, base: int | None = None) -> Manifest:
    """Make a snapshot of files that are all written: put its manifest where none was.

    Parameters
    ----------
    store
    manifest
        ``writer`` must be unique to this commit; ``snapshot`` is replaced by the new number.
    base
        The snapshot that this one goes on from, 0 for a place without an index; refused if there is a newer one by now.
        None: the newest, whichever.

    Returns
    -------
    Manifest
        With the number it was committed under.

    Raises
    ------
    ConflictError
        Another writer was first. Nothing was changed.
    """
    latest = _latest(store) or 0
    if base is not None and latest != base:
        raise ConflictError(
            f"{store.url}: snapshot {latest} was committed since snapshot {base} was opened; open the index again and retry"
        )
    manifest = msgspec.structs.replace(manifest, snapshot=latest + 1)
    path = manifest_path(manifest.snapshot)
    data = encode_manifest(manifest)
    try:
        store.put(path, data, create=True)
    except ConflictError:
        # A put that was sent twice, because its first answer was lost, meets its own success.
        if _stored(store, path) != data:
            raise ConflictError(
                f"{store.url}: another writer committed snapshot {manifest.snapshot} first; open the index again and retry"
            ) from None
    return manifest


def read_manifest(store: Store, snapshot: int | None = None) -> Manifest:
    """Read the manifest of a snapshot, or of the newest.

    Raises
    ------
    IndexNotFoundError
        There is no index, or no such snapshot.
    CorruptIndexError, FormatVersionError
    """
    number = _latest(store) if snapshot is None else snapshot
    if number is None:
        raise IndexNotFoundError(f"{store.url}: there is no index here; build one or correct the path")
    if not 0 <= number < 10**20:
        raise IndexNotFoundError(f"{store.url}: there is no snapshot {number}")
    path = manifest_path(number)
    data = _stored(store, path)
    if data is None:
        if snapshot is None and _latest(store) != number:  # a newer one came, and this was pruned, since the listing
            return read_manifest(store)
        there = ", ".join(map(str, snapshot_numbers(store))) or "none"
        raise IndexNotFoundError(f"{store.url}: there is no snapshot {number}; there are: {there}")
    return decode_manifest(path, data)


def _stored(store: Store, path: str) -> bytes | None:
    """The bytes of a manifest file; None where there is none."""
    try:
        data = store.get(path, start=0, stop=LARGEST_MANIFEST + 1)
    except FileNotFoundError:
        return None
    except EOFError:
        return b""
    if len(data) > LARGEST_MANIFEST:
        raise CorruptIndexError(path, f"is larger than {LARGEST_MANIFEST} bytes; restore it from a copy")
    return bytes(data)


def snapshot_numbers(store: Store) -> list[int]:
    """Numbers of all snapshots, ascending. One listing, no manifest is read."""
    numbers = (snapshot_number(info.path) for info in store.list("manifest"))
    return sorted(number for number in numbers if number is not None)


def list_snapshots(store: Store) -> list[SnapshotInfo]:
    """All snapshots, oldest first; one whose manifest is damaged is listed with the reason.

    Raises
    ------
    IndexNotFoundError
        There is no index.
    """
    numbers = snapshot_numbers(store)
    if not numbers:
        raise IndexNotFoundError(f"{store.url}: there is no index here; build one or correct the path")
    return [_info(store, number) for number in numbers]


def _info(store: Store, number: int) -> SnapshotInfo:
    try:
        manifest = read_manifest(store, number)
    except (CorruptIndexError, FormatVersionError, IndexNotFoundError) as error:
        return SnapshotInfo(number, error=str(error))
    size = sum({entry.path: entry.bytes for entry in manifest_files(manifest)}.values())
    return SnapshotInfo(number, manifest.created, manifest.rows, size, manifest.writer)


def _latest(store: Store) -> int | None:
    numbers = snapshot_numbers(store)
    return numbers[-1] if numbers else None
