"""Search results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.search.engine.stats import SearchStats

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Hits:
    """The best rows of each query, best first.

    Attributes
    ----------
    ids : (queries, k)
        int64, with -1 if fewer than k rows match; or object (str), with None.
    scores : float32 (queries, k)
        Similarity under cosine and ip, squared distance under l2; NaN for missing rows.
    stats : SearchStats
        Counts and times per stage.
    columns : pyarrow.Table or None
        The requested attribute columns, one row per (query, rank); NULL for missing rows.
    offset : int
        Rows of each query that were skipped, as part of earlier pages.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    stats: SearchStats
    columns: pa.Table | None = None
    offset: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def to_arrow(self) -> pa.Table:
        """A table with query, rank (from 1, across pages), id, score and the requested columns; missing rows are left out."""
        import pyarrow as pa

        queries, k = self.scores.shape
        present = ~np.isnan(self.scores.reshape(-1))
        ids = self.ids.reshape(-1)
        table = pa.table(
            {
                "query": pa.array(np.repeat(np.arange(queries), k)[present]),
                "rank": pa.array(np.tile(np.arange(1, k + 1) + self.offset, queries)[present]),
                "id": pa.array(ids[present].tolist(), pa.string()) if ids.dtype == object else pa.array(ids[present]),
                "score": pa.array(self.scores.reshape(-1)[present]),
            }
        )
        if self.columns is not None:
            columns = self.columns.filter(pa.array(present))
            for name in columns.column_names:
                # attributes may be named like the columns above, which come first
                label = name if name not in ("query", "rank", "id", "score") else f"attribute.{name}"
                table = table.append_column(label, columns.column(name))
        return table


@dataclass(frozen=True, eq=False)
class DocumentMatches:
    """For one query, the document vectors that its vectors matched: what a page viewer highlights.

    Attributes
    ----------
    positions : int64 (k, n)
        For each hit and query vector, the position of the best vector in the original document; -1 for missing hits. If
        vectors were merged, the position of the one most similar to all merged ones.
    scores : float32 (k, n)
        Their inner products, as accurate as the stored codes; NaN for missing hits.
    places : int64 (n,)
        Positions of the query vectors in the original query; with `query_keep`, not all of them.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DocumentHits(Hits):
    """The best documents of each query, best first: `Hits` whose scores are MaxSim.

    Attributes
    ----------
    matches : tuple of DocumentMatches or None
        One per query, if requested.
    """

    matches: tuple[DocumentMatches, ...] | None = None
