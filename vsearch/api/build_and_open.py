"""The main entry points: build and open an index."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from vsearch.api.built import tune_built
from vsearch.api.index import Index
from vsearch.api.leg_building import leg_forecasts, leg_writers, sparse_column
from vsearch.checks import check_search, is_number
from vsearch.errors import InputError
from vsearch.search.state.snapshot import open_snapshot
from vsearch.storage import open_store
from vsearch.storage.snapshots.finding import find_snapshot, moment_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    from datetime import datetime

    from vsearch.building.plan import BuildPlan
    from vsearch.encoders import TextEncoder
    from vsearch.metrics import MetricName
    from vsearch.quantizers.pq import PQ
    from vsearch.storage.snapshots.manifest import Manifest
    from vsearch.text.columns import TextColumn

Progress = Callable[[str, int, int], None]


def build(
    embeddings: object,
    url: str | os.PathLike[str],
    attributes: object | None = None,
    ids: object | None = None,
    *,
    vectors: str | None = None,
    id: str | None = None,
    missing: Literal["error", "skip"] = "error",
    packed: bool = False,
    text_column: str | None = None,
    encoder: TextEncoder | str | os.PathLike[str] | None = None,
    spool: str | os.PathLike[str] | None = None,
    metric: MetricName = "cosine",
    quantizer: str | PQ = "osq",
    bits: float = 1.0,
    rerank: Literal["auto", "int8", "float16", "float32"] | None = "auto",
    partitions: int | None = None,
    shards: int | None = None,
    seed: int = 0,
    spill: bool | Literal["auto"] = False,
    ttl: str | None = None,
    text: str | Mapping[str, float | TextColumn] | None = None,
    sparse: object | None = None,
    legs: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    source_storage: Mapping[str, object] | None = None,
    client: object | None = None,
    **storage: object,
) -> Index:
    """Build an index and open it.

    Parameters
    ----------
    embeddings : array, table, path, or iterable of batches
        Vectors (n, d) of floats or integers. A path may be ``.npy .fvecs .bvecs .fbin .u8bin .parquet .arrow .hdf5``, or a
        folder, glob or list of Parquet files; input larger than memory is streamed. A URL such as ``s3://bucket/prefix`` names
        all ``.parquet``, ``.arrow``, ``.npy``, ``.fbin`` or ``.u8bin`` files below a prefix, or one. A table (such a file, a pandas or
        polars frame, a pyarrow table or reader, a list of mappings, one per row) has the vectors as lists in one column; its
        other columns become the attributes.
    url : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    attributes : pyarrow.Table, pandas or polars frame, path to Parquet or CSV, list of mappings, or list of names, optional
        One row per vector; predicates filter on these. Names select columns of the embeddings' own table. Nested values become
        JSON text; columns of types that predicates do not support are left out with a `VsearchWarning`.
    ids : array or list of int64, str or UUID, or the name of an attribute, optional
        Unique; row numbers by default.
    vectors : str, optional
        The vector column of a table; needed only if several columns could be it.
    id : str, optional
        The id column of a table.
    missing : {"error", "skip"}
        What to do with rows whose vector is NULL, has another length, or contains NaN or infinity. "skip" leaves them out,
        with their attributes and ids, and under cosine zero vectors as well; `Index.info` reports how many were skipped.
    packed : bool
        Whether vectors are packed bits, eight to a byte of uint8 or int8, as embedding services return binary embeddings. Under
        metrics other than hamming, each bit counts as +1 or -1; unpack queries with `vsearch.unpack_bits`.
    text_column : str, optional
        The embeddings are a table without vectors (CSV and TSV included): this column is embedded by `encoder`, on all cores. All columns
        become attributes, unless `attributes` names some. The index holds the encoder, and takes texts as queries.
    encoder : TextEncoder or path, optional
        From `vsearch.encoders`, or its folder. A compressed encoder is stored unchanged; any other is compressed to 8 bits.
    spool : path, optional
        Folder for the vectors of texts while the index is built. A build that was killed resumes from it if it is started again;
        it is removed at the end. By default ``<url>.vectors`` next to an index in a folder, and none elsewhere.
    metric : {"cosine", "ip", "l2", "hamming"}
        Hamming is for vectors of bits, zeros and ones or packed. Scores are the numbers of bits that differ.
    quantizer : {"osq", "osq-projected", "osq-lloyd", "pq"} or PQ
        Above 768 dimensions "osq" is "osq-projected", whose queries are planned faster.
        "pq" uses 256 centroids, an OPQ rotation and as many sub-quantizers as `bits` allows; pass a `vsearch.PQ` for other settings.
    bits : float
        Average bits per dimension of the codes that are scanned, 0.25 to 8.
    rerank : {"auto", "int8", "float16", "float32"} or None
        The codes with which the best candidates are reranked; with None, scores are estimates. "auto" is "int8", but None for PQ, since
        exact scores would undo its training (`vsearch.jpq`), and "float16" or "float32" for bits.
    partitions, shards : int, optional
        Defaults depend on the number of rows.
    seed : int
        The same input, options and seed produce the same index.
    spill : bool or "auto"
        Whether to store a second code of each row, in a second partition of its shard, so that searches find the same rows by
        visiting fewer partitions. This doubles the bytes of codes and factors (by 54 at 1 bit in 384 dimensions) and takes up to 1.4 times
        the build time. Requires rerank codes, which are stored once. "auto" compares the cost of searches for a sample with
        and without. See Sun et al., "SOAR: Improved Indexing for Approximate Nearest Neighbor Search", 2023.
    ttl : str, optional
        The attribute that holds the time at which each row expires: a timestamp, a date (its beginning, in UTC) or an integer,
        seconds since 1970. From then on no search finds the row, and `Index.optimize` removes it. Rows without a value stay.
    text : str or mapping, optional
        The attribute whose words `Index.search_text` searches, or several: ``{"title": 2.0, "body": 1.0}`` with their weights, or
        with a `vsearch.TextColumn` each.
    sparse : CSR matrix, list of dicts, Arrow column of maps, or name of an attribute, optional
        Non-negative weights of terms (strings or integers) for each row, from SPLADE or similar encoders, which `Index.search_sparse`
        searches. Kept in the named attribute, of maps or JSON objects, or else in one that is called ``sparse``.
    legs : mapping, optional
        Other legs of search, registered by `vsearch.legs.registry.register_leg`: the argument of each by its name.
    overwrite : bool
        Replace an existing index by a new snapshot; the old one stays readable until it is pruned.
    progress : callable, optional
        Called with ``(stage, done, total)``.
    source_storage : mapping, optional
        Like `storage`, for embeddings given by a URL; by default the options in `storage` if both URLs are of one kind.
    client : distributed.Client, address, "local" or "local:<workers>", optional
        Build by many tasks on a dask cluster, or on worker processes of this machine. The result is the same, and a build that
        was interrupted resumes if it is started again. Embeddings are then files, or a dask DataFrame or bag of mappings;
        `attributes` and `ids` name columns; texts are encoded by the workers, with an encoder that is compressed or a folder of
        this machine; `sparse` names a column. `legs`, `spool`, packed bits, and ``missing="skip"`` for vectors are refused.
    **storage
        ``endpoint``, ``region``, ``profile``, ``anonymous``... for object stores; see `vsearch.open`.

    Raises
    ------
    InputError
        The input or an option is invalid; nothing visible to readers was written.
    IndexExistsError
        The index already exists and `overwrite` is false.
    """
    from vsearch.api.sources import located
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.building.pipeline import build_index
    from vsearch.building.training import BuildOptions
    from vsearch.live.attributes import with_ttl

    weights, more = sparse_column(sparse) if client is None else (None, {})
    arguments = InputArguments(attributes, ids, vectors, id, missing, packed, more)
    options = BuildOptions(metric, quantizer, bits, rerank, partitions, shards, seed, spill)  # type: ignore[arg-type]
    store = open_store(url, **storage)
    if client is not None:
        from vsearch.api.cluster_building import build_on_cluster

        manifest = build_on_cluster(
            store,
            embeddings,
            arguments,
            options,
            client=client,
            text_column=text_column,
            encoder=encoder,
            text=text,
            sparse=sparse,
            more={"spool": spool, "legs": legs},
            ttl=ttl,
            storage=storage,
            source_storage=source_storage,
            overwrite=overwrite,
            progress=progress or _silent,
        )
        return Index(open_snapshot(store, manifest))
    embeddings = located(embeddings, url, source_storage, storage)
    report = progress or _silent
    parts = leg_writers(text, weights, legs)

    def build_it(build: Callable[..., Any], *args: Any) -> Any:
        def tune(manifest: Manifest) -> Manifest:
            return tune_built(store, manifest if ttl is None else with_ttl(manifest, ttl), report, options.spill)

        return build(
            store,
            embeddings,
            *args,
            arguments=arguments,
            options=options,
            overwrite=overwrite,
            tune_defaults=tune,
            progress=report,
            parts=parts,
            ttl=ttl,
        )

    if text_column is None and encoder is None and spool is None:
        return Index(open_snapshot(store, build_it(build_index)))
    from vsearch.api.text_building import build_from_texts

    return Index(open_snapshot(store, build_it(build_from_texts, text_column, encoder, spool)))


def build_documents(
    vectors: object,
    offsets: object | None,
    out: str | os.PathLike[str],
    *,
    column: str | None = None,
    id: str | None = None,
    missing: Literal["error", "skip"] = "error",
    saliency: object | None = None,
    keep: float = 1.0,
    pool: float | None = None,
    codebook: int = 256,
    residual_bits: int = 2,
    binary: bool = False,
    candidates: Literal["fde", "lists"] = "fde",
    dimensions: int = 1024,
    bits: float = 1.0,
    store: Literal["float16", "float32"] | None = None,
    attributes: object | None = None,
    ids: object | None = None,
    shards: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    **storage: object,
) -> Index:
    """Build an index of multi-vector documents, for late interaction (MaxSim), and open it.

    Parameters
    ----------
    vectors
        With `offsets`: all vectors concatenated, in any form that `build` accepts. With None: a list or iterable with one
        matrix per document, a padded array (documents, vectors, dimensions), a table or file with a list of vectors per row,
        or the output of a multi-vector encoder. Vectors are compared by inner product, without normalization.
    offsets : int array (documents + 1,) or path to a .npy file, or None
    out : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    column, id : str, optional
        Columns of a table: that of the documents' vectors, needed only if several could be it, and that of their ids. The
        other columns become the attributes.
    missing : {"error", "skip"}
        What to do with documents without vectors, or with a vector that is NULL, differs in length from the first document's,
        or contains NaN or infinity. "skip" leaves them out, with attributes, ids and saliency; `Index.info` reports how many.
    saliency : array (vectors,), one array per document, or path, optional
        The importance of each vector, such as the attention it received. Not stored.
    keep : float
        Fraction of each document's vectors to keep, by saliency.
    pool : float, optional
        Merge similar vectors of a document, on average this many into one.
    codebook : int
        Number of centroids: up to 256 take one byte per vector, up to 65,536 take two.
    residual_bits : {0, 1, 2, 4}
        Average bits per dimension for the residual to the centroid.
    binary : bool
        Compare centroid numbers by Hamming distance, without residual bits.
    candidates : {"fde", "lists"}
        How candidates are found: by fixed-dimensional encodings, or by inverted lists over the centroids.
    dimensions, bits
        Of the encodings that represent documents in the candidate search.
    store : {"float16", "float32"} or None
        Keep the original vectors as well, for `search_documents(exact=True)`.
    attributes, ids, shards, seed, overwrite, progress, **storage
        As for `build`, with one row per document. With ``client=`` and ``source_storage=``, as there, the documents are lists of vectors in
        a column of files, or of a dask DataFrame or bag; `offsets`, `saliency`, `keep` and ``missing="skip"`` are refused.

    Raises
    ------
    InputError
        Offsets are not ascending, a document is empty, widths differ, vectors contain NaN, saliency has the wrong length, or
        an option is invalid; nothing visible to readers was written.
    IndexExistsError
        The index already exists and `overwrite` is false.
    """
    from vsearch.api.document_building import build_from_documents
    from vsearch.building.inputs.rows import InputArguments
    from vsearch.multivector.training import DocumentOptions

    where, manifest = build_from_documents(
        vectors,
        offsets,
        out,
        saliency=saliency,
        arguments=InputArguments(attributes, ids, column, id, missing),
        options=DocumentOptions(
            keep, pool, codebook, residual_bits, binary, candidates, dimensions, bits, store, shards, seed
        ),
        overwrite=overwrite,
        progress=progress or _silent,
        storage=storage,
    )
    return Index(open_snapshot(where, manifest))


def plan(embeddings: object, attributes: object | None = None, **options: Any) -> BuildPlan:
    """Predict the size, memory and time of a build without running it; takes the arguments of `build`.

    Raises
    ------
    InputError
        The input or an option is invalid.
    """
    from vsearch.building.plan import plan_build

    weights, more = sparse_column(options.pop("sparse", None))
    parts = leg_forecasts(options.pop("text", None), weights, options.pop("legs", None))
    return plan_build(embeddings, attributes, parts=parts, more=more, **options)


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
    """Open an index for searching; reads only the manifest and headers.

    Parameters
    ----------
    url : str or path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``; or ``lambda://stack`` or
        ``local-faas://stack``, which return a `vsearch.RemoteIndex` that is searched by the functions of a stack.
    snapshot : int, optional
        Snapshot number; the newest by default.
    refresh : float, optional
        Check for a newer snapshot before a search if this many seconds have passed since the last check. By default the index
        stays on its snapshot until it is changed through this object or `Index.refresh` is called.
    tag : str, optional
        The snapshot with this name, as set by `Index.tag`.
    as_of : datetime or ISO 8601 text, optional
        The newest snapshot at this time, in UTC if it has no time zone.
    create : mapping, optional
        Arguments of `vsearch.create`, including ``dimensions``, with which the index is created if it does not exist.
    timeout : float, optional
        Seconds that opening may take; searches have their own.
    **storage
        For S3: ``endpoint``, ``region``, ``profile``, ``anonymous``, ``allow_http``, ``access_key_id``, ``secret_access_key``,
        ``session_token``. For Google Cloud Storage: ``endpoint``, ``anonymous``, ``allow_http``, ``credentials_file``,
        ``service_account_key``, ``bearer_token``. For Azure: ``account``, ``endpoint``, ``anonymous``, ``allow_http``,
        ``account_key``, ``sas_token``, ``bearer_token``. By default, the provider's usual environment variables and files are used.
        For each: ``cache``, a folder of this machine that keeps what is read of the index, and ``cache_bytes``, its limit (1 GiB).

    Raises
    ------
    InputError
        More than one of `snapshot`, `tag`, `as_of` and `refresh` is set, or one is invalid.
    IndexNotFoundError, SnapshotNotFoundError
        There is no index at this place, or the snapshot does not exist or was pruned.
    CorruptIndexError, FormatVersionError, StoreError
        The index is damaged, or was written by a later version of vsearch, or the store cannot be read.
    SearchTimeoutError
        Opening exceeded the timeout.
    """
    check_search(k=1, timeout=timeout)
    if refresh is not None and not (is_number(refresh) and refresh >= 0):
        raise InputError(f"refresh must be a number of seconds, at least 0, got {refresh!r:.100}")
    if refresh is not None and any(option is not None for option in (snapshot, tag, as_of)):
        raise InputError("refresh cannot be combined with snapshot, tag or as_of: it looks for newer snapshots")
    if create is not None and any(option is not None for option in (snapshot, tag, as_of)):
        raise InputError("create cannot be combined with snapshot, tag or as_of: a new index has no older snapshots")
    if isinstance(url, str) and _names_functions(url):
        if any(option is not None for option in (refresh, tag, as_of, create)):
            raise InputError("functions do not support refresh, tag, as_of and create: open the index by its own URL")
        from vsearch.api.remote_opening import open_remote

        return cast("Index", open_remote(url, snapshot, **storage))  # the same, without building and tuning
    with within(None if timeout is None else time.monotonic() + timeout):
        store = open_store(url, **storage)
        if create is not None:
            from vsearch.api.creating import open_or_create

            return open_or_create(store, create, refresh)
        opened = open_snapshot(store, find_snapshot(store, snapshot, tag, as_of))
        if any(choice is not None for choice in (snapshot, tag, as_of)):
            opened = opened.like(moment=moment_of(opened.manifest, as_of))
        return Index(opened, refresh)


def _names_functions(url: str) -> bool:
    if "://" not in url:
        return False
    from vsearch.fanout.platforms.registry import platform_of_url

    return platform_of_url(url) is not None


def _silent(stage: str, done: int, total: int) -> None:
    """Ignore progress."""
