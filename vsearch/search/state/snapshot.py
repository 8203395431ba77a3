"""An open snapshot: model, runs and attribute columns, read from the store on first use."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import cached_property, renew_in_children
from vsearch.kernels.query.fields import ModelField
from vsearch.predicates.schema import ROW_ID, Attribute, AttributeType, Schema
from vsearch.search.state.arguments import KernelArguments
from vsearch.search.state.batches import Batch
from vsearch.search.state.column_reading import read_column
from vsearch.search.state.layout import LAID_OUT, TailPlace, lay_out
from vsearch.search.state.model import Model, SearchSettings
from vsearch.search.state.model_reading import read_model, reread_model, training_of
from vsearch.search.state.opening_reads import read_ahead
from vsearch.search.state.run_opening import KnownRuns, RunOpener
from vsearch.search.state.run_table import RunTable
from vsearch.search.state.shard import Addresses, Shard
from vsearch.search.state.shard_runs import ShardRuns, group_runs, list_runs
from vsearch.search.state.workspace import Workspace
from vsearch.storage import Manifest, Store
from vsearch.storage.snapshots.kinds import IDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.predicates import EncodedColumn
    from vsearch.search.state.deltas import Delta, Gone
    from vsearch.storage.snapshots.manifest import AttributeEntry


@dataclass(eq=False)
class Snapshot:
    """One committed state of an index, open for reading.

    Attributes
    ----------
    runs : tuple of Shard
        The runs in files: one per shard if the index was never changed, otherwise bases and young runs by shard.
    tail : TailPlace
        Partitions and first row of the tail.
    deltas : tuple of Delta
        The deltas that make up the tail.
    gone : Gone or None
        Removed rows; None if the index was never changed.
    shards : tuple of Shard
        The runs, then the tail. It is assembled on first access to this or the following attributes; writers use none of them.
    groups : tuple of ShardRuns
        The same runs by shard.
    table : RunTable
        The same runs as kernels take them.
    radii, partition_rows : float32 (partitions,), int64 (partitions,)
        Totals over all runs, in the order of the centroids. Removed rows count until they are merged.
    moment : int or None
        The time for which it was opened, in nanoseconds since 1970 UTC; if None, rows expire as time passes (`expiry`).
    unexpired : Snapshot or None
        In a view without expired rows, the snapshot with these rows; their number is `expired`.
    plain : bool
        Whether it is read without pyarrow.
    """

    store: Store
    manifest: Manifest
    model: Model
    runs: tuple[Shard, ...]
    schema: Schema
    settings: SearchSettings
    tail: TailPlace
    plain: bool = False
    deltas: tuple[Delta, ...] = ()
    gone: Gone | None = None
    moment: int | None = None
    unexpired: Snapshot | None = None
    expired: int = 0
    shards: tuple[Shard, ...] = field(init=False)
    groups: tuple[ShardRuns, ...] = field(init=False)
    table: RunTable = field(init=False)
    radii: NDArray[np.float32] = field(init=False)
    partition_rows: NDArray[np.int64] = field(init=False)
    native: KernelArguments = field(init=False)
    derived: dict[str, Any] = field(default_factory=dict)  # caches of other modules, by module name
    _threads: threading.local = field(default_factory=threading.local)
    _all_read: bool = field(init=False, default=False)
    _ids: tuple[list[int], list[NDArray[np.integer[Any]]]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent process may hold."""
        self._layout_lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name not in LAID_OUT:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        attributes = vars(self)
        with self._layout_lock:
            if name not in attributes:
                layout = lay_out(
                    self.model, self.manifest, self.runs, self.tail, self.deltas, self.gone, plain=self.plain
                )
                attributes |= vars(layout)
        return attributes[name]

    @property
    def rows(self) -> int:
        """Number of positions: the rows of all runs, including removed ones."""
        return sum(shard.rows for shard in self.shards)

    def like(self, shards: tuple[Shard, ...] | None = None, **changes: Any) -> Snapshot:
        """Return a copy with other attributes that shares the layout; `shards` are its runs with other rows removed."""
        changed, attributes = replace(self, **changes), vars(self)
        vars(changed).update((name, attributes[name]) for name in LAID_OUT if name in attributes)
        if shards is not None:
            changed.shards, changed.groups = shards, group_runs(self.manifest, shards)
            changed.table = list_runs(changed.groups)
        return changed

    @property
    def live_count(self) -> int:
        """Number of live rows."""
        return self.manifest.rows - self.expired

    def live_rows(self) -> NDArray[np.int64] | None:
        """Return the positions of live rows, int64 (n,) ascending; None if no row is removed."""
        gone = [shard.first_row + shard.gone for shard in self.shards if len(shard.gone)]
        return np.setdiff1d(np.arange(self.rows), np.concatenate(gone), assume_unique=True) if gone else None

    def column(self, shard: Shard, name: str) -> EncodedColumn:
        """Return the cells or postings of an attribute in a run, which are cached."""
        columns = shard.read.columns
        attribute = None if name == ROW_ID else self.find_entry(name)
        key = name if attribute is None else attribute.field_name
        column = columns.get(key)
        if column is None:
            if attribute is None:
                from vsearch.search.state.row_ids import read_row_ids  # few predicates use ids

                column = read_row_ids(shard, self.schema)
            else:
                column = read_column(shard, key, self.schema.find(name), plain=self.plain)
            with shard.read.lock:
                column = columns.setdefault(key, column)
        return column

    def find_entry(self, name: str) -> AttributeEntry:
        """Return the manifest entry of an attribute."""
        return next(attribute for attribute in self.manifest.attributes if attribute.name == name)

    def workspaces(self, count: int) -> list[Workspace]:
        """Return workspaces of the calling thread, one per query."""
        kept: list[Workspace] = getattr(self._threads, "workspaces", [])
        while len(kept) < count:
            kept.append(Workspace(self.model, self.partition_rows, self.radii))
        self._threads.workspaces = kept
        return kept[:count]

    def workspace(self) -> Workspace:
        """Return the first workspace of the calling thread."""
        try:
            workspace: Workspace = self._threads.workspaces[0]
        except AttributeError:
            workspace = self.workspaces(1)[0]
        return workspace

    def batch(self) -> Batch:
        """Return the argument block of batches of the calling thread."""
        try:
            batch: Batch = self._threads.batch
        except AttributeError:
            batch = self._threads.batch = Batch(self.model)
        return batch

    @property
    def ready(self) -> bool:
        """Whether all partitions of all runs are read and verified."""
        return all(shard.ready for shard in self.shards)

    @property
    def all_read(self) -> bool:
        """`ready`, remembered once it is true."""
        if not self._all_read:
            self._all_read = self.ready
        return self._all_read

    @cached_property
    def fused(self) -> bool:
        """Whether one native call can run a whole query: tables are computed by kernels."""
        tables_given = self.native.values[ModelField.TABLES_GIVEN] != 0
        return not tables_given and self.model.quantizer.scan != "cells"

    def plain_ids(self) -> tuple[list[int], list[NDArray[np.integer[Any]]]] | None:
        """Return the first row and the ids of each run, if ids are integers in memory or in mapped files; otherwise None.

        They are verified on the first call.
        """
        if self._ids is None and self.manifest.id_type != "string":
            runs = [run for run in self.shards if run.rows]
            if all(isinstance(run.segment, Addresses) or run.files[IDS].mapped for run in runs):  # a tail is in memory
                for run in runs:
                    run.files[IDS].ensure("id")
                self._ids = [run.first_row for run in runs], [run.files[IDS].array("id") for run in runs]
        return self._ids

    def bytes_fetched(self) -> int:
        """Return the bytes read from the store by all runs so far."""
        return sum(shard.bytes_fetched() for shard in self.shards)

    def locate(self, rows: NDArray[np.int64]) -> list[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Group rows by run: (run, positions in `rows`, rows within the run)."""
        groups = []
        for shard in self.shards:
            places = np.flatnonzero((rows >= shard.first_row) & (rows < shard.first_row + shard.rows))
            if len(places):
                groups.append((shard, places, rows[places] - shard.first_row))
        return groups

    def addresses(self, rows: NDArray[np.int64]) -> Addresses:
        """Return the addresses of rows."""
        segments, segment_rows = np.empty(len(rows), np.uint32), np.empty(len(rows), np.int64)
        for shard, places, inside in self.locate(rows):
            part = shard.addresses(inside)
            segments[places], segment_rows[places] = part.segments, part.rows
        return Addresses(segments, segment_rows)

    def partitions_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the partition of each row, numbered as in the index."""
        partitions = np.empty(len(rows), np.int64)
        for shard, places, inside in self.locate(rows):
            table = shard.table
            local = np.searchsorted(table.row_starts + table.rows, inside, side="right")
            partitions[places] = shard.first_partition + local
        return partitions


def open_snapshot(store: Store, manifest: Manifest, known: Sequence[Snapshot] = (), *, plain: bool = False) -> Snapshot:
    """Open the snapshot of a manifest.

    Reads the model, the deltas, and the partition table and checksums of each run.

    Parameters
    ----------
    known : sequence of Snapshot
        Open snapshots of the same index with the same `plain`; common parts are not read again.
    plain : bool
        Whether to avoid pyarrow, as functions do; rows can then not be fetched as tables.
    """
    return _open(store, manifest, known, None, plain=plain)


def reopen_snapshot(before: Snapshot, manifest: Manifest, last_delta: Delta | None = None) -> Snapshot:
    """Open another snapshot of an index without reading common parts again, nor `last_delta`, if passed."""
    return _open(before.store, manifest, (before,), None, plain=before.plain, last_delta=last_delta)


def open_shard(store: Store, manifest: Manifest, number: int, known: Sequence[Snapshot] = ()) -> Snapshot:
    """Open one shard of a manifest as the only shard of a snapshot, without pyarrow.

    It becomes shard 0; its partitions and rows keep their numbers in the index. All other partitions are empty.

    Parameters
    ----------
    known : sequence of Snapshot
        As in `open_snapshot`, of the same shard.
    """
    return _open(store, manifest, known, number, plain=True)


def _open(
    store: Store,
    manifest: Manifest,
    known: Sequence[Snapshot],
    only: int | None,
    *,
    plain: bool,
    last_delta: Delta | None = None,
) -> Snapshot:
    ahead = None if known else read_ahead(store, manifest, only)
    source = store if ahead is None else ahead
    alike = [snapshot for snapshot in known if training_of(snapshot.manifest) == training_of(manifest)]
    latest, runs = (alike[-1] if alike else None), KnownRuns()
    model = reread_model(store, manifest, latest.manifest, latest.model) if latest else read_model(source, manifest)
    for snapshot in alike:
        runs.add(snapshot.runs)
        if snapshot.manifest.model == manifest.model:  # otherwise partitions have other positions
            runs.add_deltas(snapshot.manifest, snapshot.deltas)
    if last_delta is not None and manifest.live:
        runs.deltas[manifest.live.deltas[-1].bundle.path] = last_delta
    opener = RunOpener(source, model, manifest, runs, only, plain=plain)
    deltas = opener.open()
    if ahead is not None:
        ahead.release()
    if only is None:
        rows = opener.tail_rows + sum(run.rows - len(run.gone) for run in opener.runs)
        if sum(entry.partitions for entry in manifest.shards) != manifest.partitions or rows != manifest.rows:
            raise CorruptIndexError(
                "manifest", "the rows or partitions of the shards do not add up; restore the manifest"
            )
    else:
        shard = msgspec.structs.replace(manifest.shards[only], number=0)
        manifest = msgspec.structs.replace(manifest, shards=(shard,))
    return Snapshot(
        store=store,
        manifest=manifest,
        model=model,
        runs=tuple(opener.runs),
        schema=schema_of(manifest),
        settings=SearchSettings.from_entry(manifest.settings),
        tail=TailPlace(opener.partitions, opener.first_row),
        plain=plain,
        deltas=deltas,
        gone=opener.gone,
    )


def schema_of(manifest: Manifest) -> Schema:
    """Return the schema for predicates: the attributes of an index and the ids of its rows.

    Raises
    ------
    CorruptIndexError
        An attribute has an unknown type.
    """
    row_id = AttributeType.STRING if manifest.id_type == "string" else AttributeType.INT64
    return Schema(tuple(_attribute(a.name, a.type) for a in manifest.attributes), row_id)


def _attribute(name: str, kind: str) -> Attribute:
    from vsearch.predicates.types.table import attribute_of_kind  # not needed without attributes

    try:
        return attribute_of_kind(name, kind)
    except ValueError:
        reason = f"unknown type {kind!r} of the attribute {name!r}; upgrade vsearch"
        raise CorruptIndexError("manifest", reason) from None
