"""Search results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from vsearch.checks import LARGEST_K, check_whole, is_number
from vsearch.errors import InputError, MissingDependencyError
from vsearch.search.engine.stats import SearchStats
from vsearch.search.fusion import CONSTANT, fuse_ranks

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
        Similarity under cosine and ip, squared distance under l2, number of different bits under hamming; NaN for missing rows.
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
        try:
            number = range(len(self))[query]
        except (IndexError, TypeError) as error:
            message = f"hits[n] are those of query n, from 0 to {len(self) - 1}, got {query!r:.100}"
            raise type(error)(message) from None
        k = self.scores.shape[1]
        present = np.flatnonzero(~np.isnan(self.scores[number]))
        values: list[dict[str, Any]] = [{}] * len(present)
        if self.columns is not None and len(present):
            values = self.columns.take(number * k + present).to_pylist()
        vectors = [None] * len(present) if self.vectors is None else list(self.vectors[number, present])
        parts = zip(
            self.ids[number, present].tolist(), self.scores[number, present].tolist(), present.tolist(), strict=True
        )
        return [
            Hit(id_, score, place + 1 + self.offset, value, vector)
            for (id_, score, place), value, vector in zip(parts, values, vectors, strict=True)
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
        shown_rows = table.slice(0, SHOWN).to_pylist()
        cells += ["".join(f"<td>{escape(_cell_text(row[name]))}</td>" for name in names) for row in shown_rows]
        rows = "".join(f"<tr>{row}</tr>" for row in cells)
        left = table.num_rows - SHOWN
        return f"<table>{rows}</table>" + (f"<p>and {left} more</p>" if left > 0 else "")

    def choose(self, places: NDArray[np.int64], scores: NDArray[np.float32] | None = None) -> Self:
        """Return these hits in another order, or fewer of them.

        Parameters
        ----------
        places : int64 (queries, n)
            For each query, positions among its hits; -1 for none.
        scores : float32 (queries, n), optional
            Their scores; by default the current ones.
        """
        queries, k = self.scores.shape
        absent = places < 0
        at = np.arange(queries)[:, None], np.where(absent, 0, places)
        if not k:
            return self
        ids, old = self.ids[at], self.scores[at] if scores is None else scores.astype(np.float32)
        ids[absent] = None if ids.dtype == object else -1
        changes: dict[str, Any] = {"ids": ids, "scores": np.where(absent, np.float32(np.nan), old), "offset": 0}
        if self.columns is not None:
            import pyarrow as pa

            rows = np.arange(queries)[:, None] * k + places
            changes["columns"] = self.columns.take(pa.array(rows.reshape(-1), mask=absent.reshape(-1)))
        if self.vectors is not None:
            vectors = self.vectors[at]
            vectors[absent] = np.nan
            changes["vectors"] = vectors
        return replace(self, **changes)

    def rerank(self, score: Callable[[int, pa.Table], Any], k: int | None = None) -> Self:
        """Order the hits by other scores, such as those of a cross-encoder.

        Parameters
        ----------
        score : callable
            ``score(query, table)`` returns a number for each row of a table with the ``id``, ``score`` and requested columns of
            a query's hits; larger is better. `query` is the number of the query, from 0.
        k : int, optional
            Hits to keep of each query; all by default.

        Raises
        ------
        InputError
            k is less than 1, or `score` did not return a finite number per row.
        """
        if k is not None:
            check_whole("k", k, LARGEST_K)
        table = self.to_arrow()
        queries, most = self.scores.shape
        kept = most if k is None else min(int(k), most)
        places, scores = np.full((queries, most), -1, np.int64), np.full((queries, most), np.nan, np.float32)
        counts = (~np.isnan(self.scores)).sum(axis=1)
        starts = np.cumsum(counts) - counts
        rows = table.drop_columns(["query", "rank"])
        for query, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
            if not count:
                continue
            returned = score(query, rows.slice(start, count))
            try:
                new_scores = np.asarray(returned, np.float32)
            except (TypeError, ValueError) as error:
                raise InputError(f"score must return {count} finite numbers for query {query}: {error}") from error
            if new_scores.shape != (count,) or not np.isfinite(new_scores).all():
                raise InputError(
                    f"score must return {count} finite numbers for query {query}, got shape {new_scores.shape}"
                )
            order = np.argsort(-new_scores, kind="stable")
            places[query, :count] = np.flatnonzero(~np.isnan(self.scores[query]))[order]
            scores[query, :count] = new_scores[order]
        return self.choose(places[:, :kept], scores[:, :kept])

    def fuse(self, k: int = 10, weights: Sequence[float] | None = None, constant: float = CONSTANT) -> Hits:
        """Fuse the hits of several queries into those of one, by reciprocal ranks (RRF): see `vsearch.fuse`."""
        single_queries = [self.choose_queries([query]) for query in range(len(self))]
        return fuse(single_queries, k, weights, constant)

    def choose_queries(self, queries: Sequence[int]) -> Hits:
        """Return the hits of some queries, by number."""
        import pyarrow as pa

        numbers, k = np.asarray(queries, np.int64), self.scores.shape[1]
        rows = (numbers[:, None] * k + np.arange(k)).reshape(-1)
        return Hits(
            self.ids[numbers],
            self.scores[numbers],
            self.stats,
            None if self.columns is None else self.columns.take(pa.array(rows)),
            self.offset,
            None if self.vectors is None else self.vectors[numbers],
        )

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


def fuse(
    answers: Sequence[Hits], k: int = 10, weights: Sequence[float] | None = None, constant: float = CONSTANT
) -> Hits:
    """Fuse answers to the same queries into one, by reciprocal ranks (RRF).

    The score of a row is the sum of ``weight / (constant + rank)`` over the answers that contain it. So scores of different scales,
    and even of different metrics, can be combined. Ask for more hits than are needed in the end, such as 50 for 10.

    Parameters
    ----------
    answers : sequence of Hits
        Each with the same number of queries and the same columns, such as those of several searches, or of an index of titles and
        one of texts with the same ids.
    k : int
        Hits of each query.
    weights : sequence of float, optional
        One per answer, 1 by default.
    constant : float
        Smooths the weights of ranks: the larger it is, the less the first ranks count above the following ones.

    Raises
    ------
    InputError
        The answers do not fit together, or a weight is not a positive number.
    """
    check_whole("k", k, LARGEST_K)
    answers = list(answers) if isinstance(answers, Iterable) else []
    if not answers or not all(isinstance(answer, Hits) for answer in answers):
        raise InputError("fuse requires the hits of at least one search")
    if len({len(answer) for answer in answers}) > 1 or len({answer.ids.dtype for answer in answers}) > 1:
        raise InputError("fuse requires answers to the same queries, with ids of the same type")
    if len({None if answer.columns is None else tuple(answer.columns.column_names) for answer in answers}) > 1:
        raise InputError("fuse requires answers with the same columns")
    factors = [1.0] * len(answers) if weights is None else list(weights) if isinstance(weights, Iterable) else []
    if len(factors) != len(answers) or not all(is_number(weight) and 0 < weight < np.inf for weight in factors):
        raise InputError(
            f"weights must be a positive number for each of the {len(answers)} answers, got {weights!r:.100}"
        )
    if not (is_number(constant) and 0 <= constant < np.inf):
        raise InputError(f"constant must be a number of at least 0, got {constant!r:.100}")
    joined = _side_by_side(answers)
    places = np.full((len(joined), k), -1, np.int64)
    scores = np.full((len(joined), k), np.nan, np.float32)
    edges = np.cumsum([0, *(answer.scores.shape[1] for answer in answers)])
    for query in range(len(joined)):
        present = [np.flatnonzero(~np.isnan(answer.scores[query])) for answer in answers]
        lists = [answer.ids[query, at] for answer, at in zip(answers, present, strict=True)]
        best, fused = fuse_ranks(lists, factors, float(constant))
        origin = np.concatenate([edge + at for edge, at in zip(edges.tolist(), present, strict=False)])
        places[query, : len(best[:k])], scores[query, : len(best[:k])] = origin[best[:k]], fused[:k]
    return joined.choose(places, scores)


def _side_by_side(answers: list[Hits]) -> Hits:
    """Put the hits of each query of several answers next to each other."""
    queries, first = len(answers[0]), answers[0]
    columns = None
    if first.columns is not None:
        import pyarrow as pa

        tables = [answer.columns for answer in answers if answer.columns is not None]
        starts = np.cumsum([0, *(table.num_rows for table in tables)])
        rows = [
            start + np.arange(table.num_rows).reshape(queries, -1) for start, table in zip(starts, tables, strict=False)
        ]
        together = pa.concat_tables(tables, promote_options="permissive")
        columns = together.take(pa.array(np.concatenate(rows, axis=1).reshape(-1)))
    vectors = None
    if all(answer.vectors is not None for answer in answers):
        vectors = np.concatenate([answer.vectors for answer in answers if answer.vectors is not None], axis=1)
    return Hits(
        np.concatenate([answer.ids for answer in answers], axis=1),
        np.concatenate([answer.scores for answer in answers], axis=1),
        first.stats,
        columns,
        0,
        vectors,
    )


def _need(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingDependencyError(f"this requires {package}: pip install {package}; to_arrow() does not")


def _cell_text(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


@dataclass(frozen=True, eq=False)
class DocumentMatches:
    """For one query, the document vectors that its vectors matched: for highlighting in a page viewer.

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

    def choose(self, hits: NDArray[np.int64]) -> DocumentMatches:
        """Return the matches of hits in another order; -1 for none."""
        absent = (hits < 0)[:, None]
        positions = np.where(absent, -1, self.positions[hits])
        return DocumentMatches(positions, np.where(absent, np.float32(np.nan), self.scores[hits]), self.places)


@dataclass(frozen=True, eq=False, repr=False)
class DocumentHits(Hits):
    """The best documents of each query, best first: `Hits` whose scores are MaxSim.

    Attributes
    ----------
    matches : tuple of DocumentMatches or None
        One per query, if requested.
    """

    matches: tuple[DocumentMatches, ...] | None = None

    def choose(self, places: NDArray[np.int64], scores: NDArray[np.float32] | None = None) -> Self:
        """Return these hits in another order, or fewer of them, with their matches: see `Hits.choose`."""
        chosen = super().choose(places, scores)
        if self.matches is None:
            return chosen
        return replace(chosen, matches=tuple(m.choose(at) for m, at in zip(self.matches, places, strict=True)))
