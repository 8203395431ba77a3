"""Scan the visits planned in a workspace, fetching partitions before kernels read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import list_rest, scan_nearest, scan_rest
from vsearch.kernels.query.fields import CallField, ModelField
from vsearch.search.engine.merge import ShardHits
from vsearch.search.state.model import prepare_queries
from vsearch.search.state.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vsearch.search.state.shard import Shard
    from vsearch.search.state.shard_runs import ShardRuns
    from vsearch.search.state.snapshot import Snapshot

FIRST_WAVE = 64  # visits of the first wave, whose partitions are fetched together; doubles with each wave
Words = NDArray[np.uint64] | None
"""Bit mask of the rows of a run that pass, uint64 (words,); None if all do."""


def scan_in_waves(snapshot: Snapshot, shard: Shard, workspace: Workspace) -> None:
    """Scan a shard's part of the planned visits, fetching partitions before they are scanned.

    The nearest come first, in waves of at least `FIRST_WAVE` visits, usually a single one; then all that remain,
    together. So a shard that was never read needs two rounds of requests.
    """
    _scan_nearest(snapshot, shard, workspace)
    _scan_rest(snapshot, shard, workspace)


def scan_runs_in_waves(snapshot: Snapshot, shard: ShardRuns, workspace: Workspace, words: Sequence[Words]) -> None:
    """`scan_in_waves` for a shard of several runs, with one heap, like `kernels.query.query.search_runs`.

    The nearest partitions of every run come first, so that the k-th best score is already high for the rest.
    """
    values, resumed = workspace.values, []
    for run, mask in zip(shard.runs, words, strict=True):
        _number_from(workspace, run.first_row - shard.first_row)
        workspace.use_mask(mask)
        _scan_nearest(snapshot, run, workspace)
        values[CallField.REST_COUNT] = 0
        scan_rest(
            snapshot.native.address, run.native.address, workspace.fields.address
        )  # pending rows belong to this run
        _number_from(workspace, shard.first_row - run.first_row)
        resumed.append(int(values[CallField.FIRST_VISIT]))
    for run, mask, visit in zip(shard.runs, words, resumed, strict=True):
        _number_from(workspace, run.first_row - shard.first_row)
        workspace.use_mask(mask)
        values[CallField.FIRST_VISIT] = visit
        _scan_rest(snapshot, run, workspace)
        _number_from(workspace, shard.first_row - run.first_row)


def _number_from(workspace: Workspace, first: int) -> None:
    """Renumber the rows in the heap relative to another first row."""
    workspace.rows[: workspace.values[CallField.SIZE]] -= first


def _scan_nearest(snapshot: Snapshot, run: Shard, workspace: Workspace) -> None:
    values, order = workspace.values, workspace.order
    visits = int(values[CallField.VISITS])
    values[CallField.FIRST_VISIT] = values[CallField.SETTLED] = values[CallField.NEAR] = 0
    wave = visits if run.ready else FIRST_WAVE
    while values[CallField.FIRST_VISIT] < visits and not values[CallField.SETTLED]:
        start = int(values[CallField.FIRST_VISIT])
        values[CallField.LAST_VISIT] = stop = min(start + wave, visits)
        run.ensure_own(order[start:stop])
        scan_nearest(snapshot.native.address, run.native.address, workspace.fields.address)
        wave *= 2


def _scan_rest(snapshot: Snapshot, run: Shard, workspace: Workspace) -> None:
    addresses = (snapshot.native.address, run.native.address, workspace.fields.address)
    list_rest(*addresses)
    run.ensure_own(workspace.rest[: workspace.values[CallField.REST_COUNT]])
    scan_rest(*addresses)


def take_query(snapshot: Snapshot, workspace: Workspace, query: NDArray[np.float32], *, prepared: bool) -> None:
    """Set the query of a workspace, and the lookup tables if the kernels do not compute them for this quantizer.

    Parameters
    ----------
    query : float32 (d,)
    prepared : bool
        Whether the query is already normalized, centered and rotated.
    """
    if not snapshot.native.values[ModelField.TABLES_GIVEN]:
        workspace.use_query(query, prepared=prepared)
        return
    rotated = query if prepared else prepare_queries(snapshot.model, query[None, :])[0]
    workspace.use_query(rotated, prepared=True)
    workspace.tables[:] = snapshot.model.quantizer.tables(rotated)


def copy_hits(workspace: Workspace) -> ShardHits:
    """Copy the hits from a workspace after a search of one shard."""
    return ShardHits(workspace.scores.copy(), workspace.rows.copy(), workspace.counters.copy())
