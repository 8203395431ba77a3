"""Searches for more rows than one answer may have, page by page."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch.api.hits import Hits
from vsearch.api.opened import OpenedIndex
from vsearch.checks import LARGEST_DEPTH, LARGEST_K, check_columns, check_search, check_whole
from vsearch.search.engine.request import SearchRequest
from vsearch.search.engine.stats import SearchStats
from vsearch.storage.stores.waiting import within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vsearch.api.protocol import SearchableIndex
    from vsearch.predicates import Where
    from vsearch.search.state.snapshot import Snapshot


@dataclass(frozen=True)
class PageOptions:
    """Checked options of a search by pages; see `PagedSearch.search_pages`."""

    k: int
    page: int
    nprobe: int | None
    columns: tuple[str, ...]
    exact: bool
    min_score: float | None
    timeout: float | None
    vectors: bool


class PagedSearch:
    """Searches whose hits come page by page."""

    def search_pages(
        self,
        queries: Any,
        k: int,
        where: Where = None,
        *,
        page: int = LARGEST_K,
        nprobe: int | None = None,
        columns: Sequence[str] = (),
        exact: bool = False,
        min_score: float | None = None,
        timeout: float | None = None,
        vectors: bool = False,
    ) -> Iterator[Hits]:
        """Find up to a million rows per query, page by page.

        The pages are those of ``search(queries, page, offset=...)`` on the snapshot that is open at the call, whatever is committed
        in between: together they have min(k, number of matching rows) rows, and none twice.

        In this process, all pages together cost about twice a search for k rows, with `exact` as much as one, and keep 8 bytes per
        row and query. Through functions, each page is a search with an offset, so that many small pages cost much more than few
        large ones.

        Parameters
        ----------
        queries
            As for `search`.
        k : int
            1 to 1,000,000: rows of all pages.
        page : int
            1 to 10,000: rows of a page. The last may be shorter.
        where, nprobe, columns, exact, min_score, vectors
            As for `search`.
        timeout : float, optional
            Seconds for each page.

        Returns
        -------
        iterator of Hits
            Each with its `offset`; it ends after k rows, or when no query has further rows.

        Raises
        ------
        InputError, PredicateError
            At the call, not by the iterator, unless functions check it.
        SearchTimeoutError
            By the iterator.
        """
        check_whole("k", k, LARGEST_DEPTH)
        check_whole("page", page, LARGEST_K)
        check_search(k=page, nprobe=nprobe, min_score=min_score, timeout=timeout)
        if isinstance(columns, str):
            check_columns(columns, ())  # refuses it
        options = PageOptions(int(k), int(page), nprobe, tuple(columns), bool(exact), min_score, timeout, vectors)
        return self._search_pages(queries, where, options)

    @abstractmethod
    def _search_pages(self, queries: Any, where: Where, options: PageOptions) -> Iterator[Hits]:
        """Check what depends on the index, and return the pages."""


class PageableIndex(OpenedIndex, PagedSearch):
    """Searches by pages in this process."""

    @abstractmethod
    def _check_queries(self, snapshot: Snapshot, queries: Any) -> NDArray[np.float32]:
        """Return queries as vectors."""

    def _search_pages(self, queries: Any, where: Where, options: PageOptions) -> Iterator[Hits]:
        from vsearch.search.where import mask_of

        snapshot, stats = self._current(), SearchStats()
        check_columns(options.columns, snapshot.schema.names)
        points = self._check_queries(snapshot, queries)
        return _pages(snapshot, points, mask_of(snapshot, where, stats), options, stats)


def _pages(
    snapshot: Snapshot, points: NDArray[np.float32], mask: Any, options: PageOptions, stats: SearchStats
) -> Iterator[Hits]:
    from vsearch.search.pages import iterate_pages
    from vsearch.search.state.decoding import decode_vectors
    from vsearch.search.state.fetching import take_columns, take_ids
    from vsearch.search.vectors import search_vectors

    def search(run: slice, depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        deadline = None if options.timeout is None else time.monotonic() + options.timeout
        request = SearchRequest(
            k=depth,
            settings=snapshot.settings,
            nprobe=options.nprobe,
            exact=options.exact,
            min_score=options.min_score,
            deadline=deadline,
        )
        with within(deadline):
            answer = search_vectors(snapshot, points[run], request, mask, stats)
        return answer.scores, answer.rows

    pages = iterate_pages(search, len(points), options.page, options.k, ordered=options.exact)
    for number, (scores, rows) in enumerate(pages):
        started = time.perf_counter()
        ids = take_ids(snapshot, rows)
        attributes = take_columns(snapshot, options.columns, rows.reshape(-1)) if options.columns else None
        decoded = decode_vectors(snapshot, rows) if options.vectors else None
        stats.add("fetch", started)
        stats.queries = len(points)
        hits = Hits(ids, scores, stats, attributes, number * options.page, decoded)
        stats = SearchStats()  # of the next page
        yield hits


def pages_by_offset(index: SearchableIndex, queries: Any, where: Where, options: PageOptions) -> Iterator[Hits]:
    """Search page by page with offsets, on an index that is fixed to a snapshot."""
    for start in range(0, options.k, options.page):
        offset = min(start, LARGEST_DEPTH - options.page)
        hits = index.search(
            queries,
            options.page,
            where,
            options.nprobe,
            options.columns,
            options.exact,
            options.min_score,
            options.timeout,
            offset=offset,
        )
        places = np.arange(start, min(start + options.page, options.k)) - offset
        if len(places) < options.page:
            hits = replace(hits.choose(np.tile(places, (len(hits), 1))), offset=start)
        if np.isnan(hits.scores).all():
            return
        yield hits
