"""Measure recall: search for a sample, compare with exact results, and report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.samples import Sample
from vsearch.search.state.model import SearchSettings
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.vectors import search_vectors

SCORE_TOLERANCE = 1e-5  # relative: duplicates, and sums in a different order, count as equal scores


def run_sample(snapshot: Snapshot, sample: Sample, request: SearchRequest) -> Answer:
    """Search for a sample; rows drawn from the index are removed from their own results."""
    if sample.own_rows is None:
        return search_vectors(snapshot, sample.queries, request, sample.mask, SearchStats(), prepared=True)
    more = msgspec.structs.replace(request, k=request.k + 1)
    answer = search_vectors(snapshot, sample.queries, more, sample.mask, SearchStats(), prepared=True)
    is_own_row = answer.rows == sample.own_rows[:, None]
    is_own_row[~is_own_row.any(axis=1), -1] = True  # if the row itself was not found, drop the last result
    keep = ~is_own_row
    shape = (len(is_own_row), request.k)
    return Answer(answer.scores[keep].reshape(shape), answer.rows[keep].reshape(shape), answer.stats)


def recall_by_score(results: NDArray[np.float32], truth: NDArray[np.float32], *, smaller_is_better: bool) -> float:
    """Return the fraction of the exact hits whose scores the results reach; 1.0 if there are no exact hits."""
    expected = ~np.isnan(truth)
    nonempty = expected.any(axis=1)
    if not nonempty.any():
        return 1.0
    results, truth, expected = results[nonempty], truth[nonempty], expected[nonempty]
    sign = -1.0 if smaller_is_better else 1.0
    scores, true = sign * results.astype(np.float64), sign * truth.astype(np.float64)
    worst = np.nanmin(true, axis=1, keepdims=True)
    # relative to the largest score, since vectors may have any length
    largest = np.nanmax(np.abs(np.concatenate([true, scores], axis=1)), axis=1, keepdims=True)
    slack = SCORE_TOLERANCE * largest
    hits = np.sum((scores >= worst - slack) & ~np.isnan(scores), axis=1)
    return float(np.minimum(hits, expected.sum(axis=1)).sum() / expected.sum())


def measure_recall(snapshot: Snapshot, sample: Sample, exact: Answer, settings: SearchSettings) -> tuple[float, float]:
    """Measure the recall of a sample against its exact results, and the milliseconds of all its queries."""
    answer = run_sample(snapshot, sample, SearchRequest(exact.rows.shape[1], settings))
    recall = recall_by_score(answer.scores, exact.scores, smaller_is_better=snapshot.model.metric == "l2")
    return recall, answer.stats.total_milliseconds


@dataclass(frozen=True)
class RecallReport:
    """The result of `Index.recall`.

    Attributes
    ----------
    recall : float
        Fraction of the exact k best that the search returned.
    queries, k : int
    milliseconds_per_query : float
        Time of the search, in one batch.
    rows_scanned_per_query : float
    tuned : float or None
        The recall that the settings were tuned to.
    notes : tuple of str
        Reasons why the tuned recall does not apply to this search.
    """

    recall: float
    queries: int
    k: int
    milliseconds_per_query: float
    rows_scanned_per_query: float
    tuned: float | None = None
    notes: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.recall

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class TuneReport:
    """The result of `Index.tune`.

    Attributes
    ----------
    target, recall : float
        The requested recall, and the recall measured with the new settings.
    foreign_recall : float or None
        The lowest recall measured for queries far from all rows and with filters that exclude nearby rows; None if
        there is only one partition.
    reached : bool
        Whether the recall reached the target, and `foreign_recall`, measured on small samples, came within .015 of it.
        If not, the codes limit the recall: use more bits or rerank codes.
    k, queries : int
    settings : dict
        The settings that searches use from now on.
    milliseconds_per_query : float
    """

    target: float
    recall: float
    foreign_recall: float | None
    reached: bool
    k: int
    queries: int
    settings: dict[str, Any]
    milliseconds_per_query: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
