"""The common search for one vector and one query of a leg: as little Python around the kernels as possible.

It finds what `vsearch.legs.hybrid.search_both` finds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.legs.fields import MOST
from vsearch.legs.fusing import FusionOptions
from vsearch.legs.registry import find_leg
from vsearch.legs.workspace import fusion_workspace
from vsearch.search.engine.merge import as_seen
from vsearch.search.engine.rescoring import score_more
from vsearch.search.single import SIZE, run_single, stats_of
from vsearch.search.state.fetching import take_found_ids, take_ids

if TYPE_CHECKING:
    from vsearch.predicates import Where
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot


def search_single_fused(
    snapshot: Snapshot,
    point: object,
    of_leg: tuple[str, Any, str],
    k: int,
    where: Where,
    fusing: tuple[Any, Any, Any],
    nprobe: int | None,
    started: float,
) -> tuple[NDArray[Any], SearchStats, NDArray[np.float32], NDArray[np.int64]] | None:
    """Search for one vector and one query of a leg, as passed by a user.

    Returns None for what `vsearch.search.single.search_single` and `Leg.single` do not take, for indexes without rerank codes or
    that are not read completely, for functions that fuse, and for many candidates. The caller then uses `vsearch.legs.hybrid.search_both`, or raises an error.

    Parameters
    ----------
    of_leg : tuple
        The name of the leg, its query, and what users call it.
    k : int
        Already checked.
    fusing : tuple
        As for `FusionOptions.of`.
    nprobe : int or None
        Already checked.
    started : float
        `time.perf_counter` at the start of the call, for the statistics.

    Returns
    -------
    ids : (1, k)
    stats : SearchStats
    scores : float32 (3, 1, k)
        Fused, by vectors, and by the leg.
    ranks : int64 (2, 1, k)
        By vectors, and by the leg.
    """
    model = snapshot.model
    if model.rerank is None or snapshot.groups[0].first_row or not snapshot.all_read:
        return None
    query = find_leg(of_leg[0]).single(snapshot, of_leg[1])
    if query is None:
        return None
    options = FusionOptions.of(*fusing, k, 0)
    depth = options.depth
    if 2 * depth > MOST or callable(options.fusion):
        return None
    run = run_single(snapshot, point, depth, where, nprobe)
    if run is None:
        return None
    workspace = run.workspace
    times = {"prepare": (run.prepared - started) * 1e3, "mask": 0.0}
    stats = stats_of(snapshot, run, times)
    fusion, size = fusion_workspace(), workspace.number_view[SIZE]
    ranked = query.rank(depth, None if run.mask is None else run.mask.words)
    stats.rows_scanned += ranked.scanned
    scanned = time.perf_counter()
    near_scores = as_seen(workspace.score_row, model)[0, :size]
    count = fusion.unite(workspace.rows[:size], near_scores, ranked.rows, ranked.scores)
    far, unranked = fusion.missing(0), fusion.missing(1)
    if len(far):
        score_more(snapshot, workspace, fusion.far_rows_at, len(far), fusion.far_scores_at)
        scores = fusion.missing_scores[0, : len(far)]
        scores[:] = as_seen(scores, model)
    if len(unranked):  # if there are fewer rows than requested, no other row matches
        complete = len(ranked.rows) == depth
        fusion.missing_scores[1, : len(unranked)] = query.score(unranked) if complete else 0
    fusion.fuse_united(options.fusion, options.weights, k, squared=model.metric == "l2")
    scores, rows = fusion.best_scores[:, None, :k].copy(), fusion.best_rows[:, None, :k].copy()
    fused = time.perf_counter()
    plain = snapshot.plain_ids()
    if plain is not None and plain[1] and count >= k:
        ids: NDArray[Any] = take_found_ids(plain, rows[0])
    else:
        ids = take_ids(snapshot, rows[0])
    times["scan"], times["merge"] = (scanned - run.prepared) * 1e3, (fused - scanned) * 1e3
    times["fetch"] = (time.perf_counter() - fused) * 1e3
    return ids, stats, scores, rows[1:]
