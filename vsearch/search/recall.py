"""Measuring recall: searches of a sample, held against exact answers, and what is reported of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.search.samples import Sample
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.vectors import search_vectors

SCORE_TOLERANCE = 1e-5  # relative: exact duplicates, and sums in another order, count as the same score


def run_sample(snapshot: Snapshot, sample: Sample, request: SearchRequest) -> Answer:
    """Search for a sample; drawn rows are taken out of their own answers."""
    if sample.own_rows is None:
        return search_vectors(snapshot, sample.queries, request, sample.mask, SearchStats(), prepared=True)
    more = msgspec.structs.replace(request, k=request.k + 1)
    answer = search_vectors(snapshot, sample.queries, more, sample.mask, SearchStats(), prepared=True)
    own = answer.rows == sample.own_rows[:, None]
    own[~own.any(axis=1), -1] = True  # the row itself is not among them: the last one goes
    keep = ~own
    shape = (len(own), request.k)
    return Answer(answer.scores[keep].reshape(shape), answer.rows[keep].reshape(shape), answer.stats)


def recall_by_score(found: NDArray[np.float32], truth: NDArray[np.float32], *, smaller_is_better: bool) -> float:
    """Share of the true hits whose score the found ones reach; 1.0 where there is nothing to find."""
    wanted = ~np.isnan(truth)
    some = wanted.any(axis=1)
    if not some.any():
        return 1.0
    found, truth, wanted = found[some], truth[some], wanted[some]
    sign = -1.0 if smaller_is_better else 1.0
    scores, true = sign * found.astype(np.float64), sign * truth.astype(np.float64)
    worst = np.nanmin(true, axis=1, keepdims=True)
    # relative to the largest score, the one unit at hand: vectors may be of any length
    largest = np.nanmax(np.abs(np.concatenate([true, scores], axis=1)), axis=1, keepdims=True)
    slack = SCORE_TOLERANCE * largest
    hits = np.sum((scores >= worst - slack) & ~np.isnan(scores), axis=1)
    return float(np.minimum(hits, wanted.sum(axis=1)).sum() / wanted.sum())


@dataclass(frozen=True)
class RecallReport:
    """What `Index.recall` measured.

    Attributes
    ----------
    recall : float
        Share of the true k best that the search returned.
    queries, k : int
    milliseconds_per_query : float
        Of the search, in one batch.
    rows_scanned_per_query : float
    tuned : float or None
        The recall that the settings were tuned to.
    notes : tuple of str
        What of the tuned recall does not hold here.
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
    """What `Index.tune` found and stored.

    Attributes
    ----------
    target, recall : float
        Asked for, and measured with the settings found.
    foreign_recall : float or None
        The lowest that was measured for queries far from all rows and under filters that exclude what is near; None where
        there is one partition only.
    reached : bool
        Whether the recall reached the target, and `foreign_recall`, of some small samples, came within .015 of it. If not,
        the codes bound it: use more bits or rerank codes.
    k, queries : int
    settings : dict
        What search now uses.
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
