"""Recall and tuning of an open snapshot: the implementation of `Index.recall` and `Index.tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vsearch.checks import is_number
from vsearch.errors import InputError
from vsearch.live.retuning import commit_settings
from vsearch.search.engine.promise import uncovered
from vsearch.search.recall import RecallReport, TuneReport, recall_by_score, run_sample
from vsearch.search.samples import FOREIGN_QUERIES, Sample, draw_foreign, draw_mixture, draw_rows
from vsearch.search.state.fetching import take_ids
from vsearch.search.state.given_ids import id_array
from vsearch.search.state.model import check_queries, prepare_queries
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.tuning import tune, tune_under_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.search.engine.masks import IndexMask
    from vsearch.search.engine.request import SearchRequest
    from vsearch.search.state.model import SearchSettings

SHORTFALL = 0.02  # difference from the tuned recall that a sample of a hundred queries can show by chance


def draw_sample(snapshot: Snapshot, queries: Any, sample: int, *, mixture: bool = False) -> Sample:
    """Return the queries to measure with: those passed, or rows of the index (with points near them if `mixture`).

    Raises
    ------
    InputError
        There are no queries, a query is invalid, or `sample` is not a positive integer.
    """
    check_sample(sample)
    if queries is None:
        draw = draw_mixture if mixture else draw_rows
        return draw(snapshot, sample, snapshot.manifest.seed + 1)
    vectors = check_queries(queries, snapshot.manifest.dimensions, snapshot.manifest.metric)
    if len(vectors) == 0:
        msg = "there are no queries to measure with; pass at least one"
        raise InputError(msg)
    return Sample(prepare_queries(snapshot.model, vectors), None)


def check_sample(sample: object) -> None:
    """Refuse values that are not a number of queries."""
    if isinstance(sample, bool) or not isinstance(sample, (int, np.integer)) or sample < 1:
        msg = f"sample must be an integer of at least 1, got {sample!r}"
        raise InputError(msg)


def measure_recall(snapshot: Snapshot, drawn: Sample, request: SearchRequest, truth: Any) -> RecallReport:
    """Compare a search of a sample with exhaustive search, or with a given ground truth.

    Parameters
    ----------
    truth : array (m, >= k) of ids, or None
    """
    answer = run_sample(snapshot, drawn, request)
    measurable = True
    if truth is None:
        exact = run_sample(snapshot, drawn, msgspec.structs.replace(request, exact=True))
        measurable = bool((exact.rows >= 0).any())
        recall = recall_by_score(answer.scores, exact.scores, smaller_is_better=snapshot.model.metric == "l2")
    else:
        recall = recall_of_ids(take_ids(snapshot, answer.rows), truth, request.k)
    queries = len(drawn.queries)
    return RecallReport(
        recall=recall,
        queries=queries,
        k=request.k,
        milliseconds_per_query=answer.stats.total_milliseconds / max(1, queries),
        rows_scanned_per_query=answer.stats.rows_scanned / max(1, queries),
        tuned=snapshot.settings.recall,
        notes=recall_notes(
            snapshot.settings,
            recall,
            k=request.k,
            filtered=drawn.mask is not None,
            nprobe=request.nprobe,
            measurable=measurable,
        ),
    )


def recall_notes(
    settings: SearchSettings, recall: float, *, k: int, filtered: bool, nprobe: int | None, measurable: bool
) -> tuple[str, ...]:
    """Return reasons why the tuned recall does not apply to a measurement, or why it is lower; empty if it holds."""
    if not measurable:
        return ("no row could have been found, so nothing was measured",)
    notes = uncovered(settings, k=k, filtered=filtered, nprobe=nprobe)
    if not notes and settings.recall is not None and recall < settings.recall - SHORTFALL:
        advice = "tune(queries=..., where=...) finds settings for these"
        return (f"the settings were tuned to {settings.recall:.3f} with other queries: {advice}",)
    return notes


def recall_of_ids(returned_ids: NDArray[Any], truth: Any, k: int) -> float:
    """Fraction of the true neighbors among the returned ids.

    Parameters
    ----------
    returned_ids : ndarray (m, k)
    truth : array (m, >= k) of ids
        Best first; NULL and -1 are padding.

    Raises
    ------
    InputError
        `truth` has another shape.
    """
    true = id_array(truth)
    if true.ndim != 2 or len(true) != len(returned_ids) or true.shape[1] < k:
        msg = f"truth must have the shape ({len(returned_ids)}, at least {k}), got {true.shape}"
        raise InputError(msg)
    expected = [set(ids) - {None, -1} for ids in true[:, :k].tolist()]  # without padding
    hits = sum(len(ids.intersection(other)) for ids, other in zip(expected, returned_ids.tolist(), strict=True))
    total = sum(map(len, expected))
    return hits / total if total else 1.0


def check_target(recall: object) -> None:
    """Refuse values that are not a recall target."""
    if not (is_number(recall) and 0 < recall <= 1):  # type: ignore[operator]  # checked by is_number
        msg = f"recall must be above 0 and at most 1, got {recall!r}"
        raise InputError(msg)


def check_tunable(snapshot: Snapshot) -> None:
    """Refuse an index for which tuning has no effect."""
    live = snapshot.manifest.live
    if live and live.pending is not None:
        raise InputError(
            "this index is not trained yet: until it has enough rows, searches scan all of them and are exact"
        )
    if not snapshot.live_count:
        raise InputError("there are no rows to tune with: this index is empty")


def tune_snapshot(
    snapshot: Snapshot, recall: float, k: int, drawn: Sample, sample: int, mask: IndexMask | None
) -> tuple[Snapshot, TuneReport]:
    """Find the cheapest settings that reach a recall, and commit them as a new snapshot.

    Raises
    ------
    InputError
        No row passes the filter.
    ConflictError
        The index was replaced or retrained in the meantime.
    """
    foreign = draw_foreign(snapshot, min(FOREIGN_QUERIES, sample), snapshot.manifest.seed + 1)
    if mask is None:
        settings, report = tune(snapshot, drawn, recall, k, foreign)
    elif mask.rows == 0:
        msg = "no row satisfies the filter, so there is nothing to tune with; use a filter that some rows pass"
        raise InputError(msg)
    else:
        settings, report = tune_under_filter(snapshot, drawn, mask, recall, k, foreign)
    return commit_settings(snapshot.unexpired or snapshot, settings), report
