"""Builds on a dask cluster: arguments are checked and described as a job."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vsearch.api.sources import source_options
from vsearch.api.text_building import check_text_arguments
from vsearch.building.inputs.dask_collections import is_collection
from vsearch.building.inputs.prefix_files import is_url
from vsearch.building.inputs.unusable import check_policy
from vsearch.cluster.collections import has_files, written_collection
from vsearch.cluster.encoding_results import Texts
from vsearch.cluster.engines import DaskEngine, open_engine
from vsearch.cluster.job import Columns, Job, JobOptions
from vsearch.cluster.leg_parts import describe_legs
from vsearch.cluster.running import Progress, build_job, describe_job, refuse_existing
from vsearch.encoders.loading import load_with_files
from vsearch.errors import InputError
from vsearch.multivector.reduction import check_reduction
from vsearch.multivector.training import DocumentOptions
from vsearch.quantizers.pq import PQ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vsearch.building.inputs.rows import InputArguments
    from vsearch.building.training import BuildOptions
    from vsearch.encoders.encoder import TextEncoder
    from vsearch.storage import Manifest, Store

_ADVICE = {"spool": ": vectors of texts are kept in the store of the index"}
"""What to do about an option, if it is not to build in one process."""


def build_on_cluster(
    store: Store,
    source: object,
    arguments: InputArguments,
    options: BuildOptions,
    *,
    client: object,
    text_column: str | None,
    encoder: TextEncoder | str | os.PathLike[str] | None,
    text: object | None,
    sparse: object | None,
    more: Mapping[str, object],
    ttl: str | None,
    storage: Mapping[str, object],
    source_storage: Mapping[str, object] | None,
    overwrite: bool,
    progress: Progress,
) -> Manifest:
    """Build an index by many tasks; see `vsearch.build` for the parameters.

    Parameters
    ----------
    more : mapping
        Options that only a build in one process has, by name.

    Raises
    ------
    InputError
        An argument is only for builds in one process, or is invalid.
    """
    if options.bitwise:
        raise InputError("metric='hamming' is not available with client=; build in one process")
    for name, value in more.items():
        if value is not None:
            raise InputError(f"{name} is not available with client={_ADVICE.get(name, '; build in one process')}")
    if sparse is not None and not isinstance(sparse, str):
        raise InputError(
            f"with client= sparse must name a column of the embeddings' files, got {type(sparse).__name__}"
        )
    texts, files = None, None
    if text_column is not None or encoder is not None:
        texts, files = _describe_texts(*check_text_arguments(text_column, encoder, arguments), arguments.missing)
    return _build(
        store,
        source,
        columns_of(arguments, texts=texts is not None),
        job_options(options, ttl),
        client=client,
        storage=storage,
        source_storage=source_storage,
        overwrite=overwrite,
        progress=progress,
        encoder=files,
        texts=texts,
        legs=describe_legs(text, sparse),
    )


def build_documents_on_cluster(
    store: Store,
    source: object,
    arguments: InputArguments,
    options: DocumentOptions,
    *,
    client: object,
    more: Mapping[str, object],
    storage: Mapping[str, object],
    source_storage: Mapping[str, object] | None,
    overwrite: bool,
    progress: Progress,
) -> Manifest:
    """Build an index of multi-vector documents by many tasks; see `vsearch.build_documents` and `build_on_cluster`.

    Raises
    ------
    InputError
        An argument is only for builds in one process, or is invalid.
    """
    from vsearch.cluster.description import build_division

    for name, value in more.items():
        if value is not None:
            raise InputError(f"{name} is not available with client=; build documents with it in one process")
    check_policy(arguments.missing)
    check_reduction(options.keep, options.pool, saliency=False)
    shards = None if options.shards is None else int(options.shards)
    return _build(
        store,
        source,
        columns_of(arguments, texts=True),
        JobOptions("ip", "osq", float(options.bits), None, None, shards, int(options.seed)),
        client=client,
        storage=storage,
        source_storage=source_storage,
        overwrite=overwrite,
        progress=progress,
        documents=DocumentOptions(
            float(options.keep),
            None if options.pool is None else float(options.pool),
            int(options.codebook),
            int(options.residual_bits),
            bool(options.binary),
            options.candidates,
            int(options.dimensions),
            float(options.bits),
            options.store,
            shards,
            int(options.seed),
        ),
        document_rows=build_division().documents_per_task,
        missing=arguments.missing,
    )


def _build(
    store: Store,
    source: object,
    columns: Columns,
    options: JobOptions,
    *,
    client: object,
    storage: Mapping[str, object],
    source_storage: Mapping[str, object] | None,
    overwrite: bool,
    progress: Progress,
    encoder: Mapping[str, NDArray[np.uint8]] | None = None,
    **fields: object,
) -> Manifest:
    """Describe a job, with further `fields`, and run it."""

    def describe(where: str, of_source: Mapping[str, object]) -> Job:
        return describe_job(where, of_source, options, store.url, columns=columns, **fields)

    def run(job: Job, of_source: Mapping[str, object], engine: DaskEngine) -> Manifest:
        return build_job(
            store,
            job,
            engine,
            storage=storage,
            source_storage=of_source,
            overwrite=overwrite,
            progress=progress,
            encoder=encoder,
        )

    if is_collection(source):
        check_no_storage(source_storage)
        if not overwrite and not has_files(store, source):
            refuse_existing(store)
        lists = not (fields.get("texts") or fields.get("documents"))
        with (
            open_engine(client) as engine,
            written_collection(store, source, engine, storage, progress, columns.vectors, check_lists=lists) as where,
        ):
            return run(describe(where, storage), storage, engine)
    location = absolute_source(source, source_storage)
    of_source = source_options(location, store.url, source_storage, storage)
    job = describe(location, of_source)
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


def _describe_texts(
    column: str, encoder: TextEncoder | str | os.PathLike[str], missing: str
) -> tuple[Texts, dict[str, NDArray[np.uint8]]]:
    """Describe the texts of a job, and read the files of the encoder."""
    from vsearch.cluster.description import build_division

    opened, files = load_with_files(encoder)
    digest = hashlib.blake2b(digest_size=16)
    for name, data in sorted(files.items()):
        digest.update(f"{name}\0{len(data)}\0".encode())
        digest.update(data.data)
    return Texts(column, digest.hexdigest(), opened.dimensions, missing, build_division().texts_per_task), files


def columns_of(arguments: InputArguments, *, texts: bool = False) -> Columns:
    """Return the columns of a job's source, which consists of vectors or texts.

    Raises
    ------
    InputError
        Ids or attributes are not names of columns, or an option is only for one process.
    """
    if arguments.packed or (arguments.missing != "error" and not texts):
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
        options.stored_metric,
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
