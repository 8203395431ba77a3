"""Spilling: copy rows into a second partition of their shard.

The second partition is that of SOAR (Sun et al., "SOAR: Improved Indexing for Approximate Nearest Neighbor Search",
2023): not simply the second nearest, whose centroid often lies in the same direction, so that a query which misses the
row in the first partition misses it in the second as well. It minimizes the squared residual plus the square of its
projection on the residual of the first partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.encoding import BATCH_ROWS, decode_rows, encode_rotated
from vsearch.search.state.copies import OF_COPIES
from vsearch.search.state.row_codes import RowCodes, concatenate, take
from vsearch.search.state.run_layout import lay_out_run
from vsearch.search.state.shard import POSITION
from vsearch.storage.snapshots.kinds import ROWS

if TYPE_CHECKING:
    from vsearch.search.state.model import Model

PARALLEL_WEIGHT = 1.0  # of the squared projection, relative to the squared residual
BATCH_ELEMENTS = 1 << 22  # of the distances that are computed at a time


@dataclass(frozen=True, eq=False)
class CopyCodes:
    """Codes of copies without rerank codes, and the row of the run that each belongs to, int64 (n,)."""

    codes: RowCodes
    rows: NDArray[np.int64]


def second_partitions(
    rotated: NDArray[np.floating[Any]],
    first: NDArray[np.integer[Any]],
    centroids: NDArray[np.float32],
    used: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Return the second partition of each row, int32 (n,); -1 if there is only one. O(n * partitions * d).

    Parameters
    ----------
    rotated : (n, d)
        Rows sorted by partition.
    first : integers (n,)
        The partition of each, in the order of `centroids`.
    centroids : float32 (partitions, d)
        Rotated like the rows.
    used : bool (partitions,), optional
        The partitions that searches visit, those with rows; copies lie only in these.
    """
    second = np.full(len(rotated), -1, np.int32)
    unused = np.empty(0, np.int64) if used is None else np.flatnonzero(~used)
    if len(centroids) - len(unused) < 2:
        return second
    edges = [0, *(np.flatnonzero(np.diff(first)) + 1).tolist(), len(first)]
    step = max(1, BATCH_ELEMENTS // len(centroids))
    for low, high in pairwise(edges):
        if low == high:
            continue
        partition = int(first[low])
        offsets = centroids - centroids[partition]  # differences, so that nothing cancels far from the origin
        squares = np.einsum("ij,ij->i", offsets, offsets)
        for start in range(low, high, step):
            rows = slice(start, min(start + step, high))
            residuals = np.asarray(rotated[rows] - centroids[partition], np.float32)
            losses = _losses(residuals, offsets, squares)
            losses[:, partition] = losses[:, unused] = np.inf
            second[rows] = losses.argmin(axis=1)
    return second


def _losses(
    residuals: NDArray[np.float32], offsets: NDArray[np.float32], squares: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the losses (n, partitions) of residuals (n, d); `offsets` lead from their centroid to each, `squares` are their squared norms."""
    lengths = np.einsum("ij,ij->i", residuals, residuals)[:, None]
    products = residuals @ offsets.T
    projections = lengths - products  # times the length of the residual
    losses = squares - 2 * products
    np.square(projections, out=projections)
    projections *= PARALLEL_WEIGHT / np.maximum(lengths, np.finfo(np.float32).tiny)
    losses += projections  # the square of the row's own residual is the same for all
    return losses


def copy_rows(
    model: Model,
    rotated: NDArray[np.floating[Any]],
    partitions: NDArray[np.integer[Any]],
    first_row: int,
    shard_partitions: range,
    used: NDArray[np.bool_] | None = None,
) -> CopyCodes | None:
    """Encode a copy of each row in a second partition; None if there is only one.

    Parameters
    ----------
    rotated : (n, d)
        Rows sorted by partition.
    partitions : integers (n,)
        Of the rows, numbered as in the index.
    first_row : int
        Position of the first row in its run; the others follow.
    shard_partitions : range
        Partitions of the run, in one of which each copy lies.
    used : bool (partitions of the run,), optional
        See `second_partitions`.
    """
    centroids = model.centroids[shard_partitions.start : shard_partitions.stop]
    if len(centroids) < 2 or not len(rotated):
        return None
    second = second_partitions(rotated, partitions - shard_partitions.start, centroids, used)
    if second[0] < 0:
        return None
    codes = encode_rotated(model, rotated, second + np.int32(shard_partitions.start), reranked=False)
    return CopyCodes(codes, first_row + np.arange(len(rotated)))


def lay_out_copies(
    model: Model, copied: Sequence[CopyCodes | None], shard_partitions: range
) -> dict[str, dict[str, NDArray[np.generic]]]:
    """Return the arrays of copies by file kind (see index/FORMAT.md); empty without any."""
    parts = [part for part in copied if part is not None]
    if not parts:
        return {}
    codes, rows = concatenate([part.codes for part in parts]), np.concatenate([part.rows for part in parts])
    order = np.lexsort((rows, codes.partitions))
    arrays = lay_out_run(model, take(codes, order), shard_partitions.start, len(shard_partitions))
    arrays[ROWS][POSITION] = rows[order].astype(np.uint32)
    return {copied: arrays[kind] for kind, copied in OF_COPIES.items()}


def copies_of_codes(
    model: Model, codes: RowCodes, shard_partitions: range, used: NDArray[np.bool_]
) -> dict[str, dict[str, NDArray[np.generic]]]:
    """Return the arrays of copies of rows by file kind; the vectors are decoded from the codes of the rows.

    Parameters
    ----------
    codes : RowCodes
        Of all rows of a run, sorted by partition; with rerank codes.
    shard_partitions : range
        The partitions of the run.
    used : bool (partitions of the run,)
        Those that searches visit.
    """
    copied = []
    for start in range(0, len(codes), BATCH_ROWS):
        batch = take(codes, np.arange(start, min(start + BATCH_ROWS, len(codes))))
        copied.append(copy_rows(model, decode_rows(model, batch), batch.partitions, start, shard_partitions, used))
    return lay_out_copies(model, copied, shard_partitions)
