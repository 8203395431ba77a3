"""The facade: build an index, open it, search it, ask what it is and how well it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from vsearch.errors import InputError
from vsearch.hits import DocumentHits, DocumentMatches, Hits
from vsearch.search.masks import IndexMask, MaskCache
from vsearch.search.model import check_queries, prepare_queries
from vsearch.search.query import Answer, SearchRequest, count_mask, evaluate_mask, mask_all, search_vectors
from vsearch.search.rows import find_ids, take_columns, take_ids
from vsearch.search.snapshot import Snapshot, open_snapshot
from vsearch.search.stats import SearchStats
from vsearch.search.tuning import RecallReport, Sample, TuneReport, draw_rows, recall_by_score, run_sample, tune
from vsearch.storage import (
    PruneReport,
    SnapshotInfo,
    Store,
    VerifyReport,
    commit,
    list_snapshots,
    open_store,
    read_manifest,
)
from vsearch.storage import prune as prune_store
from vsearch.storage import verify as verify_store

if TYPE_CHECKING:
    import pyarrow as pa

    from vsearch.building.plan import BuildPlan
    from vsearch.predicates import Bound, Where
    from vsearch.quantizers.pq import PQ
    from vsearch.search.document_part import DocumentIndex

LARGEST_K = 10_000
CANDIDATE_RECALL, CANDIDATES = 0.98, 256  # what the candidates of a new document index are tuned to
DEFAULT_RECALL = 0.97  # what a new index is tuned to, on rows of its own
TUNING_QUERIES = 128
TUNING_ROWS = 1 << 28  # rows scored exactly by the tuning of a new index, all queries together

Progress = Callable[[str, int, int], None]


def build(
    embeddings: object,
    url: str | os.PathLike[str],
    attributes: object | None = None,
    ids: object | None = None,
    *,
    metric: str = "cosine",
    quantizer: str | PQ = "osq",
    bits: float = 1.0,
    rerank: str | None = "auto",
    partitions: int | None = None,
    shards: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    **storage: object,
) -> Index:
    """Build an index and open it.

    Parameters
    ----------
    embeddings : array, path or iterable of batches
        Vectors (n, d): float32, float16 or uint8. A path may be ``.npy .fvecs .bvecs .fbin .u8bin .parquet .arrow
        .hdf5``; what is larger than memory is streamed.
    url : str or path
        A folder or ``s3://bucket/prefix``.
    attributes : pyarrow.Table, pandas or polars frame, or path to Parquet or CSV, optional
        One row per vector; what predicates filter on.
    ids : array or list of int64 or str, or the name of an attribute, optional
        Unique; row numbers where none are given.
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
    overwrite : bool
        Replace an index that is there: a new snapshot, the old one stays readable until it is pruned.
    progress : callable, optional
        Told ``(stage, done, total)``.
    **storage
        ``endpoint``, ``region``, ``profile``, ``anonymous``... for S3; see `vsearch.open`.

    Raises
    ------
    InputError
        The input or an option is not usable; nothing was written that a reader sees.
    IndexExistsError
        There is an index and `overwrite` is false.
    """
    from vsearch.building.pipeline import build_index
    from vsearch.building.training import BuildOptions

    options = BuildOptions(metric, quantizer, bits, rerank, partitions, shards, seed)  # type: ignore[arg-type]
    store = open_store(url, **storage)
    report = progress or _silent
    manifest = build_index(
        store,
        embeddings,
        attributes=attributes,
        ids=ids,
        options=options,
        overwrite=overwrite,
        settle=lambda made: _settle(store, made, report),
        progress=report,
    )
    return Index(open_snapshot(store, manifest))


def _settle(store: Store, manifest: Any, report: Progress) -> Any:
    """Default settings of an index that is written but not committed."""
    report("tune", 0, 1)
    snapshot = open_snapshot(store, manifest)
    queries = max(16, min(TUNING_QUERIES, TUNING_ROWS // manifest.rows))
    settings, _ = tune(snapshot, draw_rows(snapshot, queries, manifest.seed), DEFAULT_RECALL, min(10, manifest.rows))
    report("tune", 1, 1)
    return msgspec.structs.replace(manifest, settings=settings.to_dict())


def build_documents(
    vectors: object,
    offsets: object | None,
    out: str | os.PathLike[str],
    *,
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
        A folder or ``s3://bucket/prefix``.
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
    from vsearch.building.documents import DocumentOptions, build_document_index

    options = DocumentOptions(
        keep, pool, codebook, residual_bits, binary, candidates, dimensions, bits, store, shards, seed
    )
    where, report = open_store(out, **storage), progress or _silent
    manifest = build_document_index(
        where,
        vectors,
        offsets,
        saliency=saliency,
        attributes=attributes,
        ids=ids,
        options=options,
        overwrite=overwrite,
        settle=lambda made, queries: _settle_documents(where, made, queries, report),
        progress=report,
    )
    return Index(open_snapshot(where, manifest))


def _settle_documents(store: Store, manifest: Any, queries: Any, report: Progress) -> Any:
    """Default settings of a document index that is written but not committed."""
    report("tune", 0, 1)
    snapshot = open_snapshot(store, manifest)
    sample = Sample(prepare_queries(snapshot.model, queries), None)
    settings, _ = tune(snapshot, sample, CANDIDATE_RECALL, min(CANDIDATES, manifest.rows))
    report("tune", 1, 1)
    return msgspec.structs.replace(manifest, settings=settings.to_dict())


def plan(embeddings: object, attributes: object | None = None, **options: Any) -> BuildPlan:
    """Predict size, memory and time of a build without doing it; takes what `build` takes.

    Raises
    ------
    InputError
        The input or an option is not usable.
    """
    from vsearch.building.plan import plan_build

    return plan_build(embeddings, attributes, **options)


def open(url: str | os.PathLike[str], snapshot: int | None = None, **storage: object) -> Index:
    """Open an index for searching; reads the manifest and headers only.

    Parameters
    ----------
    url : str or path
        A folder or ``s3://bucket/prefix``; or ``lambda://stack`` or ``local-faas://stack``, which gives a
        `vsearch.RemoteIndex`, searched by the functions of a stack.
    snapshot : int, optional
        Which one; the newest by default.
    **storage
        For S3: ``endpoint``, ``region``, ``profile``, ``anonymous``, ``allow_http``, ``access_key_id``,
        ``secret_access_key``, ``session_token``; what is not given comes from the usual AWS environment.

    Raises
    ------
    IndexNotFoundError, CorruptIndexError, FormatVersionError, StoreError
    """
    if isinstance(url, str) and url.startswith(("lambda://", "local-faas://")):
        from vsearch.fanout.remote import open_remote

        return cast("Index", open_remote(url, snapshot, **storage))  # has the same search; building and tuning stay here
    store = open_store(url, **storage)
    return Index(open_snapshot(store, read_manifest(store, snapshot)))


def prune(url: str | os.PathLike[str], keep: int = 2, *, grace: float | None = None, **storage: object) -> PruneReport:
    """Remove all but the newest `keep` snapshots, and files that no snapshot names.

    Files younger than `grace` seconds (a day by default) stay, since a build may be under way.
    """
    store = open_store(url, **storage)
    return prune_store(store, keep) if grace is None else prune_store(store, keep, grace=grace)


def verify(
    url: str | os.PathLike[str], snapshot: int | None = None, progress: Progress | None = None, **storage: object
) -> VerifyReport:
    """Read every file of a snapshot and check it against its checksums; the report names what is damaged."""
    report = progress or _silent
    return verify_store(open_store(url, **storage), snapshot, lambda done, total: report("verify", done, total))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Explanation:
    """How a query is answered: the plan, and what it came to when run.

    Attributes
    ----------
    predicate : str or None
        The predicate as it was understood, as SQL.
    plan : dict
        Settings and sizes that the search goes by.
    stats : SearchStats
        Counts and times per level.
    """

    predicate: str | None
    plan: dict[str, Any]
    stats: SearchStats

    def to_dict(self) -> dict[str, Any]:
        return {"predicate": self.predicate, "plan": self.plan, "stats": self.stats.to_dict()}

    def __str__(self) -> str:
        stats, ms = self.stats, self.stats.milliseconds
        each = max(1, stats.queries)
        lines = [
            f"search of {stats.queries} queries, {stats.total_milliseconds:.2f} ms",
            f"  plan    {', '.join(f'{key}={value}' for key, value in self.plan.items())}",
            f"  route   {stats.partitions} partitions",
            (
                f"  mask    {self.predicate or 'no predicate'}: {stats.rows_masked} rows pass, "
                f"{stats.rows_rechecked} rechecked  ({ms['mask']:.2f} ms)"
            ),
            (
                f"  scan    {stats.partitions_visited / each:.1f} partitions, {stats.rows_scanned / each:.1f} rows a query"
                f"  ({ms['scan']:.2f} ms with route, refine and rerank)"
            ),
            f"  refine  {stats.rows_refined / each:.1f} rows a query",
            f"  rerank  {stats.rows_reranked / each:.1f} rows a query",
            f"  merge   ({ms['merge']:.2f} ms)",
            f"  read    {stats.bytes_read / each:.0f} bytes a query, {stats.bytes_fetched} fetched from the store",
        ]
        return "\n".join(lines)


class Index:
    """An open snapshot of an index. Safe to use from several threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._masks = MaskCache()
        self._documents: tuple[Snapshot, DocumentIndex] | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What this index reads: the model, shards and manifest of one committed state."""
        return self._snapshot

    def __repr__(self) -> str:
        manifest = self._snapshot.manifest
        return (
            f"<vsearch.Index {self._snapshot.store.url} snapshot {manifest.snapshot}: "
            f"{manifest.rows} x {manifest.dimensions} {manifest.metric}>"
        )

    def __len__(self) -> int:
        return self._snapshot.manifest.rows

    def search(
        self,
        queries: Any,
        k: int = 10,
        where: Where = None,
        nprobe: int | None = None,
        columns: Sequence[str] = (),
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
    ) -> Hits:
        """Find the nearest rows that satisfy a predicate.

        Parameters
        ----------
        queries : array (m, d) or (d,)
        k : int
            1 to 10,000. min(k, rows that match) rows come back.
        where : str, dict or expression, optional
            A SQL WHERE string, a Mongo-style dict, or ``vsearch.col("x") < 3``; see `vsearch.predicates`.
        nprobe : int, optional
            Visit so many partitions instead of what the settings ask for; under `where` it is a minimum.
        columns : sequence of str
            Attribute columns to return with the hits.
        exact : bool
            Score every matching row by what is stored, no estimates.
        min_score : float, optional
            Leave out rows that are less similar; under l2 the largest squared distance.
        timeout : float, optional
            Seconds.

        Raises
        ------
        InputError
            Queries or options are not usable; PredicateError for `where`.
        SearchTimeoutError
            The timeout ran out; no partial answer is given.
        """
        start = time.monotonic()
        snapshot = self._snapshot
        self._check(k, nprobe, columns, min_score, timeout)
        stats = SearchStats()
        with stats.level("prepare"):
            vectors = check_queries(queries, snapshot.manifest.dimensions)
        request = SearchRequest(
            k=int(k),
            settings=snapshot.settings,
            nprobe=nprobe,
            exact=exact,
            min_score=min_score,
            deadline=None if timeout is None else start + timeout,
        )
        mask = self._mask(where, stats)
        answer = search_vectors(snapshot, vectors, request, mask, stats)
        with stats.level("fetch"):
            rows = answer.rows.reshape(-1)
            ids = take_ids(snapshot, rows).reshape(answer.rows.shape)
            found = take_columns(snapshot, columns, rows) if len(columns) else None
        return Hits(ids, answer.scores, stats, found)

    def search_documents(
        self,
        query_vectors: Any,
        k: int = 10,
        where: Where = None,
        query_keep: float = 1.0,
        candidates: int | str | None = None,
        *,
        query_saliency: Any = None,
        matches: bool = False,
        exact: bool = False,
        columns: Sequence[str] = (),
        timeout: float | None = None,
    ) -> DocumentHits:
        """Find the documents whose vectors answer a query's vectors best: for each of these the best one, added up.

        Parameters
        ----------
        query_vectors : array (n, d), or a list of such
            One query, or several; a padded block or what an encoder returns will do.
        k : int
            1 to 10,000. min(k, documents that match) come back.
        where : str, dict or expression, optional
            On the attributes of the documents; exact, as for `search`.
        query_keep : float
            Use only this share of each query's vectors, the most salient ones.
        candidates : int or "all", optional
            Documents that are reranked (128 by default); "all" scores every one that matches.
        query_saliency : array (n,), or a list of such
            What `query_keep` goes by.
        matches : bool
            Tell which vector of each hit each query vector met.
        exact : bool
            Order the candidates by the stored vectors; the index must have been built with `store`.
        columns : sequence of str
            Attribute columns to return with the hits.
        timeout : float, optional
            Seconds.

        Raises
        ------
        InputError
            The index has no documents, or the query or an option is not usable; PredicateError for `where`.
        SearchTimeoutError
            The timeout ran out; no partial answer is given.
        """
        from vsearch.search.document_queries import check_request, prepare_queries
        from vsearch.search.documents import match_rows, search_documents

        start = time.monotonic()
        snapshot, stats = self._snapshot, SearchStats()
        index = self._document_part()
        self._check(k, None, columns, None, timeout)
        deadline = None if timeout is None else start + timeout
        request = check_request(index, int(k), candidates, exact=exact, deadline=deadline)
        with stats.level("prepare"):
            queries, places = prepare_queries(query_vectors, query_saliency, query_keep, index.dimensions)
        answer = search_documents(snapshot, index, queries, request, self._mask(where, stats), stats)
        with stats.level("fetch"):
            rows = answer.rows.reshape(-1)
            ids = take_ids(snapshot, rows).reshape(answer.rows.shape)
            found = take_columns(snapshot, columns, rows) if len(columns) else None
            met: tuple[DocumentMatches, ...] | None = None
            if matches:
                each = [
                    match_rows(index, query, best, exact=exact)
                    for query, best in zip(queries, answer.rows, strict=True)
                ]
                met = tuple(DocumentMatches(m.positions, m.scores, at) for m, at in zip(each, places, strict=True))
        return DocumentHits(ids, answer.scores, stats, found, met)

    def _document_part(self) -> DocumentIndex:
        """The document part of the snapshot, opened when it is first needed."""
        part = self._documents
        if part is None or part[0] is not self._snapshot:
            from vsearch.search.document_part import open_documents

            part = self._documents = (self._snapshot, open_documents(self._snapshot))
        return part[1]

    def explain(self, queries: Any, k: int = 10, where: Where = None, **options: Any) -> Explanation:
        """Run a search and tell its plan and its counts per level; takes what `search` takes."""
        hits = self.search(queries, k, where, **options)
        settings = self._snapshot.settings
        chosen: dict[str, Any] = {"k": k, "reach": round(settings.reach, 4), "margin": round(settings.margin, 4)}
        chosen |= {
            name: value for name, value in options.items() if not (value is None or value is False or value == ())
        }
        chosen["code_bytes"] = list(self._snapshot.model.quantizer.stage_bytes)
        chosen["rerank"] = self._snapshot.model.rerank
        return Explanation(self._sql(where), chosen, hits.stats)

    def recall(
        self,
        queries: Any = None,
        k: int = 10,
        where: Where = None,
        sample: int = 100,
        truth: Any = None,
        nprobe: int | None = None,
    ) -> RecallReport:
        """Measure recall@k against exhaustive search of what is stored, or against given truth.

        Parameters
        ----------
        queries : array (m, d), optional
            `sample` rows of the index by default, which do not count themselves.
        truth : array (m, >= k) of ids, optional
            The true neighbours of each query, best first.

        Raises
        ------
        InputError
        """
        snapshot = self._snapshot
        self._check(k, nprobe, (), None, None)
        if isinstance(sample, bool) or not isinstance(sample, (int, np.integer)) or sample < 1:
            msg = f"sample={sample!r} is not usable: give a whole number from 1 on"
            raise InputError(msg)
        if queries is None and truth is not None:
            msg = "truth needs the queries that it is about; give both"
            raise InputError(msg)
        mask = self._mask(where, SearchStats())
        drawn = self._sample(queries, sample)
        request = SearchRequest(k=k, settings=snapshot.settings, nprobe=nprobe)
        answer = run_sample(snapshot, drawn, request, mask)
        if truth is None:
            exact = run_sample(snapshot, drawn, replace(request, exact=True), mask)
            smaller = snapshot.model.metric == "l2"
            recall = recall_by_score(answer.scores, exact.scores, smaller_is_better=smaller)
        else:
            recall = self._recall_of_ids(answer, truth, k)
        many = max(1, len(drawn.queries))
        return RecallReport(
            recall=recall,
            queries=len(drawn.queries),
            k=k,
            milliseconds_per_query=answer.stats.total_milliseconds / many,
            rows_scanned_per_query=answer.stats.rows_scanned / many,
        )

    def tune(self, recall: float = 0.95, k: int = 10, queries: Any = None, sample: int = 200) -> TuneReport:
        """Find and store the cheapest settings that reach a recall; `search` then uses them.

        The settings become a new snapshot. Without `queries`, `sample` rows of the index stand in for them.

        Raises
        ------
        InputError
        ConflictError
            Another snapshot was committed meanwhile.
        """
        if not (_is_number(recall) and 0 < recall <= 1):
            msg = f"recall={recall!r} is not usable: give a share above 0 and at most 1"
            raise InputError(msg)
        self._check(k, None, (), None, None)
        snapshot = self._snapshot
        settings, report = tune(snapshot, self._sample(queries, sample), recall, k)
        manifest = msgspec.structs.replace(snapshot.manifest, settings=settings.to_dict(), writer=os.urandom(16).hex())
        manifest = commit(snapshot.store, manifest, base=snapshot.manifest.snapshot)
        self._snapshot = replace(snapshot, manifest=manifest, settings=settings)
        return report

    def get(self, ids: Any, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by id: a table with ``id`` and the attribute columns (all by default), in the order asked for.

        An attribute that is called ``id`` itself is ``attribute.id`` there.

        Raises
        ------
        InputError
            An id is not in the index, or has the wrong type.
        """
        import pyarrow as pa

        snapshot = self._snapshot
        chosen = [a.name for a in snapshot.manifest.attributes] if columns is None else columns
        self._check_columns(chosen)
        wanted = np.atleast_1d(np.asarray(ids))
        if snapshot.manifest.id_type == "string":
            if any(not isinstance(one, str) for one in wanted.reshape(-1).tolist()):
                msg = "this index has string ids; give strings"
                raise InputError(msg)
            wanted = wanted.astype(object)
        elif wanted.size and wanted.dtype.kind not in "iu":
            msg = "this index has integer ids; give integers"
            raise InputError(msg)
        elif wanted.size and wanted.max() > np.iinfo(np.int64).max:
            msg = f"no row has the id {wanted.max()}"
            raise InputError(msg)
        else:
            wanted = wanted.astype(np.int64)
        rows = find_ids(snapshot, wanted.reshape(-1))
        if (rows < 0).any():
            missing = ", ".join(str(wanted.reshape(-1)[i]) for i in np.flatnonzero(rows < 0)[:5])
            msg = f"no row has the id {missing}"
            raise InputError(msg)
        chosen = [a.name for a in snapshot.manifest.attributes] if columns is None else list(columns)
        self._check_columns(chosen)
        listed = pa.array(wanted.tolist(), pa.string() if wanted.dtype == object else pa.int64())
        table = pa.table({"id": listed})
        if len(chosen):
            for name, column in zip(chosen, take_columns(snapshot, chosen, rows).columns, strict=True):
                table = table.append_column("attribute.id" if name == "id" else name, column)
        return table

    def info(self) -> dict[str, Any]:
        """What the index is: rows, dimensions, codes, bytes per vector by part, attributes, settings, snapshot."""
        from vsearch.search.sizes import describe

        return describe(self._snapshot)

    def snapshots(self) -> list[SnapshotInfo]:
        """All snapshots that can be opened, oldest first."""
        return list_snapshots(self._snapshot.store)

    def _mask(self, where: Where, stats: SearchStats) -> IndexMask | None:
        """The mask of a predicate, out of the cache where it was asked for before in the same words."""
        snapshot = self._snapshot
        if not isinstance(where, str):
            return mask_all(snapshot, self._bind(where), stats)
        with stats.level("mask"):
            mask, known = self._masks.get(where, lambda: self._evaluate(where))
        count_mask(mask, stats)
        if not known:
            stats.bytes_read += snapshot.manifest.rows
        return mask

    def _evaluate(self, where: str) -> IndexMask:
        from vsearch.predicates import bind, parse

        return evaluate_mask(self._snapshot, bind(parse(where), self._snapshot.schema))

    def _bind(self, where: Where) -> Bound | None:
        if where is None:
            return None
        from vsearch.predicates import bind, parse

        expression = parse(where)
        return None if expression is None else bind(expression, self._snapshot.schema)

    def _sql(self, where: Where) -> str | None:
        if where is None:
            return None
        from vsearch.predicates import parse, to_sql

        expression = parse(where)
        return None if expression is None else to_sql(expression)

    def _sample(self, queries: Any, sample: int) -> Sample:
        if isinstance(sample, bool) or not isinstance(sample, (int, np.integer)) or sample < 1:
            msg = f"sample={sample!r} is not usable: give a whole number from 1 on"
            raise InputError(msg)
        snapshot = self._snapshot
        if queries is None:
            return draw_rows(snapshot, sample, snapshot.manifest.seed + 1)
        vectors = check_queries(queries, snapshot.manifest.dimensions)
        return Sample(prepare_queries(snapshot.model, vectors), None)

    def _recall_of_ids(self, answer: Answer, truth: Any, k: int) -> float:
        true = np.asarray(truth)
        if true.ndim != 2 or len(true) != len(answer.rows) or true.shape[1] < k:
            msg = f"truth must have the shape ({len(answer.rows)}, at least {k}), got {true.shape}"
            raise InputError(msg)
        found = take_ids(self._snapshot, answer.rows.reshape(-1)).reshape(answer.rows.shape)
        wanted = [set(ids) - {None, -1} for ids in true[:, :k].tolist()]  # padding is nothing to find
        hits = sum(len(ids.intersection(other)) for ids, other in zip(wanted, found.tolist(), strict=True))
        total = sum(map(len, wanted))
        return hits / total if total else 1.0

    def _check(
        self,
        k: int,
        nprobe: int | None,
        columns: Sequence[str],
        min_score: float | None,
        timeout: float | None,
    ) -> None:
        for name, value, largest in (("k", k, LARGEST_K), ("nprobe", nprobe, 2**31)):
            if value is None and name == "nprobe":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= largest:
                msg = f"{name}={value!r} is not usable: give a whole number from 1 to {largest}"
                raise InputError(msg)
        if min_score is not None and not (_is_number(min_score) and np.isfinite(min_score)):
            msg = f"min_score={min_score!r} is not usable: give a finite number"
            raise InputError(msg)
        if timeout is not None and not (_is_number(timeout) and timeout > 0):
            msg = f"timeout={timeout!r} is not usable: give seconds above 0"
            raise InputError(msg)
        self._check_columns(columns)

    def _check_columns(self, columns: Sequence[str]) -> None:
        if isinstance(columns, str):
            msg = f"columns must be a sequence of names: give [{columns!r}]"
            raise InputError(msg)
        for name in columns:
            if name not in self._snapshot.schema.names:
                known = ", ".join(self._snapshot.schema.names) or "none"
                msg = f"no attribute column is called {name!r}; the index has {known}"
                raise InputError(msg)
