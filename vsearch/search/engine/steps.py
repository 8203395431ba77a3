"""The two steps of a query that the roles are made of: plan it on the model, scan what it visits of one shard.

Both work on one query at a time, so that an answer does not depend on which queries travel together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import finish
from vsearch.kernels.query.api import plan_query as plan_natively
from vsearch.kernels.query.fields import CallField, ModelField
from vsearch.search.engine.cells import build_cell_tables, search_cells
from vsearch.search.engine.masks import IndexMask
from vsearch.search.engine.merge import ShardHits
from vsearch.search.engine.routing import ProbePlan, plan_visits, route
from vsearch.search.engine.scanning import copy_hits, fill_tables, scan_in_waves
from vsearch.search.engine.score_floor import prune_visits
from vsearch.search.state.model import prepare_queries
from vsearch.search.state.shard import Shard
from vsearch.search.state.snapshot import Snapshot
from vsearch.search.state.workspace import Workspace


def plan_query(
    snapshot: Snapshot,
    query: NDArray[np.float32],
    *,
    k: int,
    nprobe: int | None,
    exact: bool,
    mask: IndexMask | None,
) -> tuple[NDArray[np.float32], list[ProbePlan]]:
    """Rotate a query and choose the partitions that it visits in every shard.

    Parameters
    ----------
    query : float32 (d,)
        As the user gave it.
    mask : IndexMask or None
        How many rows of each partition a predicate may let pass; None without a predicate.

    Returns
    -------
    query : float32 (d,)
        Prepared.
    visits : list of ProbePlan
        One for each shard, empty where nothing is to be visited.
    """
    if snapshot.model.quantizer.scan == "cells":
        return _plan_cells(snapshot, query, k=k, nprobe=nprobe, exact=exact, mask=mask)
    workspace = _begin(snapshot, k=k, nprobe=nprobe, exact=exact, mask=mask)
    _plan(snapshot, workspace, query, prepared=False)
    prune_visits(snapshot, workspace, mask)
    many, forced = int(workspace.values[CallField.VISITS]), int(workspace.values[CallField.FORCED])
    order = workspace.order[:many]
    bases, bounds = workspace.bases[order], workspace.bounds[order]
    edges = [shard.first_partition for shard in snapshot.shards]
    owner = np.searchsorted(edges, order, side="right") - 1
    visits = []
    for number, shard in enumerate(snapshot.shards):
        own = np.flatnonzero(owner == number)
        first = int(np.searchsorted(own, forced))
        visits.append(ProbePlan(order[own] - np.int32(shard.first_partition), bases[own], bounds[own], first))
    return workspace.rotated.copy(), visits


def scan_shard(
    snapshot: Snapshot,
    shard: Shard,
    query: NDArray[np.float32],
    visits: ProbePlan,
    *,
    k: int,
    exact: bool,
    mask: NDArray[np.uint64] | None,
) -> ShardHits:
    """Search the planned partitions of a shard for a prepared query; see `plan_query`.

    Parameters
    ----------
    mask : uint64 (words,) or None
        Rows of the shard that pass.
    """
    if snapshot.model.quantizer.scan == "cells":
        tables = build_cell_tables(snapshot.model, query)
        return search_cells(snapshot.model, shard, tables, visits, k, mask=mask, exact=exact)
    workspace = _begin(snapshot, k=k, nprobe=None, exact=exact, mask=None)
    _plan(snapshot, workspace, query, prepared=True)
    order = visits.order + np.int32(shard.first_partition)
    workspace.order[: len(order)] = order
    workspace.bases[order], workspace.bounds[order] = visits.bases, visits.bounds
    workspace.values[CallField.VISITS], workspace.values[CallField.FORCED] = len(order), visits.minimum
    workspace.empty()
    workspace.use_mask(mask)
    scan_in_waves(snapshot, shard, workspace)
    finish(workspace.fields.address)
    return copy_hits(workspace)


def _begin(snapshot: Snapshot, *, k: int, nprobe: int | None, exact: bool, mask: IndexMask | None) -> Workspace:
    workspace = snapshot.workspace()
    workspace.begin(
        k=k,
        nprobe=nprobe,
        exact=exact,
        settings=snapshot.settings,
        eligible=None if mask is None else mask.matches,
        spreads=None if mask is None else mask.spreads,
    )
    return workspace


def _plan(snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], *, prepared: bool) -> None:
    workspace.use_query(query, prepared=prepared)
    if snapshot.native.values[ModelField.TABLES_GIVEN]:
        fill_tables(snapshot, workspace, query, prepared=prepared)
    plan_natively(snapshot.native.address, workspace.fields.address)


def _plan_cells(
    snapshot: Snapshot,
    query: NDArray[np.float32],
    *,
    k: int,
    nprobe: int | None,
    exact: bool,
    mask: IndexMask | None,
) -> tuple[NDArray[np.float32], list[ProbePlan]]:
    prepared = prepare_queries(snapshot.model, query[None, :])
    routes = route(snapshot.model, prepared, snapshot.radii, snapshot.settings)
    edges = [shard.first_partition for shard in snapshot.shards] + [snapshot.manifest.partitions]
    rows = snapshot.partition_rows if mask is None else mask.matches
    visits = plan_visits(
        routes.bases[0],
        routes.bounds[0],
        edges,
        k=k,
        nprobe=nprobe,
        rows=rows,
        filtered=mask is not None,
        exact=exact,
    )
    return prepared[0], visits
