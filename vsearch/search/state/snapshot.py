"""An open snapshot: model, shards and attribute columns, read from the store when they are first needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import CorruptIndexError
from vsearch.forking import renew_in_children
from vsearch.kernels.query.fields import ModelField
from vsearch.metrics import METRICS
from vsearch.predicates.schema import ROW_ID, Attribute, AttributeType, Schema
from vsearch.quantizers.registry import load_quantizer
from vsearch.search.state.arguments import KernelArguments
from vsearch.search.state.model import Model, SearchSettings
from vsearch.search.state.shard import RERANK_DTYPES, PartitionTable, Shard, view_arrays
from vsearch.search.state.workspace import Workspace, pack_model, pack_shard
from vsearch.storage import FileEntry, Manifest, SegmentFile, ShardEntry, Store, ensure_together, open_files

if TYPE_CHECKING:
    from vsearch.predicates import EncodedColumn
    from vsearch.quantizers.rerank_codes import Rerank


@dataclass(eq=False)
class Snapshot:
    """One committed state of an index, open for reading.

    Attributes
    ----------
    radii, partition_rows : float32 (partitions,), int64 (partitions,)
        Of all partitions, in the order of the centroids.
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
    _threads: threading.local = field(default_factory=threading.local)
    _columns: dict[tuple[int, str], EncodedColumn] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _fused: bool = field(init=False, default=False)
    _ids: NDArray[np.integer[Any]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        """A lock that nobody holds."""
        self._lock = threading.Lock()

    def column(self, shard: Shard, name: str) -> EncodedColumn:
        """The cells or postings of an attribute in a shard; kept once read."""
        key = (shard.number, name)
        found = self._columns.get(key)
        if found is None:
            if name == ROW_ID:
                from vsearch.search.state.row_ids import read_row_ids  # few predicates ask for ids

                found = read_row_ids(shard, self.schema)
            else:
                found = _read_column(self.manifest.shards[shard.number], shard, name)
            with self._lock:
                found = self._columns.setdefault(key, found)
        return found

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
        """Whether every partition of every shard is present and verified."""
        return all(shard.ready for shard in self.shards)

    @property
    def fused(self) -> bool:
        """Whether one native call does a whole query: one shard, all of it there, and tables that kernels make."""
        if not self._fused and len(self.shards) == 1 and self.shards[0].ready:
            given = self.native.values[ModelField.TABLES_GIVEN] != 0
            self._fused = not given and self.model.quantizer.scan != "cells"
        return self._fused

    def plain_ids(self) -> NDArray[np.integer[Any]] | None:
        """Ids of all rows where these are numbers in one mapped file: checked once, then free. None elsewhere."""
        if self._ids is None and len(self.shards) == 1 and self.manifest.id_type != "string":
            file = self.shards[0].files["ids"]
            if file.mapped:
                file.ensure("id")
                self._ids = file.array("id")
        return self._ids

    def bytes_fetched(self) -> int:
        """Bytes read from the store by all shards so far."""
        return sum(shard.bytes_fetched() for shard in self.shards)

    def locate(self, rows: NDArray[np.int64]) -> list[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Split rows by shard: (shard, places in `rows`, rows inside the shard)."""
        found = []
        for shard in self.shards:
            places = np.flatnonzero((rows >= shard.first_row) & (rows < shard.first_row + shard.rows))
            if len(places):
                found.append((shard, places, rows[places] - shard.first_row))
        return found


def open_snapshot(store: Store, manifest: Manifest) -> Snapshot:
    """Open what a manifest describes. Reads the model and each shard's partition table and checksums, nothing else."""
    model = _read_model(store, manifest)
    shards: list[Shard] = []
    first_partition = first_row = 0
    for entry in manifest.shards:
        shard = _open_shard(store, model, entry, first_partition, first_row, manifest.snapshot)
        shards.append(shard)
        first_partition += entry.partitions
        first_row += entry.rows
    if first_partition != manifest.partitions or first_row != manifest.rows:
        raise CorruptIndexError("manifest", "the shards do not add up to the index; restore the manifest")
    radii = np.concatenate([shard.table.radii for shard in shards])
    rows = np.concatenate([shard.table.rows for shard in shards])
    return _make_snapshot(store, manifest, model, shards, radii, rows)


def open_shard(store: Store, manifest: Manifest, number: int) -> Snapshot:
    """Open one shard of what a manifest describes, as the only shard of a snapshot.

    In that snapshot it has the number 0, while its partitions and rows keep the numbers that they have in the index. All
    other partitions are empty.
    """
    entry, before = manifest.shards[number], manifest.shards[:number]
    alone = msgspec.structs.replace(entry, number=0)
    model = _read_model(store, manifest)
    first = sum(s.partitions for s in before), sum(s.rows for s in before)
    shard = _open_shard(store, model, alone, *first, manifest.snapshot)
    own = slice(shard.first_partition, shard.first_partition + shard.partitions)
    radii, rows = np.zeros(manifest.partitions, np.float32), np.zeros(manifest.partitions, np.int64)
    radii[own], rows[own] = shard.table.radii, shard.table.rows
    return _make_snapshot(store, msgspec.structs.replace(manifest, shards=(alone,)), model, [shard], radii, rows)


def _make_snapshot(
    store: Store,
    manifest: Manifest,
    model: Model,
    shards: list[Shard],
    radii: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> Snapshot:
    return Snapshot(
        store=store,
        manifest=manifest,
        model=model,
        shards=tuple(shards),
        schema=schema_of(manifest),
        settings=SearchSettings.from_dict(manifest.settings),
        radii=radii,
        native=pack_model(model, radii, manifest.rows),
        partition_rows=rows,
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
    try:
        return Attribute.of_kind(name, kind)
    except ValueError:
        reason = f"the attribute {name!r} has the type {kind!r}, which this version does not know; upgrade vsearch"
        raise CorruptIndexError("manifest", reason) from None


def model_files(manifest: Manifest) -> list[FileEntry]:
    """Files of the model that searches read: not those of a query encoder."""
    return [entry for kind, entry in manifest.model.items() if not kind.startswith("encoder:")]


def _read_model(store: Store, manifest: Manifest) -> Model:
    if manifest.metric not in METRICS or manifest.rerank not in (None, *RERANK_DTYPES):
        reason = f"metric {manifest.metric!r} with rerank {manifest.rerank!r} is not known; upgrade vsearch"
        raise CorruptIndexError("manifest", reason)
    entries = [entry for kind, entry in manifest.model.items() if ":" not in kind]  # others are of an encoder or a part
    files = [SegmentFile(store, entry, None, manifest.snapshot) for entry in entries]
    ensure_together([(file, name, None, None) for file in files for name in file.arrays])
    arrays = {name: file.array(name) for file in files for name in file.arrays}
    d, partitions = manifest.dimensions, manifest.partitions
    shapes = {
        "quantizer.rotation": (d, d),
        "mean": (d,),
        "rerank_weights": (d,),
        "centroids": (partitions, d),
    }
    if "adapter" in arrays:
        shapes["adapter"] = (d, d)
    centroids, halves = arrays.get("centroids"), None
    if centroids is not None and centroids.dtype == np.float16:
        arrays["centroids"], halves = centroids.astype(np.float32), centroids
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise CorruptIndexError("model", f"{name} is not a finite float32 array of the shape {shape}")
    prefix = "quantizer."
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    try:
        name, configuration = str(manifest.quantizer["name"]), dict(manifest.quantizer["configuration"])
    except (KeyError, TypeError, ValueError):
        raise CorruptIndexError("manifest", "it does not name a quantizer") from None
    quantizer = load_quantizer(name, configuration, own)
    centroids = arrays["centroids"]
    return Model(
        metric=manifest.metric,
        mean=arrays["mean"],
        quantizer=quantizer,
        centroids=centroids,
        centroid_squares=np.einsum("ij,ij->i", centroids, centroids),
        rerank=cast("Rerank | None", manifest.rerank),  # one of them: checked above
        rerank_weights=arrays["rerank_weights"],
        adapter=arrays.get("adapter"),
        half_centroids=halves,
    )


def _open_shard(
    store: Store, model: Model, entry: ShardEntry, first_partition: int, first_row: int, snapshot: int
) -> Shard:
    files = open_files(store, entry, snapshot)
    if "partitions" not in files:
        raise CorruptIndexError("manifest", f"shard {entry.number} has no partition table; restore the manifest")
    file = files["partitions"]
    file.ensure_all()
    arrays = {name: file.array(name) for name in file.arrays}
    table = PartitionTable.from_arrays(file.path, arrays, entry.rows)
    if len(table.rows) != entry.partitions:
        raise CorruptIndexError(file.path, f"holds {len(table.rows)} partitions, the manifest says {entry.partitions}")
    views = view_arrays(model, entry.rows, table.blocks, files)
    native = pack_shard(first_partition, entry.rows, table, views)
    return Shard(entry.number, first_partition, first_row, entry.rows, table, files, views, native)


def _read_column(entry: ShardEntry, shard: Shard, name: str) -> EncodedColumn:
    from vsearch.predicates import ColumnHeader, decode_column  # a search without a predicate does without

    try:
        position, header = int(entry.columns[name]["position"]), entry.columns[name]["header"]
    except (KeyError, TypeError, ValueError):
        raise CorruptIndexError("manifest", f"shard {entry.number} does not describe the attribute {name!r}") from None
    prefix = f"column-{position}-"
    arrays: dict[str, NDArray[Any]] = {}
    parts = [
        (file, key, None, None) for kind, file in shard.files.items() if kind.startswith(prefix) for key in file.arrays
    ]
    cells = shard.files.get("cells")
    if cells is not None and str(position) in cells.arrays:
        ensure_together([*parts, (cells, str(position), None, None)])
        arrays["cells"] = cells.array(str(position))
    else:
        ensure_together(parts)
    arrays |= {key: file.array(key) for file, key, _, _ in parts}
    try:
        described = msgspec.convert(header, ColumnHeader)
    except msgspec.ValidationError as error:
        raise CorruptIndexError("manifest", f"the attribute {name!r} of shard {entry.number}: {error}") from None
    return decode_column(described, arrays)
