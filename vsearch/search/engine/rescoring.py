"""Scores of given rows by their rerank codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.kernels.query import api
from vsearch.kernels.query.fields import CallField, ModelField
from vsearch.search.state.arguments import address
from vsearch.search.state.model import prepare_queries

if TYPE_CHECKING:
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.search.state.workspace import Workspace

QUERY = int(CallField.QUERY)


def score_rows(
    snapshot: Snapshot, query: NDArray[np.float32], rows: NDArray[np.int64], *, prepared: bool
) -> NDArray[np.float32]:
    """Return the scores that a search gives to rows, in an index with rerank codes whose tables or codes are not cells.

    Parameters
    ----------
    query : float32 (d,)
        As passed by the user; `prepared` ones are already normalized, centered and rotated.
    rows : int64 (n,)
        Numbered as in the snapshot, ascending.

    Returns
    -------
    float32 (n,)
        Negated squared distances for l2.
    """
    table, workspace = snapshot.table, snapshot.workspace()
    if not snapshot.ready:
        table.ensure(_partitions_of(snapshot, rows))
    rows = np.ascontiguousarray(rows - snapshot.groups[0].first_row)  # as the runs of the table are numbered
    workspace.await_rows(table)
    if not prepared and snapshot.native.values[ModelField.TABLES_GIVEN]:  # as in `scanning.take_query`
        query, prepared = prepare_queries(snapshot.model, query[None, :])[0], True
    workspace.use_query(query, prepared=prepared)
    scores = np.empty(len(rows), np.float32)
    addresses = snapshot.native.address, workspace.runs.address, workspace.fields.address
    api.score_rows(*addresses, address(rows), len(rows), address(scores))
    return scores


def score_more(snapshot: Snapshot, workspace: Workspace, rows: int, count: int, scores: int) -> None:
    """Compute the scores of rows for the query that a workspace has just searched for in all runs; see `score_rows`.

    The query is already rotated. The hits of the workspace are lost.

    Parameters
    ----------
    rows, scores : int
        Addresses of int64 (count,), numbered as hits are, ascending, and of float32 (count,), the output.
    """
    workspace.number_view[QUERY] = 0
    addresses = snapshot.native.address, workspace.runs.address, workspace.fields.address
    api.score_rows(*addresses, rows, count, scores)


def _partitions_of(snapshot: Snapshot, rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the partitions of some rows, ascending."""
    parts = []
    for run in snapshot.table.runs:
        table = run.table
        first, stop = np.searchsorted(rows, (run.first_row, run.first_row + run.rows))
        if first < stop and len(table.rows):
            partitions = np.searchsorted(table.row_starts, rows[first:stop] - run.first_row, side="right") - 1
            parts.append(run.first_partition + partitions[partitions >= 0])
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts])).astype(np.int32)
