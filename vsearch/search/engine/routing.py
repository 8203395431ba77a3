"""Route a query: choose and order the partitions that it visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsearch.search.state.model import Model, SearchSettings


@dataclass(frozen=True, eq=False)
class Routes:
    """Base scores and bounds of all partitions for m queries; both float32 (m, partitions).

    A row of a partition scores ``base + gain * <query, residual> - offset`` (see `kernels.query.partitions`); hardly
    any row scores above the bound.
    """

    centroid_scores: NDArray[np.float32]
    upper_bounds: NDArray[np.float32]


def negated_squares(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute negated squared distances of vectors (n, d) to a query (d,) from differences: float32 (n,). O(n d)."""
    differences = vectors - query
    return -np.einsum("ij,ij->i", differences, differences)


def route(model: Model, queries: NDArray[np.float32], radii: NDArray[np.float32], settings: SearchSettings) -> Routes:
    """Score the partitions for prepared queries (m, d); bounds do not fade. O(m * partitions * d).

    Parameters
    ----------
    radii : float32 (partitions,)
        Root mean square distance of a partition's rows to its centroid.
    settings : SearchSettings
    """
    radius_factors = np.maximum(settings.radius_factor, settings.tail * model.deviations(queries)).astype(np.float32)[
        :, None
    ]
    if model.metric == "l2":
        centroid_scores = np.stack([negated_squares(model.centroids, query) for query in queries])
        distances = np.sqrt(np.maximum(-centroid_scores, 0))
        gaps = np.maximum(radius_factors * radii - distances, 0)  # the query may coincide with a row
        upper_bounds = centroid_scores + 2 * (radius_factors * distances * radii + gaps**2) - radii**2
    else:
        centroid_scores = queries @ model.centroids.T
        upper_bounds = centroid_scores + radius_factors * np.linalg.norm(queries, axis=1, keepdims=True) * radii
    return Routes(centroid_scores.astype(np.float32, copy=False), upper_bounds.astype(np.float32, copy=False))


@dataclass(frozen=True, eq=False)
class ProbePlan:
    """The partitions that one query visits in one shard, in order.

    Attributes
    ----------
    order : int32 (v,)
        Partitions, numbered within the shard.
    centroid_scores, upper_bounds : float32 (v,)
        The bounds descend only approximately, since fading lowers them by different amounts.
    minimum : int
        Number of first visits that are made regardless of their bounds.
    """

    order: NDArray[np.int32]
    centroid_scores: NDArray[np.float32]
    upper_bounds: NDArray[np.float32]
    minimum: int


NO_VISITS = ProbePlan(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.float32), 0)
"""The plan of a shard that a query does not visit."""


def plan_visits(
    centroid_scores: NDArray[np.float32],
    upper_bounds: NDArray[np.float32],
    runs: Sequence[range],
    *,
    k: int,
    nprobe: int | None,
    rows: NDArray[np.int64],
    filtered: bool,
    exact: bool,
) -> list[ProbePlan]:
    """Choose and order the partitions that one query visits in every shard. O(partitions log partitions).

    Parameters
    ----------
    centroid_scores, upper_bounds : float32 (partitions,)
        One query's row of `Routes`.
    runs : sequence of range
        Partitions of each shard.
    k : int
        Number of rows requested: enough partitions to contain this many rows are visited, regardless of `nprobe`.
    nprobe : int or None
        Number of partitions to visit; with a predicate a minimum, beyond which the bounds decide. None leaves the
        number to the bounds.
    rows : int64 (partitions,)
        Number of rows of each partition that may be returned; partitions without any are omitted.
    filtered : bool
        Whether a predicate selects these rows.
    exact : bool
        Whether to visit all partitions.
    """
    order = np.argsort(-upper_bounds, kind="stable")
    order = order[rows[order] > 0]
    minimum = 0
    if exact:
        minimum = len(order)
    elif nprobe is not None:
        covered = int(np.searchsorted(np.cumsum(rows[order]), k)) + 1
        minimum = min(max(nprobe, covered), len(order))
        if not filtered:
            order = order[:minimum]
    forced = order[:minimum]
    visits = []
    for run in runs:
        in_run = order[(order >= run.start) & (order < run.stop)]
        count = int(np.count_nonzero((forced >= run.start) & (forced < run.stop)))
        visits.append(
            ProbePlan((in_run - run.start).astype(np.int32), centroid_scores[in_run], upper_bounds[in_run], count)
        )
    return visits
