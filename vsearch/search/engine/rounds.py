"""Searches of runs that are not completely read: rounds of reads, with a search between them that lists what it misses.

The first round reads the nearest partitions. The second one reads the rerank codes of rows that may be among the best, and the other
partitions whose bounds reach the scores estimated so far; the third one what these add. A search costs much less than a round, so it
is repeated from its beginning, and its results are those of an index that is completely read. See `vsearch.kernels.query.unread`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import VsearchError
from vsearch.kernels.query.api import search_runs
from vsearch.kernels.query.fields import NEAREST, CallField
from vsearch.search.engine.scanning import copy_hits, take_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from vsearch.search.engine.merge import ShardHits
    from vsearch.search.state.run_table import RunTable
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.search.state.workspace import Workspace

# The best of many rows score more than their estimates say, so rows that are not read are ranked by estimates plus a part of the error
# bound: what is listed is then needed almost certainly. Later rounds read the few rows and partitions that this leaves out; their
# estimates are too low rather than too high, so that they leave out nothing. On wordnet, 2 reads a third of what 0 does; more than 2
# leads to a fourth round.
OPTIMISM, PESSIMISM = 2.0, -1.0

# read once, since looking up a member of an enumeration costs as much as the assignment
QUERY, UNREAD, SIZE, LISTED = int(CallField.QUERY), int(CallField.UNREAD), int(CallField.SIZE), 2


class Missing:
    """What searches list before a round of reads, after a number of others, of which `before` is the last one."""

    def __init__(self, rounds: int, before: Missing | None) -> None:
        self._rounds, self._before = rounds, before
        self._partitions: list[NDArray[np.int32]] = []
        self._unread_rows: dict[int, list[NDArray[np.int64]]] = {}
        self._likely = [np.empty(0, np.int64)]

    def add(self, table: RunTable, workspace: Workspace) -> None:
        """Add the lists of the search that just ended in a workspace."""
        partitions, unread_rows = workspace.listed()
        self._partitions.append(partitions)
        for position, rows in unread_rows.items():
            self._unread_rows.setdefault(position, []).append(rows)
            if self._rounds > 1:  # few, of which some are probably results
                self._likely.append(rows + table.first_rows[position])
        if unread_rows:
            self._likely.append(workspace.rows[: workspace.number_view[SIZE]].copy())

    def read(self, table: RunTable) -> None:
        """Read and verify it all in one round, with the ids of rows that are likely results.

        Raises
        ------
        VsearchError
            It is what the round before has read: without an error, there would be rounds forever.
        """
        if self._before is not None and self._key() == self._before._key():  # noqa: SLF001 (of the same class)
            raise VsearchError("a search needs again what it has just read, which is a fault of vsearch; report it")
        self._before = None  # not needed any more
        unread_rows = {position: np.concatenate(rows) for position, rows in self._unread_rows.items()}
        table.read(np.concatenate(self._partitions), unread_rows, np.concatenate(self._likely))

    def _key(self) -> list[bytes]:
        """What is listed, to be compared."""
        rows = [part.tobytes() for parts in self._unread_rows.values() for part in parts]
        return [part.tobytes() for part in self._partitions] + rows


def search_unread(snapshot: Snapshot, workspace: Workspace) -> None:
    """Search for the query of a begun workspace, reading what it needs."""
    rounds, missing = 0, None
    while _lists(snapshot, workspace, rounds):
        workspace.number_view[QUERY] = 0  # it was overwritten, but is rotated
        missing = Missing(rounds, missing)
        missing.add(snapshot.table, workspace)
        missing.read(snapshot.table)
        rounds += 1


def search_all_unread(
    snapshot: Snapshot, workspace: Workspace, queries: NDArray[np.float32], *, prepared: bool
) -> list[ShardHits]:
    """Search for m queries, float32 (m, d), in a begun workspace, with common rounds; see `search_unread`."""
    hits: dict[int, ShardHits] = {}
    rounds, missing = 0, None
    while len(hits) < len(queries):
        missing = Missing(rounds, missing)
        for place in [place for place in range(len(queries)) if place not in hits]:
            take_query(snapshot, workspace, queries[place], prepared=prepared)
            if _lists(snapshot, workspace, rounds):
                missing.add(snapshot.table, workspace)
            else:
                hits[place] = copy_hits(workspace)
        if len(hits) < len(queries):
            missing.read(snapshot.table)
        rounds += 1
    return [hits[place] for place in range(len(queries))]


def completes(workspace: Workspace, search: Callable[[], object]) -> bool:
    """Search in a begun workspace, for any number of queries; return whether all that they need was read. Otherwise the results are void."""
    return not _listing(workspace, 0, search)


def _lists(snapshot: Snapshot, workspace: Workspace, rounds: int) -> bool:
    """Search for the query of a workspace after some rounds of reads; return whether it lists something."""
    addresses = (snapshot.native.address, workspace.runs.address, workspace.fields.address)
    return _listing(workspace, rounds, lambda: search_runs(*addresses))


def _listing(workspace: Workspace, rounds: int, search: Callable[[], object]) -> bool:
    workspace.list_unread(NEAREST << min(rounds, 32), OPTIMISM if rounds < 2 else PESSIMISM)
    values = workspace.number_view
    values[UNREAD] = 1
    try:
        search()
    finally:  # an interrupt must not leave it set for the next search
        listed, values[UNREAD] = values[UNREAD] == LISTED, 0
    return listed
