"""An open snapshot: model, runs and attribute columns, read from the store when they are first needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import renew_in_children
from vsearch.kernels.query.fields import ModelField
from vsearch.predicates.schema import ROW_ID, Attribute, AttributeType, Schema
from vsearch.search.state.arguments import KernelArguments
from vsearch.search.state.column_reading import read_column
from vsearch.search.state.layout import LAID_OUT, TailPlace, lay_out
from vsearch.search.state.model import Model, SearchSettings
from vsearch.search.state.model_reading import read_model, reread_model, training_of
from vsearch.search.state.run_opening import KnownRuns, RunOpener
from vsearch.search.state.shard import Addresses, Shard
from vsearch.search.state.shard_runs import ShardRuns, group_runs
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
        Those in files: of an index that was never changed one a shard; of others bases and young runs by shard.
    tail : TailPlace
        Where the tail belongs.
    deltas : tuple of Delta
        What the tail is made of.
    gone : Gone or None
        Rows that are removed; None of an index that was never changed.
    shards : tuple of Shard
        The runs, then the tail. The tail is stitched when one of these and the following is first asked for: writers ask for none.
    groups : tuple of ShardRuns
        The same by shard, as they are searched.
    radii, partition_rows : float32 (partitions,), int64 (partitions,)
        Of all partitions, over all runs, in the order of the centroids. Removed rows count until a merge.
    moment : int or None
        The time for which it was opened, in nanoseconds since 1970 UTC; None: rows expire as time passes (`expiry`).
    whole : Snapshot or None
        The same with the rows that have expired, where this one is without them; their number is `expired`.
    plain : bool
        Whether it is read without an Arrow library.
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
    whole: Snapshot | None = None
    expired: int = 0
    shards: tuple[Shard, ...] = field(init=False)
    groups: tuple[ShardRuns, ...] = field(init=False)
    radii: NDArray[np.float32] = field(init=False)
    partition_rows: NDArray[np.int64] = field(init=False)
    native: KernelArguments = field(init=False)
    derived: dict[str, Any] = field(default_factory=dict)  # what other modules make of it once, by the module's name
    _threads: threading.local = field(default_factory=threading.local)
    _fused: bool = field(init=False, default=False)
    _ids: tuple[list[int], list[NDArray[np.integer[Any]]]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._laying = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name not in LAID_OUT:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        own = vars(self)
        with self._laying:
            if name not in own:
                layout = lay_out(
                    self.model, self.manifest, self.runs, self.tail, self.deltas, self.gone, plain=self.plain
                )
                own |= vars(layout)
        return own[name]

    @property
    def rows(self) -> int:
        """Positions: rows of all runs, removed ones included."""
        return sum(shard.rows for shard in self.shards)

    def like(self, shards: tuple[Shard, ...] | None = None, **changes: Any) -> Snapshot:
        """The same with other attributes; `shards` are its runs with other rows removed. What was stitched is not again."""
        changed, own = replace(self, **changes), vars(self)
        vars(changed).update((name, own[name]) for name in LAID_OUT if name in own)
        if shards is not None:
            changed.shards, changed.groups = shards, group_runs(self.manifest, shards)
        return changed

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
                found = read_column(shard, key, self.schema.find(name), plain=self.plain)
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
    def fused(self) -> bool:
        """Whether one native call does a whole query: one shard, all there, and tables that kernels make."""
        if not self._fused and len(self.groups) == 1 and self.ready:
            given = self.native.values[ModelField.TABLES_GIVEN] != 0
            self._fused = not given and self.model.quantizer.scan != "cells"
        return self._fused

    def plain_ids(self) -> tuple[list[int], list[NDArray[np.integer[Any]]]] | None:
        """The first row of each run, and ids of its rows, where these are numbers in memory or in mapped files.

        Checked once, then free. None elsewhere.
        """
        if self._ids is None and self.manifest.id_type != "string":
            runs = [run for run in self.shards if run.rows]
            if all(isinstance(run.segment, Addresses) or run.files[IDS].mapped for run in runs):  # a tail is in memory
                for run in runs:
                    run.files[IDS].ensure("id")
                self._ids = [run.first_row for run in runs], [run.files[IDS].array("id") for run in runs]
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


def open_snapshot(store: Store, manifest: Manifest, known: Sequence[Snapshot] = (), *, plain: bool = False) -> Snapshot:
    """Open what a manifest describes.

    Reads the model, each run's partition table and checksums, and the deltas.

    Parameters
    ----------
    known : sequence of Snapshot
        Open ones of the same index, and read like this one; what they have in common with it is not read again.
    plain : bool
        Whether to do without an Arrow library, as functions do; then rows cannot be fetched as tables.
    """
    return _open(store, manifest, known, None, plain=plain)


def reopen_snapshot(before: Snapshot, manifest: Manifest, own: Delta | None = None) -> Snapshot:
    """Open another snapshot of an index; what the two have in common is not read again, nor its last delta if that is `own`."""
    return _open(before.store, manifest, (before,), None, plain=before.plain, own=own)


def open_shard(store: Store, manifest: Manifest, number: int, known: Sequence[Snapshot] = ()) -> Snapshot:
    """Open one shard of what a manifest describes, as the only shard of a snapshot, without an Arrow library.

    In that snapshot it has the number 0, while its partitions and rows keep the numbers that they have in the index. All
    other partitions are empty.

    Parameters
    ----------
    known : sequence of Snapshot
        As for `open_snapshot`, of the same shard.
    """
    return _open(store, manifest, known, number, plain=True)


def _open(
    store: Store,
    manifest: Manifest,
    known: Sequence[Snapshot],
    only: int | None,
    *,
    plain: bool,
    own: Delta | None = None,
) -> Snapshot:
    alike = [snapshot for snapshot in known if training_of(snapshot.manifest) == training_of(manifest)]
    latest, runs = (alike[-1] if alike else None), KnownRuns()
    model = reread_model(store, manifest, latest.manifest, latest.model) if latest else read_model(store, manifest)
    for snapshot in alike:
        runs.add(snapshot.runs)
        if snapshot.manifest.model == manifest.model:  # otherwise partitions have other places
            runs.add_deltas(snapshot.manifest, snapshot.deltas)
    if own is not None and manifest.live:
        runs.deltas[manifest.live.deltas[-1].bundle.path] = own
    opener = RunOpener(store, model, manifest, runs, only, plain=plain)
    deltas = opener.open()
    if only is None:
        rows = opener.tail_rows + sum(run.rows - len(run.gone) for run in opener.runs)
        if sum(entry.partitions for entry in manifest.shards) != manifest.partitions or rows != manifest.rows:
            raise CorruptIndexError("manifest", "the shards do not add up to the index; restore the manifest")
    else:
        alone = msgspec.structs.replace(manifest.shards[only], number=0)
        manifest = msgspec.structs.replace(manifest, shards=(alone,))
    return Snapshot(
        store=store,
        manifest=manifest,
        model=model,
        runs=tuple(opener.runs),
        schema=schema_of(manifest),
        settings=SearchSettings.from_entry(manifest.settings),
        tail=TailPlace(opener.where, opener.first_row),
        plain=plain,
        deltas=deltas,
        gone=opener.gone,
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
