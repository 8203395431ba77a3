"""Changes of an open index on a dask cluster: arguments are checked and described as jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from vsearch._version import __version__
from vsearch.api.cluster_building import absolute_source, check_no_storage, columns_of, job_options
from vsearch.api.sources import source_options
from vsearch.building.inputs.dask_collections import is_collection
from vsearch.cluster.appending import append_job
from vsearch.cluster.collections import written_collection
from vsearch.cluster.description import build_division
from vsearch.cluster.engines import DaskEngine, open_engine
from vsearch.cluster.job import Columns, Job, JobOptions
from vsearch.cluster.merge_steps import FORCE
from vsearch.cluster.optimizing import optimize_by_job, tune_by_job
from vsearch.cluster.retraining import retrain_by_job
from vsearch.cluster.running import Progress, describe_job
from vsearch.errors import InputError
from vsearch.live.commits import check_call
from vsearch.live.maintenance import maintain
from vsearch.search.state.model_reading import training_of
from vsearch.storage.snapshots.upgrading import origin_of
from vsearch.storage.stores.opening import reopening_options

if TYPE_CHECKING:
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.building.training import BuildOptions
    from vsearch.live.commits import Commit
    from vsearch.live.optimizing import OptimizeReport
    from vsearch.live.time_limits import TimeLimit
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.storage import Manifest


def append_on_cluster(
    snapshot: Snapshot,
    source: object,
    arguments: InputArguments,
    *,
    client: object,
    storage: Mapping[str, object] | None,
    source_storage: Mapping[str, object] | None,
    token: str | None,
    if_snapshot: int | None,
    progress: Progress,
) -> tuple[Commit, Snapshot]:
    """Append rows by many tasks; see `vsearch.Index.append` for the parameters.

    Raises
    ------
    InputError
        An argument is only for appends in one process, or is invalid.
    """
    check_call(token, if_snapshot)
    if snapshot.model.bitwise:
        raise InputError("appending vectors of bits (metric hamming) is not available with client=; append without it")
    manifest, store = snapshot.manifest, snapshot.store
    if manifest.documents is not None:
        raise InputError("client is not available for an index of multi-vector documents; append in one process")
    columns, options = columns_of(arguments), worker_options(snapshot, storage)

    def describe(where: str, of_source: Mapping[str, object]) -> Job:
        return describe_job(
            where,
            of_source,
            _unused_options(manifest),
            store.url,
            columns=columns,
            kind="append",
            subject=(origin_of(manifest), token or ""),
            known=tuple(attribute.name for attribute in manifest.attributes),
        )

    def run(job: Job, of_source: Mapping[str, object], engine: DaskEngine) -> tuple[Commit, Snapshot]:
        return append_job(
            snapshot,
            job,
            engine,
            storage=options,
            source_storage=of_source,
            token=token,
            if_snapshot=if_snapshot,
            progress=progress,
        )

    if is_collection(source):
        check_no_storage(source_storage)
        with (
            open_engine(client) as engine,
            written_collection(store, source, engine, options, progress, columns.vectors) as where,
        ):
            return run(describe(where, options), options, engine)
    where = absolute_source(source, source_storage)
    of_source = source_options(where, store.url, source_storage, options)
    job = describe(where, of_source)
    with open_engine(client) as engine:
        return run(job, of_source, engine)


def optimize_on_cluster(
    snapshot: Snapshot,
    budget_seconds: float | None,
    *,
    retune: bool | str,
    force: bool,
    client: object,
    storage: Mapping[str, object] | None,
    progress: Progress | None,
) -> tuple[OptimizeReport, Snapshot]:
    """Optimize an index by many tasks; see `vsearch.Index.optimize` for the parameters."""
    options = worker_options(snapshot, storage)
    manifest = snapshot.manifest

    def job(*subject: str) -> Job:
        return _job_of_index("optimize", _unused_options(manifest), (origin_of(manifest), *subject))

    with open_engine(client) as engine:

        def merge(
            now: Snapshot, *, force: bool, progress: Progress, limit: TimeLimit
        ) -> tuple[OptimizeReport, Snapshot]:
            forced_job = job(FORCE) if force else job()
            return optimize_by_job(now, forced_job, engine, storage=options, progress=progress, limit=limit)

        def tune(now: Snapshot) -> Snapshot:
            return tune_by_job(now, job("tune", str(now.manifest.snapshot)), engine, storage=options)

        return maintain(snapshot, budget_seconds, retune=retune, force=force, progress=progress, merge=merge, tune=tune)


def retrain_on_cluster(
    snapshot: Snapshot,
    options: BuildOptions,
    *,
    client: object,
    storage: Mapping[str, object] | None,
    progress: Progress,
) -> tuple[Commit, Snapshot]:
    """Retrain an index by many tasks; see `vsearch.Index.retrain` for the parameters."""
    manifest = snapshot.manifest
    training = sorted(training_of(manifest).values())
    job = _job_of_index("retrain", job_options(options, None), (origin_of(manifest), *training))
    with open_engine(client) as engine:
        return retrain_by_job(snapshot, job, engine, storage=worker_options(snapshot, storage), progress=progress)


def _job_of_index(kind: str, options: JobOptions, subject: tuple[str, ...]) -> Job:
    """Return a job whose source is the index itself."""
    division = msgspec.structs.asdict(build_division())
    for name in ("retries", "texts_per_task", "documents_per_task"):
        division.pop(name)
    return Job(__version__, "", (), Columns(), options, **division, kind=kind, subject=subject)


def worker_options(snapshot: Snapshot, storage: Mapping[str, object] | None) -> dict[str, object]:
    """Options with which workers open the store of an index: those passed, or those it was opened with, without keys."""
    return dict(storage) if storage is not None else reopening_options(snapshot.store)


def _unused_options(manifest: Manifest) -> JobOptions:
    """Options of a job that trains nothing."""
    return JobOptions(manifest.metric, manifest.quantizer.name, 1.0, manifest.rerank, None, None, manifest.seed)
