"""The build: sample, train, assign, encode and write shard by shard, then commit.

Memory is bounded by the sample, four bytes per row and one shard, regardless of the input's size. Nothing is visible until
the manifest is committed, and a build that is killed leaves only files that no manifest names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vsearch._version import __version__
from vsearch.building.encoding import model_of
from vsearch.building.inputs.attributes import AttributeSource
from vsearch.building.inputs.elements import NotFiniteError
from vsearch.building.inputs.ids import IdSource
from vsearch.building.inputs.packed_bits import bit_source, plain_bits
from vsearch.building.inputs.rows import InputArguments, Inputs, explained, open_inputs
from vsearch.building.inputs.unusable import Unusable
from vsearch.building.inputs.vectors import VectorSource
from vsearch.building.layout import ShardRows
from vsearch.building.partitioning import Partitioning, split_oversize
from vsearch.building.shards import PartWriter, ShardContent, write_shard
from vsearch.building.steps import BATCH_ROWS, assign_batch, deal, train_on, training_rows
from vsearch.building.training import BuildOptions, Trained, prepare_vectors
from vsearch.errors import IndexExistsError
from vsearch.search.state.expiry import check_ttl
from vsearch.search.state.model import Model
from vsearch.storage import (
    BUILT_FORMAT,
    AttributeEntry,
    CodecEntry,
    FileEntry,
    Manifest,
    ProvenanceEntry,
    SettingsEntry,
    ShardEntry,
    Store,
    commit,
    discarded_on_failure,
    probe,
    snapshot_numbers,
    write_arrays,
)
from vsearch.storage.snapshots.kinds import model_kind
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.quantizers.rerank_codes import Rerank

Progress = Callable[[str, int, int], None]
"""Called with the stage, the amount done and the total."""


def build_index(
    store: Store,
    embeddings: object,
    *,
    arguments: InputArguments,
    options: BuildOptions,
    overwrite: bool,
    tune_defaults: Callable[[Manifest], Manifest],
    progress: Progress,
    parts: Sequence[PartWriter] = (),
    noted: Unusable | None = None,
    ttl: str | None = None,
) -> Manifest:
    """Build an index and commit it; see `vsearch.build` for most parameters.

    Parameters
    ----------
    tune_defaults : callable
        Takes the manifest before it is committed and returns it with the search settings of the index.
    parts : sequence of PartWriter
        Written with the files of the vectors, in this order.
    noted : Unusable, optional
        See `open_inputs`.
    ttl : str, optional
        Name of an existing attribute whose type can hold an expiry time.

    Raises
    ------
    IndexExistsError
        The store already contains an index, and `overwrite` is false.
    ConflictError
        Another build committed first and `overwrite` is false, or a prune removed the files of this one.
    InputError
        The input cannot be used; no files are left behind.
    """
    if not overwrite and snapshot_numbers(store):
        msg = f"{store.url} already contains an index; pass overwrite=True to replace it, or choose another location"
        raise IndexExistsError(msg)
    probe(store)
    with scratch_folder() as scratch:
        embeddings = plain_bits(embeddings) if options.bitwise else embeddings
        inputs = open_inputs(embeddings, arguments, options.metric, scratch, noted)
        if ttl is not None:
            from vsearch.predicates import schema_from_arrow

            check_ttl(ttl, () if inputs.columns is None else schema_from_arrow(inputs.columns.schema).attributes)
        for part in parts:
            part.check(None if inputs.columns is None else inputs.columns.schema)
        writer = uuid.uuid4().hex
        try:
            with discarded_on_failure(store, writer):
                manifest = tune_defaults(write_index(store, inputs, options, writer, progress, parts))
        except NotFiniteError as error:
            raise explained(error, inputs, options.metric) from error
        return commit(store, manifest, insist=True) if overwrite else commit(store, manifest, base=0)


def write_index(
    store: Store,
    inputs: Inputs,
    options: BuildOptions,
    writer: str,
    progress: Progress,
    parts: Sequence[PartWriter] = (),
) -> Manifest:
    """Write all files of an index, with names that begin with `writer`; return the manifest, not committed and without settings."""
    vectors = bit_source(inputs.vectors) if options.bitwise else inputs.vectors
    options = options.sized(vectors.dimensions)
    job = _Build(store, vectors, inputs.columns, inputs.ids, options, progress, parts, inputs.skipped, writer)
    return job.run()


def model_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """The arrays that are stored for a model, by name."""
    arrays = {f"quantizer.{key}": np.asarray(value) for key, value in model.quantizer.arrays().items()}
    if model.regions is not None:
        arrays["regions"] = model.regions
    return arrays | {
        "mean": model.mean,
        "rerank_weights": model.rerank_weights,
        "centroids": model.centroids if model.half_centroids is None else model.half_centroids,
    }


def write_model(store: Store, writer: str, arrays: dict[str, NDArray[Any]], kind: str = "") -> dict[str, FileEntry]:
    """Write the arrays that all shards share; arrays of the same length share a file."""
    by_length: dict[int, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        by_length.setdefault(len(array), {})[key] = array
    name = f"{writer}-{kind}" if kind else writer
    return {
        model_kind(length): write_arrays(store, f"model/{name}-{length}.arrow", together)[0]
        for length, together in by_length.items()
    }


@dataclass(eq=False)
class _Build:
    store: Store
    vectors: VectorSource
    columns: AttributeSource | None
    ids: IdSource
    options: BuildOptions
    progress: Progress
    parts: Sequence[PartWriter]
    skipped: dict[str, int]
    writer: str

    def run(self) -> Manifest:
        rows, options = self.vectors.rows, self.options
        self.progress("train", 0, 1)
        chosen = training_rows(rows, self.vectors.dimensions, options)
        trained = train_on(self.vectors.take(chosen), chosen, rows, options)
        self.progress("train", 1, 1)

        def take(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return prepare_vectors(self.vectors.take(rows), options.metric, trained.mean)

        split = split_oversize(Partitioning(trained.centroids, self._assign(trained)), take, options.seed)
        counts = np.bincount(split.members, minlength=len(split.centroids)).astype(np.int64)
        trained, dealt = deal(replace(trained, centroids=split.centroids), counts, rows, options)
        model = model_of(trained, options.metric, cast("Rerank | None", options.rerank), bitwise=options.bitwise)
        by_partition = np.argsort(split.members, kind="stable")
        starts = np.cumsum(counts) - counts
        content = ShardContent(take, self.columns, self.ids, rows, self.parts, bool(options.spill))
        entries, first, done = [], 0, 0

        def report(encoded: int) -> None:
            nonlocal done
            done += encoded
            self.progress("encode", done, rows)

        for number, members in enumerate(dealt):
            shard_rows = np.concatenate([by_partition[starts[p] : starts[p] + counts[p]] for p in members])
            shard = ShardRows(shard_rows, counts[members], first)
            entries.append(write_shard(self.store, self.writer, number, shard, content, model, report))
            first += len(members)
        return self._manifest(model, self._write_model(model), entries)

    def _assign(self, trained: Trained) -> NDArray[np.int32]:
        rows = self.vectors.rows
        members = np.empty(rows, np.int32)
        for start in range(0, rows, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, rows)
            members[start:stop] = assign_batch(self.vectors.read(start, stop), start, trained, self.options)
            self.progress("assign", stop, rows)
        return members

    def _write_model(self, model: Model) -> dict[str, FileEntry]:
        files = write_model(self.store, self.writer, model_arrays(model))
        for part in self.parts:
            part_files = write_model(self.store, self.writer, part.model(), part.name)
            files |= {f"{part.name}:{kind}": entry for kind, entry in part_files.items()}
        return files

    def _manifest(self, model: Model, files: dict[str, FileEntry], shards: list[ShardEntry]) -> Manifest:
        schema = None if self.columns is None else self.columns.schema
        described = {part.name: part.entry() for part in self.parts}
        codec = CodecEntry(model.quantizer.name, model.quantizer.configuration())
        return manifest_of(
            self.writer,
            codec,
            model.centroids.shape,
            files,
            shards,
            self.options,
            self.ids.kind,
            schema,
            described,
            self.skipped,
        )


def manifest_of(
    writer: str,
    codec: CodecEntry,
    shape: tuple[int, ...],
    files: dict[str, FileEntry],
    shards: Sequence[ShardEntry],
    options: BuildOptions,
    id_type: str,
    columns: pa.Schema | None,
    described: Mapping[str, Any],
    skipped: dict[str, int],
) -> Manifest:
    """Return the manifest of a new index, not committed and without settings.

    Parameters
    ----------
    shape : tuple of int
        Number of partitions, and dimensions.
    files : dict
        Files of the model by kind.
    columns : pyarrow.Schema, optional
        Attributes.
    described : mapping
        Entries of extensions by name: a field of the manifest, or a leg.
    skipped : dict
        Number of skipped rows by reason.
    """
    attributes: tuple[AttributeEntry, ...] = ()
    if columns is not None:
        from vsearch.predicates import schema_from_arrow

        attributes = tuple(AttributeEntry(attribute.name, attribute.kind) for attribute in schema_from_arrow(columns))
    return Manifest(
        format=BUILT_FORMAT,
        snapshot=0,
        writer=writer,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        rows=sum(shard.rows for shard in shards),
        dimensions=shape[1],
        metric=options.stored_metric,
        id_type=id_type,
        quantizer=codec,
        rerank=options.rerank,
        partitions=shape[0],
        seed=options.seed,
        model=files,
        shards=tuple(shards),
        attributes=attributes,
        settings=SettingsEntry(),
        provenance=ProvenanceEntry(__version__, skipped or UNSET),
        spill=True if options.spill else UNSET,
        **_fields(described),
    )


def _fields(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest fields of the entries of extensions; legs share one."""
    legs = {name: entry for name, entry in described.items() if name not in Manifest.__struct_fields__}
    fields = {name: entry for name, entry in described.items() if name not in legs}
    return {**fields, "legs": legs} if legs else fields
