"""Prefetching of the memory that a scan is about to read."""

from __future__ import annotations

from vsearch.kernels.query.fields import RERANK_HALF, RERANK_INT8
from vsearch.kernels.toolchain.compiling import inlined
from vsearch.kernels.toolchain.memory import prefetch

LINE = 64  # bytes of a cache line
AHEAD = 8192  # bytes of codes, of this partition and the next, that are prefetched before they are scanned


@inlined
def fetch_rerank(kind, rerank_bytes, rerank_halves, rerank_floats, row):
    """Prefetch a row's rerank codes."""
    d = rerank_bytes.shape[1]
    for at in range(0, d if kind == RERANK_INT8 else 2 * d if kind == RERANK_HALF else 4 * d, LINE):
        if kind == RERANK_INT8:
            prefetch(rerank_bytes, row * d + at)
        elif kind == RERANK_HALF:
            prefetch(rerank_halves, 2 * row * d + at)
        else:
            prefetch(rerank_floats, 4 * row * d + at)


@inlined
def fetch_factors(shard, local, stages):
    """Prefetch the factors at the start of a partition; the hardware prefetches the rest."""
    near = shard.first_factors if stages == 2 else shard.factors
    offsets = shard.offsets
    row = shard.row_starts[local]
    rows = min(shard.row_counts[local], 32 * AHEAD // shard.first_width + 32)
    for at in range(0, 2 * rows + LINE, LINE):
        prefetch(near, 2 * row + at)
    if offsets.shape[0] > 0:
        for at in range(0, 4 * rows + LINE, LINE):
            prefetch(offsets, 4 * row + at)


@inlined
def fetch_blocks(first_codes, start, stop):
    """Prefetch the first-stage codes of a range of blocks."""
    width = first_codes.shape[1]
    for at in range(start * width, stop * width, LINE):
        prefetch(first_codes, at)


@inlined
def fetch_centroid(centroids, half_centroids, partition):
    """Prefetch a centroid."""
    if half_centroids.shape[0] > 0:
        width = 2 * half_centroids.shape[1]
        for at in range(0, width, LINE):
            prefetch(half_centroids, partition * width + at)
    else:
        width = 4 * centroids.shape[1]
        for at in range(0, width, LINE):
            prefetch(centroids, partition * width + at)


@inlined
def fetch_run(shard, local, stages):
    """Prefetch the codes and factors of a partition in a run that is scanned after another one."""
    rows = shard.row_counts[local]
    if rows > 0:
        fetch_factors(shard, local, stages)
        start = shard.block_starts[local]
        fetch_blocks(shard.first_codes, start, start + min((rows + 31) // 32, AHEAD // shard.first_width + 1))
