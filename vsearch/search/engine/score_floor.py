"""The score floor of a plan: a score that k rows are expected to reach; partitions below it, and shards, are skipped.

A function searches its shard without the results of the others, and would visit too many partitions. The floor is computed
from centroids, radii and row counts before any search, so results do not depend on how shards are distributed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import CallField, FloatField
from vsearch.search.engine.masks import IndexMask
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.state.workspace import Workspace

SHARE = 0.4
"""Fraction of the radius factor: the height above a partition's mean score that some of its rows are expected to reach.

Measured on 115,659 glosses in 8 shards, tuned as built: recall@10 0.980 with 9,712 rows scanned per query; without a
floor 0.992 with 38,836; in one shard 0.976 with 7,781. A single query visits 6 of the 8 shards.
"""

CERTAIN = 0.8
"""Standard deviations above a partition's mean score that a fifth of its rows are expected to exceed, for any query."""

LOWER = 2.5
"""Standard deviations by which `CERTAIN` decreases if hardly any rows of a partition pass a filter that is correlated
with the vectors, since the worst rows may be the ones that pass."""

CORRELATED_TAIL = 4.0
"""Standard deviations that hardly any row exceeds under such a filter: a minimum for the tail."""

HIGHEST = 0.25
"""Maximum height above the mean score, in radii, so that a larger radius factor does not raise the floor."""

COVER = 5
"""The partitions that set the floor must contain this many times k rows."""

NOTHING = float(np.finfo(np.float32).min)
"""The value for no floor."""


def prune_visits(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    """Drop planned visits to partitions below the floor and the tail's floor, for shards that are searched separately.

    Forced visits stay, as do the first visits that contain k rows that certainly pass. O(partitions log partitions).

    Parameters
    ----------
    workspace : Workspace
        With a planned query.
    """
    values = workspace.values
    visits, min_probes = int(values[CallField.VISITS]), int(values[CallField.MIN_PROBES])
    if len(snapshot.groups) == 1 or min_probes == visits:
        return
    order = workspace.order[:visits]
    rows = snapshot.partition_rows if mask is None else mask.certain
    worth = workspace.upper_bounds[order] >= np.float32(find_floor(snapshot, workspace, mask))
    tail_floor, tail_bounds = _tail(snapshot, workspace, mask)
    worth |= tail_bounds[order] >= np.float32(tail_floor)
    covered = int(np.searchsorted(np.cumsum(rows[order]), int(values[CallField.K]))) + 1
    kept = max(covered, visits - int(np.argmax(worth[::-1])) if worth.any() else 0)
    values[CallField.VISITS] = max(min_probes, min(kept, visits))


def find_floor(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> float:
    """Compute the floor of the query planned in a workspace; `NOTHING` if too few rows certainly pass."""
    rows = snapshot.partition_rows if mask is None else mask.certain
    radius_factor = workspace.numbers[FloatField.RADIUS_FACTOR]
    heights = np.minimum(np.float32(SHARE) * radius_factor, np.float32(HIGHEST)) * snapshot.radii
    if mask is not None:
        heights = np.minimum(heights, radius_factor * mask.certain_radii)
    # a partition that sets the floor must not be below it itself
    scores = np.minimum(_scores_at(snapshot, workspace, heights), workspace.upper_bounds)
    return _cover(scores, rows, COVER * int(workspace.values[CallField.K]))


def _tail(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> tuple[float, NDArray[np.float32]]:
    """Compute a floor for rows unrelated to the query, and bounds of their scores by partition."""
    radius_factor, deviation = workspace.numbers[FloatField.TAIL_RADII], workspace.numbers[FloatField.DEVIATION]
    rows = snapshot.partition_rows if mask is None else mask.certain
    heights = CERTAIN * deviation * snapshot.radii
    if mask is not None and mask.correlated:
        radius_factor = max(radius_factor, np.float32(CORRELATED_TAIL) * deviation)
        heights *= 1 - LOWER / CERTAIN * (1 - rows / np.maximum(snapshot.partition_rows, 1))
    likely = _scores_at(snapshot, workspace, heights.astype(np.float32))
    floor = _cover(likely, rows, COVER * int(workspace.values[CallField.K]))
    return floor, _scores_at(snapshot, workspace, radius_factor * workspace.effective_radii)


def _scores_at(snapshot: Snapshot, workspace: Workspace, heights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores of rows at heights: distances from their centroids in the direction of the query."""
    centroid_scores = workspace.centroid_scores
    if snapshot.model.metric == "l2":
        return (
            centroid_scores + 2 * np.sqrt(np.maximum(-centroid_scores, 0)) * heights - snapshot.radii * snapshot.radii
        )
    return centroid_scores + np.linalg.norm(workspace.rotated) * heights


def _cover(scores: NDArray[np.float32], rows: NDArray[np.int64], target: int) -> float:
    """Return the largest score for which the partitions with at least this score contain `target` rows."""
    nonempty = np.flatnonzero(rows)
    best = min(len(nonempty), 64)
    while best:
        top = nonempty[np.argpartition(-scores[nonempty], best - 1)[:best]]
        top = top[np.argsort(-scores[top], kind="stable")]
        covered = np.cumsum(rows[top])
        if covered[-1] >= target:
            return float(scores[top[int(np.searchsorted(covered, target))]])
        if best == len(nonempty):
            break
        best = min(8 * best, len(nonempty))
    return NOTHING
