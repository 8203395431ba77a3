"""Searching documents of many vectors: candidates, a first MaxSim on centroid codes, MaxSim on all codes, merge.

Candidates come from an ordinary search of the documents' fixed-dimensional encodings (so that partitions and filters apply)
or from inverted lists over centroids. Every shard reranks candidates of its own, so that an answer does not depend on whether
one process or many functions search them.
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
from vsearch.search.engine.steps import merge_hits
from vsearch.search.pages import collect_page
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.vectors import search_shards
from vsearch.storage import DocumentsEntry
from vsearch.storage.stores.retrying import carried

CANDIDATES = 128  # documents that a shard reranks with all their codes
OVERSAMPLING = 2  # documents that the centroid codes choose them from, for each
PROBES = 4  # lists probed for each query vector


@dataclass(frozen=True)
class DocumentRequest:
    """What to search for besides the vectors.

    Attributes
    ----------
    k : int
    candidates : int or None
        Documents that each shard reranks; None for every one that the predicate lets pass.
    exact : bool
        Order them by the stored vectors at last.
    deadline : float or None
        `time.monotonic` value after which the search gives up.
    offset : int
        Documents before those wanted; for `search_document_page`.
    """

    k: int
    candidates: int | None = CANDIDATES
    exact: bool = False
    deadline: float | None = None
    offset: int = 0


@dataclass(frozen=True, eq=False)
class DocumentAnswer:
    """Best documents of m queries: scores float32 (m, k), rows int64 (m, k); NaN and -1 where there are none.

    Attributes
    ----------
    candidates : list of int64 arrays
        Rows that were reranked, per query, ascending.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    candidates: list[NDArray[np.int64]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class ShardDocuments:
    """What one shard gives one query: best rows int64 and scores float32, best first; and the rows it reranked, ascending."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    candidates: NDArray[np.int64]


def check_query(query: NDArray[np.generic], dimensions: int, number: int) -> NDArray[np.float32]:
    """One query's vectors as float32 (n, d), or an error that says what is wrong with them."""
    array = np.asarray(query)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != dimensions or len(array) == 0:
        msg = f"query {number} is {array.dtype} {array.shape}; give at least one vector of {dimensions} dimensions"
        raise InputError(msg)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        msg = f"query {number}: vector {bad} holds NaN or infinity; remove it or mend the encoder"
        raise InputError(msg)
    if not is_bounded(array):
        msg = f"query {number} is too large: its numbers add up to more than {LARGEST_ELEMENT:g}; mend the encoder"
        raise InputError(msg)
    return array


def is_bounded(vectors: NDArray[np.float32]) -> bool:
    """Whether a query of these vectors has an encoding, a sum of them, that searches without overflow."""
    return bool(np.abs(vectors).sum(dtype=np.float64) <= LARGEST_ELEMENT)


def prune_query(
    query: NDArray[np.float32], saliency: NDArray[np.floating] | None, keep: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ceil(keep * n) most salient vectors of a query, in their order, and their places."""
    if keep >= 1 or saliency is None:
        return query, np.arange(len(query))
    many = max(1, int(np.ceil(keep * len(query) - 1e-9)))
    places = np.sort(np.argsort(-saliency, kind="stable")[:many])
    return np.ascontiguousarray(query[places]), places


def search_lists(
    documents: DocumentShard, query: QueryTokens, eligible: NDArray[np.int64], many: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Candidates of a shard from inverted lists: rows and their estimated MaxSim, best first.

    Where the lists hold fewer than `many` eligible documents, others fill up.
    """
    if documents.list_offsets is None or documents.list_documents is None:
        msg = "this index has no inverted lists: build it with candidates='lists'"
        raise InputError(msg)
    similar = query.table[:, : len(query.vectors)].T
    probes = min(PROBES, similar.shape[1])
    nearest = np.argpartition(-similar, probes - 1, axis=1)[:, :probes]
    scores = np.take_along_axis(similar, nearest, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    nearest = np.ascontiguousarray(np.take_along_axis(nearest, order, axis=1), np.int64)
    scores = np.ascontiguousarray(np.take_along_axis(scores, order, axis=1))
    missing = np.ascontiguousarray(scores[:, -1])
    rows = len(documents.offsets) - 1
    totals = np.full(rows, missing.sum(), np.float32)
    collect_lists(
        documents.list_offsets, documents.list_documents, nearest, scores, missing, np.full(rows, -1, np.int64), totals
    )
    best = eligible[top(totals[eligible], eligible, many)]
    return best, totals[best]


def first_candidates(entry: DocumentsEntry, request: DocumentRequest, rows: int) -> int | None:
    """How many candidates each shard begins with; None for every document.

    Parameters
    ----------
    entry : DocumentsEntry
        What the manifest says of the documents.
    rows : int
        Documents of the index.
    """
    if request.candidates is None:
        return None
    staged = entry.patches.residual is not None
    return min(max(request.candidates, request.k) * (OVERSAMPLING if staged else 1), rows)


def by_encodings(entry: DocumentsEntry, request: DocumentRequest) -> bool:
    """Whether candidates come from a search of the encodings: not from lists, nor are all documents candidates."""
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
    """The best documents of one shard for one query; rows are numbered inside the shard.

    Parameters
    ----------
    first : int or None
        From `first_candidates`.
    hits : ShardHits or None
        What the encodings found, where `by_encodings`.
    eligible : int64 array or None
        Rows that may be returned, ascending, where there are no hits.
    """
    if hits is not None:
        there = hits.rows >= 0
        rows, estimates = hits.rows[there], hits.scores[there]
    elif eligible is None:
        msg = "a shard is searched with hits of the encodings or with the rows that may be returned"
        raise ValueError(msg)
    elif first is None:
        rows, estimates = eligible, np.zeros(len(eligible), np.float32)
    else:
        rows, estimates = search_lists(documents, query, eligible, first)
    order = np.argsort(rows)
    rows, estimates = rows[order], estimates[order]
    by_codes = score_by_codes if index.patches.residual is None else score_by_residuals
    wanted = len(rows) if request.candidates is None else max(request.candidates, request.k)
    if len(rows) > wanted and hits is not None:
        # the encoding sees what the centroids leave out, and the other way round: their sum is better than either
        rows = np.sort(rows[top(score_by_codes(index, documents, query, rows) + estimates, rows, wanted)])
    elif len(rows) > wanted and request.exact:
        rows = np.sort(rows[top(by_codes(index, documents, query, rows), rows, wanted)])
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

    min(k, documents that match) come back for each. Scores are MaxSim on the codes (bits in common in binary mode), or on
    the stored vectors where `request.exact` asks for them. Ties go to the lower row.
    """
    mask = live_mask(snapshot) if mask is None else mask
    first = first_candidates(index.entry, request, snapshot.manifest.rows)
    found: list[list[ShardHits]] | None = None
    eligible: list[NDArray[np.int64]] | None = None
    if first is not None and by_encodings(index.entry, request):
        with stats.level("prepare"):
            encoded = np.stack([index.fde.encode_query(query) for query in queries])
        found = _search_encodings(snapshot, encoded, first, request, mask, stats)
    else:
        eligible = _eligible(snapshot, mask)
        stats.queries += len(queries)
    stats.estimated = not request.exact

    def one(position: int) -> list[ShardDocuments]:
        if request.deadline is not None and time.monotonic() > request.deadline:
            msg = f"the search ran into its timeout at query {position} of {len(queries)}; give it longer or fewer candidates"
            raise SearchTimeoutError(msg)
        query = prepare_query(index, queries[position])
        return [
            rank_shard(
                index,
                documents,
                query,
                request,
                first,
                hits=None if found is None else found[position][number],
                eligible=None if eligible is None else eligible[number],
            )
            for number, documents in enumerate(index.shards)
        ]

    with stats.level("scan"):
        if len(queries) == 1:
            all_ = [one(0)]
        else:
            with ThreadPoolExecutor(available_cores()) as pool:
                all_ = list(pool.map(carried(one), range(len(queries))))
    shape = len(queries), request.k
    answer = DocumentAnswer(np.empty(shape, np.float32), np.empty(shape, np.int64))
    firsts = [documents.shard.first_row for documents in index.shards]
    for position, parts in enumerate(all_):
        rows = [part.rows + start for part, start in zip(parts, firsts, strict=True)]
        scores = [part.scores for part in parts]
        answer.scores[position], answer.rows[position] = merge(scores, rows, request.k)
        considered = np.concatenate([part.candidates + start for part, start in zip(parts, firsts, strict=True)])
        answer.candidates.append(considered)
        stats.rows_reranked += len(considered)
    return answer


def _search_encodings(
    snapshot: Snapshot,
    encoded: NDArray[np.float32],
    first: int,
    request: DocumentRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> list[list[ShardHits]]:
    """What each query finds by the encodings in every run of a snapshot: `first` of each shard."""
    shards = len(snapshot.manifest.shards)
    shared = len(snapshot.shards) > shards  # runs of one shard are searched together
    k = min(first * shards, snapshot.manifest.rows) if shared else first
    inner = SearchRequest(k=k, settings=snapshot.settings, deadline=request.deadline)
    found = search_shards(snapshot, encoded, inner, mask, stats)
    if not shared:
        return found
    return [_by_run(snapshot, *merge_hits(snapshot, hits, k)) for hits in found]


def _by_run(snapshot: Snapshot, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> list[ShardHits]:
    """Hits of a whole snapshot by the run that they are in."""
    parts = []
    for run in snapshot.shards:
        own = (rows >= run.first_row) & (rows < run.first_row + run.rows)
        parts.append(ShardHits(scores[own], rows[own] - run.first_row, np.zeros(COUNTERS, np.int64)))
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
        found = search_documents(snapshot, index, queries[run], replace(request, k=depth), mask, stats)
        return found.scores, found.rows

    ordered = request.candidates is None  # every document is scored
    scores, rows = collect_page(search, len(queries), request.k, request.offset, ordered=ordered)
    stats.queries = len(queries)
    return DocumentAnswer(scores, rows)


def _eligible(snapshot: Snapshot, mask: IndexMask | None) -> list[NDArray[np.int64]]:
    """Rows of each shard that may be returned, numbered inside it."""
    if mask is None:
        return [np.arange(shard.rows) for shard in snapshot.shards]
    pairs = zip(mask.shards, snapshot.shards, strict=True)
    return [np.asarray(list_rows(own.words, 0, shard.rows), np.int64) for own, shard in pairs]
