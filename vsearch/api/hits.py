"""Search results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import MissingDependencyError
from vsearch.search.engine.stats import SearchStats

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl
    import pyarrow as pa

SHOWN = 20
"""Hits that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Hit:
    """One row of an answer.

    Attributes
    ----------
    id : int or str
    score : float
    rank : int
        From 1, across pages.
    values : mapping
        The requested attributes by name.
    vector : float32 (d,) or None
        If requested.
    """

    id: int | str
    score: float
    rank: int
    values: Mapping[str, Any] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False, repr=False)
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
    vectors : float32 (queries, k, d) or None
        Decoded vectors, if requested; NaN for missing rows.

    ``hits[0]`` is the list of the first query's hits, each a `Hit`; iteration goes over the queries.
    """

    ids: NDArray[Any]
    scores: NDArray[np.float32]
    stats: SearchStats
    columns: pa.Table | None = None
    offset: int = 0
    vectors: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, query: int) -> list[Hit]:
        number = range(len(self))[query]
        k = self.scores.shape[1]
        present = np.flatnonzero(~np.isnan(self.scores[number]))
        values: list[dict[str, Any]] = [{}] * len(present)
        if self.columns is not None and len(present):
            values = self.columns.take(number * k + present).to_pylist()
        vectors = [None] * len(present) if self.vectors is None else list(self.vectors[number, present])
        found = zip(
            self.ids[number, present].tolist(), self.scores[number, present].tolist(), present.tolist(), strict=True
        )
        return [
            Hit(id_, score, place + 1 + self.offset, value, vector)
            for (id_, score, place), value, vector in zip(found, values, vectors, strict=True)
        ]

    def __iter__(self) -> Iterator[list[Hit]]:
        return (self[query] for query in range(len(self)))

    def __repr__(self) -> str:
        queries, k = self.scores.shape
        present = ~np.isnan(self.scores)
        best = f", best score {self.scores[0, 0]:.4g}" if queries == 1 and present[:, :1].any() else ""
        columns = "" if self.columns is None else f", columns {', '.join(self.columns.column_names)}"[:200]
        plural = "query" if queries == 1 else "queries"
        return f"<vsearch.{type(self).__name__} of {queries} {plural}, k={k}: {int(present.sum())} hits{best}{columns}>"

    def _repr_html_(self) -> str:
        """The best hits as a table, for notebooks."""
        from html import escape

        table = self.to_arrow()
        names = [name for name in table.column_names if name != "query" or len(self) > 1]
        cells = ["".join(f"<th>{escape(name)}</th>" for name in names)]
        shown = table.slice(0, SHOWN).to_pylist()
        cells += ["".join(f"<td>{escape(_shown(row[name]))}</td>" for name in names) for row in shown]
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        left = table.num_rows - SHOWN
        return f"<table>{rows}</table>" + (f"<p>and {left} more</p>" if left > 0 else "")

    def to_pandas(self) -> pd.DataFrame:
        """The table of `to_arrow` as a pandas frame; needs pandas."""
        _need("pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> pl.DataFrame:
        """The table of `to_arrow` as a polars frame; needs polars."""
        _need("polars")
        import polars as pl

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101  a table never becomes a series
        return frame

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


def _need(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingDependencyError(f"this needs {package}: pip install {package}; to_arrow() does without")


def _shown(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


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


@dataclass(frozen=True, eq=False, repr=False)
class DocumentHits(Hits):
    """The best documents of each query, best first: `Hits` whose scores are MaxSim.

    Attributes
    ----------
    matches : tuple of DocumentMatches or None
        One per query, if requested.
    """

    matches: tuple[DocumentMatches, ...] | None = None
