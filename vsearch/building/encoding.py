"""Encode vectors with a trained model, for the rows of a build and for rows that are added later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.bits import nearest_bits
from vsearch.building.partitioning import assign
from vsearch.building.regions import divide_into_regions
from vsearch.building.training import Trained, prepare_vectors
from vsearch.metrics import Metric
from vsearch.quantizers.rerank_codes import (
    Rerank,
    ResidualCodes,
    decode_residuals,
    encode_residuals,
    lie_far_apart,
    round_to_half_precision,
)
from vsearch.quantizers.rotating import rotate_vectors
from vsearch.search.state.model import Model
from vsearch.search.state.row_codes import RowCodes, concatenate, no_rows, row_columns, take

CHUNK_ROWS = 16384  # rows assigned to partitions at a time
BATCH_ROWS = 2048  # rows encoded at a time: encoding needs several temporary arrays of this length


def model_of(trained: Trained, metric: Metric, rerank: Rerank | None, *, bitwise: bool = False) -> Model:
    """Return the model as searches will read it, so that rows are encoded with exactly the numbers that are stored."""
    squares = np.einsum("ij,ij->i", trained.centroids, trained.centroids)
    wide = metric == "l2" and lie_far_apart(squares, trained.rerank_weights)
    plain = trained.centroids.astype(np.float64) if wide else trained.centroids
    centroids = np.asarray(rotate_vectors(trained.quantizer, plain), np.float32)
    # for unit vectors, float16 centroids add less than a tenth of the error of int8 rerank codes
    halves = centroids.astype(np.float16) if metric == "cosine" and rerank == "int8" else None
    if halves is not None:
        centroids = halves.astype(np.float32)
    return Model(
        metric=metric,
        mean=trained.mean,
        quantizer=trained.quantizer,
        centroids=centroids,
        centroid_squares=np.einsum("ij,ij->i", centroids, centroids),
        rerank=rerank,
        rerank_weights=trained.rerank_weights,
        half_centroids=halves,
        bitwise=bitwise,
        regions=divide_into_regions(centroids),
    )


def encode_rows(model: Model, vectors: NDArray[np.generic]) -> tuple[RowCodes, NDArray[np.int64]]:
    """Assign vectors to the nearest centroids and encode them. O(n * d * (d + partitions)).

    Parameters
    ----------
    vectors : (n, d)
        Of any stored dtype; already checked to be finite and within the bounds of the metric.

    Returns
    -------
    codes : RowCodes
        Sorted by partition.
    order : int64 (n,)
        For each code, the index of its vector; ascending within a partition.
    """
    parts = []
    for start in range(0, len(vectors), CHUNK_ROWS):
        prepared = prepare_vectors(vectors[start : start + CHUNK_ROWS], model.metric, model.mean)
        rotated = rotate(model, prepared)
        nearest = assign(np.ascontiguousarray(rotated, np.float32), model.centroids)
        parts.append(encode_rotated(model, rotated, nearest))
    codes = concatenate(parts or [no_rows(model)])
    order = np.argsort(codes.partitions, kind="stable")
    return take(codes, order), order


def decode_rows(model: Model, codes: RowCodes) -> NDArray[np.floating[Any]]:
    """Decode rows to rotated vectors (n, d); the model must have rerank codes. float64 if `rotate` returns that."""
    if model.rerank is None or codes.rerank is None or codes.rerank_scales is None:
        raise ValueError("the rows must have rerank codes")
    residuals = decode_residuals(ResidualCodes(codes.rerank, codes.rerank_scales), model.rerank_weights, model.rerank)
    centroids: NDArray[np.floating[Any]] = model.centroids[codes.partitions]
    return (centroids.astype(np.float64) if model.far_apart else centroids) + residuals


def original_vectors(model: Model, rotated: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Undo rotation and centering: vectors float32 (n, d) as they were passed in, but normalized under cosine."""
    vectors = np.asarray(model.original(rotated) + model.mean, np.float32)
    return nearest_bits(vectors) if model.bitwise else vectors


def rotate(model: Model, prepared: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Rotate prepared vectors (n, d); in float64 if the centroids lie so far out that float32 would lose the residuals."""
    return rotate_vectors(model.quantizer, prepared.astype(np.float64) if model.far_apart else prepared)


def encode_rotated(
    model: Model, rotated: NDArray[np.floating[Any]], partitions: NDArray[np.integer[Any]], *, reranked: bool = True
) -> RowCodes:
    """Encode rotated vectors (n, d) given the partition of each, integers (n,); the order is kept.

    Without `reranked`, rerank codes and their scales are left out, as copies have none.
    """
    parts = []
    for start in range(0, len(rotated), BATCH_ROWS):
        batch = slice(start, start + BATCH_ROWS)
        parts.append(_encode_batch(model, rotated[batch], partitions[batch].astype(np.int32), reranked=reranked))
    none = no_rows(model)
    return concatenate(parts or [none if reranked else replace(none, rerank=None, rerank_scales=None)])


def _encode_batch(
    model: Model, rotated: NDArray[np.floating[Any]], partitions: NDArray[np.int32], *, reranked: bool
) -> RowCodes:
    quantizer, present = model.quantizer, row_columns(model)
    centroids = model.centroids[partitions]
    residuals = np.asarray(rotated - centroids, np.float32)
    squares = np.einsum("ij,ij->i", residuals, residuals)
    scans_cells = quantizer.scan == "cells"
    encoded = quantizer.encode(np.ascontiguousarray(rotated, np.float32) if scans_cells else residuals)
    factors = None if scans_cells else round_to_half_precision(encoded.factors)
    first = encoded.first_factors if "first_factors" in present else None
    offsets = None
    if "offsets" in present:
        reconstructed = residuals
        if model.rerank is None and factors is not None:  # includes the code's error along the centroid
            reconstructed = quantizer.decode(encoded.codes) * (factors * quantizer.calibration.scale[-1])[:, None]
        offsets = squares + 2 * np.einsum("ij,ij->i", reconstructed, centroids)
    rerank = None
    if reranked and model.rerank is not None:
        rerank = encode_residuals(residuals, model.rerank_weights, model.rerank, centroids)
    return RowCodes(
        partitions=partitions,
        codes=encoded.codes,
        factors=factors,
        first_factors=None if first is None else round_to_half_precision(first),
        offsets=offsets,
        rerank_scales=None if rerank is None else rerank.scales,
        squares=squares,
        rerank=None if rerank is None else rerank.codes,
    )
