"""Tasks that write the shards: exchange rows through objects, encode and write them, tune the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.attributes import AttributeSource
from vsearch.building.inputs.ids import IdSource
from vsearch.building.layout import ShardRows
from vsearch.building.shards import ShardContent, TakesIds, write_shard
from vsearch.building.training import prepare_vectors
from vsearch.cluster.context import Context
from vsearch.cluster.data_files import Piece
from vsearch.cluster.document_rows import StoredDocuments, collect_documents, sort_documents
from vsearch.cluster.encoding_results import DocumentCodec, ExchangedDocuments, Weighed
from vsearch.cluster.job import Exchanged, Tuned, Written
from vsearch.cluster.outputs import Outputs
from vsearch.cluster.source import ATTRIBUTE, ID
from vsearch.errors import CorruptIndexError
from vsearch.live.attributes import with_ttl
from vsearch.live.retraining import tune_like
from vsearch.multivector.build import DocumentPart
from vsearch.multivector.tuning import tune_encodings
from vsearch.search.defaults import tune_defaults
from vsearch.search.state.snapshot import open_snapshot
from vsearch.sparse.building import weights_of
from vsearch.sparse.levels import choose_step
from vsearch.storage import Manifest
from vsearch.storage.files.checksums import crc32c
from vsearch.storage.files.local_file import LocalFile
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class RowNumbers:
    """Row numbers as ids: those of the rows of a shard, int64 (n,)."""

    rows: NDArray[np.int64]
    kind: Literal["row"] = "row"

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of rows of the shard."""
        return self.rows[rows]


def exchange_chunk(context: Context, number: int) -> None:
    """Sort the rows of a chunk by shard and write them, so that the task of a shard reads its rows by range."""
    outputs, dealt = context.outputs, context.dealt
    start, stop = context.plan.chunk(number)
    members = outputs.arrays(dealt.members, start, stop)["members"]
    shards = np.searchsorted(np.array(dealt.edges), members, side="right") - 1
    order = np.argsort(shards, kind="stable")
    edges = np.searchsorted(shards[order], np.arange(dealt.shards + 1))
    vectors = context.rows.files.vectors(start, stop)
    arrays = {"row": start + order, "partition": members[order], "vectors": vectors[order]}
    del vectors
    file = outputs.write("exchange", number, "vectors", arrays)
    del arrays
    table, path = context.rows.table(start, stop), None
    pieces: tuple[Piece, ...] = ()
    if table is not None:
        path = outputs.path("exchange", number, "columns")
        pieces = _write_pieces(outputs, path, table, order, edges)
    exchanged = Exchanged(file, tuple(edges.tolist()), path, pieces)
    paths = [file.entry.path, *([path] if path else [])]
    if context.job.documents is not None:
        with scratch_folder() as scratch:
            stored = StoredDocuments(outputs, context.documents.numbered)
            documents, written = sort_documents(stored, start, order, edges, Path(scratch), number)
        exchanged = msgspec.structs.replace(exchanged, documents=documents)
        paths += [part.entry.path for part in written]
    outputs.finish("exchange", number, exchanged, paths)


def weigh(context: Context, number: int) -> None:
    """Choose the step of weights by the rows of the first shard, as a build in one process does."""
    legs, outputs = context.job.legs, context.outputs
    if legs is None or legs.sparse is None:
        raise ValueError("the job has no weights")
    with scratch_folder() as scratch:
        rows, _, _, table = collect_rows(context, outputs, 0, Path(scratch))
        attributes = shard_attributes(table, len(rows)).take(np.arange(len(rows)))
        step = choose_step(weights_of(attributes, legs.sparse, len(rows)).weights)
        del table, attributes
    outputs.finish("weights", number, Weighed(step), ())


def write_rows(context: Context, number: int) -> None:
    """Encode and write a shard."""
    outputs, plan, dealt = context.outputs, context.plan, context.dealt
    with scratch_folder() as scratch:
        rows, partitions, vectors, table = collect_rows(context, outputs, number, Path(scratch))
        first, last = dealt.edges[number : number + 2]
        counts = outputs.arrays(dealt.counts, first, last)["counts"]
        if len(rows) != int(counts.sum()):
            raise CorruptIndexError(dealt.counts.entry.path, "does not fit the rows; remove the job with prune")

        def take(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return prepare_vectors(vectors[rows], context.options.metric, model.mean)

        model = context.model
        shard = ShardRows(np.argsort(partitions, kind="stable"), counts, first)
        columns = None if context.rows.attributes is None else shard_attributes(table, len(rows))
        parts = (*_document_parts(context, outputs, number, Path(scratch)), *context.legs)
        ids = _ids(plan.id_kind, rows, table)
        content = ShardContent(take, columns, ids, plan.rows, parts, spill=bool(context.options.spill))
        entry = write_shard(outputs.store, outputs.writer, number, shard, content, model, lambda _: None)
        outputs.finish("shard", number, Written(entry), [file.path for file in entry.files.values()])


def tune_index(context: Context, number: int) -> None:
    """Tune the search settings of the index, which is not yet committed."""
    built = open_snapshot(context.store, untuned_manifest(context, context.job_id))
    if context.job.kind == "retrain":
        settings = tune_like(context.base(0)[1], built)
    elif context.job.documents is not None:
        queries = context.outputs.read(DocumentCodec, "codec").queries
        settings = tune_encodings(built, context.outputs.arrays(queries)["queries"])
    else:
        settings = tune_defaults(built)
    context.outputs.finish("tune", number, Tuned(settings.to_entry()), ())


def untuned_manifest(context: Context, writer: str) -> Manifest:
    """The manifest of the index after its shards are written, without settings."""
    outputs = context.outputs
    shards = [outputs.read(Written, "shard", shard).shard for shard in range(context.dealt.shards)]
    manifest = context.manifest(writer, shards)
    ttl = context.job.options.ttl
    return manifest if ttl is None else with_ttl(manifest, ttl)


def _document_parts(context: Context, outputs: Outputs, shard: int, scratch: Path) -> tuple[DocumentPart, ...]:
    """The documents of a shard, if rows are documents."""
    options = context.job.documents
    if options is None:
        return ()

    def exchanged() -> Iterator[tuple[ExchangedDocuments, int, int]]:
        for chunk in range(context.plan.chunks):
            result = outputs.read(Exchanged, "exchange", chunk)
            low, high = result.edges[shard : shard + 2]
            if high > low and result.documents is not None:
                yield result.documents, low, high

    documents, positions = collect_documents(outputs, exchanged(), shard, scratch)
    numbered, (token_codec, fde) = context.documents.numbered, context.document_codecs
    kept = positions if context.has_positions else None
    input_vectors, largest = numbered.input_vectors, numbered.largest
    return (DocumentPart(documents, kept, input_vectors, token_codec, fde, options, scratch, largest),)


def _write_pieces(
    outputs: Outputs, path: str, table: pa.Table, order: NDArray[np.int64], edges: NDArray[np.int64]
) -> tuple[Piece, ...]:
    """Write the rows of each shard as an Arrow stream, one after another."""
    import pyarrow as pa

    def fill(file: BinaryIO) -> tuple[Piece, ...]:
        pieces, at = [], 0
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            data: Any = b""
            if high > low:
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table.take(pa.array(order[low:high])))
                data = sink.getvalue().to_pybytes()
            file.write(data)
            pieces.append(Piece(at, at + len(data), crc32c(data)))
            at += len(data)
        return tuple(pieces)

    with LocalFile(outputs.store, path) as local:
        pieces = local.write(fill)
        local.put()
    return pieces


def collect_rows(
    context: Context, outputs: Outputs, shard: int, scratch: Path
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any], pa.Table | None]:
    """The rows of a shard in ascending order: numbers, partitions, vectors and columns; the last two in mapped files."""
    import pyarrow as pa

    plan = context.plan
    rows, partitions = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    columns = scratch / "columns"
    writer: Any = None
    with (scratch / "vectors").open("wb") as file, pa.OSFile(str(columns), "wb") as sink:
        for chunk in range(plan.chunks):
            exchanged = outputs.read(Exchanged, "exchange", chunk)
            low, high = exchanged.edges[shard : shard + 2]
            if high == low:
                continue
            arrays = outputs.arrays(exchanged.vectors, low, high)
            rows.append(arrays["row"])
            partitions.append(arrays["partition"])
            file.write(np.ascontiguousarray(arrays["vectors"]).data)
            if exchanged.columns is not None:
                part = pa.ipc.open_stream(outputs.piece(exchanged.columns, exchanged.pieces[shard])).read_all()
                part.validate(full=True)
                if writer is None:
                    writer = pa.ipc.new_file(sink, part.schema)
                writer.write_table(part.combine_chunks())
        if writer is not None:
            writer.close()
    numbers = np.concatenate(rows)
    vectors = np.memmap(scratch / "vectors", plan.dtype, "r", shape=(len(numbers), plan.dimensions))
    table = None if writer is None else pa.ipc.open_file(pa.memory_map(str(columns))).read_all()
    return numbers, np.concatenate(partitions), vectors, table


def shard_attributes(table: pa.Table | None, rows: int) -> AttributeSource:
    """The attributes of a shard, among the columns that `collect_rows` returns."""
    names = [name for name in cast("pa.Table", table).column_names if name.startswith(ATTRIBUTE)]
    chosen = cast("pa.Table", table).select(names).rename_columns([name.removeprefix(ATTRIBUTE) for name in names])
    return AttributeSource(chosen, rows)


def _ids(kind: str, rows: NDArray[np.int64], table: pa.Table | None) -> TakesIds:
    if kind == "row" or table is None:
        return RowNumbers(rows)
    if kind == "int64":
        return IdSource("int64", len(rows), table.column(ID).to_numpy())
    return IdSource("string", len(rows), table.select([ID]))
