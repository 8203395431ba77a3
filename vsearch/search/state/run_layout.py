"""Lay out a run for the scan: rows by partition, in blocks, relative to scales of their partition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.scan.blocks import BLOCK, transpose
from vsearch.quantizers.rerank_codes import relative_half
from vsearch.search.state.model import Model
from vsearch.search.state.row_codes import RowCodes


def lay_out_run(
    model: Model, codes: RowCodes, first_partition: int, partitions: int
) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays of a run by file kind (see index/FORMAT.md), without a loop over partitions. O(rows + partitions).

    Parameters
    ----------
    codes : RowCodes
        Sorted by partition.
    first_partition, partitions : int
        The partitions of the run; empty ones have a radius of 0 and scales of 1.

    Returns
    -------
    dict
        Arrays by name, for each of the kinds "partitions", "codes", "rows" and "rerank"; empty dicts for missing kinds.

    Raises
    ------
    ValueError
        The rows are not sorted by partition, or lie in other partitions.
    """
    local = codes.partitions.astype(np.int64) - first_partition
    if len(local) and (local[0] < 0 or local[-1] >= partitions or (np.diff(local) < 0).any()):
        last = first_partition + partitions - 1
        msg = f"rows must be sorted by partition, in partitions {first_partition} to {last}"
        raise ValueError(msg)
    counts = np.bincount(local, minlength=partitions).astype(np.int64)
    starts = np.cumsum(counts) - counts
    used = np.flatnonzero(counts)
    table = {name: np.ones(partitions, np.float32) for name in ("factor_scale", "first_factor_scale", "rerank_scale")}
    radius = np.zeros(partitions, np.float32)
    if len(used):
        radius[used] = np.sqrt(np.add.reduceat(codes.squares, starts[used], dtype=np.float64) / counts[used])
    rows: dict[str, NDArray[Any]] = {}

    def add_halves(name: str, scale: str, values: NDArray[np.float32] | None) -> None:
        if values is not None:
            rows[name], table[scale][used] = relative_half(values, counts[used])

    add_halves("factor", "factor_scale", codes.factors)
    add_halves("first_factor", "first_factor_scale", codes.first_factors)
    if codes.offsets is not None:
        rows["offset"] = codes.offsets
    add_halves("rerank_scale", "rerank_scale", codes.rerank_scales)
    return {
        "partitions": {"rows": counts, "radius": radius, **table},
        "codes": _blocks(codes.codes, model.quantizer.stage_bytes, local, starts, counts),
        "rows": rows,
        "rerank": {} if codes.rerank is None else {"rerank": codes.rerank},
    }


def _blocks(
    codes: NDArray[np.uint8],
    stages: tuple[int, ...],
    partitions: NDArray[np.int64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Return the codes of each stage in blocks, uint8 (blocks, bytes * 32); each partition starts a new block."""
    blocks = (counts + BLOCK - 1) // BLOCK
    before = (np.cumsum(blocks) - blocks) * BLOCK - starts  # empty lanes before the rows of each partition
    total = int(blocks.sum())
    padded = np.zeros((total * BLOCK, codes.shape[1]), np.uint8)
    padded[np.arange(len(codes)) + before[partitions]] = codes
    laid: dict[str, NDArray[Any]] = {}
    edge = 0
    for name, width in zip(("first", "later"), stages, strict=False):
        laid[name] = np.empty((total, width * BLOCK), np.uint8)
        transpose(np.ascontiguousarray(padded[:, edge : edge + width]), laid[name])
        edge += width
    return laid
