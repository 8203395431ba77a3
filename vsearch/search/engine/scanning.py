"""Scan the visits planned in a workspace, fetching partitions before kernels read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query.api import list_rest, scan_nearest, scan_rest
from vsearch.kernels.query.fields import NEAREST, CallField, ModelField
from vsearch.search.engine.merge import ShardHits
from vsearch.search.state.model import prepare_queries
from vsearch.search.state.workspace import Workspace

if TYPE_CHECKING:
    from vsearch.search.state.run_table import RunTable
    from vsearch.search.state.snapshot import Snapshot

FIRST_WAVE = (
    NEAREST  # visits whose partitions are fetched together: as many as every search makes; doubles with each wave
)


def scan_in_waves(snapshot: Snapshot, table: RunTable, workspace: Workspace) -> None:
    """Scan the planned visits to the runs of a workspace, with one heap, fetching partitions before they are scanned.

    The nearest partitions are scanned first, in waves of at least `FIRST_WAVE` visits, usually one; then the others
    together. So runs that were never read need two rounds of requests in total.
    """
    values, order = workspace.values, workspace.order
    addresses = (snapshot.native.address, workspace.runs.address, workspace.fields.address)
    visits = int(values[CallField.VISITS])
    values[CallField.FIRST_VISIT] = values[CallField.SETTLED] = 0
    wave = visits if all(run.ready for run in table.runs) else FIRST_WAVE
    while values[CallField.FIRST_VISIT] < visits and not values[CallField.SETTLED]:
        start = int(values[CallField.FIRST_VISIT])
        values[CallField.LAST_VISIT] = stop = min(start + wave, visits)
        table.ensure(order[start:stop])
        scan_nearest(*addresses)
        wave *= 2
    list_rest(*addresses)
    table.ensure(workspace.rest[: workspace.values[CallField.REST_COUNT]])
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
    """Copy the hits from a workspace after a search."""
    return ShardHits(workspace.scores.copy(), workspace.rows.copy(), workspace.counters.copy())
