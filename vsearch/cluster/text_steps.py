"""Tasks of builds from texts: encode the texts of a range of rows, number the rows that have one, write the index's encoder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from vsearch.building.inputs.embedding import SAMPLE, encode_texts, one_blas_thread, require_texts, split_texts
from vsearch.building.inputs.prefix_files import plan_files
from vsearch.building.inputs.rows import SKIP
from vsearch.building.inputs.unusable import NAMED, Unusable
from vsearch.building.steps import training_rows
from vsearch.cluster.context import Context
from vsearch.cluster.encoding_results import Attached, Embedded, EncoderFiles, Texts
from vsearch.cluster.job import Plan
from vsearch.cluster.outputs import Outputs
from vsearch.cluster.source import SourceRows, plan_rows
from vsearch.cluster.text_rows import TextRows, encoder_files
from vsearch.cluster.training_steps import all_headers
from vsearch.encoders.compressing import compress
from vsearch.encoders.entries import is_compressed
from vsearch.encoders.writing import to_files
from vsearch.errors import InputError
from vsearch.live.attaching import write_encoder_files

if TYPE_CHECKING:
    from numpy.typing import NDArray


def store_encoder(outputs: Outputs, files: Mapping[str, NDArray[np.uint8]]) -> None:
    """Store the files of an encoder, from which all tasks read it, unless an earlier run did."""
    if not outputs.has("encoder"):
        written = {
            name: outputs.write("encoder", 0, str(number), {"bytes": np.asarray(data)})
            for number, (name, data) in enumerate(files.items())
        }
        outputs.finish("encoder", 0, EncoderFiles(written), [file.entry.path for file in written.values()])


def plan_texts(context: Context, number: int) -> None:
    """Choose the columns; the rows are numbered once it is known which of them have a text."""
    files = plan_files(context.source.url, all_headers(context))
    context.outputs.finish("texts", number, plan_rows(context.job, context.source, files), ())


def embed_rows(context: Context, number: int) -> None:
    """Encode the texts of a range of rows, one after another."""
    outputs, encoder = context.outputs, context.encoder
    rows, vectors = [], []
    first, stop = _range(context, number)
    with one_blas_thread:
        for values in _texts(context, first, stop):
            texts, present, _ = split_texts(values)
            if texts:
                rows.append(first + present)
                vectors.append(encode_texts(encoder, texts))
            first += len(values)
    if not rows:
        outputs.finish("embed", number, Embedded(None), ())
        return
    file = outputs.write("embed", number, "vectors", {"row": np.concatenate(rows), "vectors": np.concatenate(vectors)})
    outputs.finish("embed", number, Embedded(file), [file.entry.path])


def number_rows(context: Context, number: int) -> None:
    """Number the rows that have a text.

    Raises
    ------
    InputError
        Rows have no text and must have one, or no row has one.
    """
    outputs, plan, texts = context.outputs, context.draft_plan, _texts_of(context)
    tasks = -(-plan.files.rows // texts.task_rows)
    counts = [outputs.read(Embedded, "embed", task).rows for task in range(tasks)]
    require_texts(sum(counts), plan.files.label, texts.column)
    plan = msgspec.structs.replace(plan, edges=tuple(np.cumsum([0, *counts]).tolist()))
    training_rows(plan.rows, plan.dimensions, context.options)
    if plan.skipped:
        plan = _without_texts(context, plan)
    if plan.id is not None:
        ids = TextRows(SourceRows(context.source, plan), outputs).ids(0, 1)
        plan = msgspec.structs.replace(plan, id_kind="int64" if isinstance(ids, np.ndarray) else "string")
    outputs.finish("plan", number, plan, ())


def attach_encoder(context: Context, number: int) -> None:
    """Write the encoder of the index: the one that was passed, or its compressed form."""
    outputs = context.outputs
    files = encoder_files(outputs)
    if not is_compressed(files):
        texts = itertools.chain.from_iterable(
            split_texts(values)[0] for values in _texts(context, 0, context.draft_plan.files.rows)
        )
        compressed = compress(context.encoder, list(itertools.islice(texts, SAMPLE)))
        files = to_files(compressed.model, compressed.report)
    entries = write_encoder_files(outputs.store, files, outputs.writer)
    outputs.finish("attach", number, Attached(entries), [entry.path for entry in entries.values()])


def _without_texts(context: Context, plan: Plan) -> Plan:
    """Add a warning of the rows that have no text, or refuse them."""
    unusable = Unusable(reasons=plan.skipped)
    rows = list(itertools.islice(_rows_without_text(context), NAMED + 1))
    names: list[Any] = rows
    if plan.id is not None:
        source = SourceRows(context.source, plan)
        names = [source.column(plan.id, row, row + 1)[0].as_py() for row in rows]
    described = f"documents: {unusable.describe(names)}"
    if _texts_of(context).missing == "error":
        raise InputError(f"{described}; {SKIP}")
    return msgspec.structs.replace(plan, warnings=(*plan.warnings, f"{described}; skipped"))


def _rows_without_text(context: Context) -> Iterator[int]:
    for task in itertools.count():
        start, stop = _range(context, task)
        if start >= stop:
            return
        file = context.outputs.read(Embedded, "embed", task).file
        rows = np.empty(0, np.int64) if file is None else context.outputs.arrays(file, names=["row"])["row"]
        yield from np.setdiff1d(np.arange(start, stop), rows).tolist()


def _texts(context: Context, start: int, stop: int) -> Iterator[list[str | None]]:
    """The texts of rows ``start:stop``, batch by batch; None for rows without a text."""
    rows = SourceRows(context.source, context.draft_plan)
    for batch in rows.files.batches([_texts_of(context).column], start, stop):
        yield batch.column(0).to_pylist()


def _range(context: Context, task: int) -> tuple[int, int]:
    """First row of a task, and the row after its last."""
    step, rows = _texts_of(context).task_rows, context.draft_plan.files.rows
    return min(task * step, rows), min((task + 1) * step, rows)


def _texts_of(context: Context) -> Texts:
    return cast("Texts", context.job.texts)
