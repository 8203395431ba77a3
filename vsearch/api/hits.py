"""What a search returns."""

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
        int64, -1 where fewer than k rows match; or object (str), None there.
    scores : float32 (queries, k)
        Similarity under cosine and ip, squared distance under l2; NaN where there is no row.
    stats : SearchStats
        What the search did, level by level.
    columns : pyarrow.Table or None
        The requested attribute columns, one row per (query, rank), NULL where there is no row.
    offset : int
        Rows of each query before these, which were left to earlier pages.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    stats: SearchStats
    columns: pa.Table | None = None
    offset: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def to_arrow(self) -> pa.Table:
        """Rows as a table: query, rank (from 1, through all pages), id, score and the requested columns; only rows that were found."""
        import pyarrow as pa

        queries, k = self.scores.shape
        found = ~np.isnan(self.scores.reshape(-1))
        ids = self.ids.reshape(-1)
        table = pa.table(
            {
                "query": pa.array(np.repeat(np.arange(queries), k)[found]),
                "rank": pa.array(np.tile(np.arange(1, k + 1) + self.offset, queries)[found]),
                "id": pa.array(ids[found].tolist(), pa.string()) if ids.dtype == object else pa.array(ids[found]),
                "score": pa.array(self.scores.reshape(-1)[found]),
            }
        )
        if self.columns is not None:
            kept = self.columns.filter(pa.array(found))
            for name in kept.column_names:
                # an attribute may bear one of our own names; it keeps its own, ours came first
                label = name if name not in ("query", "rank", "id", "score") else f"attribute.{name}"
                table = table.append_column(label, kept.column(name))
        return table


@dataclass(frozen=True, eq=False)
class DocumentMatches:
    """Which vectors of the hits one query's vectors met: what a page viewer highlights.

    Attributes
    ----------
    positions : int64 (k, n)
        For each hit and query vector the place of the document's best vector, in the document as it was given; -1 where
        there is no hit. Of merged vectors the one that is most like them all.
    scores : float32 (k, n)
        Their inner products as far as what is stored tells; NaN where there is no hit.
    places : int64 (n,)
        Places of the query vectors in the query as it was given; not all of them under `query_keep`.
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
        Of each query, where they were asked for.
    """

    matches: tuple[DocumentMatches, ...] | None = None
