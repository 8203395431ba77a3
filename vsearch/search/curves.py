"""Cost of recall: searches of a sample with narrower and wider settings, and with filters of different selectivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.checks import is_number
from vsearch.errors import InputError
from vsearch.metrics import Metric
from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.recall import recall_by_score, run_sample
from vsearch.search.samples import Sample, mask_passing
from vsearch.search.state.snapshot import Snapshot

FACTORS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
"""Factors for the settings of the early stop."""

LARGEST_FACTOR = 1e6

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Shares of the rows that pass the filters."""


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve. Costs are means per query.

    Attributes
    ----------
    factor : float
        Factor of the settings.
    share : float
        Share of the rows that passed the filter.
    recall : float
    rows_scanned, partitions_visited, bytes_read : float
    milliseconds : float
        Time of the search, in one batch.
    """

    factor: float
    share: float
    recall: float
    rows_scanned: float
    partitions_visited: float
    bytes_read: float
    milliseconds: float


@dataclass(frozen=True)
class RecallCurve:
    """Recall and cost of the same queries, by settings or by filter.

    Attributes
    ----------
    points : tuple of CurvePoint
    queries, k, rows : int
    tuned : float or None
        The recall that the settings were tuned to, which those with the factor 1 should have.
    """

    points: tuple[CurvePoint, ...]
    queries: int
    k: int
    rows: int
    tuned: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_by_settings(
    snapshot: Snapshot, sample: Sample, k: int, factors: Sequence[float] = FACTORS, deadline: float | None = None
) -> RecallCurve:
    """Measure recall and cost with settings multiplied by factors. O(one exhaustive search and a search per factor).

    Raises
    ------
    InputError
        There are no factors, or one is not a positive number.
    SearchTimeoutError
        The measurement did not finish in time.
    """
    if not _are_numbers(factors, LARGEST_FACTOR):
        raise InputError(
            f"factors must be one or more numbers above 0 and at most {LARGEST_FACTOR:g}, got {factors!r:.100}"
        )
    settings = snapshot.settings
    exact = run_sample(snapshot, sample, SearchRequest(k, settings, exact=True, deadline=deadline))
    share = 1.0 if sample.mask is None else sample.mask.rows / max(1, snapshot.live_count)
    points = []
    for factor in factors:
        scaled = replace(
            settings,
            radius_factor=settings.radius_factor * factor,
            error_sigmas=settings.error_sigmas * factor,
            tail=settings.tail * factor,
        )
        answer = run_sample(snapshot, sample, SearchRequest(k, scaled, deadline=deadline))
        points.append(_point(answer, exact, snapshot.model.metric, float(factor), share))
    return RecallCurve(tuple(points), len(sample.queries), k, snapshot.live_count, settings.recall)


def measure_by_share(
    snapshot: Snapshot,
    sample: Sample,
    k: int,
    shares: Sequence[float] = SHARES,
    deadline: float | None = None,
    seed: int = 0,
) -> RecallCurve:
    """Measure recall and cost with filters that random rows pass. O(one exhaustive and one other search per share).

    Shares that not even one row passes are left out.

    Raises
    ------
    InputError
        There are no shares, one is not above 0 and at most 1, or no row passes any.
    SearchTimeoutError
        The measurement did not finish in time.
    """
    if not _are_numbers(shares, 1):
        raise InputError(f"shares must be one or more numbers above 0 and at most 1, got {shares!r:.100}")
    settings, rng, points = snapshot.settings, np.random.default_rng(seed), []
    for share in shares:
        mask = mask_passing(snapshot, rng.random(snapshot.rows) < share)
        if not mask.rows:
            continue
        filtered = replace(sample, mask=mask)
        exact = run_sample(snapshot, filtered, SearchRequest(k, settings, exact=True, deadline=deadline))
        answer = run_sample(snapshot, filtered, SearchRequest(k, settings, deadline=deadline))
        points.append(_point(answer, exact, snapshot.model.metric, 1.0, mask.rows / snapshot.live_count))
    if not points:
        raise InputError(f"no row passes a filter of any of the shares {shares!r:.100}; pass larger ones")
    return RecallCurve(tuple(points), len(sample.queries), k, snapshot.live_count, settings.recall)


def map_partitions(snapshot: Snapshot) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return positions of partitions in a plane, float32 (partitions, 2), and their row counts, int64 (partitions,).

    The plane is that of the two first principal components of the centroids, weighted by rows. O(partitions d^2).
    """
    centroids, rows = snapshot.model.centroids.astype(np.float64), snapshot.partition_rows
    places = np.zeros((len(centroids), 2), np.float32)
    if len(centroids) < 2 or not rows.sum():
        return places, rows
    centered = centroids - np.average(centroids, axis=0, weights=rows)
    _, axes = np.linalg.eigh(centered.T @ (rows[:, None] * centered))
    plane = axes[:, ::-1][:, :2]
    places[:, : plane.shape[1]] = centered @ plane
    return places, rows


def _are_numbers(values: object, largest: float) -> bool:
    """Whether `numbers` are one or more numbers above 0 and at most `largest`."""
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)) or not len(values):
        return False
    return all(is_number(value) and 0 < value <= largest for value in values)


def _point(answer: Answer, exact: Answer, metric: Metric, factor: float, share: float) -> CurvePoint:
    recall = recall_by_score(answer.scores, exact.scores, smaller_is_better=metric == "l2")
    stats, queries = answer.stats, max(1, len(answer.scores))
    return CurvePoint(
        factor=factor,
        share=share,
        recall=recall,
        rows_scanned=stats.rows_scanned / queries,
        partitions_visited=stats.partitions_visited / queries,
        bytes_read=stats.bytes_read / queries,
        milliseconds=stats.total_milliseconds / queries,
    )
