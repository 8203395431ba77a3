"""Layout: the arrays of one shard from its vectors, partition by partition."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.building.training import Trained
from vsearch.cores import available_cores
from vsearch.kernels.scan.blocks import BLOCK, transpose
from vsearch.metrics import Metric
from vsearch.quantizers.rerank_codes import Rerank, encode_residuals, lie_far_apart, relative_half

CHUNK_ROWS = 16384  # rows encoded at a time by one thread
RERANK_DTYPES = {"int8": np.int8, "float16": np.float16, "float32": np.float32}

Take = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ShardRows:
    """Which rows of the input a shard holds, in which order.

    Attributes
    ----------
    rows : int64 (n,)
        Input rows; by partition, ascending inside each.
    counts : int64 (partitions,)
    partitions : int64 (partitions,)
        Which centroid each of the shard's partitions has.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    partitions: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ShardLayout:
    """Arrays of one shard by file kind; see index/FORMAT.md."""

    partitions: dict[str, NDArray[np.generic]]
    codes: dict[str, NDArray[np.generic]]
    rows: dict[str, NDArray[np.generic]]
    rerank: dict[str, NDArray[np.generic]]


def lay_out(
    shard: ShardRows,
    take: Take,
    trained: Trained,
    metric: Metric,
    rerank: Rerank | None,
    progress: Callable[[int], None],
) -> ShardLayout:
    """Encode a shard; memory is that of its arrays plus some chunks of vectors.

    Parameters
    ----------
    take : callable
        Prepared vectors float32 (n, d) of input rows, less the mean as the centroids are.
    progress : callable
        Told how many rows were just done.
    """
    n, d = len(shard.rows), len(trained.mean)
    stages, cells = trained.quantizer.stage_bytes, trained.quantizer.scan == "cells"
    blocks = (shard.counts + BLOCK - 1) // BLOCK
    row_starts, block_starts = np.cumsum(shard.counts) - shard.counts, np.cumsum(blocks) - blocks
    many = len(shard.counts)
    first = np.zeros((int(blocks.sum()), stages[0] * BLOCK), np.uint8)
    later = np.zeros((int(blocks.sum()), stages[1] * BLOCK), np.uint8) if len(stages) == 2 else None
    factor = np.empty(n, np.float16) if not cells else None
    first_factor = np.empty(n, np.float16) if later is not None and not cells else None
    offset = np.empty(n, np.float32) if metric == "l2" and (rerank or not cells) else None
    rerank_scale = np.empty(n, np.float16) if rerank else None
    codes = np.empty((n, d), RERANK_DTYPES[rerank]) if rerank else None
    rotated, lost = rotated_centroids(trained, metric)
    table = {
        name: np.ones(many, np.float32) for name in ("radius", "factor_scale", "first_factor_scale", "rerank_scale")
    }

    def encode(low: int, high: int) -> int:
        """Encode partitions low..high of the shard."""
        start, stop = int(row_starts[low]), int(row_starts[high - 1] + shard.counts[high - 1])
        of_row = np.repeat(np.arange(low, high), shard.counts[low:high])
        centroids = trained.centroids[shard.partitions[of_row]]
        vectors = take(shard.rows[start:stop])
        residuals = np.asarray((vectors - centroids) @ trained.quantizer.rotation.T, np.float32)
        if lost is not None:
            residuals += lost[shard.partitions[of_row]]
        coded = np.asarray(vectors @ trained.quantizer.rotation.T if cells else residuals, np.float32)
        encoded = trained.quantizer.encode(coded)
        squares = np.einsum("ij,ij->i", residuals, residuals)
        for partition in range(low, high):
            a, b = int(row_starts[partition]), int(row_starts[partition] + shard.counts[partition])
            inside = slice(a - start, b - start)
            at = slice(int(block_starts[partition]), int(block_starts[partition] + blocks[partition]))
            transpose(np.ascontiguousarray(encoded.codes[inside, : stages[0]]), first[at])
            if later is not None:
                transpose(np.ascontiguousarray(encoded.codes[inside, stages[0] :]), later[at])
            if factor is not None:
                factor[a:b], table["factor_scale"][partition] = relative_half(encoded.factors[inside])
            if first_factor is not None and encoded.first_factors is not None:
                halves, scale = relative_half(encoded.first_factors[inside])
                first_factor[a:b], table["first_factor_scale"][partition] = halves, scale
            centre = trained.centroids[shard.partitions[partition]]
            centroid = np.asarray(trained.quantizer.rotation @ centre, np.float32)
            if lost is not None:
                centroid = rotated[shard.partitions[partition]]
            if offset is not None:
                seen = residuals[inside]
                if not rerank and factor is not None:  # what the code is off by along the centroid goes, too
                    scales = factor[a:b].astype(np.float32) * table["factor_scale"][partition]
                    scales *= trained.quantizer.calibration.scale[-1]
                    seen = trained.quantizer.decode(encoded.codes[inside]) * scales[:, None]
                offset[a:b] = squares[inside] + 2 * (seen @ centroid)
            if codes is not None and rerank_scale is not None and rerank is not None:
                made, halves, scale = encode_residuals(residuals[inside], trained.rerank_weights, rerank, centroid)
                codes[a:b], rerank_scale[a:b], table["rerank_scale"][partition] = made.codes, halves, scale
            table["radius"][partition] = np.sqrt(squares[inside].mean(dtype=np.float64))
        return stop - start

    edges = _chunk_edges(shard.counts)
    with ThreadPoolExecutor(available_cores()) as pool:
        for done in pool.map(encode, edges[:-1], edges[1:]):
            progress(done)
    partitions: dict[str, NDArray[np.generic]] = {"rows": shard.counts.astype(np.int64), **table}
    all_codes = {"first": first} | ({"later": later} if later is not None else {})
    columns = {"factor": factor, "first_factor": first_factor, "offset": offset, "rerank_scale": rerank_scale}
    kept = {name: array for name, array in columns.items() if array is not None}
    return ShardLayout(partitions, dict(all_codes), dict(kept), {} if codes is None else {"rerank": codes})


def rotated_centroids(trained: Trained, metric: Metric) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Rotated centroids float32 (partitions, d) as they are stored, and what rows of theirs must add to their residuals.

    Of partitions far apart the stored ones are rounded by more than rows may be moved: rows are coded from where these are.
    """
    rotation = trained.quantizer.rotation
    squares = np.einsum("ij,ij->i", trained.centroids, trained.centroids)
    if metric != "l2" or not lie_far_apart(squares, trained.rerank_weights):
        return trained.centroids @ rotation.T, None
    wide = trained.centroids.astype(np.float64) @ rotation.T.astype(np.float64)
    stored = wide.astype(np.float32)
    return stored, (wide - stored).astype(np.float32)


def _chunk_edges(counts: NDArray[np.int64]) -> list[int]:
    """Edges between runs of partitions of about `CHUNK_ROWS` rows."""
    edges, filled = [0], 0
    for partition, count in enumerate(counts.tolist()):
        if filled and filled + count > CHUNK_ROWS:
            edges.append(partition)
            filled = 0
        filled += count
    return [*edges, len(counts)]
