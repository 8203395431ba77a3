"""What workers load of a snapshot: the manifest, then every file they need side by side.

Of a changed index a snapshot shares most with the one before: what is open of that is neither read nor held again, whether a
model, a run or a delta. Bundles above a megabyte take a round of requests more, since their headers say what lies where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vsearch.cache import LRUCache
from vsearch.errors import InputError
from vsearch.fanout.roles.column_loading import (
    SCANNED,
    column_arrays,
    exact_arrays,
    is_bundle,
    load_columns,
    load_scanned,
)
from vsearch.fanout.roles.newest import NewestSnapshot
from vsearch.search.state import expiry
from vsearch.search.state.expiry import at, ttl_field
from vsearch.search.state.model_reading import model_files, training_of
from vsearch.search.state.snapshot import Snapshot, open_shard, open_snapshot
from vsearch.storage import CHUNK, FileEntry, Manifest, ShardEntry, Store, check_not_pruned, read_manifest
from vsearch.storage.files.bundle import SMALL, BundleEntry, bundle_file
from vsearch.storage.files.naming import MissingObjectError
from vsearch.storage.files.prefetched import PrefetchedStore, fetch_files
from vsearch.storage.snapshots.finding import moment_of
from vsearch.storage.snapshots.kinds import (
    ATTRIBUTES,
    CELLS,
    CHECKSUMS,
    PARTITIONS,
    RANKED_KINDS,
    REMOVED,
    is_column,
)
from vsearch.storage.snapshots.manifest import manifest_segments

BY_ROW = (ATTRIBUTES, CELLS, *RANKED_KINDS)
"""Kinds of files that are read by row, and only where a query asks for columns, cells leave a row open or documents are ranked."""

TABLE_KINDS = (PARTITIONS, CHECKSUMS, REMOVED)
"""Kinds of files that a planner reads."""

PART_BYTES, PARTITION_BYTES, REMOVED_BYTES = 1 << 16, 200, 16
"""What an open snapshot takes besides its files: blocks for kernels, statistics and workspaces, and for each partition; for
each row that a delta removes."""

TABLES, WHOLE, SHARD = "tables", "whole", "shard"

Kind = tuple[str, int]
"""What of a snapshot is open: `TABLES` or `WHOLE`, or `SHARD` and its number."""


@dataclass(eq=False)
class Part:
    """Something of a snapshot that is open: the tables of all shards, all of them, or one whole shard.

    Attributes
    ----------
    kind : Kind
    snapshot : Snapshot
        With the shards that are open; `model` and `settings` are the index's.
    held : PrefetchedStore
    sizes : dict of str to int
        Bytes in memory by what takes them: files, which other parts may hold, too, and what is its own.
    paths : frozenset of str
        Of all files that it reads.
    """

    kind: Kind
    snapshot: Snapshot
    held: PrefetchedStore
    sizes: dict[str, int]
    paths: frozenset[str]

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(self.sizes.values())


def moment_for(manifest: Manifest, moment: int | None, *, pinned: bool) -> int | None:
    """The time by which rows have expired, for who begins a search; None where they do not.

    Parameters
    ----------
    moment : int or None
        As it was asked for, in nanoseconds since 1970 UTC.
    pinned : bool
        Whether the snapshot was asked for by its number: it is seen as it was when it was made.
    """
    if ttl_field(manifest) is None:
        return None
    if moment is not None:
        return moment
    return moment_of(manifest, None) if pinned else expiry.now()


def as_of(snapshot: Snapshot, moment: int | None) -> Snapshot:
    """A snapshot without the rows that have expired by a time."""
    return snapshot if moment is None or ttl_field(snapshot.manifest) is None else at(snapshot, moment)


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
        self.newest = NewestSnapshot(store)

    def manifest(self, snapshot: int | None) -> Manifest:
        """The manifest of a snapshot, of the newest for None.

        Raises
        ------
        IndexNotFoundError, CorruptIndexError, FormatVersionError, StoreError
        """
        number = self.newest.number() if snapshot is None else snapshot
        key = f"manifest {number}"
        return self.retention.get(
            key, lambda: read_manifest(self.store, number), lambda manifest: {key: _manifest_bytes(manifest)}
        )

    def tables(self, snapshot: int, columns: Sequence[str] = ()) -> Part:
        """The model, and the partition tables of all shards: what a coordinator or allocator plans with.

        Parameters
        ----------
        columns : sequence of str
            Attributes whose cells are wanted at once; others are read when they are first asked for.
        """
        return self._part((TABLES, 0), snapshot, columns)

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
        shards = len(self.manifest(snapshot).shards)
        if not 0 <= number < shards:
            raise InputError(f"there is no shard {number}; snapshot {snapshot} has {shards}")
        return self._part((SHARD, number), snapshot, columns)

    def whole(self, snapshot: int, columns: Sequence[str] = ()) -> Part:
        """All shards, for a worker that answers alone; `columns` as for `tables`."""
        return self._part((WHOLE, 0), snapshot, columns)

    def forget(self, path: str) -> None:
        """Drop whatever holds a file, so that it is read again."""
        self.retention.drop(lambda value: isinstance(value, Part) and path in value.paths)

    def _part(self, kind: Kind, snapshot: int, columns: Sequence[str]) -> Part:
        manifest = self.manifest(snapshot)
        part = self.retention.get(
            (kind, snapshot), lambda: self._open(kind, manifest, columns), lambda part: part.sizes
        )
        load_columns(part.snapshot, columns, exact=kind[0] != TABLES)
        return part

    def _open(self, kind: Kind, manifest: Manifest, columns: Sequence[str]) -> Part:
        alike = [part for part in self.retention.values(Part) if part.kind == kind]
        alike = [part for part in alike if training_of(part.snapshot.manifest) == training_of(manifest)]
        held = self._fetch(_Wanted(kind, manifest, columns, frozenset().union(*(part.paths for part in alike))))
        known = [part.snapshot for part in alike]
        if kind[0] == SHARD:
            snapshot = open_shard(held, manifest, kind[1], known)
        else:
            snapshot = open_snapshot(held, manifest, known, plain=True)
        if kind[0] != TABLES:
            load_scanned(snapshot)
        deltas = manifest.live.deltas if manifest.live else ()
        held.drop(entry.bundle.path for entry in deltas)  # their rows were copied
        sizes = {key: size for part in alike for key, size in part.sizes.items()}
        return Part(kind, snapshot, held, *_account(kind, snapshot, held, sizes))

    def _fetch(self, wanted: _Wanted) -> PrefetchedStore:
        # Files are immutable, so what another part has loaded of them serves this one too.
        kept = {path: data for part in self.retention.values(Part) for path, data in part.held.files.items()}
        try:
            return fetch_files(self.store, wanted.files(), kept, wanted.ranges())
        except MissingObjectError as error:
            check_not_pruned(self.store, wanted.manifest.snapshot, error.path)
            raise


@dataclass(frozen=True)
class _Wanted:
    """What a part of a snapshot reads before anything else, and is not open yet."""

    kind: Kind
    manifest: Manifest
    columns: Sequence[str]
    known: frozenset[str]

    @property
    def shards(self) -> Sequence[ShardEntry]:
        """Those whose base is files that are not open."""
        return [shard for shard in self._all() if not self.known.issuperset(e.path for e in shard.files.values())]

    def _all(self) -> Sequence[ShardEntry]:
        shards = self.manifest.shards
        return [shards[self.kind[1]]] if self.kind[0] == SHARD else shards

    def _bundles(self) -> Iterator[BundleEntry]:
        runs = (run.bundle for shard in self._all() for run in shard.runs)
        return (entry for entry in runs if entry.path not in self.known)

    def _fields(self) -> list[str]:
        return [entry.field_name for entry in self.manifest.attributes if entry.name in self.columns]

    def files(self) -> list[FileEntry]:
        """Files that are read whole: the model, tables or all that a search scans, small bundles, and deltas."""
        found = [entry for entry in model_files(self.manifest) if entry.path not in self.known]
        for shard in self.shards:
            kinds = [k for k in shard.files if (k in TABLE_KINDS if self.kind[0] == TABLES else is_scanned(k))]
            found += [shard.files[kind] for kind in kinds]
            found += [entry for entry, _ in column_arrays(shard.files, shard.columns, self._fields())]
        found += [bundle_file(entry) for entry in self._bundles() if entry.bytes <= SMALL]
        deltas = self.manifest.live.deltas if self.manifest.live else ()
        return found + [bundle_file(entry.bundle) for entry in deltas if entry.bundle.path not in self.known]

    def ranges(self) -> list[tuple[FileEntry, int, int]]:
        """Parts of files, from byte to byte: headers of bundles, and exact columns that cells may leave open."""
        found = [
            (bundle_file(entry), entry.header.offset, entry.header.offset + entry.header.bytes)
            for entry in self._bundles()
            if entry.bytes > SMALL
        ]
        for shard in self.shards if self.kind[0] != TABLES else ():
            file = shard.files.get(ATTRIBUTES)
            arrays = {} if file is None else {array.name: array for array in file.arrays}
            for name in exact_arrays(shard.columns, self._fields()):
                array = arrays.get(name)
                if file is not None and array is not None and array.bytes:
                    stop = -(-(array.offset + array.bytes) // CHUNK) * CHUNK
                    found.append((file, array.offset // CHUNK * CHUNK, min(stop, file.bytes)))
        return found


def is_scanned(kind: str) -> bool:
    """Whether every search of a shard reads files of a kind."""
    return kind not in BY_ROW and not is_column(kind)


def _account(
    kind: Kind, snapshot: Snapshot, held: PrefetchedStore, before: Mapping[str, int]
) -> tuple[dict[str, int], frozenset[str]]:
    """What a part holds in memory, in bytes, and the paths of all files that it reads."""
    manifest = snapshot.manifest
    sizes = {path: len(data) for path, data in held.files.items()}
    for path, _, data in held.parts:
        sizes[path] = sizes.get(path, 0) + len(data)
    paths = {entry.path for entry in model_files(manifest)}
    paths |= {entry.path for shard in manifest.shards for entry in shard.files.values()}
    for run in snapshot.shards:
        path = run.files[PARTITIONS].path
        paths.add(path)
        if is_bundle(run) and path not in held.files and not run.files[PARTITIONS].mapped:
            kinds = TABLE_KINDS if kind[0] == TABLES else (*TABLE_KINDS, *SCANNED)
            loaded = sum(array.bytes for k in kinds if k in run.files for array in run.files[k].arrays.values())
            sizes[f"{path} {kind}"] = loaded  # opened once for each kind of part
    tail = 0
    for entry, delta in zip(manifest.live.deltas if manifest.live else (), snapshot.deltas, strict=True):
        paths.add(entry.bundle.path)
        share = len(delta.rows) / entry.rows if entry.rows else 0.0
        tail += int(share * entry.bundle.bytes)
        sizes[f"{entry.bundle.path} {kind}"] = int(share * entry.bundle.bytes) + REMOVED_BYTES * entry.removed
    paths |= sizes.keys() & before.keys()
    sizes |= {path: before[path] for path in paths if path in before and path not in sizes}
    own = tail + PART_BYTES + PARTITION_BYTES * manifest.partitions
    return {**sizes, f"{kind} {manifest.snapshot}": own}, frozenset(paths)


def _manifest_bytes(manifest: Manifest) -> int:
    return 4096 + sum(1024 * len(shard.files) for shard in manifest.shards) + 1024 * len(manifest_segments(manifest))
