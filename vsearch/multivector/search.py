"""Search multi-vector documents: candidates, a first MaxSim on centroid codes, MaxSim on all codes, merge.

Candidates come from an ordinary search of the documents' fixed-dimensional encodings (so that partitions and filters
apply) or from inverted lists over centroids. Every shard reranks its own candidates, so results do not depend on
whether one process or many functions search the shards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vsearch.cores import available_cores
from vsearch.errors import InputError, SearchTimeoutError
from vsearch.kernels.filters.bitmaps import list_rows
from vsearch.kernels.multivector.inverted_lists import collect_lists
from vsearch.kernels.query.fields import COUNTERS
from vsearch.metrics import LARGEST_ELEMENT
from vsearch.multivector.maxsim import QueryTokens, prepare_query, score_by_codes, score_by_residuals, score_exactly
from vsearch.multivector.opening import DocumentIndex, DocumentShard
from vsearch.search.engine.masks import IndexMask, live_mask
from vsearch.search.engine.merge import ShardHits, merge, top
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.pages import collect_page
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.vectors import search_rows, search_shards
from vsearch.storage import DocumentsEntry
from vsearch.storage.stores.retrying import carried

CANDIDATES = 128  # documents that a shard reranks with all their codes
OVERSAMPLING = 2  # documents ranked by centroid codes, per candidate
PROBES = 4  # lists probed per query vector


@dataclass(frozen=True)
class DocumentRequest:
    """The parameters of a document search other than its vectors.

    Attributes
    ----------
    k : int
    candidates : int or None
        Number of documents that each shard reranks; None for all that pass the predicate.
    exact : bool
        Whether to score candidates by the stored vectors in the end.
    deadline : float or None
        `time.monotonic` value after which the search times out.
    offset : int
        Number of documents to skip; for `search_document_page`.
    """

    k: int
    candidates: int | None = CANDIDATES
    exact: bool = False
    deadline: float | None = None
    offset: int = 0


@dataclass(frozen=True, eq=False)
class DocumentAnswer:
    """The best documents of m queries.

    Attributes
    ----------
    scores, rows : float32 (m, k), int64 (m, k)
        Padded with NaN and -1.
    candidates : list of int64 arrays
        Rows that were reranked, per query, ascending.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    candidates: list[NDArray[np.int64]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ShardDocuments:
    """The result of one shard for one query: best rows, int64, and scores, float32; reranked rows, ascending."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    candidates: NDArray[np.int64]


def check_query(query: NDArray[np.generic], dimensions: int, number: int) -> NDArray[np.float32]:
    """Check one query's vectors and return them as float32 (n, d).

    Raises
    ------
    InputError
        They have a wrong shape or type, are not finite, or are too large.
    """
    array = np.asarray(query)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != dimensions or len(array) == 0:
        msg = f"query {number} must be at least one vector of {dimensions} dimensions, got {array.dtype} {array.shape}"
        raise InputError(msg)
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"query {number}: vector {bad} contains NaN or infinity; remove it or fix the encoder"
        raise InputError(msg)
    if not is_bounded(array):
        msg = (
            f"query {number} is too large: the sum of its absolute values exceeds {LARGEST_ELEMENT:g}; fix the encoder"
        )
        raise InputError(msg)
    return array


def is_bounded(vectors: NDArray[np.float32]) -> bool:
    """Return whether a query's encoding, a sum of its vectors, can be searched without overflow."""
    return bool(np.abs(vectors).sum(dtype=np.float64) <= LARGEST_ELEMENT)


def prune_query(
    query: NDArray[np.float32], saliency: NDArray[np.floating] | None, keep: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the ceil(keep * n) most salient vectors of a query, in order, and their positions."""
    if keep >= 1 or saliency is None:
        return query, np.arange(len(query))
    count = max(1, int(np.ceil(keep * len(query) - 1e-9)))
    places = np.sort(np.argsort(-saliency, kind="stable")[:count])
    return np.ascontiguousarray(query[places]), places


def search_lists(
    documents: DocumentShard, query: QueryTokens, eligible: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the candidates of a shard from inverted lists: rows and their estimated MaxSim, best first.

    If the lists have fewer than `count` eligible documents, other documents fill up.
    """
    if documents.list_offsets is None or documents.list_documents is None:
        msg = "this index has no inverted lists; build it with candidates='lists'"
        raise InputError(msg)
    products = query.table[:, : len(query.vectors)].T
    probes = min(PROBES, products.shape[1])
    nearest = np.argpartition(-products, probes - 1, axis=1)[:, :probes]
    scores = np.take_along_axis(products, nearest, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    nearest = np.ascontiguousarray(np.take_along_axis(nearest, order, axis=1), np.int64)
    scores = np.ascontiguousarray(np.take_along_axis(scores, order, axis=1))
    missing = np.ascontiguousarray(scores[:, -1])
    rows = len(documents.offsets) - 1
    totals = np.full(rows, missing.sum(), np.float32)
    collect_lists(
        documents.list_offsets, documents.list_documents, nearest, scores, missing, np.full(rows, -1, np.int64), totals
    )
    best = eligible[top(totals[eligible], eligible, count)]
    return best, totals[best]


def first_candidates(entry: DocumentsEntry, request: DocumentRequest, rows: int) -> int | None:
    """Return the number of candidates that each shard starts with; None for all documents.

    Parameters
    ----------
    entry : DocumentsEntry
        The manifest entry of the documents.
    rows : int
        Number of documents of the index.
    """
    if request.candidates is None:
        return None
    staged = entry.patches.residual is not None
    return max(1, min(max(request.candidates, request.k) * (OVERSAMPLING if staged else 1), rows))


def by_encodings(entry: DocumentsEntry, request: DocumentRequest) -> bool:
    """Return whether candidates come from a search of the encodings, not from lists or from all documents."""
    return request.candidates is not None and entry.candidates != "lists"


def rank_shard(
    index: DocumentIndex,
    documents: DocumentShard,
    query: QueryTokens,
    request: DocumentRequest,
    first: int | None,
    *,
    hits: ShardHits | None,
    eligible: NDArray[np.int64] | None,
) -> ShardDocuments:
    """Rank the documents of one shard for one query; rows are numbered within the shard.

    Parameters
    ----------
    first : int or None
        From `first_candidates`.
    hits : ShardHits or None
        Hits of the search of the encodings, if `by_encodings`.
    eligible : int64 array or None
        Rows that may be returned, ascending, if there are no hits.
    """
    if hits is not None:
        valid = hits.rows >= 0
        rows, estimates = hits.rows[valid], hits.scores[valid]
    elif eligible is None:
        msg = "either hits or eligible rows are needed to search a shard"
        raise ValueError(msg)
    elif first is None:
        rows, estimates = eligible, np.zeros(len(eligible), np.float32)
    else:
        rows, estimates = search_lists(documents, query, eligible, first)
    order = np.argsort(rows)
    rows, estimates = rows[order], estimates[order]
    by_codes = score_by_codes if index.token_codec.residual is None else score_by_residuals
    limit = len(rows) if request.candidates is None else max(request.candidates, request.k)
    if len(rows) > limit and hits is not None:
        # encodings and centroids have complementary errors: the sum of both scores is better than either
        rows = np.sort(rows[top(score_by_codes(index, documents, query, rows) + estimates, rows, limit)])
    elif len(rows) > limit and request.exact:
        rows = np.sort(rows[top(by_codes(index, documents, query, rows), rows, limit)])
    scores = (score_exactly if request.exact else by_codes)(index, documents, query, rows)
    best = top(scores, rows, request.k)
    return ShardDocuments(rows[best], scores[best], rows)


def search_documents(
    snapshot: Snapshot,
    index: DocumentIndex,
    queries: Sequence[NDArray[np.float32]],
    request: DocumentRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> DocumentAnswer:
    """Search for checked queries, float32 (n, d) each.

    Returns min(k, matching documents) per query. Scores are MaxSim on the codes (equal bits in binary mode), or on
    the stored vectors if `request.exact`. Ties go to the lower row.
    """
    mask = live_mask(snapshot) if mask is None else mask
    first = first_candidates(index.entry, request, snapshot.manifest.rows)
    hits: list[list[ShardHits]] | None = None
    eligible: list[NDArray[np.int64]] | None = None
    if first is not None and by_encodings(index.entry, request):
        with stats.level("prepare"):
            encoded = np.stack([index.fde.encode_query(query) for query in queries])
        hits = _search_encodings(snapshot, encoded, first, request, mask, stats)
    else:
        eligible = _eligible(snapshot, mask)
        stats.queries += len(queries)
    stats.estimated = not request.exact

    def rank(position: int) -> list[ShardDocuments]:
        if request.deadline is not None and time.monotonic() > request.deadline:
            msg = (
                f"the search timed out at query {position} of {len(queries)}; use a longer timeout or fewer candidates"
            )
            raise SearchTimeoutError(msg)
        query = prepare_query(index, queries[position])
        return [
            rank_shard(
                index,
                documents,
                query,
                request,
                first,
                hits=None if hits is None else hits[position][number],
                eligible=None if eligible is None else eligible[number],
            )
            for number, documents in enumerate(index.shards)
        ]

    with stats.level("scan"):
        if len(queries) == 1:
            ranked = [rank(0)]
        else:
            with ThreadPoolExecutor(available_cores()) as pool:
                ranked = list(pool.map(carried(rank), range(len(queries))))
    shape = len(queries), request.k
    answer = DocumentAnswer(np.empty(shape, np.float32), np.empty(shape, np.int64))
    firsts = [documents.shard.first_row for documents in index.shards]
    for position, parts in enumerate(ranked):
        rows = [part.rows + start for part, start in zip(parts, firsts, strict=True)]
        scores = [part.scores for part in parts]
        answer.scores[position], answer.rows[position] = merge(scores, rows, request.k)
        reranked = np.concatenate([part.candidates + start for part, start in zip(parts, firsts, strict=True)])
        answer.candidates.append(reranked)
        stats.rows_reranked += len(reranked)
    return answer


def _search_encodings(
    snapshot: Snapshot,
    encoded: NDArray[np.float32],
    first: int,
    request: DocumentRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> list[list[ShardHits]]:
    """Find the nearest encodings to each query in every run of a snapshot: `first` hits per shard."""
    shards = len(snapshot.manifest.shards)
    shared = len(snapshot.shards) > shards  # runs of one shard are searched together
    k = max(1, min(first * shards, snapshot.manifest.rows)) if shared else first
    inner = SearchRequest(k=k, settings=snapshot.settings, deadline=request.deadline)
    if not shared:
        return search_shards(snapshot, encoded, inner, mask, stats)
    nearest = search_rows(snapshot, encoded, inner, mask, stats)
    numbered = np.where(nearest.rows >= 0, nearest.rows + snapshot.groups[0].first_row, -1)
    return [_by_run(snapshot, scores, rows) for scores, rows in zip(nearest.scores, numbered, strict=True)]


def _by_run(snapshot: Snapshot, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> list[ShardHits]:
    """Split the hits of a whole snapshot by run."""
    parts = []
    for run in snapshot.shards:
        in_run = (rows >= run.first_row) & (rows < run.first_row + run.rows)
        parts.append(ShardHits(scores[in_run], rows[in_run] - run.first_row, np.zeros(COUNTERS, np.int64)))
    return parts


def search_document_page(
    snapshot: Snapshot,
    index: DocumentIndex,
    queries: Sequence[NDArray[np.float32]],
    request: DocumentRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> DocumentAnswer:
    """`search_documents` for the k documents after the first `request.offset`; see `pages`."""

    def search(run: slice, depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        answer = search_documents(snapshot, index, queries[run], replace(request, k=depth), mask, stats)
        return answer.scores, answer.rows

    ordered = request.candidates is None  # every document is scored
    scores, rows = collect_page(search, len(queries), request.k, request.offset, ordered=ordered)
    stats.queries = len(queries)
    return DocumentAnswer(scores, rows)


def _eligible(snapshot: Snapshot, mask: IndexMask | None) -> list[NDArray[np.int64]]:
    """Return the rows of each shard that may be returned, numbered within the shard."""
    if mask is None:
        return [np.arange(shard.rows) for shard in snapshot.shards]
    pairs = zip(mask.shards, snapshot.shards, strict=True)
    return [np.asarray(list_rows(shard_mask.words, 0, shard.rows), np.int64) for shard_mask, shard in pairs]
