"""Rank rows by vectors and by a leg together: the candidates of both, each with the scores of both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.legs.fields import MOST, PARTS
from vsearch.legs.fusing import Candidates, FusionOptions, Scores, fuse
from vsearch.legs.masks import allowed_rows, first_of_equal, mask_of_rows
from vsearch.legs.protocol import LegRanking
from vsearch.legs.workspace import fusion_workspace
from vsearch.search.engine.merge import as_seen
from vsearch.search.engine.rescoring import score_rows
from vsearch.search.engine.stats import SearchStats
from vsearch.search.vectors import search_vectors
from vsearch.storage.stores.retrying import carried

if TYPE_CHECKING:
    from vsearch.legs.protocol import Leg
    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.request import Answer, SearchRequest
    from vsearch.search.state.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class Ranking:
    """The best rows by vectors, int64 (n,), and their scores as users see them, float32 (n,); best first."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FusedRows:
    """The best rows of each query; all arrays have the shape (queries, k).

    Attributes
    ----------
    scores, rows : float32, int64
        Fused scores, best first; NaN and -1 after the last.
    vector_scores, leg_scores : float32
        As users see them; 0 for a row that the leg does not match.
    vector_ranks, leg_ranks : int64
        From 1 on, among the candidates of both parts; 0 for none.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    vector_scores: NDArray[np.float32]
    vector_ranks: NDArray[np.int64]
    leg_scores: NDArray[np.float32]
    leg_ranks: NDArray[np.int64]


def search_leg(
    snapshot: Snapshot,
    leg: Leg[Any],
    queries: Sequence[bytes],
    k: int,
    mask: IndexMask | None,
    stats: SearchStats,
    deadline: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the best rows of a leg for each query.

    Parameters
    ----------
    queries : sequence of bytes
        As `Leg.read` returns them.
    mask : IndexMask or None
        Rows that may be returned; None for all live rows.

    Returns
    -------
    scores, rows : float32 (queries, k), int64 (queries, k)
        Best first, ties by row number; padded with NaN and -1.

    Raises
    ------
    InputError
        The index does not have this leg, or a query is invalid.
    SearchTimeoutError
        The search did not finish in time.
    """
    scores, rows = np.full((len(queries), k), np.nan, np.float32), np.full((len(queries), k), -1, np.int64)
    leg.require(snapshot.manifest)
    for place, (_, best) in enumerate(_rank(snapshot, leg, queries, k, mask, stats, deadline)):
        scores[place, : len(best.rows)], rows[place, : len(best.rows)] = best.scores, best.rows
    stats.queries = len(queries)
    return scores, rows


def _rank(
    snapshot: Snapshot,
    leg: Leg[Any],
    queries: Sequence[bytes],
    k: int,
    mask: IndexMask | None,
    stats: SearchStats,
    deadline: float | None,
) -> Iterator[tuple[Any, LegRanking]]:
    """Plan and scan the queries of a leg, one after the other."""
    allowed = allowed_rows(snapshot, mask)
    for planned in leg.plan(snapshot, queries, stats, deadline):
        yield planned, leg.scan(snapshot, planned, k, allowed, stats, deadline)


def search_both(
    snapshot: Snapshot,
    points: NDArray[np.float32],
    leg: Leg[Any],
    queries: Sequence[bytes],
    request: SearchRequest,
    options: FusionOptions,
    mask: IndexMask | None,
    stats: SearchStats,
) -> FusedRows:
    """Find the best rows by vectors and a leg.

    Parameters
    ----------
    points : float32 (queries, d)
        Checked queries of vectors.
    queries : sequence of bytes
        One for each, as `Leg.read` returns them.
    request : SearchRequest
        Of the result; its `offset` is not used.

    Raises
    ------
    InputError
        The index does not have this leg, a query is invalid, or a function did not return a number per row.
    SearchTimeoutError
        The search did not finish in time.
    """
    leg.require(snapshot.manifest)
    deep = msgspec.structs.replace(request, k=options.depth, offset=0, min_score=None)
    shape, squared = (len(queries), request.k), snapshot.model.metric == "l2"
    near, rankings = _search_parts(snapshot, points, leg, queries, deep, mask, stats)
    best = FusedRows(
        np.full(shape, np.nan, np.float32),
        np.full(shape, -1, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int64),
        np.full(shape, np.nan, np.float32),
        np.zeros(shape, np.int64),
    )
    for query, (planned, ranked) in enumerate(rankings):
        started = time.perf_counter()
        count = int(np.count_nonzero(near.rows[query] >= 0))
        nearest = Ranking(near.rows[query, :count], near.scores[query, :count])
        candidates = score_both(snapshot, points[query : query + 1], leg, planned, nearest, ranked, deep)
        if not len(candidates.rows):
            continue
        fused = fuse(candidates, options, request.k, query, squared=squared)
        places, count = fused.best, len(fused.best)
        best.scores[query, :count], best.rows[query, :count] = fused.scores, candidates.rows[places]
        best.vector_scores[query, :count], best.leg_scores[query, :count] = (
            candidates.by_vector[places],
            candidates.by_leg[places],
        )
        best.vector_ranks[query, :count], best.leg_ranks[query, :count] = fused.vector_ranks, fused.leg_ranks
        stats.add("merge", started)
    return best


def _search_parts(
    snapshot: Snapshot,
    points: NDArray[np.float32],
    leg: Leg[Any],
    queries: Sequence[bytes],
    request: SearchRequest,
    mask: IndexMask | None,
    stats: SearchStats,
) -> tuple[Answer, Iterable[tuple[Any, LegRanking]]]:
    """Search by vectors, and plan and scan the queries of a leg; both at once if they may wait for a store."""
    rankings = _rank(snapshot, leg, queries, request.k, mask, stats, request.deadline)
    if snapshot.all_read:
        return search_vectors(snapshot, points, request, mask, stats), rankings
    from concurrent.futures import ThreadPoolExecutor  # imported late: most searches do not need it

    fetched, by_vectors = stats.bytes_fetched - snapshot.bytes_fetched(), SearchStats()
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(carried(search_vectors), snapshot, points, request, mask, by_vectors)
        ranked = list(rankings)
        near = search.result()
    stats.include(by_vectors)
    stats.bytes_fetched = fetched + snapshot.bytes_fetched()
    return near, ranked


def score_both(
    snapshot: Snapshot,
    point: NDArray[np.float32],
    leg: Leg[Any],
    planned: Any,
    nearest: Ranking,
    ranked: LegRanking,
    request: SearchRequest,
    *,
    prepared: bool = False,
) -> Candidates:
    """Return the rows of two rankings, both scored by both parts: a row that one of them found gets the score of the other.

    Parameters
    ----------
    point : float32 (1, d)
    planned : object
        The query of the leg, planned.
    request : SearchRequest
        Of both rankings, which have up to `k` rows.
    prepared : bool
        Whether the point is already normalized, centered and rotated.
    """
    rows, by_vector, by_leg, far, unranked = _unite(nearest, ranked)
    if not len(rows):
        return Candidates(rows, by_vector, by_leg)
    # estimates of a search may differ from those of an exhaustive one
    again = snapshot.model.rerank is None or snapshot.model.quantizer.scan == "cells"
    missing = rows if again else rows[far]
    exact_stats = SearchStats()
    if len(missing) and not again:
        by_vector[far] = as_seen(score_rows(snapshot, point[0], missing, prepared=prepared), snapshot.model)
    elif len(missing):
        exact = msgspec.structs.replace(request, k=len(missing), exact=True, nprobe=None)
        only = mask_of_rows(snapshot, missing)
        scored = search_vectors(snapshot, point, exact, only, exact_stats, prepared=prepared)
        present = scored.rows[0] >= 0
        # the rows of a single shard are numbered within it
        first = snapshot.groups[0].first_row if len(snapshot.groups) == 1 else 0
        _scatter(by_vector, rows, Ranking(scored.rows[0][present] + first, scored.scores[0][present]))
    if len(unranked) and len(ranked.rows) == request.k:  # otherwise no other row matches
        by_leg[unranked] = leg.score(snapshot, planned, rows[unranked], exact_stats, request.deadline)
    return Candidates(rows, by_vector, by_leg)


def _unite(
    nearest: Ranking, ranked: LegRanking
) -> tuple[NDArray[np.int64], Scores, Scores, NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of two rankings, ascending, their scores, and the places of rows that vectors, or the leg, did not find."""
    if len(nearest.rows) + len(ranked.rows) <= MOST:
        workspace = fusion_workspace()
        count = workspace.unite(nearest.rows, nearest.scores, ranked.rows, ranked.scores)
        by_vector, by_leg = workspace.scores[:, :count].copy()
        far, unranked = (workspace.missing_places(part).copy() for part in range(PARTS))
        return workspace.rows[:count].copy(), by_vector, by_leg, far, unranked
    rows = np.sort(np.concatenate((nearest.rows, ranked.rows)))
    rows = rows[first_of_equal(rows)]
    by_vector, by_leg = np.zeros((2, len(rows)))
    missing = np.ones((PARTS, len(rows)), np.bool_)
    missing[0, _scatter(by_vector, rows, nearest)] = False
    missing[1, _scatter(by_leg, rows, ranked)] = False
    return rows, by_vector, by_leg, np.flatnonzero(missing[0]), np.flatnonzero(missing[1])


def _scatter(values: Scores, rows: NDArray[np.int64], ranking: Ranking | LegRanking) -> NDArray[np.int64]:
    """Set the values of the rows of a ranking, given all rows, ascending; return their positions."""
    places = np.searchsorted(rows, ranking.rows)
    values[places] = ranking.scores
    return places
