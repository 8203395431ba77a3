"""Search one shard: tables, scan, refine and rerank of each query in one native call per wave of partitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.scan import expand_tables, expanded_bytes
from vsearch.kernels.search import COUNTERS, RERANK_FLOAT, RERANK_HALF, RERANK_INT8, RERANK_NONE, search_partitions
from vsearch.kernels.tables import round_tables
from vsearch.kernels.topk import sort_best_first
from vsearch.search.model import Model
from vsearch.search.route import Visits, gain_of
from vsearch.search.shard import Shard

FIRST_WAVE = 64  # partitions made ready before the first kernel call; doubles from wave to wave
ROUNDING = 0.2887  # deviation of one rounding to the nearest, in steps: 1 / sqrt(12)
KINDS = {None: RERANK_NONE, "int8": RERANK_INT8, "float16": RERANK_HALF, "float32": RERANK_FLOAT}
NO_MASK = np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class QueryTables:
    """All that the kernels need of one prepared query, whatever the shard.

    Attributes
    ----------
    query, rerank_query : float32 (d,)
    tables : float32 (nibbles, 16)
    rounded, expanded : uint8 (first-stage nibbles, 16), uint8
        Rounded tables of the first stage, row by row and as registers take them.
    steps, biases, scales, margins : float32 (stages,)
    """

    query: NDArray[np.float32]
    rerank_query: NDArray[np.float32]
    tables: NDArray[np.float32]
    rounded: NDArray[np.uint8]
    expanded: NDArray[np.uint8]
    steps: NDArray[np.float32]
    biases: NDArray[np.float32]
    scales: NDArray[np.float32]
    margins: NDArray[np.float32]


def build_tables(model: Model, query: NDArray[np.float32], margin: float) -> QueryTables:
    """Lookup tables and error margins of one prepared query (d,)."""
    quantizer = model.quantizer
    calibration = quantizer.calibration
    tables = quantizer.tables(query)
    first = 2 * quantizer.stage_bytes[0]
    rounded = np.empty((first, 16), np.uint8)
    step, bias = round_tables(tables[:first], rounded)
    expanded = np.empty(expanded_bytes(first // 2), np.uint8)
    expand_tables(rounded, expanded)
    stages = len(quantizer.stage_bytes)
    # the estimate that a margin is about is compared with a rerank score, or (last stage, no rerank) with itself
    errors = calibration.deviation * float(np.linalg.norm(query))
    if model.rerank is None and stages == 1:
        errors = np.zeros_like(errors)
    rounding = ROUNDING * float(step) * np.sqrt(first) * float(calibration.scale[0])
    margins = margin * errors
    margins[0] += max(margin, 3.0) * rounding
    return QueryTables(
        query=query,
        rerank_query=query * model.rerank_weights if model.rerank == "int8" else query,
        tables=tables,
        rounded=rounded,
        expanded=expanded,
        steps=np.full(stages, step, np.float32),
        biases=np.full(stages, bias, np.float32),
        scales=calibration.scale,
        margins=margins.astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class ShardHits:
    """The best rows of one shard for one query, best first; rows are numbered inside the shard.

    Attributes
    ----------
    scores : float32 (k,)
        NaN after the last hit. Negated squared distances under l2.
    rows : int64 (k,)
        -1 after the last hit.
    counters : int64 (COUNTERS,)
        Partitions visited, rows scanned, refined, reranked.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    counters: NDArray[np.int64]


def search_shard(
    model: Model,
    shard: Shard,
    tables: QueryTables,
    visits: Visits,
    k: int,
    *,
    mask: NDArray[np.uint64] | None = None,
    exact: bool = False,
    lowest: float = -np.inf,
) -> ShardHits:
    """Search the planned partitions of a shard for one query.

    Parameters
    ----------
    visits : Visits
        From `route.plan_visits`: what this shard has of them.
    mask : uint64 (words,) or None
        Rows of the shard that may be returned.
    exact : bool
        Score every one of them by its rerank code (its full code where there is none), no estimates.
    lowest : float
        Rows below this score are not returned.
    """
    arrays, table = shard.arrays, shard.table
    scores, rows = np.empty(k, np.float32), np.empty(k, np.int64)
    counters = np.zeros(COUNTERS, np.int64)
    size, start = 0, 0
    wave = len(visits.order) if shard.ready else FIRST_WAVE
    bits = NO_MASK if mask is None else mask
    while start < len(visits.order):
        if size == k and start >= visits.minimum and visits.bounds[start] < scores[0]:
            break
        part = slice(start, start + wave)
        shard.ensure(visits.order[part])
        size = search_partitions(
            tables.query,
            tables.rerank_query,
            visits.order[part],
            visits.bases[part],
            visits.bounds[part],
            max(0, visits.minimum - start),
            exact,
            np.float32(gain_of(model.metric)),
            table.row_starts,
            table.rows,
            table.block_starts,
            arrays.first_codes,
            arrays.later_codes,
            tables.tables,
            tables.rounded,
            tables.expanded,
            tables.steps,
            tables.biases,
            arrays.factors,
            table.factor_scales,
            arrays.first_factors,
            table.first_factor_scales,
            tables.scales,
            tables.margins,
            arrays.offsets,
            KINDS[model.rerank],
            arrays.rerank_bytes,
            arrays.rerank_halves,
            arrays.rerank_floats,
            arrays.rerank_scales,
            table.rerank_scales,
            bits,
            scores,
            rows,
            size,
            np.float32(lowest),
            counters,
        )
        start += wave
        wave *= 2
    sort_best_first(scores, rows, size)
    return ShardHits(scores, rows, counters)

