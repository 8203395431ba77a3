"""The build: sample, train, assign, then shard by shard encode and write, and at last commit.

Memory is bounded by the sample, four bytes per row, and one shard, whatever the input's size; nothing is visible before
the manifest is committed, and a build that is killed leaves only files that no manifest names.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch._version import __version__
from vsearch.building.inputs.attributes import AttributeSource
from vsearch.building.inputs.elements import NotFiniteError, check_bounded
from vsearch.building.inputs.ids import IdSource
from vsearch.building.inputs.rows import Given, explained, open_inputs
from vsearch.building.inputs.unusable import Unusable
from vsearch.building.inputs.vectors import VectorSource
from vsearch.building.layout import ShardRows, lay_out, rotated_centroids
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
    TRAINING_ROWS,
    BuildOptions,
    Trained,
    choose_mean,
    prepare_vectors,
    train,
    train_quantizer,
)
from vsearch.errors import IndexExistsError
from vsearch.storage import (
    CHECKSUMS,
    FORMAT,
    AttributeEntry,
    FileEntry,
    Manifest,
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
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.quantizers.rerank_codes import Rerank

BATCH_ROWS = 16384

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done and how much there is."""


class MultiVectorWriter(Protocol):
    """What an index holds beside its ordinary files, as a document index does: written with them, seen with them."""

    def model(self) -> dict[str, NDArray[Any]]:
        """Arrays that all shards share."""

    def configuration(self) -> dict[str, Any]:
        """What the manifest says of it."""

    def write_shard(self, rows: NDArray[np.int64], arrays: Callable[[str, dict[str, NDArray[Any]]], None]) -> None:
        """Write the files of a shard that holds these rows of the input, in this order: ``arrays(kind, arrays)`` each."""


def build_index(
    store: Store,
    embeddings: object,
    *,
    given: Given,
    options: BuildOptions,
    overwrite: bool,
    tune_defaults: Callable[[Manifest], Manifest],
    progress: Progress,
    part: MultiVectorWriter | None = None,
    noted: Unusable | None = None,
) -> Manifest:
    """Build an index and commit it; see `vsearch.build` for most parameters.

    Parameters
    ----------
    tune_defaults : callable
        Given the manifest before it is committed, returns it with the search settings that the index shall have.
    part : MultiVectorWriter, optional
        Written beside the ordinary files.
    noted : Unusable, optional
        See `open_inputs`.

    Raises
    ------
    IndexExistsError
        If the store already holds an index and `overwrite` is false.
    ConflictError
        If another build was first and `overwrite` is false, or a prune removed what was written.
    InputError
        If the input cannot be used; nothing is left.
    """
    if not overwrite and snapshot_numbers(store):
        msg = f"{store.url} already holds an index; give overwrite=True to replace it, or choose another place"
        raise IndexExistsError(msg)
    probe(store)
    with scratch_folder() as scratch:
        inputs = open_inputs(embeddings, given, options.metric, scratch, noted)
        job = _Build(store, inputs.vectors, inputs.columns, inputs.ids, options, progress, part, skipped=inputs.skipped)
        try:
            with discarded_on_failure(store, job.writer):
                manifest = tune_defaults(job.run())
        except NotFiniteError as error:
            raise explained(error, inputs, options.metric) from error
        return commit(store, manifest, insist=True) if overwrite else commit(store, manifest, base=0)


def write_model(store: Store, writer: str, arrays: dict[str, NDArray[Any]], kind: str = "") -> dict[str, FileEntry]:
    """Write the arrays that all shards share; those of one length share a file."""
    by_length: dict[int, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        by_length.setdefault(len(array), {})[key] = array
    name = f"{writer}-{kind}" if kind else writer
    return {
        f"rows-{length}": write_arrays(store, f"model/{name}-{length}.arrow", together)[0]
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
    part: MultiVectorWriter | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)
    mean: NDArray[np.float32] = field(init=False)

    def run(self) -> Manifest:
        rows, options = self.vectors.rows, self.options
        partitions, shards = check_counts(rows, options.partitions, options.shards)
        rng = np.random.default_rng(options.seed)
        self.progress("train", 0, 1)
        product = options.product_quantizer(self.vectors.dimensions)
        least = LEAST_SAMPLE if product is None else TRAINING_ROWS  # k-means of many centroids wants more rows
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
        by_partition = np.argsort(split.members, kind="stable")
        starts = np.cumsum(counts) - counts
        entries, first, done = [], 0, 0
        for number, members in enumerate(dealt):
            inside = np.concatenate([by_partition[starts[p] : starts[p] + counts[p]] for p in members])
            numbered = np.arange(first, first + len(members))
            entries.append(self._write_shard(number, ShardRows(inside, counts[members], numbered), trained, done))
            first, done = first + len(members), done + len(inside)
        return self._manifest(trained, self._write_model(trained), entries)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.prepare(self.vectors.take(rows))

    def prepare(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        return prepare_vectors(vectors, self.options.metric, self.mean)

    def _assign(self, centroids: NDArray[np.float32]) -> NDArray[np.int32]:
        rows = self.vectors.rows
        members = np.empty(rows, np.int32)
        for start in range(0, rows, BATCH_ROWS):
            stop = min(start + BATCH_ROWS, rows)
            given = self.vectors.read(start, stop)
            check_bounded(given, self.options.metric, start)
            batch = self.prepare(given)
            members[start:stop] = assign(batch, centroids)
            self.progress("assign", stop, rows)
        return members

    def _write_shard(self, number: int, shard: ShardRows, trained: Trained, done: int) -> ShardEntry:
        name = self.writer
        files: dict[str, FileEntry] = {}
        sums: dict[str, NDArray[np.uint32]] = {}
        headers: dict[str, Any] = {}
        total = done

        def report(rows: int) -> None:
            nonlocal total
            total += rows
            self.progress("encode", total, self.vectors.rows)

        def arrays(kind: str, of_kind: dict[str, NDArray[Any]]) -> None:
            if of_kind:
                path = f"segments/{name}-{number:05d}-{kind}.arrow"
                files[kind], sums[kind] = write_arrays(self.store, path, of_kind)

        def table(kind: str, of_kind: pa.Table) -> None:
            path = f"segments/{name}-{number:05d}-{kind}.arrow"
            files[kind], sums[kind] = write_table(self.store, path, of_kind)

        layout = lay_out(
            shard, self.take, trained, self.options.metric, cast("Rerank | None", self.options.rerank), report
        )
        partitions = dict(layout.partitions)
        arrays("codes", layout.codes)
        arrays("rows", layout.rows)
        arrays("rerank", layout.rerank)
        del layout
        self._write_ids(shard, arrays, table)
        if self.columns is not None:
            exact = self.columns.take(shard.rows)
            table("attributes", exact)
            self._write_columns(exact, shard, arrays, headers, partitions)
        arrays("partitions", partitions)
        if self.part is not None:
            self.part.write_shard(shard.rows, arrays)
        path = f"segments/{name}-{number:05d}-checksums.arrow"
        files[CHECKSUMS], _ = write_arrays(self.store, path, {"crc32c": join_checksums(sums)})
        return ShardEntry(number, len(shard.rows), len(shard.counts), files, headers)

    def _write_ids(self, shard: ShardRows, arrays: Callable[..., None], table: Callable[..., None]) -> None:
        values = self.ids.take(shard.rows)
        if self.ids.kind == "string":
            import pyarrow as pa

            table("ids", pa.table({"id": values}))
            return
        numbers = np.asarray(values, np.int64)
        small = self.ids.kind == "row" and self.vectors.rows <= 2**32
        arrays("ids", {"id": numbers.astype(np.uint32) if small else numbers})

    def _write_columns(
        self,
        exact: pa.Table,
        shard: ShardRows,
        arrays: Callable[..., None],
        headers: dict[str, Any],
        partitions: dict[str, NDArray[Any]],
    ) -> None:
        """Write cells and postings of every attribute; arrays of one length share a file."""
        from vsearch.predicates import CellColumn, encode_column, partition_presence, schema_from_arrow

        schema = schema_from_arrow(exact.schema)
        row_starts = np.cumsum(shard.counts) - shard.counts
        cells: dict[str, NDArray[Any]] = {}
        for position, attribute in enumerate(schema):
            encoded = encode_column(attribute.name, attribute.type, exact.column(attribute.name))
            headers[attribute.name] = {"position": position, "header": msgspec.to_builtins(encoded.header())}
            by_length: dict[int, dict[str, NDArray[Any]]] = {}
            for key, array in encoded.arrays().items():
                if key == "cells":
                    cells[str(position)] = array
                else:
                    by_length.setdefault(len(array), {})[key] = array
            for length, together in by_length.items():
                arrays(f"column-{position}-{length}", together)
            if isinstance(encoded, CellColumn):
                partitions[f"presence-{position}"] = partition_presence(encoded, row_starts, shard.counts)
        arrays("cells", cells)

    def _write_model(self, trained: Trained) -> dict[str, FileEntry]:
        arrays = {f"quantizer.{key}": np.asarray(value) for key, value in trained.quantizer.arrays().items()}
        centroids, _ = rotated_centroids(trained, self.options.metric)
        # of unit vectors, halves are off by less than a tenth of what int8 codes are
        small = self.options.metric == "cosine" and self.options.rerank == "int8"
        arrays |= {
            "mean": trained.mean,
            "rerank_weights": trained.rerank_weights,
            "centroids": centroids.astype(np.float16) if small else centroids,
        }
        model = write_model(self.store, self.writer, arrays)
        if self.part is not None:
            own = write_model(self.store, self.writer, self.part.model(), "documents")
            model |= {f"documents:{kind}": entry for kind, entry in own.items()}
        return model

    def _manifest(self, trained: Trained, model: dict[str, FileEntry], shards: list[ShardEntry]) -> Manifest:
        attributes: tuple[AttributeEntry, ...] = ()
        if self.columns is not None:
            from vsearch.predicates import schema_from_arrow

            schema = schema_from_arrow(self.columns.schema)
            attributes = tuple(AttributeEntry(attribute.name, attribute.kind) for attribute in schema)
        quantizer = {"name": trained.quantizer.name, "configuration": trained.quantizer.configuration()}
        return Manifest(
            format=FORMAT,
            snapshot=0,
            writer=self.writer,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            rows=self.vectors.rows,
            dimensions=self.vectors.dimensions,
            metric=self.options.metric,
            id_type=self.ids.kind,
            quantizer=quantizer,
            rerank=self.options.rerank,
            partitions=len(trained.centroids),
            seed=self.options.seed,
            model=model,
            shards=tuple(shards),
            attributes=attributes,
            settings={},
            provenance={"vsearch": __version__} | ({"skipped": self.skipped} if self.skipped else {}),
            documents=None if self.part is None else self.part.configuration(),
        )
