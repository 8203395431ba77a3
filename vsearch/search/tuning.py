"""Tuning and measuring: exact answers of sample queries tell which settings reach a recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vsearch.search.masks import IndexMask
from vsearch.search.model import SearchSettings
from vsearch.search.query import Answer, SearchRequest, search_vectors
from vsearch.search.route import gain_of, route
from vsearch.search.rows import reconstruct
from vsearch.search.snapshot import Snapshot
from vsearch.search.stats import SearchStats

SCORE_TOLERANCE = 1e-5  # relative: exact duplicates, and sums in another order, count as the same score
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


@dataclass(frozen=True, eq=False)
class Sample:
    """Queries to measure with.

    Attributes
    ----------
    queries : float32 (m, d)
        Prepared (rotated).
    own_rows : int64 (m,) or None
        The row that each query is, where rows of the index were drawn: it does not count as a hit.
    """

    queries: NDArray[np.float32]
    own_rows: NDArray[np.int64] | None


def draw_rows(snapshot: Snapshot, count: int, seed: int) -> Sample:
    """Rows of the index as queries; all of them where there are not more."""
    rows = snapshot.manifest.rows
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(rows, min(count, rows), replace=False))
    return Sample(np.ascontiguousarray(reconstruct(snapshot, drawn)), drawn)


def run_sample(snapshot: Snapshot, sample: Sample, request: SearchRequest, mask: IndexMask | None) -> Answer:
    """Search for a sample; drawn rows are taken out of their own answers."""
    if sample.own_rows is None:
        return search_vectors(snapshot, sample.queries, request, mask, SearchStats(), prepared=True)
    answer = search_vectors(
        snapshot, sample.queries, msgspec.structs.replace(request, k=request.k + 1), mask, SearchStats(), prepared=True
    )
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
    """

    recall: float
    queries: int
    k: int
    milliseconds_per_query: float
    rows_scanned_per_query: float

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
    reached : bool
        Whether the target was reached. If not, the codes bound it: use more bits or rerank codes.
    k, queries : int
    settings : dict
        What search now uses.
    milliseconds_per_query : float
    """

    target: float
    recall: float
    reached: bool
    k: int
    queries: int
    settings: dict[str, Any]
    milliseconds_per_query: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tune(snapshot: Snapshot, sample: Sample, target: float, k: int) -> tuple[SearchSettings, TuneReport]:
    """Find about the least reach and margin that reach a recall against exhaustive search of what is stored.

    The exact answers say how far every true neighbour's partition had to be reached and how wrong its estimate is;
    quantiles of both are the settings. They are then measured, widened until the measurement agrees, and narrowed again as
    far as it still does. Where none agrees the bounds fade less; where even that does not help the best that was measured is
    kept.
    """
    cells = snapshot.model.quantizer.scan == "cells"  # their bounds do not fade
    exact = run_sample(snapshot, sample, SearchRequest(k, snapshot.settings, exact=True), None)
    settings, milliseconds, measured = snapshot.settings, 0.0, -1.0
    last: SearchSettings | None = None

    def measure(tried: SearchSettings) -> bool:
        """Whether settings reach the recall; they are kept if they do, or if nothing has come as near."""
        nonlocal settings, measured, milliseconds, last
        if tried == last:
            return False
        last = tried
        answer = run_sample(snapshot, sample, SearchRequest(k, tried), None)
        recall = recall_by_score(answer.scores, exact.scores, smaller_is_better=snapshot.model.metric == "l2")
        if recall >= target or recall > measured:
            settings, measured, milliseconds = tried, recall, answer.stats.total_milliseconds
        return recall >= target

    for decay in (0.0,) if cells else DECAYS:
        widths = _widths(snapshot, sample, exact, target, decay)
        reaching = next((step for step in range(STEPS) if measure(widths(step))), None)
        if reaching is not None:
            short, enough = reaching - 1.0, float(reaching)
            for _ in range(NARROWING):
                middle = (short + enough) / 2
                short, enough = (short, middle) if measure(widths(middle)) else (middle, enough)
            break
    settings = replace(settings, recall=round(measured, 4))
    queries = len(sample.queries)
    report = TuneReport(
        target=target,
        recall=measured,
        reached=measured >= target,
        k=k,
        queries=queries,
        settings=settings.to_dict(),
        milliseconds_per_query=milliseconds / max(1, queries),
    )
    return settings, report


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
        return SearchSettings(
            min(max(0.0, reach), LARGEST_SETTING) + slack, min(max(0.5, margin), LARGEST_SETTING) + slack, decay
        )

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
    fades = None if cells else _fades(snapshot, sample, max(0.0, ranked_by))
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
        if model.metric == "l2":
            base = 2 * inner - np.einsum("ij,ij->i", centroids, centroids) - norms[position[at]] ** 2
            spread, floor = 2 * np.sqrt(np.maximum(-base, 0)) * radii, base - radii**2
        else:
            base, spread, floor = inner, norms[position[at]] * radii, inner
        squares = np.einsum("ij,ij->i", centroids, centroids).astype(np.float64)
        rounding = ROUNDING * (
            norms[position[at]] ** 2 + squares if model.metric == "l2" else norms[position[at]] * np.sqrt(squares)
        )
        reaches[at] = np.where(spread > 0, (goal[position[at]] - floor - rounding) / np.maximum(spread, 1e-30), 0)
        if fades is None:
            continue
        reaches[at] += np.where(spread > 0, decay * fades[position[at], shard.first_partition + local], 0)
        offsets = shard.arrays.offsets[inside] if model.metric == "l2" else 0.0
        estimates, factors = _first_estimates(snapshot, shard, queries, local, inside)
        estimate = base + gain * estimates - offsets
        error = gain * factors * deviation * norms[position[at]]
        short = np.minimum(true, worst[position[at]]) - estimate - rounding
        margins[at] = np.where(error > 0, short / np.maximum(error, 1e-30), 0)
    return reaches, margins


def _fades(snapshot: Snapshot, sample: Sample, reach: float) -> NDArray[np.float64]:
    """Logarithms of how many average partitions come before each, float64 (m, partitions)."""
    bounds = route(snapshot.model, sample.queries, snapshot.radii, SearchSettings(reach, tail=0.0)).bounds
    order = np.argsort(-bounds, axis=1, kind="stable")
    rows = snapshot.partition_rows[order]
    before = np.cumsum(rows, axis=1) - rows
    fades = np.empty(bounds.shape)
    average = snapshot.manifest.rows / snapshot.manifest.partitions
    np.put_along_axis(fades, order, np.log1p(before // average), axis=1)
    return fades


def _first_estimates(
    snapshot: Snapshot, shard: Any, queries: NDArray[np.float32], partitions: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """First-stage estimates of ``<query, residual>`` and factors of some (query, row) pairs."""
    from vsearch.kernels.blocks import BLOCK

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
