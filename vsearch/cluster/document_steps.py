"""Tasks of builds of multi-vector documents: read and reduce them, train, and encode each as one vector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from vsearch.building.inputs.elements import check_bounded, stored_dtype
from vsearch.building.inputs.prefix_files import plan_files
from vsearch.building.inputs.prefix_reading import PrefixRows
from vsearch.building.inputs.rows import SKIP, split_table
from vsearch.building.inputs.tables import Table
from vsearch.building.inputs.unusable import NAMED, NUMBER_FAULTS, Unusable
from vsearch.building.pipeline import write_model
from vsearch.building.steps import training_rows
from vsearch.cluster.context import Context
from vsearch.cluster.encoding_results import DocumentCodec, Drawn, Embedded, Numbered, Reduced
from vsearch.cluster.job import Plan
from vsearch.cluster.source import SourceRows, check_id_column, chunk_rows, kept_attributes
from vsearch.cluster.text_rows import TextRows
from vsearch.cluster.training_steps import all_headers
from vsearch.errors import InputError
from vsearch.multivector.build import batches, document_shards
from vsearch.multivector.reduction import reduce_documents
from vsearch.multivector.sources import documents_column, matrices
from vsearch.multivector.training import DocumentOptions, choose_samples, train_encoding, train_vectors
from vsearch.multivector.usable import none_left, open_lists
from vsearch.storage.stores.scratch import scratch_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.building.inputs.prefix_files import FilesPlan
    from vsearch.cluster.data_files import DataFile
    from vsearch.cluster.outputs import Outputs

BATCHES = 8
"""Batches of documents that one task encodes."""


def plan_documents(context: Context, number: int) -> None:
    """Choose the column of the documents; attributes and ids are chosen once their encoding is known."""
    job, files = context.job, plan_files(context.source.url, all_headers(context))
    if not files.is_table:
        raise InputError(f"multi-vector documents require tables, but {files.label} has no columns")
    rows = PrefixRows(context.source, files)
    source = _table(context, files)
    requested = None if job.columns.attributes is None else list(job.columns.attributes)
    _, column, _ = split_table(source, job.columns.vectors, requested, documents_column, Path())
    check_id_column(job.columns.id, rows.schema)
    first = next(
        (item for item in matrices(_table(context, files).select([str(column)]), skip=True) if _has_vectors(item)), None
    )
    if not isinstance(first, np.ndarray):
        raise InputError(f"{files.label}: no document in column {column!r} has vectors")
    pooled = _options(context).pool is not None and cast("float", _options(context).pool) > 1
    dtype, width = "float32" if pooled else stored_dtype(first.dtype, files.label).name, first.shape[1]
    plan = Plan(files, column, job.columns.id, None, "row", width, dtype, 1, 0, ())
    context.outputs.finish("documents", number, plan, ())


def reduce_range(context: Context, number: int) -> None:
    """Read the documents of some rows, and merge similar vectors of each if that is asked for; note those that cannot be used."""
    outputs, plan = context.outputs, context.draft_plan
    start, stop = _range(context, number)
    with scratch_folder() as folder:
        scratch = Path(folder)
        table = _table(context, plan.files, start, stop).select([str(plan.vectors)])
        opened, unusable = open_lists(table, scratch, plan.dimensions, np.dtype(plan.dtype))
        named = tuple((start + unusable.sorted()[: NAMED + 1]).tolist())
        if opened is None:
            outputs.finish("reduce", number, Reduced(None, None, 0, 0, unusable.reasons, named), ())
            return
        reduced, positions = reduce_documents(
            opened.documents, None, 1.0, _options(context).pool, scratch, lambda _done, _total: None
        )
        vectors = reduced.vectors.read(0, reduced.vectors.rows)
        lengths = np.diff(reduced.offsets)
        places = np.zeros(len(vectors), np.int32) if positions is None else np.asarray(positions)
        file = outputs.write("reduce", number, "vectors", {"vectors": vectors, "position": places})
        of_lengths = outputs.write("reduce", number, "lengths", {"length": lengths, "row": start + opened.kept})
        input_vectors = int(opened.documents.offsets[-1])
        result = Reduced(file, of_lengths, input_vectors, int(places.max()), unusable.reasons, named)
        outputs.finish("reduce", number, result, [file.entry.path, of_lengths.entry.path])


def number_vectors(context: Context, number: int) -> None:
    """Number the vectors of all documents, divide documents into batches, and choose what is trained on.

    Raises
    ------
    InputError
        Documents have no usable vectors, and must have some, or none has any.
    """
    outputs, plan = context.outputs, context.draft_plan
    tasks = -(-plan.files.rows // context.job.document_rows)
    results = [outputs.read(Reduced, "reduce", task) for task in range(tasks)]
    reasons, warning = _left_out(context, results)
    arrays_of = [outputs.arrays(result.lengths) for result in results if result.lengths is not None]
    lengths = np.concatenate([part["length"] for part in arrays_of])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    firsts = [start for start, _ in batches(offsets)]
    vectors, documents, _ = choose_samples(offsets, plan.dimensions, _options(context))
    edges = np.cumsum([0, *(_rows_in(result.vectors) for result in results)])
    document_edges = np.cumsum([0, *(_rows_in(result.lengths) for result in results)])
    arrays = {
        "offset": offsets,
        "row": np.concatenate([part["row"] for part in arrays_of]),
        "batch": np.array([*firsts, len(lengths)], np.int64),
        "vector": vectors,
        "document": documents,
    }
    files = {name: outputs.write("number", number, name, {name: array}) for name, array in arrays.items()}
    input_vectors, largest = sum(result.input_vectors for result in results), max(result.largest for result in results)
    numbered = Numbered(
        files["offset"],
        files["row"],
        tuple(edges.tolist()),
        tuple(document_edges.tolist()),
        files["batch"],
        files["vector"],
        files["document"],
        input_vectors,
        largest,
        BATCHES,
        reasons,
        warning,
    )
    outputs.finish("number", number, numbered, [file.entry.path for file in files.values()])


def draw_documents(context: Context, number: int) -> None:
    """Extract what is trained on from the documents of some rows."""
    outputs, stored = context.outputs, context.documents
    numbered = stored.numbered
    start, stop = numbered.document_edges[number : number + 2]
    low, high = numbered.edges[number : number + 2]
    file = outputs.read(Reduced, "reduce", number).vectors
    if file is None:
        outputs.finish("draw", number, Drawn(None, None), ())
        return
    vectors = outputs.arrays(file, names=["vectors"])["vectors"]
    chosen = _within(outputs.arrays(numbered.vectors)["vector"], low, high)
    chosen_documents = _within(outputs.arrays(numbered.documents)["document"], start, stop)
    offsets = stored.offsets(start, stop) - low
    rows = [np.arange(offsets[document], offsets[document + 1]) for document in (chosen_documents - start).tolist()]
    files: list[DataFile | None] = []
    for name, part in (("vectors", chosen - low), ("documents", np.concatenate([np.empty(0, np.int64), *rows]))):
        written = outputs.write("draw", number, name, {"vectors": vectors[part]}) if len(part) else None
        files.append(written)
    paths = [file.entry.path for file in files if file is not None]
    outputs.finish("draw", number, Drawn(*files), paths)


def train_documents(context: Context, number: int) -> None:
    """Train the codec of the vectors and the encoding of documents."""
    outputs, stored, options = context.outputs, context.documents, _options(context)
    numbered = stored.numbered
    tasks = range(len(numbered.edges) - 1)
    drawn = [outputs.read(Drawn, "draw", task) for task in tasks]
    rows = numbered.document_edges[-1]
    offsets = stored.offsets(0, rows)
    chosen, documents, rng = choose_samples(offsets, context.draft_plan.dimensions, options)
    token_codec = train_vectors(_gathered(outputs, [result.vectors for result in drawn]), chosen, options)
    vectors = _gathered(outputs, [result.documents for result in drawn])
    check_bounded(vectors, "ip", 0)
    lengths = offsets[documents + 1] - offsets[documents]
    fde, queries = train_encoding(vectors, np.concatenate([[0], np.cumsum(lengths)]), options, rng)
    arrays: dict[str, NDArray[Any]] = {**token_codec.arrays(), **fde.arrays()}
    by_length: dict[int, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        by_length.setdefault(len(array), {})[name] = array
    files = tuple(outputs.write("codec", number, str(length), together) for length, together in by_length.items())
    of_queries = outputs.write("codec", number, "queries", {"queries": queries})
    model = write_model(outputs.store, outputs.writer, arrays, "documents")
    shards = document_shards(options, token_codec, numbered.edges[-1], rows)
    entries = {f"documents:{kind}": entry for kind, entry in model.items()}
    result = DocumentCodec(files, token_codec.configuration(), entries, of_queries, shards)
    paths = [*(file.entry.path for file in (*files, of_queries)), *(entry.path for entry in entries.values())]
    outputs.finish("codec", number, result, paths)


def embed_documents(context: Context, number: int) -> None:
    """Encode each document of some batches as one vector."""
    outputs, stored, (_, fde) = context.outputs, context.documents, context.document_codecs
    count = stored.numbered.task_batches
    firsts = outputs.arrays(stored.numbered.batches)["batch"][number * count : (number + 1) * count + 1]
    encoded = [
        fde.encode_documents(*stored.read(start, stop))
        for start, stop in zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True)
    ]
    rows = outputs.arrays(stored.numbered.rows, int(firsts[0]), int(firsts[-1]))["row"]
    file = outputs.write("embed", number, "vectors", {"row": rows, "vectors": np.concatenate(encoded)})
    outputs.finish("embed", number, Embedded(file), [file.entry.path])


def plan_encodings(context: Context, number: int) -> None:
    """Choose attributes and ids, and divide the encoded documents into chunks."""
    job, outputs, draft = context.job, context.outputs, context.draft_plan
    width = context.document_codecs[1].dimensions
    requested = None if job.columns.attributes is None else list(job.columns.attributes)
    source = _table(context, draft.files)
    _, _, others = split_table(source, draft.vectors, requested, documents_column, Path())
    attributes, messages = kept_attributes(job, others, width, draft.files.label)
    numbered = context.documents.numbered
    firsts = outputs.arrays(numbered.batches)["batch"]
    edges = (*firsts[: -1 : numbered.task_batches].tolist(), int(firsts[-1]))
    rows = numbered.document_edges[-1]
    plan = msgspec.structs.replace(
        draft,
        vectors=None,
        attributes=attributes,
        dimensions=width,
        dtype="float32",
        chunk_rows=chunk_rows(job, width, "float32"),
        buckets=0 if draft.id is None else max(1, -(-rows // job.bucket_rows)),
        warnings=messages if numbered.warning is None else (*messages, numbered.warning),
        edges=edges,
        reasons=numbered.reasons,
    )
    if plan.id is not None:
        ids = TextRows(SourceRows(context.source, plan), outputs).ids(0, 1)
        plan = msgspec.structs.replace(plan, id_kind="int64" if isinstance(ids, np.ndarray) else "string")
    training_rows(rows, width, context.options)
    outputs.finish("plan", number, plan, ())


def _left_out(context: Context, results: list[Reduced]) -> tuple[dict[str, int], str | None]:
    """Count the documents without usable vectors by reason, and describe them in a warning; or refuse them."""
    unusable = Unusable(item="document")
    for result in results:
        for reason, count in result.reasons.items():
            unusable.reasons[reason] = unusable.reasons.get(reason, 0) + count
    if not unusable.reasons:
        return {}, None
    # numbers are looked at after all documents are read
    of_numbers = [reason for reason in unusable.reasons if reason in NUMBER_FAULTS]
    unusable.reasons |= {reason: unusable.reasons.pop(reason) for reason in NUMBER_FAULTS if reason in of_numbers}
    rows = [row for result in results for row in result.unusable][: NAMED + 1]
    plan, names = context.draft_plan, list[Any](rows)
    if plan.id is not None:
        source = SourceRows(context.source, plan)
        names = [source.column(plan.id, row, row + 1)[0].as_py() for row in rows]
    described = unusable.describe(names)
    if not any(result.vectors for result in results):
        raise none_left(described)
    if context.job.missing == "error":
        raise InputError(f"documents: {described}; {SKIP}")
    return unusable.reasons, f"documents: {described}; skipped"


def _has_vectors(document: Any) -> bool:
    return isinstance(document, np.ndarray) and document.size > 0


def _rows_in(file: DataFile | None) -> int:
    return 0 if file is None else file.entry.rows


def encoding_tasks(numbered: Numbered) -> int:
    """Number of tasks that encode documents."""
    return -(-(numbered.batches.entry.rows - 1) // numbered.task_batches)


def _gathered(outputs: Outputs, files: list[DataFile | None]) -> NDArray[np.float32]:
    parts = [outputs.arrays(file)["vectors"] for file in files if file is not None]
    return np.ascontiguousarray(np.concatenate(parts), np.float32)


def _within(chosen: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    return chosen[slice(*np.searchsorted(chosen, [low, high]).tolist())]


def _table(context: Context, files: FilesPlan, start: int = 0, stop: int | None = None) -> Table:
    rows = PrefixRows(context.source, files)
    last = files.rows if stop is None else stop
    return Table(rows.schema, lambda names: rows.batches(names, start, last), files.label)


def _range(context: Context, task: int) -> tuple[int, int]:
    """First row of a task, and the row after its last."""
    step, rows = context.job.document_rows, context.draft_plan.files.rows
    return task * step, min((task + 1) * step, rows)


def _options(context: Context) -> DocumentOptions:
    return cast("DocumentOptions", context.job.documents)
