"""Searching documents of many vectors: candidates, a first MaxSim on centroid codes, MaxSim on all codes, merge.

Candidates come from an ordinary search of the documents' fixed-dimensional encodings (so that partitions and filters apply)
or from inverted lists over centroids. The pure functions here serve a process and a worker function alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InputError, SearchTimeoutError
from vsearch.kernels.bitmaps import list_rows
from vsearch.kernels.hamming import score_hamming
from vsearch.kernels.lists import collect_lists
from vsearch.kernels.maxsim_entry import (
    fill_tables,
    score_codes,
    score_residuals,
    score_wide_codes,
    score_wide_residuals,
    table_bytes,
)
from vsearch.kernels.strips import LANES, STRIP, TOGETHER
from vsearch.search.document_part import DocumentIndex, DocumentShard, decode_documents, ensure_codes
from vsearch.search.masks import IndexMask
from vsearch.search.query import SearchRequest, search_vectors
from vsearch.search.snapshot import Snapshot
from vsearch.search.stats import SearchStats

CANDIDATES = 128  # documents that are reranked with all their codes
OVERSAMPLING = 2  # documents that the centroid codes choose them from, for each
PROBES = 4  # lists probed for each query vector

Scorer = Callable[["DocumentIndex", "DocumentShard", "QueryPatches", NDArray[np.int64]], NDArray[np.float32]]
"""How documents of a shard are scored, by their rows."""


@dataclass(frozen=True)
class DocumentRequest:
    """What to search for besides the vectors.

    Attributes
    ----------
    k : int
    candidates : int or None
        Documents that are reranked; None for every one that the predicate lets pass.
    exact : bool
        Order the candidates by the stored vectors at last.
    deadline : float or None
        `time.monotonic` value after which the search gives up.
    """

    k: int
    candidates: int | None = CANDIDATES
    exact: bool = False
    deadline: float | None = None


@dataclass(frozen=True, eq=False)
class QueryPatches:
    """All that the kernels need of one query's vectors, whatever the shard.

    Attributes
    ----------
    vectors : float32 (n, d)
    table : float32 (centroids, width)
        Inner products of centroids and query vectors; `width` is n rounded up to a multiple of 16.
    numbers : uint16 (n,)
        Of the nearest centroids, in binary mode; empty otherwise.
    expanded, steps, biases
        Lookup tables of the residual codes, see `kernels.maxsim.fill_tables`; empty without residual bits.
    """

    vectors: NDArray[np.float32]
    table: NDArray[np.float32]
    numbers: NDArray[np.uint16]
    expanded: NDArray[np.uint8]
    steps: NDArray[np.float32]
    biases: NDArray[np.float32]


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
    return array


def prune_query(
    query: NDArray[np.float32], saliency: NDArray[np.floating] | None, keep: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ceil(keep * n) most salient vectors of a query, in their order, and their places."""
    if keep >= 1 or saliency is None:
        return query, np.arange(len(query))
    many = max(1, int(np.ceil(keep * len(query) - 1e-9)))
    places = np.sort(np.argsort(-saliency, kind="stable")[:many])
    return np.ascontiguousarray(query[places]), places


def prepare_query(index: DocumentIndex, query: NDArray[np.float32]) -> QueryPatches:
    """Tables of a checked query (n, d). O(n * d * (centroids + d))."""
    patches = index.patches
    many = len(query)
    none: NDArray[np.float32] = np.empty(0, np.float32)
    numbers, expanded, steps, biases = np.empty(0, np.uint16), np.empty(0, np.uint8), none, none
    table = np.zeros((len(patches.codebook), -(-many // STRIP) * STRIP), np.float32)
    np.matmul(patches.codebook, query.T, out=table[:, :many])
    if patches.numbers is not None:
        half_squares = np.einsum("ij,ij->i", patches.codebook, patches.codebook) / 2
        numbers = patches.numbers[np.argmax(table[:, :many] - half_squares[:, None], axis=0)]
    if patches.residual is not None:
        even = -(-many // TOGETHER) * TOGETHER
        scaled = np.zeros((even, len(patches.residual.deltas)), np.float32)
        np.matmul(query, patches.table_scale, out=scaled[:many])
        expanded = np.zeros(even * table_bytes(patches.residual_bytes), np.uint8)
        steps, biases = np.empty(even, np.float32), np.empty(even, np.float32)
        planes, offsets = patches.residual.plane_dimensions, patches.residual.plane_offsets
        fill_tables(scaled, planes, offsets, patches.residual_bytes, expanded, steps, biases)
    return QueryPatches(query, table, numbers, expanded, steps, biases)


def score_by_codes(
    index: DocumentIndex, documents: DocumentShard, query: QueryPatches, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """MaxSim of some documents of a shard from centroid codes alone; Hamming in binary mode. float32 (rows,)."""
    starts, stops = documents.offsets[rows], documents.offsets[rows + 1]
    scores, many = np.empty(len(rows), np.float32), len(query.vectors)
    if index.patches.numbers is not None:
        bits = index.patches.number_bits
        documents.ensure("patch-numbers", "packed", starts * bits // 8, -(-stops * bits // 8) + 2)
        score_hamming(documents.packed, bits, starts, stops, query.numbers, np.empty(many, np.uint16), scores)
        return scores
    ensure_codes(index, documents, rows)
    kernel = score_codes if documents.codes.itemsize == 1 else score_wide_codes
    kernel(documents.codes, starts, stops, query.table, many, np.empty(STRIP, np.float32), scores)
    return scores


def score_by_residuals(
    index: DocumentIndex, documents: DocumentShard, query: QueryPatches, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """MaxSim of some documents of a shard from all their codes: float32 (rows,)."""
    starts, stops = documents.offsets[rows], documents.offsets[rows + 1]
    ensure_codes(index, documents, rows)
    documents.ensure("patch-factors", "factor", starts, stops)
    documents.ensure("patch-residuals", "residual", starts, stops)
    width, many, scores = index.patches.residual_bytes, len(query.vectors), np.empty(len(rows), np.float32)
    kernel = score_residuals if documents.codes.itemsize == 1 else score_wide_residuals
    kernel(
        documents.codes,
        documents.factors,
        documents.residuals,
        width,
        starts,
        stops,
        documents.scales[rows],
        query.table,
        many,
        query.expanded,
        query.steps,
        query.biases,
        np.empty(width * LANES, np.uint8),
        np.empty((TOGETHER, LANES), np.float32),
        np.empty(many, np.float32),
        scores,
    )
    return scores


def score_exactly(
    index: DocumentIndex, documents: DocumentShard, query: QueryPatches, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """MaxSim of some documents of a shard from their stored vectors: float32 (rows,)."""
    vectors, offsets = decode_documents(index, documents, rows, exact=True)
    best = np.maximum.reduceat(vectors @ query.vectors.T, offsets[:-1], axis=0)
    return np.asarray(best.sum(axis=1), np.float32)


def search_lists(
    documents: DocumentShard, query: QueryPatches, eligible: NDArray[np.int64], many: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Candidates of a shard from inverted lists: rows, ascending, and their estimated MaxSim.

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
    best = eligible[_best(totals[eligible], eligible, many)]
    return best, totals[best]


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
    stats.estimated = not request.exact
    reranked = None if request.candidates is None else max(request.candidates, request.k)
    staged = index.patches.residual is not None
    # lists estimate by centroids, so that these have nothing to add: all that they find is reranked
    reranked = reranked * OVERSAMPLING if reranked is not None and index.has_lists and staged else reranked
    first = (
        None
        if reranked is None
        else min(reranked * (OVERSAMPLING if staged and not index.has_lists else 1), snapshot.manifest.rows)
    )
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] | None = None
    if first is not None and not index.has_lists:
        with stats.level("prepare"):
            encoded = np.stack([index.fde.encode_query(query) for query in queries])
        inner = SearchRequest(k=first, settings=snapshot.settings, deadline=request.deadline)
        answer = search_vectors(snapshot, encoded, inner, mask, stats)
        found = [(rows[rows >= 0], scores[rows >= 0]) for rows, scores in zip(answer.rows, answer.scores, strict=True)]
    eligible = None if found is not None else _eligible(snapshot, mask)

    def one(position: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        if request.deadline is not None and time.monotonic() > request.deadline:
            msg = f"the search ran into its timeout at query {position} of {len(queries)}; give it longer or fewer candidates"
            raise SearchTimeoutError(msg)
        query = prepare_query(index, queries[position])
        rows, scores = _candidates(snapshot, index, query, None if found is None else found[position], eligible, first)
        return _rerank(snapshot, index, query, rows, scores, request, reranked)

    scores = np.full((len(queries), request.k), np.nan, np.float32)
    rows = np.full((len(queries), request.k), -1, np.int64)
    candidates = []
    with stats.level("scan"):
        if len(queries) == 1:
            all_ = [one(0)]
        else:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                all_ = list(pool.map(one, range(len(queries))))
    for position, (best, values, considered) in enumerate(all_):
        rows[position, : len(best)], scores[position, : len(best)] = best, values
        candidates.append(considered)
        stats.rows_reranked += len(considered)
    if found is None:
        stats.queries += len(queries)
    return DocumentAnswer(scores, rows, candidates)


def _eligible(snapshot: Snapshot, mask: IndexMask | None) -> list[NDArray[np.int64]]:
    """Rows of each shard that may be returned, numbered inside it."""
    if mask is None:
        return [np.arange(shard.rows) for shard in snapshot.shards]
    pairs = zip(mask.shards, snapshot.shards, strict=True)
    return [np.asarray(list_rows(own.words, 0, shard.rows), np.int64) for own, shard in pairs]


def _candidates(
    snapshot: Snapshot,
    index: DocumentIndex,
    query: QueryPatches,
    found: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    eligible: list[NDArray[np.int64]] | None,
    many: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Candidate rows, numbered through all shards, and what their first estimate adds to that of the codes."""
    if found is not None:
        return found
    rows, scores = [], []
    for shard, documents, inside in zip(snapshot.shards, index.shards, eligible or (), strict=True):
        if many is None:
            chosen, estimates = inside, np.zeros(len(inside), np.float32)
        else:
            chosen, estimates = search_lists(documents, query, inside, many)
        rows.append(chosen + shard.first_row)
        scores.append(estimates)
    all_rows, all_scores = np.concatenate(rows), np.concatenate(scores)
    if many is None:
        return all_rows, all_scores
    best = _best(all_scores, all_rows, many)
    return all_rows[best], all_scores[best]


def _rerank(
    snapshot: Snapshot,
    index: DocumentIndex,
    query: QueryPatches,
    rows: NDArray[np.int64],
    estimates: NDArray[np.float32],
    request: DocumentRequest,
    reranked: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Best rows and scores of the candidates, and which were reranked."""
    order = np.argsort(rows)
    rows, estimates = rows[order], estimates[order]
    staged = index.patches.residual is not None
    if staged and reranked is not None and len(rows) > reranked:
        # the encoding sees what the centroids leave out, and the other way round: their sum is better than either
        first = _score(snapshot, index, query, rows, score_by_codes) + estimates
        rows = np.sort(rows[_best(first, rows, reranked)])
    scores = _score(snapshot, index, query, rows, score_by_residuals if staged else score_by_codes)
    considered = rows
    if request.exact:
        best = _best(scores, rows, max(request.k, CANDIDATES if reranked is None else reranked))
        rows = np.sort(rows[best])
        scores = _score(snapshot, index, query, rows, score_exactly)
    best = _best(scores, rows, request.k)
    return rows[best], scores[best], considered


def _score(
    snapshot: Snapshot, index: DocumentIndex, query: QueryPatches, rows: NDArray[np.int64], by: Scorer
) -> NDArray[np.float32]:
    """Scores of ascending rows, shard by shard."""
    if len(index.shards) == 1:
        return by(index, index.shards[0], query, rows)
    edges = np.searchsorted(rows, [shard.first_row for shard in snapshot.shards] + [np.iinfo(np.int64).max])
    parts = [
        by(index, documents, query, rows[low:high] - documents.shard.first_row)
        for documents, low, high in zip(index.shards, edges[:-1], edges[1:], strict=True)
        if high > low
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _best(scores: NDArray[np.float32], rows: NDArray[np.int64], many: int) -> NDArray[np.int64]:
    """Places of the `many` best, best first; ties go to the lower row."""
    if len(scores) > many:
        least = np.partition(scores, len(scores) - many)[len(scores) - many]
        places = np.flatnonzero(scores >= least)
        return places[np.lexsort((rows[places], -scores[places]))][:many]
    return np.lexsort((rows, -scores))


@dataclass(frozen=True, eq=False)
class RowMatches:
    """For the hits of one query: which vector of the document each query vector met, and its score.

    Attributes
    ----------
    positions : int64 (hits, n)
        In the document as it was given; where vectors were merged, the one most like the merged vector.
    scores : float32 (hits, n)
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]


def match_rows(
    index: DocumentIndex,
    query: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    exact: bool = False,
) -> RowMatches:
    """Matches of a query's vectors (n, d) in some documents, -1 and NaN where a row is -1."""
    positions = np.full((len(rows), len(query)), -1, np.int64)
    scores = np.full((len(rows), len(query)), np.nan, np.float32)
    for number, row in enumerate(rows.tolist()):
        if row < 0:
            continue
        documents = next(d for d in index.shards if row < d.shard.first_row + d.shard.rows)
        inside = np.array([row - documents.shard.first_row])
        vectors, _ = decode_documents(index, documents, inside, exact=exact)
        similar = query @ vectors.T
        best = np.argmax(similar, axis=1)
        scores[number] = similar[np.arange(len(query)), best]
        if documents.positions is not None:
            start, stop = documents.offsets[inside], documents.offsets[inside + 1]
            documents.ensure("patch-positions", "position", start, stop)
            best = documents.positions[int(start[0]) : int(stop[0])][best].astype(np.int64)
        positions[number] = best
    return RowMatches(positions, scores)
