"""Read and list snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vsearch.errors import (
    CorruptIndexError,
    FormatVersionError,
    IndexNotFoundError,
    InputError,
    SnapshotNotFoundError,
)
from vsearch.storage.files.naming import manifest_path, snapshot_number
from vsearch.storage.snapshots.manifest import decode_manifest, manifest_files

if TYPE_CHECKING:
    from vsearch.storage.snapshots.manifest import Manifest
    from vsearch.storage.stores.base import Store

LARGEST_MANIFEST = 1 << 28
"""Maximum size of a manifest in bytes, enough for tens of thousands of shards."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot. If its manifest cannot be read, ``error`` is the reason, and the other fields are None."""

    snapshot: int
    created: str | None = None
    rows: int | None = None
    bytes: int | None = None
    writer: str | None = None
    error: str | None = None


def read_manifest(store: Store, snapshot: int | None = None) -> Manifest:
    """Read the manifest of a snapshot; by default, of the newest.

    Raises
    ------
    InputError
        `snapshot` is not an integer.
    IndexNotFoundError
        The store contains no index.
    SnapshotNotFoundError
        The snapshot does not exist or was pruned.
    CorruptIndexError
        The manifest is damaged.
    FormatVersionError
        A later version of vsearch wrote the index.
    """
    if isinstance(snapshot, bool) or not (snapshot is None or isinstance(snapshot, (int, np.integer))):
        raise InputError(f"snapshot must be an integer, got {snapshot!r:.100}")
    number = _latest(store) if snapshot is None else snapshot
    if number is None:
        raise IndexNotFoundError(f"{store.url} contains no index; build one or correct the path")
    if not 0 <= number < 10**20:
        raise SnapshotNotFoundError(f"{store.url}: snapshot {number} does not exist")
    path = manifest_path(number)
    data = stored_manifest(store, path)
    if data is None:
        if snapshot is None and _latest(store) != number:  # since the listing, it was pruned and a newer one committed
            return read_manifest(store)
        present = ", ".join(map(str, snapshot_numbers(store))) or "none"
        raise SnapshotNotFoundError(f"{store.url}: snapshot {number} does not exist; existing snapshots: {present}")
    return decode_manifest(path, data)


def stored_manifest(store: Store, path: str) -> bytes | None:
    """Return the bytes of a manifest file; None if it does not exist."""
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
    """Return the numbers of all snapshots, ascending, by one listing."""
    numbers = (snapshot_number(info.path) for info in store.list("manifest"))
    return sorted(number for number in numbers if number is not None)


def newest_after(store: Store, snapshot: int) -> int | None:
    """Return the number of the newest snapshot if it is newer than this one, by one listing from its name on."""
    numbers = (snapshot_number(info.path) for info in store.list("manifest", after=manifest_path(snapshot)))
    return max((number for number in numbers if number is not None and number > snapshot), default=None)


def list_snapshots(store: Store) -> list[SnapshotInfo]:
    """List all snapshots, oldest first; those with damaged manifests are listed with the error.

    Raises
    ------
    IndexNotFoundError
        The store contains no index.
    """
    numbers = snapshot_numbers(store)
    if not numbers:
        raise IndexNotFoundError(f"{store.url} contains no index; build one or correct the path")
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
