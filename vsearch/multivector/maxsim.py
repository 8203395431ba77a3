"""MaxSim of the documents of a shard, from centroid codes, all codes or stored vectors; and the matching vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.multivector.api import (
    fill_tables,
    multiply,
    score_codes,
    score_residuals,
    score_wide_codes,
    score_wide_residuals,
    table_bytes,
)
from vsearch.kernels.multivector.hamming import score_hamming
from vsearch.kernels.multivector.strips import LANES, STRIP, TOGETHER
from vsearch.multivector.opening import DocumentIndex, DocumentShard, decode_documents, ensure_codes
from vsearch.storage.snapshots import kinds

FEW_CENTROIDS = 1024  # with more, the product is left to the linear algebra library
BATCH_VECTORS = 65536  # stored vectors that are scored at a time


@dataclass(frozen=True, eq=False)
class QueryTokens:
    """One query's vectors and tables for the kernels, the same for all shards.

    Attributes
    ----------
    vectors : float32 (n, d)
    table : float32 (centroids, width)
        Inner products of centroids and query vectors; `width` is n rounded up to a multiple of 16.
    numbers : uint16 (n,)
        Numbers of the nearest centroids, in binary mode; empty otherwise.
    expanded, scalings
        Lookup tables of the residual codes, see `kernels.multivector.maxsim.fill_tables`; empty without residual bits.
    """

    vectors: NDArray[np.float32]
    table: NDArray[np.float32]
    numbers: NDArray[np.uint16]
    expanded: NDArray[np.uint8]
    scalings: NDArray[np.float32]


def prepare_query(index: DocumentIndex, query: NDArray[np.float32]) -> QueryTokens:
    """Compute the tables of a checked query (n, d). O(n * d * (centroids + d))."""
    token_codec = index.token_codec
    count = len(query)
    numbers, expanded, scalings = np.empty(0, np.uint16), np.empty(0, np.uint8), np.empty((2, 0), np.float32)
    table = np.zeros((len(token_codec.codebook), -(-count // STRIP) * STRIP), np.float32)
    if len(token_codec.codebook) <= FEW_CENTROIDS:
        products = np.zeros((count, len(token_codec.codebook)), np.float32)
        multiply(query, token_codec.codebook_columns, products)
        table[:, :count] = products.T
    else:
        np.matmul(token_codec.codebook, query.T, out=table[:, :count])
    if token_codec.numbers is not None:
        half_squares = np.einsum("ij,ij->i", token_codec.codebook, token_codec.codebook) / 2
        numbers = token_codec.numbers[np.argmax(table[:, :count] - half_squares[:, None], axis=0)]
    if token_codec.residual is not None:
        even = -(-count // TOGETHER) * TOGETHER
        scaled = np.zeros((even, len(token_codec.residual.deltas)), np.float32)
        multiply(query, token_codec.table_scale, scaled)
        expanded = np.zeros(even * table_bytes(token_codec.residual_bytes), np.uint8)
        scalings = np.empty((2, even), np.float32)
        planes, offsets = token_codec.residual.plane_dimensions, token_codec.residual.plane_offsets
        fill_tables(scaled, planes, offsets, token_codec.residual_bytes, expanded, scalings)
    return QueryTokens(query, table, numbers, expanded, scalings)


def score_by_codes(
    index: DocumentIndex, documents: DocumentShard, query: QueryTokens, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Compute the MaxSim of documents of a shard from centroid codes only, Hamming in binary mode: float32 (rows,)."""
    starts, stops = documents.offsets[rows], documents.offsets[rows + 1]
    scores, count = np.empty(len(rows), np.float32), len(query.vectors)
    if index.token_codec.numbers is not None:
        bits = index.token_codec.number_bits
        documents.ensure_numbers(starts, stops, bits)
        score_hamming(documents.packed, bits, starts, stops, query.numbers, np.empty(count, np.uint16), scores)
        return scores
    ensure_codes(index, documents, rows)
    kernel = score_codes if documents.codes.itemsize == 1 else score_wide_codes
    kernel(documents.codes, starts, stops, query.table, count, np.empty(STRIP, np.float32), scores)
    return scores


def score_by_residuals(
    index: DocumentIndex, documents: DocumentShard, query: QueryTokens, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Compute the MaxSim of documents of a shard from all their codes: float32 (rows,)."""
    starts, stops = documents.offsets[rows], documents.offsets[rows + 1]
    ensure_codes(index, documents, rows)
    documents.ensure(kinds.PATCH_FACTORS, "factor", starts, stops)
    documents.ensure(kinds.PATCH_RESIDUALS, "residual", starts, stops)
    width, count, scores = index.token_codec.residual_bytes, len(query.vectors), np.empty(len(rows), np.float32)
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
        count,
        query.expanded,
        query.scalings,
        np.empty(width * LANES, np.uint8),
        np.empty((2 * TOGETHER + 1, LANES), np.float32),
        np.empty(count, np.float32),
        scores,
    )
    return scores


def score_exactly(
    index: DocumentIndex, documents: DocumentShard, query: QueryTokens, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Compute the MaxSim of documents of a shard from their stored vectors: float32 (rows,)."""
    scores = np.empty(len(rows), np.float32)
    ends = np.cumsum(documents.offsets[rows + 1] - documents.offsets[rows])
    start = 0
    while start < len(rows):
        before = 0 if start == 0 else int(ends[start - 1])
        stop = max(start + 1, int(np.searchsorted(ends, before + BATCH_VECTORS, side="right")))
        vectors, offsets = decode_documents(index, documents, rows[start:stop], exact=True)
        best = np.maximum.reduceat(vectors @ query.vectors.T, offsets[:-1], axis=0)
        scores[start:stop] = best.sum(axis=1)
        start = stop
    return scores


@dataclass(frozen=True, eq=False)
class RowMatches:
    """The best vector of each hit of a query for each query vector, and its score.

    Attributes
    ----------
    positions : int64 (hits, n)
        Positions in the input document; for merged vectors, that of the vector most similar to the merged one.
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
    """Return the matches of a query's vectors (n, d) in documents; -1 and NaN for rows that are -1."""
    positions = np.full((len(rows), len(query)), -1, np.int64)
    scores = np.full((len(rows), len(query)), np.nan, np.float32)
    for documents in index.shards:
        local = rows - documents.shard.first_row
        local = local[(rows >= 0) & (local >= 0) & (local < documents.shard.rows)]
        if documents.positions is not None and len(local):
            starts, stops = documents.offsets[local], documents.offsets[local + 1]
            documents.ensure(kinds.PATCH_POSITIONS, "position", starts, stops)
    for number, row in enumerate(rows.tolist()):
        if row < 0:
            continue
        documents = next(d for d in index.shards if row < d.shard.first_row + d.shard.rows)
        run_rows = np.array([row - documents.shard.first_row])
        vectors, _ = decode_documents(index, documents, run_rows, exact=exact)
        products = query @ vectors.T
        best = np.argmax(products, axis=1)
        scores[number] = products[np.arange(len(query)), best]
        if documents.positions is not None:
            best = documents.positions[documents.offsets[run_rows[0]] + best].astype(np.int64)
        positions[number] = best
    return RowMatches(positions, scores)
