"""The facade: build an index, open it, and look after it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec

from vsearch.api.index import Index
from vsearch.checks import check_search, is_number
from vsearch.errors import InputError
from vsearch.search.defaults import tune_defaults
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import (
    GRACE,
    PruneReport,
    Store,
    VerifyReport,
    open_store,
)
from vsearch.storage import prune as prune_store
from vsearch.storage import verify as verify_store
from vsearch.storage.snapshots.finding import find_snapshot, moment_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    from datetime import datetime

    from vsearch.building.plan import BuildPlan
    from vsearch.quantizers.pq import PQ

Progress = Callable[[str, int, int], None]


def build(
    embeddings: object,
    url: str | os.PathLike[str],
    attributes: object | None = None,
    ids: object | None = None,
    *,
    vectors: str | None = None,
    id: str | None = None,
    missing: str = "error",
    packed: bool = False,
    metric: str = "cosine",
    quantizer: str | PQ = "osq",
    bits: float = 1.0,
    rerank: str | None = "auto",
    partitions: int | None = None,
    shards: int | None = None,
    seed: int = 0,
    ttl: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **storage: object,
) -> Index:
    """Build an index and open it.

    Parameters
    ----------
    embeddings : array, table, path, or iterable of batches
        Vectors (n, d) of floats or integers. A path may be ``.npy .fvecs .bvecs .fbin .u8bin .parquet .arrow .hdf5``, or a
        folder, a glob or a list of Parquet files; what is larger than memory is streamed. A table (such a file, a pandas or
        polars frame, a pyarrow table or reader) has the vectors as lists in one column; its others become the attributes.
    url : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    attributes : pyarrow.Table, pandas or polars frame, path to Parquet or CSV, or list of names, optional
        One row per vector; what predicates filter on. Names choose columns of the embeddings' own table. Columns of types
        that no predicate can use are left out with a `VsearchWarning`.
    ids : array or list of int64, str or UUID, or the name of an attribute, optional
        Unique; row numbers where none are given.
    vectors : str, optional
        The column of vectors in a table; needed where several could be it.
    id : str, optional
        The column of ids in a table.
    missing : {"error", "skip"}
        What to do about rows whose vector is NULL, of another length, or holds NaN or infinity. "skip" leaves them out, their
        attributes and ids too, and under cosine also vectors of zeros; `Index.info` says how many were skipped.
    packed : bool
        Vectors hold bits, eight to a byte of uint8 or int8, as embedding services give binary embeddings. Each bit counts as
        +1 or -1; queries go through `vsearch.unpack_bits`.
    metric : {"cosine", "ip", "l2"}
    quantizer : {"osq", "osq-lloyd", "pq"} or PQ
        "pq" takes 256 centroids, OPQ rotation and as many sub-quantizers as `bits` allows; `vsearch.PQ` says more.
    bits : float
        Average bits per dimension of the codes that are scanned, 0.25 to 8.
    rerank : {"auto", "int8", "float16", "float32"} or None
        What the best candidates are scored with; with None scores are estimates. "auto" is "int8", but None for PQ,
        whose training (`vsearch.jpq`) exact scores would undo.
    partitions, shards : int, optional
        Defaults follow from the number of rows.
    seed : int
        The same input, options and seed give the same index.
    ttl : str, optional
        The attribute that says until when each row lives: a timestamp, a date (until it begins, in UTC) or an integer, seconds
        since 1970. From then on no search finds the row, and `Index.optimize` removes it. Rows without a value stay.
    overwrite : bool
        Replace an index that is there: a new snapshot, the old one stays readable until it is pruned.
    progress : callable, optional
        Told ``(stage, done, total)``.
    **storage
        ``endpoint``, ``region``, ``profile``, ``anonymous``... for object stores; see `vsearch.open`.

    Raises
    ------
    InputError
        The input or an option is not usable; nothing was written that a reader sees.
    IndexExistsError
        There is an index and `overwrite` is false.
    """
    from vsearch.building.inputs.rows import Given
    from vsearch.building.pipeline import build_index
    from vsearch.building.training import BuildOptions
    from vsearch.live.attributes import with_ttl

    given = Given(attributes, ids, vectors, id, missing, packed)
    options = BuildOptions(metric, quantizer, bits, rerank, partitions, shards, seed)  # type: ignore[arg-type]
    store = open_store(url, **storage)
    report = progress or _silent
    manifest = build_index(
        store,
        embeddings,
        given=given,
        options=options,
        overwrite=overwrite,
        tune_defaults=lambda made: _tune_defaults(store, made if ttl is None else with_ttl(made, ttl), report),
        progress=report,
        ttl=ttl,
    )
    return Index(open_snapshot(store, manifest))


def _tune_defaults(store: Store, manifest: Any, report: Progress) -> Any:
    """Default settings of an index that is written but not committed."""
    report("tune", 0, 1)
    settings = tune_defaults(open_snapshot(store, manifest))
    report("tune", 1, 1)
    return msgspec.structs.replace(manifest, settings=settings.to_entry())


def build_documents(
    vectors: object,
    offsets: object | None,
    out: str | os.PathLike[str],
    *,
    column: str | None = None,
    id: str | None = None,
    missing: str = "error",
    saliency: object | None = None,
    keep: float = 1.0,
    pool: float | None = None,
    codebook: int = 256,
    residual_bits: int = 2,
    binary: bool = False,
    candidates: str = "fde",
    dimensions: int = 1024,
    bits: float = 1.0,
    store: str | None = None,
    attributes: object | None = None,
    ids: object | None = None,
    shards: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    **storage: object,
) -> Index:
    """Build an index of documents of many vectors each, for late interaction (MaxSim), and open it.

    Parameters
    ----------
    vectors
        With `offsets`: all vectors end to end, as `build` takes them. With None: a list or iterable of one matrix per
        document, a padded block (documents, vectors, dimensions), a table or file with a list of vectors in each row, or
        what a multi-vector encoder returns. Inner products are taken of them as they are.
    offsets : int array (documents + 1,) or path to ``.npy``, or None
    out : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    column, id : str, optional
        Columns of a table: that of the documents' vectors, needed where several could be it, and that of their ids. The
        others become the attributes.
    missing : {"error", "skip"}
        What to do about documents without vectors, or with one that is NULL, of another length than the first document's, or
        holds NaN or infinity. "skip" leaves them out, their attributes, ids and saliency too; `Index.info` says how many.
    saliency : array (vectors,), one array per document, or path, optional
        How much each vector matters, such as the attention it received. It is not stored.
    keep : float
        Share of each document's vectors that stay, the most salient ones.
    pool : float, optional
        Merge near vectors of a document, so many to one on average.
    codebook : int
        Centroids: up to 256 take one byte per vector, up to 65,536 two.
    residual_bits : {0, 1, 2, 4}
        Average bits per dimension of what the centroid leaves over.
    binary : bool
        Compare the numbers of centroids by Hamming distance, without residual bits.
    candidates : {"fde", "lists"}
        How candidates are found: by fixed-dimensional encodings, or by inverted lists over centroids.
    dimensions, bits
        Of the encodings that stand for documents in the ordinary part of the index.
    store : {"float16", "float32"} or None
        Keep the vectors too, for `search_documents(exact=True)`.
    attributes, ids, shards, seed, overwrite, progress, **storage
        As `build` takes them, with one row per document.

    Raises
    ------
    InputError
        Offsets that do not ascend, an empty document, widths that differ, NaN, a saliency of the wrong length, or an option
        that is not usable; nothing was written that a reader sees.
    IndexExistsError
        There is an index and `overwrite` is false.
    """
    from vsearch.building.inputs.rows import Given
    from vsearch.multivector.build import DocumentOptions, build_document_index

    options = DocumentOptions(
        keep, pool, codebook, residual_bits, binary, candidates, dimensions, bits, store, shards, seed
    )
    where, report = open_store(out, **storage), progress or _silent
    manifest = build_document_index(
        where,
        vectors,
        offsets,
        saliency=saliency,
        given=Given(attributes, ids, column, id, missing),
        options=options,
        overwrite=overwrite,
        tune_defaults=lambda made, queries: _tune_document_defaults(where, made, queries, report),
        progress=report,
    )
    return Index(open_snapshot(where, manifest))


def _tune_document_defaults(store: Store, manifest: Any, queries: Any, report: Progress) -> Any:
    """Default settings of a document index that is written but not committed."""
    from vsearch.multivector.tuning import tune_encodings

    report("tune", 0, 1)
    snapshot = open_snapshot(store, manifest)
    settings = tune_encodings(snapshot, queries)
    report("tune", 1, 1)
    return msgspec.structs.replace(manifest, settings=settings.to_entry())


def plan(embeddings: object, attributes: object | None = None, **options: Any) -> BuildPlan:
    """Predict size, memory and time of a build without doing it; takes what `build` takes.

    Raises
    ------
    InputError
        The input or an option is not usable.
    """
    from vsearch.building.plan import plan_build

    return plan_build(embeddings, attributes, **options)


def open(
    url: str | os.PathLike[str],
    snapshot: int | None = None,
    *,
    refresh: float | None = None,
    tag: str | None = None,
    as_of: datetime | str | None = None,
    create: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    **storage: object,
) -> Index:
    """Open an index for searching; reads the manifest and headers only.

    Parameters
    ----------
    url : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``; or ``lambda://stack`` or ``local-faas://stack``, which gives a
        `vsearch.RemoteIndex`, searched by the functions of a stack.
    snapshot : int, optional
        Which one; the newest by default.
    refresh : float, optional
        Look for a newer snapshot before a search when so many seconds have passed since the last look. By default the index
        stays with the snapshot that it opened, until it is changed through it or `Index.refresh` is called.
    tag : str, optional
        The snapshot that `Index.tag` gave this name.
    as_of : datetime or ISO 8601 text, optional
        The snapshot that was the newest at a time; in UTC where it names no zone.
    create : mapping, optional
        What `vsearch.create` takes, with ``dimensions``: the index is created so where there is none.
    timeout : float, optional
        Seconds that opening may take; each search has one of its own.
    **storage
        For S3: ``endpoint``, ``region``, ``profile``, ``anonymous``, ``allow_http``, ``access_key_id``,
        ``secret_access_key``, ``session_token``. For Google Cloud Storage: ``endpoint``, ``anonymous``, ``allow_http``,
        ``credentials_file``, ``service_account_key``, ``bearer_token``. For Azure: ``account``, ``endpoint``, ``anonymous``,
        ``allow_http``, ``account_key``, ``sas_token``, ``bearer_token``. What is not given comes from the provider's usual
        environment.

    Raises
    ------
    InputError
        More than one of `snapshot`, `tag`, `as_of` and `refresh` is given, or one is not usable.
    IndexNotFoundError, CorruptIndexError, FormatVersionError, StoreError
    SnapshotNotFoundError
        There is no such snapshot, or no longer.
    SearchTimeoutError
        The timeout ran out.
    """
    check_search(k=1, timeout=timeout)
    if refresh is not None and not (is_number(refresh) and refresh >= 0):
        raise InputError(f"refresh must be a number of seconds of at least 0, got {refresh!r:.100}")
    if refresh is not None and any(given is not None for given in (snapshot, tag, as_of)):
        raise InputError("refresh looks for newer snapshots: it does not go with snapshot, tag or as_of")
    if create is not None and any(given is not None for given in (snapshot, tag, as_of)):
        raise InputError("create makes an index without snapshots: it does not go with snapshot, tag or as_of")
    if isinstance(url, str) and _names_functions(url):
        if any(given is not None for given in (refresh, tag, as_of, create)):
            raise InputError("refresh, tag, as_of and create are not for functions: open the index itself")
        from vsearch.api.remote_opening import open_remote

        return cast(
            "Index", open_remote(url, snapshot, **storage)
        )  # has the same search; building and tuning stay here
    with within(None if timeout is None else time.monotonic() + timeout):
        store = open_store(url, **storage)
        if create is not None:
            from vsearch.api.creating import open_or_create

            return open_or_create(store, create, refresh)
        found = open_snapshot(store, find_snapshot(store, snapshot, tag, as_of))
        if any(given is not None for given in (snapshot, tag, as_of)):
            found = replace(found, moment=moment_of(found.manifest, as_of))
        return Index(found, refresh)


def _names_functions(url: str) -> bool:
    if "://" not in url:
        return False
    from vsearch.fanout.platforms.registry import platform_of_url

    return platform_of_url(url) is not None


def prune(
    url: str | os.PathLike[str],
    keep: int = 2,
    *,
    grace: float | None = None,
    older_than: float | None = None,
    dry_run: bool = False,
    **storage: object,
) -> PruneReport:
    """Remove old snapshots, and files that no snapshot names.

    The newest `keep` stay, and those that have a tag or were followed by another less than `older_than` seconds ago: by default
    an hour for an index that changes, since readers may be at them; 0 for one that was only built.

    Files of a writer that wrote within the last `grace` seconds (a day by default) stay, since a build may be under way.
    With `dry_run` nothing is removed, only reported.
    """
    store = open_store(url, **storage)
    return prune_store(store, keep, grace=GRACE if grace is None else grace, older_than=older_than, dry_run=dry_run)


def verify(
    url: str | os.PathLike[str], snapshot: int | None = None, progress: Progress | None = None, **storage: object
) -> VerifyReport:
    """Read every file of a snapshot and check it against its checksums; the report names what is damaged."""
    report = progress or _silent
    return verify_store(open_store(url, **storage), snapshot, lambda done, total: report("verify", done, total))


def _silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""
