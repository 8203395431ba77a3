"""Tuning: exact answers of sample queries tell which settings reach a recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.fields import FAMILIAR_TAIL
from vsearch.metrics import gain_of
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.request import Answer, SearchRequest
from vsearch.search.engine.routing import route
from vsearch.search.recall import TuneReport, recall_by_score, run_sample
from vsearch.search.samples import Sample
from vsearch.search.state.model import SearchSettings, nearness_unit
from vsearch.search.state.snapshot import Snapshot

MARGIN_SHARE = 0.2  # of the neighbours that may be missed, so many may be lost to the estimates
STEPS = 12
NARROWING = 4  # halvings between the settings that reach the recall and the step before them
DECAYS = (0.07, 0.035, 0.0)
# The first was measured on 115,659 glosses: a third fewer rows scanned at the same recall than without. At a recall of
# 0.95 0.07 to 0.14 are alike, at 0.99 0.07 is an eighth faster than 0.1. Where radii differ much (under l2) wide
# partitions far away rank before near ones, and less decay is right.
FIRST_REACH = 0.8  # partitions are ranked by it before the reach is known
ROUNDING = 1e-6  # of a score, relative to the terms that it is the sum of
LARGEST_SETTING = 1e4  # what is beyond it is rounding over rounding, not a need
LEAST_TAIL, LARGEST_TAIL = FAMILIAR_TAIL, 12.0  # standard deviations
# Shares of the sample's queries that count as far from all rows; the larger ones only where it helps.
UNFAMILIAR = (0.05, 0.2, 0.5)
ALLOWANCE = 0.015  # in recall, for each of several small samples
LITTLE_GAIN = 0.002  # in recall, of a longer tail
TOGETHER = 1.5  # how much larger the standard error is than that of neighbours that are found or missed one by one


def tune(
    snapshot: Snapshot, sample: Sample, target: float, k: int, foreign: Sequence[Sample] = ()
) -> tuple[SearchSettings, TuneReport]:
    """Find about the least reach, margin and tail that reach a recall against exhaustive search of what is stored.

    The exact answers say how far every true neighbour's partition had to be reached and how wrong its estimate is;
    quantiles of both are the settings. They are then measured, widened until the measurement agrees, and narrowed again as
    far as it still does. Where none agrees the bounds fade less; where even that does not help the best that was measured is
    kept. Then the tail is found likewise, with which each of the foreign samples reaches the recall too.

    Parameters
    ----------
    foreign : sequence of Sample
        Queries that have little to do with the rows they may find: see `samples.draw_foreign`.
    """
    cells = snapshot.model.quantizer.scan == "cells"  # their bounds do not fade
    exact = run_sample(snapshot, sample, SearchRequest(k, snapshot.settings, exact=True))
    settings, milliseconds, measured = replace(snapshot.settings, tail=0.0), 0.0, -1.0
    aim = _aim(target, len(sample.queries) * k)
    last: SearchSettings | None = None

    def measure(tried: SearchSettings) -> bool:
        """Whether settings reach the recall; they are kept if they do, or if nothing has come as near."""
        nonlocal settings, measured, milliseconds, last
        if tried == last:
            return False
        last = tried
        recall, spent = _measure(snapshot, sample, exact, tried)
        if recall >= aim or recall > measured:
            settings, measured, milliseconds = tried, recall, spent
        return recall >= aim

    for decay in (0.0,) if cells else DECAYS:
        widths = _widths(snapshot, sample, exact, target, decay)
        reaching = next((step for step in range(STEPS) if measure(widths(step))), None)
        if reaching is not None:
            short, enough = reaching - 1.0, float(reaching)
            for _ in range(NARROWING):
                middle = (short + enough) / 2
                short, enough = (short, middle) if measure(widths(middle)) else (middle, enough)
            break
    lowest = None
    if foreign:
        settings, lowest = _tune_tail(snapshot, replace(settings, k=k), foreign, target, _familiar(snapshot, sample))
        measured, milliseconds = _measure(snapshot, sample, exact, settings)
        lowest = round(lowest, 4)
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
    """`tune` for queries under a filter, whose settings reach the recall without it, too: searches of both kinds use them.

    Few rows often need next to nothing, so the wider of both settings count. The report is that of the filter.
    """
    plain, _ = tune(snapshot, sample, target, k, foreign)
    filtered, report = tune(snapshot, replace(sample, mask=mask), target, k, foreign)
    widest = {name: max(getattr(plain, name), getattr(filtered, name)) for name in ("reach", "margin", "tail")}
    found = (plain.foreign_recall, filtered.foreign_recall)
    lowest = max((one for one in found if one is not None), default=None)  # the wider settings find no less
    settings = replace(plain, **widest, decay=min(plain.decay, filtered.decay), foreign_recall=lowest)
    sample = replace(sample, mask=mask)
    exact = run_sample(snapshot, sample, SearchRequest(k, settings, exact=True))
    recall, milliseconds = _measure(snapshot, sample, exact, settings)
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
    """Settings with which a search leaves out hardly any row."""
    return replace(settings, reach=max(settings.reach, 4.0), margin=max(settings.margin, 8.0), decay=0.0)


def _measure(snapshot: Snapshot, sample: Sample, exact: Answer, settings: SearchSettings) -> tuple[float, float]:
    """Recall of a sample, whose exact answers are given, and milliseconds of all its queries."""
    answer = run_sample(snapshot, sample, SearchRequest(exact.rows.shape[1], settings))
    recall = recall_by_score(answer.scores, exact.scores, smaller_is_better=snapshot.model.metric == "l2")
    return recall, answer.stats.total_milliseconds


def _aim(target: float, neighbours: int) -> float:
    """The recall to reach on a sample with so many neighbours, so that other queries hardly find less than the target.

    Settings are chosen by what the sample finds, so they are as likely too narrow for others as its recall is too high by
    chance: half a standard error goes on top. Neighbours of one query are found or missed together.
    """
    error = TOGETHER * np.sqrt(target * (1 - target) / max(1, neighbours))
    return min(target + 0.5 * float(error), target + (1 - target) / 4)


def _tune_tail(
    snapshot: Snapshot, settings: SearchSettings, foreign: Sequence[Sample], target: float, familiar: Sequence[float]
) -> tuple[SearchSettings, float]:
    """The settings with about the least tail with which foreign samples reach a recall, and the recall of the worst of them.

    They are to reach it together, and each nearly. Where a longer tail does not help it is the estimates that lose rows, and
    the margin is widened; or queries count as lying among the rows that do not, and fewer do from then on. The reach is
    lengthened last and only where the worst sample falls short, since searches for what is near pay for it.

    Parameters
    ----------
    familiar : sequence of float
        Values of that setting to go through.
    """
    exacts = [run_sample(snapshot, sample, SearchRequest(settings.k or 1, settings, exact=True)) for sample in foreign]
    aim = target + (1 - target) / 2  # what users ask differs more from these samples than rows do from rows

    def measure(tried: SearchSettings) -> tuple[float, float]:
        """How much of the recall is missing, less than nothing if none is, and the lowest recall."""
        pairs = zip(foreign, exacts, strict=True)
        recalls = [_measure(snapshot, sample, exact, tried)[0] for sample, exact in pairs]
        return max(aim - sum(recalls) / len(recalls), aim - ALLOWANCE - min(recalls)), min(recalls)

    found, stricter = replace(settings, tail=LEAST_TAIL, familiar=familiar[0]), list(familiar[1:])
    missing, lowest = measure(found)
    while missing > 0:
        steps = [replace(found, tail=found.tail * longer) for longer in (1.25, 1.6, 2.5)]
        steps = [tried for tried in steps if tried.tail <= LARGEST_TAIL]
        steps.append(replace(found, margin=1.25 * found.margin))
        if lowest < target - ALLOWANCE:  # else it is not worth what it costs queries that lie among the rows
            steps += [replace(found, familiar=bar) for bar in stricter]
            steps.append(replace(found, reach=1.25 * found.reach))
        for tried in steps:
            less, reached = measure(tried)
            if less < missing - LITTLE_GAIN:
                break
        else:
            break  # nothing helps
        stricter = [bar for bar in familiar if bar > (tried.familiar or 0.0)]
        missing, lowest, found = less, reached, tried
    allowed = missing + LITTLE_GAIN if missing > 0 else 0.0
    # what did not help goes again
    for name, least in (("reach", settings.reach), ("tail", LEAST_TAIL), ("margin", settings.margin)):
        value, too_little = (
            least,
            least,
        )  # first what it was, then halfway between what is too little and what is enough
        for _ in range(NARROWING + 1):
            if value >= getattr(found, name):
                break
            tried = replace(found, **{name: value})  # type: ignore[arg-type]
            less, reached = measure(tried)
            if less <= allowed:
                found, lowest = tried, reached
            else:
                too_little = value
            value = (too_little + getattr(found, name)) / 2
    return found, lowest


def _familiar(snapshot: Snapshot, sample: Sample) -> list[float]:
    """How near the nearest centroid is to all but some queries of a sample, ascending; by shares of `UNFAMILIAR`."""
    bases = route(snapshot.model, sample.queries, snapshot.radii, SearchSettings(0.0)).bases.max(axis=1)
    if snapshot.model.metric != "l2":
        bases = bases / np.maximum(np.linalg.norm(sample.queries, axis=1), np.finfo(np.float32).tiny)
    unit = nearness_unit(snapshot.model, snapshot.radii)
    return [float(np.quantile(bases, share)) / unit for share in UNFAMILIAR]


def _widths(
    snapshot: Snapshot, sample: Sample, exact: Answer, target: float, decay: float
) -> Callable[[float], SearchSettings]:
    """Settings to try for a recall, by a number: 0 for those that the needs of the sample ask for, wider above it."""
    reaches, margins = _needs(snapshot, sample, exact, FIRST_REACH, decay)
    if len(reaches):
        reaches, margins = _needs(snapshot, sample, exact, float(np.quantile(reaches, target)), decay)

    def settings(step: float) -> SearchSettings:
        missed = min((1.0 - target) * 0.6**step, 1.0)
        reach = float(np.quantile(reaches, 1 - (1 - MARGIN_SHARE) * missed)) if len(reaches) else 0.0
        margin = float(np.quantile(margins, 1 - MARGIN_SHARE * missed)) if len(margins) else 0.0
        slack = 1e-4 + 0.02 * max(0.0, step - STEPS // 2)
        reach = min(max(0.0, reach), LARGEST_SETTING) + slack
        return SearchSettings(reach, min(max(0.5, margin), LARGEST_SETTING) + slack, decay, tail=0.0)

    return settings


def _needs(
    snapshot: Snapshot, sample: Sample, exact: Answer, ranked_by: float, decay: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reach and margin that each true neighbour needs; see `SearchSettings`. Cells have no use for a margin.

    How much of the reach is lost to nearer partitions is that of partitions ranked by the reach `ranked_by`.
    """
    model = snapshot.model
    cells = model.quantizer.scan == "cells"
    scores = -exact.scores if model.metric == "l2" else exact.scores
    worst = np.nanmin(scores, axis=1, initial=np.inf)
    position, place = np.nonzero(exact.rows >= 0)
    rows = exact.rows[position, place]
    if len(rows) == 0:
        return np.empty(0), np.empty(0)
    reaches, margins = np.zeros(len(rows)), np.zeros(len(rows))
    # what the bound of a visited partition has to reach: a search of cells only knows its best centroid
    goal = route(model, sample.queries, snapshot.radii, SearchSettings(0.0)).bases.max(axis=1) if cells else worst
    fades = None if cells or decay == 0 else _fades(snapshot, sample, max(0.0, ranked_by))
    spreads = snapshot.radii if sample.mask is None else sample.mask.spreads
    norms = np.linalg.norm(sample.queries, axis=1)
    deviation = float(model.quantizer.calibration.deviation[0])
    gain = gain_of(model.metric)
    for shard, at, inside in snapshot.locate(rows):
        table = shard.table
        local = np.searchsorted(table.row_starts + table.rows, inside, side="right")
        centroids = model.centroids[shard.first_partition + local]
        queries = sample.queries[position[at]]
        true = scores[position[at], place[at]].astype(np.float64)
        inner = np.einsum("ij,ij->i", queries, centroids).astype(np.float64)
        radii = table.radii[local].astype(np.float64)
        width = spreads[shard.first_partition + local].astype(np.float64)
        if model.metric == "l2":
            differences = queries - centroids  # squares that cancel would leave no digits far from the mean
            base = -np.einsum("ij,ij->i", differences, differences).astype(np.float64)
            spread, floor = 2 * np.sqrt(np.maximum(-base, 0)) * width, base - radii**2
        else:
            base, spread, floor = inner, norms[position[at]] * width, inner
        squares = np.einsum("ij,ij->i", centroids, centroids).astype(np.float64)
        rounding = ROUNDING * (
            norms[position[at]] ** 2 + squares if model.metric == "l2" else norms[position[at]] * np.sqrt(squares)
        )
        if model.exact_bases:  # terms are no squares then
            rounding = ROUNDING * np.abs(base)
        reaches[at] = np.where(spread > 0, (goal[position[at]] - floor - rounding) / np.maximum(spread, 1e-30), 0)
        if cells:
            continue
        if fades is not None:
            lost = decay * fades[position[at], shard.first_partition + local] * radii / np.maximum(width, 1e-30)
            reaches[at] += np.where(spread > 0, lost, 0)
        offsets = shard.arrays.offsets[inside] if model.metric == "l2" else 0.0
        estimates, factors = _first_estimates(snapshot, shard, queries, local, inside)
        estimate = base + gain * estimates - offsets
        error = gain * factors * deviation * norms[position[at]]
        if model.exact_bases:
            rounding = ROUNDING * (np.abs(base) + np.abs(offsets))
        short = np.minimum(true, worst[position[at]]) - estimate - rounding
        margins[at] = np.where(error > 0, short / np.maximum(error, 1e-30), 0)
    return reaches, margins


def _fades(snapshot: Snapshot, sample: Sample, reach: float) -> NDArray[np.float64]:
    """Logarithms of how many average partitions come before each, float64 (m, partitions)."""
    bounds = route(snapshot.model, sample.queries, snapshot.radii, SearchSettings(reach, tail=0.0)).bounds
    order = np.argsort(-bounds, axis=1, kind="stable")
    rows = (snapshot.partition_rows if sample.mask is None else sample.mask.matches)[order]
    before = np.cumsum(rows, axis=1) - rows
    fades = np.empty(bounds.shape)
    average = snapshot.manifest.rows / snapshot.manifest.partitions
    np.put_along_axis(fades, order, np.log1p(before // average), axis=1)
    return fades


def _first_estimates(
    snapshot: Snapshot, shard: Any, queries: NDArray[np.float32], partitions: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First-stage estimates of ``<query, residual>`` and factors of some (query, row) pairs."""
    from vsearch.kernels.scan.blocks import BLOCK

    quantizer, table, arrays = snapshot.model.quantizer, shard.table, shard.arrays
    staged = len(arrays.first_factors) > 0
    halves = arrays.first_factors if staged else arrays.factors
    scales = table.first_factor_scales if staged else table.factor_scales
    factors = halves[rows].view(np.float16).astype(np.float64) * scales[partitions]
    within = rows - table.row_starts[partitions]
    blocks, lanes = table.block_starts[partitions] + within // BLOCK, within % BLOCK
    codes = arrays.first_codes[blocks].reshape(len(rows), -1, BLOCK)[np.arange(len(rows)), :, lanes]
    width = codes.shape[1]
    sums = np.empty(len(rows))
    pairs = np.arange(width)
    for i in range(len(rows)):
        tables = quantizer.tables(np.ascontiguousarray(queries[i]))
        if quantizer.scan == "bytes":
            sums[i] = tables[pairs, codes[i]].sum()
            continue
        sums[i] = tables[2 * pairs, codes[i] & 15].sum() + tables[2 * pairs + 1, codes[i] >> 4].sum()
    return sums * factors * float(quantizer.calibration.scale[0]), factors
