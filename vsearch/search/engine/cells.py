"""Search a shard of cells as in SQUASH: sign bits, then lower bounds, then rerank, each for a fixed fraction of rows.

There is no threshold that rises during the search: the partitions are chosen first, their rows are ranked by the
Hamming distance of sign bits, the best of them by the lower bound of their squared distance, and a multiple of k of
these is scored. Each cut keeps at least k rows; only rows that pass the mask are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.filters.bitmaps import count_ranges
from vsearch.kernels.query.fields import COUNTERS, REFINED, RERANKED, SCANNED, VISITED
from vsearch.search.engine.merge import ShardHits
from vsearch.search.engine.routing import ProbePlan, negated_squares, plan_visits, route
from vsearch.search.state.model import Model
from vsearch.search.state.row_codes import rerank_codes
from vsearch.search.state.shard import Shard

if TYPE_CHECKING:
    from vsearch.quantizers.osq_lloyd import LloydOSQ
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.snapshot import Snapshot

SHARE = 10  # H: percentage of rows whose lower bounds are computed; also a factor of their minimum number
RERANK = 2  # R: R * k rows are reranked
CHUNK_ROWS = 8192  # rows reranked at a time
EVERY_BYTE = np.uint64(0x0101010101010101)
NO_MASK = np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class CellTables:
    """The data of one prepared query for a search of cells, the same for all shards.

    Attributes
    ----------
    query, rerank_query : float32 (d,)
    signs : uint64 (sign bytes,)
        The query's sign code, each byte repeated in all bytes of a word.
    gaps : float32 (cells,)
        Squared distance to every cell.
    """

    query: NDArray[np.float32]
    rerank_query: NDArray[np.float32]
    signs: NDArray[np.uint64]
    gaps: NDArray[np.float32]


def build_cell_tables(model: Model, query: NDArray[np.float32]) -> CellTables:
    """Compute the sign code and gaps of one prepared query (d,)."""
    quantizer = model.quantizer
    signs = quantizer.encode(query[None, :]).codes[0, : quantizer.stage_bytes[0]]
    return CellTables(
        query=query,
        rerank_query=query * model.rerank_weights if model.rerank == "int8" else query,
        signs=signs.astype(np.uint64) * EVERY_BYTE,
        gaps=quantizer.tables(query),
    )


def plan_cells(
    snapshot: Snapshot, query: NDArray[np.float32], request: SearchRequest, mask: IndexMask | None
) -> list[ProbePlan]:
    """Choose the partitions that a prepared query (d,) visits in every shard."""
    routes = route(snapshot.model, query[None, :], snapshot.radii, request.settings)
    return plan_visits(
        routes.centroid_scores[0],
        routes.upper_bounds[0],
        [range(shard.first_partition, shard.first_partition + shard.partitions) for shard in snapshot.groups],
        k=request.k,
        nprobe=request.nprobe,
        rows=snapshot.partition_rows if mask is None else mask.matches,
        filtered=mask is not None and mask.filters(request.nprobe),
        exact=request.exact,
    )


def search_cells(
    model: Model,
    shard: Shard,
    tables: CellTables,
    visits: ProbePlan,
    k: int,
    *,
    mask: NDArray[np.uint64] | None = None,
    exact: bool = False,
) -> ShardHits:
    """Search the planned partitions of a shard for one query.

    Without rerank codes, scores are derived from lower bounds L of squared distances: -L for l2; for cosine the largest
    similarity that L allows, 1 - L / 2 for unit vectors and 0 for zero vectors.

    Parameters
    ----------
    visits : ProbePlan
        This shard's visits, from `routing.plan_visits`.
    mask : uint64 (words,) or None
        Rows of the shard that may be returned.
    exact : bool
        Whether to score all of them by their rerank codes (lower bounds if there are none), without cuts.
    """
    from vsearch.kernels.scan.cells import lower_bounds  # imported late: few indexes have cells

    codec, bits = cast("LloydOSQ", model.quantizer), NO_MASK if mask is None else mask
    chosen = choose_visits(shard, visits, k, mask)
    order = np.argsort(visits.order[chosen])  # ascending rows, so that ties go to the lower row
    partitions, centroid_scores = visits.order[chosen][order], visits.centroid_scores[chosen][order]
    shard.ensure(partitions)
    rows, places, visit, distances = _scan(shard, tables, partitions, bits)
    counters = np.zeros(COUNTERS, np.int64)
    counters[VISITED], counters[SCANNED] = len(partitions), len(rows)
    zero = _zero_rows(model, codec, shard, places)
    distances[zero] = codec.signs // 2
    total = len(rows)
    kept = np.arange(total) if exact else smallest(distances, max(total * SHARE // 100, k * RERANK * SHARE))
    if model.rerank is None or not exact:
        counters[REFINED] = len(kept)
        bounds = np.empty(len(kept), np.float32)
        lower_bounds(shard.arrays.later_codes, places[kept], codec.dimension_bits, codec.starts, tables.gaps, bounds)
        norm = np.float32(tables.query @ tables.query)
        bounds[zero[kept]] = norm + 1  # makes the similarity 0
        if not exact:
            best = smallest(bounds, k * RERANK)
            kept, bounds = kept[best], bounds[best]
    if model.rerank is None:
        scores = -bounds if model.metric == "l2" else (norm + 1 - bounds) / 2
    else:
        counters[RERANKED] = len(kept)
        scores = _rerank(model, shard, tables, rows[kept], partitions[visit[kept]], centroid_scores[visit[kept]])
    first = np.argsort(-scores, kind="stable")[:k]
    hits = ShardHits(np.full(k, np.nan, np.float32), np.full(k, -1, np.int64), counters)
    hits.scores[: len(first)], hits.rows[: len(first)] = scores[first], rows[kept[first]]
    return hits


def choose_visits(shard: Shard, visits: ProbePlan, k: int, mask: NDArray[np.uint64] | None) -> slice:
    """Choose the visits to make: the minimum, all with bounds that reach the best base score, and enough for k rows."""
    if len(visits.order) == 0:
        return slice(0)
    table = shard.table
    starts, rows = table.row_starts[visits.order], table.rows[visits.order]
    covered = np.cumsum(rows if mask is None else count_ranges(mask, starts, starts + rows))
    promising = int(np.count_nonzero(visits.upper_bounds >= visits.centroid_scores.max()))
    return slice(max(visits.minimum, promising, int(np.searchsorted(covered, k)) + 1))


def smallest(keys: NDArray[np.int32] | NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the positions of the `count` smallest keys, in ascending order; ties go to the first ones. O(n)."""
    if count >= len(keys):
        return np.arange(len(keys))
    worst = np.partition(keys, count - 1)[count - 1]
    below = keys < worst
    equal = np.flatnonzero(keys == worst)[: count - np.count_nonzero(below)]
    below[equal] = True
    return np.flatnonzero(below)


def _scan(
    shard: Shard, tables: CellTables, partitions: NDArray[np.int32], mask: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Return the rows that pass the mask, their places in the blocks, their visits and their Hamming distances."""
    from vsearch.kernels.scan.cells import scan_signs

    table, blocks = shard.table, shard.arrays.first_codes.view(np.uint64)
    most = int(table.rows[partitions].sum())
    rows, places = np.empty(most, np.int64), np.empty(most, np.int64)
    visit, distances = np.empty(most, np.int32), np.empty(most, np.int32)
    layout, sums = (table.row_starts, table.rows, table.block_starts), np.empty(32, np.int32)
    count = scan_signs(blocks, tables.signs, partitions, *layout, mask, sums, rows, places, visit, distances)
    return rows[:count], places[:count], visit[:count], distances[:count]


def _zero_rows(model: Model, codec: LloydOSQ, shard: Shard, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows are zero vectors, for cosine; none for l2."""
    if model.metric != "cosine":
        return np.zeros(len(places), np.bool_)
    marks = shard.arrays.first_codes[places >> 5, (codec.signs >> 3) * 32 + (places & 31)]
    return (marks & (0x80 >> (codec.signs & 7))) != 0


def _rerank(
    model: Model,
    shard: Shard,
    tables: CellTables,
    rows: NDArray[np.int64],
    partitions: NDArray[np.int32],
    centroid_scores: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Score rows by their rerank codes, float32 (n,)."""
    codes, scores = rerank_codes(model, shard), np.empty(len(rows), np.float32)
    scales = (
        shard.arrays.rerank_scales[rows].view(np.float16).astype(np.float32) * shard.table.rerank_scales[partitions]
    )
    for start in range(0, len(rows), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        values = codes[rows[part]].astype(np.float32)
        if model.metric != "l2":
            scores[part] = np.einsum("ij,j->i", values, tables.rerank_query)
            continue
        values *= scales[part, None]
        if model.rerank == "int8":
            values *= model.rerank_weights
        values += model.centroids[shard.first_partition + partitions[part]]
        scores[part] = negated_squares(values, tables.query)
    return scores if model.metric == "l2" else centroid_scores + scales * scores
