"""The search settings with which the true neighbors of sample queries are found."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.scan.blocks import BLOCK
from vsearch.metrics import gain_of
from vsearch.search.engine.request import Answer
from vsearch.search.engine.routing import route
from vsearch.search.samples import Sample
from vsearch.search.state.model import SearchSettings
from vsearch.search.state.partition_table import PartitionTable
from vsearch.search.state.shard import Shard, ShardArrays
from vsearch.search.state.snapshot import Snapshot

ROUNDING = 1e-6  # rounding error of a score, relative to the terms of its sum


def needs_of(
    snapshot: Snapshot, sample: Sample, exact: Answer, ranked_by: float, radius_decay: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the radius factor and error sigmas that each true neighbor needs; see `SearchSettings`.

    Of a neighbor with a copy, the lesser needs of both count. Cells do not use error sigmas. The decrease of the radius factor is
    computed for partitions ranked by the radius factor `ranked_by`.
    """
    model = snapshot.model
    cells = model.quantizer.scan == "cells"
    scores = -exact.scores if model.metric == "l2" else exact.scores
    worst = np.nanmin(scores, axis=1, initial=np.inf)
    position, place = np.nonzero(exact.rows >= 0)
    rows = exact.rows[position, place]
    if len(rows) == 0:
        return np.empty(0), np.empty(0)
    radius_factors, error_sigmas = np.zeros(len(rows)), np.zeros(len(rows))
    # the score that the bound of a visited partition must reach: a search of cells only knows the best centroid's
    goal = (
        route(model, sample.queries, snapshot.radii, SearchSettings(0.0)).centroid_scores.max(axis=1)
        if cells
        else worst
    )
    fades = None if cells or radius_decay == 0 else _fades(snapshot, sample, max(0.0, ranked_by))
    effective_radii = snapshot.radii if sample.mask is None else sample.mask.effective_radii
    norms = np.linalg.norm(sample.queries, axis=1)
    terms = _Terms(snapshot, sample, scores, worst, goal, effective_radii, norms, fades, radius_decay)
    for shard, at, run_rows in snapshot.locate(rows):
        local = np.searchsorted(shard.table.row_starts + shard.table.rows, run_rows, side="right")
        radius_factors[at], error_sigmas[at] = terms.needs(
            shard, shard.table, shard.arrays, position[at], place[at], local, run_rows
        )
        if shard.copies is None:
            continue
        copies = shard.copies.copies_of(run_rows)
        copied = np.flatnonzero(copies >= 0)
        at, copies, table = at[copied], copies[copied], shard.copies.table
        local = np.searchsorted(table.row_starts + table.rows, copies, side="right")
        factors, sigmas = terms.needs(shard, table, shard.copies.arrays, position[at], place[at], local, copies)
        nearer = factors < radius_factors[at]  # a search that finds one of the two need not find the other
        radius_factors[at[nearer]], error_sigmas[at[nearer]] = factors[nearer], sigmas[nearer]
    return radius_factors, error_sigmas


@dataclass(frozen=True, eq=False)
class _Terms:
    """The data from which the needs of all neighbors of a sample are computed; see `needs_of`."""

    snapshot: Snapshot
    sample: Sample
    scores: NDArray[np.float32]
    worst: NDArray[np.float32]
    goal: NDArray[np.float32]
    effective_radii: NDArray[np.float32]
    norms: NDArray[np.float32]
    fades: NDArray[np.float64] | None
    radius_decay: float

    def needs(
        self,
        shard: Shard,
        table: PartitionTable,
        arrays: ShardArrays,
        position: NDArray[np.int64],
        place: NDArray[np.int64],
        local: NDArray[np.int64],
        run_rows: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the radius factors and error sigmas with which rows of a run, or their copies, are found.

        Parameters
        ----------
        table, arrays
            Of the run or its copies.
        position, place : int64 (n,)
            Query of each, and rank among its neighbors.
        local, run_rows : int64 (n,)
            Partition within the run, and row in the arrays.
        """
        snapshot, worst, norms, fades = self.snapshot, self.worst, self.norms, self.fades
        model = snapshot.model
        deviation = float(model.quantizer.calibration.deviation[0])
        gain = gain_of(model.metric)
        centroids = model.centroids[shard.first_partition + local]
        queries = self.sample.queries[position]
        true = self.scores[position, place].astype(np.float64)
        inner = np.einsum("ij,ij->i", queries, centroids).astype(np.float64)
        radii = shard.table.radii[local].astype(np.float64)
        width = self.effective_radii[shard.first_partition + local].astype(np.float64)
        if model.metric == "l2":
            differences = queries - centroids  # expanding the square would cancel far from the mean
            base = -np.einsum("ij,ij->i", differences, differences).astype(np.float64)
            spread, floor = 2 * np.sqrt(np.maximum(-base, 0)) * width, base - radii**2
        else:
            base, spread, floor = inner, norms[position] * width, inner
        squares = np.einsum("ij,ij->i", centroids, centroids).astype(np.float64)
        rounding = ROUNDING * (
            norms[position] ** 2 + squares if model.metric == "l2" else norms[position] * np.sqrt(squares)
        )
        if model.exact_centroid_scores:  # the terms are then differences, not squares
            rounding = ROUNDING * np.abs(base)
        factors = np.where(spread > 0, (self.goal[position] - floor - rounding) / np.maximum(spread, 1e-30), 0)
        if model.quantizer.scan == "cells":
            return factors, np.zeros(len(factors))
        if fades is not None:
            lost = self.radius_decay * fades[position, shard.first_partition + local] * radii
            factors += np.where(spread > 0, lost / np.maximum(width, 1e-30), 0)
        offsets = arrays.offsets[run_rows] if model.metric == "l2" else 0.0
        estimates, lengths = _first_estimates(snapshot, table, arrays, queries, position, local, run_rows)
        estimate = base + gain * estimates - offsets
        error = gain * lengths * deviation * norms[position]
        if model.exact_centroid_scores:
            rounding = ROUNDING * (np.abs(base) + np.abs(offsets))
        short = np.minimum(true, worst[position]) - estimate - rounding
        return factors, np.where(error > 0, short / np.maximum(error, 1e-30), 0)


def _fades(snapshot: Snapshot, sample: Sample, radius_factor: float) -> NDArray[np.float64]:
    """Return log(1 + number of average-sized partitions that precede each partition), float64 (m, partitions)."""
    upper_bounds = route(
        snapshot.model, sample.queries, snapshot.radii, SearchSettings(radius_factor, tail=0.0)
    ).upper_bounds
    order = np.argsort(-upper_bounds, axis=1, kind="stable")
    rows = (snapshot.partition_rows if sample.mask is None else sample.mask.matches)[order]
    before = np.cumsum(rows, axis=1) - rows
    fades = np.empty(upper_bounds.shape)
    average = snapshot.manifest.rows / snapshot.manifest.partitions
    np.put_along_axis(fades, order, np.log1p(before // average), axis=1)
    return fades


def _first_estimates(
    snapshot: Snapshot,
    table: PartitionTable,
    arrays: ShardArrays,
    queries: NDArray[np.float32],
    positions: NDArray[np.int64],
    partitions: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return first-stage estimates of ``<query, residual>`` and the factors of (query, row) pairs.

    `positions` of the queries in their batch are ascending: the tables of a query serve all of its rows.
    """
    quantizer = snapshot.model.quantizer
    staged = len(arrays.first_factors) > 0
    halves = arrays.first_factors if staged else arrays.factors
    scales = table.first_factor_scales if staged else table.factor_scales
    factors = halves[rows].view(np.float16).astype(np.float64) * scales[partitions]
    places = rows - table.row_starts[partitions]
    blocks, lanes = table.block_starts[partitions] + places // BLOCK, places % BLOCK
    codes = arrays.first_codes[blocks].reshape(len(rows), -1, BLOCK)[np.arange(len(rows)), :, lanes]
    pairs = np.arange(codes.shape[1])
    sums = np.empty(len(rows))
    for members in _runs(positions):
        tables, member_codes = quantizer.tables(np.ascontiguousarray(queries[members.start])), codes[members]
        if quantizer.scan == "bytes":
            sums[members] = tables[pairs, member_codes].sum(axis=1)
        else:
            sums[members] = tables[2 * pairs, member_codes & 15].sum(axis=1) + tables[
                2 * pairs + 1, member_codes >> 4
            ].sum(axis=1)
    return sums * factors * float(quantizer.calibration.scale[0]), factors


def _runs(values: NDArray[np.int64]) -> list[slice]:
    """Return the slices of runs of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [slice(start, stop) for start, stop in pairwise(edges) if stop > start]
