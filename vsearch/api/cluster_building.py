"""Builds on a dask cluster: arguments are checked and described as a job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vsearch.api.sources import source_options
from vsearch.building.inputs.dask_collections import is_collection
from vsearch.building.inputs.prefix_files import is_url
from vsearch.cluster.collections import has_files, written_collection
from vsearch.cluster.engines import DaskEngine, open_engine
from vsearch.cluster.job import Columns, Job, JobOptions
from vsearch.cluster.running import Progress, build_job, describe_job, refuse_existing
from vsearch.errors import InputError
from vsearch.quantizers.pq import PQ

if TYPE_CHECKING:
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.building.training import BuildOptions
    from vsearch.storage import Manifest, Store


def build_on_cluster(
    store: Store,
    source: object,
    arguments: InputArguments,
    options: BuildOptions,
    *,
    client: object,
    texts: Mapping[str, object],
    ttl: str | None,
    storage: Mapping[str, object],
    source_storage: Mapping[str, object] | None,
    overwrite: bool,
    progress: Progress,
) -> Manifest:
    """Build an index by many tasks; see `vsearch.build` for the parameters.

    Raises
    ------
    InputError
        An argument is only for builds in one process, or is invalid.
    """
    for name, value in texts.items():
        if value is not None:
            raise InputError(f"{name} is not available with client=; build in one process, or embed texts first")
    columns, described = columns_of(arguments), job_options(options, ttl)

    def run(job: Job, of_source: Mapping[str, object], engine: DaskEngine) -> Manifest:
        return build_job(
            store, job, engine, storage=storage, source_storage=of_source, overwrite=overwrite, progress=progress
        )

    if is_collection(source):
        check_no_storage(source_storage)
        if not overwrite and not has_files(store, source):
            refuse_existing(store)
        with (
            open_engine(client) as engine,
            written_collection(store, source, engine, storage, progress, columns.vectors) as where,
        ):
            return run(describe_job(where, storage, described, store.url, columns=columns), storage, engine)
    where = absolute_source(source, source_storage)
    of_source = source_options(where, store.url, source_storage, storage)
    job = describe_job(where, of_source, described, store.url, columns=columns)
    with open_engine(client) as engine:
        return run(job, of_source, engine)


def absolute_source(source: object, source_storage: Mapping[str, object] | None) -> str:
    """Return the URL or absolute path of files that every worker can read.

    Raises
    ------
    InputError
        The source is something else, or has storage options without being a URL.
    """
    if not isinstance(source, (str, os.PathLike)):
        msg = (
            "with client= the embeddings must be a URL or path of files that every worker can read, or a dask DataFrame or bag, got "
            f"{type(source).__name__}; write it to Parquet files first"
        )
        raise InputError(msg)
    where = source if isinstance(source, str) and is_url(source) else str(Path(source).expanduser().absolute())
    if "://" not in where:
        check_no_storage(source_storage)
    return where


def check_no_storage(source_storage: Mapping[str, object] | None) -> None:
    """Refuse storage options for a source without a URL."""
    if source_storage is not None:
        raise InputError("source_storage is only for embeddings given by a URL")


def columns_of(arguments: InputArguments) -> Columns:
    """Return the columns of a job's source.

    Raises
    ------
    InputError
        Ids or attributes are not names of columns, or an option is only for one process.
    """
    if arguments.packed or arguments.missing != "error":
        raise InputError(f"{'packed' if arguments.packed else 'missing'} is not available with client=")
    ids, attributes = arguments.id if arguments.id is not None else arguments.ids, arguments.attributes
    if ids is not None and not isinstance(ids, str):
        raise InputError(f"with client= ids must name a column of the embeddings' files, got {type(ids).__name__}")
    if attributes is None:
        return Columns(arguments.vectors, ids)
    if not isinstance(attributes, (list, tuple)) or not all(isinstance(name, str) for name in attributes):
        raise InputError(
            f"with client= attributes must name columns of the embeddings' files, got {type(attributes).__name__}"
        )
    return Columns(arguments.vectors, ids, tuple(attributes))


def job_options(options: BuildOptions, ttl: str | None) -> JobOptions:
    """Return the options of a build as a job stores them.

    Raises
    ------
    InputError
        The quantizer is an instance of another class than `PQ`.
    """
    if options.spill == "auto":
        raise InputError('spill="auto" is not available with client=; pass True or False')
    quantizer = options.quantizer
    parts = None
    if not isinstance(quantizer, str):
        if not isinstance(quantizer, PQ):
            raise InputError(f"quantizer={type(quantizer).__name__} is not available with client=; pass a name or a PQ")
        parts = (int(quantizer.subquantizers), int(quantizer.centroids), bool(quantizer.rotation))
        quantizer = ""
    return JobOptions(
        options.metric,
        quantizer,
        float(options.bits),
        options.rerank,
        None if options.partitions is None else int(options.partitions),
        None if options.shards is None else int(options.shards),
        options.seed,
        ttl,
        parts,
        bool(options.spill),
    )
