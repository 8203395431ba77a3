"""Rank rows by the words of a text query, with BM25 as Lucene computes it.

The score of a row is the sum over columns and terms of::

    weight * idf * count / (count + k1 * (1 - b + b * length / mean length))

where the row has the term `count` times; see `vsearch.text.weighing` for weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.legs.protocol import LegRanking
from vsearch.text.matching import check_time
from vsearch.text.placing import norm_of, place_query
from vsearch.text.scanning import bits_of, scoring_workspace
from vsearch.text.weighted import WeightedQuery

if TYPE_CHECKING:
    from vsearch.legs.masks import Allowed
    from vsearch.search.engine.stats import SearchStats
    from vsearch.search.state.snapshot import Snapshot
    from vsearch.text.opening import OpenColumn

SPAN = 1 << 18
"""Number of rows between checks of the deadline."""


def rank_words(
    columns: Sequence[OpenColumn],
    snapshot: Snapshot,
    weighted: WeightedQuery,
    k: int,
    allowed: Allowed,
    stats: SearchStats,
    deadline: float | None = None,
) -> LegRanking:
    """Find the best rows for a query in open columns of a snapshot."""
    begun = time.perf_counter()
    norms = [norm_of(column, length) for column, length in zip(columns, weighted.lengths, strict=True)]
    runs = [snapshot.shards[place] for place in sorted(allowed)]
    place_query(columns, weighted, runs, deadline)
    workspace = scoring_workspace()
    workspace.begin_heap(k)
    for run in runs:
        query, mask = weighted.placed[run.number], allowed[run.number]
        if query.empty:
            continue
        if query.met is not None:
            mask = query.met if mask is None else query.met & mask
        workspace.begin([column.runs[run.number].address for column in columns], norms, query)
        for start in range(0, run.rows, SPAN):
            check_time(deadline)
            if not workspace.rank(start, min(start + SPAN, run.rows), run.first_row, mask):
                raise columns[0].runs[run.number].damaged()
    scores, rows, scored = workspace.hits()
    stats.rows_scanned += scored
    keys = scores.astype(np.float64)
    stats.add("scan", begun)
    return LegRanking(rows, (keys / weighted.scale).astype(np.float32), keys)


def score_words(
    columns: Sequence[OpenColumn],
    snapshot: Snapshot,
    weighted: WeightedQuery,
    rows: NDArray[np.int64],
    deadline: float | None = None,
) -> NDArray[np.float64]:
    """Return the scores that `rank_words` gives to rows of a snapshot, ascending; 0 for rows without any of the words."""
    norms = [norm_of(column, length) for column, length in zip(columns, weighted.lengths, strict=True)]
    workspace, keys = scoring_workspace(), np.zeros(len(rows), np.int64)
    edges = np.searchsorted(
        rows, [edge for run in snapshot.shards for edge in (run.first_row, run.first_row + run.rows)]
    )
    concerned = [
        (run, first, stop)
        for run, first, stop in zip(snapshot.shards, edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if first < stop
    ]
    place_query(columns, weighted, [run for run, _, _ in concerned], deadline)
    for run, first, stop in concerned:
        place, query = run.number, weighted.placed[run.number]
        if query.empty:
            continue
        of_run = rows[first:stop]
        workspace.begin([column.runs[place].address for column in columns], norms, query)
        scores = workspace.score(of_run, run.first_row)
        met = query.met
        keys[first:stop] = scores if met is None else np.where(bits_of(met, of_run - run.first_row), scores, 0)
    return (keys / weighted.scale).astype(np.float32).astype(np.float64)
