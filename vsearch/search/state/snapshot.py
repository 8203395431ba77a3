"""An open snapshot: model, runs and attribute columns, read from the store when they are first needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.kernels.query.fields import ModelField
from vsearch.predicates.schema import ROW_ID, Attribute, AttributeType, Schema
from vsearch.search.state.arguments import KernelArguments
from vsearch.search.state.column_reading import read_column
from vsearch.search.state.model import Model, SearchSettings
from vsearch.search.state.model_reading import read_model, reread_model, training_of
from vsearch.search.state.shard import Addresses, PartitionTable, Shard, view_arrays
from vsearch.search.state.workspace import Workspace, pack_model, pack_shard
from vsearch.storage import Manifest, ShardEntry, Store, open_files
from vsearch.storage.snapshots.kinds import IDS, PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vsearch.predicates import EncodedColumn
    from vsearch.search.state.deltas import Delta
    from vsearch.storage import SegmentFile
    from vsearch.storage.snapshots.manifest import AttributeEntry, EncodingEntry


@dataclass(eq=False)
class Snapshot:
    """One committed state of an index, open for reading.

    Attributes
    ----------
    shards : tuple of Shard
        Its runs: of an index that was never changed one a shard; of others bases and young runs by shard, then the tail.
    radii, partition_rows : float32 (partitions,), int64 (partitions,)
        Of all partitions, over all runs, in the order of the centroids. Removed rows count until a merge.
    deltas : tuple of Delta
        What the tail is made of.
    moment : int or None
        The time for which it was opened, in nanoseconds since 1970 UTC; None: rows expire as time passes (`expiry`).
    whole : Snapshot or None
        The same with the rows that have expired, where this one is without them; their number is `expired`.
    """

    store: Store
    manifest: Manifest
    model: Model
    shards: tuple[Shard, ...]
    schema: Schema
    settings: SearchSettings
    radii: NDArray[np.float32]
    partition_rows: NDArray[np.int64]
    native: KernelArguments
    deltas: tuple[Delta, ...] = ()
    moment: int | None = None
    whole: Snapshot | None = None
    expired: int = 0
    derived: dict[str, Any] = field(default_factory=dict)  # what other modules make of it once, by the module's name
    _threads: threading.local = field(default_factory=threading.local)
    _fused: bool = field(init=False, default=False)
    _ids: NDArray[np.integer[Any]] | None = field(init=False, default=None)

    @property
    def rows(self) -> int:
        """Positions: rows of all runs, removed ones included."""
        return sum(shard.rows for shard in self.shards)

    @property
    def live_count(self) -> int:
        """Rows that are not removed."""
        return self.manifest.rows - self.expired

    def live_rows(self) -> NDArray[np.int64] | None:
        """Positions of the rows that are not removed, int64 (n,) ascending; None where none is removed."""
        gone = [shard.first_row + shard.gone for shard in self.shards if len(shard.gone)]
        return np.setdiff1d(np.arange(self.rows), np.concatenate(gone), assume_unique=True) if gone else None

    def column(self, shard: Shard, name: str) -> EncodedColumn:
        """The cells or postings of an attribute in a run; kept once read."""
        columns = shard.read.columns
        attribute = None if name == ROW_ID else self.find_entry(name)
        key = name if attribute is None else attribute.field_name
        found = columns.get(key)
        if found is None:
            if attribute is None:
                from vsearch.search.state.row_ids import read_row_ids  # few predicates ask for ids

                found = read_row_ids(shard, self.schema)
            else:
                found = read_column(shard, key, self.schema.find(name))
            with shard.read.lock:
                found = columns.setdefault(key, found)
        return found

    def find_entry(self, name: str) -> AttributeEntry:
        """The manifest's entry of an attribute."""
        return next(attribute for attribute in self.manifest.attributes if attribute.name == name)

    def workspaces(self, count: int) -> list[Workspace]:
        """The calling thread's workspaces, each for one query."""
        kept: list[Workspace] = getattr(self._threads, "workspaces", [])
        while len(kept) < count:
            kept.append(Workspace(self.model, self.partition_rows, self.radii))
        self._threads.workspaces = kept
        return kept[:count]

    def workspace(self) -> Workspace:
        """The calling thread's first workspace."""
        try:
            return cast("Workspace", self._threads.workspaces[0])
        except AttributeError:
            return self.workspaces(1)[0]

    @property
    def ready(self) -> bool:
        """Whether every partition of every run is present and verified."""
        return all(shard.ready for shard in self.shards)

    @property
    def shares_partitions(self) -> bool:
        """Whether several runs hold rows of one partition: then one native call searches all runs, with one heap."""
        return len(self.shards) > len(self.manifest.shards) and self.model.quantizer.scan != "cells"

    @property
    def fused(self) -> bool:
        """Whether one native call does a whole query: one run, or several that share partitions, all there, and tables that kernels make."""
        if not self._fused and (len(self.shards) == 1 or self.shares_partitions) and self.ready:
            given = self.native.values[ModelField.TABLES_GIVEN] != 0
            self._fused = not given and self.model.quantizer.scan != "cells"
        return self._fused

    def plain_ids(self) -> NDArray[np.integer[Any]] | None:
        """Ids of all rows where these are numbers in one mapped file: checked once, then free. None elsewhere."""
        if self._ids is None and len(self.shards) == 1 and self.manifest.id_type != "string":
            file = self.shards[0].files[IDS]
            if file.mapped:
                file.ensure("id")
                self._ids = file.array("id")
        return self._ids

    def bytes_fetched(self) -> int:
        """Bytes read from the store by all runs so far."""
        return sum(shard.bytes_fetched() for shard in self.shards)

    def locate(self, rows: NDArray[np.int64]) -> list[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Split rows by run: (run, places in `rows`, rows inside the run)."""
        found = []
        for shard in self.shards:
            places = np.flatnonzero((rows >= shard.first_row) & (rows < shard.first_row + shard.rows))
            if len(places):
                found.append((shard, places, rows[places] - shard.first_row))
        return found

    def addresses(self, rows: NDArray[np.int64]) -> Addresses:
        """Where rows are: in which segments, and where there."""
        segments, inside = np.empty(len(rows), np.uint32), np.empty(len(rows), np.int64)
        for shard, places, own in self.locate(rows):
            found = shard.addresses(own)
            segments[places], inside[places] = found.segments, found.rows
        return Addresses(segments, inside)

    def partitions_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The partition of each row, as the index numbers them."""
        partitions = np.empty(len(rows), np.int64)
        for shard, places, inside in self.locate(rows):
            table = shard.table
            own = np.searchsorted(table.row_starts + table.rows, inside, side="right")
            partitions[places] = shard.first_partition + own
        return partitions


def open_snapshot(store: Store, manifest: Manifest) -> Snapshot:
    """Open what a manifest describes.

    Reads the model, each run's partition table and checksums, and the deltas.
    """
    return _open(store, manifest, None)


def reopen_snapshot(before: Snapshot, manifest: Manifest) -> Snapshot:
    """Open another snapshot of an index; what the two have in common is not read again."""
    return _open(before.store, manifest, before)


def _open(store: Store, manifest: Manifest, before: Snapshot | None) -> Snapshot:
    known = _Known(before, manifest)
    model = reread_model(store, manifest, before.manifest, before.model) if before else read_model(store, manifest)
    opener = _Opener(store, model, manifest, known)
    for entry in manifest.shards:
        opener.add_shard(entry)
    deltas = opener.finish()
    shards, partitions = opener.shards, manifest.partitions
    if opener.first_partition != partitions or sum(shard.rows - len(shard.gone) for shard in shards) != manifest.rows:
        raise CorruptIndexError("manifest", "the shards do not add up to the index; restore the manifest")
    radii, rows = _statistics(shards, partitions)
    return _make_snapshot(store, manifest, model, shards, radii, rows, deltas)


class _Known:
    """What an open snapshot holds that another needs, too."""

    def __init__(self, before: Snapshot | None, manifest: Manifest) -> None:
        self.runs: dict[str, Shard] = {}
        self.deltas: dict[str, Delta] = {}
        if before is not None and training_of(before.manifest) == training_of(manifest):
            self.runs = {shard.files[PARTITIONS].path: shard for shard in before.shards}
            if before.manifest.live and before.manifest.model == manifest.model:  # else partitions have other places
                entries = before.manifest.live.deltas
                self.deltas = {e.bundle.path: delta for e, delta in zip(entries, before.deltas, strict=True)}


class _Opener:
    """Opens the runs of a snapshot one after another."""

    def __init__(self, store: Store, model: Model, manifest: Manifest, known: _Known) -> None:
        self._store, self._model, self._manifest, self._known = store, model, manifest, known
        self.shards: list[Shard] = []
        self.first_partition = self.first_row = 0
        self._removed: list[Any] = []

    def add_shard(self, entry: ShardEntry) -> None:
        """Open the runs of a shard."""
        first, snapshot = self.first_partition, self._manifest.snapshot
        if not entry.base:
            segment = entry.segment if isinstance(entry.segment, int) else entry.number
            path = entry.files[PARTITIONS].path if PARTITIONS in entry.files else ""
            if path in self._known.runs:
                self._keep(self._known.runs[path])
            else:
                files = open_files(self._store, entry, snapshot)
                run = open_run(self._model, files, range(first, first + entry.partitions), entry.rows, entry.columns)
                self._add(run, segment)
        for run_entry in entry.runs:
            from vsearch.search.state.deltas import read_removed
            from vsearch.search.state.runs import run_columns
            from vsearch.storage.files.bundle import open_bundle

            path = run_entry.bundle.path
            kept = self._known.runs.get(path)
            if kept is not None:
                files = kept.files
                self._keep(kept)
            else:
                bundle = open_bundle(self._store, run_entry.bundle, snapshot)
                files, columns = bundle.files, run_columns(bundle, path)
                where = range(first, first + entry.partitions)
                self._add(open_run(self._model, files, where, run_entry.rows, columns), run_entry.number)
            self._removed.append(read_removed(files, run_entry.removed, self._manifest.id_type, path))
        self.first_partition += entry.partitions

    def finish(self) -> tuple[Delta, ...]:
        """Read the deltas, tell the runs what is removed, and add the tail."""
        live = self._manifest.live
        if not live:
            return ()
        from vsearch.search.state.deltas import Gone, read_delta
        from vsearch.search.state.runs import hold_tail, live_rows

        manifest, model, deltas = self._manifest, self._model, []
        for entry in live.deltas:
            known = self._known.deltas.get(entry.bundle.path)
            if known is None:
                known = read_delta(self._store, entry, model, manifest)
            deltas.append(known)
        gone = Gone([*self._removed, *(delta.removed for delta in deltas)])
        for shard in self.shards:
            shard.gone = gone.check(cast("int", shard.segment), shard.rows, shard.files[PARTITIONS].path)
        rows, addresses = live_rows(deltas, gone)
        if rows is not None:
            where = range(manifest.partitions)
            bundle = hold_tail(model, rows, where)
            self._add(open_run(model, bundle.files, where, len(rows), {}), addresses)
            self.shards[-1].ensure(np.arange(len(where), dtype=np.int32))
        return tuple(deltas)

    def _keep(self, run: Shard) -> None:
        first, native = self.first_partition, run.native
        if first != run.first_partition:  # partitions of a shard before it were split
            native = pack_shard(first, run.rows, run.table, run.arrays)
        again = Shard(0, first, 0, run.rows, run.table, run.files, run.arrays, native, run.encodings, state=run.read)
        self._add(again, run.segment)

    def _add(self, run: Shard, segment: int | Addresses) -> None:
        run.number, run.first_row, run.segment = len(self.shards), self.first_row, segment
        self.shards.append(run)
        self.first_row += run.rows


def open_run(
    model: Model, files: dict[str, SegmentFile], where: range, rows: int, encodings: Mapping[str, EncodingEntry]
) -> Shard:
    """Open a run that holds so many rows of some partitions of an index."""
    if PARTITIONS not in files:
        raise CorruptIndexError("manifest", "a shard has no partition table; restore the manifest")
    file = files[PARTITIONS]
    file.ensure_all()
    arrays = {name: file.array(name) for name in file.arrays}
    table = PartitionTable.from_arrays(file.path, arrays, rows)
    if len(table.rows) != len(where):
        raise CorruptIndexError(file.path, f"holds {len(table.rows)} partitions, the manifest says {len(where)}")
    views = view_arrays(model, rows, table.blocks, files)
    native = pack_shard(where.start, rows, table, views)
    return Shard(0, where.start, 0, rows, table, files, views, native, encodings)


def _statistics(shards: list[Shard], partitions: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Radii and rows of all partitions over all runs."""
    radii, rows = np.zeros(partitions, np.float32), np.zeros(partitions, np.int64)
    for shard in shards:
        own = slice(shard.first_partition, shard.first_partition + shard.partitions)
        more, before = shard.table.rows, rows[own]
        both = (more > 0) & (before > 0)
        joined = np.where(more > 0, shard.table.radii, radii[own])
        if both.any():
            squares = before * np.square(radii[own], dtype=np.float64) + more * np.square(
                shard.table.radii, dtype=np.float64
            )
            joined[both] = np.sqrt(squares[both] / (before + more)[both])
        radii[own], rows[own] = joined, before + more
    return radii, rows


def open_shard(store: Store, manifest: Manifest, number: int) -> Snapshot:
    """Open one shard of what a manifest describes, as the only shard of a snapshot.

    In that snapshot it has the number 0, while its partitions and rows keep the numbers that they have in the index. All
    other partitions are empty.
    """
    entry, before = manifest.shards[number], manifest.shards[:number]
    alone = msgspec.structs.replace(entry, number=0)
    model = read_model(store, manifest)
    opener = _Opener(store, model, manifest, _Known(None, manifest))
    opener.first_partition, opener.first_row = sum(s.partitions for s in before), sum(s.rows for s in before)
    opener.add_shard(alone)
    radii, rows = _statistics(opener.shards, manifest.partitions)
    return _make_snapshot(store, msgspec.structs.replace(manifest, shards=(alone,)), model, opener.shards, radii, rows)


def _make_snapshot(
    store: Store,
    manifest: Manifest,
    model: Model,
    shards: list[Shard],
    radii: NDArray[np.float32],
    rows: NDArray[np.int64],
    deltas: tuple[Delta, ...] = (),
) -> Snapshot:
    return Snapshot(
        store=store,
        manifest=manifest,
        model=model,
        shards=tuple(shards),
        schema=schema_of(manifest),
        settings=SearchSettings.from_entry(manifest.settings),
        radii=radii,
        native=pack_model(model, radii, manifest.rows),
        partition_rows=rows,
        deltas=deltas,
    )


def schema_of(manifest: Manifest) -> Schema:
    """What predicates may ask for: the attributes of an index, and the ids of its rows.

    Raises
    ------
    CorruptIndexError
        The manifest names a type that is none.
    """
    row_id = AttributeType.STRING if manifest.id_type == "string" else AttributeType.INT64
    return Schema(tuple(_attribute(a.name, a.type) for a in manifest.attributes), row_id)


def _attribute(name: str, kind: str) -> Attribute:
    from vsearch.predicates.types.table import attribute_of_kind  # an index without attributes does without

    try:
        return attribute_of_kind(name, kind)
    except ValueError:
        reason = f"the attribute {name!r} has the type {kind!r}, which this version does not know; upgrade vsearch"
        raise CorruptIndexError("manifest", reason) from None
