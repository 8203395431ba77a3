"""The floor of a plan: a score that k rows are taken to reach, so that partitions below it, and whole shards, are left out.

A shard is searched without knowing what the others find, and alone would search far. Centroids, radii and counts of rows
tell every shard the same thing beforehand, so answers do not depend on who searches what.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import CallField, FloatField
from vsearch.search.engine.masks import IndexMask
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.state.workspace import Workspace

SHARE = 0.4
"""Of the reach, from a partition's mean score upwards: so far up some of its rows are taken to score.

Measured on 115,659 glosses in 8 shards, tuned as built: recall@10 0.980 with 9,712 rows scanned a query, 0.992 with 38,836
without a floor; 0.976 with 7,781 in one shard. A single query wakes 6 of the 8.
"""

CERTAIN = 0.8
"""Standard deviations above a partition's mean score, which a fifth of its rows are taken to exceed whatever the query is."""

LOWER = 2.5
"""Standard deviations that this falls where hardly any of a partition's rows pass a filter that is correlated with the
vectors: it may let the worst of them pass."""

CORRELATED_TAIL = 4.0
"""Standard deviations that hardly any row exceeds, under such a filter. The tail may be shorter where the reach does without."""

HIGHEST = 0.25
"""Radii above the mean score at most, so that a longer reach (`tune` lengthens it) leaves the floor where it is."""

COVER = 5
"""Times k rows must lie in the partitions that set the floor."""

NOTHING = float(np.finfo(np.float32).min)
"""The floor where there is none."""


def prune_visits(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    """Leave out the planned visits to partitions that are not worth it, where an index has several shards.

    These are those below the floor, the tail's too. Forced visits stay, and so do the first that hold
    k rows which pass for certain. O(partitions log partitions).

    Parameters
    ----------
    workspace : Workspace
        In which a query was planned.
    """
    values = workspace.values
    visits, forced = int(values[CallField.VISITS]), int(values[CallField.FORCED])
    if len(snapshot.groups) == 1 or forced == visits:
        return
    order = workspace.order[:visits]
    rows = snapshot.partition_rows if mask is None else mask.certain
    worth = workspace.bounds[order] >= np.float32(find_floor(snapshot, workspace, mask))
    tail_floor, tail_bounds = _tail(snapshot, workspace, mask)
    worth |= tail_bounds[order] >= np.float32(tail_floor)
    covered = int(np.searchsorted(np.cumsum(rows[order]), int(values[CallField.K]))) + 1
    kept = max(covered, visits - int(np.argmax(worth[::-1])) if worth.any() else 0)
    values[CallField.VISITS] = max(forced, min(kept, visits))


def find_floor(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> float:
    """The floor of the query that was planned last in a workspace; `NOTHING` where too few rows pass for certain."""
    rows = snapshot.partition_rows if mask is None else mask.certain
    reach = workspace.numbers[FloatField.REACH]
    heights = np.minimum(np.float32(SHARE) * reach, np.float32(HIGHEST)) * snapshot.radii
    if mask is not None:
        heights = np.minimum(heights, reach * mask.certain_spreads)
    # those that set the floor are above it themselves
    scores = np.minimum(_scores_at(snapshot, workspace, heights), workspace.bounds)
    return _cover(scores, rows, COVER * int(workspace.values[CallField.K]))


def _tail(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> tuple[float, NDArray[np.float32]]:
    """A floor that holds for rows that have nothing to do with the query, and bounds of their scores by partition."""
    reach, deviation = workspace.numbers[FloatField.TAIL_REACH], workspace.numbers[FloatField.DEVIATION]
    rows = snapshot.partition_rows if mask is None else mask.certain
    heights = CERTAIN * deviation * snapshot.radii
    if mask is not None and mask.correlated:
        reach = max(reach, np.float32(CORRELATED_TAIL) * deviation)
        heights *= 1 - LOWER / CERTAIN * (1 - rows / np.maximum(snapshot.partition_rows, 1))
    likely = _scores_at(snapshot, workspace, heights.astype(np.float32))
    floor = _cover(likely, rows, COVER * int(workspace.values[CallField.K]))
    return floor, _scores_at(snapshot, workspace, reach * workspace.spreads)


def _scores_at(snapshot: Snapshot, workspace: Workspace, heights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores of rows so far from their partitions' centroids towards the query."""
    bases = workspace.bases
    if snapshot.model.metric == "l2":
        return bases + 2 * np.sqrt(np.maximum(-bases, 0)) * heights - snapshot.radii * snapshot.radii
    return bases + np.linalg.norm(workspace.rotated) * heights


def _cover(scores: NDArray[np.float32], rows: NDArray[np.int64], wanted: int) -> float:
    """The largest score such that the partitions from it on hold the wanted rows."""
    holding = np.flatnonzero(rows)
    best = min(len(holding), 64)
    while best:
        top = holding[np.argpartition(-scores[holding], best - 1)[:best]]
        top = top[np.argsort(-scores[top], kind="stable")]
        covered = np.cumsum(rows[top])
        if covered[-1] >= wanted:
            return float(scores[top[int(np.searchsorted(covered, wanted))]])
        if best == len(holding):
            break
        best = min(8 * best, len(holding))
    return NOTHING
