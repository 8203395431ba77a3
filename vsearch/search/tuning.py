"""Tune the search settings to a recall, by the exact results of sample queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from vsearch.kernels.query.fields import FAMILIAR_TAIL
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.engine.routing import route
from vsearch.search.near_regions import choose_regions
from vsearch.search.needs import needs_of
from vsearch.search.recall import TuneReport, measure_recall, run_sample
from vsearch.search.samples import Sample
from vsearch.search.state.model import SearchSettings, nearness_unit
from vsearch.search.state.snapshot import Snapshot

ERROR_SHARE = 0.2  # the part of the allowed misses that may be due to estimation errors
STEPS = 12
NARROWING = 4  # bisection steps between the settings that reach the recall and the step before them
DECAYS = (0.07, 0.035, 0.0)
# Measured on 115,659 glosses: with 0.07, a third fewer rows are scanned at the same recall than with 0. At a recall of
# 0.95, 0.07 to 0.14 are equivalent; at 0.99, 0.07 is an eighth faster than 0.1. If radii differ much (for l2), wide
# partitions far away rank before near ones, and less decay is better.
FIRST_RADIUS_FACTOR = 0.8  # ranks partitions before the radius factor is known
LARGEST_SETTING = 1e4  # larger values result from rounding errors
LEAST_TAIL, LARGEST_TAIL = FAMILIAR_TAIL, 12.0  # standard deviations
# Fractions of the sample's queries that count as far from all rows; the larger ones are used only if that helps.
UNFAMILIAR = (0.05, 0.2, 0.5)
ALLOWANCE = 0.015  # in recall, for each of several small samples
LITTLE_GAIN = 0.002  # gain in recall that is not worth a longer tail
TOGETHER = 1.5  # factor of the standard error, as the neighbors of a query are found or missed together


def tune(
    snapshot: Snapshot, sample: Sample, target: float, k: int, foreign: Sequence[Sample] = ()
) -> tuple[SearchSettings, TuneReport]:
    """Find about the smallest settings that reach a recall, relative to an exhaustive search of the codes.

    The exact results determine the radius factor that every true neighbor's partition needs and the error of its
    estimate; the settings are quantiles of both. They are measured, widened until they reach the recall, and narrowed as
    far as possible. If none reach it, the bounds are faded less; if that does not help either, the best settings
    measured are kept. Then the tail with which the foreign samples reach the recall is determined in the same way.

    Parameters
    ----------
    foreign : sequence of Sample
        Queries with little relation to the rows they may find: see `samples.draw_foreign`.
    """
    cells = snapshot.model.quantizer.scan == "cells"  # their bounds do not fade
    exact = run_sample(snapshot, sample, SearchRequest(k, snapshot.settings, exact=True))
    if any(run.copies is not None for run in snapshot.shards):
        snapshot.table.ensure(np.arange(snapshot.manifest.partitions, dtype=np.int32))
    settings, milliseconds, measured = replace(snapshot.settings, tail=0.0), 0.0, -1.0
    aim = _aim(target, len(sample.queries) * k)
    last: SearchSettings | None = None

    def measure(candidate: SearchSettings) -> bool:
        """Return whether settings reach the recall; record them if they do, or if they are the best so far."""
        nonlocal settings, measured, milliseconds, last
        if candidate == last:
            return False
        last = candidate
        recall, spent = measure_recall(snapshot, sample, exact, candidate)
        if recall >= aim or recall > measured:
            settings, measured, milliseconds = candidate, recall, spent
        return recall >= aim

    for radius_decay in (0.0,) if cells else DECAYS:
        widths = _widths(snapshot, sample, exact, target, radius_decay)
        first_step = next((step for step in range(STEPS) if measure(widths(step))), None)
        if first_step is not None:
            too_narrow, sufficient = first_step - 1.0, float(first_step)
            for _ in range(NARROWING):
                middle = (too_narrow + sufficient) / 2
                too_narrow, sufficient = (too_narrow, middle) if measure(widths(middle)) else (middle, sufficient)
            break
    lowest = None
    if foreign:
        settings, lowest = _tune_tail(snapshot, replace(settings, k=k), foreign, target, _familiar(snapshot, sample))
        measured, milliseconds = measure_recall(snapshot, sample, exact, settings)
        lowest = round(lowest, 4)
        near_regions = choose_regions(snapshot, sample, exact, settings, measured)
        if near_regions is not None:
            settings = replace(settings, near_regions=near_regions)
            measured, milliseconds = measure_recall(snapshot, sample, exact, settings)
    settings = replace(settings, recall=round(measured, 4), foreign_recall=lowest, k=k, target=target)
    queries = len(sample.queries)
    report = TuneReport(
        target=target,
        recall=measured,
        foreign_recall=lowest,
        reached=measured >= target and (lowest is None or lowest >= target - ALLOWANCE),
        k=k,
        queries=queries,
        settings=settings.to_dict(),
        milliseconds_per_query=milliseconds / max(1, queries),
    )
    return settings, report


def tune_under_filter(
    snapshot: Snapshot, sample: Sample, mask: IndexMask, target: float, k: int, foreign: Sequence[Sample] = ()
) -> tuple[SearchSettings, TuneReport]:
    """`tune` for queries with a filter; the settings also reach the recall without it, since all searches use them.

    A filter that few rows pass may need only narrow settings, so the wider of both settings apply. The report is for
    the filter.
    """
    plain, _ = tune(snapshot, sample, target, k, foreign)
    filtered, report = tune(snapshot, replace(sample, mask=mask), target, k, foreign)
    widest = {
        name: max(getattr(plain, name), getattr(filtered, name)) for name in ("radius_factor", "error_sigmas", "tail")
    }
    recalls = (plain.foreign_recall, filtered.foreign_recall)
    lowest = max((recall for recall in recalls if recall is not None), default=None)  # wider settings find no fewer
    settings = replace(
        plain, **widest, radius_decay=min(plain.radius_decay, filtered.radius_decay), foreign_recall=lowest
    )
    sample = replace(sample, mask=mask)
    exact = run_sample(snapshot, sample, SearchRequest(k, settings, exact=True))
    recall, milliseconds = measure_recall(snapshot, sample, exact, settings)
    report = replace(
        report,
        recall=recall,
        foreign_recall=lowest,
        reached=recall >= target and (lowest is None or lowest >= target - ALLOWANCE),
        settings=settings.to_dict(),
        milliseconds_per_query=milliseconds / max(1, report.queries),
    )
    return settings, report


def widened(settings: SearchSettings) -> SearchSettings:
    """Widen settings so that a search misses hardly any rows."""
    return replace(
        settings,
        radius_factor=max(settings.radius_factor, 4.0),
        error_sigmas=max(settings.error_sigmas, 8.0),
        radius_decay=0.0,
    )


def _aim(target: float, neighbors: int) -> float:
    """Return the recall to reach on a sample of `neighbors`, so that other queries hardly fall below the target.

    Settings are chosen by the sample's recall, so they may be too narrow for others if that is high by chance: half a
    standard error is added. Neighbors of one query are found or missed together.
    """
    error = TOGETHER * np.sqrt(target * (1 - target) / max(1, neighbors))
    return min(target + 0.5 * float(error), target + (1 - target) / 4)


def _tune_tail(
    snapshot: Snapshot, settings: SearchSettings, foreign: Sequence[Sample], target: float, familiar: Sequence[float]
) -> tuple[SearchSettings, float]:
    """Find about the smallest tail with which foreign samples reach a recall; return settings and worst recall.

    The samples must reach it on average, and each nearly. If a longer tail does not help, rows are lost to estimation
    errors, and `error_sigmas` is increased; or queries are wrongly taken to lie among the rows, and that condition is
    tightened. The radius factor is increased last, and only if the worst sample falls short, since searches for nearby
    rows become slower.

    Parameters
    ----------
    familiar : sequence of float
        Values of that setting to try.
    """
    cells = snapshot.model.quantizer.scan == "cells"
    exacts = [run_sample(snapshot, sample, SearchRequest(settings.k or 1, settings, exact=True)) for sample in foreign]
    aim = target + (1 - target) / 2  # real queries differ more from these samples than rows do from each other

    def measure(candidate: SearchSettings) -> tuple[float, float]:
        """Return the missing recall, which is <= 0 if none is missing, and the lowest recall."""
        pairs = zip(foreign, exacts, strict=True)
        recalls = [measure_recall(snapshot, sample, exact, candidate)[0] for sample, exact in pairs]
        return max(aim - sum(recalls) / len(recalls), aim - ALLOWANCE - min(recalls)), min(recalls)

    best, stricter = replace(settings, tail=LEAST_TAIL, familiar=familiar[0]), list(familiar[1:])
    missing, lowest = measure(best)
    while missing > 0:
        candidates = [replace(best, tail=best.tail * longer) for longer in (1.25, 1.6, 2.5)]
        candidates = [candidate for candidate in candidates if candidate.tail <= LARGEST_TAIL]
        if not cells:  # searches of cells use neither
            candidates.append(replace(best, error_sigmas=1.25 * best.error_sigmas))
        if lowest < target - ALLOWANCE:  # otherwise not worth the cost for queries that lie among the rows
            candidates += [replace(best, familiar=threshold) for threshold in stricter if not cells]
            candidates.append(replace(best, radius_factor=1.25 * best.radius_factor))
        for candidate in candidates:
            less, reached = measure(candidate)
            if less < missing - LITTLE_GAIN:
                break
        else:
            break  # no candidate helps
        stricter = [threshold for threshold in familiar if threshold > (candidate.familiar or 0.0)]
        missing, lowest, best = less, reached, candidate
    allowed = missing + LITTLE_GAIN if missing > 0 else 0.0
    # Undo an increase that did not help: try the initial value, then bisect between it and the current one.
    for name, least in (
        ("radius_factor", settings.radius_factor),
        ("tail", LEAST_TAIL),
        ("error_sigmas", settings.error_sigmas),
    ):
        value, too_little = least, least
        for _ in range(NARROWING + 1):
            if value >= getattr(best, name):
                break
            candidate = replace(best, **{name: value})  # type: ignore[arg-type]
            less, reached = measure(candidate)
            if less <= allowed:
                best, lowest = candidate, reached
            else:
                too_little = value
            value = (too_little + getattr(best, name)) / 2
    return best, lowest


def _familiar(snapshot: Snapshot, sample: Sample) -> list[float]:
    """Return the nearness to a centroid that all but a fraction `UNFAMILIAR` of a sample's queries reach, ascending."""
    centroid_scores = route(snapshot.model, sample.queries, snapshot.radii, SearchSettings(0.0)).centroid_scores.max(
        axis=1
    )
    if snapshot.model.metric != "l2":
        centroid_scores = centroid_scores / np.maximum(
            np.linalg.norm(sample.queries, axis=1), np.finfo(np.float32).tiny
        )
    unit = nearness_unit(snapshot.model, snapshot.radii)
    return [float(np.quantile(centroid_scores, share)) / unit for share in UNFAMILIAR]


def _widths(
    snapshot: Snapshot, sample: Sample, exact: Answer, target: float, radius_decay: float
) -> Callable[[float], SearchSettings]:
    """Return a function from a step to the settings to try: 0 matches the needs of the sample, more is wider."""
    radius_factors, error_sigmas = needs_of(snapshot, sample, exact, FIRST_RADIUS_FACTOR, radius_decay)
    if len(radius_factors):
        radius_factors, error_sigmas = needs_of(
            snapshot, sample, exact, float(np.quantile(radius_factors, target)), radius_decay
        )

    def settings(step: float) -> SearchSettings:
        missed = min((1.0 - target) * 0.6**step, 1.0)
        radius_factor = (
            float(np.quantile(radius_factors, 1 - (1 - ERROR_SHARE) * missed)) if len(radius_factors) else 0.0
        )
        sigmas = float(np.quantile(error_sigmas, 1 - ERROR_SHARE * missed)) if len(error_sigmas) else 0.0
        slack = 1e-4 + 0.02 * max(0.0, step - STEPS // 2)
        radius_factor = min(max(0.0, radius_factor), LARGEST_SETTING) + slack
        return SearchSettings(radius_factor, min(max(0.5, sigmas), LARGEST_SETTING) + slack, radius_decay, tail=0.0)

    return settings
