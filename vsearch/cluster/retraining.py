"""Retraining in many tasks: the stages of a build, whose source is the index itself, then the commit of a retraining."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.building.inputs.prefix_files import FilesPlan
from vsearch.building.steps import BATCH_ROWS, training_rows
from vsearch.cluster.context import Context, Place, open_context
from vsearch.cluster.job import Based, Job, Plan, Tuned
from vsearch.cluster.outputs import Outputs, refuse_missing
from vsearch.cluster.running import Engine, Progress, run_stage, stages_of_rows
from vsearch.cluster.shard_steps import untuned_manifest
from vsearch.errors import ConflictError, CorruptIndexError, InputError
from vsearch.live.commits import Commit, commit_change, newest_of
from vsearch.live.retraining import Retrain, check_retrainable
from vsearch.search.engine.rows import matching_rows
from vsearch.search.state.expiry import present
from vsearch.search.state.model_reading import training_of
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage.snapshots.manifest import encode_manifest

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot


def retrain_by_job(
    snapshot: Snapshot,
    job: Job,
    engine: Engine,
    *,
    storage: Mapping[str, Any],
    progress: Progress,
) -> tuple[Commit, Snapshot]:
    """Retrain an index in many tasks, or resume that, and commit it.

    Raises
    ------
    InputError
        The index has no rows, does not store its vectors, or an option does not fit it.
    ConflictError
        The index was rebuilt or retrained in the meantime, or objects of the job were removed.
    """
    store = snapshot.store
    outputs = Outputs(store, job.id)
    training = training_of(snapshot.manifest)
    attempt = outputs.begin(job)
    place = Place(store.url, dict(storage), {}, job.id, attempt.generation)
    start = 0
    try:
        snapshot = newest_of(snapshot)
        if not outputs.has("base"):
            _require(snapshot, training)
            _begin(outputs, snapshot)
        context = open_context(place)
        start = context.base(0)[0].snapshot
        done = outputs.committed(start)
        if done is None:
            _require(snapshot, training)
            if not outputs.has("plan"):
                _plan(context, outputs)
            commit, snapshot = _retrain(context, snapshot, outputs, engine, place, progress)
            outputs.clear()
            return commit, snapshot
    except InputError:
        outputs.clear()
        raise
    except (FileNotFoundError, CorruptIndexError, ConflictError) as error:
        done = outputs.committed(start)  # another run of the job finished first and removed its objects
        if done is None:
            if isinstance(error, ConflictError):
                outputs.clear()
            refuse_missing(error, store, "retraining", "a prune or another run removed them; retrain again")
            raise
    outputs.clear()
    return Commit(done), newest_of(snapshot)


def _require(snapshot: Snapshot, training: dict[str, str]) -> None:
    if training_of(snapshot.manifest) != training:
        raise ConflictError(f"{snapshot.store.url}: the index was retrained in the meantime; open it again and retry")


def _begin(outputs: Outputs, snapshot: Snapshot) -> None:
    """Record the rows that are trained on."""
    positions = matching_rows(present(snapshot), None)
    check_retrainable(snapshot, None, len(positions))
    training_rows(len(positions), snapshot.manifest.dimensions, outputs.begun().job.options.build_options())
    file = outputs.write("base", 0, "positions", {"positions": np.asarray(positions, np.int64)})
    based = Based(snapshot.manifest.snapshot, encode_manifest(snapshot.manifest), positions=file)
    outputs.finish("base", 0, based, [file.entry.path])


def _plan(context: Context, outputs: Outputs) -> None:
    """Record how the rows are divided, as recorded by this run or another one."""
    based, snapshot = context.base(0)
    manifest = snapshot.manifest
    batches = max(1, context.job.chunk_bytes // (manifest.dimensions * 4) // BATCH_ROWS)
    plan = Plan(
        files=FilesPlan("", (), (0, 0 if based.positions is None else based.positions.entry.rows)),
        vectors=None,
        id="id",
        attributes=tuple(snapshot.schema.names) or None,
        id_kind="string" if manifest.id_type == "string" else "int64",
        dimensions=manifest.dimensions,
        dtype="float32",
        chunk_rows=batches * BATCH_ROWS,
        buckets=0,
        warnings=(),
    )
    outputs.finish("plan", 0, plan, ())


def _retrain(
    context: Context, snapshot: Snapshot, outputs: Outputs, engine: Engine, place: Place, progress: Progress
) -> tuple[Commit, Snapshot]:
    for stage, numbers in stages_of_rows(context):
        run_stage(outputs, engine, place, stage, numbers, progress)
    based, start = context.base(0)
    manifest = msgspec.structs.replace(
        untuned_manifest(context, uuid.uuid4().hex),
        settings=outputs.read(Tuned, "tune").settings,
        id_type=start.manifest.id_type,
    )
    positions = np.empty(0, np.int64)
    if based.positions is not None:
        positions = outputs.arrays(based.positions)["positions"]
    built = open_snapshot(outputs.store, manifest)
    return commit_change(snapshot, Retrain(start, positions, built), check=True)
