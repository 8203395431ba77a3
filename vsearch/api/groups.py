"""The best row of each group, by searches that leave out the groups found so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.checks import LARGEST_K, check_search, stored_names
from vsearch.errors import InputError, SearchTimeoutError
from vsearch.metrics import smaller_is_better

if TYPE_CHECKING:
    from vsearch.api.hits import Hits
    from vsearch.api.protocol import SearchableIndex
    from vsearch.predicates import Expression, Where

ROWS_PER_GROUP = 4
"""Rows per group that the first search requests; each further search requests more."""

LEAST_ROWS = 40


@dataclass(frozen=True)
class FixedIndex:
    """An index that stays at one snapshot, for a search in several steps.

    Attributes
    ----------
    index : SearchableIndex
    types : mapping of str to str
        The types of its attributes.
    metric : str
    """

    index: SearchableIndex
    types: Mapping[str, str]
    metric: str


@dataclass(frozen=True)
class GroupSearch:
    """A search for groups, on one snapshot.

    Attributes
    ----------
    fixed : FixedIndex
    per : str
        The attribute whose values are the groups, as stored.
    columns : tuple of str
        Its name, then those requested.
    options : mapping
        Options of `SearchableIndex.search`, but for the timeout.
    until : float or None
        Deadline on the clock of `time.monotonic`.
    """

    fixed: FixedIndex
    per: str
    columns: tuple[str, ...]
    options: Mapping[str, Any]
    until: float | None

    @classmethod
    def of(
        cls,
        fixed: FixedIndex,
        per: str,
        columns: Sequence[str],
        options: dict[str, Any],
        timeout: float | None,
    ) -> GroupSearch:
        """Check the options.

        Raises
        ------
        InputError
            An option is invalid, or `per` is not an attribute by which rows can be grouped.
        """
        types = fixed.types
        check_search(k=1, timeout=timeout, columns=columns, known=tuple(types))
        (name,) = stored_names([per], tuple(types))
        if types[name].startswith(("list<", "float")):
            raise InputError(
                f"per must name an attribute that is neither a list nor a float, got {per!r}, which is {types[name]}"
            )
        until = None if timeout is None else time.monotonic() + timeout
        return cls(fixed, name, (per, *(column for column in columns if column != per)), options, until)

    def search(self, queries: Any, k: int, where: Expression | None) -> Hits:
        """Return the best row of each of the k best groups of each query."""
        depth = min(LARGEST_K, max(LEAST_ROWS, ROWS_PER_GROUP * k))
        hits = self._search(queries, depth, where)
        best = [self._best(hits, query, k) for query in range(len(hits))]
        parts = [[(hits, query, places)] for query, places in enumerate(best)]
        for query, places in enumerate(best):
            if len(places) < k and not np.isnan(hits.scores[query, -1]):
                parts[query] += self._continue(queries[query : query + 1], k, where, parts[query], depth)
        return _combine(hits, parts, k, ascending=smaller_is_better(self.fixed.metric))

    def _continue(
        self, query: Any, k: int, where: Expression | None, parts: list[tuple[Hits, int, NDArray[np.int64]]], depth: int
    ) -> list[tuple[Hits, int, NDArray[np.int64]]]:
        """Search for the groups that are missing, until there are k or no more rows."""
        from vsearch.predicates import col

        more: list[tuple[Hits, int, NDArray[np.int64]]] = []
        literals: list[Any] = []
        null, known, part = False, 0, parts[0]
        while True:
            hits, number, places = part
            values = hits.columns.column(0).take(number * hits.scores.shape[1] + places) if hits.columns else ()
            for value in values:
                if value.is_valid:
                    literals.append(_literal(value))
                else:
                    null = True
            known += len(places)
            if known >= k or np.isnan(hits.scores[number, -1]):
                return more
            others: Any = ~col(self.per).is_in(literals) if literals else None  # never NULL
            if others is None:
                others = col(self.per).is_not_null()
            elif not null:
                others |= col(self.per).is_null()
            depth = min(LARGEST_K, 2 * depth)
            hits = self._search(query, depth, others if where is None else where & others)
            part = hits, 0, self._best(hits, 0, k - known)
            more.append(part)

    def _search(self, queries: Any, depth: int, where: Where) -> Hits:
        timeout = None
        if self.until is not None:
            timeout = self.until - time.monotonic()
            if timeout <= 0:
                raise SearchTimeoutError("the search timed out before enough groups were found; use a longer timeout")
        return self.fixed.index.search(queries, depth, where, columns=self.columns, timeout=timeout, **self.options)

    @staticmethod
    def _best(hits: Hits, query: int, k: int) -> NDArray[np.int64]:
        """Return the places of the first row of each group, at most k."""
        count = int((~np.isnan(hits.scores[query])).sum())
        if hits.columns is None or not count:
            return np.empty(0, np.int64)
        groups = hits.columns.column(0).slice(query * hits.scores.shape[1], count).combine_chunks().dictionary_encode()
        codes = groups.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        _, first = np.unique(codes, return_index=True)
        return np.sort(first)[:k].astype(np.int64)


def _literal(value: Any) -> Any:
    """Return an Arrow scalar as a value that a predicate compares exactly."""
    import pyarrow as pa

    if pa.types.is_timestamp(value.type) and value.type.unit == "ns":
        return np.datetime64(value.value, "ns")
    return value.as_py()


def _combine(first: Hits, parts: list[list[tuple[Hits, int, NDArray[np.int64]]]], k: int, *, ascending: bool) -> Hits:
    """Put the chosen rows of several answers into one, best first."""
    import pyarrow as pa

    queries = len(first)
    ids = np.full((queries, k), None if first.ids.dtype == object else -1, first.ids.dtype)
    scores = np.full((queries, k), np.nan, np.float32)
    tables, rows = [first.columns.slice(0, 0)] if first.columns is not None else [], np.full((queries, k), -1, np.int64)
    filled = 0
    for query, of_query in enumerate(parts):
        best_scores = np.concatenate([hits.scores[number, places] for hits, number, places in of_query])
        # later answers are worse, except for rows that an approximate search missed at first
        best = np.argsort(best_scores if ascending else -best_scores, kind="stable")[:k]
        scores[query, : len(best)] = best_scores[best]
        ids[query, : len(best)] = np.concatenate([hits.ids[number, places] for hits, number, places in of_query])[best]
        rows[query, : len(best)] = filled + best
        for hits, number, places in of_query:
            if hits.columns is not None:
                tables.append(hits.columns.take(number * hits.scores.shape[1] + places))
            filled += len(places)
    columns = None
    if tables:
        columns = pa.concat_tables(tables).take(pa.array(rows.reshape(-1), mask=rows.reshape(-1) < 0))
    return replace(first, ids=ids, scores=scores, columns=columns)
