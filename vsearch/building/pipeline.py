"""The build: sample, train, assign, encode and write shard by shard, then commit.

Memory is bounded by the sample, four bytes per row and one shard, regardless of the input's size. Nothing is visible until
the manifest is committed, and a build that is killed leaves only files that no manifest names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from vsearch._version import __version__
from vsearch.building.encoding import model_of
from vsearch.building.inputs.attributes import AttributeSource
from vsearch.building.inputs.elements import NotFiniteError, check_bounded
from vsearch.building.inputs.ids import IdSource
from vsearch.building.inputs.rows import Given, Inputs, explained, open_inputs
from vsearch.building.inputs.unusable import Unusable
from vsearch.building.inputs.vectors import VectorSource
from vsearch.building.layout import ShardRows, lay_out
from vsearch.building.partitioning import (
    LEAST_SAMPLE,
    Partitioning,
    assign,
    check_counts,
    deal_to_shards,
    sample_rows,
    split_oversize,
)
from vsearch.building.training import (
    BuildOptions,
    Trained,
    choose_mean,
    prepare_vectors,
    train,
    train_quantizer,
)
from vsearch.errors import IndexExistsError
from vsearch.search.state.expiry import check_ttl
from vsearch.search.state.model import Model
from vsearch.storage import (
    BUILT_FORMAT,
    CHECKSUMS,
    AttributeEntry,
    CodecEntry,
    DocumentsEntry,
    EncodingEntry,
    EncodingHeader,
    FileEntry,
    Manifest,
    ProvenanceEntry,
    SettingsEntry,
    ShardEntry,
    Store,
    commit,
    discarded_on_failure,
    join_checksums,
    probe,
    snapshot_numbers,
    write_arrays,
    write_table,
)
from vsearch.storage.files.naming import segment_path
from vsearch.storage.snapshots.kinds import (
    ATTRIBUTES,
    CELLS,
    CODES,
    IDS,
    PARTITIONS,
    RERANK,
    ROWS,
    column_kind,
    model_kind,
)
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.quantizers.rerank_codes import Rerank

BATCH_ROWS = 16384

WriteArrays = Callable[[str, dict[str, NDArray[Any]]], None]
"""Writes one file of a shard, given its kind and its arrays by name."""

Progress = Callable[[str, int, int], None]
"""Called with the stage, the amount done and the total."""


class PartWriter(Protocol):
    """An extension of an index, such as multi-vector documents, whose files are written and committed with those of the vectors."""

    @property
    def name(self) -> str:
        """The manifest field that describes the part; the kinds of its model files begin with this name and a colon."""

    @property
    def kinds(self) -> frozenset[str]:
        """File kinds that the part may write for each shard; reserved for it."""

    def model(self) -> dict[str, NDArray[Any]]:
        """Arrays shared by all shards."""

    def entry(self) -> DocumentsEntry:
        """The part's entry in the manifest."""

    def write_shard(self, rows: NDArray[np.int64], arrays: WriteArrays) -> None:
        """Write the files of a shard that holds these input rows, in this order, by calling ``arrays(kind, arrays)`` for each."""


def build_index(
    store: Store,
    embeddings: object,
    *,
    given: Given,
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
        inputs = open_inputs(embeddings, given, options.metric, scratch, noted)
        if ttl is not None:
            from vsearch.predicates import schema_from_arrow

            check_ttl(ttl, () if inputs.columns is None else schema_from_arrow(inputs.columns.schema).attributes)
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
    job = _Build(store, inputs.vectors, inputs.columns, inputs.ids, options, progress, parts, inputs.skipped, writer)
    return job.run()


def model_arrays(model: Model) -> dict[str, NDArray[Any]]:
    """The arrays that are stored for a model, by name."""
    arrays = {f"quantizer.{key}": np.asarray(value) for key, value in model.quantizer.arrays().items()}
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
    mean: NDArray[np.float32] = field(init=False)

    def run(self) -> Manifest:
        rows, options = self.vectors.rows, self.options
        partitions, shards = check_counts(rows, options.partitions, options.shards)
        rng = np.random.default_rng(options.seed)
        self.progress("train", 0, 1)
        options.specification(self.vectors.dimensions)  # raises, if it does, before vectors are read
        least = max(LEAST_SAMPLE, options.record.least_rows)
        chosen = sample_rows(rows, partitions, self.vectors.dimensions, rng, least)
        drawn = self.vectors.take(chosen)
        check_bounded(drawn, options.metric, chosen)
        self.mean = choose_mean(drawn, options.metric)
        sample = self.prepare(drawn)
        del drawn
        centroids = train(sample, partitions, options)
        trained = train_quantizer(sample, centroids, self.mean, options)
        del sample
        self.progress("train", 1, 1)
        split = split_oversize(Partitioning(centroids, self._assign(centroids)), self.take, options.seed)
        counts = np.bincount(split.members, minlength=len(split.centroids)).astype(np.int64)
        dealt = deal_to_shards(split.centroids, counts, min(shards, len(counts)))
        trained = Trained(
            split.centroids[np.concatenate(dealt)], trained.quantizer, trained.mean, trained.rerank_weights
        )
        model = model_of(trained, options.metric, cast("Rerank | None", options.rerank))
        by_partition = np.argsort(split.members, kind="stable")
        starts = np.cumsum(counts) - counts
        entries, first, done = [], 0, 0
        for number, members in enumerate(dealt):
            shard_rows = np.concatenate([by_partition[starts[p] : starts[p] + counts[p]] for p in members])
            entries.append(self._write_shard(number, ShardRows(shard_rows, counts[members], first), model, done))
            first, done = first + len(members), done + len(shard_rows)
        return self._manifest(model, self._write_model(model), entries)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.prepare(self.vectors.take(rows))

    def prepare(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        return prepare_vectors(vectors, self.options.metric, self.mean)

    def _assign(self, centroids: NDArray[np.float32]) -> NDArray[np.int32]:
        rows = self.vectors.rows
        members = np.empty(rows, np.int32)
        for start in range(0, rows, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, rows)
            raw = self.vectors.read(start, stop)
            check_bounded(raw, self.options.metric, start)
            batch = self.prepare(raw)
            members[start:stop] = assign(batch, centroids)
            self.progress("assign", stop, rows)
        return members

    def _write_shard(self, number: int, shard: ShardRows, model: Model, done: int) -> ShardEntry:
        files: dict[str, FileEntry] = {}
        sums: dict[str, NDArray[np.uint32]] = {}
        encodings: dict[str, EncodingEntry] = {}
        total = done

        def report(rows: int) -> None:
            nonlocal total
            total += rows
            self.progress("encode", total, self.vectors.rows)

        def arrays(kind: str, of_kind: dict[str, NDArray[Any]]) -> None:
            if of_kind:
                path = segment_path(self.writer, number, kind)
                files[kind], sums[kind] = write_arrays(self.store, path, of_kind)

        def table(kind: str, of_kind: pa.Table) -> None:
            path = segment_path(self.writer, number, kind)
            files[kind], sums[kind] = write_table(self.store, path, of_kind)

        layout = lay_out(shard, self.take, model, report)
        arrays(CODES, layout.codes)
        arrays(ROWS, layout.rows)
        arrays(RERANK, layout.rerank)
        arrays(PARTITIONS, layout.partitions)
        del layout
        self._write_ids(shard, arrays, table)
        if self.columns is not None:
            exact = self.columns.take(shard.rows)
            table(ATTRIBUTES, exact)
            encodings = self._write_columns(exact, arrays)
        for part in self.parts:
            part.write_shard(shard.rows, _own_kinds(part, files, arrays))
        path = segment_path(self.writer, number, CHECKSUMS)
        files[CHECKSUMS], _ = write_arrays(self.store, path, {"crc32c": join_checksums(sums)})
        return ShardEntry(number, len(shard.rows), len(shard.counts), files, encodings)

    def _write_ids(self, shard: ShardRows, arrays: Callable[..., None], table: Callable[..., None]) -> None:
        values = self.ids.take(shard.rows)
        if self.ids.kind == "string":
            import pyarrow as pa

            table(IDS, pa.table({"id": values}))
            return
        numbers = np.asarray(values, np.int64)
        small = self.ids.kind == "row" and self.vectors.rows <= 2**32
        arrays(IDS, {"id": numbers.astype(np.uint32) if small else numbers})

    def _write_columns(self, exact: pa.Table, arrays: Callable[..., None]) -> dict[str, EncodingEntry]:
        """Write cells and postings of every attribute; arrays of the same length share a file."""
        from vsearch.predicates import encode_column, schema_from_arrow

        schema = schema_from_arrow(exact.schema)
        cells: dict[str, NDArray[Any]] = {}
        encodings: dict[str, EncodingEntry] = {}
        for position, attribute in enumerate(schema):
            encoded = encode_column(attribute.name, attribute.type, exact.column(attribute.name))
            header = msgspec.convert(msgspec.to_builtins(encoded.header()), EncodingHeader)
            encodings[attribute.name] = EncodingEntry(position, header)
            by_length: dict[int, dict[str, NDArray[Any]]] = {}
            for key, array in encoded.arrays().items():
                if key == "cells":
                    cells[str(position)] = array
                else:
                    by_length.setdefault(len(array), {})[key] = array
            for length, together in by_length.items():
                arrays(column_kind(position, length), together)
        arrays(CELLS, cells)
        return encodings

    def _write_model(self, model: Model) -> dict[str, FileEntry]:
        files = write_model(self.store, self.writer, model_arrays(model))
        for part in self.parts:
            part_files = write_model(self.store, self.writer, part.model(), part.name)
            files |= {f"{part.name}:{kind}": entry for kind, entry in part_files.items()}
        return files

    def _manifest(self, model: Model, files: dict[str, FileEntry], shards: list[ShardEntry]) -> Manifest:
        attributes: tuple[AttributeEntry, ...] = ()
        if self.columns is not None:
            from vsearch.predicates import schema_from_arrow

            schema = schema_from_arrow(self.columns.schema)
            attributes = tuple(AttributeEntry(attribute.name, attribute.kind) for attribute in schema)
        quantizer = CodecEntry(model.quantizer.name, model.quantizer.configuration())
        described: dict[str, Any] = {part.name: part.entry() for part in self.parts}
        return Manifest(
            format=BUILT_FORMAT,
            snapshot=0,
            writer=self.writer,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            rows=self.vectors.rows,
            dimensions=self.vectors.dimensions,
            metric=self.options.metric,
            id_type=self.ids.kind,
            quantizer=quantizer,
            rerank=self.options.rerank,
            partitions=len(model.centroids),
            seed=self.options.seed,
            model=files,
            shards=tuple(shards),
            attributes=attributes,
            settings=SettingsEntry(),
            provenance=ProvenanceEntry(__version__, self.skipped or UNSET),
            **described,
        )


def _own_kinds(part: PartWriter, files: Mapping[str, FileEntry], arrays: WriteArrays) -> WriteArrays:
    """Restrict `arrays` to the file kinds of a part, each written at most once per shard."""

    def write(kind: str, of_kind: dict[str, NDArray[Any]]) -> None:
        if kind not in part.kinds or kind in files:
            raise ValueError(f"part {part.name!r} may write each of its own file kinds once per shard, got {kind!r}")
        arrays(kind, of_kind)

    return write
