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
NO_PARTITIONS, NO_ROWS = np.empty(0, np.int32), np.empty(0, np.int64)


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
        table.read(NO_PARTITIONS, _rows_of_runs(snapshot, rows), NO_ROWS)
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


def _rows_of_runs(snapshot: Snapshot, rows: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return rows, ascending, by the position of their run, numbered within it."""
    local: dict[int, NDArray[np.int64]] = {}
    for position, run in enumerate(snapshot.table.runs):
        first, stop = np.searchsorted(rows, (run.first_row, run.first_row + run.rows))
        if first < stop:
            local[position] = rows[first:stop] - run.first_row
    return local
