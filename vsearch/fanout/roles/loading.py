"""What workers load of a snapshot, in two rounds of requests: the manifest, then every file they need side by side."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vsearch.cache import LRUCache
from vsearch.errors import IndexNotFoundError, InputError
from vsearch.search.state.model_reading import model_files
from vsearch.search.state.snapshot import Snapshot, open_shard, open_snapshot
from vsearch.storage import (
    CHUNK,
    FileEntry,
    Manifest,
    ShardEntry,
    Store,
    check_not_pruned,
    ensure_together,
    read_manifest,
    snapshot_numbers,
)
from vsearch.storage.files.prefetched import MissingObjectError, PrefetchedStore, fetch_files
from vsearch.storage.snapshots.kinds import (
    ATTRIBUTES,
    CELLS,
    CHECKSUMS,
    PARTITIONS,
    RANKED_KINDS,
    column_kinds,
    is_column,
)

ALL_CELLS = 254
"""Columns of fewer values have a cell for each of them, which leaves no row open."""

BY_ROW = (ATTRIBUTES, CELLS, *RANKED_KINDS)
"""Kinds of files that are read by row, and only where a query asks for columns, cells leave a row open or documents are ranked."""

FRESH = 1.0
"""Seconds for which the number of the newest snapshot is believed."""


@dataclass(eq=False)
class Part:
    """Something of a snapshot that is open: the tables of all shards, or one whole shard.

    Attributes
    ----------
    snapshot : Snapshot
        With the shards that are open; `model` and `settings` are the index's.
    held : PrefetchedStore
    bytes : int
        Memory that the files in it take.
    """

    snapshot: Snapshot
    held: PrefetchedStore
    bytes: int


def check_unchanged(manifest: Manifest) -> None:
    """Raise InputError for a snapshot of an index that was changed after it was built.

    Roles take a shard for one run without removed rows, and would find rows that are gone.
    """
    if manifest.live and manifest.live.ttl is not None:
        raise InputError(
            f"rows of snapshot {manifest.snapshot} expire (ttl), which functions do not see to yet: open the index by its own URL"
        )
    if manifest.live:
        raise InputError(
            f"snapshot {manifest.snapshot} is of a changed index, which functions do not search yet: open the index by its own URL"
        )


class Loader:
    """Opens parts of an index and keeps them.

    Parameters
    ----------
    store : Store
        Of the index.
    retention : LRUCache
    """

    def __init__(self, store: Store, retention: LRUCache) -> None:
        self.store = store
        self.retention = retention
        self._newest = (-1, -np.inf)

    def manifest(self, snapshot: int | None) -> Manifest:
        """The manifest of a snapshot, of the newest for None.

        Raises
        ------
        IndexNotFoundError, CorruptIndexError, FormatVersionError, StoreError
        InputError
            See `check_unchanged`.
        """
        if snapshot is None:
            number, until = self._newest
            if time.monotonic() < until:
                snapshot = number
            else:
                numbers = snapshot_numbers(self.store)
                if not numbers:
                    raise IndexNotFoundError(f"{self.store.url} holds no index")
                snapshot = max(numbers)
                self._newest = (snapshot, time.monotonic() + FRESH)
        found = self.retention.get(("manifest", snapshot), lambda: read_manifest(self.store, snapshot), _manifest_bytes)
        check_unchanged(found)
        return found

    def tables(self, snapshot: int, columns: Sequence[str] = ()) -> Part:
        """The model, and the partition tables of all shards: what a coordinator or allocator plans with.

        Parameters
        ----------
        columns : sequence of str
            Attributes whose cells are wanted at once; others are read when they are first asked for.
        """
        manifest = self.manifest(snapshot)
        part = self.retention.get(
            ("tables", snapshot), lambda: self._open_tables(manifest, columns), lambda part: part.bytes
        )
        load_columns(part.snapshot, columns)
        return part

    def shard(self, snapshot: int, number: int, columns: Sequence[str] = ()) -> Part:
        """One shard, whole, as the only one of its snapshot, and the model.

        Parameters
        ----------
        columns : sequence of str
            As for `tables`.

        Raises
        ------
        InputError
            There is no such shard.
        """
        manifest = self.manifest(snapshot)
        if not 0 <= number < len(manifest.shards):
            raise InputError(f"there is no shard {number}; snapshot {snapshot} has {len(manifest.shards)}")
        key = ("shard", snapshot, number)
        part = self.retention.get(key, lambda: self._open_shard(manifest, number, columns), lambda part: part.bytes)
        load_columns(part.snapshot, columns)
        return part

    def whole(self, snapshot: int, columns: Sequence[str] = ()) -> Part:
        """All shards, for a worker that answers alone; `columns` as for `tables`."""
        manifest = self.manifest(snapshot)
        part = self.retention.get(
            ("whole", snapshot), lambda: self._open_whole(manifest, columns), lambda part: part.bytes
        )
        load_columns(part.snapshot, columns)
        return part

    def forget(self, path: str) -> None:
        """Drop whatever holds a file, so that it is read again."""
        self.retention.drop(lambda value: isinstance(value, Part) and value.held.holds(path))

    def _open_tables(self, manifest: Manifest, columns: Sequence[str]) -> Part:
        entries = model_files(manifest)
        for shard in manifest.shards:
            entries += [shard.files[kind] for kind in (PARTITIONS, CHECKSUMS) if kind in shard.files]
            entries += _column_files(shard, columns)
        held = self._hold(manifest, entries)
        return Part(open_snapshot(held, manifest), held, held.size)

    def _open_whole(self, manifest: Manifest, columns: Sequence[str]) -> Part:
        entries, parts = model_files(manifest), []
        for shard in manifest.shards:
            entries += [*_scanned(shard), *_column_files(shard, columns)]
            parts += _exact_columns(shard, columns)
        held = self._hold(manifest, entries, parts)
        return Part(open_snapshot(held, manifest), held, held.size)

    def _open_shard(self, manifest: Manifest, number: int, columns: Sequence[str]) -> Part:
        entry = manifest.shards[number]
        held = self._hold(
            manifest,
            [*model_files(manifest), *_scanned(entry), *_column_files(entry, columns)],
            _exact_columns(entry, columns),
        )
        return Part(open_shard(held, manifest, number), held, held.size)

    def _hold(
        self, manifest: Manifest, entries: Iterable[FileEntry], parts: Sequence[tuple[FileEntry, int, int]] = ()
    ) -> PrefetchedStore:
        # Files are immutable, so what another snapshot has loaded of them serves this one too.
        kept = {path: data for part in self.retention.values(Part) for path, data in part.held.files.items()}
        try:
            return fetch_files(self.store, entries, kept, parts)
        except MissingObjectError as error:
            check_not_pruned(self.store, manifest.snapshot, error.path)
            raise


def load_columns(snapshot: Snapshot, names: Sequence[str]) -> None:
    """Read the encoded columns of all open shards in one round of requests. Near free once they are there."""
    parts = []
    for shard in snapshot.shards:
        for kind, array in _column_arrays(snapshot.manifest.shards[shard.number], names):
            file = shard.files.get(kind)
            if file is not None and not file.whole and (array is None or array in file.arrays):
                parts += [(file, name, None, None) for name in ([array] if array else file.arrays)]
    if parts:
        ensure_together(parts)


def _column_arrays(shard: ShardEntry, names: Sequence[str]) -> list[tuple[str, str | None]]:
    """Kinds of files that hold some attributes, each with the one array that matters, or None for all."""
    found: list[tuple[str, str | None]] = []
    for name in names:
        encoding = shard.columns.get(name)
        if encoding is not None:
            found += [(kind, None) for kind in column_kinds(shard.files, encoding.position)]
            found.append((CELLS, str(encoding.position)))
    return found


def _column_files(shard: ShardEntry, names: Sequence[str]) -> list[FileEntry]:
    return [shard.files[kind] for kind, _ in _column_arrays(shard, names) if kind in shard.files]


def _exact_columns(shard: ShardEntry, names: Sequence[str]) -> list[tuple[FileEntry, int, int]]:
    """Where the exact values of some attributes lie, whose cells may leave rows open: (file, first byte, last)."""
    file = shard.files.get(ATTRIBUTES)
    arrays = {} if file is None else {array.name: array for array in file.arrays}
    parts = []
    for name in names:
        encoding = shard.columns.get(name)
        if encoding is None or encoding.header.form != "cells" or encoding.header.values < ALL_CELLS:
            continue
        for array in (arrays.get(f"{name}.values"), arrays.get(f"{name}.validity")):
            if file is not None and array is not None and array.bytes:
                stop = -(-(array.offset + array.bytes) // CHUNK) * CHUNK
                parts.append((file, array.offset // CHUNK * CHUNK, min(stop, file.bytes)))
    return parts


def _scanned(shard: ShardEntry) -> list[FileEntry]:
    """The files of a shard that every search of it reads."""
    return [entry for kind, entry in shard.files.items() if kind not in BY_ROW and not is_column(kind)]


def _manifest_bytes(manifest: Manifest) -> int:
    return 4096 + sum(1024 * len(shard.files) for shard in manifest.shards)
