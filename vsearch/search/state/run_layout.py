"""Layout of a run: rows by partition as the scan reads them, in blocks and relative to scales of their partition."""

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
    """Arrays of a run by file kind (see index/FORMAT.md); nothing of it is a loop over partitions. O(rows + partitions).

    Parameters
    ----------
    codes : RowCodes
        By partition.
    first_partition, partitions : int
        The partitions of the run; some may be empty: they have radius 0 and scales of 1.

    Returns
    -------
    arrays : dict
        Of the kinds "partitions", "codes", "rows" and "rerank", each by name; no names where an index has none.

    Raises
    ------
    ValueError
        The rows are not sorted by partition, or lie in others.
    """
    local = codes.partitions.astype(np.int64) - first_partition
    if len(local) and (local[0] < 0 or local[-1] >= partitions or (np.diff(local) < 0).any()):
        msg = f"rows must be sorted by partition and lie in {first_partition} to {first_partition + partitions - 1}"
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
    """Codes of every stage in blocks, each partition beginning one: uint8 (blocks, bytes * 32)."""
    blocks = (counts + BLOCK - 1) // BLOCK
    before = (np.cumsum(blocks) - blocks) * BLOCK - starts  # lanes that are left empty before a partition's rows
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
