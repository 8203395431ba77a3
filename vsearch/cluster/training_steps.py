"""Tasks up to a trained model: read headers, plan, draw a sample, train."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.inputs.prefix_files import FileHeader, plan_files, read_header
from vsearch.building.steps import BATCH_ROWS, train_on
from vsearch.cluster.context import Context
from vsearch.cluster.data_files import DataFile
from vsearch.cluster.job import Headers, Picked, TrainedFiles
from vsearch.cluster.outputs import Outputs
from vsearch.cluster.source import plan_rows
from vsearch.storage import CodecEntry


def read_headers(context: Context, number: int) -> None:
    """Read the headers of some files."""
    job, outputs = context.job, context.outputs
    files = job.files[number * job.files_per_task : (number + 1) * job.files_per_task]
    outputs.finish("files", number, Headers(tuple(read_header(context.source, file) for file in files)), ())


def make_plan(context: Context, number: int) -> None:
    """Combine the headers of all files into a plan."""
    files = plan_files(context.source.url, all_headers(context))
    context.outputs.finish("plan", number, plan_rows(context.job, context.source, files), ())


def all_headers(context: Context) -> list[FileHeader]:
    """The headers of all files, in order."""
    job, outputs = context.job, context.outputs
    tasks = -(-len(job.files) // job.files_per_task)
    return [header for task in range(tasks) for header in outputs.read(Headers, "files", task).headers]


def draw_sample(context: Context, number: int) -> None:
    """Extract the rows of a chunk that the model is trained on."""
    outputs = context.outputs
    start, stop = context.plan.chunk(number)
    low, high = np.searchsorted(context.chosen, [start, stop])
    outputs.finish("sample", number, *_picked(context, outputs, "sample", number, context.chosen[low:high]))


def gather_rows(context: Context, number: int, rows: NDArray[np.int64], task: int) -> None:
    """Extract rows of a chunk, int64 ascending; `task` is the number of the task."""
    del number
    outputs = context.outputs
    outputs.finish("gather", task, *_picked(context, outputs, "gather", task, rows))


def train_model(context: Context, number: int) -> None:
    """Train centroids and codec on the sample."""
    outputs, plan = context.outputs, context.plan
    drawn = np.empty((len(context.chosen), plan.dimensions), plan.dtype)
    filled = 0
    for chunk in range(plan.chunks):
        file = outputs.read(Picked, "sample", chunk).file
        if file is not None:
            vectors = outputs.arrays(file)["vectors"]
            drawn[filled : filled + len(vectors)] = vectors
            filled += len(vectors)
    trained = train_on(drawn, context.chosen, plan.rows, context.options)
    arrays: dict[str, Any] = {
        f"quantizer.{key}": np.asarray(value) for key, value in trained.quantizer.arrays().items()
    }
    arrays |= {"mean": trained.mean, "rerank_weights": trained.rerank_weights, "centroids": trained.centroids}
    by_length: dict[int, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        by_length.setdefault(len(array), {})[key] = array
    files = tuple(outputs.write("train", number, str(length), together) for length, together in by_length.items())
    codec = CodecEntry(trained.quantizer.name, trained.quantizer.configuration())
    outputs.finish("train", number, TrainedFiles(files, codec), [file.entry.path for file in files])


def _picked(
    context: Context, outputs: Outputs, stage: str, task: int, rows: NDArray[np.int64]
) -> tuple[Picked, list[str]]:
    """Write the vectors of rows, batch by batch; return the result and the paths of its data."""
    if not len(rows):
        return Picked(None), []
    parts = []
    for start in np.unique(rows // BATCH_ROWS) * BATCH_ROWS:
        stop = min(int(start) + BATCH_ROWS, context.plan.rows)
        low, high = np.searchsorted(rows, [start, stop])
        parts.append(context.rows.files.vectors(int(start), stop)[rows[low:high] - start])
    file: DataFile = outputs.write(stage, task, "rows", {"row": rows, "vectors": np.concatenate(parts)})
    return Picked(file), [file.entry.path]
