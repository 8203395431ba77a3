"""The score floor of a plan: a score that k rows are expected to reach; partitions below it, and shards, are skipped.

A function searches its shard without the results of the others, and would visit too many partitions. The floor is computed
from centroids, radii and row counts before any search, so results do not depend on how shards are distributed.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def lowest_worth(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> float:
    """Return the bound below which `prune_visits` drops a partition, by the nearest partitions; `NOTHING` if they do not tell.

    Bounds are compared before they are faded.

    Parameters
    ----------
    workspace : Workspace
        With a query whose nearest partitions are planned.
    """
    if len(snapshot.groups) == 1 or workspace.values[CallField.COMPLETE] or (mask is not None and mask.correlated):
        return NOTHING  # under correlated filters the tail is longer than in bounds
    nearest = _Planned.of(snapshot, workspace, mask)
    return min(nearest.floor(), nearest.tail(correlated=False)[0])


def prune_visits(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> None:
    """Drop planned visits to partitions below the floor and the tail's floor, for shards that are searched separately.

    Forced visits stay, as do the first visits that contain k rows that certainly pass. O(v log v) for v planned partitions.

    Parameters
    ----------
    workspace : Workspace
        With a planned query.
    """
    values = workspace.values
    visits, min_probes = int(values[CallField.VISITS]), int(values[CallField.MIN_PROBES])
    if len(snapshot.groups) == 1 or min_probes == visits:
        return
    planned = _Planned.of(snapshot, workspace, mask)
    worth = planned.upper_bounds >= np.float32(planned.floor())
    tail_floor, tail_bounds = planned.tail(correlated=mask is not None and mask.correlated)
    worth |= tail_bounds >= np.float32(tail_floor)
    worth = worth[:visits]
    covered = int(np.searchsorted(np.cumsum(planned.rows[:visits]), planned.k)) + 1
    kept = max(covered, visits - int(np.argmax(worth[::-1])) if worth.any() else 0)
    values[CallField.VISITS] = max(min_probes, min(kept, visits))


def find_floor(snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> float:
    """Compute the floor of the query planned in a workspace; `NOTHING` if too few rows certainly pass."""
    return _Planned.of(snapshot, workspace, mask).floor()


@dataclass(frozen=True, eq=False)
class _Planned:
    """The partitions that a query may visit, in order: all with rows that may pass, or those of the nearest regions.

    Attributes
    ----------
    k : int
    squared : bool
        Whether scores are negated squared distances.
    norm, radius_factor, tail_radii, deviation : float
        The norm of the query, and numbers of its plan (`FloatField`).
    centroid_scores, upper_bounds, radii, effective_radii, certain_radii : float32 (v,)
    partition_rows, rows : int64 (v,)
        All rows, and those that certainly pass.
    """

    k: int
    squared: bool
    norm: np.float32
    radius_factor: np.float32
    tail_radii: np.float32
    deviation: np.float32
    centroid_scores: NDArray[np.float32]
    upper_bounds: NDArray[np.float32]
    radii: NDArray[np.float32]
    effective_radii: NDArray[np.float32]
    certain_radii: NDArray[np.float32] | None
    partition_rows: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, snapshot: Snapshot, workspace: Workspace, mask: IndexMask | None) -> _Planned:
        """Gather the partitions of the query planned in a workspace."""
        order, numbers = workspace.order[: workspace.values[CallField.ORDERED]], workspace.numbers
        partition_rows = snapshot.partition_rows[order]
        return cls(
            k=int(workspace.values[CallField.K]),
            squared=snapshot.model.metric == "l2",
            norm=np.linalg.norm(workspace.rotated),
            radius_factor=numbers[FloatField.RADIUS_FACTOR],
            tail_radii=numbers[FloatField.TAIL_RADII],
            deviation=numbers[FloatField.DEVIATION],
            centroid_scores=workspace.centroid_scores[order],
            upper_bounds=workspace.upper_bounds[order],
            radii=snapshot.radii[order],
            effective_radii=workspace.effective_radii[order],
            certain_radii=None if mask is None else mask.certain_radii[order],
            partition_rows=partition_rows,
            rows=partition_rows if mask is None else mask.certain[order],
        )

    def floor(self) -> float:
        """Compute the floor; `NOTHING` if too few rows certainly pass."""
        heights = np.minimum(np.float32(SHARE) * self.radius_factor, np.float32(HIGHEST)) * self.radii
        if self.certain_radii is not None:
            heights = np.minimum(heights, self.radius_factor * self.certain_radii)
        # a partition that sets the floor must not be below it itself
        scores = np.minimum(self._scores_at(heights), self.upper_bounds)
        return _cover(scores, self.rows, COVER * self.k)

    def tail(self, *, correlated: bool) -> tuple[float, NDArray[np.float32]]:
        """Compute a floor for rows unrelated to the query, and bounds of their scores by partition."""
        radius_factor, heights = self.tail_radii, CERTAIN * self.deviation * self.radii
        if correlated:
            radius_factor = max(radius_factor, np.float32(CORRELATED_TAIL) * self.deviation)
            heights = heights * (1 - LOWER / CERTAIN * (1 - self.rows / np.maximum(self.partition_rows, 1)))
        floor = _cover(self._scores_at(heights.astype(np.float32)), self.rows, COVER * self.k)
        return floor, self._scores_at(radius_factor * self.effective_radii)

    def _scores_at(self, heights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of rows at heights: distances from their centroids in the direction of the query."""
        if self.squared:
            unit = 2 * np.sqrt(np.maximum(-self.centroid_scores, 0))
            return self.centroid_scores + unit * heights - self.radii * self.radii
        return self.centroid_scores + self.norm * heights


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
