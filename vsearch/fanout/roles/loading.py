"""Load parts of a snapshot in workers: the manifest, then all required files concurrently.

A snapshot of a changed index shares most of its model, runs and deltas with the previous one; open parts are neither read nor
stored again. Bundles above a megabyte take another round of requests, since their layout is in their headers.
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
from vsearch.legs.registry import legs_of
from vsearch.search.state import expiry
from vsearch.search.state.expiry import at, ttl_field
from vsearch.search.state.model_reading import model_files, training_of
from vsearch.search.state.snapshot import Snapshot, open_shard, open_snapshot
from vsearch.storage import FileEntry, Manifest, ShardEntry, Store, check_not_pruned, read_manifest
from vsearch.storage.files.bundle import SMALL, BundleEntry, bundle_file
from vsearch.storage.files.file_bytes import TOGETHER
from vsearch.storage.files.naming import MissingObjectError
from vsearch.storage.files.prefetched import PrefetchedStore, fetch_files
from vsearch.storage.snapshots.finding import moment_of
from vsearch.storage.snapshots.kinds import (
    ATTRIBUTES,
    CELLS,
    CHECKSUMS,
    COPY_PARTITIONS,
    PARTITIONS,
    RANKED_KINDS,
    REMOVED,
    is_column,
    leg_of_kind,
)
from vsearch.storage.snapshots.leg_entries import leg_entries
from vsearch.storage.snapshots.manifest import manifest_segments

BY_ROW = (ATTRIBUTES, CELLS, *RANKED_KINDS)
"""Kinds of files that are read by row: for columns, for rows that cells leave undecided, and to rank documents."""

TABLE_KINDS = (PARTITIONS, COPY_PARTITIONS, CHECKSUMS, REMOVED)
"""Kinds of files that are read for planning."""

PART_BYTES, PARTITION_BYTES, REMOVED_BYTES = 1 << 16, 200, 16
"""Memory of an open snapshot in addition to its files: kernel arguments, statistics and workspaces; per partition; and per row removed
by a delta."""

TABLES, WHOLE, SHARD = "tables", "whole", "shard"

Kind = tuple[str, int]
"""The part of a snapshot that is open: `TABLES`, `WHOLE`, or `SHARD` and its number."""


@dataclass(eq=False)
class Part:
    """An open part of a snapshot: the tables of all shards, all shards, or one shard.

    Attributes
    ----------
    kind : Kind
    legs : bool
        Whether the data of legs are read as well.
    snapshot : Snapshot
        With the open shards.
    store : PrefetchedStore
    sizes : dict of str to int
        Bytes in memory by file, which other parts may share, and of the part itself.
    paths : frozenset of str
        Paths of all files that it reads.
    """

    kind: Kind
    legs: bool
    snapshot: Snapshot
    store: PrefetchedStore
    sizes: dict[str, int]
    paths: frozenset[str]

    @property
    def bytes(self) -> int:
        """Memory in bytes."""
        return sum(self.sizes.values())


def moment_for(manifest: Manifest, moment: int | None, *, pinned: bool) -> int | None:
    """Return the time by which rows have expired, for the worker that starts a search; None if rows do not expire.

    Parameters
    ----------
    moment : int or None
        The requested time, in nanoseconds since 1970 UTC.
    pinned : bool
        Whether the request has a snapshot number; then the time is that of the snapshot's creation.
    """
    if ttl_field(manifest) is None:
        return None
    if moment is not None:
        return moment
    return moment_of(manifest, None) if pinned else expiry.now()


def as_of(snapshot: Snapshot, moment: int | None) -> Snapshot:
    """Return a snapshot without the rows that have expired by a time."""
    return snapshot if moment is None or ttl_field(snapshot.manifest) is None else at(snapshot, moment)


class Loader:
    """Opens parts of an index, and caches them.

    Parameters
    ----------
    store : Store
        The store of the index.
    retention : LRUCache
    """

    def __init__(self, store: Store, retention: LRUCache) -> None:
        self.store = store
        self.retention = retention
        self.newest = NewestSnapshot(store)

    def manifest(self, snapshot: int | None) -> Manifest:
        """Return the manifest of a snapshot; by default, of the newest.

        Raises
        ------
        IndexNotFoundError
            The store contains no index, or no such snapshot (SnapshotNotFoundError).
        CorruptIndexError
            The manifest is damaged.
        FormatVersionError
            A later version of vsearch wrote the index.
        StoreError
            The store cannot be read.
        """
        number = self.newest.number() if snapshot is None else snapshot
        key = f"manifest {number}"
        return self.retention.get(
            key, lambda: read_manifest(self.store, number), lambda manifest: {key: _manifest_bytes(manifest)}
        )

    def tables(self, snapshot: int, columns: Sequence[str] = (), *, legs: bool = False) -> Part:
        """Return the model and the partition tables of all shards, for planning.

        Parameters
        ----------
        columns : sequence of str
            Attributes whose cells are read immediately; others are read on first use.
        legs : bool
            Whether to also read the data that legs need for planning, such as the dictionaries of text columns.
        """
        return self._part((TABLES, 0), snapshot, columns, legs=legs)

    def shard(self, snapshot: int, number: int, columns: Sequence[str] = (), *, legs: bool = False) -> Part:
        """Return the model and one complete shard as the only one of its snapshot.

        Parameters
        ----------
        columns, legs
            As in `tables`, with all that legs need to scan, such as postings.

        Raises
        ------
        InputError
            The shard does not exist.
        """
        shards = len(self.manifest(snapshot).shards)
        if not 0 <= number < shards:
            raise InputError(f"shard must be from 0 to {shards - 1} in snapshot {snapshot}, got {number}")
        return self._part((SHARD, number), snapshot, columns, legs=legs)

    def load(self, snapshot: int, columns: Sequence[str] = (), *, legs: bool = False) -> Part:
        """Return all shards, for a worker that answers alone; `columns` and `legs` are as in `shard`."""
        return self._part((WHOLE, 0), snapshot, columns, legs=legs)

    def forget(self, path: str) -> None:
        """Drop all parts that read a file, so that it is read again."""
        self.retention.drop(lambda value: isinstance(value, Part) and path in value.paths)

    def _part(self, kind: Kind, snapshot: int, columns: Sequence[str], *, legs: bool) -> Part:
        manifest = self.manifest(snapshot)
        legs = (legs or (kind, True, snapshot) in self.retention) and bool(leg_entries(manifest))
        part = self.retention.get(
            (kind, legs, snapshot), lambda: self._open(kind, manifest, columns, legs=legs), lambda part: part.sizes
        )
        load_columns(part.snapshot, columns, exact=kind[0] != TABLES)
        return part

    def _open(self, kind: Kind, manifest: Manifest, columns: Sequence[str], *, legs: bool) -> Part:
        alike = [part for part in self.retention.values(Part) if part.kind == kind]
        alike = [part for part in alike if training_of(part.snapshot.manifest) == training_of(manifest)]
        paths = frozenset().union(*(part.paths for part in alike))
        fetched = self._fetch(_MissingFiles(kind, manifest, columns, paths, legs))
        known = [part.snapshot for part in alike]
        if kind[0] == SHARD:
            snapshot = open_shard(fetched, manifest, kind[1], known)
        else:
            snapshot = open_snapshot(fetched, manifest, known, plain=True)
        if kind[0] != TABLES:
            load_scanned(snapshot)
        of_legs: dict[str, int] = {}
        for leg in legs_of(manifest) if legs else ():
            of_legs |= leg.load(snapshot, ranked=kind[0] != TABLES)
        deltas = manifest.live.deltas if manifest.live else ()
        fetched.drop(entry.bundle.path for entry in deltas)  # their rows were copied
        before = {key: size for part in alike for key, size in part.sizes.items()}
        sizes, paths = _account(kind, snapshot, fetched, before)
        return Part(kind, legs, snapshot, fetched, sizes | of_legs, paths)

    def _fetch(self, missing: _MissingFiles) -> PrefetchedStore:
        # Files are immutable, so the data loaded by other parts can be shared.
        kept = {path: data for part in self.retention.values(Part) for path, data in part.store.files.items()}
        try:
            return fetch_files(self.store, missing.files(), kept, missing.ranges())
        except MissingObjectError as error:
            check_not_pruned(self.store, missing.manifest.snapshot, error.path)
            raise


@dataclass(frozen=True)
class _MissingFiles:
    """The files to read for a part of a snapshot, except those of open parts."""

    kind: Kind
    manifest: Manifest
    columns: Sequence[str]
    known: frozenset[str]
    legs: bool

    @property
    def shards(self) -> Sequence[ShardEntry]:
        """The shards whose base is stored in files that are not open."""
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
        """Return the files that are read completely: model, tables or scanned files, small bundles, and deltas."""
        entries = [entry for entry in model_files(self.manifest) if entry.path not in self.known]
        legs = legs_of(self.manifest) if self.legs else []
        for shard in self.shards:
            kinds = [k for k in shard.files if (k in TABLE_KINDS if self.kind[0] == TABLES else is_scanned(k))]
            for leg in legs:
                kinds += leg.kinds(self.manifest, shard.files, ranked=self.kind[0] != TABLES)
            entries += [shard.files[kind] for kind in kinds]
            entries += [entry for entry, _ in column_arrays(shard.files, shard.columns, self._fields())]
        entries += [bundle_file(entry) for entry in self._bundles() if entry.bytes <= SMALL]
        deltas = self.manifest.live.deltas if self.manifest.live else ()
        return entries + [bundle_file(entry.bundle) for entry in deltas if entry.bundle.path not in self.known]

    def ranges(self) -> list[tuple[FileEntry, int, int]]:
        """Return byte ranges of files: headers of bundles, and exact columns for rows that cells may leave undecided."""
        ranges = [
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
                    if file.bytes <= TOGETHER:  # read as a whole
                        ranges.append((file, 0, file.bytes))
                        continue
                    chunk = file.chunk_bytes
                    stop = -(-(array.offset + array.bytes) // chunk) * chunk
                    ranges.append((file, array.offset // chunk * chunk, min(stop, file.bytes)))
        return ranges


def is_scanned(kind: str) -> bool:
    """Whether every search of a shard reads a kind of files."""
    return kind not in BY_ROW and not is_column(kind) and leg_of_kind(kind) is None


def _account(
    kind: Kind, snapshot: Snapshot, fetched: PrefetchedStore, before: Mapping[str, int]
) -> tuple[dict[str, int], frozenset[str]]:
    """Return the bytes of a part in memory, by file, and the paths of all files that it reads."""
    manifest = snapshot.manifest
    sizes = {path: len(data) for path, data in fetched.files.items()}
    for path, _, data in fetched.parts:
        sizes[path] = sizes.get(path, 0) + len(data)
    paths = {entry.path for entry in model_files(manifest)}
    paths |= {entry.path for shard in manifest.shards for entry in shard.files.values()}
    for run in snapshot.shards:
        path = run.files[PARTITIONS].path
        paths.add(path)
        if is_bundle(run) and path not in fetched.files and not run.files[PARTITIONS].mapped:
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
    in_addition = tail + PART_BYTES + PARTITION_BYTES * manifest.partitions
    return {**sizes, f"{kind} {manifest.snapshot}": in_addition}, frozenset(paths)


def _manifest_bytes(manifest: Manifest) -> int:
    return 4096 + sum(1024 * len(shard.files) for shard in manifest.shards) + 1024 * len(manifest_segments(manifest))
