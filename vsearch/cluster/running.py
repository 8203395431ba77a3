"""Run a job: its stages in order, then the commit. Tasks that are already done are skipped."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from vsearch.building.inputs.prefix_files import changed_file, list_files, source_store
from vsearch.cluster.context import Context, Place, open_context
from vsearch.cluster.document_steps import encoding_tasks
from vsearch.cluster.job import Divided, Job, JobOptions, Tuned
from vsearch.cluster.outputs import Outputs, refuse_missing
from vsearch.cluster.shard_steps import untuned_manifest
from vsearch.cluster.tasks import Task, run_task
from vsearch.cluster.text_steps import store_encoder
from vsearch.errors import ConflictError, CorruptIndexError, IndexExistsError, InputError, VsearchError, VsearchWarning
from vsearch.storage import Manifest, Store, commit, probe, read_manifest, snapshot_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
"""Called with the stage, the amount done and the total."""


class Engine(Protocol):
    """Runs tasks that are independent of each other."""

    def run(self, task: Task, stage: str, numbers: Sequence[int]) -> Iterator[VsearchError | None]:
        """Run the tasks of a stage and yield the result of each as it is done; `task` can be sent to other processes."""


def build_job(
    store: Store,
    job: Job,
    engine: Engine,
    *,
    storage: Mapping[str, Any],
    source_storage: Mapping[str, Any],
    overwrite: bool,
    progress: Progress,
    encoder: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Manifest:
    """Run a job, or resume it, and commit the index.

    Parameters
    ----------
    store : Store
        Store of the index.
    storage, source_storage : mapping
        Options of the stores of the index and of the source, for the workers.
    encoder : mapping, optional
        Files of the encoder, if the job encodes texts.

    Raises
    ------
    IndexExistsError
        The store contains another index, and `overwrite` is false.
    ConflictError
        Another build committed first and `overwrite` is false, or the job's objects were removed.
    InputError
        The input is invalid; no files are left behind.
    """
    outputs = Outputs(store, job.id)
    base = max(snapshot_numbers(store), default=0)
    if base and not overwrite:
        number = outputs.committed(0) if outputs.done() else None  # an earlier run died after the commit
        if number is None:
            refuse_existing(store)
        outputs.clear()
        return read_manifest(store, number)
    probe(store)
    attempt = outputs.begin(job)
    place = Place(store.url, dict(storage), dict(source_storage), job.id, attempt.generation)
    try:
        if encoder is not None:
            store_encoder(outputs, encoder)
        context = open_context(place)
        for stage, numbers in _stages(context):
            run_stage(outputs, engine, place, stage, numbers, progress)
            if stage == "plan":
                for message in context.plan.warnings:
                    warnings.warn(message, VsearchWarning, stacklevel=2)
            elif stage == "exchange":  # the last stage that reads the source
                check_unchanged(context)
        manifest = _commit(store, outputs, context, base, overwrite=overwrite)
    except InputError:
        outputs.clear()
        raise
    except (FileNotFoundError, CorruptIndexError, ConflictError) as error:
        number = outputs.committed(base)  # another run of the job finished first and removed its objects
        if number is None:
            refuse_missing(error, store, "build", "a prune or another build removed them; build again")
            raise
        manifest = read_manifest(store, number)
    outputs.clear()
    return manifest


def refuse_existing(store: Store) -> None:
    """Raise IndexExistsError if a store contains an index."""
    if any(snapshot_numbers(store)):
        msg = f"{store.url} already contains an index; pass overwrite=True to replace it, or choose another location"
        raise IndexExistsError(msg)


def describe_job(source: str, storage: Mapping[str, Any], options: JobOptions, index: str = "", **fields: Any) -> Job:
    """List the files of a source and describe the job that builds an index from them.

    Parameters
    ----------
    source : str
    storage : mapping
    options : JobOptions
    index : str
        URL of the index.
    **fields
        Fields of `Job`.

    Raises
    ------
    InputError
        There are no files, or the index would be stored among them.
    """
    from vsearch._version import __version__
    from vsearch.cluster.description import build_division

    store, name = source_store(source, storage)
    if name is None and f"{index.rstrip('/')}/".startswith(f"{store.url.rstrip('/')}/"):
        msg = f"{index} lies in {store.url}, where the index's own files would count as embeddings; choose another location"
        raise InputError(msg)
    division = build_division()
    counts = {
        "files_per_task": division.files_per_task,
        "chunk_bytes": division.chunk_bytes,
        "bucket_rows": division.bucket_rows,
    }
    files = list_files(store, name)
    return Job(__version__, store.url, files, options=options, **{**counts, **fields})


def _stages(context: Context) -> Iterator[tuple[str, range]]:
    """Yield the stages with the numbers of their tasks; results of earlier stages are read as needed."""
    job = context.job
    yield "files", range(-(-len(job.files) // job.files_per_task))
    if job.documents is not None:
        yield "documents", range(1)
        tasks = -(-context.draft_plan.files.rows // job.document_rows)
        yield "reduce", range(tasks)
        yield "number", range(1)
        yield "draw", range(tasks)
        yield "codec", range(1)
        yield "embed", range(encoding_tasks(context.documents.numbered))
        yield "plan", range(1)
    elif job.texts is None:
        yield "plan", range(1)
    else:
        yield "texts", range(1)
        yield "embed", range(-(-context.draft_plan.files.rows // job.texts.task_rows))
        yield "plan", range(1)
        yield "attach", range(1)
    yield from stages_of_rows(context)


def stages_of_rows(context: Context) -> Iterator[tuple[str, range]]:
    """Yield the stages of a job whose rows are planned, with the numbers of their tasks."""
    chunks = context.plan.chunks
    yield "sample", range(chunks)
    yield "train", range(1)
    yield "assign", range(chunks)
    yield "ids", range(context.plan.buckets)
    yield "split", range(1)
    rounds = 0
    while context.outputs.read(Divided, "split", rounds).oversize:
        yield "gather", range(rounds * chunks, (rounds + 1) * chunks)
        rounds += 1
        yield "split", range(rounds, rounds + 1)
    yield "deal", range(1)
    yield "exchange", range(chunks)
    if context.job.legs is not None and context.job.legs.sparse is not None:
        yield "weights", range(1)
    yield "shard", range(context.dealt.shards)
    yield "tune", range(1)


def run_stage(
    outputs: Outputs, engine: Engine, place: Place, stage: str, numbers: Sequence[int], progress: Progress
) -> None:
    """Run the tasks of a stage that are not yet done; raises the first error that a task returns."""
    records = outputs.done()
    left = [number for number in numbers if outputs.record(stage, number) not in records]
    done = len(numbers) - len(left)
    progress(stage, done, len(numbers))
    for error in engine.run(partial(run_task, place, stage), stage, left) if left else ():
        if error is not None:
            raise error
        done += 1
        progress(stage, done, len(numbers))


def check_unchanged(context: Context) -> None:
    """Refuse a source that changed while tasks read it."""
    path = changed_file(context.source, context.job.files)
    if path is not None:
        msg = f"{context.job.source}/{path}: changed or was removed while it was read; build again when it is complete"
        raise InputError(msg)


def _commit(store: Store, outputs: Outputs, context: Context, base: int, *, overwrite: bool) -> Manifest:
    number = outputs.committed(base)
    if number is not None:
        return read_manifest(store, number)
    # Its own writer: if the commit fails, only files of that name are removed, and the job can resume.
    manifest = untuned_manifest(context, uuid.uuid4().hex)
    manifest = msgspec.structs.replace(manifest, settings=outputs.read(Tuned, "tune").settings)
    if overwrite:
        return commit(store, manifest, insist=True)
    try:
        return commit(store, manifest, base=0)
    except ConflictError as error:
        msg = (
            f"{store.url}: another index was committed there during the build; repeat it with overwrite=True to replace that "
            "index (only the commit is left to do), or choose another location and prune the leftovers"
        )
        raise ConflictError(msg) from error
