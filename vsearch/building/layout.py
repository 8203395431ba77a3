"""Lay out the arrays of one shard from its vectors, partition by partition."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.building.copies import CopyCodes, copy_rows, lay_out_copies
from vsearch.building.encoding import CHUNK_ROWS, encode_rotated, rotate
from vsearch.cores import available_cores
from vsearch.kernels.scan.blocks import BLOCK
from vsearch.search.state.model import Model
from vsearch.search.state.row_codes import no_rows
from vsearch.search.state.run_layout import lay_out_run

Take = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class ShardRows:
    """The input rows that a shard holds, in order.

    Attributes
    ----------
    rows : int64 (n,)
        Input rows, sorted by partition; ascending within each.
    counts : int64 (partitions,)
        Rows per partition.
    first_partition : int
        Number of its first partition; the others follow consecutively.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    first_partition: int


@dataclass(frozen=True, eq=False)
class ShardLayout:
    """Arrays of one shard by file kind; see index/FORMAT.md. Those of copies are empty without copies."""

    partitions: dict[str, NDArray[np.generic]]
    codes: dict[str, NDArray[np.generic]]
    rows: dict[str, NDArray[np.generic]]
    rerank: dict[str, NDArray[np.generic]]
    copies: dict[str, dict[str, NDArray[np.generic]]]


def lay_out(
    shard: ShardRows, take: Take, model: Model, progress: Callable[[int], None], *, spill: bool = False
) -> ShardLayout:
    """Encode a shard; takes memory for its arrays plus a few chunks of vectors.

    Parameters
    ----------
    take : callable
        Returns prepared vectors float32 (n, d) of input rows, minus the mean like the centroids.
    progress : callable
        Called with the number of rows just encoded.
    spill : bool
        Whether to add a copy of each row in a second partition of the shard.
    """
    blocks = (shard.counts + BLOCK - 1) // BLOCK
    row_edges, block_edges = (np.concatenate([[0], np.cumsum(counts)]) for counts in (shard.counts, blocks))
    sizes = {
        "partitions": len(shard.counts),
        "codes": int(block_edges[-1]),
        "rows": len(shard.rows),
        "rerank": len(shard.rows),
    }
    shard_arrays: dict[str, dict[str, NDArray[Any]]] = {
        kind: {name: np.empty((sizes[kind], *array.shape[1:]), array.dtype) for name, array in arrays.items()}
        for kind, arrays in lay_out_run(model, no_rows(model), 0, 0).items()
    }

    shard_partitions = range(shard.first_partition, shard.first_partition + len(shard.counts))

    def encode(low: int, high: int) -> tuple[int, CopyCodes | None]:
        """Encode partitions low..high of the shard."""
        rows = slice(int(row_edges[low]), int(row_edges[high]))
        slices = {"partitions": slice(low, high), "codes": slice(int(block_edges[low]), int(block_edges[high]))}
        partitions = shard.first_partition + np.repeat(np.arange(low, high), shard.counts[low:high])
        rotated = rotate(model, take(shard.rows[rows]))
        codes = encode_rotated(model, rotated, partitions)
        for kind, arrays in lay_out_run(model, codes, shard.first_partition + low, high - low).items():
            for name, array in arrays.items():
                shard_arrays[kind][name][slices.get(kind, rows)] = array
        return len(codes), copy_rows(model, rotated, partitions, rows.start, shard_partitions) if spill else None

    edges, copied = _chunk_edges(shard.counts), []
    with ThreadPoolExecutor(available_cores()) as pool:
        for done, copies in pool.map(encode, edges[:-1], edges[1:]):
            copied += [] if copies is None else [copies]
            progress(done)
    return ShardLayout(**shard_arrays, copies=lay_out_copies(model, copied, shard_partitions))


def _chunk_edges(counts: NDArray[np.int64]) -> list[int]:
    """Split the partitions into runs of about `CHUNK_ROWS` rows and return the edges."""
    edges, filled = [0], 0
    for partition, count in enumerate(counts.tolist()):
        if filled and filled + count > CHUNK_ROWS:
            edges.append(partition)
            filled = 0
        filled += count
    return [*edges, len(counts)]
