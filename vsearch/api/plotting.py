"""Curves of recall and cost of an open index, and pictures of them, which need ``pip install vsearch[plot]``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vsearch.api.measuring import check_tunable, draw_sample
from vsearch.api.opened import OpenedIndex, rereads
from vsearch.checks import check_search
from vsearch.errors import InputError, MissingDependencyError
from vsearch.search.curves import FACTORS, SHARES, RecallCurve, map_partitions, measure_by_settings, measure_by_share
from vsearch.search.engine.stats import SearchStats
from vsearch.search.where import mask_of
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot

WIDE, HIGH = 6.4, 4.4
"""Size of a picture in inches."""


class PlottableIndex(OpenedIndex):
    """Curves and pictures."""

    @rereads
    def recall_curve(
        self,
        queries: Any = None,
        k: int = 10,
        where: Where = None,
        *,
        sample: int = 100,
        factors: Sequence[float] = FACTORS,
        timeout: float | None = None,
    ) -> RecallCurve:
        """Measure recall and cost with narrower and wider settings than the index has. It changes nothing.

        Parameters
        ----------
        queries : array (m, d), optional
            By default `sample` rows of the index and points near them, as for `tune`.
        factors : sequence of float
            Factors for the settings; 1 stands for those that searches use.
        timeout : float, optional
            Seconds.

        Raises
        ------
        InputError
            An argument is invalid, or the index has no rows.
        PredicateError
            `where` is not a valid predicate on the attributes.
        SearchTimeoutError
            The measurement did not finish in time.
        """
        check_search(k=k, timeout=timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot = self._measurable()
            drawn = draw_sample(snapshot, queries, sample, mixture=True)
            drawn = replace(drawn, mask=mask_of(snapshot, where, SearchStats()))
            return measure_by_settings(snapshot, drawn, int(k), factors, deadline)

    @rereads
    def selectivity_curve(
        self,
        queries: Any = None,
        k: int = 10,
        *,
        sample: int = 50,
        shares: Sequence[float] = SHARES,
        timeout: float | None = None,
    ) -> RecallCurve:
        """Measure recall and cost under filters that random shares of the rows pass.

        Real filters may be correlated with the vectors: measure those with `recall` and `where`.

        Parameters
        ----------
        queries : array (m, d), optional
            By default `sample` rows of the index and points near them.
        shares : sequence of float
            Above 0, at most 1. Shares that no row passes are left out.
        timeout : float, optional
            Seconds.

        Raises
        ------
        InputError
            An argument is invalid, or the index has no rows.
        SearchTimeoutError
            The measurement did not finish in time.
        """
        check_search(k=k, timeout=timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        with within(deadline):
            snapshot = self._measurable()
            drawn = draw_sample(snapshot, queries, sample, mixture=True)
            return measure_by_share(snapshot, drawn, int(k), shares, deadline)

    def plot_recall(self, queries: Any = None, k: int = 10, where: Where = None, **options: Any) -> Figure:
        """Draw recall against rows scanned; takes the arguments of `recall_curve`.

        Returns
        -------
        matplotlib.figure.Figure
            ``figure.savefig("recall.svg")``; a notebook shows it.

        Raises
        ------
        InputError, PredicateError, SearchTimeoutError
            As for `recall_curve`.
        MissingDependencyError
            matplotlib is not installed.
        """
        figure_class()
        return draw_recall(self.recall_curve(queries, k, where, **options))

    def plot_selectivity(self, queries: Any = None, k: int = 10, **options: Any) -> Figure:
        """Draw the cost of searches, and their recall, against the share of rows that a filter passes.

        It takes the arguments of `selectivity_curve`.

        Raises
        ------
        InputError, SearchTimeoutError
            As for `selectivity_curve`.
        MissingDependencyError
            matplotlib is not installed.
        """
        figure_class()
        return draw_selectivity(self.selectivity_curve(queries, k, **options))

    def plot_partitions(self) -> Figure:
        """Draw the partitions in the plane of their two first principal components, with areas by rows.

        Raises
        ------
        InputError
            The index has no rows, or is not trained yet.
        MissingDependencyError
            matplotlib is not installed.
        """
        figure, axes = _start()
        snapshot = self._measurable()
        places, rows = map_partitions(snapshot)
        largest = max(1, int(rows.max()))
        dots = axes.scatter(
            places[:, 0], places[:, 1], s=8 + 292 * rows / largest, c=rows, cmap="viridis", alpha=0.6, linewidths=0
        )
        figure.colorbar(dots, ax=axes, label="rows")
        axes.set_xlabel("first principal component of the centroids")
        axes.set_ylabel("second principal component")
        axes.set_title(f"{len(rows):,} partitions, {int(rows.sum()):,} rows")
        axes.set_aspect("equal", adjustable="datalim")
        return figure

    def _measurable(self) -> Snapshot:
        snapshot = self._current()
        if snapshot.manifest.documents is not None:
            raise InputError(
                "curves and plots require an index with one vector per row; this one has multi-vector documents"
            )
        check_tunable(snapshot)
        return snapshot


def draw_recall(curve: RecallCurve) -> Figure:
    """Draw recall against rows scanned.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    figure, axes = _start()
    points = sorted(curve.points, key=lambda point: point.rows_scanned)
    scanned, recalls = [point.rows_scanned for point in points], [point.recall for point in points]
    axes.plot(scanned, recalls, marker="o", markersize=4)
    for point in points:
        if point.factor == 1:
            label = f"settings of the index: {point.recall:.3f}, {point.milliseconds:.2f} ms"
            axes.plot([point.rows_scanned], [point.recall], "o", ms=10, mfc="none", color="C3", label=label)
    if curve.tuned is not None:
        axes.axhline(curve.tuned, linestyle="--", linewidth=1, color="0.5", label=f"tuned to {curve.tuned:.3f}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right")
    if min(scanned) > 0 and max(scanned) > 20 * min(scanned):
        axes.set_xscale("log")
    axes.set_xlabel(f"rows scanned per query, of {curve.rows:,}")
    axes.set_ylabel(f"recall@{curve.k}")
    axes.set_title(f"Recall and cost, {curve.queries} queries")
    return figure


def draw_selectivity(curve: RecallCurve) -> Figure:
    """Draw cost and recall against the share of rows that pass.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    figure, axes = _start()
    shares = [100 * point.share for point in curve.points]
    axes.plot(shares, [max(point.rows_scanned, 1) for point in curve.points], marker="o", markersize=4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for form in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        form("{x:,.0f}")
    axes.set_xlabel("rows that pass the filter, %")
    axes.set_ylabel("rows scanned per query", color="C0")
    right_axes = axes.twinx()
    right_axes.plot(shares, [point.recall for point in curve.points], marker="s", markersize=4, color="C1")
    lowest = min(point.recall for point in curve.points)
    right_axes.set_ylim(min(0.9, lowest - 0.02), 1.005)
    right_axes.set_ylabel(f"recall@{curve.k}", color="C1")
    axes.set_title(f"Selectivity and cost, {curve.queries} queries, {curve.rows:,} rows")
    return figure


def _start() -> tuple[Figure, Axes]:
    figure = figure_class()(figsize=(WIDE, HIGH), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, alpha=0.25)
    return figure, axes


def figure_class() -> type[Figure]:
    """Return matplotlib's figure, which needs neither a display nor pyplot's global state.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(f"plots require the extra plot: pip install 'vsearch[plot]' ({error})") from error
    return Figure
